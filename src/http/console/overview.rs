//! All rooms at a glance: figures, rates, and how rooms ended; in a fleet who has which room.
//!
//! Rates come from two looks at all rooms, a second apart at least, which all who ask share. Nobody
//! looks while nobody asks. What a program uses is looked up for the rooms that are shown alone.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Access;
use crate::http::Door;
use crate::http::answer::{json_response, not_found};
use crate::room::{Glance, LastEnd, Rooms};

/// How old figures may be.
const FRESH: Duration = Duration::from_millis(900);
/// Figures from longer ago than this are no base of a rate: nobody asked meanwhile.
const STALE: Duration = Duration::from_secs(15);
/// Rooms in one answer, unless asked for otherwise, and at the most.
const ROWS: (usize, usize) = (100, 500);
/// Rooms of the fleet in one answer at the most.
const CLAIMS: usize = 500;

/// Which rooms, and in which order.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    search: String,
    #[serde(default)]
    sort: Sort,
    #[serde(default)]
    order: Order,
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sort {
    #[default]
    Name,
    Clients,
    Messages,
    Bytes,
    Lag,
    Cpu,
    Memory,
    Age,
    State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    #[default]
    Asc,
    Desc,
}

/// One room.
#[derive(Debug, Clone, Serialize)]
struct Row {
    name: String,
    #[serde(flatten)]
    now: Glance,
    messages_in_per_second: f64,
    messages_out_per_second: f64,
    bytes_in_per_second: f64,
    bytes_out_per_second: f64,
    cpu_seconds: Option<f64>,
    memory_bytes: Option<u64>,
    last_stderr: Option<String>,
}

impl Row {
    fn messages(&self) -> f64 {
        self.messages_in_per_second + self.messages_out_per_second
    }

    fn bytes(&self) -> f64 {
        self.bytes_in_per_second + self.bytes_out_per_second
    }

