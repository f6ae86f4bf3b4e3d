//! The supervisor: one task per room, its life from the child's start to its last process.
//!
//! It starts the child and its pumps, watches for what ends a room, walks the stop ladder (inbox
//! and EOF, the signal, KILL) and frees the name. It never touches data, and nothing outlives it.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::net::unix::pipe;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::close::Close;
use super::crashes;
use super::end::{End, is_failure};
use super::live::{Order, Phase, Room};
use super::mute::Silence;
use super::options::Stderr;
use super::ownership::Claim;
use super::pumps;
use super::rooms::Registry;
use crate::child::{Child, Exit, Input, Life, Output};
use crate::frame::Broken;

/// The first and the longest wait before a failed child is started again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// So many failures within that time, and the room gives up.
const CRASHES: (usize, Duration) = (5, Duration::from_secs(60));

/// How long clients may take for what a child left in its pipe: less than half a backlog is
/// enough to make room for it.
const LAST_OUTPUT: Duration = Duration::from_secs(30);

/// The label of the end of rooms whose server has lost the right to them.
pub const FENCED: &str = "fenced";

/// The variable with the token of the room's claim.
const TOKEN: &str = "SCALESOCKET_FENCING_TOKEN";

/// Lives the life of `room`; `env` has the CGI variables of the client that opened it. The claim
/// is given back once nothing of the room is left.
pub(super) async fn run(
    room: Arc<Room>,
    registry: Arc<Registry>,
    mut env: Vec<(OsString, OsString)>,
    claim: Option<Claim>,
) {
    if let Some(claim) = &claim {
        env.push((TOKEN.into(), claim.token().into()));
    }
    let figures = Arc::downgrade(&room);
    let series = registry.metrics.room_started(room.name.as_str(), move || {
        figures
            .upgrade()
            .map(|room| room.figures())
            .unwrap_or_default()
    });
    let supervisor = Supervisor {
        room: &room,
        registry: &registry,
        env,
        crashes: Vec::new(),
    };
    let end = supervisor.live().await;
    room.set_phase(Phase::Ended);
    room.inbox.close();
    room.close_clients(end.close.clone());
    room.transcript.ended(&end.close);
    drop(series);
    registry.metrics.room_ended(&end.label);
    let age = room.opened.elapsed();
    if !registry.options.isolate {
        // Before the name is free: whoever waits for it is refused, too.
        let now = Instant::now();
        let soon = now.saturating_duration_since(room.turn) < crashes::SOON;
        let failure = end.failure().filter(|_| soon);
        registry.crashes.ended(&room.name, failure, now);
    }
    // Before the name is free: who asks for the room next must not be told that it is ours.
    drop(claim);
    registry.remove(&room, &end.close, end.exit);
    info!(
        room = %room.name,
        code = end.close.code,
        reason = %end.close.reason,
        cause = %end.label,
        exit = end.exit.map(tracing::field::display),
        seconds = age.as_secs_f64(),
        "room ended"
    );
}

struct Supervisor<'a> {
    room: &'a Arc<Room>,
    registry: &'a Arc<Registry>,
    env: Vec<(OsString, OsString)>,
    /// When the child failed lately.
    crashes: Vec<Instant>,
}

/// What one child's life comes to.
enum Turn {
    Over(End),
    Again(Exit),
}

/// What happens to a living child.
enum Happened {
    /// It ended by itself.
    Exited(Exit),
    /// It closed its output, and with that the room.
    Closed,
    /// The room is to end.
    Ended(End),
}

