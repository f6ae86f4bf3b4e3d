//! The cage of a program: as whom it runs, how much it may take, and what its clients read when it
//! takes more. Other rooms do not notice.
//!
//! Only root may run programs as others, and only some machines let a test make cgroups: what
//! cannot be tried where the tests run says so on stderr. `tests/cgroups.sh` runs all of it under a
//! kernel that can.
#![cfg(target_os = "linux")]

mod edges;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::{PATIENCE, Server, fails, given, serve, temporary};

/// How often what tells nobody of its changes is looked at again.
const GLANCE: Duration = Duration::from_millis(5);

/// Says why a test cannot be done here, past the capture of tests that pass.
macro_rules! skip {
    ($($why:tt)*) => {{
        let why = format!("skipped: {}\n", format_args!($($why)*));
        std::io::stderr().write_all(why.as_bytes()).unwrap();
    }};
}

/// A user that no system knows.
const SOMEBODY: &str = "54321:54322";

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip!("only root may run programs as others");
    }
    root
}

async fn status(server: &Server, field: &str) -> String {
    let mut ann = server.join("/status").await;
    ann.says(field).await;
    ann.hears_text().await
}

/// A program that answers each word with that field of its `/proc/self/status`.
const FIELDS: &str =
    "sh -- -c 'while read field; do sed -n \"s/^$field:[[:space:]]*//p\" /proc/self/status; done'";

#[tokio::test]
async fn a_program_runs_as_who_it_is_told_with_no_group_of_the_servers() {
    if !is_root() {
        return;
    }
    let server = serve(format!("--user {SOMEBODY} --linger 10 {FIELDS}")).await;
    assert_eq!(status(&server, "Uid").await, "54321\t54321\t54321\t54321");
    assert_eq!(status(&server, "Gid").await, "54322\t54322\t54322\t54322");
    assert_eq!(status(&server, "Groups").await.trim(), "54322");
    assert_eq!(status(&server, "CapEff").await, "0000000000000000");
    assert_eq!(status(&server, "NoNewPrivs").await, "1");
    drop(server);
    let server = serve(format!("--group 7 {FIELDS}")).await;
    assert_eq!(status(&server, "Gid").await, "7\t7\t7\t7");
    assert_eq!(status(&server, "Groups").await.trim(), "7");
}

#[tokio::test]
async fn a_program_is_told_as_whom_it_runs() {
    if !is_root() {
        return;
    }
    // A shell, which this user may run wherever the tests were built.
    let told = "sh -- -c 'echo \"$USER $LOGNAME $HOME\"; exec cat'";
    let server = serve(format!("--user nobody --passenv HOME,PATH {told}")).await;
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let home = nobody.dir.to_str().unwrap();
    let expected = format!("nobody nobody {home}");
    server.join("/x").await.hears(&expected).await;
}

#[tokio::test]
async fn a_program_of_another_user_can_open_its_own_output() {
    if !is_root() {
        return;
    }
    let line = "sh -- -c 'echo opened > /dev/stdout; echo told > /dev/stderr; cat'";
    let server = serve(format!("--user {SOMEBODY} --stderr client {line}")).await;
    let mut ann = server.join("/x").await;
    let mut heard = [ann.hears_text().await, ann.hears_text().await];
    heard.sort();
    assert_eq!(heard[0], "opened");
    assert!(heard[1].contains("told"), "{heard:?}");
}

#[tokio::test]
async fn a_program_of_another_user_dies_with_the_warden_whatever_the_server_does() {
    if !is_root() {
        return;
    }
    let line = format!("--user {SOMEBODY} sh -- -c 'echo here; exec sleep 1000'");
    let server = serve(line).await;
    let mut ann = server.join("/x").await;
    ann.hears("here").await;
    let processes = server.processes();
    let warden = processes.iter().find(|p| p.name == "ss-warden").unwrap();
    // A server that is stopped ends nobody: the system does, unless the change of the user has
    // made it forget to.
    server.signal(Signal::SIGSTOP);
    kill(Pid::from_raw(warden.pid), Signal::SIGKILL).unwrap();
    let start = Instant::now();
    while server.programs().iter().any(|program| program.state != 'Z') {
        assert!(start.elapsed() < PATIENCE, "{:?}", server.programs());
        tokio::time::sleep(GLANCE).await;
    }
    server.signal(Signal::SIGCONT);
    server.exits_with(1).await;
}

