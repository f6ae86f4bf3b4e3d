//! The flags for whoever writes the program: `Flags` -> [`Develop`], pure.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Clone, Args)]
#[group(skip)] // groups are told apart by the names of their types, and others are called so too
#[command(next_help_heading = "Developing")]
pub(super) struct Flags {
    /// Notice when the program or this file or directory changes (repeatable)
    ///
    /// New rooms run the new program, once nothing has been written for a moment; a program that is
    /// missing or half written meanwhile is waited for. Rooms that failed again and again may try at
    /// once. Of directories all is watched but hidden files, `__pycache__` and `node_modules`.
    #[arg(long, value_name = "PATH")]
    pub watch: Vec<PathBuf>,

    /// With --watch: also end the rooms that run the old program
    ///
    /// Their clients read 1012, and meet the new program when they come back.
    #[arg(long)]
    pub watch_restart: bool,
}

/// What whoever writes the program has asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Develop {
    /// What the program is made of; empty: nobody asks when it changes.
    pub watch: Vec<PathBuf>,
    /// Whether a change ends the rooms that run the old one.
    pub watch_restart: bool,
}

/// What was asked for, or one sentence that says what to do; `connect`: there is no program.
pub(super) fn validate(flags: &Flags, connect: bool) -> Result<Develop, String> {
    if connect && !flags.watch.is_empty() {
        return Err(
            "--watch cannot go with --connect: it has no process of ours, so leave out one of the two"
                .into(),
        );
    }
    if flags.watch_restart && flags.watch.is_empty() {
        return Err("--watch-restart says what happens on a change: add --watch with the path of what changes".into());
    }
    if flags.watch.iter().any(|path| path.as_os_str().is_empty()) {
        return Err("--watch has no path: write the one of a file or directory".into());
    }
    Ok(Develop {
        watch: flags.watch.clone(),
        watch_restart: flags.watch_restart,
    })
}
