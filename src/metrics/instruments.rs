//! Every metric once: its name, unit and help, and what a scrape reads for it.
//!
//! Names are written in full, as Prometheus shows them, so that a search for one ends here. Apart
//! from two histograms all instruments are observable: they read atomics and the scrape's sample.
//! A counter must not have the name of a gauge plus `_total`: OpenMetrics drops that suffix.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::Context as _;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter, MeterProvider as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};
use prometheus::Registry;

use super::State;
use super::series::{RoomFigures, Sample};

const CONNECTIONS: &str = "scalesocket_connections";
const UNIQUE_CONNECTIONS: &str = "scalesocket_unique_connections";
const CHILD_CPU: &str = "scalesocket_child_cpu_seconds_total";
const CHILD_MEMORY: &str = "scalesocket_child_memory_bytes";
const CHILD_PROCESSES: &str = "scalesocket_child_processes";

/// The metrics with a series per room, whose number the exporter must be told.
const PER_ROOM: [&str; 5] = [
    CONNECTIONS,
    UNIQUE_CONNECTIONS,
    CHILD_CPU,
    CHILD_MEMORY,
    CHILD_PROCESSES,
];

/// From a shell that is in memory to a game that loads its world.
const SPAWN_BUCKETS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// From a greeting at start to an answer that waits for the first player.
const FIRST_MESSAGE_BUCKETS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0,
];

/// A meter provider that a Prometheus registry reads.
pub(super) fn exporter(metrics_rooms: usize) -> anyhow::Result<(Registry, SdkMeterProvider)> {
    let registry = Registry::new();
    let exporter = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .without_units()
        .without_counter_suffixes()
        .without_target_info()
        .scope_info_enabled(false)
        .build()
        .context("cannot start the metrics exporter")?;
    // The default limit of 2,000 sums all further rooms into one overflow series. One more than
    // the slots, because OpenTelemetry's limit includes that series.
    let series = metrics_rooms + 1;
    let per_room = move |instrument: &Instrument| {
        let limited = Stream::builder().with_cardinality_limit(series);
        PER_ROOM
            .contains(&instrument.name())
            .then(|| limited.build().ok())
            .flatten()
    };
    let provider = SdkMeterProvider::builder()
        .with_resource(Resource::builder_empty().build())
        .with_view(per_room)
        .with_reader(exporter)
        .build();
    Ok((registry, provider))
}

