//! Handshakes that must be refused, with the status that says why: ours where it is a request that
//! can be understood, HTTP's own where it cannot.

use super::{Knock, and, but};
use crate::engine::GOOD;

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
const HOST: &str = "Host: server.example\r\n";

pub(super) fn knocks() -> Vec<Knock> {
    let mut knocks = Vec::new();
    requests(&mut knocks);
    headers(&mut knocks);
    keys(&mut knocks);
    versions(&mut knocks);
    rules(&mut knocks);
    too_long(&mut knocks);
    http(&mut knocks);
    knocks
}

fn requests(knocks: &mut Vec<Knock>) {
    let bad = Some("bad_handshake");
    for (name, method) in [
        ("post", "POST"),
        ("put", "PUT"),
        ("unknown_method", "WEBSOCKET"),
        ("method_in_lower_case", "get"),
    ] {
        knocks.push(
            Knock::new(
                "4.2.1",
                name,
                &format!("`{method}`: the method is GET"),
                but("GET", method),
            )
            .refused(400, bad),
        );
    }
    knocks.push(
        Knock::new(
            "4.2.1",
            "http_1_0",
            "HTTP/1.0: at least 1.1",
            but("HTTP/1.1", "HTTP/1.0"),
        )
        .refused(400, bad),
    );
    knocks.push(Knock::new("4.2.1", "no_host", "no `Host`", but(HOST, "")).refused(400, bad));
    knocks.push(
        Knock::new(
            "4.2.1",
            "two_hosts",
            "two different `Host`",
            and("Host: other.example"),
        )
        .refused(400, bad),
    );
    knocks.push(
        Knock::new(
            "4.2.1",
            "body",
            "a body behind the handshake",
            [and("Content-Length: 5"), "hello".to_owned()].concat(),
        )
        .refused(400, bad),
    );
    knocks.push(
        Knock::new(
            "4.2.1",
            "chunked_body",
            "a body in chunks behind the handshake",
            [
                and("Transfer-Encoding: chunked"),
                "5\r\nhello\r\n0\r\n\r\n".to_owned(),
            ]
            .concat(),
        )
        .refused(400, bad),
    );
}

fn headers(knocks: &mut Vec<Knock>) {
    let bad = Some("bad_handshake");
    let not = Some("not_a_websocket_request");
    knocks.push(
        Knock::new(
            "4.2.1",
            "no_connection",
            "no `Connection`",
            but("Connection: Upgrade\r\n", ""),
        )
        .refused(400, bad),
    );
    for (name, value) in [
        ("connection_without_upgrade", "keep-alive"),
        ("connection_close", "close"),
        ("connection_misspelled", "Upgraded"),
        ("connection_quoted", "\"Upgrade\""),
    ] {
        knocks.push(
            Knock::new(
                "4.2.1",
                name,
                &format!("`Connection: {value}`: no token `upgrade`"),
                but("Connection: Upgrade", &format!("Connection: {value}")),
            )
            .refused(400, bad),
        );
    }
    knocks.push(
        Knock::new(
            "4.2.1",
            "no_upgrade",
            "no `Upgrade`: an ordinary request",
            but("Upgrade: websocket\r\n", ""),
        )
        .refused(426, not),
    );
    for (name, value) in [
        ("upgrade_to_another", "h2c"),
        ("upgrade_misspelled", "websockets"),
        ("upgrade_quoted", "\"websocket\""),
        ("upgrade_empty", ""),
    ] {
        knocks.push(
            Knock::new(
                "4.2.1",
                name,
                &format!("`Upgrade: {value}`: not websocket"),
                but("Upgrade: websocket", &format!("Upgrade: {value}")),
            )
            .refused(426, not),
        );
    }
}

