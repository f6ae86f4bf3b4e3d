//! What the parser refuses, told in one sentence that says what to do. The parser's own messages
//! run over several lines and know nothing of the rule that a program's arguments come after `--`,
//! which is what most mistakes are about.

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

use super::environment::Variable;
use super::{Exit, shown, slips};

/// A corrected command line longer than this no longer helps in a sentence.
const LONGEST_ADVICE: usize = 120;
const SEE_HELP: &str = "see `scalesocket --help`";

/// What came of words of the command line: help, version, or a refusal.
pub(super) fn of_words(command: &clap::Command, argv: &[OsString], error: &Error) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            Exit::Answer(error.render().to_string())
        }
        ErrorKind::UnknownArgument => Exit::refusal(unknown(command, argv, error)),
        _ => Exit::refusal(sentence(error, &[])),
    }
}

/// A sentence for any refusal of the parser; `variables` are those it may have come from.
pub(super) fn sentence(error: &Error, variables: &[Variable]) -> String {
    let full = context(error, ContextKind::InvalidArg).unwrap_or_default();
    let flag = flag_of(&full);
    let value = context(error, ContextKind::InvalidValue).unwrap_or_default();
    let variable = variables.iter().find(|variable| variable.flag == flag);
    let written = match variable {
        Some(variable) => format!("{}={}", variable.name, variable.value),
        // Words without a flag are named by what they are.
        None if flag.is_empty() => shown(OsStr::new(&value)),
        None if value.is_empty() => format!("{flag} ''"),
        None => format!("{flag} {}", shown(OsStr::new(&value))),
    };
    match error.kind() {
        ErrorKind::ValueValidation => {
            let advice = std::error::Error::source(error).map(|cause| cause.to_string());
            format!(
                "`{written}` is not valid: {}",
                advice.unwrap_or_else(|| SEE_HELP.into())
            )
        }
        ErrorKind::InvalidValue if value.is_empty() && variable.is_none() => {
            format!("`{flag}` needs a value: write it as `{full}`")
        }
        ErrorKind::InvalidValue => {
            let choices = context(error, ContextKind::ValidValue).unwrap_or_default();
            format!("`{written}` is not valid: choose one of {choices}")
        }
        ErrorKind::TooManyValues => {
            format!(
                "`{flag}` takes no value: leave out `={}`",
                shown(OsStr::new(&value))
            )
        }
        ErrorKind::ArgumentConflict => format!("`{flag}` is given more than once: give it once"),
        ErrorKind::MissingRequiredArgument => format!("`{full}` is missing: {SEE_HELP}"),
        ErrorKind::InvalidUtf8 => match variable.or(variables.first()) {
            Some(_) => "a SCALESOCKET_ variable is not valid UTF-8: write it in UTF-8".into(),
            None => "an argument is not valid UTF-8: write flags and their values in UTF-8".into(),
        },
        ErrorKind::UnknownArgument => format!("`{full}` is not known here: {SEE_HELP}"),
        _ => format!("the arguments cannot be read: {SEE_HELP}"),
    }
}

/// A flag nobody knows, or one word too many.
fn unknown(command: &clap::Command, argv: &[OsString], error: &Error) -> String {
    let word = context(error, ContextKind::InvalidArg).unwrap_or_default();
    let word = shown(OsStr::new(&word));
    // The parser stops at the first word it refuses, so every shorter beginning is fine or
    // merely unfinished: the boundary is the word.
    let refused = |end: &usize| {
        let beginning = argv.get(..*end).unwrap_or(argv);
        let found = command.clone().try_get_matches_from(beginning);
        found.is_err_and(|error| error.kind() == ErrorKind::UnknownArgument)
    };
    let ends: Vec<usize> = (1..=argv.len()).collect();
    let at = ends.partition_point(|end| !refused(end));
    let (before, after) = argv.split_at(at.min(argv.len()));
    let cmd = command
        .clone()
        .try_get_matches_from(before)
        .ok()
        .and_then(|found| found.try_get_one::<OsString>("cmd").ok().flatten().cloned());
    let whole = after.first().map(|word| shown(word)).unwrap_or_default();
    let whole = slips::name(&whole);
    let suggested = context(error, ContextKind::SuggestedArg).map(|flag| flag_of(&flag));
    let ours = slips::elsewhere(&word)
        .or_else(|| slips::elsewhere(whole))
        .map(str::to_owned);
    let meant = slips::one_dash(command, whole)
        .or(suggested)
        .map(|flag| format!("`{flag}`"));
    let Some(cmd) = cmd else {
        if let Some(sentence) = slips::long_dash(whole) {
            return sentence;
        }
        return match (ours, meant) {
            (Some(ours), _) => format!("`{word}` is not a known option: here it is {ours}"),
            (None, Some(flag)) => format!("`{whole}` is not a known option: did you mean {flag}?"),
            (None, None) => {
                let name = command.get_bin_name().unwrap_or("scalesocket");
                format!("`{word}` is not a known option or argument: see `{name} --help`")
            }
        };
    };
    let slip = slips::long_dash(&shown(&cmd))
        .or_else(|| slips::long_dash(whole))
        .or_else(|| slips::verb(&cmd, before, after));
    if let Some(sentence) = slip {
        return sentence;
    }
    let middle = [OsString::from("--")];
    let advice = line(before.iter().chain(&middle).chain(after))
        .unwrap_or_else(|| format!("scalesocket {} -- ...", quoted(&cmd)));
    let kind = match ours.or(meant) {
        Some(ours) => {
            let ours = ours.split(", ").next().unwrap_or_default();
            return format!(
                "`{word}` is not a known option: write {ours} if it is meant for scalesocket, or put -- before the program's \
                 own arguments, as in `{advice}`"
            );
        }
        None if word.starts_with('-') => "is not a known option",
        None => "is one word too many",
    };
    format!("`{word}` {kind}: put -- before the program's own arguments, as in `{advice}`")
}

/// Words as a shell would have to be given them; none when they are too many to help.
pub(super) fn line<'a>(words: impl Iterator<Item = &'a OsString>) -> Option<String> {
    let words: Vec<_> = words.map(|word| quoted(word)).collect();
    Some(words.join(" ")).filter(|line| line.len() <= LONGEST_ADVICE)
}

/// A word as a shell would have to be given it.
pub(super) fn quoted(word: &OsStr) -> String {
    let text = shown(word);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// `--slow` of `--slow <POLICY>`; nothing of a positional's `<NAME>`.
fn flag_of(full: &str) -> String {
    let end = full.find([' ', '=', '[', '<']).unwrap_or(full.len());
    full.get(..end)
        .unwrap_or(full)
        .trim_end_matches('.')
        .to_owned()
}

fn context(error: &Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => Some(texts.join(", ")),
        _ => None,
    }
}
