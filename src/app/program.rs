//! What every room runs: the part of the configuration that starting a program needs.

use std::ffi::OsString;

use super::Prepared;
use crate::child::{self, Ports, Spec, Starter, Transport};
use crate::cli::{self, Config, Source};

/// What browsers speak: xterm.js and its like.
const TERM: &str = "xterm-256color";

/// How large its terminal is, if it runs in one.
pub(super) fn size(config: &Config) -> Option<child::Size> {
    config.pty.map(|size| child::Size {
        columns: size.columns,
        rows: size.rows,
    })
}

/// Starts the program of each room.
pub(super) fn starter(config: &Config, prepared: &Prepared, cage: child::Cage) -> Starter {
    let (args, transport) = match &config.source {
        Source::Program { args, .. } if config.tcp => (
            args.clone(),
            Transport::Tcp(Ports::new(config.tcpports.clone())),
        ),
        Source::Program { args, .. } => match size(config) {
            Some(size) => (args.clone(), Transport::Terminal(size)),
            None => (args.clone(), Transport::Stdio),
        },
        Source::Connect(address) => (Vec::new(), Transport::Connect(address.clone())),
        #[cfg(feature = "kube")]
        Source::Nothing => (Vec::new(), Transport::Stdio),
    };
    let spec = Spec {
        program: prepared.program.clone().unwrap_or_default(),
        args,
        env: handed_on(config),
        stop_signal: config.stop_signal,
        stop_grace: config.stop_grace,
        stderr: match config.stderr {
            cli::Stderr::Log | cli::Stderr::Client => child::Stderr::Pipe,
            cli::Stderr::Inherit => child::Stderr::Inherit,
            cli::Stderr::Drop => child::Stderr::Drop,
        },
        transport,
        attach_delay: config.cmd_attach_delay,
        start_timeout: config.start_timeout,
        cage,
    };
    Starter::new(spec, prepared.warden.clone())
}

/// The variables of our own that a program gets.
fn handed_on(config: &Config) -> Vec<(OsString, OsString)> {
    let mut env = child::passenv(&config.passenv, std::env::vars_os());
    if config.pty.is_some() {
        // Our own terminal, if there is one, is not the program's.
        let named = |name: &OsString| {
            config
                .passenv
                .iter()
                .any(|given| name.as_os_str() == given.as_str())
        };
        env.retain(|(name, _)| {
            named(name)
                || !["TERM", "COLUMNS", "LINES"]
                    .iter()
                    .any(|of_ours| name == of_ours)
        });
        if !env.iter().any(|(name, _)| name == "TERM") {
            env.push(("TERM".into(), TERM.into()));
        }
    }
    env
}
