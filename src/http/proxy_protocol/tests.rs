//! The forms of the specification, its own examples among them, and what is none of them.

use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::*;

fn named(remote: &str, local: &str) -> Header {
    Header::Named {
        remote: remote.parse().unwrap(),
        local: local.parse().unwrap(),
    }
}

/// Version 2, with this command, family and block.
fn binary(command: u8, way: u8, block: &[u8]) -> Vec<u8> {
    let length = (block.len() as u16).to_be_bytes();
    [SIGNATURE, &[command, way], &length, block].concat()
}

/// From 192.168.0.1:56324 to 192.168.0.11:443.
const IPV4: [u8; 12] = [192, 168, 0, 1, 192, 168, 0, 11, 0xDC, 0x04, 0x01, 0xBB];

fn ipv6() -> [u8; 36] {
    let mut block = [0; 36];
    block[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    block[15] = 7;
    block[31] = 1;
    block[32..].copy_from_slice(&[0xDC, 0x04, 0x01, 0xBB]);
    block
}

fn whole(bytes: &[u8]) -> Header {
    match parse(bytes) {
        Ok(Parsed::Whole(header, length)) if length == bytes.len() => header,
        other => panic!("{other:?} of {}", bytes.escape_ascii()),
    }
}

/// What is said, and by which bytes.
fn good() -> Vec<(Header, Vec<u8>)> {
    let ann = named("192.168.0.1:56324", "192.168.0.11:443");
    let bob = named("[2001:db8::7]:56324", "[::1]:443");
    let line = |text: &str| text.as_bytes().to_vec();
    let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let all_ones = "255.255.255.255";
    vec![
        // Section 2.1: the example, the lengths that must be supported, and what is unknown.
        (
            ann,
            line("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"),
        ),
        (
            named("255.255.255.255:65535", "255.255.255.255:65535"),
            line(&format!("PROXY TCP4 {all_ones} {all_ones} 65535 65535\r\n")),
        ),
        (
            named(&format!("[{longest}]:65535"), &format!("[{longest}]:65535")),
            line(&format!("PROXY TCP6 {longest} {longest} 65535 65535\r\n")),
        ),
        (bob, line("PROXY TCP6 2001:DB8::7 ::1 56324 443\r\n")),
        (
            named("192.0.2.1:0", "192.0.2.2:0"),
            line("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 0 0\r\n"),
        ),
        (Header::Unnamed, line("PROXY UNKNOWN\r\n")),
        (
            Header::Unnamed,
            line(&format!(
                "PROXY UNKNOWN {longest} {longest} 65535 65535\r\n"
            )),
        ),
        (Header::Unnamed, line("PROXY UNKNOWN what \"ever\"\r\n")),
        // Section 2.2: each of the combinations, additions behind the addresses, LOCAL with anything.
        (ann, binary(0x21, 0x11, &IPV4)),
        (ann, binary(0x21, 0x12, &IPV4)),
        (bob, binary(0x21, 0x21, &ipv6())),
        (bob, binary(0x21, 0x22, &ipv6())),
        (
            ann,
            binary(0x21, 0x11, &[&IPV4[..], &[4, 0, 3, 1, 2, 3]].concat()),
        ),
        (
            ann,
            binary(0x21, 0x11, &[&IPV4[..], &[0xAA; 4068]].concat()),
        ),
        (Header::Unnamed, binary(0x21, 0x31, &[b'/'; 216])),
        (Header::Unnamed, binary(0x21, 0x32, &[0; 217])),
        (Header::Unnamed, binary(0x21, 0x00, &[])),
        (Header::Unnamed, binary(0x21, 0x00, &IPV4)),
        (Header::Unnamed, binary(0x21, 0x10, &IPV4)),
        (Header::Unnamed, binary(0x21, 0x01, &IPV4)),
        (Header::Own, binary(0x20, 0x00, &[])),
        (Header::Own, binary(0x20, 0x11, &IPV4)),
        (Header::Own, binary(0x20, 0x11, &[])),
        (Header::Own, binary(0x20, 0xFF, &[1, 2, 3])),
    ]
}

#[test]
fn every_form_of_the_specification_is_read() {
    for (header, bytes) in good() {
        assert_eq!(whole(&bytes), header, "{}", bytes.escape_ascii());
        let more = [&bytes[..], b"\r\nGET / HTTP/1.1\r\n"].concat();
        let parsed = parse(&more).unwrap();
        assert_eq!(parsed, Parsed::Whole(header, bytes.len()));
    }
}

#[test]
fn what_is_missing_is_never_more_than_belongs_to_the_header() {
    for (header, bytes) in good() {
        for length in 0..bytes.len() {
            match parse(&bytes[..length]).unwrap() {
                Parsed::Incomplete(missing) => {
                    assert!((1..=bytes.len() - length).contains(&missing), "{length}");
                }
                whole => panic!("{whole:?} of {length} bytes of {header:?}"),
            }
        }
    }
}

#[test]
fn nothing_else_is_a_header() {
    let mut bad: Vec<Vec<u8>> = [
        "GET / HTTP/1.1\r\n",
        "\x16\x03\x01",
        "proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY\r\n",
        "PROXYTCP4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n",
        "PROXY TCP4 1.1.1.1  2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n",
        "PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.01 2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.256 2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n",
        "PROXY TCP4 ::1 ::2 1 2\r\n",
        "PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 ::2 1 2\r\n",
        "PROXY TCP6 ::1::2 ::2 1 2\r\n",
        "PROXY TCP4 1.1.1.1\t2.2.2.2 1 2\r\n",
        "PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY UNKNOWN a\rb\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    // The lone CR at the end of a text is the beginning of its end.
    bad.iter_mut().for_each(|bytes| {
        if bytes.ends_with(b"\r") {
            bytes.push(b'x');
        }
    });
    bad.push([b"PROXY UNKNOWN ", &[b'f'; 92][..], b"\r\n"].concat());
    bad.push(b"PROXY UNKNOWN \xff\r\n".to_vec());
    for command in [0x01, 0x11, 0x22, 0x2f, 0x31, 0xf1] {
        bad.push(binary(command, 0x11, &IPV4));
    }
    for way in [0x13, 0x1f, 0x41, 0xf0] {
        bad.push(binary(0x21, way, &[0; 216]));
    }
    bad.push(binary(0x21, 0x11, &IPV4[1..]));
    bad.push(binary(0x21, 0x21, &[0; 35]));
    bad.push(binary(0x21, 0x31, &[0; 215]));
    bad.push(binary(0x21, 0x11, &[0; 4081]));
    bad.push(binary(0x20, 0x00, &[0; 0xffff]));
    bad.push(b"\r\n\r\n\0\r\nQUIT\r".to_vec());
    for bytes in bad {
        assert!(parse(&bytes).is_err(), "{}", bytes.escape_ascii());
    }
}

#[tokio::test]
async fn the_bytes_behind_a_header_are_left_where_they_are() {
    for (header, bytes) in good() {
        for piece in [1, 2, 7, 64, bytes.len() + 5] {
            let (mut proxy, mut stream) = tokio::io::duplex(1 << 14);
            for piece in [&bytes[..], b"after"].concat().chunks(piece) {
                proxy.write_all(piece).await.unwrap();
            }
            drop(proxy);
            assert_eq!(read(&mut stream).await.unwrap(), Some(header));
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"after");
        }
    }
}

#[tokio::test]
async fn a_stream_that_ends_within_a_header_is_told_from_one_that_never_began() {
    assert!(matches!(read(&mut &b""[..]).await, Ok(None)));
    for (_, bytes) in good() {
        let mut part = &bytes[..bytes.len() - 1];
        assert!(matches!(read(&mut part).await, Err(Failure::Truncated)));
    }
    let read = read(&mut &b"GET / HTTP/1.1\r\n\r\n"[..]).await;
    assert!(matches!(read, Err(Failure::Malformed(_))));
}

proptest! {
    #[test]
    fn any_bytes_come_to_the_same_in_any_pieces(
        start in prop_oneof![Just(SIGNATURE), Just(WORD), Just(&b"PROXY TCP4 1.2.3.4 "[..]), Just(&b""[..])],
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [start, &rest].concat();
        let at_once = parse(&bytes);
        let mut length = 0;
        let by_and_by = loop {
            match parse(&bytes[..length]) {
                Ok(Parsed::Incomplete(missing)) if length < bytes.len() => {
                    prop_assert!(missing > 0);
                    length = bytes.len().min(length + missing);
                }
                other => break other,
            }
        };
        match (at_once, by_and_by) {
            (Ok(Parsed::Incomplete(_)), Ok(Parsed::Incomplete(_))) => {}
            (one, other) => prop_assert_eq!(one, other),
        }
    }

    #[test]
    fn addresses_are_read_back(source: [u8; 16], port: u16) {
        let block = [&source[..], &source, &port.to_be_bytes(), &port.to_be_bytes()].concat();
        let at = SocketAddr::new(IpAddr::from(source).to_canonical(), port);
        let expected = Header::Named { remote: at, local: at };
        prop_assert_eq!(whole(&binary(0x21, 0x21, &block)), expected);
        let address = Ipv6Addr::from(source);
        let line = format!("PROXY TCP6 {address} {address} {port} {port}\r\n");
        prop_assert_eq!(whole(line.as_bytes()), expected);
    }
}
