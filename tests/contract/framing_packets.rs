//! gwsocket and binary framing: exact bytes both ways, news of people, and streams that go wrong.

use crate::harness::serve;

#[tokio::test]
async fn payloads_pass_byte_for_byte_both_ways() {
    let server = serve("--frame=gwsocket --max-message 2MiB puppet packets").await;
    let mut ann = server.join("/x").await;
    ann.says("a\n\0b\r\n").await;
    ann.hears("a\n\0b\r\n").await;
    ann.says("").await;
    ann.hears("").await;
    let bytes: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    ann.says_bytes(&bytes).await;
    ann.hears_bytes(&bytes).await;
}

#[tokio::test]
async fn an_id_names_one_and_zero_names_all() {
    let server = serve("--frame=gwsocket puppet packets").await;
    let (mut ann, mut bob) = (server.join("/x").await, server.join("/x").await);
    bob.says("mine").await;
    bob.hears("mine").await;
    ann.hears_nothing().await;
    let server = serve("--frame=gwsocket puppet packets-to-all").await;
    let (mut ann, mut bob) = (server.join("/x").await, server.join("/x").await);
    bob.says("ours").await;
    bob.hears("ours").await;
    ann.hears("ours").await;
}

#[tokio::test]
async fn the_header_is_in_network_byte_order() {
    let server = serve("--client-frame=binary puppet hex 17").await;
    let mut ann = server.join("/x").await;
    ann.says("hello").await;
    ann.hears("00000001000000010000000568656c6c6f").await;
}

#[tokio::test]
async fn the_child_is_told_who_comes_and_goes() {
    let server = serve("--client-frame=gwsocket puppet describe").await;
    let mut ann = server.join("/x").await;
    let nuls = "\\x00".repeat(46 - "127.0.0.1".len());
    ann.hears(&format!("1 16 46 127.0.0.1{nuls}")).await;
    let bob = server.join("/x").await;
    ann.hears(&format!("2 16 46 127.0.0.1{nuls}")).await;
    ann.says("hi").await;
    ann.hears("1 1 2 hi").await;
    ann.says_bytes(&[0xff]).await;
    ann.hears("1 2 1 \\xff").await;
    bob.leaves().await;
    ann.hears("2 8 0 ").await;
}

#[tokio::test]
async fn join_and_leave_messages_are_packets_between_the_news() {
    let flags = "--client-frame=gwsocket --joinmsg 'in #ID' --leavemsg 'out #ID'";
    let server = serve(format!("{flags} puppet describe")).await;
    let mut ann = server.join("/x").await;
    assert!(ann.hears_text().await.starts_with("1 16 46 "));
    ann.hears("1 1 4 in 1").await;
    let bob = server.join("/x").await;
    assert!(ann.hears_text().await.starts_with("2 16 46 "));
    ann.hears("2 1 4 in 2").await;
    bob.leaves().await;
    ann.hears("2 1 5 out 2").await;
    ann.hears("2 8 0 ").await;
}

#[tokio::test]
async fn binary_framing_brings_no_news() {
    let server = serve("--client-frame=binary puppet describe").await;
    let (mut ann, bob) = (server.join("/x").await, server.join("/x").await);
    bob.leaves().await;
    ann.says("hi").await;
    ann.hears("1 1 2 hi").await;
}

#[tokio::test]
async fn a_binary_message_carries_its_header_and_the_id_in_it_is_the_senders() {
    let server = serve("--client-frame=binary puppet describe").await;
    let mut ann = server.join("/x").await;
    ann.says_bytes(b"\0\0\0\x63\0\0\0\x01\0\0\0\x02ok").await;
    ann.hears("1 1 2 ok").await;
}

#[tokio::test]
async fn a_broken_header_from_a_client_is_dropped_and_the_sender_stays() {
    let server = serve("--client-frame=binary puppet describe").await;
    let mut ann = server.join("/x").await;
    for wrong in [
        &b""[..],
        b"\0\0\0\x01",
        b"\0\0\0\x01\0\0\0\x01\0\0\0",
        b"\0\0\0\x01\0\0\0\x01\0\0\0\x03ok",
        b"\0\0\0\x01\0\0\0\x01\0\0\0\x01ok",
        b"\0\0\0\x01\0\0\0\x07\0\0\0\x02ok",
        b"\0\0\0\x01\0\0\0\x01\xff\xff\xff\xffok",
    ] {
        ann.says_bytes(wrong).await;
    }
    ann.says("fence").await;
    ann.hears("1 1 5 fence").await;
}

#[tokio::test]
async fn an_unknown_type_is_skipped() {
    let server =
        serve("--frame=gwsocket puppet packet 0 7 odd then packet 0 1 fine then mute").await;
    server.join("/x").await.hears("fine").await;
}

#[tokio::test]
async fn a_packet_for_somebody_unknown_is_for_nobody() {
    let server =
        serve("--frame=gwsocket puppet packet 99 1 odd then packet 0 1 fine then mute").await;
    server.join("/x").await.hears("fine").await;
}

#[tokio::test]
async fn text_that_is_not_utf8_goes_out_as_binary() {
    let server =
        serve("--frame=gwsocket puppet packet 0 1 \\xff\\n then packet 0 2 ab then mute").await;
    let mut ann = server.join("/x").await;
    ann.hears_bytes(b"\xff\n").await;
    ann.hears_bytes(b"ab").await;
}

#[tokio::test]
async fn a_length_over_the_limit_ends_the_room() {
    for kind in ["\\x01", "\\x07"] {
        let bytes = format!("\\0\\0\\0\\0\\0\\0\\0{kind}\\xff\\xff\\xff\\xff");
        let server = serve(format!(
            "--frame=gwsocket puppet packet 0 1 fine then bytes {bytes} then deaf"
        ))
        .await;
        let mut ann = server.join("/x").await;
        ann.hears("fine").await;
        ann.hears_close(1011, "bad packet").await;
        server.has_programs(0).await;
    }
}

#[tokio::test]
async fn a_packet_as_long_as_the_limit_passes() {
    let server = serve(
        "--max-child-message 4 --frame=gwsocket puppet packet 0 1 four then packet 0 1 fives",
    )
    .await;
    let mut ann = server.join("/x").await;
    ann.hears("four").await;
    ann.hears_close(1011, "bad packet").await;
}

#[tokio::test]
async fn a_header_cut_short_by_the_end_is_dropped() {
    for cut in ["\\0\\0\\0", "\\0\\0\\0\\0\\0\\0\\0\\x01\\0\\0\\0\\x09part"] {
        let server = serve(format!(
            "--frame=gwsocket puppet packet 0 1 whole then bytes {cut}"
        ))
        .await;
        let mut ann = server.join("/x").await;
        ann.hears("whole").await;
        ann.hears_close_code(1000).await;
    }
}
