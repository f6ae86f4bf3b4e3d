//! Words: programs, their arguments, helpers, defaults, and any words at all.

use std::path::PathBuf;

use proptest::prelude::*;
use scalesocket::cli::{LogFormat, Refuse, Restart, Slow, Stderr};

use super::*;

#[test]
fn the_program_stands_before_or_after_the_dashes() {
    for (line, source) in [
        ("cat", program("cat", &[])),
        ("seq -- 1 50000", program("seq", &["1", "50000"])),
        ("-- seq 1 50000", program("seq", &["1", "50000"])),
        (
            "--tcp ./game.py -v -- --port 5",
            program("./game.py", &["--port", "5"]),
        ),
        ("cat --", program("cat", &[])),
        ("cat -- --help", program("cat", &["--help"])),
        ("cat -- -- x", program("cat", &["--", "x"])),
        ("-- -x", program("-x", &[])),
        ("-- --tcp", program("--tcp", &[])),
        ("--frame cat", program("cat", &[])),
        ("cat --frame", program("cat", &[])),
        ("--rooms a install", program("install", &[])),
        ("-- install /x", program("install", &["/x"])),
        ("./probe", program("./probe", &[])),
        ("echo -- 'a b' ''", program("echo", &["a b", ""])),
    ] {
        assert_eq!(config(line).source, source, "{line}");
    }
}

#[test]
fn there_is_always_a_program() {
    for line in ["", "--", "--tcp", "''", "-- ''"] {
        assert!(refused(line).contains("program"), "{line}");
    }
}

