//! Many courses, each in a runtime of its own: nowhere two children of a room, and no room that
//! cannot be reached in the end. The same courses with a rule left out do show two children, or
//! these tests would show nothing.

use tokio::runtime::Builder;

use crate::course::{Outcome, take};
use crate::fleet::Mode;
use crate::process::LeftOut;

/// How many courses of each mode are taken when nobody says: some half a minute of one processor,
/// without optimisation.
const SEEDS: u64 = 20;
/// How many are tried at most until one shows what was left out. The first ones do.
const TRIES: u64 = 100;

fn run(seed: u64, mode: Mode, left_out: LeftOut) -> Outcome {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(take(seed, mode, left_out))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn all_are_well(mode: Mode) {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    };
    let (count, mut lives) = (seeds.end - seeds.start, 0);
    for seed in seeds {
        let Outcome {
            course,
            wrong,
            born,
        } = run(seed, mode, LeftOut::Nothing);
        assert!(
            wrong.is_empty(),
            "{}\n\n{}\n\nonce more: SEED={seed} cargo test --features kube --test claims {mode:?}",
            course.join("\n"),
            wrong.join("\n"),
        );
        lives += born;
    }
    // Where next to nothing lives, next to nothing is shown.
    assert!(lives >= 20 * count, "{lives} children in {count} courses");
}

/// A course of the first ones in which a room lives twice.
fn is_found(mode: Mode, left_out: LeftOut) {
    let twice = |seed| {
        let outcome = run(seed, mode, left_out);
        outcome.wrong.iter().any(|it| it.contains("lives in"))
    };
    let found = (0..TRIES).find(|seed| twice(*seed));
    assert!(found.is_some(), "{left_out:?} is not needed?");
    println!("without {left_out:?}: SEED={}", found.unwrap_or_default());
}

#[test]
fn one_child_per_room_in_mode_pod() {
    all_are_well(Mode::Pod);
}

#[test]
fn one_child_per_room_in_mode_fenced() {
    all_are_well(Mode::Fenced);
}

#[test]
fn without_c5_a_room_lives_twice() {
    is_found(Mode::Pod, LeftOut::C5);
}

#[test]
fn without_s3_a_room_lives_twice() {
    is_found(Mode::Fenced, LeftOut::S3);
}

#[test]
fn a_course_is_the_same_each_time() {
    let once = run(7, Mode::Fenced, LeftOut::Nothing);
    let again = run(7, Mode::Fenced, LeftOut::Nothing);
    assert!(once.course.len() > 100);
    let differ = once.course.iter().zip(&again.course).find(|(a, b)| a != b);
    assert_eq!(differ, None);
    assert_eq!(once.course.len(), again.course.len());
}
