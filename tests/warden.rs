//! A child ends well, and nothing outlives it: promise 4 of the contract, tried on real processes.
//!
//! Programs here are shells that print the ids of what they start; that a process is gone is seen
//! at `/proc` or by the end of a pipe it held, never by waiting a while. Roles that need a process
//! of their own are ignored tests of this binary, run by the others.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // a helper of tests is a test

use std::{
    ffi::OsString,
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
    time::{Duration, Instant},
};

use scalesocket::child::{
    Cage, Child, Exit, Limit, Limits, Ports, Spec, StartError, Starter, Stderr, Transport, Wanted,
    Warden, WardenOptions,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};

const FOREVER: Duration = Duration::from_secs(100_000);
const SOFT_NOFILE: u64 = 321;

fn warden() -> Warden {
    let program = env!("CARGO_BIN_EXE_scalesocket").into();
    let options = WardenOptions {
        program,
        soft_nofile: Some(SOFT_NOFILE),
        reap: false,
        division: None,
    };
    Warden::start(&options).unwrap()
}

fn spec(program: &str, args: &[&str]) -> Spec {
    Spec {
        program: program.into(),
        args: args.iter().map(OsString::from).collect(),
        env: vec![("PATH".into(), std::env::var_os("PATH").unwrap())],
        stop_signal: libc::SIGTERM,
        stop_grace: FOREVER,
        stderr: Stderr::Inherit,
        transport: Transport::Stdio,
        attach_delay: None,
        start_timeout: Duration::from_secs(20),
        cage: Cage::default(),
    }
}

/// A shell script; its `$1` and on are `args`.
fn sh(script: &str, args: &[&str]) -> Spec {
    spec("sh", &[&["-c", script, "sh"], args].concat())
}

async fn start(warden: &Warden, spec: Spec) -> Child {
    soon(Starter::new(spec, Some(warden.clone())).start(Vec::new(), None))
        .await
        .unwrap()
}

async fn fails(warden: &Warden, spec: Spec) -> StartError {
    soon(Starter::new(spec, Some(warden.clone())).start(Vec::new(), None))
        .await
        .unwrap_err()
}

/// Every wait has this end; what must take long enough to be told from it is [`FOREVER`].
async fn soon<F: Future>(what: F) -> F::Output {
    timeout(Duration::from_secs(30), what)
        .await
        .expect("it takes too long")
}

async fn line(child: &mut Child) -> String {
    let mut line = Vec::new();
    loop {
        match soon(child.output.read_u8())
            .await
            .expect("the output ended early")
        {
            b'\n' => return String::from_utf8(line).unwrap(),
            byte => line.push(byte),
        }
    }
}

async fn pid_line(child: &mut Child) -> i32 {
    let pid = line(child).await.parse().unwrap();
    assert!(lives(pid), "{pid} does not live yet");
    pid
}

async fn rest(child: &mut Child) -> String {
    let mut rest = String::new();
    soon(child.output.read_to_string(&mut rest)).await.unwrap();
    rest
}

