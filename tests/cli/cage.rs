//! Every form of the flags of a program's cage, good and bad; tried with all others in `forms`.

use super::*;

type Holds = fn(&Config) -> bool;

/// Every documented form, and what it means.
pub(super) const FORMS: &[(&str, Holds)] = &[
    ("--user game", |c| c.cage.user.as_deref() == Some("game")),
    ("--user 1000:1000", |c| {
        c.cage.user.as_deref() == Some("1000:1000")
    }),
    ("--group players", |c| {
        c.cage.group.as_deref() == Some("players") && c.cage.user.is_none()
    }),
    ("--chdir /srv/game", |c| {
        c.cage.chdir.as_deref() == Some("/srv/game".as_ref())
    }),
    ("--nice 19", |c| c.cage.nice == Some(19)),
    ("--nice -20", |c| c.cage.nice == Some(-20)),
    ("--nice=-5", |c| c.cage.nice == Some(-5)),
    ("--limit-memory 64MiB", |c| {
        c.cage.limit_memory == Some(64 << 20)
    }),
    ("--limit-memory 1MiB", |c| {
        c.cage.limit_memory == Some(1 << 20)
    }),
    ("--limit-cpu-seconds 60", |c| {
        c.cage.limit_cpu_seconds == Some(60)
    }),
    ("--limit-files 4", |c| c.cage.limit_files == Some(4)),
    ("--limit-processes 1", |c| c.cage.limit_processes == Some(1)),
    ("--cgroups auto", |c| c.cage.cgroups),
    ("--cgroups off", |c| !c.cage.cgroups),
    ("--spawn-rate 20/s", |c| {
        c.cage.spawn_rate == Some(Duration::from_millis(50))
    }),
    ("--spawn-rate 20", |c| {
        c.cage.spawn_rate == Some(Duration::from_millis(50))
    }),
    ("--spawn-rate 0.5/s", |c| c.cage.spawn_rate == Some(secs(2))),
    ("--spawn-rate 30/m", |c| c.cage.spawn_rate == Some(secs(2))),
    ("--spawn-rate 60/h", |c| c.cage.spawn_rate == Some(secs(60))),
    ("--crash-limit 3", |c| c.cage.crash_limit == Some(3)),
    ("--crash-limit 0", |c| c.cage.crash_limit.is_none()),
    ("--stats", |c| {
        c.cage.crash_limit == Some(5) && c.cage.spawn_rate.is_none() && c.cage.cgroups
    }),
];

/// What is refused.
pub(super) const BAD: &[&str] = &[
    "--user :7",
    "--user 'a b'",
    "--group 'a b'",
    "--nice 20",
    "--nice -21",
    "--nice +1",
    "--nice nicer",
    "--limit-memory 1048575",
    "--limit-memory lots",
    "--limit-cpu-seconds 0",
    "--limit-cpu-seconds 1s",
    "--limit-files 3",
    "--limit-processes 0",
    "--limit-processes -1",
    "--cgroups on",
    "--spawn-rate 0",
    "--spawn-rate 5/x",
    "--spawn-rate 5/",
    "--spawn-rate 9999999/s",
    "--spawn-rate fast",
    "--crash-limit -1",
    "--crash-limit few",
];

#[test]
fn a_program_that_already_runs_has_no_cage() {
    for flags in [
        "--user game",
        "--group players",
        "--chdir /",
        "--nice 1",
        "--limit-memory 1GiB",
        "--limit-cpu-seconds 1",
        "--limit-files 9",
        "--limit-processes 9",
    ] {
        let sentence = refused(&format!("--connect 127.0.0.1:1 {flags}"));
        let flag = flags.split(' ').next().unwrap();
        assert!(sentence.contains(flag), "{sentence}");
        assert!(sentence.contains("--connect"), "{sentence}");
    }
}
