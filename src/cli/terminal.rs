//! `--pty`: the form of a size, what cannot stand beside a terminal, and what follows from one.

use super::config::Size;
use super::flags::Cli;

/// What a terminal has been since there were any.
pub(super) const SIZE: &str = "80x24";
/// Wider or higher is a typing error.
const MOST: u16 = 1_000;

/// `COLSxROWS`.
pub(super) fn size(text: &str) -> Result<Size, String> {
    let number = |text: &str| text.parse().ok().filter(|n| (1..=MOST).contains(n));
    let size = text.split_once('x').and_then(|(columns, rows)| {
        Some(Size {
            columns: number(columns)?,
            rows: number(rows)?,
        })
    });
    size.ok_or_else(|| format!("write columns and rows, 1 to {MOST} each, like 80x24"))
}

/// What a program in a terminal cannot have as well.
pub(super) fn refuse(cli: &Cli) -> Result<(), String> {
    const TYPED: &str =
        "a terminal has keys and a screen and no messages, so leave out one of the two";
    const PROGRAM: &str = "only a program that is started here gets a terminal, so leave out one of \
                           the two";
    const ONE_SCREEN: &str = "a terminal shows stderr too, so leave out one of the two";
    const TEXT: &str = "it would be typed into the terminal, so leave out one of the two";
    if cli.pty.is_none() {
        return Ok(());
    }
    let others = [
        (
            cli.tcp,
            "--tcp",
            "the program talks over TCP then, so leave out one of the two",
        ),
        (cli.connect.is_some(), "--connect", PROGRAM),
        (cli.json, "--json", TYPED),
        (cli.frame.is_some(), "--frame", TYPED),
        (cli.client_frame.is_some(), "--client-frame", TYPED),
        (cli.server_frame.is_some(), "--server-frame", TYPED),
        (cli.null, "--null", TYPED),
        (cli.delimiters.is_some(), "--delimiters", TYPED),
        (cli.stderr.is_some(), "--stderr", ONE_SCREEN),
        (cli.joinmsg.is_some(), "--joinmsg", TEXT),
        (cli.leavemsg.is_some(), "--leavemsg", TEXT),
    ];
    match others.into_iter().find(|(given, ..)| *given) {
        Some((_, other, why)) => Err(format!("--pty cannot go with {other}: {why}")),
        None => Ok(()),
    }
}

/// The signal that asks the program to end, if none is given: a shell does not hear TERM, and every
/// program knows that a terminal can hang up.
pub(super) fn stop_signal(cli: &Cli) -> i32 {
    let preset = match cli.pty {
        Some(_) => libc::SIGHUP,
        None => libc::SIGTERM,
    };
    cli.stop_signal.unwrap_or(preset)
}
