//! Who is waited for, who is not, and who is closed.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;

use super::side::SIDE_COST;
use super::tests::{Count, id};
use super::*;
use crate::frame::{Audience, Event};

fn enter(feed: &mut Feed, number: u32) -> usize {
    let mut wake = Vec::new();
    let key = feed.enter(id(number), None);
    feed.wake_pumps(&mut wake);
    wake.into_iter().for_each(Waker::wake);
    key
}

/// The child says `length` bytes, in one message.
fn say(feed: &mut Feed, to: Audience<'_>, length: usize) {
    let payload = vec![b'x'; length];
    let event = Event::Message {
        to,
        kind: Kind::Text,
        payload: &payload,
        tagged: false,
    };
    let mut outgoing = Outgoing::default();
    outgoing.add(event);
    feed.publish(&mut outgoing, &mut Vec::new());
}

/// Writes all there is for the client at `key`, and says how many bytes that was.
fn hear_all(feed: &mut Feed, key: usize) -> usize {
    let mut heard = 0;
    loop {
        let mut pieces = Vec::new();
        if feed.next(key, Waker::noop(), &mut pieces) != Next::Write {
            return heard;
        }
        let bytes = pieces.iter().map(|piece| piece.bytes.len()).sum();
        feed.wrote(key, &mut pieces, bytes, None, &mut Vec::new());
        heard += bytes;
    }
}

#[test]
fn one_who_reads_nothing_does_not_keep_a_newcomer_from_hearing() {
    let mut feed = Feed::new(1000, Slow::Disconnect);
    enter(&mut feed, 1);
    say(&mut feed, Audience::Everyone, 600);
    let bell = Arc::new(Count::default());
    assert!(!feed.may_read(&Waker::from(Arc::clone(&bell))), "paced");
    enter(&mut feed, 2);
    assert_eq!(bell.0.load(Relaxed), 1, "the pump is told");
    assert!(
        feed.may_read(Waker::noop()),
        "the newcomer has all there is"
    );
}

#[test]
fn the_end_of_a_room_waits_for_nobody() {
    let mut feed = Feed::new(1000, Slow::Disconnect);
    enter(&mut feed, 1);
    say(&mut feed, Audience::Everyone, 600);
    assert!(!feed.may_read(Waker::noop()), "paced");
    feed.end(Close::new(Close::RESTART, "draining"), &mut Vec::new());
    assert!(feed.may_read(Waker::noop()));
}

#[test]
fn who_is_spoken_to_is_not_closed_for_what_another_has_not_read() {
    let mut feed = Feed::new(1000, Slow::Disconnect);
    let [_lazy, reader] = [1, 2].map(|number| enter(&mut feed, number));
    for _ in 0..2 {
        say(&mut feed, Audience::Everyone, 480);
        hear_all(&mut feed, reader);
    }
    say(&mut feed, Audience::Only(&[2]), 10);
    say(&mut feed, Audience::Only(&[2]), 10);
    assert_eq!(hear_all(&mut feed, reader), 2 * 12);
}

#[test]
fn one_alone_is_never_behind_however_much_it_is_told() {
    let mut feed = Feed::new(1000, Slow::Disconnect);
    let only = enter(&mut feed, 1);
    let mut heard = 0;
    for _ in 0..100 {
        while feed.may_read(Waker::noop()) {
            say(&mut feed, Audience::Only(&[1]), 98);
            heard += 100;
        }
        assert!(feed.held() < 1000 + 100 + SIDE_COST);
        heard -= hear_all(&mut feed, only);
    }
    assert_eq!(heard, 0);
}

#[test]
fn the_largest_side_queue_goes_when_all_are_too_large() {
    let mut feed = Feed::new(1000, Slow::Disconnect);
    let [more, less, idle] = [1, 2, 3].map(|number| enter(&mut feed, number));
    for round in 0..12 {
        assert!(feed.may_read(Waker::noop()), "one has nothing unsent");
        say(&mut feed, Audience::Only(&[1]), 98);
        if round % 4 == 0 {
            say(&mut feed, Audience::Only(&[2]), 98);
        }
    }
    let mut pieces = Vec::new();
    let next = feed.next(more, Waker::noop(), &mut pieces);
    assert_eq!(next, Next::Expelled(too_slow()));
    assert_eq!(hear_all(&mut feed, less), 3 * 100);
    assert_eq!(hear_all(&mut feed, idle), 0);
}

#[test]
fn with_block_big_messages_put_nobody_too_far_behind() {
    let mut feed = Feed::new(1000, Slow::Block);
    let [fast, slow] = [1, 2].map(|number| enter(&mut feed, number));
    say(&mut feed, Audience::Everyone, 96);
    assert!(feed.may_read(Waker::noop()));
    say(&mut feed, Audience::Everyone, 4996);
    assert_eq!(hear_all(&mut feed, fast), 98 + 5000);
    assert!(!feed.may_read(Waker::noop()), "the slow one paces");
    say(&mut feed, Audience::Everyone, 96);
    assert_eq!(hear_all(&mut feed, fast), 98);
    assert_eq!(hear_all(&mut feed, slow), 98 + 5000 + 98);
}
