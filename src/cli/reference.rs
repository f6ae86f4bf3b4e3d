//! The reference of the command line as a page of Markdown, made from the definitions that the
//! parser uses, between two hand-written parts. The same definitions give the same text, so that a
//! test can hold `docs/cli.md` to it.

use std::fmt::Write;

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, Command};

use super::{environment, flags, helpers};

/// How a command line reads: words, environment, durations, sizes, exit status.
const BEFORE: &str = include_str!("reference_before.md");
/// What is refused, and what changed since 0.2.4.
const AFTER: &str = include_str!("reference_after.md");

/// The text of `docs/cli.md`.
pub fn reference() -> String {
    let mut page = String::from(BEFORE);
    let mut command = flags::command();
    // Building settles how many values each flag takes; help and version come along.
    command.build();
    let flags: Vec<&Arg> = command.get_arguments().filter(|arg| is_ours(arg)).collect();
    let mut headings: Vec<&str> = Vec::new();
    for heading in flags.iter().filter_map(|arg| arg.get_help_heading()) {
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    for heading in headings {
        let _ = write!(page, "\n## {heading}\n");
        for arg in flags
            .iter()
            .filter(|arg| arg.get_help_heading() == Some(heading))
        {
            flag(&mut page, arg);
        }
    }
    page.push_str("\n## Helpers\n\nA helper's word is one only as the very first argument.\n");
    for helper in helpers::all() {
        one_helper(&mut page, helper);
    }
    page.push('\n');
    page.push_str(AFTER);
    page
}

fn is_ours(arg: &Arg) -> bool {
    !matches!(
        arg.get_action(),
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong
    ) && !matches!(arg.get_action(), ArgAction::Version)
}

fn one_helper(page: &mut String, mut helper: Command) {
    helper.build();
    let usage = helper.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    let _ = write!(page, "\n### `{usage}`\n\n{}.\n", text(helper.get_about()));
    for arg in helper.get_arguments().filter(|arg| is_ours(arg)) {
        match arg.get_long() {
            Some(_) => flag(page, arg),
            None => {
                let name = arg.get_value_names().and_then(<[_]>::first);
                let name = name.map(|name| name.as_str()).unwrap_or_default();
                let _ = write!(page, "\n`{name}`: {}.", text(arg.get_help()));
                if let Some(default) = default(arg) {
                    let _ = write!(page, " Default: `{default}`.");
                }
                page.push('\n');
            }
        }
    }
}

/// One flag: how it is written, what it means, where else it can be set.
fn flag(page: &mut String, arg: &Arg) {
    let Some(long) = arg.get_long() else { return };
    let short = arg
        .get_short()
        .map(|short| format!("-{short}, "))
        .unwrap_or_default();
    let values = arg
        .get_value_names()
        .filter(|_| arg.get_action().takes_values());
    let value = values
        .and_then(<[_]>::first)
        .map(|value| match arg.is_require_equals_set() {
            true => format!("[=<{value}>]"),
            false => format!(" <{value}>"),
        });
    let _ = write!(
        page,
        "\n### `{short}--{long}{}`\n\n",
        value.unwrap_or_default()
    );
    let short_help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let (meaning, written_default) = split_default(&short_help);
    let meaning = escaped(meaning);
    let _ = writeln!(page, "{meaning}.");
    let long_help = text(arg.get_long_help());
    if let Some((_, rest)) = long_help.split_once("\n\n") {
        let _ = write!(page, "\n{}\n", rest.trim_end());
    }
    page.push('\n');
    if let Some(default) = default(arg).or(written_default) {
        let _ = match default.contains(' ') {
            true => write!(page, "Default: {default}. "),
            false => write!(page, "Default: `{default}`. "),
        };
    }
    let modes = arg.get_possible_values();
    if arg.get_action().takes_values() && !modes.is_empty() {
        let modes: Vec<String> = modes
            .iter()
            .map(|mode| format!("`{}`", mode.get_name()))
            .collect();
        let _ = write!(page, "One of {}. ", modes.join(", "));
    }
    if let Some(aliases) = arg.get_all_aliases().filter(|aliases| !aliases.is_empty()) {
        let aliases: Vec<String> = aliases.iter().map(|alias| format!("`--{alias}`")).collect();
        let _ = write!(page, "Also {}. ", aliases.join(", "));
    }
    let _ = writeln!(page, "Environment: `{}`.", environment::name(long));
}

fn default(arg: &Arg) -> Option<String> {
    let shown = arg.get_action().takes_values();
    let values = arg.get_default_values().iter().filter(|_| shown);
    let values: Vec<_> = values
        .map(|value| value.to_string_lossy().into_owned())
        .collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// The default that a flag's help writes out, when its absence means something.
fn split_default(help: &str) -> (&str, Option<String>) {
    match help.split_once(" [default: ") {
        Some((meaning, rest)) => (meaning, rest.strip_suffix(']').map(str::to_owned)),
        None => (help, None),
    }
}

/// Help as Markdown that looks the same: what is not code keeps its underscores and stars.
fn escaped(plain: &str) -> String {
    let mut code = false;
    plain.chars().fold(String::new(), |mut page, c| {
        code ^= c == '`';
        if !code && matches!(c, '_' | '*' | '<' | '\\') {
            page.push('\\');
        }
        page.push(c);
        page
    })
}

fn text(styled: Option<&StyledStr>) -> String {
    escaped(&styled.map(ToString::to_string).unwrap_or_default())
}
