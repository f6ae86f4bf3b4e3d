//! What must hold of a scrape, in both formats.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;

use super::*;

const BOTH: [Format; 2] = [Format::Prometheus, Format::OpenMetrics];

mod text;

use text::{Line, parse};

fn scrape(metrics: &Metrics, format: Format) -> Vec<Line> {
    parse(format, &metrics.render(format))
}

/// The value of one series, `None` when there is no such series.
fn value(lines: &[Line], name: &str, label: Option<&str>) -> Option<f64> {
    let label_of = |line: &Line| line.1.first().map(|(_, value)| value.clone());
    let same = |line: &&Line| line.0 == name && label_of(line).as_deref() == label;
    lines.iter().find(same).map(|line| line.2)
}

fn rooms_with_series(lines: &[Line]) -> BTreeSet<String> {
    let connections = lines
        .iter()
        .filter(|line| line.0 == "scalesocket_connections");
    connections.map(|line| line.1[0].1.clone()).collect()
}

fn figures() -> RoomFigures {
    RoomFigures {
        connections: 3,
        unique_connections: 4,
        lag_bytes: 50,
        inbox_bytes: 60,
        cpu_seconds: Some(1.25),
        memory_bytes: Some(7_000_000),
        processes: Some(2),
    }
}

#[test]
fn ten_thousand_rooms_have_ten_thousand_series_and_nothing_overflows() {
    let metrics = Metrics::new(10_000).unwrap();
    let guards: Vec<RoomSeries> = (0..10_000)
        .map(|n| metrics.room_started(&format!("room-{n}"), figures))
        .collect();
    for format in BOTH {
        let text = metrics.render(format);
        assert!(!text.contains("overflow"));
        let lines = parse(format, &text);
        for name in [
            "scalesocket_connections",
            "scalesocket_unique_connections",
            "scalesocket_child_cpu_seconds_total",
            "scalesocket_child_memory_bytes",
            "scalesocket_child_processes",
        ] {
            assert_eq!(
                lines.iter().filter(|line| line.0 == name).count(),
                10_000,
                "{name}"
            );
        }
        assert_eq!(rooms_with_series(&lines).len(), 10_000);
        assert_eq!(value(&lines, "scalesocket_rooms", None), Some(10_000.0));
        assert_eq!(
            value(&lines, "scalesocket_server_connections", None),
            Some(30_000.0)
        );
    }
    drop(guards);
    assert!(rooms_with_series(&scrape(&metrics, Format::OpenMetrics)).is_empty());
}

#[test]
fn rooms_past_the_slots_are_counted_and_a_freed_slot_goes_to_the_next_room() {
    let metrics = Metrics::new(2).unwrap();
    let a = metrics.room_started("a", figures);
    let _b = metrics.room_started("b", figures);
    let c = metrics.room_started("c", || RoomFigures {
        lag_bytes: 99,
        ..figures()
    });
    let named = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();

    let lines = scrape(&metrics, Format::Prometheus);
    assert_eq!(rooms_with_series(&lines), named(&["a", "b"]));
    assert_eq!(value(&lines, "scalesocket_rooms", None), Some(3.0));
    assert_eq!(
        value(&lines, "scalesocket_rooms_without_series", None),
        Some(1.0)
    );
    // Rooms without series count in what is said of all rooms.
    assert_eq!(
        value(&lines, "scalesocket_largest_lag_bytes", None),
        Some(99.0)
    );
    assert_eq!(value(&lines, "scalesocket_inbox_bytes", None), Some(180.0));
    assert_eq!(
        value(&lines, "scalesocket_server_connections", None),
        Some(9.0)
    );

    drop(a);
    let lines = scrape(&metrics, Format::Prometheus);
    assert_eq!(
        rooms_with_series(&lines),
        named(&["b"]),
        "c began without series and stays so"
    );
    let _d = metrics.room_started("d", figures);
    drop(c);
    let _e = metrics.room_started("e", figures);
    let lines = scrape(&metrics, Format::Prometheus);
    assert_eq!(
        rooms_with_series(&lines),
        named(&["b", "d"]),
        "c had no slot to give back"
    );
    assert_eq!(
        value(&lines, "scalesocket_rooms_without_series", None),
        Some(1.0)
    );
    assert_eq!(
        value(&lines, "scalesocket_rooms_started_total", None),
        Some(5.0)
    );
}

