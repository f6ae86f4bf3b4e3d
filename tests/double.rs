//! The double of the Kubernetes API holds what the real server promises, faults included: without
//! this, what is tried against it proves nothing. Time is paused in all of it.

#[path = "double/mod.rs"]
mod double;

#[path = "double/tests/faults.rs"]
mod faults;
#[path = "double/tests/objects.rs"]
mod objects;
#[path = "double/tests/watches.rs"]
mod watches;

use std::time::Duration;

use double::Double;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::{Value, json};

fn leases(double: &Double, client: &str) -> Api<Lease> {
    Api::default_namespaced(double.client(client))
}

fn pods(double: &Double, client: &str) -> Api<Pod> {
    Api::default_namespaced(double.client(client))
}

/// A Lease as a client would send it.
fn lease(name: &str) -> Lease {
    lease_with(name, json!({}))
}

/// The same with more metadata.
fn lease_with(name: &str, metadata: Value) -> Lease {
    let mut object = json!({"metadata": {"name": name}});
    for (key, value) in metadata.as_object().into_iter().flatten() {
        object["metadata"][key] = value.clone();
    }
    serde_json::from_value(object).expect("a Lease")
}

/// The refusal as people read it: code, reason, message.
fn refusal<T: std::fmt::Debug>(result: kube::Result<T>) -> (u16, String, String) {
    match result {
        Err(kube::Error::Api(status)) => (status.code, status.reason, status.message),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// Code and reason of a refusal.
fn code<T: std::fmt::Debug>(result: kube::Result<T>) -> (u16, String) {
    let (code, reason, _) = refusal(result);
    (code, reason)
}

/// The broken connection a client sees.
fn is_broken<T>(result: &kube::Result<T>) -> bool {
    matches!(result, Err(kube::Error::Service(_)))
}

/// How long anybody waits here, by the paused clock: longer than a hang lasts.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// The end of a future, which must come.
async fn ends<T>(future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(PATIENCE, future).await;
    ended.expect("this ends")
}
