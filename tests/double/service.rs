//! One client's way in: the `tower` service under a `kube::Client`.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::Body;
use tokio::sync::oneshot;

use super::request::ApiRequest;
use super::server::{Answer, Broken, Server};
use super::status::Refusal;
use super::watch::Watch;

/// The body of an answer.
pub type AnswerBody = UnsyncBoxBody<Bytes, Broken>;

/// The connection of one client.
#[derive(Clone)]
pub struct Connection {
    server: Arc<Server>,
    client: String,
}

impl Connection {
    /// A connection of a client.
    pub fn new(server: Arc<Server>, client: &str) -> Connection {
        Connection {
            server,
            client: client.to_owned(),
        }
    }
}

impl tower::Service<Request<Body>> for Connection {
    type Response = Response<AnswerBody>;
    type Error = Broken;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Broken>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (to_client, answer) = oneshot::channel();
        let Connection { server, client } = self.clone();
        self.server.spawn(async move {
            let result = respond(server, &client, request).await;
            // Nobody waits any more: that is the client's choice, the request was served.
            let _ = to_client.send(result);
        });
        Box::pin(async move { answer.await.unwrap_or(Err(Broken)) })
    }
}

async fn respond(
    server: Arc<Server>,
    client: &str,
    request: Request<Body>,
) -> Result<Response<AnswerBody>, Broken> {
    let (parts, body) = request.into_parts();
    let body = body.collect_bytes().await.map_err(|_| Broken)?;
    let request = ApiRequest::parse(&parts, body.to_vec());
    Ok(match server.serve(client, request).await? {
        Answer::Json(code, body) => json(code, body.to_string()),
        Answer::Watch(request) => match Watch::begin(server, client, &request) {
            Ok(watch) => response(
                200,
                BodyExt::boxed_unsync(StreamBody::new(watch.into_frames())),
            ),
            Err(refusal) => json(refusal.code, refusal.body().to_string()),
        },
    })
}

fn json(code: u16, text: String) -> Response<AnswerBody> {
    let body = Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {});
    response(code, body.boxed_unsync())
}

fn response(code: u16, body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    let json = http::HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, json);
    response
}
