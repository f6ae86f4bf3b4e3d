//! Command lines and environments: whatever they are, there is something to run whose values are in
//! bounds, or an answer, or one sentence.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use scalesocket::cli::{self, Command, Config, Exit, Source};
use scalesocket::room::RoomName;

/// A line each: a word, or a variable if it begins like one.
pub(super) fn run(bytes: &[u8]) {
    let (variables, words): (Vec<&[u8]>, Vec<&[u8]>) = bytes
        .split(|byte| *byte == b'\n')
        .partition(|line| line.starts_with(b"SCALESOCKET_") && line.contains(&b'='));
    let mut argv = vec![OsString::from("scalesocket")];
    // The system hands over no word with a NUL.
    let words = words.into_iter().filter(|word| !word.contains(&0));
    argv.extend(words.map(|word| OsString::from_vec(word.to_vec())));
    let variable = |name: &str| {
        variables.iter().find_map(|line| {
            let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            let value = value.split(|byte| *byte == 0).next()?;
            Some(OsString::from_vec(value.to_vec()))
        })
    };
    match cli::parse(argv, &variable) {
        Ok(Command::Serve(config)) => check(&config),
        Ok(Command::Connect(options)) => {
            assert!(options.url.host().is_some_and(|host| !host.is_empty()));
            assert!(matches!(options.url.scheme_str(), Some("ws" | "wss")));
        }
        Ok(Command::Replay(options)) => {
            assert!(!options.program.is_empty() && !options.file.as_os_str().is_empty());
        }
        Ok(Command::Install { dir }) => assert!(!dir.as_os_str().is_empty()),
        Ok(Command::Probe { path, timeout, .. }) => {
            assert!(path.starts_with('/'));
            assert!(timeout > Duration::ZERO);
        }
        Ok(Command::ProbeProcess { pid, timeout }) => {
            assert!(pid > 0 && timeout > Duration::ZERO);
        }
        Err(Exit::Answer(text)) => assert!(text.ends_with('\n')),
        Err(Exit::Refusal(text)) => {
            let sentence = text.strip_prefix("scalesocket: ").expect("who speaks");
            let sentence = sentence.strip_suffix('\n').expect("a whole line");
            assert!(!sentence.is_empty());
            assert!(!sentence.contains(char::is_control), "{sentence:?}");
        }
    }
}

/// What `Config` says of its fields.
fn check(config: &Config) {
    match &config.source {
        Source::Program { cmd, .. } => assert!(!cmd.as_bytes().contains(&0)),
        Source::Connect(address) => assert!(address.contains(':')),
        // Only where servers form a fleet.
        #[allow(unreachable_patterns)]
        _ => {}
    }
    assert!(*config.tcpports.start() > 0 && !config.tcpports.is_empty());
    for size in [
        config.backlog,
        config.inbox,
        config.max_message,
        config.max_child_message,
        config.maxrooms,
    ] {
        assert!(size > 0);
    }
    assert!(config.start_timeout > Duration::ZERO);
    assert!(config.stall_timeout > Duration::ZERO);
    assert!(config.ping != Some(Duration::ZERO));
    let rooms = config.rooms.as_deref().unwrap_or_default();
    for (at, room) in rooms.iter().enumerate() {
        assert!(RoomName::parse(room).is_ok(), "{room}");
        assert!(!rooms[..at].contains(room), "{room} twice");
    }
}
