//! The flags of the console, and what they come to: `Flags` -> [`Console`], pure.

use std::path::PathBuf;

use clap::Args;

use super::values;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "HTTP")]
#[group(skip)] // groups are named after their struct, and another has this name
pub(super) struct Flags {
    /// Serve /console: a page that shows every room, live; =write: and acts on them
    ///
    /// On --admin-addr if there is one. It shows what clients and programs say, so it wants a token: the one
    /// of --admin-token-file, or else one that is made at start and said in the log. With =write it also speaks
    /// to programs and to clients, kicks clients and ends rooms.
    #[arg(long, value_name = "write", num_args = 0..=1, require_equals = true,
          default_missing_value = "read", value_parser = values::console)]
    pub console: Option<Access>,

    /// The console's token: the first line of this file, at least 16 bytes
    #[arg(long, value_name = "FILE", value_parser = values::file)]
    pub admin_token_file: Option<PathBuf>,
}

/// What whoever has the token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Look.
    Read,
    /// Look and act.
    Write,
}

/// The console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Console {
    /// What may be done there.
    pub access: Access,
    /// The file of the token; none: one is made.
    pub token_file: Option<PathBuf>,
}

/// What the flags come to: nothing without `--console`.
pub(super) fn validate(flags: &Flags) -> Result<Option<Console>, String> {
    match (flags.console, &flags.admin_token_file) {
        (None, Some(_)) => Err(
            "--admin-token-file does nothing without --console: add that, or leave it out".into(),
        ),
        (None, None) => Ok(None),
        (Some(access), file) => Ok(Some(Console {
            access,
            token_file: file.clone(),
        })),
    }
}