#[test]
fn a_program_may_have_any_bytes_in_its_arguments() {
    use std::os::unix::ffi::OsStringExt;
    let odd = OsString::from_vec(vec![b'a', 0xff]);
    let line = ["x".into(), odd.clone(), "--".into(), odd.clone()];
    match cli::parse(line, &|_| None) {
        Ok(Command::Serve(config)) => {
            assert_eq!(
                config.source,
                Source::Program {
                    cmd: odd.clone(),
                    args: vec![odd]
                }
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_forgotten_double_dash_is_answered_with_the_corrected_line() {
    for (line, corrected) in [
        ("seq 1 50000", "scalesocket seq -- 1 50000"),
        ("./game.py --port 5", "scalesocket ./game.py -- --port 5"),
        (
            "./game.py --tcp --port=5",
            "scalesocket ./game.py --tcp -- --port=5",
        ),
        ("./game.py -p5", "scalesocket ./game.py -- -p5"),
        ("--joinmsg 1 seq 1", "scalesocket --joinmsg 1 seq -- 1"),
        (
            "echo 'it is' \"quoted\"",
            "scalesocket echo -- 'it is' '\"quoted\"'",
        ),
        ("cat probe", "scalesocket cat -- probe"),
    ] {
        let sentence = refused(line);
        assert!(
            sentence.ends_with(&format!("as in `{corrected}`")),
            "{line}: {sentence}"
        );
    }
    let long = format!("cat {}", "word ".repeat(100));
    assert!(refused(&long).ends_with("as in `scalesocket cat -- ...`"));
}

#[test]
fn an_unknown_option_before_any_program_is_named_with_the_nearest_known_one() {
    assert!(refused("--backlogs 5 cat").contains("did you mean `--backlog`?"));
    assert!(refused("-x cat").contains("`-x` is not a known option"));
    for (line, ours) in [
        ("--port 9000 cat", "`--addr 0.0.0.0:PORT`"),
        ("--port=9000 cat", "`--addr 0.0.0.0:PORT`"),
        ("-p 9000 cat", "`--addr 0.0.0.0:PORT`"),
        ("--sslcert x cat", "`--tls-cert FILE`"),
        ("--dir public cat", "`--staticdir DIR`"),
        (
            "--console --admin-token 0123456789abcdef cat",
            "`--admin-token-file FILE`, because others on this machine can read a command line",
        ),
        (
            "--console --admin-token=0123456789abcdef cat",
            "`--admin-token-file FILE`, because others on this machine can read a command line",
        ),
    ] {
        let sentence = refused(line);
        assert!(
            sentence.ends_with(&format!("here it is {ours}")) && !sentence.contains("0123"),
            "{sentence}"
        );
    }
    assert!(refused("--tcp=true cat").contains("takes no value"));
    assert!(refused("--tcp --tcp cat").contains("more than once"));
    assert!(refused("--linger").contains("needs a value"));
}

#[test]
fn short_flags_stand_for_long_ones() {
    assert_eq!(config("-b cat").server_framing, ServerFraming::Raw);
    assert_eq!(config("-v cat").verbosity, 1);
    assert_eq!(config("-vvv cat").verbosity, 3);
    assert_eq!(config("-q cat").verbosity, -1);
    assert_eq!(config("-bv cat").verbosity, 1);
}

#[test]
fn defaults_are_those_of_the_contract() {
    let c = config("cat");
    assert_eq!(c.source, program("cat", &[]));
    assert_eq!(
        (c.addr.len(), cli::DEFAULT_ADDR, c.unix_mode),
        (0, "0.0.0.0:9000", 0o660)
    );
    assert_eq!(c.admin_addr, None);
    assert_eq!((c.tcp, c.tcpports.clone()), (false, 9001..=9999));
    assert_eq!((c.cmd_attach_delay, c.start_timeout), (None, secs(10)));
    assert_eq!(
        c.passenv,
        ["PATH", "DYLD_LIBRARY_PATH", "HOME", "LANG", "TZ"]
    );
    assert!(!c.isolate && !c.oneshot && !c.cachepersist && !c.same_origin);
    assert_eq!((c.restart, c.stderr), (Restart::Never, Stderr::Log));
    assert_eq!(framing(&c), (ServerFraming::Lines, ClientFraming::Lines));
    assert_eq!((c.from_field.as_str(), c.to_field.as_str()), ("id", "id"));
    assert_eq!(
        (c.joinmsg.clone(), c.leavemsg.clone(), c.cache),
        (None, None, None)
    );
    assert_eq!((c.rooms.clone(), c.maxrooms), (None, 1024));
    assert_eq!(
        (c.max_clients, c.max_clients_per_room, c.max_clients_per_ip),
        (None, None, None)
    );
    assert!(c.origin.is_empty() && c.subprotocol.is_empty() && c.header.is_empty());
    assert_eq!(c.refuse, Refuse::Http);
    assert_eq!(
        (c.linger, c.max_idle, c.max_lifetime),
        (Duration::ZERO, None, None)
    );
    assert_eq!(
        (c.stop_eof, c.stop_signal, c.stop_grace),
        (secs(2), libc::SIGTERM, secs(5))
    );
    assert_eq!(c.drain_timeout, secs(5));
    assert_eq!(
        (c.backlog, c.inbox, c.slow),
        (4 << 20, 1 << 20, Slow::Disconnect)
    );
    assert_eq!(c.stall_timeout, secs(30));
    assert_eq!((c.max_message, c.max_child_message), (1 << 20, 16 << 20));
    assert_eq!((c.ping, c.ping_timeout), (Some(secs(25)), Some(secs(20))));
    assert!(!c.metrics && !c.stats && !c.api && c.staticdir.is_none());
    assert_eq!(
        (c.metrics_rooms, c.log, c.verbosity),
        (1000, LogFormat::Text, 0)
    );
    assert!(c.warnings.is_empty());
}

#[test]
fn command_lines_of_0_2_4_still_parse() {
    for line in [
        "./example.sh",
        "--addr 127.0.0.1:5000 ./example.sh",
        "--oneshot echo -- hello",
        "--oneshot --frame head -- -n 1",
        "--passenv= printenv",
        "--passenv PATH,HOME printenv",
        "--binary echo",
        "--delimiters=bc echo -- foobar",
        "--null printf -- foo",
        "--serverframe=json echo -- '{\"_to\": 0}'",
        "--clientframe=json --serverframe=gwsocket cat",
        "--frame=gwsocket cat",
        "--json --joinmsg 'hello #ID' cat",
        "--cache 8 --cachepersist cat",
        "--cache=tagged:64 --json cat",
        "--cache all:1 cat",
        "--tcp --delay 2 --tcpports 9001:9100 cat",
        "--maxrooms 10 cat",
        "--maxforks 10 cat",
        "--rooms a,b --api --metrics --staticdir . cat",
        "--log json -vv cat",
        "--log=text -v cat",
        "-b cat",
    ] {
        config(line);
    }
}

#[test]
fn helpers_are_helpers_only_in_front() {
    match parse_in(&[], "install /shared") {
        Ok(Command::Install { dir }) => assert_eq!(dir, PathBuf::from("/shared")),
        other => panic!("{other:?}"),
    }
    for line in [
        "install",
        "install ''",
        "install a b",
        "install --x",
        "probe a b",
    ] {
        refused(line);
    }
    assert!(refused("install --x").contains("scalesocket install --help"));
}

#[test]
fn probe_knows_where_to_ask() {
    for (line, listen, asked, wait) in [
        ("probe", tcp("127.0.0.1:9000"), "/health", 5),
        (
            "probe http://127.0.0.1:9000/ready",
            tcp("127.0.0.1:9000"),
            "/ready",
            5,
        ),
        (
            "probe http://localhost --timeout 2s",
            tcp("localhost:80"),
            "/health",
            2,
        ),
        ("probe http://[::1]:9000/", tcp("[::1]:9000"), "/health", 5),
        ("probe http://[::1]/a?b=c", tcp("[::1]:80"), "/a?b=c", 5),
        ("probe https://x", tcp("x:443"), "/health", 5),
        ("probe https://[::1]:9000/a", tcp("[::1]:9000"), "/a", 5),
        (
            "probe unix:/run/s",
            Listen::Unix("/run/s".into()),
            "/health",
            5,
        ),
    ] {
        match parse_in(&[], line) {
            Ok(Command::Probe {
                target,
                secure,
                path,
                timeout,
            }) => {
                assert_eq!(secure, line.contains("https://"), "{line}");
                assert_eq!(
                    (target, path.as_str(), timeout),
                    (listen, asked, secs(wait)),
                    "{line}"
                );
            }
            other => panic!("{line}: {other:?}"),
        }
    }
    for line in [
        "probe httpss://x/",
        "probe https://",
        "probe 127.0.0.1:9000",
        "probe http://",
        "probe http://x:0/",
        "probe 'http://x:80/a b'",
        "probe unix:",
        "probe --timeout 0",
        "probe --pid 0",
        "probe --pid 1 http://x/",
    ] {
        refused(line);
    }
    let found = parse_in(&[], "probe --pid 1 --timeout 2s");
    assert!(
        matches!(found, Ok(Command::ProbeProcess { pid: 1, timeout }) if timeout == secs(2)),
        "{found:?}"
    );
}

/// A word as people and their mistakes write them, or any bytes at all.
fn any_word() -> impl Strategy<Value = OsString> {
    use std::os::unix::ffi::OsStringExt;
    let longs: Vec<String> = cli::command()
        .get_arguments()
        .filter_map(|a| a.get_long())
        .map(String::from)
        .collect();
    let long = proptest::sample::select::<String>(longs);
    let value = prop_oneof![
        any::<String>(),
        "[0-9.:,/a-zA-Z\\\\~*_-]{0,12}",
        "[0-9]{1,30}(ms|s|m|h|d|k|KiB|GB)?",
    ];
    prop_oneof![
        (long.clone(), value.clone()).prop_map(|(flag, value)| format!("--{flag}={value}").into()),
        long.prop_map(|flag| format!("--{flag}").into()),
        value.prop_map(OsString::from),
        proptest::collection::vec(any::<u8>(), 0..12).prop_map(OsString::from_vec),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 300 } else { 3000 }))]

    #[test]
    fn any_words_are_a_configuration_an_answer_or_one_sentence(
        words in proptest::collection::vec(any_word(), 0..5),
        variable in any_word(),
        value in any_word(),
    ) {
        let variable = variable.to_string_lossy().replace('-', "_").to_uppercase();
        let variable = format!("SCALESOCKET{}", variable.replace("__", "_"));
        let argv = std::iter::once(OsString::from("x")).chain(words);
        if let Err(exit) = cli::parse(argv, &|name| (name == variable).then(|| value.clone()))
            && matches!(exit, Exit::Refusal(_))
        {
            let text = exit.to_string();
            prop_assert!(text.lines().count() == 1 && text.ends_with('\n'), "{text}");
        }
    }
}
