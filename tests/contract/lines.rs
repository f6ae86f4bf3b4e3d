//! Unframed rooms: lines, raw chunks, other delimiters. What the child prints reaches everybody, in
//! order, down to its last byte; what people say reaches the child as bytes and a delimiter.

use crate::harness::serve;

#[tokio::test]
async fn what_one_says_through_cat_is_heard_by_all() {
    let server = serve("cat").await;
    let mut ann = server.join("/lobby").await;
    let mut bob = server.join("/lobby").await;
    ann.says("hello").await;
    ann.hears("hello").await;
    bob.hears("hello").await;
    bob.says("grüße 🎲").await;
    ann.hears("grüße 🎲").await;
    bob.hears("grüße 🎲").await;
}

#[tokio::test]
async fn rooms_do_not_hear_each_other() {
    let server = serve("cat").await;
    let mut ann = server.join("/red").await;
    let mut bob = server.join("/blue").await;
    ann.says("red only").await;
    ann.hears("red only").await;
    bob.hears_nothing().await;
    bob.says("fence").await;
    bob.hears("fence").await;
}

#[tokio::test]
async fn fifty_thousand_lines_arrive_in_order_and_then_the_close() {
    let server = serve("seq -- 1 50000").await;
    let mut ann = server.join("/count").await;
    ann.hears_all_of((1..=50_000).map(|n| n.to_string())).await;
    ann.hears_close_code(1000).await;
}

#[tokio::test]
async fn a_hundred_people_hear_every_line() {
    let server = serve("puppet wait then flood 1000").await;
    let mut people = Vec::new();
    for _ in 0..100 {
        people.push(server.join("/stands").await);
    }
    people[0].says("go").await;
    for person in &mut people {
        person.hears_all_of((1..=1000).map(|n| n.to_string())).await;
        person.hears_close_code(1000).await;
    }
}

#[tokio::test]
async fn the_last_line_needs_no_newline() {
    let server = serve("puppet bytes one\\ntwo").await;
    let mut ann = server.join("/x").await;
    ann.hears("one").await;
    ann.hears("two").await;
    ann.hears_close_code(1000).await;
}

#[tokio::test]
async fn a_return_before_the_newline_is_stripped_and_empty_lines_are_messages() {
    let server = serve("puppet bytes a\\r\\nb\\rc\\r\\n\\n\\nd\\n").await;
    let mut ann = server.join("/x").await;
    for line in ["a", "b\rc", "", "", "d"] {
        ann.hears(line).await;
    }
    ann.hears_close_code(1000).await;
}

#[tokio::test]
async fn a_line_that_is_not_utf8_goes_out_as_a_binary_message() {
    let server = serve("puppet bytes \\xff\\xfe\\nok\\n\\xc3").await;
    let mut ann = server.join("/x").await;
    ann.hears_bytes(&[0xff, 0xfe]).await;
    ann.hears("ok").await;
    ann.hears_bytes(&[0xc3]).await;
    ann.hears_close_code(1000).await;
}

#[tokio::test]
async fn a_message_reaches_the_child_as_its_bytes_and_a_newline() {
    let server = serve("puppet hex 4").await;
    let mut ann = server.join("/x").await;
    ann.says("a\nb").await;
    ann.hears("610a620a").await;
    ann.says_bytes(&[0xff, 0x00, 0x80]).await;
    ann.hears("ff00800a").await;
}

#[tokio::test]
async fn a_message_with_newlines_is_several_lines() {
    let server = serve("puppet count").await;
    let mut ann = server.join("/x").await;
    ann.says("a\nb\nc").await;
    for line in ["1", "2", "3"] {
        ann.hears(line).await;
    }
}

#[tokio::test]
async fn binary_passes_raw_bytes_both_ways() {
    for flag in ["--binary", "-b"] {
        let server = serve(format!("{flag} puppet echo-raw")).await;
        let mut ann = server.join("/x").await;
        ann.says("no newline").await;
        ann.hears_chunks(b"no newline").await;
        ann.says_bytes(&[0, 10, 13, 255]).await;
        ann.hears_chunks(&[0, 10, 13, 255]).await;
    }
}

#[tokio::test]
async fn null_cuts_and_ends_messages_with_nul() {
    let server =
        serve("--null puppet wait 0 then bytes one\\0two\\nlines\\r\\0 then echo-raw").await;
    let mut ann = server.join("/x").await;
    ann.hears("one").await;
    ann.hears("two\nlines\r").await;
    ann.says("a\nb").await;
    ann.hears("a\nb").await;
}

#[tokio::test]
async fn with_null_the_child_reads_a_nul_after_each_message() {
    let server = serve("--null puppet hex 2 nul").await;
    let mut ann = server.join("/x").await;
    ann.says("z").await;
    ann.hears("7a00").await;
}

#[tokio::test]
async fn any_of_the_delimiters_cuts() {
    let server = serve("--delimiters ;, puppet bytes a;b,c\\nd;;e").await;
    let mut ann = server.join("/x").await;
    for piece in ["a", "b", "c\nd", "", "e"] {
        ann.hears(piece).await;
    }
    ann.hears_close_code(1000).await;
}

#[tokio::test]
async fn big_messages_come_back_whole() {
    let server = serve("--max-message 16MiB cat").await;
    let mut ann = server.join("/x").await;
    for size in [1 << 20, 15 << 20] {
        let big = "x".repeat(size);
        ann.says(&big).await;
        ann.hears(&big).await;
    }
    ann.says("small").await;
    ann.hears("small").await;
}

#[tokio::test]
async fn small_messages_flow_while_a_big_one_is_under_way() {
    let server = serve("--max-message 16MiB --frame=json cat").await;
    let mut ann = server.join("/x").await;
    let mut bob = server.join("/x").await;
    let big = "x".repeat(4 << 20);
    let large = async {
        ann.says(&format!(r#"{{"big":"{big}"}}"#)).await;
        ann.hears(&format!(r#"{{"big":"{big}","id":1}}"#)).await;
    };
    let small = async {
        for n in 0..50 {
            bob.says(&format!(r#"{{"n":{n}}}"#)).await;
            bob.hears(&format!(r#"{{"n":{n},"id":2}}"#)).await;
        }
    };
    tokio::join!(large, small);
}

#[tokio::test]
async fn thirty_thousand_lines_sent_without_reading_come_back_in_order() {
    let server = serve("cat").await;
    let mut ann = server.join("/x").await;
    let lines = || (0..30_000).map(|n| format!("{n:064}"));
    ann.says_all_of(lines()).await;
    ann.hears_all_of(lines()).await;
}

#[tokio::test]
async fn what_the_child_said_last_comes_before_the_close_whoever_holds_the_pipe() {
    let server = serve("puppet forks then print bye").await;
    let mut ann = server.join("/x").await;
    ann.hears_text().await;
    ann.hears("bye").await;
    ann.hears_close_code(1000).await;
    server.has_programs(0).await;
}
