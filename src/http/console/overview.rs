//! All rooms at a glance: figures, rates, and how rooms ended; in a fleet who has which room.
//!
//! What a program uses is looked up for the rooms that are shown alone, unless they are to be sorted
//! by it.

use std::cmp::Ordering;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use nix::sys::resource::{UsageWho, getrusage};
use serde::Deserialize;
use serde_json::json;

use super::Access;
use super::sampler::{Row, Sampler};
use crate::http::Door;
use crate::http::answer::{json_response, not_found};
use crate::http::seen::figures;
use crate::room::{LastEnd, Rooms};

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

fn compare(sort: Sort, a: &Row, b: &Row) -> Ordering {
    match sort {
        Sort::Name => Ordering::Equal,
        Sort::Clients => a.now.connections.cmp(&b.now.connections),
        Sort::Messages => a.messages().total_cmp(&b.messages()),
        Sort::Bytes => a.bytes().total_cmp(&b.bytes()),
        Sort::Lag => a.now.lag_bytes.cmp(&b.now.lag_bytes),
        Sort::Cpu => {
            // What it uses now; of those that are not known yet, what they have used.
            let used = |row: &Row| (row.cpu_cores.unwrap_or(0.0), row.cpu_seconds.unwrap_or(0.0));
            let (a, b) = (used(a), used(b));
            a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
        }
        Sort::Memory => a.memory_bytes.cmp(&b.memory_bytes),
        Sort::Age => a.now.age_seconds.total_cmp(&b.now.age_seconds),
        Sort::State => a.now.state.cmp(&b.now.state),
    }
}

/// The rooms that were asked for, how many match, and the number of the look at them.
fn choose(sampler: &Sampler, rooms: &Rooms, asked: &Asked) -> (Vec<Row>, usize, u64) {
    let (mut rows, sample) = sampler.rows(rooms);
    let search = asked.search.to_lowercase();
    rows.retain(|row| search.is_empty() || row.name.to_lowercase().contains(&search));
    let by_usage = matches!(asked.sort, Sort::Cpu | Sort::Memory);
    if by_usage {
        rows.iter_mut()
            .for_each(|row| sampler.look_up_usage(row, rooms));
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
            sampler.look_up_usage(&mut row, rooms);
        }
        row
    });
    (shown.collect(), matching, sample)
}

/// Processor seconds that the server itself has used, without its programs, and the memory it has.
fn own_usage() -> (Option<f64>, Option<u64>) {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
    let cpu = usage.map(|usage| {
        let times = [usage.user_time(), usage.system_time()];
        let seconds = times.map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6);
        seconds.iter().sum()
    });
    // Pages: proc(5), /proc/pid/statm.
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let resident = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    let page = page
        .ok()
        .flatten()
        .and_then(|page| u64::try_from(page).ok());
    (
        cpu,
        resident
            .zip(page)
            .map(|(pages, page): (u64, u64)| pages * page),
    )
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
        Some(choose(&console.sampler, &looker.rooms, &asked))
    });
    let Ok(Some((rooms, matching, sample))) = looked.await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut server = figures(&door);
    let (cpu_seconds, memory_bytes) = own_usage();
    server["cpu_seconds"] = json!(cpu_seconds);
    server["memory_bytes"] = json!(memory_bytes);
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
        "server": server,
        "sample": sample,
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