#[test]
fn with_no_slots_rooms_are_counted_and_none_has_series() {
    let metrics = Metrics::new(0).unwrap();
    let _room = metrics.room_started("a", figures);
    for format in BOTH {
        let lines = scrape(&metrics, format);
        assert!(rooms_with_series(&lines).is_empty());
        assert_eq!(
            value(&lines, "scalesocket_rooms_without_series", None),
            Some(1.0)
        );
    }
}

#[test]
fn an_absurd_number_of_series_is_an_error_and_not_an_allocation() {
    assert!(Metrics::new(usize::MAX).is_err());
}

#[test]
fn series_of_a_room_come_and_go_with_its_figures() {
    let metrics = Metrics::new(10).unwrap();
    let before = scrape(&metrics, Format::OpenMetrics);
    assert_eq!(value(&before, "scalesocket_connections", Some("a")), None);
    let room = metrics.room_started("a", || RoomFigures {
        cpu_seconds: None,
        ..figures()
    });
    let during = scrape(&metrics, Format::OpenMetrics);
    assert_eq!(
        value(&during, "scalesocket_connections", Some("a")),
        Some(3.0)
    );
    assert_eq!(
        value(&during, "scalesocket_unique_connections", Some("a")),
        Some(4.0)
    );
    assert_eq!(
        value(&during, "scalesocket_child_memory_bytes", Some("a")),
        Some(7e6)
    );
    assert_eq!(
        value(&during, "scalesocket_child_cpu_seconds_total", Some("a")),
        None
    );
    drop(room);
    assert_eq!(
        scrape(&metrics, Format::OpenMetrics),
        before_with_one_start(before)
    );
}

/// The same scrape, with one more room started.
fn before_with_one_start(mut lines: Vec<Line>) -> Vec<Line> {
    let started = lines
        .iter_mut()
        .find(|line| line.0 == "scalesocket_rooms_started_total");
    started.unwrap().2 += 1.0;
    lines
}

#[test]
fn a_room_that_comes_again_before_its_old_series_left_shows_the_new_ones_figures() {
    let metrics = Metrics::new(10).unwrap();
    let old = metrics.room_started("a", || RoomFigures {
        connections: 1,
        ..figures()
    });
    let _new = metrics.room_started("a", || RoomFigures {
        connections: 2,
        ..figures()
    });
    let lines = scrape(&metrics, Format::OpenMetrics);
    assert_eq!(
        value(&lines, "scalesocket_connections", Some("a")),
        Some(2.0)
    );
    drop(old);
    let lines = scrape(&metrics, Format::OpenMetrics);
    assert_eq!(
        value(&lines, "scalesocket_connections", Some("a")),
        Some(2.0)
    );
}

#[test]
fn room_names_survive_both_formats_whatever_is_in_them() {
    let names = [
        "a b",
        r"back\slash",
        "qu\"ote",
        "li\nne",
        r"\n",
        "äöü 🦀",
        "{x=\"y\"} 1",
        "# EOF",
    ];
    let metrics = Metrics::new(100).unwrap();
    let _guards: Vec<RoomSeries> = names
        .iter()
        .map(|name| metrics.room_started(name, figures))
        .collect();
    for format in BOTH {
        let expected = names.iter().map(|name| name.to_string()).collect();
        assert_eq!(
            rooms_with_series(&scrape(&metrics, format)),
            expected,
            "{format:?}"
        );
    }
}

#[test]
fn what_was_counted_is_what_is_shown() {
    let metrics = Metrics::new(10).unwrap();
    metrics.received(1, 10);
    metrics.received(2, 30);
    metrics.sent(5, 500);
    metrics.dropped("not json", 3);
    metrics.dropped("reserved name", 0);
    metrics.refused("full");
    metrics.refused("origin");
    metrics.refused("full");
    metrics.closed(1000);
    metrics.closed(4008);
    metrics.closed(3333);
    metrics.room_ended("exit");
    metrics.set_draining(true);
    for format in BOTH {
        let lines = scrape(&metrics, format);
        for (name, label, expected) in [
            ("messages_total", Some("in"), 3.0),
            ("messages_total", Some("out"), 5.0),
            ("bytes_total", Some("in"), 40.0),
            ("bytes_total", Some("out"), 500.0),
            ("messages_dropped_total", Some("not json"), 3.0),
            ("messages_dropped_total", Some("reserved name"), 0.0),
            ("connections_refused_total", Some("full"), 2.0),
            ("connections_refused_total", Some("origin"), 1.0),
            ("connections_closed_total", Some("1000"), 1.0),
            ("connections_closed_total", Some("1011"), 0.0),
            ("connections_closed_total", Some("4008"), 1.0),
            ("connections_closed_total", Some("other"), 1.0),
            ("rooms_ended_total", Some("exit"), 1.0),
            ("draining", None, 1.0),
            ("build_info", Some(env!("CARGO_PKG_VERSION")), 1.0),
        ] {
            let shown = value(&lines, &format!("scalesocket_{name}"), label);
            assert_eq!(shown, Some(expected), "{name} {label:?}");
        }
        assert!(value(&lines, "scalesocket_start_time_seconds", None) > Some(1.7e9));
    }
    let expected = Totals {
        messages_in: 3,
        messages_out: 5,
        bytes_in: 40,
        bytes_out: 500,
        rooms_started: 0,
        rooms_ended: 1,
        messages_dropped: 3,
        connections_refused: 3,
        connections_closed: 3,
    };
    assert_eq!(metrics.total(), expected);
    metrics.set_draining(false);
    let lines = scrape(&metrics, Format::Prometheus);
    assert_eq!(value(&lines, "scalesocket_draining", None), Some(0.0));
}