fn lives(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn children_of(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap()
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// This binary, told to play one role.
fn role(name: &str) -> [String; 5] {
    let own = std::env::current_exe()
        .unwrap()
        .into_os_string()
        .into_string()
        .unwrap();
    [
        own,
        "--exact".into(),
        name.into(),
        "--ignored".into(),
        "--nocapture".into(),
    ]
}

/// Runs a role to its end.
fn play(name: &str) {
    let [own, args @ ..] = role(name);
    let played = Command::new(own).args(args).output().unwrap();
    let words = String::from_utf8_lossy(&played.stdout);
    assert!(
        played.status.success() && words.contains("1 passed"),
        "{words}"
    );
}

#[tokio::test]
async fn what_may_live_no_longer_is_killed_and_nothing_is_started() {
    let warden = warden();
    let stubborn = "trap '' TERM; (trap '' TERM; setsid sleep 1000 & echo $!); sleep 1000";
    let mut child = start(&warden, sh(stubborn, &[])).await;
    let daemon = line(&mut child).await;
    // A later time takes the place of an earlier one.
    warden.may_live_until(Some(Instant::now() + FOREVER));
    warden.may_live_until(Some(Instant::now()));
    assert_eq!(soon(child.life.exited()).await, Exit::Signal(libc::SIGKILL));
    soon(child.life.gone()).await;
    assert!(!Path::new(&format!("/proc/{}", daemon.trim())).exists());
    let refused = fails(&warden, sh("exit 0", &[])).await;
    assert!(matches!(refused, StartError::Refused { .. }), "{refused}");
    warden.may_live_until(None);
    let mut child = start(&warden, sh("exit 3", &[])).await;
    assert_eq!(soon(child.life.exited()).await, Exit::Code(3));
    child.life.stop();
    soon(child.life.gone()).await;
    soon(warden.shutdown()).await;
}

#[tokio::test]
async fn bytes_go_both_ways_and_a_program_that_saves_on_eof_has_saved() {
    let warden = warden();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("saved");
    let script = r#"read line; echo "heard $line"; cat > "$1"; echo end >> "$1""#;
    let mut child = start(&warden, sh(script, &[file.to_str().unwrap()])).await;
    child.input.write_all(b"hello\nworld\n").await.unwrap();
    assert_eq!(line(&mut child).await, "heard hello");
    child.input.shutdown().await.unwrap();
    assert_eq!(soon(child.life.exited()).await, Exit::Code(0));
    assert_eq!(fs::read_to_string(file).unwrap(), "world\nend\n");
    // Asked again it says the same, and with nothing left there is no grace to wait for.
    assert_eq!(soon(child.life.exited()).await, Exit::Code(0));
    child.life.stop();
    assert_eq!(soon(child.life.gone()).await, Exit::Code(0));
}

#[tokio::test]
async fn a_trap_on_term_runs_once_and_its_words_are_heard() {
    let warden = warden();
    let script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.01; done";
    let mut child = start(&warden, sh(script, &[])).await;
    assert_eq!(line(&mut child).await, "ready");
    child.life.stop();
    child.life.stop();
    assert_eq!(soon(child.life.gone()).await, Exit::Code(3));
    assert_eq!(rest(&mut child).await, "bye\n");
    soon(warden.shutdown()).await;
}

#[tokio::test]
async fn a_program_that_ignores_all_is_killed_after_the_grace_and_not_before() {
    let warden = warden();
    let grace = Duration::from_millis(200);
    let script = "trap '' TERM HUP INT; echo ready; while :; do sleep 0.01; done";
    let mut child = start(
        &warden,
        Spec {
            stop_grace: grace,
            ..sh(script, &[])
        },
    )
    .await;
    assert_eq!(line(&mut child).await, "ready");
    let asked = Instant::now();
    child.life.stop();
    assert_eq!(soon(child.life.gone()).await, Exit::Signal(libc::SIGKILL));
    assert!(asked.elapsed() >= grace);
    soon(warden.shutdown()).await;
}

#[tokio::test]
async fn the_stop_signal_is_the_one_that_was_chosen() {
    let warden = warden();
    let script = "trap 'exit 5' USR1; echo ready; while :; do sleep 0.01; done";
    let mut child = start(
        &warden,
        Spec {
            stop_signal: libc::SIGUSR1,
            ..sh(script, &[])
        },
    )
    .await;
    assert_eq!(line(&mut child).await, "ready");
    child.life.stop();
    assert_eq!(soon(child.life.gone()).await, Exit::Code(5));
    soon(warden.shutdown()).await;
}

#[tokio::test]
async fn a_stopped_program_wakes_to_obey() {
    let warden = warden();
    let mut child = start(&warden, sh("echo $$; kill -STOP $$", &[])).await;
    pid_line(&mut child).await;
    child.life.stop();
    assert_eq!(soon(child.life.gone()).await, Exit::Signal(libc::SIGTERM));
    soon(warden.shutdown()).await;
}

#[tokio::test]
async fn how_a_program_ended_is_known() {
    let warden = warden();
    for (script, exit, words) in [
        ("exit 0", Exit::Code(0), "exit 0"),
        ("exit 3", Exit::Code(3), "exit 3"),
        ("exit 255", Exit::Code(255), "exit 255"),
        ("kill -SEGV $$", Exit::Signal(libc::SIGSEGV), "signal SEGV"),
        ("kill -KILL $$", Exit::Signal(libc::SIGKILL), "signal KILL"),
    ] {
        let mut child = start(&warden, sh(script, &[])).await;
        assert_eq!(soon(child.life.exited()).await, exit);
        assert_eq!(exit.to_string(), words);
    }
    soon(warden.shutdown()).await;
}

#[tokio::test]
async fn what_holds_the_output_after_the_leader_ended_gets_the_ladder() {
    let warden = warden();
    let mut child = start(&warden, sh("sleep 1000 & echo $!", &[])).await;
    let grandchild = pid_line(&mut child).await;
    assert_eq!(soon(child.life.exited()).await, Exit::Code(0));
    assert!(
        lives(grandchild),
        "a leader's end is no reason to signal the others yet"
    );
    child.life.stop();
    assert_eq!(soon(child.life.gone()).await, Exit::Code(0));
    assert!(!lives(grandchild));
    assert_eq!(rest(&mut child).await, "");
    soon(warden.shutdown()).await;
}

#[tokio::test]
async fn daemons_that_left_the_session_die_with_their_room_and_no_other_room_does() {
    let warden = warden();
    let mut other = start(&warden, sh("echo $$; exec cat", &[])).await;
    let bystander = pid_line(&mut other).await;
    let daemon = "(setsid sh -c 'echo $$; exec sleep 1000' &)";
    // One is an orphan while the leader lives; one becomes one when the leader dies; one obeys no
    // TERM; and one starts another from its own session.
    let stubborn = "(setsid sh -c 'trap \"\" TERM; echo $$; exec sleep 1000' &)";
    let nested = "setsid sh -c '(setsid sh -c \"echo \\$\\$; exec sleep 1000\" &) ; sleep 1000' &";
    let script =
        format!("{daemon}; setsid sh -c 'echo $$; exec sleep 1000' & {stubborn}; {nested} wait");
    let grace = Duration::from_millis(300);
    let mut child = start(
        &warden,
        Spec {
            stop_grace: grace,
            ..sh(&script, &[])
        },
    )
    .await;
    let mut daemons = Vec::new();
    for _ in 0..4 {
        daemons.push(pid_line(&mut child).await);
    }
    child.life.stop();
    soon(child.life.gone()).await;
    for pid in daemons {
        assert!(!lives(pid), "{pid} outlived its room");
    }
    assert!(lives(bystander), "the other room's program died");
}

#[tokio::test]
async fn a_daemon_that_hides_where_it_came_from_dies_with_the_last_room() {
    let warden = warden();
    let mut other = start(&warden, spec("cat", &[])).await;
    let script = "(env -i PATH=\"$PATH\" setsid sh -c 'echo $$; exec sleep 1000' &); wait";
    let mut child = start(&warden, sh(script, &[])).await;
    let daemon = pid_line(&mut child).await;
    for life in [&mut child.life, &mut other.life] {
        life.stop();
        soon(life.gone()).await;
    }
    assert!(!lives(daemon));
    soon(warden.shutdown()).await;
}

#[tokio::test]
async fn dropping_a_child_kills_all_of_it() {
    let warden = warden();
    let script = "trap '' TERM; (setsid sh -c 'echo $$; exec sleep 1000' &); echo $$; sleep 1000";
    let mut child = start(&warden, sh(script, &[])).await;
    pid_line(&mut child).await;
    pid_line(&mut child).await;
    let mut output = child.output;
    drop((child.input, child.life));
    // Everything that was started holds this pipe.
    soon(output.read_to_end(&mut Vec::new())).await.unwrap();
    soon(warden.shutdown()).await;
}

#[tokio::test]
async fn a_program_that_cannot_start_says_why() {
    let warden = warden();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| {
        dir.path()
            .join(name)
            .into_os_string()
            .into_string()
            .unwrap()
    };
    // Written by another process: a file that is open for writing here could not be executed.
    let script =
        "printf '#!/no/such/interpreter\\n' > bad; chmod 755 bad; : > plain; chmod 644 plain";
    let made = Command::new("sh")
        .args(["-c", script])
        .current_dir(&dir)
        .status()
        .unwrap();
    assert!(made.success());
    let long = "x".repeat(1 << 20);
    for (program, args, status, words) in [
        ("no-such-program", vec![], 127, "no-such-program: not found"),
        (&path("missing"), vec![], 127, "not found"),
        (&path("plain"), vec![], 126, "permission denied"),
        (&path(""), vec![], 126, "permission denied"),
        (&path("bad"), vec![], 126, "its interpreter is not found"),
        ("cat", vec![&long[..]], 126, "argument list too long"),
        ("cat", vec!["a\0b"], 126, "invalid argument"),
    ] {
        let error = fails(&warden, spec(program, &args)).await;
        assert_eq!(error.shell_status(), status, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    // A failure harms nobody else, and leaves nothing.
    let mut child = start(&warden, sh("exit 0", &[])).await;
    child.life.stop();
    soon(child.life.gone()).await;
    assert_eq!(children_of(warden.pid()), "");
    soon(warden.shutdown()).await;
}

/// execvp(3) does so, and so does every shell.
#[tokio::test]
async fn a_script_without_a_first_line_is_the_shells() {
    let warden = warden();
    let dir = tempfile::tempdir().unwrap();
    // Written by another process: a file that is open for writing here could not be executed.
    let made = Command::new("sh")
        .args(["-c", "echo 'echo \"$#\" \"$2\"' > plain; chmod 755 plain"])
        .current_dir(&dir)
        .status()
        .unwrap();
    assert!(made.success());
    let plain = dir.path().join("plain");
    let mut child = start(&warden, spec(plain.to_str().unwrap(), &["a", "b c"])).await;
    assert_eq!(rest(&mut child).await, "2 b c\n");
    soon(warden.shutdown()).await;
}

#[tokio::test]
async fn a_program_inherits_three_descriptors_no_signals_and_its_own_session() {
    let warden = warden();
    let script = "ls /proc/$$/fd; ulimit -Sn; cut -d' ' -f6 /proc/$$/stat; echo $$";
    let mut child = start(&warden, sh(script, &[])).await;
    let pid = child.pid.unwrap().to_string();
    let heard = rest(&mut child).await;
    let expected = ["0", "1", "2", &SOFT_NOFILE.to_string(), &pid, &pid];
    assert_eq!(heard.split_whitespace().collect::<Vec<_>>(), expected);

    // The shell changes its own signals while it forks, so these are asked without one.
    let mut child = start(&warden, spec("cat", &["/proc/self/status"])).await;
    let heard = rest(&mut child).await;
    let masks: Vec<u64> = ["SigBlk:", "SigIgn:"]
        .map(|name| {
            heard
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap()
        })
        .map(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() & 0x7fff_ffff) // 1 to 31
        .to_vec();
    assert_eq!(masks, [0, 0]);
    soon(warden.shutdown()).await;
}

#[tokio::test]
async fn the_environment_is_what_was_given_and_the_rooms_own_wins() {
    let warden = warden();
    let env = vec![
        ("HOME".into(), "/a".into()),
        ("PATH".into(), "/bin:/usr/bin".into()),
    ];
    let starter = Starter::new(
        Spec {
            env,
            ..spec("env", &[])
        },
        Some(warden.clone()),
    );
    let room = [("HOME", "/b"), ("ROOM", "lobby"), ("UNIQUE_ID", "u1")];
    let room = room
        .map(|(name, value)| (name.into(), value.into()))
        .to_vec();
    let mut child = soon(starter.start(room, None)).await.unwrap();
    let heard = rest(&mut child).await;
    let mut heard: Vec<&str> = heard.lines().collect();
    heard.sort_unstable();
    assert_eq!(
        heard,
        [
            "HOME=/b",
            "PATH=/bin:/usr/bin",
            "ROOM=lobby",
            "UNIQUE_ID=u1"
        ]
    );
    soon(warden.shutdown()).await;
}

#[tokio::test]
async fn stderr_goes_where_it_was_sent() {
    let warden = warden();
    let script = "echo oops >&2; echo fine";
    let mut child = start(
        &warden,
        Spec {
            stderr: Stderr::Pipe,
            ..sh(script, &[])
        },
    )
    .await;
    let mut heard = String::new();
    soon(child.stderr.as_mut().unwrap().read_to_string(&mut heard))
        .await
        .unwrap();
    assert_eq!(
        (heard.as_str(), rest(&mut child).await.as_str()),
        ("oops\n", "fine\n")
    );

    let mut child = start(
        &warden,
        Spec {
            stderr: Stderr::Drop,
            ..sh(script, &[])
        },
    )
    .await;
    assert!(child.stderr.is_none());
    assert_eq!(rest(&mut child).await, "fine\n");
    soon(warden.shutdown()).await;
}

#[tokio::test]
async fn shutdown_kills_all_at_once_and_reaps_the_warden() {
    let warden = warden();
    let script = "trap '' TERM; (setsid sh -c 'echo $$; exec sleep 1000' &); echo $$; sleep 1000";
    let mut child = start(&warden, sh(script, &[])).await;
    let pids = [
        pid_line(&mut child).await,
        pid_line(&mut child).await,
        warden.pid() as i32,
    ];
    let asked = Instant::now();
    soon(warden.shutdown()).await;
    assert!(asked.elapsed() < Duration::from_secs(2));
    assert_eq!(pids.map(lives), [false; 3]);
    assert_eq!(soon(child.life.gone()).await, Exit::Signal(libc::SIGKILL));
    assert!(matches!(
        fails(&warden, spec("cat", &[])).await,
        StartError::Warden
    ));
}

#[tokio::test]
async fn when_the_warden_dies_so_does_all_it_started_and_the_server_hears_of_it() {
    let warden = warden();
    let script = "trap '' TERM; (setsid sh -c 'echo $$; exec sleep 1000' &); echo $$; sleep 1000";
    let mut child = start(&warden, sh(script, &[])).await;
    let pids = [
        pid_line(&mut child).await,
        pid_line(&mut child).await,
        warden.pid() as i32,
    ];
    assert!(
        Command::new("kill")
            .args(["-9", &warden.pid().to_string()])
            .status()
            .unwrap()
            .success()
    );
    soon(warden.died()).await;
    assert_eq!(pids.map(lives), [false; 3]);
    assert_eq!(soon(child.life.gone()).await, Exit::Signal(libc::SIGKILL));
}

/// Plays the server that is killed: starts rooms with every kind of descendant, and says so.
#[tokio::test]
#[ignore = "a role, played for the next test"]
async fn role_server_with_rooms() {
    let warden = warden();
    let script = "trap '' TERM HUP; sleep 1000 & setsid sleep 1000 & \
        (setsid sh -c 'trap \"\" TERM; (env -i \"$(command -v sleep)\" 1000 &); exec sleep 1000' &); \
        echo ready; sleep 1000";
    let mut rooms = Vec::new();
    for _ in 0..10 {
        let mut child = start(&warden, sh(script, &[])).await;
        assert_eq!(line(&mut child).await, "ready");
        rooms.push(child);
    }
    println!("all rooms are open");
    std::future::pending::<()>().await;
}

#[test]
fn nothing_outlives_a_server_that_is_killed() {
    let [own, args @ ..] = role("role_server_with_rooms");
    let mut server = Command::new(own)
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut output, mut heard) = (server.stdout.take().unwrap(), Vec::new());
    while !heard.ends_with(b"all rooms are open\n") {
        let mut byte = [0];
        output
            .read_exact(&mut byte)
            .expect("the server ended early");
        heard.push(byte[0]);
    }
    server.kill().unwrap();
    let killed = Instant::now();
    server.wait().unwrap();
    // The server's stderr is that of everything beneath it: it ends when the last of them does.
    server
        .stderr
        .take()
        .unwrap()
        .read_to_end(&mut Vec::new())
        .unwrap();
    assert!(
        killed.elapsed() < Duration::from_secs(2),
        "it took {:?}",
        killed.elapsed()
    );
}

/// Runs where nobody else waits for children.
#[tokio::test]
#[ignore = "a role, played for the next test"]
#[expect(clippy::zombie_processes)] // reaped by whom is what it asks
async fn role_adopter() {
    let program = env!("CARGO_BIN_EXE_scalesocket").into();
    let options = WardenOptions {
        program,
        soft_nofile: None,
        reap: true,
        division: None,
    };
    let warden = Warden::start(&options).unwrap();
    // Neither the shell nor what it leaves behind is waited for by anybody.
    Command::new("sh")
        .args(["-c", "(true & exec true) & exit"])
        .spawn()
        .unwrap();
    let threads = || fs::read_dir("/proc/self/task").unwrap().flatten();
    // A thread may end between the two.
    let list = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children"));
    let children = || threads().flat_map(list).collect::<String>();
    soon(async {
        while children().trim() != warden.pid().to_string() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    soon(warden.shutdown()).await;
    assert_eq!(children(), "");
}

#[test]
fn what_a_server_adopts_is_reaped() {
    play("role_adopter");
}

/// Runs where no other test opens descriptors meanwhile.
#[tokio::test]
#[ignore = "a role, played for the next test"]
async fn role_two_hundred_rooms() {
    let warden = warden();
    let own = std::process::id();
    let mut before = None;
    for round in 0..5 {
        let mut rooms = Vec::new();
        for n in 0..40 {
            let spec = match n % 3 {
                0 => spec("cat", &[]),
                1 => sh("(setsid sleep 1000 &); exec cat", &[]),
                _ => sh("trap '' TERM; sleep 1000 & exec cat", &[]),
            };
            let grace = Duration::from_millis(20);
            let spec = Spec {
                stderr: Stderr::Pipe,
                stop_grace: grace,
                ..spec
            };
            rooms.push(start(&warden, spec).await);
        }
        for room in &rooms {
            room.life.stop();
        }
        for mut room in rooms {
            soon(room.life.gone()).await;
        }
        assert_eq!(children_of(warden.pid()), "", "round {round}");
        let now = (descriptors(own), descriptors(warden.pid()));
        assert_eq!(
            *before.get_or_insert(now),
            now,
            "descriptors in round {round}"
        );
    }
    soon(warden.shutdown()).await;
    assert_eq!(children_of(own), "");
}

#[test]
fn two_hundred_rooms_leave_no_process_zombie_or_descriptor() {
    play("role_two_hundred_rooms");
}

/// Plays a program that listens on `$PORT`, after a while, and answers one connection.
#[test]
#[ignore = "a role, played for the next tests"]
fn role_tcp_child() {
    use std::io::Write;

    assert_eq!(
        std::io::stdin().read(&mut [0]).unwrap(),
        0,
        "stdin is not /dev/null"
    );
    std::thread::sleep(Duration::from_millis(50)); // the lateness that is to be bridged
    let port: u16 = std::env::var("PORT").unwrap().parse().unwrap();
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    stream.write_all(b"heard ").unwrap();
    stream.write_all(&heard).unwrap();
}

/// A pool of one port that is free, below those that connections of others start from: such a one
/// could be taken before the child has it.
fn one_port() -> Ports {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 10_000;
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let ephemeral: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
    let below = ephemeral.checked_sub(FIRST).expect("ports of nobody");
    let own = std::process::id() as u16;
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let port = (0..below)
        .map(|_| {
            FIRST
                + own
                    .wrapping_mul(97)
                    .wrapping_add(NEXT.fetch_add(1, Relaxed))
                    % below
        })
        .find(is_free)
        .expect("a free port");
    Ports::new(port..=port)
}

fn tcp(ports: &Ports, spec: Spec) -> Spec {
    Spec {
        transport: Transport::Tcp(ports.clone()),
        stderr: Stderr::Drop,
        ..spec
    }
}

#[tokio::test]
async fn a_child_that_binds_late_is_reached_and_its_port_returns() {
    let warden = warden();
    let ports = one_port();
    let [own, args @ ..] = role("role_tcp_child");
    let args = args.each_ref().map(String::as_str);
    for _ in 0..2 {
        let mut child = start(&warden, tcp(&ports, spec(&own, &args))).await;
        assert_eq!(ports.available(), 0);
        assert!(matches!(
            fails(&warden, tcp(&ports, spec(&own, &args))).await,
            StartError::NoPort(_)
        ));
        child.input.write_all(b"over tcp").await.unwrap();
        child.input.shutdown().await.unwrap();
        assert_eq!(rest(&mut child).await, "heard over tcp");
        assert_eq!(soon(child.life.exited()).await, Exit::Code(0));
        child.life.stop();
        soon(child.life.gone()).await;
        assert_eq!(ports.available(), 1);
    }
}

#[tokio::test]
async fn a_child_that_never_binds_is_ended_before_the_error_is_told() {
    let warden = warden();
    let ports = one_port();
    let start_timeout = Duration::from_secs(1);
    let spec = Spec {
        start_timeout,
        ..tcp(&ports, sh("sleep 1000", &[]))
    };
    let error = fails(&warden, spec).await;
    assert!(matches!(error, StartError::AttachTimeout { .. }), "{error}");
    assert!(error.to_string().contains("connection refused"), "{error}");
    assert_eq!(
        (ports.available(), children_of(warden.pid())),
        (1, String::new())
    );

    let error = fails(&warden, tcp(&ports, sh("exit 3", &[]))).await;
    assert_eq!(
        error.to_string(),
        "ended before it accepted connections (exit 3)"
    );
    assert_eq!(ports.available(), 1);
    soon(warden.shutdown()).await;
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_nothing() {
    let warden = warden();
    let ports = one_port();
    let starter = Starter::new(tcp(&ports, sh("sleep 1000", &[])), Some(warden.clone()));
    let given_up = timeout(Duration::from_millis(50), starter.start(Vec::new(), None)).await;
    assert!(given_up.is_err());
    soon(async {
        while ports.available() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(children_of(warden.pid()), "");
    soon(warden.shutdown()).await;
}

#[tokio::test]
async fn a_program_that_already_runs_serves_three_rooms() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let starter = Starter::new(
        Spec {
            transport: Transport::Connect(addr),
            ..spec("", &[])
        },
        None,
    );
    for _ in 0..3 {
        let mut child = soon(starter.start(Vec::new(), None)).await.unwrap();
        let (mut there, _) = soon(listener.accept()).await.unwrap();
        assert_eq!(child.pid, None);
        child.input.write_all(b"ping").await.unwrap();
        child.input.shutdown().await.unwrap();
        let mut heard = String::new();
        soon(there.read_to_string(&mut heard)).await.unwrap();
        assert_eq!(heard, "ping");
        there.write_all(b"pong").await.unwrap();
        drop(there);
        assert_eq!(rest(&mut child).await, "pong");
        child.life.stop();
        assert_eq!(soon(child.life.exited()).await, Exit::Closed);
        assert_eq!(soon(child.life.gone()).await, Exit::Closed);
    }
}

fn as_somebody(script: &str, args: &[&str]) -> Option<Spec> {
    let wanted = Wanted {
        user: Some("54321:54321".into()),
        ..Wanted::default()
    };
    match Cage::resolve(&wanted, 8) {
        Ok(cage) => Some(Spec {
            cage,
            ..sh(script, args)
        }),
        Err(why) => {
            // Not as tests print, which nobody sees of those that pass.
            let why = format!("skipped: {why}\n");
            std::io::stderr().write_all(why.as_bytes()).unwrap();
            None
        }
    }
}

#[tokio::test]
async fn a_start_that_a_neighbour_stops_stops_no_other() {
    let Some(hostile) = as_somebody(
        "echo ready; while :; do kill -STOP -1 2>/dev/null; done",
        &[],
    ) else {
        return;
    };
    // `kill -1` spares who sends it; all others of the user stop, also between fork and exec.
    let warden = warden();
    let mut neighbour = start(&warden, hostile).await;
    assert_eq!(line(&mut neighbour).await, "ready");
    let Some(victim) = as_somebody("echo here", &[]) else {
        return;
    };
    let starter = Starter::new(victim, Some(warden.clone()));
    let mut victims = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let starter = starter.clone();
        victims.spawn(async move { starter.start(Vec::new(), None).await.is_ok() });
    }
    // Rooms of the server's own user start all the while.
    for _ in 0..5 {
        let mut calm = start(&warden, sh("echo here", &[])).await;
        assert_eq!(line(&mut calm).await, "here");
    }
    drop(neighbour);
    victims.shutdown().await;
    soon(warden.shutdown()).await;
}

#[tokio::test]
async fn what_the_system_does_not_grant_is_told_and_leaves_nothing() {
    let warden = warden();
    for round in 0..3 {
        let spec = Spec {
            cage: Cage {
                directory: Some("/no/such/directory".into()),
                ..Cage::default()
            },
            ..sh("exit 0", &[])
        };
        let failed = fails(&warden, spec).await;
        let words = failed.to_string();
        assert_eq!(words, "--chdir: no such file or directory", "round {round}");
        let Some(spec) = as_somebody("exit 0", &[]) else {
            continue;
        };
        let program = tempfile::tempdir().unwrap();
        let path = program.path().join("program");
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
        let spec = Spec {
            program: path,
            ..spec
        };
        let failed = fails(&warden, spec).await;
        assert!(matches!(failed, StartError::Refused { .. }), "{failed}");
    }
    while !children_of(warden.pid()).is_empty() {
        tokio::task::yield_now().await;
    }
    soon(warden.shutdown()).await;
}

#[tokio::test]
async fn a_limit_that_ended_a_program_is_the_reason_and_an_order_is_none() {
    let warden = warden();
    let limits = Limits {
        memory: Some(48 << 20),
        ..Limits::default()
    };
    let small = |script: &str| Spec {
        cage: Cage {
            limits,
            ..Cage::default()
        },
        ..sh(script, &[])
    };
    // Little by little, until there is no more.
    let eats = "exec awk 'BEGIN { while (1) { n++; a[n] = n \"\" } }'";
    let mut child = start(&warden, small(eats)).await;
    let over = Exit::Over(Limit::Memory(48 << 20));
    assert_eq!(soon(child.life.exited()).await, over);
    child.life.stop();
    assert_eq!(soon(child.life.gone()).await, over);
    for (script, exit) in [("exit 0", Exit::Code(0)), ("exit 3", Exit::Code(3))] {
        let mut child = start(&warden, small(script)).await;
        assert_eq!(soon(child.life.exited()).await, exit);
    }
    let mut child = start(&warden, small("echo ready; exec sleep 1000")).await;
    assert_eq!(line(&mut child).await, "ready");
    child.life.kill();
    assert_eq!(soon(child.life.gone()).await, Exit::Signal(libc::SIGKILL));
    soon(warden.shutdown()).await;
}