#[tokio::test]
async fn where_and_how_nice_a_program_starts() {
    let directory = temporary();
    let path = directory.path().canonicalize().unwrap();
    let line = format!(
        "--chdir {} --nice 7 sh -- -c 'pwd; nice; cat'",
        path.display()
    );
    let server = serve(line).await;
    let mut ann = server.join("/x").await;
    ann.hears(path.to_str().unwrap()).await;
    ann.hears("7").await;
}

#[tokio::test]
async fn a_directory_that_its_user_may_not_enter_is_a_reason() {
    if !is_root() {
        return;
    }
    use std::os::unix::fs::PermissionsExt;

    let directory = temporary();
    let owner = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(directory.path(), owner).unwrap();
    let path = directory.path().display();
    let server = serve(format!("--user {SOMEBODY} --chdir {path} cat")).await;
    let reason = server.join("/x").await.hears_close_code(1011).await;
    assert_eq!(reason, "cannot start: --chdir: permission denied");
    server.has_programs(0).await;
}

#[tokio::test]
async fn mistakes_are_one_sentence_at_start() {
    for (line, part) in [
        ("--user no-such-user-anywhere cat", "--user"),
        ("--user 54321 cat", "54321:GROUP"),
        ("--group no-such-group-anywhere cat", "--group"),
        ("--chdir /no/such/directory cat", "--chdir"),
        ("--chdir /etc/passwd cat", "--chdir"),
        ("--nice 20 cat", "--nice"),
        ("--limit-memory 10KiB cat", "1MiB"),
        ("--limit-files 3 cat", "--limit-files"),
        ("--limit-files 4000000000 cat", "--limit-files"),
        ("--limit-processes 0 cat", "--limit-processes"),
        ("--spawn-rate 5/x cat", "--spawn-rate"),
        ("--connect localhost:1 --limit-memory 9MiB", "--connect"),
    ] {
        let told = fails(line).await;
        let stderr = String::from_utf8_lossy(&told.stderr).into_owned();
        assert_eq!(told.status.code(), Some(2), "{line}: {stderr}");
        assert!(stderr.contains(part), "{line}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{line}: {stderr}");
    }
}

#[tokio::test]
async fn each_process_has_the_descriptors_and_the_time_it_may_have() {
    let server = serve("--limit-files 77 puppet nofile then mute").await;
    server.join("/x").await.hears("77").await;
    drop(server);

    let server = serve("--limit-cpu-seconds 1 sh -- -c 'while :; do :; done'").await;
    let mut ann = server.join("/x").await;
    ann.hears_close(1011, "out of processor time (--limit-cpu-seconds 1)")
        .await;
}

/// Eats when it is told to.
const EATER: &str = "puppet wait then eat";

/// One room eats all memory it may have; the other one goes on.
async fn one_eats_and_the_other_goes_on(server: &Server, reason: &str) {
    let mut calm = server.join("/calm").await;
    let mut greedy = server.join("/greedy").await;
    let mut witness = server.join("/greedy").await;
    greedy.says("eat").await;
    greedy.hears_close(1011, reason).await;
    witness.hears_close(1011, reason).await;
    let ended = server.logged("room ended").await;
    assert!(ended.to_string().contains(reason), "{ended}");
    calm.hears_nothing().await;
    let stats = server.get("/calm/stats").await;
    let stats: Value = serde_json::from_slice(&stats.body).unwrap();
    assert_eq!(stats["state"], "running");
    assert_eq!(stats["restarts"], 0);
    server.has_programs(1).await;
}

#[tokio::test]
async fn a_child_that_eats_memory_dies_alone_and_its_clients_read_why() {
    let line = format!("--cgroups off --stats --limit-memory 64MiB {EATER}");
    let server = serve(line).await;
    server.logged("RLIMIT_DATA").await;
    one_eats_and_the_other_goes_on(&server, "out of memory (--limit-memory 64MiB)").await;
}

#[tokio::test]
async fn memory_is_counted_for_all_processes_of_a_room_together() {
    // Each of three has 30 MiB and stays below the limit.
    let line = "--cgroups off --limit-memory 64MiB puppet crowd 3 30";
    let server = serve(line).await;
    let mut ann = server.join("/x").await;
    ann.hears_close(1011, "out of memory (--limit-memory 64MiB)")
        .await;
    server.has_programs(0).await;
}

