//! Every form of the flags for whoever writes the program; tried with all others in `forms`.

use std::path::PathBuf;

use super::*;

type Holds = fn(&Config) -> bool;

/// Every documented form, and what it means.
pub(super) const FORMS: &[(&str, Holds)] = &[
    ("--watch game.py", |c| {
        c.develop.watch == [PathBuf::from("game.py")] && !c.develop.watch_restart
    }),
    ("--watch-restart --watch src", |c| c.develop.watch_restart),
    ("--record rooms", |c| {
        let record = c.develop.record.as_ref().expect("asked for");
        record.dir.as_os_str() == "rooms"
            && (record.most, record.most_together) == (64 << 20, 1 << 30)
    }),
    (
        "--record-max 1MiB --record-total 2MiB --record rooms",
        |c| {
            let record = c.develop.record.as_ref().expect("asked for");
            (record.most, record.most_together) == (1 << 20, 2 << 20) && c.warnings.is_empty()
        },
    ),
    ("--record-max 1MiB", |c| {
        c.develop.record.is_none() && c.warnings.len() == 1
    }),
];

/// What is refused.
pub(super) const BAD: &[&str] = &[
    "--record-max 0",
    "--record-total much",
    "--record-max 4095",
    "--record-total 65535",
];

#[test]
fn a_path_is_watched_for_each_time_it_is_said() {
    let config = config("--watch a --watch b cat");
    assert_eq!(config.develop.watch, [PathBuf::from("a"), "b".into()]);
}