impl Supervisor<'_> {
    async fn live(mut self) -> End {
        let mut turn = self.room.turn;
        loop {
            if let Some(end) = self.wait_for(turn).await {
                return end;
            }
            match self.one_child().await {
                Turn::Over(end) => return end,
                Turn::Again(exit) => {
                    if let Some(end) = self.back_off(exit).await {
                        return end;
                    }
                    turn = self.registry.starts.reserve_in_any_case(Instant::now());
                }
            }
        }
    }

    /// Waits until a program may be started, or finds that there is to be none.
    async fn wait_for(&self, turn: Instant) -> Option<End> {
        if turn <= Instant::now() {
            return None;
        }
        let room = self.room;
        let mut orders = room.orders.subscribe();
        let order = tokio::select! {
            order = orders.wait_for(|order| *order != Order::Live) => order.ok().map(|o| o.clone()),
            () = sleep_until(turn) => None,
        };
        if let Some(order) = order {
            return Some(End::ordered(&order, None));
        }
        let left = self.registry.options.linger.is_zero() && room.end_if_empty();
        left.then(|| End::new(Close::new(Close::GOING_AWAY, "everybody left"), "empty"))
    }

    /// One child, from its start until all it started is gone.
    async fn one_child(&self) -> Turn {
        let room = self.room;
        let begun = Instant::now();
        let mut orders = room.orders.subscribe();
        let started = tokio::select! {
            biased;
            // First, so that nothing is begun after the order. What was begun before is killed.
            Ok(order) = orders.wait_for(|order| *order != Order::Live) => {
                return Turn::Over(End::ordered(&order, None));
            }
            started = self.registry.starter.start(self.env.clone(), room.port.as_ref()) => started,
        };
        let child = match started {
            Ok(child) => child,
            Err(error) => {
                warn!(room = %room.name, %error, "child could not be started");
                return Turn::Over(End::cannot_start(&error));
            }
        };
        self.registry.metrics.spawned(begun.elapsed());
        let Child {
            pid,
            input,
            output,
            stderr,
            terminal,
            gauge,
            mut life,
            version,
        } = child;
        room.version.store(version, Relaxed);
        room.pid.store(pid.unwrap_or(0), Relaxed);
        *room.gauge.lock() = gauge;
        room.set_terminal(terminal);
        room.set_phase(Phase::Running);
        info!(room = %room.name, pid, "child started");
        room.transcript
            .started(pid, self.registry.starter.spec(), &self.env);
        let mut pumps = Pumps::start(room, self.registry, input, output, stderr);

        let may_restart = self.registry.options.restart;
        let happened = match self.happens(&mut life, &mut pumps).await {
            // A child that failed closes its socket a moment before it is seen to have ended.
            Happened::Closed if may_restart => {
                match tokio::time::timeout(pumps::AFTER_EXIT, life.exited()).await {
                    Ok(exit) => Happened::Exited(exit),
                    Err(_) => Happened::Closed,
                }
            }
            happened => happened,
        };
        let (mut end, exited) = match happened {
            Happened::Exited(exit) if may_restart && is_failure(exit) => {
                if let Some(end) = self.finish_output(&mut pumps).await {
                    (end.after(exit), false)
                } else {
                    pumps.stop_input().await;
                    room.set_terminal(None);
                    life.stop();
                    life.gone().await;
                    room.pid.store(0, Relaxed);
                    *room.gauge.lock() = None;
                    self.registry.metrics.child_exited(&exit.to_string());
                    pumps.end().await;
                    room.transcript.exited(exit);
                    return Turn::Again(exit);
                }
            }
            // What was printed is still delivered.
            Happened::Exited(exit) => (End::exited(exit), true),
            Happened::Closed => {
                room.set_phase(Phase::Ending);
                match self.ask_to_end(&mut life, &mut pumps, pid, false).await {
                    Some(exit) => (End::exited(exit), true),
                    None => (End::exited(Exit::Closed), false),
                }
            }
            // Another server may be about to have the room: nothing is waited for, and a
            // connection, which nobody else can cut, ends at once.
            Happened::Ended(end) if end.label == FENCED => {
                room.set_phase(Phase::Ending);
                room.inbox.close();
                life.kill();
                (end, false)
            }
            Happened::Ended(end) => {
                room.set_phase(Phase::Ending);
                let wait = end.label == "empty";
                match self.ask_to_end(&mut life, &mut pumps, pid, wait).await {
                    Some(exit) => (end.after(exit), true),
                    None => (end, false),
                }
            }
        };
        // Nobody comes in any more.
        room.set_phase(Phase::Ending);
        room.inbox.close();
        if exited && let Some(instead) = self.finish_output(&mut pumps).await {
            end = End {
                exit: end.exit,
                ..instead
            };
        }
        room.close_clients(end.close.clone());
        pumps.stop_input().await;
        room.set_terminal(None);
        if !exited {
            room.transcript.stopped();
        }
        life.stop();
        let exit = life.gone().await;
        room.pid.store(0, Relaxed);
        *room.gauge.lock() = None;
        self.registry.metrics.child_exited(&exit.to_string());
        pumps.end().await;
        room.transcript.exited(exit);
        Turn::Over(End {
            exit: end.exit.or(Some(exit)),
            ..end
        })
    }

    /// Waits for what ends the life of a child or of the room.
    async fn happens(&self, life: &mut Life, pumps: &mut Pumps) -> Happened {
        let room = self.room;
        let options = &self.registry.options;
        let mut occupied = room.occupied.subscribe();
        let mut orders = room.orders.subscribe();
        let oldest = options
            .max_lifetime
            .map(|most| Instant::from_std(room.opened) + most);
        let mut lonely: Option<Instant> = None;
        let advice = &self.registry.advice;
        let mut silence = Silence::new(advice.is_left());
        loop {
            let order = orders.borrow_and_update().clone();
            if order != Order::Live {
                return Happened::Ended(End::ordered(&order, None));
            }
            // Counted anew whenever somebody comes or goes, and then only.
            let moved = occupied.has_changed().unwrap_or(false);
            let empty = !*occupied.borrow_and_update();
            let idle = options
                .max_idle
                .map(|most| Instant::from_std(room.opened) + room.active() + most);
            let now = Instant::now();
            if oldest.is_some_and(|oldest| now >= oldest) {
                let close = Close::new(Close::GOING_AWAY, "lifetime limit");
                return Happened::Ended(End::new(close, "lifetime"));
            }
            if idle.is_some_and(|idle| now >= idle) {
                let close = Close::new(Close::GOING_AWAY, "idle limit");
                return Happened::Ended(End::new(close, "idle"));
            }
            lonely = match lonely {
                Some(until) if empty && !moved => Some(until),
                _ => empty.then(|| now + options.linger),
            };
            let limits = [oldest, idle].into_iter().flatten().min();
            let look = silence.next_look();
            tokio::select! {
                biased;
                exit = life.exited() => {
                    // An order that came before is the reason, perhaps of the exit too.
                    let order = orders.borrow().clone();
                    return match order {
                        Order::Live => Happened::Exited(exit),
                        order => Happened::Ended(End::ordered(&order, Some(exit))),
                    };
                }
                ended = pumps.output_ended() => match ended {
                    Some(broken) => return Happened::Ended(End::broken(broken)),
                    None if options.output_ends_room => return Happened::Closed,
                    None => {}
                },
                _ = orders.changed() => {}
                _ = occupied.changed() => {}
                () = sleep_until(lonely.unwrap_or(now)), if empty => {
                    if room.end_if_empty() {
                        let close = Close::new(Close::GOING_AWAY, "everybody left");
                        return Happened::Ended(End::new(close, "empty"));
                    }
                }
                () = sleep_until(limits.unwrap_or(now)), if limits.is_some() => {}
                () = sleep_until(look.unwrap_or(now)), if look.is_some() => {
                    if silence.look(room.said()) {
                        advice.give(&room.name);
                    }
                }
            }
        }
    }

    /// The first step of the ladder: what is queued, and EOF, for as long as it may take.
    /// Returns how the child ended, if it did.
    async fn ask_to_end(
        &self,
        life: &mut Life,
        pumps: &mut Pumps,
        pid: Option<u32>,
        wait_for_speakers: bool,
    ) -> Option<Exit> {
        let room = self.room;
        let deadline = Instant::now() + self.registry.options.stop_eof;
        if wait_for_speakers {
            // Who left with messages on the way may still say them.
            let mut speakers = room.speakers.subscribe();
            let silent = speakers.wait_for(|speakers| *speakers == 0);
            tokio::select! {
                _ = timeout_at(deadline, silent) => {}
                exit = life.exited() => return Some(exit),
            }
        }
        room.inbox.close();
        if pid.is_none() {
            // A connection has no process to wait for: it has ended when both its ways have.
            let ways = async {
                pumps.input_ended().await;
                pumps.output_ended().await;
            };
            let _ = timeout_at(deadline, ways).await;
            return None;
        }
        timeout_at(deadline, life.exited()).await.ok()
    }

    /// The child has ended: what it printed is delivered, at the pace of the clients. That none
    /// keeps up must not hold up the end of the server, nor the room's name for ever: `Some` says
    /// what they read instead of how the child ended, because something of it was not read.
    async fn finish_output(&self, pumps: &mut Pumps) -> Option<End> {
        let mut orders = self.room.orders.subscribe();
        let ordered = *orders.borrow() != Order::Live;
        let most = match ordered {
            true => self.registry.options.stop_eof,
            false => LAST_OUTPUT,
        };
        tokio::select! {
            biased;
            broken = pumps.finish_output() => return broken.map(End::broken),
            _ = orders.wait_for(|order| *order != Order::Live), if !ordered => {}
            () = sleep(most) => {}
        }
        Some(match &*orders.borrow() {
            Order::Live => End::new(Close::new(Close::TOO_SLOW, "too slow"), "too_slow"),
            order => End::ordered(order, None),
        })
    }

    /// Between a child that failed and the next: waits, or finds that there is to be none.
    async fn back_off(&mut self, exit: Exit) -> Option<End> {
        let room = self.room;
        let now = Instant::now();
        self.crashes.retain(|crash| now - *crash < CRASHES.1);
        self.crashes.push(now);
        let failed = self.crashes.len();
        if failed >= CRASHES.0 {
            warn!(room = %room.name, %exit, failures = failed, "child failed too often");
            let close = Close::new(Close::ERROR, "restart limit");
            return Some(End {
                close,
                label: "restart_limit".into(),
                exit: Some(exit),
            });
        }
        let doubled = BACKOFF.0 * 2u32.pow(failed.saturating_sub(1) as u32);
        let wait = doubled.min(BACKOFF.1);
        info!(room = %room.name, %exit, seconds = wait.as_secs_f64(), "child failed; restarting");
        room.set_phase(Phase::Restarting);
        let mut orders = room.orders.subscribe();
        let ordered = orders.wait_for(|order| *order != Order::Live);
        let order = tokio::time::timeout(wait, ordered).await;
        if let Ok(Ok(order)) = order {
            return Some(End::ordered(&order, Some(exit)));
        }
        // A room that lingers does so with a child.
        if self.registry.options.linger.is_zero() && room.end_if_empty() {
            return Some(End::exited(exit));
        }
        room.restarts.fetch_add(1, Relaxed);
        self.registry.metrics.restarted();
        room.greet_again();
        None
    }
}