    /// Asks the system, which takes its time.
    fn look_up_usage(&mut self, rooms: &Rooms) {
        let Some(room) = rooms.get(&self.name) else {
            return;
        };
        let usage = room.usage();
        self.cpu_seconds = usage.as_ref().map(|usage| usage.cpu_seconds);
        self.memory_bytes = usage.as_ref().and_then(|usage| usage.memory_bytes);
        self.last_stderr = room.last_stderr();
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Sampler(Mutex<Sample>);

#[derive(Debug, Default)]
struct Sample {
    at: Option<Instant>,
    /// By when a room was opened too: another of its name begins at 0.
    before: HashMap<(String, Instant), Glance>,
    rows: Vec<Row>,
}

impl Sampler {
    /// All rooms, as of a second ago at the longest. May take milliseconds.
    fn rows(&self, rooms: &Rooms) -> Vec<Row> {
        let mut sample = self.0.lock();
        let now = Instant::now();
        let since = sample.at.map(|at| now.saturating_duration_since(at));
        if since.is_some_and(|since| since < FRESH) {
            return sample.rows.clone();
        }
        if since.is_none_or(|since| since > STALE) {
            sample.before.clear();
        }
        let seconds = since.unwrap_or_default().as_secs_f64();
        let before = std::mem::take(&mut sample.before);
        let mut rows_now = Vec::new();
        for room in rooms.list() {
            let key = (room.name().to_string(), room.opened());
            let glance = room.glance();
            rows_now.push(row(&key.0, &glance, before.get(&key), seconds));
            sample.before.insert(key, glance);
        }
        sample.at = Some(now);
        sample.rows.clone_from(&rows_now);
        rows_now
    }
}

fn row(name: &str, now: &Glance, before: Option<&Glance>, seconds: f64) -> Row {
    let rate = |of: fn(&Glance) -> u64| match before {
        Some(before) => of(now).saturating_sub(of(before)) as f64 / seconds,
        None => 0.0,
    };
    Row {
        name: name.to_owned(),
        messages_in_per_second: rate(|glance| glance.messages_in),
        messages_out_per_second: rate(|glance| glance.messages_out),
        bytes_in_per_second: rate(|glance| glance.bytes_in),
        bytes_out_per_second: rate(|glance| glance.bytes_out),
        now: now.clone(),
        cpu_seconds: None,
        memory_bytes: None,
        last_stderr: None,
    }
}

fn compare(sort: Sort, a: &Row, b: &Row) -> Ordering {
    match sort {
        Sort::Name => Ordering::Equal,
        Sort::Clients => a.now.connections.cmp(&b.now.connections),
        Sort::Messages => a.messages().total_cmp(&b.messages()),
        Sort::Bytes => a.bytes().total_cmp(&b.bytes()),
        Sort::Lag => a.now.lag_bytes.cmp(&b.now.lag_bytes),
        Sort::Cpu => {
            let seconds = |row: &Row| row.cpu_seconds.unwrap_or(0.0);
            seconds(a).total_cmp(&seconds(b))
        }
        Sort::Memory => a.memory_bytes.cmp(&b.memory_bytes),
        Sort::Age => a.now.age_seconds.total_cmp(&b.now.age_seconds),
        Sort::State => a.now.state.cmp(&b.now.state),
    }
}

/// The rooms that were asked for, and how many match.
fn choose(mut rows: Vec<Row>, rooms: &Rooms, asked: &Asked) -> (Vec<Row>, usize) {
    let search = asked.search.to_lowercase();
    rows.retain(|row| search.is_empty() || row.name.to_lowercase().contains(&search));
    let by_usage = matches!(asked.sort, Sort::Cpu | Sort::Memory);
    if by_usage {
        rows.iter_mut().for_each(|row| row.look_up_usage(rooms));
    }
    rows.sort_by(|a, b| {
        let order = compare(asked.sort, a, b);
        let order = match asked.order {
            Order::Asc => order,
            Order::Desc => order.reverse(),
        };
        let names = a.name.cmp(&b.name);
        let names = match (asked.sort, asked.order) {
            (Sort::Name, Order::Desc) => names.reverse(),
            _ => names,
        };
        order.then(names)
    });
    let matching = rows.len();
    let limit = asked.limit.unwrap_or(ROWS.0).min(ROWS.1);
    let shown = rows.into_iter().skip(asked.offset).take(limit);
    let shown = shown.map(|mut row| {
        if !by_usage {
            row.look_up_usage(rooms);
        }
        row
    });
    (shown.collect(), matching)
}

fn ended(end: &LastEnd) -> serde_json::Value {
    json!({
        "room": end.room, "reason": end.reason, "code": end.code, "exit": end.exit,
        "age_seconds": end.age_seconds, "stderr": end.stderr,
    })
}

pub(super) async fn overview(
    State(door): State<Arc<Door>>,
    Query(asked): Query<Asked>,
) -> Response {
    let Some(console) = &door.options.console else {
        return not_found("there is no console");
    };
    // It asks the system about programs: not on a thread that serves sockets.
    let looker = Arc::clone(&door);
    let looked = tokio::task::spawn_blocking(move || {
        let console = looker.options.console.as_ref()?;
        let rows = console.sampler.rows(&looker.rooms);
        Some(choose(rows, &looker.rooms, &asked))
    });
    let Ok(Some((rooms, matching))) = looked.await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let totals = door.metrics.total();
    let mut ends: Vec<_> = door.rooms.last_ends().iter().map(ended).collect();
    ends.reverse();
    let body = json!({
        "write": console.access == Access::Write,
        "fleet": door.gate.is_some(),
        "join": {
            "port": console.public_port,
            "tls": door.options.tls.is_some(),
            "base_path": door.options.base_path,
        },
        "server": {
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": door.started.elapsed().as_secs_f64(),
            "draining": door.rooms.is_draining(),
            "connections": door.rooms.clients(),
            "connections_refused": totals.connections_refused,
            "connections_closed": totals.connections_closed,
            "rooms_live": door.rooms.len(),
            "rooms_limit": door.rooms.options().max_rooms,
            "rooms_started": totals.rooms_started,
            "rooms_ended": totals.rooms_ended,
            "messages_in": totals.messages_in,
            "messages_out": totals.messages_out,
            "bytes_in": totals.bytes_in,
            "bytes_out": totals.bytes_out,
            "messages_dropped": totals.messages_dropped,
        },
        "rooms_matching": matching,
        "rooms": rooms,
        "last_ends": ends,
    });
    json_response(StatusCode::OK, &body)
}

/// What of a fleet is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct AskedOfFleet {
    #[serde(default)]
    search: String,
}

pub(super) async fn fleet(
    State(door): State<Arc<Door>>,
    Query(asked): Query<AskedOfFleet>,
) -> Response {
    match &door.gate {
        Some(gate) => json_response(StatusCode::OK, &gate.census(&asked.search, CLAIMS)),
        None => not_found("this server is in no fleet"),
    }
}