#[tokio::test]
async fn a_room_with_too_many_processes_is_killed_with_all_of_them() {
    let line = "--cgroups off --stats --limit-processes 4 puppet wait then crowd 9 1";
    let server = serve(line).await;
    let mut calm = server.join("/calm").await;
    let mut ann = server.join("/x").await;
    ann.says("go").await;
    ann.hears_close(1011, "too many processes (--limit-processes 4)")
        .await;
    server.has_programs(1).await;
    calm.hears_nothing().await;
}

#[tokio::test]
async fn the_figures_are_those_of_all_that_the_room_started() {
    let line = "--stats --metrics puppet quiet-daemon then crowd 3 8";
    let server = serve(line).await;
    let _ann = server.join("/x").await;
    // The leader, three that it has, and one that left it.
    server
        .waits_for_json("/x/stats", |stats| {
            let memory = stats["memory_bytes"].as_u64().unwrap_or(0);
            stats["processes"] == 5 && memory > 3 * (8 << 20)
        })
        .await;
    server
        .waits_for_metric("the processes", |line| {
            line == "scalesocket_child_processes{room=\"x\"} 5"
        })
        .await;
}

#[tokio::test]
async fn a_room_that_fails_again_and_again_is_refused_for_a_while() {
    let server = serve("--crash-limit 3 --metrics puppet exit 4").await;
    for _ in 0..3 {
        // Who comes before the last room has ended waits for that.
        server.join("/x").await.hears_close(1011, "exit 4").await;
    }
    let refused = server.door("/x").refused(503).await;
    let why = refused.json();
    assert_eq!(why["error"], "crash_loop");
    let message = why["message"].as_str().unwrap();
    assert!(message.starts_with("crash loop: exit 4, "), "{message}");
    let again: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&again), "{again}");
    server.join("/y").await.hears_close(1011, "exit 4").await;
}

#[tokio::test]
async fn programs_are_started_no_faster_than_they_may_be() {
    let server = serve("--spawn-rate 1/m --refuse close puppet print here then mute").await;
    server.join("/a").await.hears("here").await;
    let reason = server.join("/b").await.hears_close_code(1013).await;
    assert!(reason.contains("again in"), "{reason}");
    // A room that lives needs no start.
    let server = serve("--spawn-rate 1/m --linger 100 puppet count").await;
    let mut ann = server.join("/a").await;
    let mut bob = server.join("/a").await;
    ann.says("x").await;
    bob.hears("1").await;
}

/// A cgroup of version 2 in which a server may do as it likes.
struct Cgroup(PathBuf);

impl Cgroup {
    /// None where the machine has none, with a word on why.
    fn new(name: &str) -> Option<Cgroup> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mounted = mounts.lines().find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let place = before.split(' ').nth(4)?;
            after.starts_with("cgroup2 ").then(|| PathBuf::from(place))
        });
        let Some(mounted) = mounted else {
            skip!("no cgroup file system of version 2 is mounted");
            return None;
        };
        let own = mounted.join(format!("scalesocket-test-{}-{name}", std::process::id()));
        if let Err(error) = std::fs::create_dir(&own) {
            skip!("{} cannot be made: {error}", own.display());
            return None;
        }
        Some(Cgroup(own))
    }

    /// Whether limits of memory can be kept in it, with a word if not.
    fn has_memory(&self) -> bool {
        let controllers = std::fs::read_to_string(self.0.join("cgroup.controllers"));
        let has = controllers.is_ok_and(|all| all.split_whitespace().any(|one| one == "memory"));
        if !has {
            skip!("cgroups of version 2 have no memory controller here");
        }
        has
    }

    /// What a server is started by to be in it.
    fn way_in(&self) -> String {
        let members = self.0.join("cgroup.procs");
        format!("sh -c 'echo 0 > {}; exec \"$@\"' sh", members.display())
    }

    fn parts(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        let rooms = entries.filter(|e| e.file_name().to_string_lossy().starts_with("room-"));
        rooms.map(|entry| entry.path()).collect()
    }

    async fn has_parts(&self, count: usize) {
        let start = Instant::now();
        while self.parts().len() != count {
            assert!(start.elapsed() < PATIENCE, "{:?}", self.parts());
            tokio::time::sleep(GLANCE).await;
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let remove = |directory: &Path| std::fs::remove_dir(directory).is_ok();
        for part in self.parts() {
            remove(&part);
        }
        remove(&self.0.join("server"));
        let gone = remove(&self.0);
        assert!(gone || std::thread::panicking(), "{:?} stays", self.0);
    }
}