#[test]
fn histograms_are_cumulative_and_in_seconds() {
    let metrics = Metrics::new(10).unwrap();
    for millis in [2, 40, 1_000, 60_000] {
        metrics.spawned(Duration::from_millis(millis));
        metrics.first_message(Duration::from_millis(millis));
    }
    for (format, one) in [(Format::Prometheus, "1"), (Format::OpenMetrics, "1.0")] {
        let lines = scrape(&metrics, format);
        let bucket = |bound| value(&lines, "scalesocket_spawn_seconds_bucket", Some(bound));
        assert_eq!(bucket("0.001"), Some(0.0));
        assert_eq!(bucket("0.0025"), Some(1.0));
        assert_eq!(bucket("0.05"), Some(2.0));
        assert_eq!(bucket(one), Some(3.0), "a bound belongs to its bucket");
        assert_eq!(bucket("+Inf"), Some(4.0));
        assert_eq!(
            value(&lines, "scalesocket_spawn_seconds_count", None),
            Some(4.0)
        );
        assert_eq!(
            value(&lines, "scalesocket_spawn_seconds_sum", None),
            Some(61.042)
        );
        let first = "scalesocket_first_message_seconds_count";
        assert_eq!(value(&lines, first, None), Some(4.0));
    }
}

#[test]
fn a_room_is_asked_once_per_scrape() {
    let metrics = Metrics::new(10).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let _room = metrics.room_started("a", move || {
        counter.fetch_add(1, Relaxed);
        figures()
    });
    metrics.render(Format::Prometheus);
    metrics.render(Format::OpenMetrics);
    assert_eq!(asked.load(Relaxed), 2);
}

#[test]
fn a_room_may_end_and_another_begin_while_it_is_asked() {
    let metrics = Metrics::new(1).unwrap();
    let held = Arc::new(Mutex::new(Vec::new()));
    let (inner, rooms) = (metrics.clone(), held.clone());
    let first = metrics.room_started("a", move || {
        let mut rooms = rooms.lock();
        rooms.clear(); // drops the guard of this very room
        rooms.push(inner.room_started("b", figures));
        figures()
    });
    held.lock().push(first);
    let lines = scrape(&metrics, Format::OpenMetrics);
    assert_eq!(rooms_with_series(&lines), BTreeSet::from(["a".to_string()]));
    let lines = scrape(&metrics, Format::OpenMetrics);
    assert_eq!(rooms_with_series(&lines), BTreeSet::from(["b".to_string()]));
}

#[test]
fn scrapes_and_rooms_at_once_agree() {
    let metrics = Metrics::new(8).unwrap();
    std::thread::scope(|scope| {
        for (thread, format) in BOTH.into_iter().enumerate() {
            let metrics = &metrics;
            scope.spawn(move || {
                for n in 0..200 {
                    let _room = metrics.room_started(&format!("{thread}-{}", n % 4), figures);
                }
            });
            scope.spawn(move || {
                for _ in 0..20 {
                    let lines = scrape(metrics, format);
                    let rooms = value(&lines, "scalesocket_rooms", None).unwrap();
                    assert_eq!(rooms_with_series(&lines).len() as f64, rooms);
                }
            });
        }
    });
    assert_eq!(metrics.total().rooms_started, 400);
    assert!(rooms_with_series(&scrape(&metrics, Format::Prometheus)).is_empty());
}
