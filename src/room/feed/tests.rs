//! The feed: who hears what in which order, who is woken, who has fallen behind, who paces.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Wake;

use proptest::prelude::*;

use super::*;
use crate::frame::{Audience, Event};
use crate::room::outgoing::Who;

fn enter(feed: &mut Feed, number: u32) -> usize {
    feed.enter(id(number), None)
}

/// Counts how often it was woken.
#[derive(Default)]
pub(super) struct Count(pub(super) AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

pub(super) fn id(number: u32) -> ClientId {
    ClientId::new(number).expect("not zero")
}

fn message(to: Audience<'_>, payload: &[u8], outgoing: &mut Outgoing) {
    let event = Event::Message {
        to,
        kind: Kind::Binary,
        payload,
        tagged: false,
    };
    outgoing.add(event);
}

fn publish(feed: &mut Feed, messages: &[(Audience<'_>, &[u8])]) -> Vec<Waker> {
    let mut outgoing = Outgoing::default();
    for (to, payload) in messages {
        message(*to, payload, &mut outgoing);
    }
    let mut wake = Vec::new();
    feed.publish(&mut outgoing, &mut wake);
    wake
}

/// Writes up to `most` bytes of what is next, as far as the client is not closed before.
fn write(
    feed: &mut Feed,
    key: usize,
    begun: &mut Option<Begun>,
    most: usize,
) -> (Vec<u8>, Option<Next>) {
    let mut written = Vec::new();
    while written.len() < most {
        if let Some(current) = begun {
            let now = current.rest().len().min(most - written.len());
            written.extend_from_slice(&current.rest()[..now]);
            if current.advance(now) {
                *begun = None;
            }
            continue;
        }
        let mut pieces = Vec::new();
        match feed.next(key, Waker::noop(), &mut pieces) {
            Next::Write => {
                let all: Vec<u8> = pieces
                    .iter()
                    .flat_map(|piece| piece.bytes.to_vec())
                    .collect();
                let now = all.len().min(most - written.len());
                written.extend_from_slice(&all[..now]);
                *begun = feed.wrote(key, &mut pieces, now, None, &mut Vec::new());
            }
            Next::Wait => break,
            closed => return (written, Some(closed)),
        }
    }
    (written, None)
}

/// The payloads of the frames in `bytes`.
fn payloads(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    let mut rest = bytes;
    while let Some(length) = codec::frame_len(rest) {
        let header = if length < 128 {
            2
        } else if length < 0x1_0004 {
            4
        } else {
            10
        };
        payloads.push(rest[header..length].to_vec());
        rest = &rest[length..];
    }
    assert!(rest.is_empty(), "a frame was cut");
    payloads
}

fn everything(feed: &mut Feed, key: usize) -> Vec<Vec<u8>> {
    let (bytes, closed) = write(feed, key, &mut None, usize::MAX);
    assert_eq!(closed, None);
    payloads(&bytes)
}

#[test]
fn a_directed_answer_in_a_room_of_a_thousand_wakes_one() {
    let mut feed = Feed::new(1 << 20, Slow::Disconnect);
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let keys: Vec<usize> = (1..=1000).map(|number| enter(&mut feed, number)).collect();
    for key in &keys {
        assert_eq!(feed.next(*key, &waker, &mut Vec::new()), Next::Wait);
    }
    publish(&mut feed, &[(Audience::Only(&[500]), b"for you")])
        .into_iter()
        .for_each(Waker::wake);
    assert_eq!(count.0.load(Relaxed), 1);
    assert_eq!(everything(&mut feed, keys[499]), [b"for you"]);
    assert_eq!(everything(&mut feed, keys[500]), [[0u8; 0]; 0]);
    publish(&mut feed, &[(Audience::Everyone, b"for all")])
        .into_iter()
        .for_each(Waker::wake);
    assert_eq!(
        count.0.load(Relaxed),
        1 + 998,
        "all who wait; two were not waiting with it"
    );
}

#[test]
fn what_is_for_one_keeps_its_place_among_what_is_for_all() {
    let mut feed = Feed::new(1 << 20, Slow::Disconnect);
    let (ann, bob) = (enter(&mut feed, 1), enter(&mut feed, 2));
    publish(
        &mut feed,
        &[
            (Audience::Only(&[1]), b"1"),
            (Audience::Everyone, b"2"),
            (Audience::Except(&[2]), b"3"),
            (Audience::Only(&[1, 2]), b"4"),
            (Audience::Everyone, b"5"),
            (Audience::Only(&[]), b"6"),
        ],
    );
    assert_eq!(everything(&mut feed, ann), [b"1", b"2", b"3", b"4", b"5"]);
    assert_eq!(everything(&mut feed, bob), [b"2", b"4", b"5"]);
    assert_eq!(feed.held(), 0, "all was heard, nothing is kept");
}

#[test]
fn only_the_fastest_paces() {
    let mut feed = Feed::new(1000, Slow::Disconnect);
    let (fast, slow) = (enter(&mut feed, 1), enter(&mut feed, 2));
    publish(&mut feed, &[(Audience::Everyone, &[1; 400])]);
    assert!(feed.may_read(Waker::noop()), "less than half is unsent");
    publish(&mut feed, &[(Audience::Everyone, &[2; 400])]);
    assert!(
        !feed.may_read(Waker::noop()),
        "the fastest has more than half unsent"
    );
    assert_eq!(everything(&mut feed, fast).len(), 2);
    assert!(feed.may_read(Waker::noop()), "the slow one does not count");
    for _ in 0..4 {
        publish(&mut feed, &[(Audience::Everyone, &[3; 400])]);
        everything(&mut feed, fast);
    }
    assert!(
        feed.held() <= 1000 + 2 * 404,
        "the limit, and a batch at either end"
    );
    let (_, closed) = write(&mut feed, slow, &mut None, 1);
    assert_eq!(closed, Some(Next::Expelled(too_slow())), "it fell behind");
}

#[test]
fn without_anybody_the_pump_never_waits() {
    let mut feed = Feed::new(10, Slow::Block);
    for _ in 0..100 {
        publish(&mut feed, &[(Audience::Everyone, &[0; 1000])]);
        assert!(feed.may_read(Waker::noop()));
    }
    assert_eq!(feed.held(), 0);
    let late = enter(&mut feed, 1);
    assert_eq!(
        everything(&mut feed, late),
        [[0u8; 0]; 0],
        "it hears from now on"
    );
}

#[test]
fn who_leaves_does_not_pace_any_more() {
    let mut feed = Feed::new(1000, Slow::Disconnect);
    let (fast, slow) = (enter(&mut feed, 1), enter(&mut feed, 2));
    publish(&mut feed, &[(Audience::Everyone, &[1; 900])]);
    everything(&mut feed, fast);
    assert!(feed.may_read(Waker::noop()));
    feed.leave(fast, &mut Vec::new());
    let count = Arc::new(Count::default());
    assert!(
        !feed.may_read(&Waker::from(Arc::clone(&count))),
        "now the slow one is the fastest"
    );
    let mut wake = Vec::new();
    feed.leave(slow, &mut wake);
    wake.into_iter().for_each(Waker::wake);
    assert_eq!(
        count.0.load(Relaxed),
        1,
        "with nobody left the pump goes on"
    );
}

#[test]
fn the_largest_side_queue_goes_when_the_limit_is_reached() {
    let mut feed = Feed::new(10_000, Slow::Disconnect);
    let (greedy, modest) = (enter(&mut feed, 1), enter(&mut feed, 2));
    publish(&mut feed, &[(Audience::Only(&[2]), b"hello")]);
    for _ in 0..20 {
        publish(&mut feed, &[(Audience::Only(&[1]), &[0; 1000])]);
    }
    assert!(feed.held() <= 10_000, "{}", feed.held());
    assert_eq!(
        write(&mut feed, greedy, &mut None, 1).1,
        Some(Next::Expelled(too_slow()))
    );
    assert_eq!(everything(&mut feed, modest), [b"hello"]);
}

#[test]
fn a_single_message_is_never_too_much() {
    let mut feed = Feed::new(100, Slow::Disconnect);
    let ann = enter(&mut feed, 1);
    publish(&mut feed, &[(Audience::Only(&[1]), &[7; 5000])]);
    assert_eq!(everything(&mut feed, ann), [[7; 5000]]);
    publish(&mut feed, &[(Audience::Everyone, &[8; 5000])]);
    assert_eq!(everything(&mut feed, ann), [[8; 5000]]);
}

#[test]
fn a_kick_comes_behind_what_was_said_before() {
    let mut feed = Feed::new(1000, Slow::Disconnect);
    let ann = enter(&mut feed, 1);
    let mut outgoing = Outgoing::default();
    message(Audience::Everyone, b"goodbye", &mut outgoing);
    outgoing.add(Event::Close {
        clients: &[1, 9],
        code: 4000,
        reason: "out",
    });
    message(Audience::Everyone, b"gone", &mut outgoing);
    assert_eq!(
        feed.publish(&mut outgoing, &mut Vec::new()),
        1,
        "nine is unknown"
    );
    let mut pieces = Vec::new();
    assert_eq!(feed.next(ann, Waker::noop(), &mut pieces), Next::Write);
    assert_eq!(pieces.len(), 1);
    let written = pieces[0].bytes.len();
    assert!(
        feed.wrote(ann, &mut pieces, written, None, &mut Vec::new())
            .is_none()
    );
    let close = Close::new(4000, "out");
    assert_eq!(
        feed.next(ann, Waker::noop(), &mut pieces),
        Next::Close(close)
    );
}

#[test]
fn what_was_begun_is_ended_at_the_frame() {
    let mut feed = Feed::new(1 << 20, Slow::Disconnect);
    let ann = enter(&mut feed, 1);
    publish(
        &mut feed,
        &[
            (Audience::Everyone, b"first"),
            (Audience::Everyone, b"second"),
        ],
    );
    let mut begun = None;
    let (mut heard, _) = write(&mut feed, ann, &mut begun, 3);
    let mut begun = begun.expect("it is inside the first frame");
    begun.cut_to_frame();
    heard.extend_from_slice(begun.rest());
    assert_eq!(payloads(&heard), [b"first"]);
}

#[derive(Debug, Clone)]
enum Step {
    Say(u8, usize),
    Write(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let say = (0u8..6, 0usize..300).prop_map(|(to, size)| Step::Say(to, size));
    let write = (0usize..3, 1usize..2000).prop_map(|(who, most)| Step::Write(who, most));
    prop::collection::vec(prop_oneof![say, write], 0..300)
}

proptest! {
    #[test]
    fn everybody_hears_all_that_is_theirs_in_order(steps in steps(), dropping in any::<bool>()) {
        let slow = if dropping { Slow::Drop("gap") } else { Slow::Disconnect };
        let mut feed = Feed::new(4000, slow);
        let keys: Vec<usize> = (1..=3).map(|number| enter(&mut feed, number)).collect();
        let mut expected: Vec<Vec<Vec<u8>>> = vec![Vec::new(); 3];
        let mut heard: Vec<Vec<u8>> = vec![Vec::new(); 3];
        let mut begun: Vec<Option<Begun>> = vec![None, None, None];
        let mut closed = [false; 3];
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Say(to, size) => {
                    if !feed.may_read(Waker::noop()) {
                        continue;
                    }
                    let mut payload = (number as u32).to_be_bytes().to_vec();
                    payload.resize(4 + size, b'.');
                    let ids = [u32::from(*to)];
                    let audience = match to {
                        0 => Audience::Everyone,
                        1..=3 => Audience::Only(&ids),
                        4 => Audience::Except(&[2]),
                        _ => Audience::Everyone,
                    };
                    publish(&mut feed, &[(audience, &payload)]);
                    for (who, expected) in expected.iter_mut().enumerate() {
                        let hears = match to {
                            1..=3 => usize::from(*to) == who + 1,
                            4 => who != 1,
                            _ => true,
                        };
                        if hears {
                            expected.push(payload.clone());
                        }
                    }
                }
                Step::Write(who, most) => {
                    let (bytes, end) =
                        write(&mut feed, keys[*who], &mut begun[*who], *most);
                    heard[*who].extend(bytes);
                    closed[*who] |= end.is_some();
                }
            }
        }
        for who in 0..3 {
            if let Some(begun) = begun[who].as_mut() {
                heard[who].extend_from_slice(begun.rest());
            }
            if !closed[who] {
                let (bytes, end) = write(&mut feed, keys[who], &mut None, usize::MAX);
                heard[who].extend(bytes);
                closed[who] |= end.is_some();
            }
            let got = payloads(&heard[who]);
            let gaps = got.iter().filter(|payload| payload.starts_with(b"{\"gap\"")).count();
            prop_assert!(!closed[who] || !dropping || feed.side_cost < 4000);
            if gaps > 0 {
                // In order all the same, and nothing that was not said.
                let said = got.iter().filter(|payload| !payload.starts_with(b"{\"gap\""));
                let mut rest = expected[who].iter();
                for payload in said {
                    prop_assert!(rest.any(|expected| expected == payload), "out of order");
                }
            } else if closed[who] {
                prop_assert_eq!(&got[..], &expected[who][..got.len()]);
            } else {
                prop_assert_eq!(&got, &expected[who]);
            }
        }
    }
}

#[test]
fn a_room_that_shrinks_keeps_those_who_stay() {
    let mut feed = Feed::new(1 << 20, Slow::Disconnect);
    let keys: Vec<usize> = (1..=1000).map(|id| enter(&mut feed, id)).collect();
    for key in keys.iter().filter(|key| **key != keys[6]) {
        feed.leave(*key, &mut Vec::new());
    }
    feed.shrink();
    assert!(feed.members.capacity() < 100 && feed.keys.capacity() < 100);
    publish(&mut feed, &[(Audience::Everyone, b"still here")]);
    let (written, _) = write(&mut feed, keys[6], &mut None, usize::MAX);
    assert_eq!(payloads(&written), [b"still here"]);
}

/// Frames of ours as the one who reads them hears them: whether compressed, and how long.
fn forms(feed: &mut Feed, key: usize) -> Vec<(bool, usize)> {
    let (bytes, _) = write(feed, key, &mut None, usize::MAX);
    let mut forms = Vec::new();
    let mut rest = &bytes[..];
    while let Some(length) = codec::frame_len(rest) {
        forms.push((rest[0] & 0x40 != 0, length));
        rest = &rest[length..];
    }
    assert!(rest.is_empty(), "a frame was cut");
    forms
}

#[test]
fn whoever_reads_compressed_frames_gets_them_between_what_is_for_one() {
    let mut feed = Feed::new(1 << 20, Slow::Disconnect);
    let (ann, bob) = (enter(&mut feed, 1), enter(&mut feed, 2));
    feed.read_packed(ann);
    assert!(feed.is_read_packed());
    assert!(feed.is_read_packed_by(&Who::Only([1, 2].as_slice().into())));
    assert!(!feed.is_read_packed_by(&Who::Only([2, 3].as_slice().into())));
    assert!(feed.is_read_packed_by(&Who::Except([2].as_slice().into())));
    assert!(!feed.is_read_packed_by(&Who::Except([1].as_slice().into())));
    let long = [b'x'; 1000];
    let mut outgoing = Outgoing::default();
    message(Audience::Everyone, b"short", &mut outgoing);
    message(Audience::Everyone, &long, &mut outgoing);
    message(Audience::Only(&[1, 2]), &long, &mut outgoing);
    message(Audience::Everyone, &long, &mut outgoing);
    outgoing.pack_frames(100);
    let marks: Vec<usize> = outgoing.packable(100).map(|(index, _)| index).collect();
    assert_eq!(marks, [0]);
    outgoing.pack_mark(0, 100);
    feed.publish(&mut outgoing, &mut Vec::new());
    let plain = [(false, 7), (false, 1004), (false, 1004), (false, 1004)];
    assert_eq!(forms(&mut feed, bob), plain);
    let heard = forms(&mut feed, ann);
    assert_eq!(
        heard.iter().map(|(packed, _)| *packed).collect::<Vec<_>>(),
        [false, true, true, true]
    );
    assert!(
        heard[1..].iter().all(|(_, length)| *length < 30),
        "{heard:?}"
    );
    assert_eq!(feed.held(), 0);
    feed.leave(ann, &mut Vec::new());
    assert!(!feed.is_read_packed());
}

#[test]
fn answers_to_one_that_follow_each_other_are_one_piece_in_their_place() {
    let mut feed = Feed::new(1 << 20, Slow::Disconnect);
    let (ann, bob) = (enter(&mut feed, 1), enter(&mut feed, 2));
    let mut outgoing = Outgoing::default();
    for (to, payload) in [
        (Audience::Only(&[1]), &b"a1"[..]),
        (Audience::Only(&[1]), b"a2"),
        (Audience::Only(&[2]), b"b1"),
        (Audience::Only(&[1]), b"a3"),
        (Audience::Everyone, b"all"),
        (Audience::Only(&[1]), b"a4"),
        (Audience::Only(&[9]), b"nobody"),
        (Audience::Only(&[9]), b"nobody"),
    ] {
        message(to, payload, &mut outgoing);
    }
    assert_eq!(
        feed.publish(&mut outgoing, &mut Vec::new()),
        2,
        "both count"
    );
    let mut pieces = Vec::new();
    assert_eq!(feed.next(ann, Waker::noop(), &mut pieces), Next::Write);
    assert_eq!(pieces.len(), 4, "two together, one, the one for all, one");
    let (heard, _) = write(&mut feed, ann, &mut None, usize::MAX);
    assert_eq!(payloads(&heard), [&b"a1"[..], b"a2", b"a3", b"all", b"a4"]);
    let (heard, _) = write(&mut feed, bob, &mut None, usize::MAX);
    assert_eq!(payloads(&heard), [&b"b1"[..], b"all"]);
}
