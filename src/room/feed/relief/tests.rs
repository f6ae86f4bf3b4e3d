//! Who is a burden, with whom, and what is free afterwards.

use std::task::Waker;

use super::*;
use crate::frame::{Audience, Event, Kind};
use crate::room::close::Close;
use crate::room::feed::tests::id;
use crate::room::feed::{Next, Slow};
use crate::room::outgoing::Outgoing;

const LIMIT: usize = 64 << 20;
const MIB: usize = 1 << 20;

fn feed(clients: u32) -> (Feed, Vec<usize>) {
    let mut feed = Feed::new(LIMIT, Slow::Disconnect);
    let keys = (1..=clients).map(|number| feed.enter(id(number), None));
    let keys = keys.collect();
    (feed, keys)
}

fn say(feed: &mut Feed, to: Audience<'_>, length: usize) {
    let payload = vec![b'x'; length];
    let mut outgoing = Outgoing::default();
    outgoing.add(Event::Message {
        to,
        kind: Kind::Binary,
        payload: &payload,
        tagged: false,
    });
    feed.publish(&mut outgoing, &mut Vec::new());
}

fn hear_all(feed: &mut Feed, key: usize) {
    let mut pieces = Vec::new();
    while feed.next(key, Waker::noop(), &mut pieces) == Next::Write {
        let written = pieces.iter().map(|piece| piece.bytes.len()).sum();
        feed.wrote(key, &mut pieces, written, None, &mut Vec::new());
        pieces.clear();
    }
}

/// Clients, and about how many MiB they hold.
fn burdens(feed: &Feed, debts: &[Debt]) -> Vec<(Vec<u32>, u64)> {
    let burdens = feed.burdens(debts).into_iter();
    burdens
        .map(|burden| (burden.clients, burden.bytes.div_ceil(MIB as u64 + 1000)))
        .collect()
}

#[test]
fn who_has_heard_what_was_said_at_the_first_look_is_no_burden() {
    let (mut feed, keys) = feed(2);
    say(&mut feed, Audience::Everyone, MIB);
    say(&mut feed, Audience::Only(&[1]), MIB);
    let debts = feed.debts();
    hear_all(&mut feed, keys[0]);
    say(&mut feed, Audience::Everyone, 2 * MIB);
    say(&mut feed, Audience::Only(&[1]), 2 * MIB);
    assert_eq!(burdens(&feed, &debts), [(vec![2], 1)]);
}

#[test]
fn who_is_told_alone_is_a_burden_until_that_is_written() {
    let (mut feed, keys) = feed(2);
    say(&mut feed, Audience::Only(&[1]), MIB);
    let debts = feed.debts();
    assert_eq!(burdens(&feed, &debts), [(vec![1], 1)]);
    hear_all(&mut feed, keys[0]);
    say(&mut feed, Audience::Only(&[1]), MIB);
    assert_eq!(burdens(&feed, &debts), []);
}

#[test]
fn little_is_no_burden() {
    let (mut feed, _) = feed(1);
    say(&mut feed, Audience::Everyone, LEAST as usize - 100);
    let debts = feed.debts();
    assert_eq!(debts, []);
    say(&mut feed, Audience::Everyone, 100);
    assert_eq!(feed.debts().len(), 1);
}

#[test]
fn many_at_one_place_go_together_or_not_at_all() {
    let (mut feed, keys) = feed(4);
    say(&mut feed, Audience::Everyone, MIB);
    hear_all(&mut feed, keys[0]);
    say(&mut feed, Audience::Everyone, 3 * MIB);
    hear_all(&mut feed, keys[1]);
    say(&mut feed, Audience::Everyone, MIB);
    let debts = feed.debts();
    // Two keep one MiB, and with it the first keeps three more; the last of them keeps one by itself.
    assert_eq!(burdens(&feed, &debts), [(vec![3, 4, 1], 4), (vec![2], 1)]);
}

#[test]
fn a_crowd_that_holds_little_each_stays() {
    let (mut feed, _) = feed(100);
    say(&mut feed, Audience::Everyone, MIB);
    let debts = feed.debts();
    assert_eq!(debts.len(), 100);
    assert_eq!(burdens(&feed, &debts), [], "10 KiB each");
}

#[test]
fn what_they_held_is_free_at_once_and_they_read_why() {
    let (mut feed, keys) = feed(3);
    say(&mut feed, Audience::Everyone, 4 * MIB);
    say(&mut feed, Audience::Only(&[1]), MIB);
    hear_all(&mut feed, keys[2]);
    let held = feed.held();
    assert!(held > 5 * MIB);
    assert_eq!(feed.let_go(&[1, 2, 77], &mut Vec::new()), 2);
    assert_eq!(feed.held(), 0);
    let next = feed.next(keys[0], Waker::noop(), &mut Vec::new());
    let Next::Expelled(close) = next else {
        panic!("{next:?}");
    };
    assert_eq!(close.code, Close::TOO_SLOW);
    assert!(close.reason.contains("memory"));
    assert_eq!(feed.let_go(&[1, 2], &mut Vec::new()), 0, "they are gone");
    assert!(feed.debts().is_empty());
    // The third is now whom the pumps wait for, and hears all.
    assert!(feed.may_read(Waker::noop()));
    say(&mut feed, Audience::Everyone, MIB);
    feed.leave(keys[0], &mut Vec::new());
    feed.leave(keys[1], &mut Vec::new());
    assert!(feed.held() >= MIB);
    hear_all(&mut feed, keys[2]);
    assert_eq!(feed.held(), 0);
}

#[test]
fn a_client_takes_no_more_of_its_room_for_this() {
    assert!(size_of::<Member>() <= 96, "{}", size_of::<Member>());
}

#[test]
fn what_frees_more_for_each_who_goes_weighs_more() {
    let burden = |clients: &[u32], bytes| Burden {
        clients: clients.to_vec(),
        bytes,
    };
    let crowd = burden(&[1, 2, 3, 4], 4_000);
    assert!(burden(&[5], 1_001).weigh(&crowd).is_gt());
    assert!(burden(&[5], 1_000).weigh(&crowd).is_eq());
    assert!(burden(&[5], 999).weigh(&crowd).is_lt());
    assert!(burden(&[5], 0).weigh(&burden(&[6, 7], 0)).is_eq());
}
