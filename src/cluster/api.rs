//! The API server as claims and sessions need it: every request ends in bounded time, nothing is
//! tried again behind our back, and an answer that did not come is told apart from a no.

use std::error::Error;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api as KubeApi, Client, Config, Resource};
use serde_json::Value;
use tokio::time::timeout;

use crate::metrics::FleetMetrics;

/// How long connecting may take, and the rest of a request.
const CONNECT: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(3);

/// How long a connection may be silent although something was asked over it.
const SILENCE: Duration = Duration::from_secs(90);

/// Why there is no answer of the kind that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server says so (404).
    #[error("there is no such object")]
    NotFound,
    /// The object is there already, or is not the one that was meant (409).
    #[error("the object is another one")]
    Conflict,
    /// The server says no, and will say so again until somebody changes something.
    #[error("refused: {0}")]
    Refused(String),
    /// The request did not leave: there is no connection.
    #[error("no connection: {0}")]
    NotSent(String),
    /// It is not known what became of the request: none, a late or an unclear answer (5xx, 429).
    #[error("no answer: {0}")]
    Unknown(String),
}

/// An answer, or why there is none.
pub type Answer<T> = Result<T, Failure>;

/// See the module's documentation. Clones share connections.
#[derive(Debug, Clone)]
pub struct Api {
    leases: KubeApi<Lease>,
    pods: KubeApi<Pod>,
    metrics: FleetMetrics,
}

/// The configuration for requests that end in bounded time; `infer` knows where the server is.
pub fn bounded(mut config: Config) -> Config {
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(ANSWER);
    config.write_timeout = Some(ANSWER);
    // A connection's idle time before the request is not the answer's.
    config.reset_reader_on_write = true;
    config
}

/// The configuration for watches and patches, which bound themselves, but for answers that never
/// begin. A watch lasts a minute and may be silent for all of it.
pub fn patient(mut config: Config) -> Config {
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    config
}

impl Api {
    /// Talks through `client`, which should be of a [`bounded`] configuration, about `namespace`.
    pub fn new(client: Client, namespace: &str, metrics: FleetMetrics) -> Self {
        Api {
            leases: KubeApi::namespaced(client.clone(), namespace),
            pods: KubeApi::namespaced(client, namespace),
            metrics,
        }
    }

    /// Reads a lease as it is now (a quorum read: no resource version is asked for).
    pub async fn lease(&self, name: &str) -> Answer<Lease> {
        self.asked("get", "leases", self.leases.get(name)).await
    }

    /// Reads a pod as it is now.
    pub async fn pod(&self, name: &str) -> Answer<Pod> {
        self.asked("get", "pods", self.pods.get(name)).await
    }

    /// Creates a lease.
    pub async fn create(&self, lease: &Lease) -> Answer<Lease> {
        let params = PostParams::default();
        self.asked("create", "leases", self.leases.create(&params, lease))
            .await
    }

    /// Changes a lease by a merge patch.
    pub async fn patch(&self, name: &str, patch: &Value) -> Answer<Lease> {
        let params = PatchParams::default();
        let patch = Patch::Merge(patch);
        self.asked("patch", "leases", self.leases.patch(name, &params, &patch))
            .await
    }

    /// Deletes the lease with that uid (and that version). `Ok` also when it is not there any more,
    /// or another one is in its place.
    pub async fn delete(&self, name: &str, uid: &str, version: Option<&str>) -> Answer<Deleted> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: version.map(str::to_owned),
            }),
            ..DeleteParams::background()
        };
        match self
            .asked("delete", "leases", self.leases.delete(name, &params))
            .await
        {
            Ok(_) => Ok(Deleted::Now),
            Err(Failure::NotFound) => Ok(Deleted::Before),
            Err(Failure::Conflict) => Ok(Deleted::Other),
            Err(failure) => Err(failure),
        }
    }

    async fn asked<T>(
        &self,
        verb: &'static str,
        resource: &'static str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Answer<T> {
        let answer = match timeout(CONNECT + ANSWER, request).await {
            Ok(Ok(object)) => Ok(object),
            Ok(Err(error)) => Err(failure(error)),
            Err(_) => Err(Failure::Unknown("timed out".to_owned())),
        };
        let result = match &answer {
            Ok(_) => "ok",
            Err(Failure::NotFound) => "not_found",
            Err(Failure::Conflict) => "conflict",
            Err(Failure::Refused(_)) => "refused",
            Err(Failure::NotSent(_)) => "not_sent",
            Err(Failure::Unknown(_)) => "unknown",
        };
        self.metrics.api_request(verb, resource, result);
        answer
    }
}

/// What a deletion found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// The object, which is gone now.
    Now,
    /// Nothing.
    Before,
    /// Another object of the name, or another version of it, which stays.
    Other,
}

fn failure(error: kube::Error) -> Failure {
    match error {
        // The reason too: a proxy's own 404 says nothing about our objects.
        kube::Error::Api(status) => match (status.code, status.reason.as_str()) {
            (404, "NotFound") => Failure::NotFound,
            (409, "AlreadyExists" | "Conflict") => Failure::Conflict,
            (400 | 401 | 403 | 405 | 413 | 422, _) => Failure::Refused(status.message),
            _ => Failure::Unknown(status.message),
        },
        other if is_without_connection(&other) => Failure::NotSent(causes(&other)),
        other => Failure::Unknown(causes(&other)),
    }
}

/// An error with what caused it: the first words alone say little of a connection.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Whether nobody can have heard the request.
fn is_without_connection(error: &kube::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let client = error.downcast_ref::<hyper_util::client::legacy::Error>();
        if client.is_some_and(hyper_util::client::legacy::Error::is_connect) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The uid of an object as a number; what the server sends has one.
pub(super) fn id_of(object: &impl Resource) -> Answer<u128> {
    object
        .meta()
        .uid
        .as_deref()
        .and_then(super::names::uid)
        .ok_or_else(|| Failure::Unknown("an object without a uid".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_falls_silent_is_given_up_by_watches_too() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let client = Client::try_from(patient(Config::new(url.parse().unwrap()))).unwrap();
        let pods: KubeApi<Pod> = KubeApi::namespaced(client, "arcade");
        let all = kube::api::ListParams::default();
        let list = pods.list_metadata(&all);
        // The test's patience is longer than the kernel's: a quarter of an hour.
        let answer = timeout(Duration::from_secs(3600), list).await;
        assert!(answer.expect("it ends").is_err());
    }
}
