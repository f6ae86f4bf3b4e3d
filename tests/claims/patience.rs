//! A client that finds a silent server dead after a while, as the read timeout of a real one does.
//! The double's own lines hang for TCP's patience, which is longer than any test. Watches that have
//! begun are looked after by who watches.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use kube::client::Body;
use tokio::time::timeout;
use tower::{BoxError, Service};

use crate::double::NAMESPACE;

/// How long an answer may take to begin.
const SILENCE: Duration = Duration::from_secs(30);

/// The same client, with an end to its patience.
pub(crate) fn patient(client: kube::Client) -> kube::Client {
    kube::Client::new(Patient(client), NAMESPACE)
}

#[derive(Clone)]
struct Patient(kube::Client);

impl Service<Request<Body>> for Patient {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let client = self.0.clone();
        Box::pin(async move { Ok(timeout(SILENCE, client.send(request)).await??) })
    }
}