/// The pump tasks of one child.
struct Pumps {
    output: Option<JoinHandle<Result<(), Broken>>>,
    input: Option<JoinHandle<()>>,
    stderr: Option<JoinHandle<()>>,
    /// Whether clients hear stderr.
    to_clients: bool,
    exited: CancellationToken,
    stop: CancellationToken,
}

impl Pumps {
    fn start(
        room: &Arc<Room>,
        registry: &Registry,
        input: Input,
        output: Output,
        stderr: Option<pipe::Receiver>,
    ) -> Self {
        let options = &registry.options;
        let (exited, stop) = (CancellationToken::new(), CancellationToken::new());
        let room = || Arc::clone(room);
        let tasks = &registry.tasks;
        let out = pumps::output(room(), Arc::clone(options), output, exited.clone());
        let into = pumps::input(room(), Arc::clone(options), input, stop.clone());
        let errors = stderr.map(|stderr| pumps::stderr(room(), Arc::clone(options), stderr));
        Pumps {
            output: Some(tasks.spawn(out)),
            input: Some(tasks.spawn(into)),
            stderr: errors.map(|errors| tasks.spawn(errors)),
            to_clients: options.stderr == Stderr::Client,
            exited,
            stop,
        }
    }

    /// Waits for the end of the output; never ready again after that. `Some`: why the stream
    /// cannot go on.
    async fn output_ended(&mut self) -> Option<String> {
        let Some(output) = &mut self.output else {
            return std::future::pending().await;
        };
        let ended = output.await;
        self.output = None;
        match ended {
            Ok(Ok(())) => None,
            Ok(Err(broken)) => Some(broken.to_string()),
            Err(error) => Some(format!("internal error: {error}")),
        }
    }

