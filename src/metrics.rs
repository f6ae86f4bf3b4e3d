//! Every figure the server shows of itself: counted where it happens, read once per scrape.
//!
//! What happens per message costs a few relaxed atomic adds and nothing else; OpenTelemetry sees
//! those atomics, and the figures of each live room, only through callbacks while a scrape runs. A
//! figure is a projection of state, never the source of an answer: nobody decides anything by it.
//! This module is a leaf, imports nothing of the crate and starts no task.

mod exposition;
#[cfg(feature = "kube")]
mod fleet;
mod instruments;
mod series;
mod tally;
mod unique;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use anyhow::bail;
use opentelemetry::metrics::Histogram;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use parking_lot::Mutex;
use prometheus::Registry;

pub use exposition::Format;
#[cfg(feature = "kube")]
pub use fleet::FleetMetrics;
pub use series::{RoomFigures, RoomSeries};
pub use unique::Unique;

use series::{Rooms, Sample};
use tally::{Closes, Tally};

/// Most rooms that can be asked to have series: more is a typing error, and each costs the
/// exporter some hundred bytes at every scrape.
const MAX_METRICS_ROOMS: usize = 1_000_000;

/// The handle everybody counts with; clones are cheap and count into the same figures.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

/// What was counted since the server started, as plain numbers for `/stats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages from clients to children.
    pub messages_in: u64,
    /// Messages from children, each counted once however many clients hear it.
    pub messages_out: u64,
    /// Payload bytes from clients to children.
    pub bytes_in: u64,
    /// Payload bytes from children, each counted once.
    pub bytes_out: u64,
    /// Rooms that began.
    pub rooms_started: u64,
    /// Rooms that ended, whatever the reason.
    pub rooms_ended: u64,
    /// Messages that were not delivered, whatever the reason.
    pub messages_dropped: u64,
    /// Clients that were not let in, whatever the reason.
    pub connections_refused: u64,
    /// Connections that ended, whatever the code.
    pub connections_closed: u64,
}

struct Inner {
    state: Arc<State>,
    spawn: Histogram<f64>,
    first_message: Histogram<f64>,
    registry: Registry,
    /// Held for a whole scrape: the sample belongs to one scrape at a time.
    scrape: Mutex<()>,
    // The exporter knows the provider only weakly; without this the scrapes would be empty.
    #[cfg_attr(not(feature = "kube"), expect(dead_code, reason = "held for its end"))]
    provider: SdkMeterProvider,
}

/// What the callbacks of the instruments read.
struct State {
    rooms: Arc<Rooms>,
    /// Figures of the live rooms, taken at the start of the running scrape.
    sample: Mutex<Sample>,
    received: Flow,
    sent: Flow,
    rooms_ended: Tally,
    dropped: Tally,
    refused: Tally,
    tls_failed: Tally,
    proxy_protocol_failed: Tally,
    /// Seconds since the epoch at which the first certificate in use expires; none without TLS.
    certificates_expire: Mutex<Option<f64>>,
    open: AtomicU64,
    closed: Closes,
    child_exits: Tally,
    child_restarts: AtomicU64,
    recordings_cut: AtomicU64,
    draining: AtomicBool,
    memory: AtomicU64,
    memory_limit: AtomicU64,
    /// Seconds since the epoch at which the server started.
    started_at: f64,
}

/// One direction of traffic. Both directions are counted by different threads all the time, so
/// each has a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Flow {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Flow {
    fn add(&self, messages: u64, bytes: u64) {
        self.messages.fetch_add(messages, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }
}

impl Metrics {
    /// A fresh set of figures in which at most `metrics_rooms` rooms at a time have series of
    /// their own (0: none). It fails when that number is absurd or the exporter refuses to start.
    pub fn new(metrics_rooms: usize) -> anyhow::Result<Metrics> {
        if metrics_rooms > MAX_METRICS_ROOMS {
            bail!("at most {MAX_METRICS_ROOMS} rooms can have metrics of their own");
        }
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let state = Arc::new(State {
            rooms: Arc::new(Rooms::new(metrics_rooms)),
            sample: Mutex::default(),
            received: Flow::default(),
            sent: Flow::default(),
            rooms_ended: Tally::default(),
            dropped: Tally::default(),
            refused: Tally::default(),
            tls_failed: Tally::default(),
            proxy_protocol_failed: Tally::default(),
            certificates_expire: Mutex::default(),
            open: AtomicU64::new(0),
            closed: Closes::default(),
            child_exits: Tally::default(),
            child_restarts: AtomicU64::new(0),
            recordings_cut: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            memory: AtomicU64::new(0),
            memory_limit: AtomicU64::new(0),
            started_at: now.as_secs_f64(),
        });
        let (registry, provider) = instruments::exporter(metrics_rooms)?;
        let (spawn, first_message) = instruments::declare(&provider, &state);
        Ok(Metrics(Arc::new(Inner {
            state,
            spawn,
            first_message,
            registry,
            scrape: Mutex::new(()),
            provider,
        })))
    }

    /// A room began. `figures` is called once per scrape, from the scraping thread and with no
    /// lock of this module held; it must not scrape itself. The guard is the room's place in the
    /// figures and leaves when it drops: do not let `figures` own (an `Arc` of) what owns the
    /// guard, or neither is ever freed.
    ///
    /// The room has series of its own when a slot is free now. A slot that frees later goes to a
    /// room that starts later, so that no series begins in the middle of a room's life.
    #[must_use = "the room leaves the figures when this drops"]
    pub fn room_started(
        &self,
        room: &str,
        figures: impl Fn() -> RoomFigures + Send + Sync + 'static,
    ) -> RoomSeries {
        self.0.state.rooms.add(room, Box::new(figures))
    }

