//! A client that finds a silent connection dead after a while, as the read timeout of a real one
//! does. The double's own lines hang for TCP's patience, which is longer than any test.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::unfold;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use kube::client::Body;
use tokio::time::timeout;
use tower::{BoxError, Service};

use crate::double::NAMESPACE;

/// Longer than a watch is asked to last, so that a quiet one is not taken for a dead one.
const SILENCE: Duration = Duration::from_secs(70);

/// The same client, with an end to its patience.
pub(crate) fn patient(client: kube::Client) -> kube::Client {
    kube::Client::new(Patient(client), NAMESPACE)
}

#[derive(Clone)]
struct Patient(kube::Client);

impl Service<Request<Body>> for Patient {
    type Response = Response<UnsyncBoxBody<Bytes, BoxError>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let client = self.0.clone();
        Box::pin(async move {
            let answer = timeout(SILENCE, client.send(request)).await??;
            Ok(answer.map(|body| {
                let frames = unfold(Some(body), |body| async move {
                    let mut body = body?;
                    match timeout(SILENCE, body.frame()).await {
                        Ok(None) => None,
                        Ok(Some(Ok(frame))) => Some((Ok(frame), Some(body))),
                        Ok(Some(Err(error))) => Some((Err(error.into()), None)),
                        Err(silence) => Some((Err(silence.into()), None)),
                    }
                });
                let frames: Frames = Box::pin(frames);
                StreamBody::new(frames).boxed_unsync()
            }))
        })
    }
}

type Frames = Pin<Box<dyn futures_util::Stream<Item = Result<Frame<Bytes>, BoxError>> + Send>>;
