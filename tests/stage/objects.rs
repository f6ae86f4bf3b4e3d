//! Objects as the tests write them: JSON, applied by the server, with or without effect; and how
//! the tests wait: for what must come to hold, with a deadline that tells what did not.

use std::time::Duration;

use kube::Client;
use kube::api::{Api, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::discovery::{Scope, pinned_kind};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::ControlPlane;

/// How long anything may take that the control plane does. Generous, because other tests keep the
/// machine busy; a test that passes never waits for it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at the same thing.
const GLANCE: Duration = Duration::from_millis(25);

/// Looks again until there is something to see, and gives it.
///
/// # Panics
/// When that takes longer than anything should.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let seen = tokio::time::timeout_at(deadline, async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            sleep(GLANCE).await;
        }
    });
    match seen.await {
        Ok(seen) => seen,
        Err(_) => panic!("did not happen within {PATIENCE:?}: {what}"),
    }
}

/// Whether an object is to be kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Kept,
    DryRun,
}

impl ControlPlane {
    /// Server-side apply of any object, as the administrator.
    ///
    /// # Panics
    /// When the API refuses it.
    pub async fn apply(&self, namespace: &str, object: &Value) -> DynamicObject {
        match apply(&self.client(), namespace, object, Effect::Kept).await {
            Ok(applied) => applied,
            Err(error) => panic!("{error}: {object}"),
        }
    }

    /// What the API says to an object, after all admission, without keeping it.
    ///
    /// # Errors
    /// The API's refusal.
    pub async fn dry_run(&self, namespace: &str, object: &Value) -> kube::Result<DynamicObject> {
        apply(&self.client(), namespace, object, Effect::DryRun).await
    }
}

async fn apply(
    client: &Client,
    namespace: &str,
    object: &Value,
    effect: Effect,
) -> kube::Result<DynamicObject> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let version = text(&object["apiVersion"]);
    let (group, version) = version.split_once('/').unwrap_or(("", &version));
    let kind = GroupVersionKind::gvk(group, version, &text(&object["kind"]));
    let (resource, capabilities) = pinned_kind(client, &kind).await?;
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Namespaced => Api::namespaced_with(client.clone(), namespace, &resource),
        Scope::Cluster => Api::all_with(client.clone(), &resource),
    };
    let mut parameters = PatchParams::apply("stage").force().validation_strict();
    parameters.dry_run = effect == Effect::DryRun;
    api.patch(
        &text(&object["metadata"]["name"]),
        &parameters,
        &Patch::Apply(object),
    )
    .await
}