    /// A room ended. Reasons are words of a small closed set; past 32 different ones the rest is
    /// counted as `other`, so that nothing from outside can grow the label.
    pub fn room_ended(&self, reason: &str) {
        self.0.state.rooms_ended.add(reason, 1);
    }

    /// A child was started: from the first client's request to a running process.
    pub fn spawned(&self, took: Duration) {
        self.0.spawn.record(took.as_secs_f64(), &[]);
    }

    /// A child said its first message: counted from its start.
    pub fn first_message(&self, took: Duration) {
        self.0.first_message.record(took.as_secs_f64(), &[]);
    }

    /// Messages from clients on their way to a child, and their payload bytes.
    pub fn received(&self, messages: u64, bytes: u64) {
        self.0.state.received.add(messages, bytes);
    }

    /// Messages from a child on their way to clients, and their payload bytes; each counts once.
    pub fn sent(&self, messages: u64, bytes: u64) {
        self.0.state.sent.add(messages, bytes);
    }

    /// `n` messages were not delivered. With `n` = 0 the reason only becomes visible, so that a
    /// rate over it has a zero to start from. Reasons are bounded as in [`Metrics::room_ended`].
    pub fn dropped(&self, reason: &'static str, n: u64) {
        self.0.state.dropped.add(reason, n);
    }

    /// A connection at a TLS address came to nothing, for that reason.
    pub fn tls_failed(&self, reason: &'static str) {
        self.0.state.tls_failed.add(reason, 1);
    }

    /// The first of the certificates in use expires so long after 1970.
    pub fn set_certificates_expire(&self, at: Option<Duration>) {
        *self.0.state.certificates_expire.lock() = at.map(|at| at.as_secs_f64());
    }

    /// A connection that should have begun with a header of the PROXY protocol did not, for that
    /// reason.
    pub fn proxy_protocol_failed(&self, reason: &'static str) {
        self.0.state.proxy_protocol_failed.add(reason, 1);
    }

    /// A connection was accepted from a client; it goes with [`Metrics::disconnected`].
    pub fn connected(&self) {
        self.0.state.open.fetch_add(1, Relaxed);
    }

    /// A connection of a client is over.
    pub fn disconnected(&self) {
        self.0.state.open.fetch_sub(1, Relaxed);
    }

    /// A client was not let in. Reasons are bounded as in [`Metrics::room_ended`].
    pub fn refused(&self, reason: &'static str) {
        self.0.state.refused.add(reason, 1);
    }

    /// A connection ended with this close code (1006: without one). Codes that are neither
    /// RFC 6455's nor ours are a child's choice and counted as `other`.
    pub fn closed(&self, code: u16) {
        self.0.state.closed.add(code);
    }

    /// A child ended so: `exit 0`, `signal SEGV`.
    pub fn child_exited(&self, status: &str) {
        self.0.state.child_exits.add(status, 1);
    }

    /// A child that failed is started again.
    pub fn restarted(&self) {
        self.0.state.child_restarts.fetch_add(1, Relaxed);
    }

    /// A recording of a room ended before the room.
    pub fn recording_cut(&self) {
        self.0.state.recordings_cut.fetch_add(1, Relaxed);
    }

    /// Whether the server takes no new rooms any more.
    pub fn set_draining(&self, draining: bool) {
        self.0.state.draining.store(draining, Relaxed);
    }

    /// What the server itself takes, in bytes.
    pub fn set_memory(&self, bytes: u64) {
        self.0.state.memory.store(bytes, Relaxed);
    }

    /// What it may take, in bytes; 0: there is no limit.
    pub fn set_memory_limit(&self, bytes: u64) {
        self.0.state.memory_limit.store(bytes, Relaxed);
    }

    /// The figures of a fleet's server, which are shown from now on.
    #[cfg(feature = "kube")]
    pub fn fleet(&self) -> FleetMetrics {
        let fleet = FleetMetrics::default();
        fleet.declare(&self.0.provider);
        fleet
    }

    /// What was counted since the start.
    pub fn total(&self) -> Totals {
        let state = &self.0.state;
        Totals {
            messages_in: state.received.messages.load(Relaxed),
            messages_out: state.sent.messages.load(Relaxed),
            bytes_in: state.received.bytes.load(Relaxed),
            bytes_out: state.sent.bytes.load(Relaxed),
            rooms_started: state.rooms.started(),
            rooms_ended: state.rooms_ended.total(),
            messages_dropped: state.dropped.total(),
            connections_refused: state.refused.total(),
            connections_closed: state.closed.total(),
        }
    }

    /// One scrape: every figure as it is now, as text. Scrapes wait for each other, and with
    /// thousands of rooms one takes long enough to belong on a blocking thread.
    pub fn render(&self, format: Format) -> String {
        let inner = &*self.0;
        let _scrape = inner.scrape.lock();
        // Two statements: the rooms are asked before the sample is locked.
        let sample = inner.state.rooms.sample();
        *inner.state.sample.lock() = sample;
        let families = inner.registry.gather();
        // A scrape's figures are of no use to the next one.
        *inner.state.sample.lock() = Sample::default();
        format.encode(&families)
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.total().fmt(f)
    }
}

#[cfg(test)]
mod tests;