/// Declares all instruments; the two that are recorded directly are returned: time to spawn, and
/// time to a child's first message.
pub(super) fn declare(
    provider: &SdkMeterProvider,
    state: &Arc<State>,
) -> (Histogram<f64>, Histogram<f64>) {
    let table = Table {
        meter: provider.meter("scalesocket"),
        state,
    };

    let version = KeyValue::new("version", env!("CARGO_PKG_VERSION"));
    table.labelled_gauge(
        "scalesocket_build_info",
        "Always 1; the label says which version of scalesocket this is.",
        version,
    );
    table.seconds(
        "scalesocket_start_time_seconds",
        "When the server started, in seconds since 1970.",
        |state| Some(state.started_at),
    );
    table.gauge(
        "scalesocket_draining",
        "",
        "1 when the server takes no new rooms because it is about to end, else 0.",
        |state, _| state.draining.load(Relaxed).into(),
    );

    table.gauge(
        "scalesocket_memory_bytes",
        "",
        "Memory of the server itself, without its programs, where the platform tells.",
        |state, _| state.memory.load(Relaxed),
    );
    table.gauge(
        "scalesocket_memory_limit_bytes",
        "",
        "What that may be before rooms are refused and slow clients closed; 0: no limit.",
        |state, _| state.memory_limit.load(Relaxed),
    );

    table.gauge(
        "scalesocket_rooms",
        "",
        "Rooms that live now.",
        |_, sample| sample.rooms,
    );
    table.gauge(
        "scalesocket_rooms_without_series",
        "",
        "Rooms that live now but have no series of their own, because --metrics-rooms was reached.",
        |_, sample| sample.without_series,
    );
    table.counter(
        "scalesocket_rooms_started_total",
        "",
        "Rooms that began.",
        |state, show| {
            show(&[], state.rooms.started());
        },
    );
    table.counter(
        "scalesocket_child_exits_total",
        "",
        "Children that ended, by status.",
        |state, show| {
            state
                .child_exits
                .each(|status, n| show(&[label("status", status)], n))
        },
    );
    table.counter(
        "scalesocket_child_restarts_total",
        "",
        "Children that failed and were started again.",
        |state, show| {
            show(&[], state.child_restarts.load(Relaxed));
        },
    );
    table.counter(
        "scalesocket_recordings_cut_total",
        "",
        "Recordings of rooms that ended before their room: full, or the disk was.",
        |state, show| {
            show(&[], state.recordings_cut.load(Relaxed));
        },
    );
    table.counter(
        "scalesocket_rooms_ended_total",
        "",
        "Rooms that ended, by reason.",
        |state, show| {
            state
                .rooms_ended
                .each(|reason, n| show(&[label("reason", reason)], n))
        },
    );

    table.room_gauge(
        CONNECTIONS,
        "",
        "Clients connected to the room now.",
        |room| Some(room.connections),
    );
    table.room_gauge(
        UNIQUE_CONNECTIONS,
        "",
        "Distinct client addresses in the room's life; exact to 10000, then an estimate.",
        |room| Some(room.unique_connections),
    );
    table.room_seconds(
        CHILD_CPU,
        "Processor time that the room's child and all it started have used, user and system.",
        |room| room.cpu_seconds,
    );
    table.room_gauge(
        CHILD_MEMORY,
        "By",
        "Memory of the room's child and all it started.",
        |room| room.memory_bytes,
    );
    table.room_gauge(
        CHILD_PROCESSES,
        "",
        "Processes of the room's child and all it started.",
        |room| room.processes,
    );

    table.gauge(
        "scalesocket_server_connections",
        "",
        "Clients connected now, over all rooms, also those without series.",
        |_, sample| sample.connections,
    );
    table.gauge(
        "scalesocket_open_connections",
        "",
        "Connections of clients open now, whatever for: also handshakes and plain HTTP.",
        |state, _| state.open.load(Relaxed),
    );
    table.counter(
        "scalesocket_connections_refused_total",
        "",
        "Clients that were not let in, by reason.",
        |state, show| {
            state
                .refused
                .each(|reason, n| show(&[label("reason", reason)], n))
        },
    );
    table.counter(
        "scalesocket_tls_handshakes_failed_total",
        "",
        "Connections whose TLS handshake came to nothing, by reason.",
        |state, show| {
            state
                .tls_failed
                .each(|reason, n| show(&[label("reason", reason)], n))
        },
    );
    table.seconds(
        "scalesocket_tls_certificate_not_after_timestamp_seconds",
        "When the first of the certificates in use expires, in seconds since 1970.",
        |state| *state.certificates_expire.lock(),
    );
    table.counter(
        "scalesocket_proxy_headers_failed_total",
        "",
        "Connections without a good header of the PROXY protocol, by reason.",
        |state, show| {
            state
                .proxy_protocol_failed
                .each(|reason, n| show(&[label("reason", reason)], n))
        },
    );
    table.counter(
        "scalesocket_connections_closed_total",
        "",
        "Connections that ended, by close code.",
        |state, show| state.closed.each(|code, n| show(&[label("code", code)], n)),
    );

    table.counter(
        "scalesocket_messages_total",
        "",
        "Messages from clients to children (in) and from children (out, each counted once).",
        |state, show| {
            show(
                &[label("direction", "in")],
                state.received.messages.load(Relaxed),
            );
            show(
                &[label("direction", "out")],
                state.sent.messages.load(Relaxed),
            );
        },
    );
    table.counter(
        "scalesocket_bytes_total",
        "By",
        "Payload bytes from clients to children (in) and from children (out, each counted once).",
        |state, show| {
            show(
                &[label("direction", "in")],
                state.received.bytes.load(Relaxed),
            );
            show(&[label("direction", "out")], state.sent.bytes.load(Relaxed));
        },
    );
    table.counter(
        "scalesocket_messages_dropped_total",
        "",
        "Messages that were not delivered, by reason.",
        |state, show| {
            state
                .dropped
                .each(|reason, n| show(&[label("reason", reason)], n))
        },
    );
    table.gauge(
        "scalesocket_largest_lag_bytes",
        "By",
        "How far the slowest client of all rooms is behind.",
        |_, sample| sample.largest_lag_bytes,
    );
    table.gauge(
        "scalesocket_inbox_bytes",
        "By",
        "Bytes waiting on their way to children, over all rooms.",
        |_, sample| sample.inbox_bytes,
    );

    let spawn = table.histogram(
        "scalesocket_spawn_seconds",
        "Time to start a room's child.",
        &SPAWN_BUCKETS,
    );
    let first_message = table.histogram(
        "scalesocket_first_message_seconds",
        "Time from a room's opening to its child's first message.",
        &FIRST_MESSAGE_BUCKETS,
    );
    (spawn, first_message)
}

