//! What is told of a pod: its phase, conditions and container statuses, the newest state whenever
//! it changed, and again until the API took it; in the end the last status, and then the deletion
//! that takes the object away.

use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

use super::AGAIN;
use super::container::{Ended, Phase, State};
use super::guest::{Guest, Role};

/// Tells the API of every change; never returns.
pub async fn publish(guest: &Guest, mut changed: watch::Receiver<()>) {
    let mut readiness = (false, Timestamp::now());
    loop {
        guest.acting().await;
        changed.borrow_and_update();
        let states = guest.all_states();
        let ready = ready(guest, &states);
        if ready != readiness.0 {
            readiness = (ready, Timestamp::now());
        }
        if !tell(guest, &status(guest, &states, readiness)).await {
            sleep(AGAIN).await;
            continue;
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}

/// The last status, and the end of the object.
pub async fn farewell(guest: &Guest) {
    let last = status(guest, &guest.all_states(), (false, Timestamp::now()));
    while !tell(guest, &last).await {
        sleep(AGAIN).await;
    }
    let delete = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions {
            uid: Some(guest.uid.clone()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    while !settled(guest.pods().delete(&guest.name, &delete).await) {
        sleep(AGAIN).await;
        guest.acting().await;
    }
}

/// Whether the API took it, or will never.
async fn tell(guest: &Guest, status: &Value) -> bool {
    let pods = guest.pods();
    let patch = Patch::Strategic(status);
    settled(
        pods.patch_status(&guest.name, &PatchParams::default(), &patch)
            .await,
    )
}

fn settled<T>(answer: kube::Result<T>) -> bool {
    match answer {
        Ok(_) => true,
        // It is gone (404), or another one has its name (409, 422).
        Err(kube::Error::Api(refusal)) => matches!(refusal.code, 404 | 409 | 422),
        Err(_) => false,
    }
}

fn ready(guest: &Guest, states: &[State]) -> bool {
    let mut lasting = guest
        .containers
        .iter()
        .zip(states)
        .filter(|((role, _), _)| *role != Role::Init);
    lasting.all(|(_, state)| state.ready && matches!(state.phase, Phase::Running(_)))
}

fn phase(guest: &Guest, states: &[State]) -> &'static str {
    let of = |wanted: Role| {
        let all = guest.containers.iter().zip(states);
        all.filter(move |((role, _), _)| *role == wanted)
            .map(|(_, state)| state)
    };
    let code = |state: &State| match &state.phase {
        Phase::Terminated(ended) => Some(ended.exit.code),
        _ => None,
    };
    if of(Role::Init).any(|state| code(state).is_some_and(|code| code != 0)) {
        return "Failed";
    }
    let codes: Vec<_> = of(Role::Main).map(code).collect();
    if codes.iter().all(|code| *code == Some(0)) {
        "Succeeded"
    } else if codes.iter().all(Option::is_some) {
        "Failed"
    } else if of(Role::Main).all(|state| state.starts > 0) {
        "Running"
    } else {
        "Pending"
    }
}

fn status(guest: &Guest, states: &[State], (ready, since): (bool, Timestamp)) -> Value {
    let initialized = guest
        .containers
        .iter()
        .zip(states)
        .all(|((role, _), state)| match role {
            Role::Init => matches!(&state.phase, Phase::Terminated(ended) if ended.exit.code == 0),
            Role::Sidecar => state.started,
            Role::Main => true,
        });
    let condition = |kind: &str, holds: bool| {
        json!({
            "type": kind,
            "status": if holds { "True" } else { "False" },
            "lastTransitionTime": at(since),
        })
    };
    let statuses = |main: bool| -> Vec<Value> {
        let all = guest.containers.iter().zip(states);
        all.filter(|((role, _), _)| (*role == Role::Main) == main)
            .map(|((_, container), state)| {
                json!({
                    "name": container.name,
                    "image": container.image.as_deref().unwrap_or_default(),
                    "imageID": "",
                    "ready": state.ready,
                    "started": state.started,
                    "restartCount": (state.starts - 1).max(0),
                    "state": container_state(&state.phase),
                    "lastState": state.last.as_ref().map_or(json!({}), terminated),
                })
            })
            .collect()
    };
    json!({
        "metadata": {"uid": guest.uid},
        "status": {
            "phase": phase(guest, states),
            "hostIP": "127.0.0.1",
            "podIP": guest.address.to_string(),
            "podIPs": [{"ip": guest.address.to_string()}],
            "conditions": [
                condition("Initialized", initialized),
                condition("ContainersReady", ready),
                condition("Ready", ready),
            ],
            "initContainerStatuses": statuses(false),
            "containerStatuses": statuses(true),
        },
    })
}

fn container_state(phase: &Phase) -> Value {
    match phase {
        Phase::Waiting(reason, message) => {
            json!({"waiting": {"reason": reason, "message": message}})
        }
        Phase::Running(since) => json!({"running": {"startedAt": at(*since)}}),
        Phase::Terminated(ended) => terminated(ended),
    }
}

fn terminated(ended: &Ended) -> Value {
    let code = ended.exit.code;
    json!({"terminated": {
        "exitCode": code,
        "signal": ended.exit.signal,
        "reason": if code == 0 { "Completed" } else { "Error" },
        "startedAt": at(ended.since),
        "finishedAt": at(ended.at),
    }})
}

/// As the API writes times: whole seconds.
fn at(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
