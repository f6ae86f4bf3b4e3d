//! The names of the metrics are a contract with dashboards and alerts: name, type and help of each
//! are held by a snapshot, so that none changes by accident.

use std::time::Duration;

use scalesocket::metrics::{Format, Metrics, RoomFigures};

#[test]
fn every_metric_keeps_its_name_type_and_help() {
    let metrics = Metrics::new(1).unwrap();
    // A family is shown once it has a series: each kind of thing happens once.
    let _room = metrics.room_started("lobby", || RoomFigures {
        cpu_seconds: Some(0.5),
        memory_bytes: Some(4096),
        processes: Some(3),
        ..RoomFigures::default()
    });
    metrics.room_ended("exit 0");
    metrics.child_exited("exit 0");
    metrics.spawned(Duration::from_millis(2));
    metrics.first_message(Duration::from_millis(3));
    metrics.dropped("not json", 1);
    metrics.refused("full");
    metrics.tls_failed("timeout");
    metrics.set_certificates_expire(Some(Duration::from_secs(1)));
    metrics.proxy_protocol_failed("malformed");
    metrics.closed(1000);

    let describe = |format| -> String {
        let text = metrics.render(format);
        text.lines()
            .filter(|line| line.starts_with('#'))
            .map(|line| format!("{line}\n"))
            .collect()
    };
    insta::assert_snapshot!("prometheus", describe(Format::Prometheus));
    insta::assert_snapshot!("openmetrics", describe(Format::OpenMetrics));
}
