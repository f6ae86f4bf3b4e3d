//! Clients that are gone without a word: a cable is pulled, and nothing of a goodbye gets through.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{given, temporary};
use crate::skip_unless;
use crate::stage::{SOON, begin_with, works};

/// Another host, on a cable; gone with this value.
struct Cable {
    name: String,
    far: String,
}

impl Cable {
    /// Addresses of RFC 2544, a pair for each cable of each process of tests.
    fn lay(number: u32) -> Option<Cable> {
        let id = std::process::id() << 1 | number;
        let address = |host: u32| format!("198.18.{}.{}", id >> 6 & 0xff, (id & 0x3f) << 2 | host);
        let near = address(1);
        let cable = Cable {
            name: format!("ssf{id}"),
            far: address(2),
        };
        let Cable { name, far } = &cable;
        let lines = [
            format!("ip netns add {name}"),
            format!("ip link add {name} type veth peer name eth0 netns {name}"),
            format!("ip addr add {near}/30 dev {name}"),
            format!("ip link set {name} up"),
            format!("ip -n {name} addr add {far}/30 dev eth0"),
            format!("ip -n {name} link set eth0 up"),
            format!("ip -n {name} link set lo up"),
        ];
        lines.iter().all(|line| works(line)).then_some(cable)
    }

    fn pull(&self) {
        assert!(works(&format!("ip link set {} down", self.name)));
    }

    fn plug(&self) {
        assert!(works(&format!("ip link set {} up", self.name)));
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        works(&format!("ip link del {}", self.name));
        works(&format!("ip netns del {}", self.name));
    }
}

#[tokio::test]
async fn clients_that_vanish_without_a_word_are_missed_and_leave_nothing() {
    let cable = Cable::lay(0);
    skip_unless!(cable.is_some(), "network namespaces need root and ip(8)");
    let cable = cable.unwrap();
    let directory = temporary();
    let line = format!(
        "{SOON} --addr {}:0 --admin-addr unix:{}/admin --ping 0.5 --ping-timeout 2 puppet ticks",
        cable.far,
        directory.path().display()
    );
    let setup = given(line).inside(&format!("ip netns exec {}", cable.name));
    let (server, start) = begin_with(setup).await;
    // Twice, so that the second crowd meets what the first may have left.
    for round in 0..2 {
        let mut people = Vec::new();
        let mut children = Vec::new();
        for n in 0..20 {
            let mut person = server.join(&format!("/{round}-{}", n % 10)).await;
            if n < 10 {
                let told = person.hears_text().await;
                let pid = told.strip_prefix("ready ").unwrap().parse().unwrap();
                children.push(Pid::from_raw(pid));
            }
            people.push(person);
        }
        cable.pull();
        // To some there is something on its way when they are missed.
        for child in children.iter().take(5) {
            // Those who came first may have been missed already: nobody reads their pings.
            kill(*child, Signal::SIGUSR1).ok();
        }
        start.is_back(&server).await;
        cable.plug();
        drop(people);
    }
    // The way is free again.
    let ann = server.join("/again").await;
    ann.leaves().await;
    start.is_back(&server).await;
}

#[tokio::test]
async fn a_bad_line_loses_packets_and_no_message() {
    skip_unless!(
        works("tc -V"),
        "packets are lost by tc(8), which is not here"
    );
    let cable = Cable::lay(1);
    skip_unless!(cable.is_some(), "network namespaces need root and ip(8)");
    let cable = cable.unwrap();
    let lossy = format!(
        "tc qdisc add dev {} root netem loss 2% delay 2ms reorder 10%",
        cable.name
    );
    skip_unless!(works(&lossy), "the kernel has no netem");
    let setup = given(format!("{SOON} --addr {}:0 puppet echo", cable.far));
    let (server, start) = begin_with(setup.inside(&format!("ip netns exec {}", cable.name))).await;
    let mut ann = server.join("/x").await;
    let texts: Vec<String> = (0..2_000).map(|n| format!("{n:.<100}")).collect();
    ann.says_and_later_hears(&texts, std::future::ready(()))
        .await;
    ann.leaves().await;
    start.is_back(&server).await;
}
