//! The command line: arguments and environment become one [`Config`], or one sentence that says
//! what to do instead. Nothing here touches files, sockets or the process's environment, except
//! [`resolve_program`], which looks at the disk because `main` asks it to. The flags live in
//! `flags`, their forms in `values`, what may not stand together in `validate`; the
//! reference in `docs/cli.md` is printed from the same definitions by [`reference()`].

mod cage;
#[cfg(feature = "kube")]
mod cluster;
mod complaint;
mod config;
mod connect;
mod console;
mod develop;
mod door;
mod environment;
mod flags;
mod health;
mod helpers;
mod identity;
mod manual;
mod program;
mod reference;
mod replay;
mod script;
mod slips;
mod terminal;
mod tls;
mod validate;
mod values;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::FromArgMatches;

pub use cage::Cage;
#[cfg(feature = "kube")]
pub use cluster::{Claims, Cluster, Placement, Route};
pub use config::{
    Cache, ClientFraming, Config, DEFAULT_ADDR, Keep, Listen, LogFormat, Memory, Refuse, Restart,
    ServerFraming, Size, Slow, Source, Stderr,
};
pub use connect::Connect;
pub use console::{Access, Console};
pub use develop::{Develop, Record};
pub use door::{Front, Proxy};
pub use flags::command;
pub use health::{Health, health};
pub use identity::Identity;
pub use program::{DEFAULT_PATH, resolve_program};
pub use reference::reference;
pub use replay::{Pace, Replay};
pub use script::flush_advice;
pub use tls::Tls;

/// What the command line asks for.
#[derive(Debug, Clone)]
pub enum Command {
    /// Serve a program: everything but the helpers.
    Serve(Box<Config>),
    /// Copy this executable into a directory, for images that have no `cp`.
    Install {
        /// The directory that gets a file `scalesocket`.
        dir: PathBuf,
    },
    /// Talk with a room.
    Connect(Connect),
    /// Give a program again what a recorded room gave it.
    Replay(Replay),
    /// Ask a running server for its health, for images that have no `curl`.
    Probe {
        /// Where the server listens.
        target: Listen,
        /// Whether it is asked over TLS.
        secure: bool,
        /// The path to ask for, with a leading `/`.
        path: String,
        /// How long connecting and answering may take together.
        timeout: Duration,
    },
    /// Ask a server for its health that is this process.
    ProbeProcess {
        /// Its process id.
        pid: u32,
        /// How long connecting and answering may take together.
        timeout: Duration,
    },
}

/// Why there is nothing to run: the text is complete, with its last newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// Help or version, as asked for: standard output, exit 0.
    Answer(String),
    /// One sentence that says what to do: standard error, exit 2.
    Refusal(String),
}

impl Exit {
    /// A refusal of this sentence (without its newline).
    pub fn refusal(sentence: impl fmt::Display) -> Exit {
        Exit::Refusal(format!("scalesocket: {sentence}\n"))
    }

    /// The exit status: 0 or 2.
    pub fn code(&self) -> u8 {
        match self {
            Exit::Answer(_) => 0,
            Exit::Refusal(_) => 2,
        }
    }

    /// Prints the text where it belongs. A reader that went away (`--help | head -1`) is no error.
    pub fn report(&self) -> ExitCode {
        let _ = match self {
            Exit::Answer(text) => std::io::stdout().lock().write_all(text.as_bytes()),
            Exit::Refusal(text) => std::io::stderr().lock().write_all(text.as_bytes()),
        };
        ExitCode::from(self.code())
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Exit::Answer(text) | Exit::Refusal(text)) = self;
        f.write_str(text)
    }
}

/// Reads the command line (with the program's own name first, as the system gives it) and the
/// environment, in which `env` looks up one name. The command line wins over the environment.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Command, Exit> {
    // Usage lines name the program, not the path it was started by.
    let mut argv = vec![OsString::from("scalesocket")];
    argv.extend(args.into_iter().skip(1));
    // A helper's word is one only in front: anywhere else it is a program to serve.
    match argv.get(1).and_then(|word| word.to_str()) {
        Some("install") => {
            let matches = matches(&helpers::install(), helper_words("install", &argv), env)?;
            helpers::to_install(&matches.found).map_err(Exit::refusal)
        }
        Some("probe") => {
            let matches = matches(&helpers::probe(), helper_words("probe", &argv), env)?;
            helpers::to_probe(&matches.found).map_err(Exit::refusal)
        }
        Some("connect") => {
            let matches = matches(&connect::connect(), helper_words("connect", &argv), env)?;
            connect::to_connect(&matches.found).map_err(Exit::refusal)
        }
        Some("replay") => {
            let matches = matches(&replay::replay(), helper_words("replay", &argv), env)?;
            replay::to_replay(&matches.found).map_err(Exit::refusal)
        }
        Some("completions") => {
            let words = helper_words("completions", &argv);
            let matches = matches(&manual::completions(), words, env)?;
            Err(manual::to_completions(&matches.found).unwrap_or_else(Exit::refusal))
        }
        Some("man") => {
            matches(&manual::man(), helper_words("man", &argv), env)?;
            Err(manual::page())
        }
        _ => {
            let command = command();
            if let Some(sentence) = slips::apart(&command, &argv) {
                return Err(Exit::refusal(sentence));
            }
            let matches = matches(&command, argv.clone(), env)?;
            let cli = flags::Cli::from_arg_matches(&matches.found)
                .map_err(|error| Exit::refusal(complaint::sentence(&error, &[])))?;
            match validate::validate(cli) {
                Ok(config) => Ok(Command::Serve(Box::new(config))),
                Err(sentence) if sentence == validate::NO_PROGRAM => Err(Exit::refusal(
                    slips::swallowed(&command, &argv).unwrap_or(sentence),
                )),
                Err(sentence) => Err(Exit::refusal(environment::name_sources(
                    sentence,
                    &matches.variables,
                ))),
            }
        }
    }
}

/// The helper's own name, then what follows its word.
fn helper_words(helper: &str, argv: &[OsString]) -> Vec<OsString> {
    let mut words = vec![OsString::from(format!("scalesocket {helper}"))];
    words.extend(argv.iter().skip(2).cloned());
    words
}

/// What a command line and the environment say together.
struct Matches {
    found: clap::ArgMatches,
    variables: Vec<environment::Variable>,
}

fn matches(
    command: &clap::Command,
    argv: Vec<OsString>,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Matches, Exit> {
    // First the command line alone: its mistakes are told as such, and what it says
    // silences the variable of the same name.
    let given = command
        .clone()
        .try_get_matches_from(&argv)
        .map_err(|error| complaint::of_words(command, &argv, &error))?;
    let (words, variables) = environment::words(command, &given, env).map_err(Exit::refusal)?;
    let mut argv = argv;
    argv.splice(1..1, words);
    let found = command
        .clone()
        .try_get_matches_from(&argv)
        .map_err(|error| Exit::refusal(complaint::sentence(&error, &variables)))?;
    Ok(Matches { found, variables })
}

/// Text from outside inside a sentence: on one line, whatever it holds.
pub(crate) fn shown(text: &OsStr) -> String {
    text.to_string_lossy()
        .chars()
        .fold(String::new(), |mut line, c| {
            if c.is_control() {
                line.extend(c.escape_default());
            } else {
                line.push(c);
            }
            line
        })
}
