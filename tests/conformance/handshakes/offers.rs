//! RFC 7692 sections 5 and 7.1: offers as clients may write them, and those that cannot be met, of
//! which nothing is agreed to and nobody is turned away.

use super::{Knock, and};

const HEADER: &str = "sec-websocket-extensions";
const AGREED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// The answer that also names a window.
const WINDOWS: [(&str, &str); 5] = [
    (
        "8",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=8",
    ),
    (
        "9",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9",
    ),
    (
        "11",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=11",
    ),
    (
        "12",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12",
    ),
    (
        "15",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15",
    ),
];

fn offer(
    section: &'static str,
    name: &'static str,
    lines: &str,
    answer: Option<&'static str>,
) -> Knock {
    let lines = lines
        .split('\n')
        .map(|line| format!("Sec-WebSocket-Extensions: {line}"));
    let lines = lines.collect::<Vec<_>>();
    let sent = lines
        .iter()
        .map(|line| format!("`{line}`"))
        .collect::<Vec<_>>()
        .join(" and ");
    let mut knock =
        Knock::new(section, name, &sent, and(&lines.join("\r\n"))).welcome(HEADER, answer);
    knock.rfc = 7692;
    knock
}

pub(super) fn knocks() -> Vec<Knock> {
    let mut knocks = Vec::new();
    for (section, name, line) in [
        ("7.1", "offer_plain", "permessage-deflate"),
        (
            "7.1.1.1",
            "offer_server_no_context",
            "permessage-deflate; server_no_context_takeover",
        ),
        (
            "7.1.1.2",
            "offer_client_no_context",
            "permessage-deflate; client_no_context_takeover",
        ),
        (
            "7.1.1",
            "offer_no_context",
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
        ),
        (
            "7.1.2.2",
            "offer_client_window",
            "permessage-deflate; client_max_window_bits",
        ),
        (
            "7.1.2.2",
            "offer_client_window_8",
            "permessage-deflate; client_max_window_bits=8",
        ),
        (
            "7.1.2.2",
            "offer_client_window_15",
            "permessage-deflate; client_max_window_bits=15",
        ),
        (
            "7.1",
            "offer_without_spaces",
            "permessage-deflate;client_max_window_bits;server_no_context_takeover",
        ),
        (
            "7.1",
            "offer_with_spaces",
            "  permessage-deflate ;  client_max_window_bits =  10 ",
        ),
        (
            "5",
            "offer_value_in_quotes",
            "permessage-deflate; client_max_window_bits=\"10\"",
        ),
        (
            "5",
            "offer_second_of_list",
            "x-webkit-deflate-frame, permessage-deflate",
        ),
        (
            "5",
            "offer_behind_one_that_cannot_be_met",
            "permessage-deflate; server_max_window_bits=7, permessage-deflate",
        ),
        ("5", "offer_in_second_header", "x-other\npermessage-deflate"),
        (
            "5",
            "offer_twice",
            "permessage-deflate, permessage-deflate; client_max_window_bits",
        ),
        ("5", "offer_with_empty_elements", ", ,permessage-deflate,"),
        (
            "5",
            "offer_behind_quotes",
            "x; y=\"permessage-deflate\", permessage-deflate",
        ),
    ] {
        knocks.push(offer(section, name, line, Some(AGREED)));
    }
    for (name, (bits, answer)) in [
        "offer_server_window_8",
        "offer_server_window_9",
        "offer_server_window_11",
        "offer_server_window_12",
        "offer_server_window_15",
    ]
    .into_iter()
    .zip(WINDOWS)
    {
        knocks.push(offer(
            "7.1.2.1",
            name,
            &format!("permessage-deflate; server_max_window_bits={bits}"),
            Some(answer),
        ));
    }
    for (section, name, line) in [
        ("5", "declined_other", "permessage-bzip2"),
        ("5", "declined_empty", ""),
        ("7.1", "declined_another_case", "Permessage-Deflate"),
        (
            "7.1",
            "declined_unknown_parameter",
            "permessage-deflate; level=9",
        ),
        (
            "7.1",
            "declined_server_no_context_twice",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        ),
        (
            "7.1",
            "declined_client_window_twice",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
        ),
        (
            "7.1",
            "declined_server_window_twice",
            "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
        ),
        (
            "7.1.1.1",
            "declined_server_no_context_value",
            "permessage-deflate; server_no_context_takeover=1",
        ),
        (
            "7.1.2.1",
            "declined_server_window_alone",
            "permessage-deflate; server_max_window_bits",
        ),
        (
            "7.1.2.1",
            "declined_server_window_7",
            "permessage-deflate; server_max_window_bits=7",
        ),
        (
            "7.1.2.1",
            "declined_server_window_16",
            "permessage-deflate; server_max_window_bits=16",
        ),
        (
            "7.1.2.1",
            "declined_server_window_with_zero",
            "permessage-deflate; server_max_window_bits=010",
        ),
        (
            "7.1.2.1",
            "declined_server_window_in_words",
            "permessage-deflate; server_max_window_bits=ten",
        ),
        (
            "7.1.2.1",
            "declined_server_window_negative",
            "permessage-deflate; server_max_window_bits=-10",
        ),
        (
            "7.1.2.2",
            "declined_client_window_7",
            "permessage-deflate; client_max_window_bits=7",
        ),
        (
            "7.1.2.2",
            "declined_client_window_16",
            "permessage-deflate; client_max_window_bits=16",
        ),
    ] {
        knocks.push(offer(section, name, line, None));
    }
    // Section 9.1 of RFC 6455: who sends what is no list of extensions is turned away.
    for (name, line) in [
        ("malformed_noise", ",;=\""),
        ("malformed_empty_parameter", "permessage-deflate;"),
        (
            "malformed_parameter_without_name",
            "permessage-deflate; =10",
        ),
        (
            "malformed_empty_value",
            "permessage-deflate; server_max_window_bits=",
        ),
        (
            "malformed_empty_value_in_quotes",
            "permessage-deflate; client_no_context_takeover=\"\"",
        ),
        (
            "malformed_open_quotes",
            "permessage-deflate; client_max_window_bits=\"10",
        ),
        (
            "malformed_space_in_value",
            "permessage-deflate; client_max_window_bits=1 0",
        ),
        (
            "malformed_list_in_quotes",
            "x; y=\"a, b\", permessage-deflate",
        ),
        ("malformed_second_header", "permessage-deflate\n;"),
    ] {
        let mut knock = offer("9.1", name, line, None).refused(400, Some("bad_handshake"));
        knock.rfc = 6455;
        knocks.push(knock);
    }
    knocks
}