    /// The child has ended: waits until what it printed was read. `Some`: the stream broke.
    async fn finish_output(&mut self) -> Option<String> {
        self.exited.cancel();
        let broken = match self.output {
            Some(_) => self.output_ended().await,
            None => None,
        };
        // Where clients hear stderr too, its last lines come before the close.
        if self.to_clients
            && let Some(stderr) = &mut self.stderr
        {
            let ended = tokio::time::timeout(pumps::AFTER_EXIT, stderr).await;
            if ended.is_ok() {
                self.stderr = None;
            }
        }
        broken
    }

    /// Waits until all that was said was written, and EOF.
    async fn input_ended(&mut self) {
        if let Some(input) = &mut self.input
            && input.await.is_ok()
        {
            self.input = None;
        }
    }

    /// Stops the input pump; what it has not delivered is back in the inbox.
    async fn stop_input(&mut self) {
        self.stop.cancel();
        if let Some(input) = self.input.take() {
            join(input).await;
        }
    }

    /// All processes are gone: the pumps come to their end.
    async fn end(mut self) {
        self.finish_output().await;
        self.stop_input().await;
        if let Some(stderr) = self.stderr.take() {
            join(stderr).await;
        }
    }
}

/// Waits for a pump; one that panicked was logged by the runtime, and the room ends all the same.
async fn join(pump: JoinHandle<()>) {
    if let Err(error) = pump.await {
        warn!(%error, "pump failed");
    }
}
