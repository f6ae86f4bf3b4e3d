//! The edges of the cage: servers with few rights, what they were started with, what a program
//! hides behind, and a warden that somebody has stopped. `setpriv` (util-linux) takes
//! rights away before the server begins.

use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{FIELDS, SOMEBODY, is_root, status};
use crate::harness::{PATIENCE, given, serve, temporary};

/// What a container's root has by default: it may neither trace others nor look into them.
const CONTAINER: &str = "setpriv --inh-caps -all --bounding-set -all,+chown,+dac_override,\
     +fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,+net_raw,+sys_chroot,+mknod,\
     +audit_write,+setfcap";

#[tokio::test]
async fn what_the_server_was_started_to_ignore_its_programs_do_not() {
    let setup = given(format!("--linger 10 {FIELDS}"));
    let deaf = r#"sh -c 'trap "" XCPU XFSZ WINCH HUP; exec "$@"' sh"#;
    let server = setup.inside(deaf).serve().await;
    let ignored = status(&server, "SigIgn").await;
    let ignored = u64::from_str_radix(&ignored, 16).unwrap();
    // Those above 31 are the C library's own.
    assert_eq!(ignored & 0x7fff_ffff, 0, "{ignored:x}");
}

#[tokio::test]
async fn no_crowd_is_so_large_that_memory_hides_behind_it() {
    // Copies of the shell that wait for a word, which nobody says.
    let crowd = "exec 3<&0; for i in $(seq 260); do read word <&3 & done; wait";
    let line = format!("--cgroups off --stats --limit-memory 99GiB sh -- -c '{crowd}'");
    let server = serve(line).await;
    let _ann = server.join("/x").await;
    // First as many as a page of figures counts, where forks take their time; then all of them.
    for count in [256, 261] {
        let enough = |stats: &Value| stats["processes"].as_u64() >= Some(count);
        server.waits_for_json("/x/stats", enough).await;
    }
}

#[tokio::test]
async fn a_daemon_of_another_user_ends_with_its_room_where_root_may_not_look_into_others() {
    if !is_root() {
        return;
    }
    let daemon = "(setsid sleep 1000 </dev/null >/dev/null 2>&1 &)";
    let line = format!("--user {SOMEBODY} --stats sh -- -c '{daemon}; echo here; exec cat'");
    let server = given(line).inside(CONTAINER).serve().await;
    let mut ann = server.join("/ann").await;
    let mut bob = server.join("/bob").await;
    ann.hears("here").await;
    bob.hears("here").await;
    server.has_programs(4).await;
    server
        .waits_for_json("/ann/stats", |stats| stats["processes"] == 2)
        .await;
    ann.leaves().await;
    server.has_programs(2).await;
    bob.hears_nothing().await;
}

#[tokio::test]
async fn who_may_become_others_but_not_end_them_serves_nobody() {
    if !is_root() {
        return;
    }
    let setup = given(format!("--user {SOMEBODY} cat"));
    let told = setup
        .inside("setpriv --inh-caps -all --bounding-set -kill")
        .output()
        .await;
    let stderr = String::from_utf8_lossy(&told.stderr).into_owned();
    assert_eq!(told.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("--user") && stderr.contains("CAP_KILL"),
        "{stderr}"
    );
}

#[tokio::test]
async fn who_is_that_user_already_needs_no_right() {
    if !is_root() {
        return;
    }
    // This root is one by its number alone.
    let powerless = "setpriv --inh-caps -all --bounding-set -all --groups";
    let line = "--user root --passenv HOME,PATH sh -- -c 'echo \"$USER $HOME\"; exec cat'";
    let groups = nix::unistd::getgrouplist(c"root", nix::unistd::Gid::from_raw(0)).unwrap();
    let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
    let setup = given(line).env("HOME", "/elsewhere");
    let setup = setup.inside(&format!("{powerless} {}", groups.join(",")));
    let home = nix::unistd::User::from_name("root").unwrap().unwrap().dir;
    let expected = format!("root {}", home.display());
    let server = setup.serve().await;
    server.join("/x").await.hears(&expected).await;
    drop(server);

    // A group that is not that user's cannot be left.
    let setup = given("--user root cat").inside(&format!("{powerless} 54322"));
    let told = setup.output().await;
    let stderr = String::from_utf8_lossy(&told.stderr).into_owned();
    assert_eq!(told.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("--user"), "{stderr}");
}

#[tokio::test]
async fn a_right_that_the_server_was_handed_does_not_go_on_with_another_group() {
    if !is_root() {
        return;
    }
    let directory = temporary();
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), everybody).unwrap();
    // Where the tests were built others may not look.
    let copy = directory.path().join("server");
    std::fs::copy(env!("CARGO_BIN_EXE_scalesocket"), &copy).unwrap();
    let handed = format!(
        "setpriv --reuid 54321 --regid 54322 --clear-groups --inh-caps +setgid --ambient-caps \
         +setgid sh -c 'shift; exec {} \"$@\"' sh",
        copy.display()
    );
    let setup = given(format!("--group 7 --linger 10 {FIELDS}"));
    let server = setup.inside(&handed).serve().await;
    assert_eq!(status(&server, "Gid").await, "7\t7\t7\t7");
    assert_eq!(status(&server, "CapAmb").await, "0000000000000000");
    assert_eq!(status(&server, "CapEff").await, "0000000000000000");
    assert_eq!(status(&server, "NoNewPrivs").await, "1");
}

#[tokio::test]
async fn a_warden_that_was_stopped_does_not_hold_up_the_end() {
    let line = "--stop-eof 0 --stop-grace 0 --drain-timeout 0 sh -- -c 'echo here; sleep 1000'";
    let server = serve(line).await;
    let mut ann = server.join("/x").await;
    ann.hears("here").await;
    let processes = server.processes();
    let warden = processes.iter().find(|p| p.name == "ss-warden").unwrap();
    kill(Pid::from_raw(warden.pid), Signal::SIGSTOP).unwrap();
    server.signal(Signal::SIGTERM);
    server.logged("longer to end").await;
    server.logged("do not end").await;
    server.exits_with(1).await;
    server.leaves_nothing(PATIENCE).await;
}