#[tokio::test]
async fn each_room_has_a_cgroup_as_long_as_it_lives() {
    let Some(cgroup) = Cgroup::new("life") else {
        return;
    };
    let hides = "(env -i setsid sleep 1000 </dev/null >/dev/null 2>&1 &)";
    let line = format!("--stats sh -- -c '{hides}; echo here; exec cat'");
    let server = given(line).inside(&cgroup.way_in()).serve().await;
    server.logged("rooms have cgroups of their own").await;
    let mut ann = server.join("/a").await;
    let mut bob = server.join("/b").await;
    ann.hears("here").await;
    bob.hears("here").await;
    cgroup.has_parts(2).await;
    // The leader and one that hid every trace of its room.
    server
        .waits_for_json("/a/stats", |stats| stats["processes"] == 2)
        .await;
    let stats = server.get("/a/stats").await;
    let stats: Value = serde_json::from_slice(&stats.body).unwrap();
    assert!(stats["memory_bytes"].as_u64() > Some(0), "{stats}");
    assert!(stats["cpu_seconds"].as_f64() > Some(0.0), "{stats}");
    // What hid ends with its room, and not with the last one.
    ann.leaves().await;
    cgroup.has_parts(1).await;
    bob.hears_nothing().await;
    drop(server);
    let left = std::fs::read_dir(&cgroup.0).unwrap().flatten();
    let left = left.filter(|entry| entry.path().is_dir()).count();
    assert_eq!(left, 0, "the cgroup is as it was");
}

#[tokio::test]
async fn no_cgroup_outlives_a_server_or_a_warden_that_is_killed() {
    for victim in ["scalesocket", "ss-warden"] {
        let Some(cgroup) = Cgroup::new(victim) else {
            return;
        };
        let setup = given("sh -- -c 'echo here; sleep 1000'").inside(&cgroup.way_in());
        let server = setup.serve().await;
        server.join("/a").await.hears("here").await;
        let _ann = server.join("/a").await;
        let processes = server.processes();
        let pid = match victim {
            "scalesocket" => server.pid(),
            name => processes.iter().find(|p| p.name == name).unwrap().pid,
        };
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        server.ends().await;
        server.leaves_nothing(PATIENCE).await;
        cgroup.has_parts(0).await;
    }
}

#[tokio::test]
async fn the_kernel_kills_a_room_that_is_out_of_memory_and_no_other() {
    let Some(cgroup) = Cgroup::new("memory") else {
        return;
    };
    if !cgroup.has_memory() {
        return;
    }
    let setup = given(format!("--stats --limit-memory 64MiB {EATER}"));
    let server = setup.inside(&cgroup.way_in()).serve().await;
    server.logged("memory.max").await;
    one_eats_and_the_other_goes_on(&server, "out of memory (--limit-memory 64MiB)").await;
    drop(server);
    let line = "--limit-processes 9 sh -- -c 'sleep 1000 & cat'";
    let server = given(line).inside(&cgroup.way_in()).serve().await;
    server.logged("pids.max").await;
    let _ann = server.join("/x").await;
    cgroup.has_parts(1).await;
    let most = std::fs::read_to_string(cgroup.parts()[0].join("pids.max")).unwrap();
    assert_eq!(most.trim(), "9");
}

#[tokio::test]
async fn a_cgroup_that_others_live_in_is_left_alone() {
    let Some(cgroup) = Cgroup::new("shared") else {
        return;
    };
    let mut other = std::process::Command::new("sleep");
    let mut other = other.arg("1000").spawn().unwrap();
    std::fs::write(cgroup.0.join("cgroup.procs"), other.id().to_string()).unwrap();
    let setup = given("--limit-memory 64MiB sh -- -c 'cat /proc/self/cgroup'");
    let server = setup.inside(&cgroup.way_in()).serve().await;
    server.logged("not ours to divide").await;
    let name = cgroup.0.file_name().unwrap().to_str().unwrap().to_owned();
    let mut ann = server.join("/x").await;
    loop {
        let line = ann.hears_text().await;
        if line.starts_with("0::") {
            assert!(line.ends_with(&name), "{line}");
            break;
        }
    }
    assert!(cgroup.parts().is_empty());
    assert!(!cgroup.0.join("server").exists());
    drop(server);
    other.kill().unwrap();
    other.wait().unwrap();
}
