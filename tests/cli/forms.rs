//! Every form of every flag, good and bad, on the command line and as a variable.

use std::path::PathBuf;

use scalesocket::cli::{
    Access, Cache, Keep, LogFormat, Memory, Proxy, Refuse, Restart, Slow, Stderr,
};

use super::*;

type Holds = fn(&Config) -> bool;

/// Every documented form of every flag, and what it means. `cat` is served unless the line says
/// otherwise.
const FORMS: &[(&str, Holds)] = &[
    ("--addr 127.0.0.1:9000", |c| {
        c.addr == [tcp("127.0.0.1:9000")]
    }),
    ("--addr=[::1]:0", |c| c.addr == [tcp("[::1]:0")]),
    ("--addr localhost:80 --addr unix:/run/s.sock", |c| {
        c.addr
            == [
                tcp("localhost:80"),
                Listen::Unix(PathBuf::from("/run/s.sock")),
            ]
    }),
    ("--addr 127.0.0.1:0 --addr 127.0.0.1:0", |c| {
        c.addr.len() == 2
    }),
    ("--addr game_1.example.com:1,0.0.0.0:65535", |c| {
        c.addr.len() == 2
    }),
    ("--unix-mode 0600 --addr unix:s", |c| {
        c.unix_mode == 0o600 && c.warnings.is_empty()
    }),
    ("--unix-mode 0o777 --addr unix:s", |c| c.unix_mode == 0o777),
    ("--unix-mode 666", |c| {
        c.unix_mode == 0o666 && c.warnings.len() == 1
    }),
    ("--admin-addr 127.0.0.1:9100", |c| {
        c.admin_addr == Some(tcp("127.0.0.1:9100")) && c.metrics && c.stats && !c.api
    }),
    ("--console", |c| {
        c.console
            .as_ref()
            .is_some_and(|it| it.access == Access::Read && it.token_file.is_none())
    }),
    ("--console=write --admin-token-file t", |c| {
        let console = c.console.as_ref();
        console.is_some_and(|it| it.access == Access::Write && it.token_file == Some("t".into()))
    }),
    ("--admin-addr unix:/a", |c| {
        c.admin_addr == Some(Listen::Unix("/a".into()))
    }),
    ("--tcp", |c| c.tcp && c.tcpports == (9001..=9999)),
    ("--tcp --tcpports 1:65535", |c| c.tcpports == (1..=65535)),
    ("--tcp --tcpports 7000:7000", |c| {
        c.tcpports == (7000..=7000)
    }),
    ("--connect 127.0.0.1:7777", |c| {
        c.source == Source::Connect("127.0.0.1:7777".into())
    }),
    ("--connect [::1]:7777 --json", |c| {
        matches!(c.source, Source::Connect(_))
    }),
    ("--cmd-attach-delay 1", |c| {
        c.cmd_attach_delay == Some(secs(1))
    }),
    ("--cmd-attach-delay 0.5", |c| {
        c.cmd_attach_delay == Some(Duration::from_millis(500))
    }),
    ("", |c| c.pty.is_none() && c.stop_signal == libc::SIGTERM),
    ("--pty", |c| {
        framing(c) == (ServerFraming::Raw, ClientFraming::Raw)
            && c.pty.map(|size| (size.columns, size.rows)) == Some((80, 24))
            && c.stop_signal == libc::SIGHUP
    }),
    ("--pty=132x43", |c| {
        c.pty.map(|size| (size.columns, size.rows)) == Some((132, 43))
    }),
    ("--pty=1x1000 --binary", |c| c.pty.is_some()),
    ("--pty --stop-signal TERM", |c| {
        c.stop_signal == libc::SIGTERM
    }),
    ("--cmd-attach-delay 0", |c| {
        c.cmd_attach_delay == Some(Duration::ZERO)
    }),
    ("--delay 3", |c| c.cmd_attach_delay == Some(secs(3))),
    ("--start-timeout 1m", |c| c.start_timeout == secs(60)),
    ("--passenv A,B", |c| c.passenv == ["A", "B"]),
    ("--passenv A --passenv B", |c| c.passenv == ["A", "B"]),
    ("--passenv '*'", |c| c.passenv == ["*"]),
    ("--isolate", |c| c.isolate),
    ("--oneshot", |c| c.oneshot && c.maxrooms == 1),
    ("--oneshot --maxrooms 1", |c| c.oneshot && c.maxrooms == 1),
    ("--restart never", |c| c.restart == Restart::Never),
    ("--restart on-failure", |c| c.restart == Restart::OnFailure),
    ("--stderr log", |c| c.stderr == Stderr::Log),
    ("--stderr client", |c| c.stderr == Stderr::Client),
    ("--stderr inherit", |c| c.stderr == Stderr::Inherit),
    ("--stderr=drop", |c| c.stderr == Stderr::Drop),
    ("--frame", |c| {
        framing(c) == json() && c.from_field == "id" && c.to_field == "id"
    }),
    ("--frame=json", |c| framing(c) == json()),
    ("--frame=binary", |c| {
        framing(c) == (ServerFraming::Binary, ClientFraming::Binary)
    }),
    ("--frame=gwsocket", |c| {
        framing(c) == (ServerFraming::Gwsocket, ClientFraming::Gwsocket)
    }),
    ("--client-frame=json", |c| {
        framing(c) == (ServerFraming::Lines, ClientFraming::Json)
    }),
    ("--client-frame binary", |c| {
        framing(c) == (ServerFraming::Lines, ClientFraming::Binary)
    }),
    ("--clientframe=gwsocket", |c| {
        c.client_framing == ClientFraming::Gwsocket
    }),
    ("--server-frame=json", |c| {
        framing(c) == (ServerFraming::Json, ClientFraming::Lines)
    }),
    ("--server-frame binary", |c| {
        framing(c) == (ServerFraming::Binary, ClientFraming::Lines)
    }),
    ("--serverframe=gwsocket", |c| {
        c.server_framing == ServerFraming::Gwsocket
    }),
    ("--client-frame=json --server-frame=gwsocket", |c| {
        framing(c) == (ServerFraming::Gwsocket, ClientFraming::Json)
    }),
    ("--json", |c| {
        framing(c) == json()
            && c.from_field == "_from"
            && c.to_field == "_to"
            && c.joinmsg.as_deref() == Some(r#"{"t":"Join","_from":#ID}"#)
            && c.leavemsg.as_deref() == Some(r#"{"t":"Leave","_from":#ID}"#)
    }),
    ("--json --from-field 'a\"b' --to-field to", |c| {
        c.from_field == "a\"b"
            && c.to_field == "to"
            && c.joinmsg.as_deref() == Some(r#"{"t":"Join","a\"b":#ID}"#)
    }),
    ("--json --joinmsg hi --leavemsg bye", |c| {
        c.joinmsg.as_deref() == Some("hi") && c.leavemsg.as_deref() == Some("bye")
    }),
    ("--frame --from-field from --to-field to", |c| {
        c.from_field == "from" && c.to_field == "to" && c.joinmsg.is_none()
    }),
    ("--joinmsg 'join #ID'", |c| {
        c.joinmsg.as_deref() == Some("join #ID")
    }),
    ("--joinmsg=-x", |c| c.joinmsg.as_deref() == Some("-x")),
    ("--leavemsg 'bye #REMOTE_ADDR, #QUERY_NAME'", |c| {
        c.leavemsg.is_some()
    }),
    ("--binary", |c| {
        framing(c) == (ServerFraming::Raw, ClientFraming::Raw)
    }),
    ("--binary --client-frame=json", |c| {
        framing(c) == (ServerFraming::Raw, ClientFraming::Json)
    }),
    ("--null", |c| {
        framing(c) == (ServerFraming::Null, ClientFraming::Null)
    }),
    ("--null --client-frame=json", |c| {
        framing(c) == (ServerFraming::Null, ClientFraming::Json)
    }),
    ("--delimiters=bc", |c| {
        framing(c)
            == (
                ServerFraming::Delimiters(b"bc".to_vec()),
                ClientFraming::Lines,
            )
    }),
    (r"--delimiters \t\0\x1e\\\r;;", |c| {
        c.server_framing == ServerFraming::Delimiters(b"\0\t\r\x1e;\\".to_vec())
    }),
    (r"--delimiters \xFF", |c| {
        c.server_framing == ServerFraming::Delimiters(vec![0xff])
    }),
    (r"--delimiters \n", |c| {
        c.server_framing == ServerFraming::Lines
    }),
    ("--null --delimiters=;", |c| {
        framing(c)
            == (
                ServerFraming::Delimiters(b"\0;".to_vec()),
                ClientFraming::Null,
            )
    }),
    ("--cache 8", |c| {
        c.cache
            == Some(Cache {
                keep: Keep::All,
                messages: 8,
            })
    }),
    ("--cache all:64", |c| {
        c.cache
            == Some(Cache {
                keep: Keep::All,
                messages: 64,
            })
    }),
    ("--cache tagged:1 --frame", |c| {
        c.cache
            == Some(Cache {
                keep: Keep::Tagged,
                messages: 1,
            })
            && c.warnings.is_empty()
    }),
    ("--cache 5 --cachepersist", |c| {
        c.cachepersist && c.warnings.is_empty()
    }),
    ("--rooms lobby,arena --rooms 'the hall',lobby", |c| {
        c.rooms.as_deref() == Some(&["lobby".into(), "arena".into(), "the hall".into()][..])
    }),
    ("--maxrooms 5", |c| c.maxrooms == 5),
    ("--maxforks 5", |c| c.maxrooms == 5),
    ("--max-clients 4294967295", |c| {
        c.max_clients == Some(4_294_967_295)
    }),
    ("--max-clients-per-room 2", |c| {
        c.max_clients_per_room == Some(2)
    }),
    ("--max-clients-per-ip 1", |c| {
        c.max_clients_per_ip == Some(1)
    }),
    (
        "--origin https://example.com,example.com:8443,*.example.com,null,*",
        |c| c.origin.len() == 5 && c.origin[0] == "https://example.com",
    ),
    ("--same-origin", |c| c.same_origin),
    ("--subprotocol chat.v2,chat", |c| {
        c.subprotocol == ["chat.v2", "chat"]
    }),
    ("--refuse http", |c| c.refuse == Refuse::Http),
    ("--refuse close", |c| c.refuse == Refuse::Close),
    ("--linger 30s", |c| c.linger == secs(30)),
    ("--linger 0", |c| c.linger == Duration::ZERO),
    ("--max-idle 2h", |c| c.max_idle == Some(secs(7200))),
    ("--max-idle 0", |c| c.max_idle.is_none()),
    ("--max-lifetime 7d", |c| {
        c.max_lifetime == Some(secs(604_800))
    }),
    ("--max-lifetime 0s", |c| c.max_lifetime.is_none()),
    ("--stop-eof 250ms", |c| {
        c.stop_eof == Duration::from_millis(250)
    }),
    ("--stop-eof 0", |c| c.stop_eof == Duration::ZERO),
    ("--stop-signal TERM", |c| c.stop_signal == libc::SIGTERM),
    ("--stop-signal SIGINT", |c| c.stop_signal == libc::SIGINT),
    ("--stop-signal hup", |c| c.stop_signal == libc::SIGHUP),
    ("--stop-signal 15", |c| c.stop_signal == 15),
    ("--stop-signal KILL", |c| c.stop_signal == libc::SIGKILL),
    ("--stop-grace 1.5s", |c| {
        c.stop_grace == Duration::from_millis(1500)
    }),
    ("--drain-timeout 0", |c| c.drain_timeout == Duration::ZERO),
    ("--drain-timeout 3650d", |c| {
        c.drain_timeout == secs(3650 * 86400)
    }),
    ("--backlog 65536", |c| c.backlog == 65536),
    ("--backlog 64KiB", |c| c.backlog == 65536),
    ("--backlog 64k", |c| c.backlog == 65536),
    ("--backlog 64kB", |c| c.backlog == 64_000),
    ("--backlog 1.5Mi", |c| c.backlog == 1_572_864),
    ("", |c| c.memory == Memory::Half),
    ("--memory 64MiB", |c| c.memory == Memory::Limit(64 << 20)),
    ("--memory 16MiB", |c| c.memory == Memory::Limit(16 << 20)),
    ("--memory 2GB", |c| c.memory == Memory::Limit(2_000_000_000)),
    ("--memory 0", |c| c.memory == Memory::NoLimit),
    ("--inbox 1M", |c| c.inbox == 1 << 20),
    ("--inbox 1MB", |c| c.inbox == 1_000_000),
    ("--inbox 1", |c| c.inbox == 1),
    ("--max-message 1GiB", |c| c.max_message == 1 << 30),
    ("--max-child-message 2GB", |c| {
        c.max_child_message == 2_000_000_000
    }),
    ("", |c| c.compress.is_none()),
    ("--compress", |c| c.compress == Some(512)),
    ("--compress=2", |c| c.compress == Some(2)),
    ("--compress=2KiB", |c| c.compress == Some(2048)),
    ("--slow disconnect", |c| c.slow == Slow::Disconnect),
    ("--slow drop", |c| c.slow == Slow::Drop),
    ("--slow block", |c| c.slow == Slow::Block),
    ("--stall-timeout 1ms", |c| {
        c.stall_timeout == Duration::from_millis(1)
    }),
    ("--ping 10", |c| c.ping == Some(secs(10))),
    ("--ping 0", |c| c.ping.is_none()),
    ("--ping-timeout 5s", |c| c.ping_timeout == Some(secs(5))),
    ("--ping-timeout 0", |c| c.ping_timeout.is_none()),
    ("--metrics", |c| c.metrics && !c.stats),
    ("--metrics-rooms 0", |c| c.metrics_rooms == 0),
    ("--metrics-rooms 2500", |c| c.metrics_rooms == 2500),
    ("--stats", |c| c.stats && !c.metrics),
    ("--api", |c| c.api),
    ("--staticdir public", |c| {
        c.staticdir == Some(PathBuf::from("public"))
    }),
    (
        "--header 'X-Frame-Options: DENY' --header 'Cache-Control:no-cache, no-store '",
        |c| {
            c.header
                == [
                    ("x-frame-options".to_owned(), "DENY".to_owned()),
                    ("cache-control".to_owned(), "no-cache, no-store".to_owned()),
                ]
        },
    ),
    (
        "--tls-cert a.pem --tls-key a.key --tls-cert b.pem --tls-key b.key",
        |c| {
            let pair = |name: &str| (format!("{name}.pem").into(), format!("{name}.key").into());
            let tls = c.tls.as_ref().expect("TLS");
            tls.pairs == [pair("a"), pair("b")] && tls.client_ca.is_none() && tls.redirect.is_none()
        },
    ),
    (
        "--tls-cert a --tls-key b --tls-client-ca c --redirect-addr 0.0.0.0:80 --addr 0.0.0.0:443",
        |c| {
            let tls = c.tls.as_ref().expect("TLS");
            tls.client_ca == Some("c".into()) && tls.redirect == Some(tcp("0.0.0.0:80"))
        },
    ),
    ("--trusted-proxy 10.0.0.0/8,2001:db8::/32", |c| {
        let network =
            |address: &str, length| Proxy::Network(address.parse().expect("an address"), length);
        c.front.trusted_proxy == [network("10.0.0.0", 8), network("2001:db8::", 32)]
    }),
    ("--trusted-proxy ::ffff:10.0.0.0/104,::ffff:10.0.0.1", |c| {
        let network = |length| Proxy::Network("10.0.0.0".parse().expect("an address"), length);
        let one = Proxy::Network("10.0.0.1".parse().expect("an address"), 32);
        c.front.trusted_proxy == [network(8), one]
    }),
    ("--trusted-proxy loopback --trusted-proxy unix,::1", |c| {
        let one = Proxy::Network("::1".parse().expect("an address"), 128);
        c.front.trusted_proxy == [Proxy::Loopback, Proxy::Unix, one]
    }),
    ("--proxy-protocol --trusted-proxy unix", |c| {
        c.front.proxy_protocol && c.front.trusted_proxy == [Proxy::Unix]
    }),
    ("--base-path /games", |c| c.front.base_path == "/games"),
    ("--base-path /a.b/c_d/", |c| c.front.base_path == "/a.b/c_d"),
    ("--host play.example,www.play.example --host x", |c| {
        c.front.host == ["play.example", "www.play.example", "x"]
    }),
    ("--log text", |c| c.log == LogFormat::Text),
    ("--log json", |c| c.log == LogFormat::Json),
    ("--verbose", |c| c.verbosity == 1),
    ("--verbose --verbose", |c| c.verbosity == 2),
    ("--quiet", |c| c.verbosity == -1),
];

/// One bad value each.
const BAD: &[&str] = &[
    "--addr 9000",
    "--addr :9000",
    "--addr ::1:9000",
    "--addr [::1",
    "--addr [::1]",
    "--addr [::g]:1",
    "--addr 127.0.0.1:65536",
    "--addr 127.0.0.1:+80",
    "--addr 127.0.0.1:",
    "--addr 300.1.1.1:80",
    "--addr http://localhost:80",
    "--addr 'a b:80'",
    "--addr unix:",
    "--addr 127.0.0.1:80,",
    "--unix-mode 0888",
    "--unix-mode 01777",
    "--unix-mode +660",
    "--unix-mode rw",
    "--admin-addr 9100",
    "--console=rw",
    "--admin-token-file -",
    "--tls-cert -",
    "--tls-key a,-",
    "--tls-client-ca -",
    "--redirect-addr 80",
    "--trusted-proxy 10.0.0.0/33",
    "--trusted-proxy ::/129",
    "--trusted-proxy 10.0.0.0/",
    "--trusted-proxy 10.0.0.0/+8",
    "--trusted-proxy localhost",
    "--base-path games",
    "--base-path /",
    "--base-path /a//b",
    "--base-path /a/../b",
    "--base-path '/a b'",
    "--base-path /a%20b",
    "--host play.example:443",
    "--host https://play.example",
    "--tcpports 9001",
    "--tcpports 9999:9001",
    "--tcpports 0:10",
    "--tcpports 1:65536",
    "--tcpports :",
    "--tcpports 1:2:3",
    "--connect 7777",
    "--connect localhost:0",
    "--connect unix:/s",
    "--cmd-attach-delay -1",
    "--cmd-attach-delay soon",
    "--delay 1y",
    "--start-timeout 0",
    "--passenv A=B",
    "--passenv 'A B'",
    "--restart always",
    "--stderr file",
    "--frame=xml",
    "--client-frame=JSON",
    "--clientframe=x",
    "--server-frame=lines",
    "--serverframe=x",
    "--from-field _meta",
    "--to-field _close",
    "--delimiters é",
    r"--delimiters \q",
    r"--delimiters \x",
    r"--delimiters \x4",
    r"--delimiters \xzz",
    r"--delimiters \",
    "--cache 0",
    "--cache some:8",
    "--cache all:",
    "--cache tagged:x",
    "--cache 1000001",
    "--cache -8",
    "--rooms a,,b",
    "--rooms stats",
    "--rooms ~1",
    "--rooms a/b",
    "--maxrooms 0",
    "--maxrooms many",
    "--maxforks 0",
    "--max-clients 0",
    "--max-clients 4294967296",
    "--max-clients +5",
    "--max-clients-per-room 0",
    "--max-clients-per-ip 0",
    "--origin https://example.com/",
    "--origin https://example.com/page",
    "--origin ://x",
    "--origin 'a b'",
    "--origin https://",
    "--subprotocol 'chat v2'",
    "--subprotocol a,,b",
    "--refuse politely",
    "--linger 1.s",
    "--linger .5",
    "--linger 1.2.3",
    "--linger '5 m'",
    "--linger 1e3",
    "--linger inf",
    "--linger NaN",
    "--linger 3651d",
    "--linger 99999999999999999999999999999999d",
    "--max-idle never",
    "--max-lifetime 1w",
    "--stop-eof x",
    "--pty=0x24",
    "--pty=80",
    "--pty=80x1001",
    "--pty=80x24x1",
    "--stop-signal 0",
    "--stop-signal 99",
    "--stop-signal STOP",
    "--stop-signal CONT",
    "--stop-signal please",
    "--stop-grace x",
    "--drain-timeout x",
    "--backlog 0",
    "--backlog 0.5",
    "--backlog 4MM",
    "--backlog big",
    "--backlog 2000GiB",
    "--memory half",
    "--memory 1MiB",
    "--memory 16777215",
    "--memory 50%",
    "--inbox 0",
    "--slow wait",
    "--stall-timeout 0",
    "--max-message 0",
    "--max-child-message 0",
    "--compress=0.5",
    "--compress=always",
    "--ping x",
    "--ping-timeout x",
    "--metrics-rooms -1",
    "--metrics-rooms 1000001",
    "--header X-Frame-Options",
    "--header 'X Frame: 1'",
    "--header ': x'",
    "--header 'Content-Length: 5'",
    "--header 'Sec-WebSocket-Accept: x'",
    "--log xml",
];

#[test]
fn every_documented_form_means_what_the_reference_says() {
    for (flags, holds) in FORMS
        .iter()
        .chain(identity::FORMS)
        .chain(cage::FORMS)
        .chain(door::FORMS)
        .chain(develop::FORMS)
    {
        let config = config(&with_cat(flags));
        assert!(holds(&config), "{flags}: {config:#?}");
    }
}

#[test]
fn a_variable_means_what_its_flag_means() {
    for (flags, holds) in FORMS
        .iter()
        .chain(identity::FORMS)
        .chain(cage::FORMS)
        .chain(door::FORMS)
        .chain(develop::FORMS)
    {
        let variables = as_variables(flags);
        let line = if flags.contains("--connect") {
            ""
        } else {
            "cat"
        };
        let config = config_in(&borrowed(&variables), line);
        assert!(holds(&config), "{variables:?}: {config:#?}");
    }
}

#[test]
fn a_bad_value_is_refused_in_one_sentence_that_names_it() {
    for flags in BAD
        .iter()
        .chain(identity::BAD)
        .chain(cage::BAD)
        .chain(door::BAD)
        .chain(develop::BAD)
    {
        let sentence = refused(&with_cat(flags));
        let flag = flags.split([' ', '=']).next().unwrap_or_default();
        let flag = match flag {
            "--delay" => "--cmd-attach-delay",
            "--clientframe" => "--client-frame",
            "--serverframe" => "--server-frame",
            "--maxforks" => "--maxrooms",
            flag => flag,
        };
        assert!(
            sentence.contains(flag) || sentence.starts_with("`-"),
            "{flags}: {sentence}"
        );
    }
}

#[test]
fn a_bad_variable_is_refused_by_its_own_name() {
    for flags in BAD
        .iter()
        .chain(identity::BAD)
        .chain(cage::BAD)
        .chain(door::BAD)
        .chain(develop::BAD)
    {
        let variables = as_variables(flags);
        let sentence = refused_in(&borrowed(&variables), "cat");
        let [(name, _)] = &variables[..] else {
            panic!("one flag a line: {flags}")
        };
        assert!(sentence.contains(name), "{flags}: {sentence}");
    }
}

#[test]
fn every_flag_and_every_value_is_tried_above() {
    let free_text = [
        "joinmsg",
        "leavemsg",
        "staticdir",
        "chdir",
        "watch",
        "record",
    ];
    for arg in cli::command().get_arguments() {
        let Some(long) = arg.get_long() else { continue };
        let spellings = arg
            .get_all_aliases()
            .unwrap_or_default()
            .into_iter()
            .chain([long]);
        for spelling in spellings {
            let flag = format!("--{spelling}");
            let tried = |line: &str| line.split([' ', '=']).any(|word| word == flag);
            assert!(
                FORMS
                    .iter()
                    .chain(identity::FORMS)
                    .chain(cage::FORMS)
                    .chain(door::FORMS)
                    .chain(develop::FORMS)
                    .any(|(line, _)| tried(line))
                    || tried_in_fleets(&flag),
                "no form of {flag}"
            );
            if arg.get_action().takes_values() && !free_text.contains(&long) {
                assert!(
                    BAD.iter()
                        .chain(identity::BAD)
                        .chain(cage::BAD)
                        .chain(door::BAD)
                        .chain(develop::BAD)
                        .any(|line| tried(line))
                        || spoilt_in_fleets(&flag),
                    "no bad value of {flag}"
                );
            }
        }
    }
}

#[cfg(feature = "kube")]
fn tried_in_fleets(flag: &str) -> bool {
    let tried = |line: &str| line.split(' ').any(|word| word == flag);
    cluster::FORMS.iter().any(|(line, _)| tried(line))
}

#[cfg(feature = "kube")]
fn spoilt_in_fleets(flag: &str) -> bool {
    cluster::BAD.iter().any(|line| line.starts_with(flag))
}

#[cfg(not(feature = "kube"))]
fn tried_in_fleets(_: &str) -> bool {
    false
}

#[cfg(not(feature = "kube"))]
fn spoilt_in_fleets(_: &str) -> bool {
    false
}

#[test]
fn empty_values_are_refused_where_they_mean_nothing() {
    for arg in cli::command().get_arguments() {
        let Some(long) = arg.get_long().filter(|_| arg.get_action().takes_values()) else {
            continue;
        };
        match long {
            // An empty list hands nothing over; an empty message is an empty line.
            "passenv" => assert!(config("--passenv '' cat").passenv.is_empty()),
            "joinmsg" | "leavemsg" => drop(config(&format!("--{long} '' cat"))),
            "connect" => drop(refused("--connect ''")),
            _ => drop(refused(&format!("--{long}= cat"))),
        }
    }
}

#[test]
fn room_names_are_those_that_a_path_can_have() {
    let longest = "é".repeat(64);
    assert_eq!(
        config(&format!("--rooms {longest} cat")).rooms,
        Some(vec![longest.clone()])
    );
    refused(&format!("--rooms {longest}x cat"));
    refused("--rooms 'a\tb' cat");
    for reserved in "api metrics stats health healthz livez ready readyz console resolve drain \
                     static upload favicon.ico robots.txt"
        .split(' ')
    {
        assert!(refused(&format!("--rooms {reserved} cat")).contains("server's own"));
    }
}

#[test]
fn a_unix_socket_path_fits_its_address() {
    let path = "x".repeat(if cfg!(target_os = "linux") { 107 } else { 103 });
    assert_eq!(
        config(&format!("--addr unix:{path} cat")).addr,
        [Listen::Unix(path.clone().into())]
    );
    refused(&format!("--addr unix:{path}x cat"));
}
