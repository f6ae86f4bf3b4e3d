//! Given a command line and an environment, what is configured, or which one sentence is said.

mod cage;
#[cfg(feature = "kube")]
mod cluster;
mod connect;
mod contradictions;
mod develop;
mod docs;
mod door;
mod environment;
mod forms;
mod health;
mod identity;
mod words;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use scalesocket::cli::{self, ClientFraming, Command, Config, Exit, Listen, ServerFraming, Source};

/// A word in single quotes may hold spaces, as in a shell.
fn words(line: &str) -> Vec<OsString> {
    let mut words = vec![OsString::from("scalesocket")];
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (mut word, mut quoted, mut end) = (String::new(), false, rest.len());
        for (at, c) in rest.char_indices() {
            match c {
                '\'' => quoted = !quoted,
                ' ' if !quoted => {
                    end = at;
                    break;
                }
                c => word.push(c),
            }
        }
        words.push(word.into());
        rest = rest[end..].trim_start();
    }
    words
}

type Env<'a> = &'a [(&'a str, &'a str)];

fn parse_in(env: Env<'_>, line: &str) -> Result<Command, Exit> {
    let lookup = |name: &str| {
        env.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| OsString::from(value))
    };
    cli::parse(words(line), &lookup)
}

#[track_caller]
fn config_in(env: Env<'_>, line: &str) -> Config {
    match parse_in(env, line) {
        Ok(Command::Serve(config)) => *config,
        other => panic!("`{line}` with {env:?} should serve, but: {other:?}"),
    }
}

#[track_caller]
fn config(line: &str) -> Config {
    config_in(&[], line)
}

/// The sentence, after checking that it is one and goes where it belongs.
#[track_caller]
fn refused_in(env: Env<'_>, line: &str) -> String {
    match parse_in(env, line) {
        Err(exit @ Exit::Refusal(_)) => sentence(&exit),
        other => panic!("`{line}` with {env:?} should be refused, but: {other:?}"),
    }
}

#[track_caller]
fn sentence(exit: &Exit) -> String {
    assert_eq!(exit.code(), 2);
    let text = exit.to_string();
    let line = text.strip_suffix('\n').expect("a whole line");
    let sentence = line.strip_prefix("scalesocket: ").expect("who says it");
    assert!(!sentence.contains(['\n', '\r']), "one line: {sentence:?}");
    assert!(
        sentence.contains(' ') && !sentence.contains(". "),
        "one sentence: {sentence}"
    );
    sentence.to_owned()
}

#[track_caller]
fn refused(line: &str) -> String {
    refused_in(&[], line)
}

fn program(cmd: &str, args: &[&str]) -> Source {
    Source::Program {
        cmd: cmd.into(),
        args: args.iter().map(OsString::from).collect(),
    }
}

fn tcp(address: &str) -> Listen {
    Listen::Tcp(address.to_owned())
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn json() -> (ServerFraming, ClientFraming) {
    (ServerFraming::Json, ClientFraming::Json)
}

fn framing(c: &Config) -> (ServerFraming, ClientFraming) {
    (c.server_framing.clone(), c.client_framing)
}

fn with_cat(flags: &str) -> String {
    if flags.contains("--connect") {
        flags.to_owned()
    } else {
        format!("{flags} cat")
    }
}

/// The flags of a line as the variables that say the same; several of one become one list.
fn as_variables(flags: &str) -> Vec<(String, String)> {
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    let mut words = words(flags).into_iter().skip(1).peekable();
    while let Some(word) = words.next() {
        let word = word.into_string().expect("ours");
        let (flag, value) = match word.split_once('=') {
            Some((flag, value)) => (flag.to_owned(), value.to_owned()),
            None => match words.next_if(|next| !next.to_string_lossy().starts_with("--")) {
                Some(value) => (word, value.into_string().expect("ours")),
                None => (word, "true".to_owned()),
            },
        };
        let name = flag
            .trim_start_matches('-')
            .replace('-', "_")
            .to_ascii_uppercase();
        let between = if flag == "--header" { "\n" } else { "," };
        match variables.get_mut(&format!("SCALESOCKET_{name}")) {
            Some(list) if flag == "--verbose" => *list = "2".into(),
            Some(list) => *list = format!("{list}{between}{value}"),
            None => drop(variables.insert(format!("SCALESOCKET_{name}"), value)),
        }
    }
    variables.into_iter().collect()
}

fn borrowed(variables: &[(String, String)]) -> Vec<(&str, &str)> {
    variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}
