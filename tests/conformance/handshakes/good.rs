//! Handshakes that look odd and are right: whoever refuses them refuses somebody's client or proxy.

use super::{Knock, and, but};
use crate::engine::GOOD;

pub(super) fn knocks() -> Vec<Knock> {
    let mut knocks = vec![
        Knock::new("1.3", "plain", "the key of the RFC", GOOD),
        Knock::new(
            "4.2.1",
            "names_in_lower_case",
            "header names in lower case",
            in_case(str::to_ascii_lowercase),
        ),
        Knock::new(
            "4.2.1",
            "names_in_upper_case",
            "header names in upper case",
            in_case(str::to_ascii_uppercase),
        ),
        Knock::new(
            "4.2.1",
            "values_in_upper_case",
            "`Upgrade: WEBSOCKET`, `Connection: UPGRADE`",
            but("Upgrade: websocket", "Upgrade: WEBSOCKET")
                .replace("Connection: Upgrade", "Connection: UPGRADE"),
        ),
        Knock::new(
            "4.2.1",
            "values_in_mixed_case",
            "`Upgrade: WebSocket`, `Connection: upgrade`",
            but("Upgrade: websocket", "Upgrade: WebSocket")
                .replace("Connection: Upgrade", "Connection: upgrade"),
        ),
        Knock::new(
            "4.2.1",
            "without_space",
            "no space behind the colons",
            GOOD.replace(": ", ":"),
        ),
        Knock::new(
            "4.2.1",
            "much_space",
            "spaces and tabs around the values",
            GOOD.replace(": ", ": \t ")
                .replace("13\r\n", "13 \t\r\n")
                .replace("==\r\n", "== \r\n"),
        ),
        Knock::new(
            "4.2.1",
            "in_reverse",
            "the headers in reverse order",
            in_reverse(),
        ),
        Knock::new(
            "4.2.1",
            "path_and_query",
            "a path of several components, and a query",
            but("/x ", "/x/y/z?a=b&c=d "),
        ),
        Knock::new(
            "4.2.1",
            "absolute_form",
            "the request target as a whole URL",
            but("/x ", "http://server.example/x "),
        ),
        Knock::new(
            "4.2.1",
            "host_with_port",
            "a host with a port",
            but("server.example", "server.example:8080"),
        ),
        Knock::new(
            "4.2.1",
            "host_in_v6",
            "a host that is an IPv6 address",
            but("server.example", "[2001:db8::1]:80"),
        ),
        Knock::new(
            "4.2.1",
            "percent_in_path",
            "a room whose name is percent-encoded",
            but("/x ", "/%c3%bc%20x "),
        ),
        Knock::new(
            "4.2.1",
            "other_headers",
            "cookies, an agent, a language and a header nobody knows",
            and(
                "Cookie: a=b; c=\"d\"\r\nUser-Agent: x (y; z)\r\nAccept-Language: *\r\nX-Odd_Name.1: \x7e!",
            ),
        ),
        Knock::new(
            "4.2.1",
            "bytes_above_ascii",
            "a header with bytes above ASCII",
            [
                but("\r\n\r\n", "\r\nX-Name: ").into_bytes(),
                b"caf\xc3\xa9 \xff\r\n\r\n".to_vec(),
            ]
            .concat(),
        ),
        Knock::new(
            "4.2.1",
            "empty_body_announced",
            "`Content-Length: 0`",
            and("Content-Length: 0"),
        ),
        Knock::new(
            "4.2.1",
            "origin_allowed",
            "an origin that may connect, in upper case",
            and("Origin: HTTPS://GOOD.EXAMPLE"),
        ),
        Knock::new(
            "4.2.1",
            "bare_line_feeds",
            "lines that end with LF alone (RFC 9112 section 2.2 lets servers take them)",
            GOOD.replace("\r\n", "\n"),
        ),
        Knock::new(
            "4.2.1",
            "empty_line_first",
            "an empty line before the request (RFC 9112 section 2.2)",
            format!("\r\n{GOOD}"),
        ),
    ];
    for (name, value) in [
        ("connection_first_of_list", "Upgrade, keep-alive"),
        ("connection_last_of_list", "keep-alive, Upgrade"),
        ("connection_without_spaces", "keep-alive,Upgrade,x"),
        ("connection_with_empty_elements", ", ,Upgrade , "),
        ("connection_twice_in_list", "Upgrade, Upgrade"),
        ("connection_with_close", "close, Upgrade"),
    ] {
        knocks.push(Knock::new(
            "4.2.1",
            name,
            &format!("`Connection: {value}`"),
            but("Connection: Upgrade", &format!("Connection: {value}")),
        ));
    }
    for (name, lines) in [
        (
            "two_connection_headers",
            "Connection: keep-alive\r\nConnection: Upgrade",
        ),
        (
            "two_connection_headers_reversed",
            "Connection: Upgrade\r\nConnection: keep-alive",
        ),
    ] {
        knocks.push(Knock::new(
            "4.2.1",
            name,
            &format!("`{}`", lines.replace("\r\n", "` and `")),
            but("Connection: Upgrade", lines),
        ));
    }
    for (name, value) in [
        ("upgrade_in_list", "h2c, websocket"),
        ("upgrade_first_of_list", "websocket, TLS/1.2"),
    ] {
        knocks.push(Knock::new(
            "4.2.1",
            name,
            &format!("`Upgrade: {value}`"),
            but("Upgrade: websocket", &format!("Upgrade: {value}")),
        ));
    }
    knocks.push(Knock::new(
        "4.2.1",
        "two_upgrade_headers",
        "`Upgrade: h2c` and `Upgrade: websocket`",
        but("Upgrade: websocket", "Upgrade: h2c\r\nUpgrade: websocket"),
    ));
    subprotocols(&mut knocks);
    knocks
}

fn subprotocols(knocks: &mut Vec<Knock>) {
    let header = "sec-websocket-protocol";
    for (name, lines, chosen) in [
        ("subprotocol_known", "game", Some("game")),
        ("subprotocol_first_known", "x, game, chat", Some("game")),
        ("subprotocol_unknown", "x, y", None),
        ("subprotocol_in_another_case", "CHAT", None),
        ("subprotocol_empty", "", None),
        (
            "subprotocol_in_two_headers",
            "x\r\nSec-WebSocket-Protocol: chat",
            Some("chat"),
        ),
    ] {
        let lines = format!("Sec-WebSocket-Protocol: {lines}");
        let sent = format!(
            "`{}`, of `chat` and `game`",
            lines.replace("\r\n", "` and `")
        );
        knocks.push(Knock::new("4.2.2", name, &sent, and(&lines)).welcome(header, chosen));
    }
}

/// The good handshake with the names of its headers changed.
fn in_case(change: impl Fn(&str) -> String) -> String {
    let lines = GOOD
        .split_inclusive("\r\n")
        .map(|line| match line.split_once(": ") {
            Some((name, value)) => format!("{}: {value}", change(name)),
            None => line.to_owned(),
        });
    lines.collect()
}

fn in_reverse() -> String {
    let (first, rest) = GOOD.split_once("\r\n").unwrap_or_default();
    let mut lines: Vec<&str> = rest.split("\r\n").filter(|line| !line.is_empty()).collect();
    lines.reverse();
    format!("{first}\r\n{}\r\n\r\n", lines.join("\r\n"))
}
