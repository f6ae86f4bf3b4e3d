//! Given the packets a child prints, then this is heard; given what people do, then these packets
//! reach the child, byte for byte.

use proptest::prelude::*;

use crate::frame::tests::{ROOMY, client, heard, heard_within, packet, read, tell};
use crate::frame::{ClientFraming, Decoder, Drop, Encoder, Kind, ServerFraming};

#[test]
fn a_packet_goes_to_one_client_or_with_id_0_to_everyone() {
    let stream = [
        packet(0, 1, b"hi"),
        packet(3, 1, b"a\n\0b"),
        packet(u32::MAX, 2, b""),
    ]
    .concat();
    let told = [
        "everyone text: hi",
        "only [3] text: a\\n\\x00b",
        "only [4294967295] binary: ",
    ];
    assert_eq!(heard(&ServerFraming::Packets, &[&stream]), told);
}

#[test]
fn a_text_packet_that_is_not_utf8_is_binary_and_a_binary_one_stays_binary() {
    let stream = [packet(0, 1, b"\xff"), packet(0, 2, b"hi")].concat();
    let told = ["everyone binary: \\xff", "everyone binary: hi"];
    assert_eq!(heard(&ServerFraming::Packets, &[&stream]), told);
}

#[test]
fn a_packet_of_an_unknown_type_is_skipped_and_counted() {
    for code in [0, 3, 8, 16, u32::MAX] {
        let stream = [packet(1, code, b"what"), packet(0, 1, b"on")].concat();
        let told = ["counted unknown_type", "everyone text: on"];
        assert_eq!(heard(&ServerFraming::Packets, &[&stream]), told);
    }
}

#[test]
fn a_skipped_packet_is_not_stored() {
    let mut decoder = Decoder::new(&ServerFraming::Packets, ROOMY);
    let stream = packet(0, 9, &[0; 1000]);
    decoder.feed(&stream[..900], &mut |_| {}).unwrap();
    assert_eq!(decoder.buffered(), 0);
}

#[test]
fn a_packet_over_the_limit_breaks_the_stream_whatever_its_type() {
    for code in [1, 2, 9] {
        let stream = [packet(0, 1, b"fits"), packet(0, code, b"fives")].concat();
        let told = ["everyone text: fits", "broken: bad packet"];
        assert_eq!(heard_within(4, &ServerFraming::Packets, &[&stream]), told);
    }
    let endless = [[0u8; 8].as_slice(), &u32::MAX.to_be_bytes()].concat();
    assert_eq!(
        heard(&ServerFraming::Packets, &[&endless]),
        ["broken: bad packet"]
    );
}

#[test]
fn a_partial_packet_at_the_end_is_dropped_and_counted_once() {
    let whole = packet(0, 1, b"hello");
    for cut in 1..whole.len() {
        let told = ["counted partial_packet"];
        assert_eq!(
            heard(&ServerFraming::Packets, &[&whole[..cut]]),
            told,
            "after {cut} bytes"
        );
    }
    let told = ["counted unknown_type", "counted partial_packet"];
    assert_eq!(
        heard(&ServerFraming::Packets, &[&packet(0, 9, b"hello")[..14]]),
        told
    );
}

#[test]
fn after_the_end_a_decoder_reads_a_restarted_child_from_its_start() {
    let mut decoder = Decoder::new(&ServerFraming::Packets, ROOMY);
    let mut heard = Vec::new();
    decoder
        .feed(&packet(0, 1, b"cut off")[..15], &mut |_| {})
        .unwrap();
    decoder.finish(&mut |_| {});
    decoder
        .feed(&packet(0, 1, b"new"), &mut |event| heard.push(tell(event)))
        .unwrap();
    assert_eq!(heard, ["everyone text: new"]);
}

#[test]
fn gwsocket_packets_carry_sender_type_and_length_in_network_order() {
    let mut out = Vec::new();
    let encoder = Encoder::new(&ClientFraming::Gwsocket);
    encoder
        .message(client(0x0102_0304), Kind::Text, b"a\n\0", &mut out)
        .unwrap();
    encoder
        .message(client(1), Kind::Binary, b"", &mut out)
        .unwrap();
    let first = b"\x01\x02\x03\x04\0\0\0\x01\0\0\0\x03a\n\0".as_slice();
    assert_eq!(out, [first, b"\0\0\0\x01\0\0\0\x02\0\0\0\0"].concat());
}

#[test]
fn gwsocket_tells_of_coming_and_going_around_the_operators_messages() {
    let encoder = Encoder::new(&ClientFraming::Gwsocket);
    let mut out = Vec::new();
    encoder.joined(client(2), "::1", Some(b"in"), &mut out);
    let mut address = b"::1".to_vec();
    address.resize(46, 0);
    assert_eq!(
        out,
        [packet(2, 0x10, &address), packet(2, 1, b"in")].concat()
    );
    out.clear();
    encoder.left(client(2), Some(b"out"), &mut out);
    assert_eq!(out, [packet(2, 1, b"out"), packet(2, 8, b"")].concat());
    out.clear();
    encoder.joined(client(2), &"a".repeat(60), None, &mut out);
    encoder.left(client(2), None, &mut out);
    let address = [&[b'a'; 45], b"\0".as_slice()].concat();
    assert_eq!(out, [packet(2, 0x10, &address), packet(2, 8, b"")].concat());
}

#[test]
fn binary_framing_wraps_text_and_readdresses_a_clients_own_packet() {
    let wrapped = packet(7, 1, b"hi").escape_ascii().to_string();
    assert_eq!(
        read(&ClientFraming::Binary, Kind::Text, b"hi").unwrap(),
        wrapped
    );
    let spoofed = packet(1, 1, b"hi");
    assert_eq!(
        read(&ClientFraming::Binary, Kind::Binary, &spoofed).unwrap(),
        wrapped
    );
}

#[test]
fn binary_framing_drops_a_binary_message_without_a_right_header() {
    let right = packet(1, 1, b"hi");
    let wrong_length = [right.as_slice(), b"!"].concat();
    for wrong in [
        b"".as_slice(),
        &right[..11],
        &right[..13],
        &wrong_length,
        &packet(1, 2, b"hi"),
    ] {
        assert_eq!(
            read(&ClientFraming::Binary, Kind::Binary, wrong),
            Err(Drop::BadHeader)
        );
    }
}

proptest! {
    #[test]
    fn what_a_client_says_in_packets_is_what_its_reflection_says(
        payload in prop::collection::vec(any::<u8>(), 0..200),
        id in 1u32..,
    ) {
        let mut out = Vec::new();
        let encoder = Encoder::new(&ClientFraming::Gwsocket);
        encoder.message(client(id), Kind::Binary, &payload, &mut out).unwrap();
        let told = format!("only [{id}] binary: {}", payload.escape_ascii());
        prop_assert_eq!(heard(&ServerFraming::Packets, &[&out]), [told]);
    }
}
