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
];

#[test]
fn a_path_is_watched_for_each_time_it_is_said() {
    let config = config("--watch a --watch b cat");
    assert_eq!(config.develop.watch, [PathBuf::from("a"), "b".into()]);
}
