//! One container: started, watched over, restarted by its policy, and ended by the ladder of
//! Kubernetes: `preStop`, TERM, the grace, KILL.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::jiff::Timestamp;
use nix::sys::signal::Signal;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::process::{Exit, Process};
use super::guest::Guest;
use super::{AGAIN, probe};

/// Before a first restart; doubled by each. A cluster starts with 10 s and ends with 5 min.
const BACK_OFF: Duration = Duration::from_millis(100);
const BACK_OFF_MOST: Duration = Duration::from_secs(2);
/// What a program has between TERM and KILL even if `preStop` took all of its grace.
const LEAST_GRACE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    Always,
    OnFailure,
    Never,
}

#[derive(Clone, Debug)]
pub struct Ended {
    pub exit: Exit,
    pub since: Timestamp,
    pub at: Timestamp,
}

#[derive(Clone, Debug)]
pub enum Phase {
    /// Why, in the API's words.
    Waiting(&'static str, String),
    Running(Timestamp),
    /// For good.
    Terminated(Ended),
}

#[derive(Clone, Debug)]
pub struct State {
    pub phase: Phase,
    pub last: Option<Ended>,
    pub starts: i32,
    pub started: bool,
    pub ready: bool,
    pub process: Option<Arc<Process>>,
}

impl Default for State {
    fn default() -> State {
        State {
            phase: Phase::Waiting("PodInitializing", String::new()),
            last: None,
            starts: 0,
            started: false,
            ready: false,
            process: None,
        }
    }
}

/// Until it has ended for good; whether it succeeded. `stop` holds the grace once it is to end.
pub async fn run(
    guest: Arc<Guest>,
    index: usize,
    policy: Restart,
    mut stop: watch::Receiver<Option<Duration>>,
) -> bool {
    let (_, container) = &guest.containers[index];
    let mut pause = BACK_OFF;
    loop {
        guest.acting().await;
        if stop.borrow().is_some() {
            return false;
        }
        let started = match known_acts(container) {
            Ok(()) => guest.start(index).await,
            Err(refusal) => Err(refusal),
        };
        let process = match started {
            Ok(process) => process,
            Err(refusal) => {
                guest.note(&refusal);
                guest.change(index, |state| {
                    state.phase = Phase::Waiting("CreateContainerConfigError", refusal);
                });
                tokio::select! {
                    () = sleep(AGAIN) => {}
                    _ = stop.wait_for(Option::is_some) => {}
                }
                continue;
            }
        };
        let since = Timestamp::now();
        guest.change(index, |state| {
            state.phase = Phase::Running(since);
            state.starts += 1;
        });
        let exit = until_exit(&guest, index, &process, &mut stop).await;
        // The end of a container is the end of all that is in it, and only then it has ended.
        let all = process.clone();
        let _ = tokio::task::spawn_blocking(move || all.end()).await;
        guest.acting().await;

        let ended = Ended {
            exit,
            since,
            at: Timestamp::now(),
        };
        let again = stop.borrow().is_none()
            && match policy {
                Restart::Always => true,
                Restart::OnFailure => exit.code != 0,
                Restart::Never => false,
            };
        guest.change(index, |state| {
            state.ready = false;
            state.started = false;
            state.process = None;
            state.phase = if again {
                state.last = Some(ended);
                Phase::Waiting("CrashLoopBackOff", String::new())
            } else {
                Phase::Terminated(ended)
            };
        });
        if !again {
            return exit.code == 0;
        }
        tokio::select! {
            () = sleep(pause) => {}
            _ = stop.wait_for(Option::is_some) => {}
        }
        pause = (pause * 2).min(BACK_OFF_MOST);
    }
}

/// Whether the container asks for anything that the stand-in does not do.
fn known_acts(container: &Container) -> Result<(), String> {
    let probes = [
        &container.startup_probe,
        &container.readiness_probe,
        &container.liveness_probe,
    ];
    if probes
        .into_iter()
        .flatten()
        .any(|probe| probe.http_get.is_none())
    {
        return Err("the stand-in knows no probes but httpGet".to_owned());
    }
    let hooks = container.lifecycle.as_ref();
    let pre_stop = hooks.and_then(|hooks| hooks.pre_stop.as_ref());
    if pre_stop.is_some_and(|hook| hook.sleep.is_none())
        || hooks.is_some_and(|hooks| hooks.post_start.is_some())
    {
        return Err("the stand-in knows no hooks but preStop.sleep".to_owned());
    }
    Ok(())
}

/// Ends it when a probe or the API says so.
async fn until_exit(
    guest: &Guest,
    index: usize,
    process: &Process,
    stop: &mut watch::Receiver<Option<Duration>>,
) -> Exit {
    let (_, container) = &guest.containers[index];
    let probed = async {
        probe::watch_over(guest, index, container).await;
        guest.acting().await;
    };
    tokio::select! {
        exit = process.exited() => return exit,
        () = probed => guest.note("dead to its probes"),
        _ = stop.wait_for(Option::is_some) => {}
    }
    tokio::select! {
        exit = terminate(guest, container, process, stop) => exit,
        // It serves to its end, and may say that it does not.
        () = probe::readiness(guest, index, container) => process.exited().await,
    }
}

/// The ladder. The grace may be shortened on the way, by a second deletion.
async fn terminate(
    guest: &Guest,
    container: &Container,
    process: &Process,
    stop: &mut watch::Receiver<Option<Duration>>,
) -> Exit {
    let began = Instant::now();
    let hooks = container.lifecycle.as_ref();
    let hook = hooks.and_then(|hooks| hooks.pre_stop.as_ref()?.sleep.as_ref());
    let pre_stop = hook.and_then(|hook| u64::try_from(hook.seconds).ok());
    let mut grace = (*stop.borrow_and_update()).unwrap_or_else(|| guest.specified_grace());
    if let Some(seconds) = pre_stop {
        let pre_stop = Duration::from_secs(seconds).min(grace);
        tokio::select! {
            exit = process.exited() => return exit,
            () = sleep(pre_stop) => grace = grace.max(pre_stop + LEAST_GRACE),
        }
    }
    process.signal(Signal::SIGTERM);
    loop {
        tokio::select! {
            exit = process.exited() => return exit,
            () = sleep_until(began + grace) => {
                process.signal(Signal::SIGKILL);
                return process.exited().await;
            }
            Ok(()) = stop.changed() => grace = (*stop.borrow_and_update()).unwrap_or(grace).min(grace),
        }
    }
}
