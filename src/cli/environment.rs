//! `SCALESOCKET_X_Y` for every flag `--x-y`: variables become words of the command line, so that one
//! parser judges both. A flag that the command line gives silences its variable; an
//! empty variable is unset; variables of no flag are not ours to judge (Kubernetes injects some).

use std::ffi::{OsStr, OsString};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};

/// A variable that was used.
pub(super) struct Variable {
    /// The flag it stands for, with its dashes.
    pub flag: String,
    /// Its name.
    pub name: String,
    /// What it holds, fit for a sentence.
    pub value: String,
}

/// The variable of a flag, given without its dashes.
pub(super) fn name(flag: &str) -> String {
    format!(
        "SCALESOCKET_{}",
        flag.replace('-', "_").to_ascii_uppercase()
    )
}

/// The variable that pods customarily have from the Downward API: `POD_NAME` for `--pod-name`.
fn downward(flag: &str) -> Option<String> {
    let what = flag.strip_prefix("pod-")?;
    Some(format!("POD_{}", what.to_ascii_uppercase()))
}

/// The words that the environment adds to what was given, and where they came from.
pub(super) fn words(
    command: &clap::Command,
    given: &ArgMatches,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Result<(Vec<OsString>, Vec<Variable>), String> {
    let mut words = Vec::new();
    let mut variables = Vec::new();
    for arg in command.get_arguments() {
        let Some(long) = arg.get_long() else { continue };
        if given.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine) {
            continue;
        }
        // Older spellings of a flag are older spellings of its variable.
        let spellings = std::iter::once(long).chain(arg.get_all_aliases().unwrap_or_default());
        let set = |name: String| {
            env(&name)
                .filter(|value| !value.is_empty())
                .map(|v| (name, v))
        };
        let Some((name, value)) = spellings.map(name).chain(downward(long)).find_map(set) else {
            continue;
        };
        words.extend(spelled(arg, long, &name, &value)?);
        variables.push(Variable {
            flag: format!("--{long}"),
            name,
            value: super::shown(&value),
        });
    }
    Ok((words, variables))
}

/// One variable as words of the command line.
fn spelled(arg: &Arg, long: &str, name: &str, value: &OsStr) -> Result<Vec<OsString>, String> {
    let flag = OsString::from(format!("--{long}"));
    let with = |value: &OsStr| {
        let mut word = flag.clone();
        word.push("=");
        word.push(value);
        word
    };
    let switch = match value.to_str() {
        Some("true" | "1") => Some(true),
        Some("false" | "0") => Some(false),
        _ => None,
    };
    let optional = arg
        .get_num_args()
        .is_some_and(|range| range.min_values() == 0);
    match (arg.get_action(), switch) {
        (ArgAction::SetTrue, Some(on)) => Ok(vec![flag; usize::from(on)]),
        (ArgAction::SetTrue, None) => Err(format!(
            "`{name}={}` is not valid: write true, false, 1 or 0",
            super::shown(value)
        )),
        (ArgAction::Count, Some(on)) => Ok(vec![flag; usize::from(on)]),
        (ArgAction::Count, None) => match value.to_str().and_then(|text| text.parse().ok()) {
            Some(times @ 0..=9u8) => Ok(vec![flag; times.into()]),
            _ => Err(format!(
                "`{name}={}` is not valid: write how often, from 0 to 9",
                super::shown(value)
            )),
        },
        (_, Some(on)) if optional => Ok(vec![flag; usize::from(on)]),
        // A value that may hold commas: one to a line.
        (ArgAction::Append, _) if arg.get_value_delimiter().is_none() => match value.to_str() {
            Some(text) => {
                let lines = text.lines().filter(|line| !line.trim().is_empty());
                Ok(lines.map(|line| with(line.as_ref())).collect())
            }
            None => Ok(vec![with(value)]),
        },
        _ => Ok(vec![with(value)]),
    }
}

/// Says of the flags in a sentence which ones came from the environment: nobody finds them on the
/// command line.
pub(super) fn name_sources(mut sentence: String, variables: &[Variable]) -> String {
    let mentioned = |flag: &str| {
        let mut ends = sentence.match_indices(flag).map(|(at, _)| at + flag.len());
        let part_of_name = |c: char| c == '-' || c.is_ascii_alphanumeric();
        ends.any(|end| {
            !sentence
                .get(end..)
                .unwrap_or_default()
                .starts_with(part_of_name)
        })
    };
    let sources: Vec<String> = variables
        .iter()
        .filter(|variable| mentioned(&variable.flag))
        .map(|variable| format!("{} is set by {}", variable.flag, variable.name))
        .collect();
    if !sources.is_empty() {
        sentence.push_str(&format!(" ({})", sources.join(", ")));
    }
    sentence
}
