//! `--cache`: what late joiners hear, and that live output follows it without a hole or a double.

use crate::harness::{Person, Server, serve};

async fn late(server: &Server) -> Person {
    server.join("/x").await
}

#[tokio::test]
async fn late_joiners_hear_the_last_messages_first() {
    for flag in ["--cache 3", "--cache all:3"] {
        let server = serve(format!("{flag} cat")).await;
        let mut ann = server.join("/x").await;
        for n in 1..=5 {
            ann.says(&n.to_string()).await;
            ann.hears(&n.to_string()).await;
        }
        let mut bob = late(&server).await;
        bob.hears_all_of(["3", "4", "5"].map(String::from)).await;
        ann.says("live").await;
        bob.hears("live").await;
    }
}

#[tokio::test]
async fn without_a_cache_late_joiners_hear_what_comes() {
    let server = serve("cat").await;
    let mut ann = server.join("/x").await;
    ann.says("past").await;
    ann.hears("past").await;
    let mut bob = late(&server).await;
    bob.hears_nothing().await;
    ann.says("live").await;
    bob.hears("live").await;
}

#[tokio::test]
async fn only_tagged_messages_are_kept_when_that_was_asked_for() {
    let lines =
        r#"'{"_cache":true,"n":1}' then print '{"n":2}' then print '{"_cache":true,"n":3}'"#;
    let server = serve(format!(
        "--frame=json --cache tagged:8 puppet print {lines} then mute"
    ))
    .await;
    let mut ann = server.join("/x").await;
    ann.hears(r#"{"_cache":true,"n":1}"#).await;
    ann.hears(r#"{"n":2}"#).await;
    ann.hears(r#"{"_cache":true,"n":3}"#).await;
    let mut bob = late(&server).await;
    bob.hears(r#"{"_cache":true,"n":1}"#).await;
    bob.hears(r#"{"_cache":true,"n":3}"#).await;
    bob.hears_nothing().await;
}

#[tokio::test]
async fn what_was_for_one_is_no_history() {
    let server = serve("--frame=json --cache 8 puppet echo").await;
    let mut ann = server.join("/x").await;
    ann.says(r#"{"private":1}"#).await;
    ann.hears(r#"{"private":1,"id":1}"#).await;
    late(&server).await.hears_nothing().await;
}

#[tokio::test]
async fn a_persisted_history_outlives_its_room_and_another_does_not() {
    for (flag, kept) in [("--cache 2 --cachepersist", true), ("--cache 2", false)] {
        let server = serve(format!("{flag} cat")).await;
        let mut ann = server.join("/x").await;
        ann.says("old").await;
        ann.hears("old").await;
        ann.leaves().await;
        server.has_programs(0).await;
        let mut bob = late(&server).await;
        if kept {
            bob.hears("old").await;
        }
        bob.says("new").await;
        bob.hears("new").await;
    }
}

#[tokio::test]
async fn joining_in_the_middle_of_a_stream_makes_no_hole_and_no_double() {
    let server = serve("--cache 100 puppet wait then flood 20000 then mute").await;
    let mut ann = server.join("/x").await;
    ann.says("go").await;
    let mut people = vec![];
    for _ in 0..10 {
        people.push(late(&server).await);
    }
    ann.hears_all_of((1..=20_000).map(|n| n.to_string())).await;
    for person in &mut people {
        let first: u32 = person.hears_text().await.parse().unwrap();
        person
            .hears_all_of((first + 1..=20_000).map(|n| n.to_string()))
            .await;
    }
}
