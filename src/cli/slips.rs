//! Slips: words that are nearly right, or that another program would take, and the sentence that names
//! the right ones. What is a slip here would be a riddle one step later, when a value was taken for the
//! program or a word of prose for a flag.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};

use super::complaint::{line, quoted};
use super::shown;

const TOKEN: &str =
    "`--admin-token-file FILE`, because others on this machine can read a command line";

/// What people write who know another program of this kind, and what it is here.
const ELSEWHERE: [(&str, &str); 15] = [
    ("--port", "`--addr 0.0.0.0:PORT`"),
    ("-p", "`--addr 0.0.0.0:PORT`"),
    ("--address", "`--addr ADDRESS:PORT`"),
    ("--bind", "`--addr ADDRESS:PORT`"),
    ("--listen", "`--addr ADDRESS:PORT`"),
    ("--ssl", "`--tls-cert FILE --tls-key FILE`"),
    ("--sslcert", "`--tls-cert FILE`"),
    ("--ssl-cert", "`--tls-cert FILE`"),
    ("--sslkey", "`--tls-key FILE`"),
    ("--ssl-key", "`--tls-key FILE`"),
    ("--dir", "`--staticdir DIR`"),
    ("--sameorigin", "`--same-origin`"),
    ("--maxforks", "`--maxrooms N`"),
    ("--admin-token", TOKEN),
    ("--console-token", TOKEN),
];

/// Verbs that other programs want before the one to run.
const VERBS: [&str; 4] = ["serve", "run", "start", "exec"];

/// Dashes of prose, which editors and pages make of hyphens: en dash, em dash, minus.
const LONG_DASHES: [char; 3] = ['\u{2013}', '\u{2014}', '\u{2212}'];

/// What an option of another program is here; with one dash, too, as programs in Go have them.
pub(super) fn elsewhere(word: &str) -> Option<&'static str> {
    let name = name(word);
    let one_dash = |theirs: &str| name.starts_with('-') && theirs.strip_prefix('-') == Some(name);
    let found = ELSEWHERE
        .iter()
        .find(|(theirs, _)| *theirs == name || one_dash(theirs));
    found.map(|(_, ours)| *ours)
}

/// The flag that was written with one dash.
pub(super) fn one_dash(command: &Command, word: &str) -> Option<String> {
    let long = name(word).strip_prefix('-')?;
    flag(command, long).map(|_| format!("--{long}"))
}

/// A sentence for a word that was copied from prose.
pub(super) fn long_dash(word: &str) -> Option<String> {
    let flag = word.trim_start_matches(LONG_DASHES);
    (flag.len() < word.len()).then(|| {
        let flag = flag.trim_start_matches('-');
        format!("`{word}` begins with a dash that is no hyphen: write `--{flag}`")
    })
}

/// A sentence for a verb that was taken for the program, with the word that was too many behind it.
pub(super) fn verb(cmd: &OsStr, before: &[OsString], after: &[OsString]) -> Option<String> {
    let verb = VERBS.into_iter().find(|verb| cmd == *verb)?;
    if after.first()?.as_encoded_bytes().starts_with(b"-") {
        return None;
    }
    let words = before.iter().filter(|word| *word != cmd).chain(after);
    let advice = line(words).map(|line| format!(", as in `{line}`"));
    Some(format!(
        "`{verb}` was taken for the program: leave it out{}",
        advice.unwrap_or_default()
    ))
}

/// A sentence for a value that stands behind a flag which takes its own only with `=`: it would be taken
/// for the program.
pub(super) fn apart(command: &Command, argv: &[OsString]) -> Option<String> {
    let words = argv.iter().take_while(|word| *word != "--");
    let words: Vec<&str> = words.map_while(|word| word.to_str()).collect();
    words
        .iter()
        .zip(words.iter().skip(1))
        .find_map(|(word, value)| {
            let arg = flag(command, word.strip_prefix("--")?)?;
            let whole = format!("{word}={value}");
            let takes = arg.is_require_equals_set() && {
                let alone = ["scalesocket", &whole, "program"];
                command.clone().try_get_matches_from(alone).is_ok()
            };
            takes.then(|| format!("`{word}` takes its value behind a =: write `{whole}`"))
        })
}

/// A sentence for a command line that ends with a flag's value, where the program was to stand.
pub(super) fn swallowed(command: &Command, argv: &[OsString]) -> Option<String> {
    let (value, before) = argv.split_last()?;
    let word = before.last()?.to_str()?;
    let arg = flag(command, word.strip_prefix("--")?)?;
    let takes = arg.get_action().takes_values() && !arg.is_require_equals_set();
    takes.then(|| {
        format!(
            "there is no program to serve: `{}` was taken for the value of `{word}`; name the program behind it, as in \
             `scalesocket {word} {} cat`",
            shown(value),
            quoted(value)
        )
    })
}

/// An option's word without its value.
pub(super) fn name(word: &str) -> &str {
    word.split_once('=').map_or(word, |(name, _)| name)
}

fn flag<'a>(command: &'a Command, long: &str) -> Option<&'a Arg> {
    let mut args = command.get_arguments();
    args.find(|arg| arg.get_long() == Some(long))
}
