//! The `scalesocket` binary: parse, prepare, run, and turn the result into an exit code.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use scalesocket::app::{self, Plan, Prepared};
use scalesocket::child::{self, Division, Warden};
use scalesocket::cli::{self, Command, Config, Exit, Listen, Source};
use scalesocket::probe::{self, Target};
use scalesocket::{connect, install, replay, telemetry};

/// How long blocking work may take to end once everything else has.
const LAST_WORK: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    if let Some(code) = child::run_if_warden() {
        return code;
    }
    match cli::parse(std::env::args_os(), &|name| std::env::var_os(name)) {
        Ok(Command::Serve(config)) => serve(*config),
        Ok(Command::Connect(options)) => connect::run(&options).unwrap_or_else(|error| {
            eprintln!("scalesocket: {error:#}");
            ExitCode::FAILURE
        }),
        // 1 is a difference.
        Ok(Command::Replay(options)) => replay::run(&options)
            .unwrap_or_else(|error| Exit::refusal(format!("{error:#}")).report()),
        Ok(Command::Install { dir }) => {
            told(install::install(&dir).map(|path| path.display().to_string()))
        }
        Ok(Command::Probe {
            target,
            secure,
            path,
            timeout,
        }) => told(probe::probe(&self::target(target, secure), &path, timeout)),
        Ok(Command::ProbeProcess { pid, timeout }) => told(probe_process(pid, timeout)),
        Err(exit) => exit.report(),
    }
}

/// Asks the server that is this process, where its command line says that it listens.
fn probe_process(pid: u32, timeout: Duration) -> anyhow::Result<String> {
    let words = probe::words_of(pid)?;
    // A check of a container has the container's environment, as the server has.
    let health = cli::health(&words, &|name| std::env::var_os(name)).map_err(anyhow::Error::msg)?;
    let target = target(health.target, health.secure);
    match probe::probe(&target, "/health", timeout) {
        // It cannot be asked more by who has none.
        Err(error) if health.wants_certificate && probe::wants_certificate(&error) => {
            Ok("it asks for a certificate".to_owned())
        }
        answer => answer,
    }
}

fn target(listen: Listen, secure: bool) -> Target {
    match listen {
        Listen::Tcp(address) if secure => Target::Tls(address),
        Listen::Tcp(address) => Target::Tcp(address),
        Listen::Unix(socket) => Target::Unix(socket),
    }
}

/// The result of a helper: a line for whoever asked.
fn told(result: anyhow::Result<String>) -> ExitCode {
    match result {
        Ok(line) => {
            // A reader that has gone is no failure of the helper.
            let _ = writeln!(std::io::stdout(), "{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("scalesocket: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(config: Config) -> ExitCode {
    // Before the thread that writes the log, which would take a part of its own.
    app::share_heap();
    // What can be refused is refused before anything is started.
    let program = match &config.source {
        Source::Program { cmd, .. } => {
            let path =
                std::env::var_os("PATH").unwrap_or_else(|| OsString::from(cli::DEFAULT_PATH));
            match cli::resolve_program(cmd, &path) {
                Ok(program) => Some(program),
                Err(sentence) => return Exit::refusal(sentence).report(),
            }
        }
        Source::Connect(_) => None,
        #[cfg(feature = "kube")]
        Source::Nothing => None,
    };
    let result = child::raise_nofile().map_err(anyhow::Error::from);
    let result = result.and_then(|(soft_nofile, descriptors)| {
        let format = match config.log {
            cli::LogFormat::Text => telemetry::LogFormat::Text,
            cli::LogFormat::Json => telemetry::LogFormat::Json,
        };
        let verbosity = config.verbosity;
        match Plan::new(config, descriptors) {
            Ok(plan) => {
                let (_flush, terminal) = telemetry::init(format, verbosity)?;
                run(plan, program, soft_nofile, terminal)
            }
            Err(error) => Ok(Exit::refusal(format!("{error:#}")).report()),
        }
    });
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("scalesocket: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(
    plan: Plan,
    program: Option<PathBuf>,
    soft_nofile: u64,
    terminal: Option<telemetry::Terminal>,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let division = (program.is_some() && plan.wants_cgroups()).then(Division::of_own);
    let result = runtime.block_on(async {
        let warden = match &program {
            Some(_) => {
                let options = child::WardenOptions {
                    soft_nofile: Some(soft_nofile),
                    division: division.as_ref().and_then(|divided| divided.clone().ok()),
                    ..child::WardenOptions::default()
                };
                Some(Warden::start(&options)?)
            }
            None => None,
        };
        let prepared = Prepared {
            warden,
            program,
            division: division.clone(),
            terminal,
        };
        app::run(plan, prepared).await
    });
    runtime.shutdown_timeout(LAST_WORK);
    if let Some(Ok(division)) = division {
        division.undo();
    }
    result
}