fn keys(knocks: &mut Vec<Knock>) {
    let bad = Some("bad_handshake");
    knocks.push(Knock::new("4.2.1", "no_key", "no key", but(KEY, "")).refused(400, bad));
    knocks.push(
        Knock::new(
            "11.3.1",
            "two_keys",
            "two keys",
            and("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
        )
        .refused(400, bad),
    );
    knocks.push(
        Knock::new(
            "11.3.1",
            "same_key_twice",
            "the same key twice",
            and(KEY.trim_end()),
        )
        .refused(400, bad),
    );
    for (name, key, why) in [
        ("empty_key", "", "an empty key"),
        (
            "key_of_15_bytes",
            "dGhlIHNhbXBsZSBub25j",
            "a key of 15 bytes, not 16",
        ),
        (
            "key_of_17_bytes",
            "dGhlIHNhbXBsZSBub25jZXM=",
            "a key of 17 bytes, not 16",
        ),
        (
            "key_without_padding",
            "dGhlIHNhbXBsZSBub25jZQ",
            "a key without its padding",
        ),
        (
            "key_with_odd_bits",
            "dGhlIHNhbXBsZSBub25jZR==",
            "a key with bits behind its end (RFC 4648 section 3.5)",
        ),
        (
            "key_for_urls",
            "_-_-_-_-_-_-_-_-_-_-_w==",
            "a key in the alphabet for URLs",
        ),
        (
            "key_with_space_inside",
            "dGhlIHNhbXBs ZSBub25jZQ==",
            "a key with a space inside",
        ),
        (
            "key_that_is_no_base64",
            "!!!!!!!!!!!!!!!!!!!!!!==",
            "a key that is no base64",
        ),
        (
            "two_keys_in_one",
            "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
            "two keys in one header",
        ),
    ] {
        knocks.push(
            Knock::new(
                "4.2.1",
                name,
                why,
                but(KEY.trim_end(), &format!("Sec-WebSocket-Key: {key}")),
            )
            .refused(400, bad),
        );
    }
}

fn versions(knocks: &mut Vec<Knock>) {
    let bad = Some("bad_version");
    knocks.push(Knock::new("4.4", "no_version", "no version", but(VERSION, "")).refused(426, bad));
    for (name, version) in [
        ("version_0", "0"),
        ("version_8", "8"),
        ("version_12", "12"),
        ("version_14", "14"),
        ("version_130", "130"),
        ("version_255", "255"),
        ("version_013", "013"),
        ("version_plus_13", "+13"),
        ("version_with_fraction", "13.0"),
        ("version_in_words", "thirteen"),
        ("version_empty", ""),
        ("version_list", "13, 8"),
    ] {
        knocks.push(
            Knock::new(
                "4.4",
                name,
                &format!("version `{version}`: it is 13, and once"),
                but("Version: 13", &format!("Version: {version}")),
            )
            .refused(426, bad),
        );
    }
    knocks.push(
        Knock::new(
            "11.3.5",
            "two_versions",
            "two versions in two headers",
            and("Sec-WebSocket-Version: 8"),
        )
        .refused(426, bad),
    );
}

/// What this server adds to the RFC, which leaves it to servers (section 4.2.2).
fn rules(knocks: &mut Vec<Knock>) {
    for (name, origin) in [
        ("origin_of_another_page", "https://evil.example"),
        ("origin_null", "null"),
        (
            "origin_of_a_longer_name",
            "https://good.example.evil.example",
        ),
        ("origin_of_another_scheme", "http://good.example"),
    ] {
        knocks.push(
            Knock::new(
                "10.2",
                name,
                &format!("`Origin: {origin}`, which `--origin` does not name"),
                and(&format!("Origin: {origin}")),
            )
            .refused(403, Some("origin_not_allowed")),
        );
    }
    knocks.push(
        Knock::new(
            "4.2.2",
            "room_not_utf8",
            "a room whose name is not UTF-8",
            but("/x ", "/%ff "),
        )
        .refused(400, Some("bad_room_name")),
    );
    for (name, sent, target) in [
        ("room_without_name", "no room", "/ "),
        ("no_path", "a request target without a slash", "x "),
    ] {
        knocks.push(
            Knock::new("4.2.2", name, sent, but("/x ", target)).refused(400, Some("bad_room_name")),
        );
    }
    knocks.push(
        Knock::new(
            "4.2.2",
            "room_with_control",
            "a room with a line feed in its name",
            but("/x ", "/a%0ab "),
        )
        .refused(400, Some("bad_room_name")),
    );
    knocks.push(
        Knock::new(
            "4.2.2",
            "room_too_long",
            "a room of 129 bytes",
            but("/x ", &format!("/{} ", "x".repeat(129))),
        )
        .refused(400, Some("bad_room_name")),
    );
    knocks.push(
        Knock::new(
            "4.2.2",
            "room_reserved",
            "a room with an endpoint's name",
            but("/x ", "/metrics "),
        )
        .refused(400, Some("reserved_name")),
    );
}

/// Too much of HTTP, which is told with a reason.
fn too_long(knocks: &mut Vec<Knock>) {
    let many: Vec<String> = (0..101).map(|n| format!("X-{n}: y")).collect();
    let long = format!("X-Long: {}", "x".repeat(100 << 10));
    let line = but("/x ", &format!("/{} ", "x".repeat(40 << 10)));
    for (name, sent, request, status, label) in [
        (
            "many_headers",
            "106 headers, 100 are allowed",
            and(&many.join("\r\n")),
            431,
            "too_many_headers",
        ),
        (
            "long_header",
            "a head of 100 KiB, 32 are allowed",
            and(&long),
            431,
            "head_too_large",
        ),
        (
            "long_line",
            "a request line of 40 KiB, where the head may have 32",
            line,
            414,
            "uri_too_long",
        ),
    ] {
        knocks.push(Knock::new("10.4", name, sent, request).refused(status, Some(label)));
    }
}

/// What is no HTTP: HTTP's own answer, without a body.
fn http(knocks: &mut Vec<Knock>) {
    let with_nul = GOOD.replace("websocket\r\n", "websock\0et\r\n");
    for (section, name, sent, request, status) in [
        (
            "4.2.1",
            "http_0_9",
            "a request without a version",
            b"GET /x\r\n\r\n".to_vec(),
            400,
        ),
        (
            "4.2.1",
            "http_2",
            "`HTTP/2.0` in words",
            but("HTTP/1.1", "HTTP/2.0").into_bytes(),
            400,
        ),
        (
            "4.2.1",
            "http_3_letters",
            "a protocol that is not HTTP",
            but("HTTP/1.1", "HTP/1.1").into_bytes(),
            400,
        ),
        (
            "4.2.1",
            "space_in_path",
            "a space inside the path",
            but("/x ", "/x y ").into_bytes(),
            400,
        ),
        (
            "4.2.1",
            "nul_in_value",
            "a NUL in a header",
            with_nul.into_bytes(),
            400,
        ),
        (
            "4.2.1",
            "nul_in_path",
            "a NUL in the path",
            but("/x ", "/x\0 ").into_bytes(),
            400,
        ),
        (
            "4.2.1",
            "space_before_colon",
            "a space before a colon (RFC 9112 section 5.1)",
            but("Upgrade: ", "Upgrade : ").into_bytes(),
            400,
        ),
        (
            "4.2.1",
            "folded_header",
            "a header over two lines (RFC 9112 section 5.2)",
            but("Upgrade: websocket", "Upgrade:\r\n websocket").into_bytes(),
            400,
        ),
        (
            "4.2.1",
            "no_colon",
            "a header without a colon",
            and("nonsense").into_bytes(),
            400,
        ),
        (
            "4.2.1",
            "bad_header_name",
            "a header whose name has a bracket",
            and("X(y): z").into_bytes(),
            400,
        ),
        (
            "4.2.1",
            "two_lengths",
            "two lengths of a body that differ (RFC 9112 section 6.3)",
            and("Content-Length: 5\r\nContent-Length: 6").into_bytes(),
            400,
        ),
        (
            "10.3",
            "tls_on_a_plain_port",
            "the first bytes of a TLS handshake",
            b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n".to_vec(),
            400,
        ),
        (
            "10.3",
            "a_frame_at_once",
            "a masked frame instead of a handshake",
            [crate::case::frame(0x81, b"hi").as_slice(), b"\r\n\r\n"].concat(),
            400,
        ),
    ] {
        knocks.push(Knock::new(section, name, sent, request).refused(status, None));
    }
}