fn label(name: &'static str, value: &str) -> KeyValue {
    KeyValue::new(name, value.to_string())
}

/// Shows one value of a counter under its labels.
type Show<'a> = &'a mut dyn FnMut(&[KeyValue], u64);

/// One method per kind of metric. Handles of observable instruments may be dropped: the meter
/// keeps their callbacks.
struct Table<'a> {
    meter: Meter,
    state: &'a Arc<State>,
}

impl Table<'_> {
    fn gauge(
        &self,
        name: &'static str,
        unit: &'static str,
        help: &'static str,
        read: fn(&State, &Sample) -> u64,
    ) {
        let state = self.state.clone();
        let gauge = self
            .meter
            .u64_observable_gauge(name)
            .with_unit(unit)
            .with_description(help);
        gauge
            .with_callback(move |out| out.observe(read(&state, &state.sample.lock()), &[]))
            .build();
    }

    fn labelled_gauge(&self, name: &'static str, help: &'static str, label: KeyValue) {
        let gauge = self.meter.u64_observable_gauge(name).with_description(help);
        gauge
            .with_callback(move |out| out.observe(1, std::slice::from_ref(&label)))
            .build();
    }

    fn seconds(&self, name: &'static str, help: &'static str, read: fn(&State) -> Option<f64>) {
        let state = self.state.clone();
        let gauge = self
            .meter
            .f64_observable_gauge(name)
            .with_unit("s")
            .with_description(help);
        gauge
            .with_callback(move |out| {
                if let Some(value) = read(&state) {
                    out.observe(value, &[]);
                }
            })
            .build();
    }

    fn counter(
        &self,
        name: &'static str,
        unit: &'static str,
        help: &'static str,
        read: fn(&State, Show<'_>),
    ) {
        let state = self.state.clone();
        let counter = self
            .meter
            .u64_observable_counter(name)
            .with_unit(unit)
            .with_description(help);
        counter
            .with_callback(move |out| read(&state, &mut |labels, n| out.observe(n, labels)))
            .build();
    }

    fn room_gauge(
        &self,
        name: &'static str,
        unit: &'static str,
        help: &'static str,
        read: fn(&RoomFigures) -> Option<u64>,
    ) {
        let state = self.state.clone();
        let gauge = self
            .meter
            .u64_observable_gauge(name)
            .with_unit(unit)
            .with_description(help);
        gauge
            .with_callback(move |out| {
                for (room, figures) in &state.sample.lock().series {
                    if let Some(value) = read(figures) {
                        out.observe(value, std::slice::from_ref(room));
                    }
                }
            })
            .build();
    }

    fn room_seconds(
        &self,
        name: &'static str,
        help: &'static str,
        read: fn(&RoomFigures) -> Option<f64>,
    ) {
        let state = self.state.clone();
        let counter = self
            .meter
            .f64_observable_counter(name)
            .with_unit("s")
            .with_description(help);
        counter
            .with_callback(move |out| {
                for (room, figures) in &state.sample.lock().series {
                    if let Some(value) = read(figures) {
                        out.observe(value, std::slice::from_ref(room));
                    }
                }
            })
            .build();
    }

    fn histogram(&self, name: &'static str, help: &'static str, buckets: &[f64]) -> Histogram<f64> {
        let histogram = self
            .meter
            .f64_histogram(name)
            .with_unit("s")
            .with_description(help);
        histogram.with_boundaries(buckets.to_vec()).build()
    }
}
