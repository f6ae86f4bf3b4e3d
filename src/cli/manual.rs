//! What shells and man(1) are told of the command line, made from the definitions that the parser
//! uses: `completions` and `man`.

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, Parser};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::{Exit, complaint, flags, helpers};

/// The program's name, in completions and on the page.
const NAME: &str = "scalesocket";

/// Print what a shell needs to complete this command line, to be kept where the shell looks for it
#[derive(Debug, Parser)]
#[command(
    name = "completions",
    bin_name = "scalesocket completions",
    disable_version_flag = true,
    max_term_width = 100
)]
struct CompletionsCli {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_name = "SHELL", value_enum, ignore_case = true)]
    shell: Option<Shell>,
}

/// Print the manual page, for `scalesocket man | man -l -`
#[derive(Debug, Parser)]
#[command(
    name = "man",
    bin_name = "scalesocket man",
    disable_version_flag = true,
    max_term_width = 100
)]
struct ManCli {}

/// The definitions of `completions`.
pub(super) fn completions() -> Command {
    CompletionsCli::command()
}

/// The definitions of `man`.
pub(super) fn man() -> Command {
    ManCli::command()
}

pub(super) fn to_completions(found: &ArgMatches) -> Result<Exit, String> {
    let cli = CompletionsCli::from_arg_matches(found)
        .map_err(|error| complaint::sentence(&error, &[]))?;
    let shell = cli.shell.ok_or(
        "name the shell, as in `scalesocket completions bash` (a program called completions is \
         served as `scalesocket -- completions`)",
    )?;
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut completed(shell), NAME, &mut text);
    let text = String::from_utf8_lossy(&text);
    Ok(Exit::Answer(match shell {
        Shell::Zsh => {
            let helpers: Vec<_> = helpers::all()
                .map(|helper| helper.get_name().to_owned())
                .collect();
            let behind = BEHIND_PROGRAMS.replace("HELPERS", &helpers.join(" "));
            text.replace(HELPERS_ALONE, HELPERS_AND_PROGRAMS).replacen(
                BEHIND_HELPERS,
                &(BEHIND_HELPERS.to_owned() + &behind),
                1,
            )
        }
        _ => text.into_owned(),
    }))
}

/// What zsh is told of the first word, and what it is to be told: it is a program, unless it is a helper.
const HELPERS_ALONE: &str = "\":: :_scalesocket_commands\" \\\n";
const HELPERS_AND_PROGRAMS: &str =
    "\":: :{ _scalesocket_commands; _command_names -e; _files }\" \\\n";

/// And where it goes on behind one: programs take files.
const BEHIND_HELPERS: &str = "    case $state in\n    (scalesocket)\n";
const BEHIND_PROGRAMS: &str =
    "        [[ \" HELPERS \" == *\" $line[1] \"* ]] || { _files && ret=0 }\n";

/// The command line as a shell can complete it.
fn completed(shell: Shell) -> Command {
    let whole = flags::command().name(NAME).disable_help_subcommand(true);
    match shell {
        Shell::Zsh => {
            // It would look for helpers behind the positional words, which are any words.
            let flags = whole.get_arguments().filter(|arg| !arg.is_positional());
            let command = Command::new(NAME)
                .version(env!("CARGO_PKG_VERSION"))
                .disable_help_subcommand(true)
                .args(flags.cloned());
            named(command).subcommands(helpers::all().map(named))
        }
        _ => whole.subcommands(helpers::all()),
    }
}

/// With names of values in which nothing ends a part of what zsh is told, as colons do.
fn named(command: Command) -> Command {
    command.mut_args(|arg| {
        let names = arg.get_value_names().unwrap_or_default().iter();
        let names: Vec<_> = names.map(|name| name.replace(':', "\\:")).collect();
        match names.is_empty() {
            true => arg,
            false => arg.value_names(names),
        }
    })
}

/// The page in the language of troff (man(7)).
pub(super) fn page() -> Exit {
    let command = flags::command().name(NAME);
    let man = Man::new(command.clone())
        .title("SCALESOCKET")
        .section("1")
        .source(concat!("scalesocket ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    // Nothing that writes into memory fails.
    let _ = man.render(&mut text);
    let mut more = Roff::new();
    more.control("SH", ["HELPERS"]);
    more.text([roman(
        "A helper's word is one only as the very first argument.",
    )]);
    for mut helper in helpers::all() {
        helper.build();
        let usage = helper.render_usage().to_string();
        more.control("TP", []);
        more.text([bold(usage.trim_start_matches("Usage: "))]);
        let about = helper.get_about().map(ToString::to_string);
        more.text([roman(format!("{}.", about.unwrap_or_default()))]);
    }
    more.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in [
        ("0", "After help, version and an orderly end."),
        (
            "2",
            "The command line, the environment or CMD cannot be used; one sentence says what to do.",
        ),
        ("N", "With --oneshot: the status of the program."),
    ] {
        more.control("TP", []);
        more.text([bold(status)]);
        more.text([roman(meaning)]);
    }
    text.extend(more.render().into_bytes());
    Exit::Answer(String::from_utf8_lossy(&text).into_owned())
}
