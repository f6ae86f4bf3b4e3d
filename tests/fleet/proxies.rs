//! Real proxies before a real fleet: nginx, HAProxy and Envoy by the configurations of deploy/ ask a
//! pod where each room is, and lead clients straight there. The story is tests/chart/live_proxies.py.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::census::Census;
use crate::people::join;
use crate::release::{project, tool};
use crate::stage::eventually;
use crate::yard::{At, Yard, crew, yard};

/// The three proxies, in front of the first pod that they were told of.
struct Proxies {
    child: Child,
    said: Arc<Mutex<BufReader<ChildStdout>>>,
}

fn words(pods: &[At]) -> Vec<String> {
    let both = |at: &At| format!("{0}:9000,{0}:9090", at.address);
    pods.iter().map(both).collect()
}

impl Proxies {
    /// With the first round on its way. `None` where a tool is not to be had.
    fn start(pods: &[At], rooms: u32) -> Option<Proxies> {
        let python = tool("python3")?;
        let mut path = std::env::var_os("PATH").unwrap_or_default();
        for proxy in ["nginx", "haproxy", "envoy"] {
            let place = tool(proxy)?.parent()?.to_owned();
            let mut with = place.into_os_string();
            with.push(":");
            with.push(path);
            path = with;
        }
        let mut child = Command::new(python)
            .arg("-B")
            .arg(project("tests/chart/live_proxies.py"))
            .args(["--rounds", "--rooms", &rooms.to_string()])
            .args(words(pods))
            .env("PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let said = child.stdout.take().expect("it is piped");
        Some(Proxies {
            child,
            said: Arc::new(Mutex::new(BufReader::new(said))),
        })
    }

    /// Waits for the end of the round.
    async fn done(&mut self) {
        let said = self.said.clone();
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            let mut said = said.lock().expect("no other reads");
            said.read_line(&mut line).expect("it speaks UTF-8");
            line
        });
        let line = line.await.expect("no panic");
        assert!(line.contains("each reached at its owner"), "said: {line:?}");
        print!("{line}");
    }

    /// One more round, in front of the same pod.
    async fn again(&mut self, pods: &[At]) {
        let line = words(pods).join(" ") + "\n";
        let stdin = self.child.stdin.as_mut().expect("it is piped");
        stdin.write_all(line.as_bytes()).expect("it listens");
        self.done().await;
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Clients that a pod ever passed on.
async fn passed_on(yard: &Yard, pods: &[At]) -> f64 {
    let mut all = 0.0;
    for at in pods {
        all += yard.counted(at, "scalesocket_proxied_total", &[]).await;
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies_that_ask_lead_everybody_straight_to_their_room() {
    let Some(yard) = yard("proxies").await else {
        return;
    };
    let three = crew(3, "");
    let pods = yard.has(&three).await;
    let census = Census::of(&yard.mark);
    let rooms = match std::env::var_os("CI") {
        Some(_) => 120,
        None => 500,
    };
    let Some(mut proxies) = Proxies::start(&pods, rooms) else {
        return;
    };
    proxies.done().await;

    // The first pod is the door that proxies know, so another one goes.
    yard.force_delete(&pods[2].pod).await;
    eventually("it is replaced", async || {
        let doors = yard.doors("fleet").await;
        let other = |at: &At| !pods.contains(at);
        (doors.len() == 3 && doors.iter().any(other)).then_some(())
    })
    .await;
    let mut now = yard.settled(&three).await;
    now.sort_by_key(|at| *at != pods[0]);
    assert_eq!(now[0], pods[0]);
    proxies.again(&now).await;
    drop(proxies);

    // A client who is not led would be seen.
    let before = passed_on(&yard, &now).await;
    let mut people = Vec::new();
    for at in &now {
        people.push(join(at.address, "lobby").await.expect("a way in"));
    }
    assert!(passed_on(&yard, &now).await >= before + 2.0);
    census.found_no_double();
}
