//! The probes of one container. They go by the specified periods and thresholds, except that until
//! a first success a readiness or startup probe is tried as often as it can be: tests wait for it.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::guest::Guest;

/// Between two tries of a probe that has never succeeded.
const EAGER: Duration = Duration::from_millis(50);

/// Seconds of a field that may be missing.
fn seconds(field: Option<i32>, missing: u64) -> Duration {
    Duration::from_secs(field.map_or(missing, |seconds| u64::try_from(seconds).unwrap_or(0)))
}

/// Keeps a container's `started` and `ready` up to date. Returns when a probe says that it must be
/// ended, and never otherwise.
pub async fn watch_over(guest: &Guest, index: usize, container: &Container) {
    if let Some(probe) = &container.startup_probe
        && !started(guest, container, probe).await
    {
        return;
    }
    guest.change(index, |state| state.started = true);
    tokio::select! {
        () = readiness(guest, index, container) => {}
        () = liveness(guest, container) => {}
    }
}

async fn started(guest: &Guest, container: &Container, probe: &Probe) -> bool {
    sleep(seconds(probe.initial_delay_seconds, 0)).await;
    let tries = probe.failure_threshold.unwrap_or(3);
    let window = seconds(probe.period_seconds, 10) * u32::try_from(tries).unwrap_or(1);
    let succeeded = async {
        while !succeeds(guest, container, probe).await {
            sleep(EAGER).await;
        }
    };
    timeout(window, succeeded).await.is_ok()
}

/// Never returns.
pub async fn readiness(guest: &Guest, index: usize, container: &Container) {
    let Some(probe) = &container.readiness_probe else {
        guest.change(index, |state| state.ready = true);
        return std::future::pending().await;
    };
    sleep(seconds(probe.initial_delay_seconds, 0)).await;
    let (mut ever, mut right, mut wrong) = (false, 0, 0);
    loop {
        if succeeds(guest, container, probe).await {
            (right, wrong) = (right + 1, 0);
        } else {
            (right, wrong) = (0, wrong + 1);
        }
        if right >= probe.success_threshold.unwrap_or(1) {
            ever = true;
            guest.change(index, |state| state.ready = true);
        } else if wrong >= probe.failure_threshold.unwrap_or(3) {
            guest.change(index, |state| state.ready = false);
        }
        sleep(if ever {
            seconds(probe.period_seconds, 10)
        } else {
            EAGER
        })
        .await;
    }
}

/// Returns when the container is dead to its probe.
async fn liveness(guest: &Guest, container: &Container) {
    let Some(probe) = &container.liveness_probe else {
        return std::future::pending().await;
    };
    sleep(seconds(probe.initial_delay_seconds, 0)).await;
    let mut wrong = 0;
    loop {
        sleep(seconds(probe.period_seconds, 10)).await;
        wrong = if succeeds(guest, container, probe).await {
            0
        } else {
            wrong + 1
        };
        if wrong >= probe.failure_threshold.unwrap_or(3) {
            return;
        }
    }
}

async fn succeeds(guest: &Guest, container: &Container, probe: &Probe) -> bool {
    let asked = timeout(
        seconds(probe.timeout_seconds, 1),
        ask(guest, container, probe),
    );
    matches!(asked.await, Ok(Some(200..400)))
}

/// The status that the probe's request is answered with.
async fn ask(guest: &Guest, container: &Container, probe: &Probe) -> Option<u16> {
    let get = probe.http_get.as_ref()?;
    let port = match &get.port {
        IntOrString::Int(port) => *port,
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            ports
                .find(|port| port.name.as_ref() == Some(name))?
                .container_port
        }
    };
    let address = (guest.address, u16::try_from(port).ok()?);
    let mut stream = TcpStream::connect(address).await.ok()?;
    let path = get.path.as_deref().unwrap_or("/");
    let host = guest.address;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: kube-probe/stage\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut head = [0; 12]; // "HTTP/1.1 200"
    stream.read_exact(&mut head).await.ok()?;
    std::str::from_utf8(head.get(9..)?).ok()?.parse().ok()
}
