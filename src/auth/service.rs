//! A service that knows who somebody is, asked for every client (forward authentication).
//!
//! It is asked by a GET that describes the client's request in `X-Forwarded-*` and carries the
//! headers that were named, which nobody behind the door sees. 2xx is yes, 401 and 403 are no, and
//! everything else means that it cannot tell. Few are asked for at once, none without a time limit,
//! over connections that are kept.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::header::{HOST, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{self, Client, connect::HttpConnector};
use hyper_util::rt::TokioTimer;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::{Identity, Rejection, Scheme, Target, credential, user};

/// Clients that are asked about at once; more wait, within their time.
const AT_ONCE: usize = 128;
/// Connections that are kept, and for how long.
const KEPT: usize = 32;
const KEPT_TIME: Duration = Duration::from_secs(30);
/// Bytes of an answer's head.
const HEAD_MAX: usize = 32 << 10;
/// Bytes of an answer's body that are read so that its connection can be kept.
const BODY_MAX: usize = 64 << 10;

const FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What is told of a service.
#[derive(Debug, Clone)]
pub struct ServiceOptions {
    /// Where it is: http or https.
    pub url: Uri,
    /// The client's headers that it gets, and nobody else.
    pub forward: Vec<HeaderName>,
    /// The header of its answer that names the user.
    pub user_header: HeaderName,
    /// Headers of its answer that take the place of the client's.
    pub copy: Vec<HeaderName>,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// See the module's documentation.
pub struct Service {
    options: ServiceOptions,
    client: Asker,
    slots: Semaphore,
    /// It did not answer the last time: told once.
    troubled: AtomicBool,
}

enum Asker {
    Plain(Client<HttpConnector, Empty<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>),
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Service").field(&self.options).finish()
    }
}

/// Runs what its connections need, on a tracker that nobody waits for: they end with the client, or soon after.
#[derive(Clone)]
struct OnTracker(TaskTracker);

impl<F> hyper::rt::Executor<F> for OnTracker
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

impl Service {
    /// Nothing is contacted yet.
    ///
    /// # Errors
    ///
    /// One sentence for the user: certificates cannot be checked.
    pub fn new(options: ServiceOptions) -> anyhow::Result<Self> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(options.timeout));
        connector.enforce_http(false);
        let mut builder = Client::builder(OnTracker(TaskTracker::new()));
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT_TIME)
            .pool_max_idle_per_host(KEPT)
            .http1_max_buf_size(HEAD_MAX);
        let client = match options.url.scheme_str() {
            Some("https") => {
                let provider = rustls::crypto::ring::default_provider();
                let connector = HttpsConnectorBuilder::new()
                    .with_provider_and_native_roots(provider)
                    .context(
                        "the system has no certificates to know the service of --auth-url by: \
                         name a file with SSL_CERT_FILE",
                    )?
                    .https_only()
                    .enable_http1()
                    .wrap_connector(connector);
                Asker::Tls(builder.build(connector))
            }
            _ => Asker::Plain(builder.build(connector)),
        };
        Ok(Service {
            options,
            client,
            slots: Semaphore::new(AT_ONCE),
            troubled: AtomicBool::new(false),
        })
    }

    pub(super) async fn admit(
        &self,
        parts: &mut Parts,
        address: Option<IpAddr>,
        https: bool,
    ) -> Result<Identity, Rejection> {
        let question = self.question(parts, address, https);
        self.strip(parts);
        let asked = timeout(self.options.timeout, self.ask(question)).await;
        let answer = match asked {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(self.cannot_tell(&format!("{error:#}"))),
            Err(_) => return Err(self.cannot_tell("it takes too long")),
        };
        match answer.status() {
            status if status.is_success() => {}
            StatusCode::UNAUTHORIZED => {
                self.has_told();
                let challenge = answer.headers().get(WWW_AUTHENTICATE).cloned();
                return Err(Rejection::Unknown(challenge));
            }
            StatusCode::FORBIDDEN => {
                self.has_told();
                return Err(Rejection::Forbidden);
            }
            other => return Err(self.cannot_tell(&format!("it answers {other}"))),
        }
        let mut names = answer.headers().get_all(&self.options.user_header).iter();
        let user = match (names.next(), names.next()) {
            (None, _) => None,
            (Some(name), None) => match std::str::from_utf8(name.as_bytes()).ok().and_then(user) {
                Some(name) => Some(name),
                None => return Err(self.cannot_tell("it names a user that cannot be one")),
            },
            (Some(_), Some(_)) => return Err(self.cannot_tell("it names two users")),
        };
        self.has_told();
        for name in &self.options.copy {
            for value in answer.headers().get_all(name) {
                parts.headers.append(name.clone(), value.clone());
            }
        }
        Ok(Identity {
            user,
            scheme: Scheme::Forward,
            until: None,
            rooms: None,
        })
    }

    fn question(
        &self,
        parts: &Parts,
        address: Option<IpAddr>,
        https: bool,
    ) -> Request<Empty<Bytes>> {
        let mut headers = HeaderMap::new();
        for name in &self.options.forward {
            for value in parts.headers.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        let proto = if https { "https" } else { "http" };
        let whole = parts.extensions.get::<Target>().map(|whole| &whole.0);
        let target = whole
            .or(parts.uri.path_and_query())
            .map_or("/", |target| target.as_str());
        let address = address.map(|address| address.to_canonical().to_string());
        let text = |text: &str| HeaderValue::from_str(text).ok();
        let described = [
            (FORWARDED_METHOD, text(parts.method.as_str())),
            (FORWARDED_PROTO, text(proto)),
            (FORWARDED_HOST, parts.headers.get(HOST).cloned()),
            (FORWARDED_URI, text(target)),
            (FORWARDED_FOR, address.as_deref().and_then(text)),
        ];
        for (name, value) in described {
            // Ours in place of the client's, or none at all.
            headers.remove(&name);
            headers.extend(value.map(|value| (name, value)));
        }
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.options.url.clone();
        *request.headers_mut() = headers;
        request
    }

    /// What was for the service goes no further, nor what seems to come from it.
    fn strip(&self, parts: &mut Parts) {
        let Service { options, .. } = self;
        let ours = options.forward.iter().chain(&options.copy);
        for name in ours.chain([&options.user_header]) {
            parts.headers.remove(name);
        }
        credential::take(parts, None);
    }

    async fn ask(&self, question: Request<Empty<Bytes>>) -> anyhow::Result<Response<()>> {
        let _slot = self.slots.acquire().await?;
        let answer: Result<Response<Incoming>, legacy::Error> = match &self.client {
            Asker::Plain(client) => client.request(question).await,
            Asker::Tls(client) => client.request(question).await,
        };
        let (head, body) = answer?.into_parts();
        // Read to its end, so that the connection can be used again; a longer one costs us that.
        let _ = Limited::new(body, BODY_MAX).collect().await;
        Ok(Response::from_parts(head, ()))
    }

    /// Where it is, without what may be a key.
    fn shown(&self) -> String {
        let url = self.options.url.to_string();
        let end = url.find('?').unwrap_or(url.len());
        url.get(..end).unwrap_or_default().to_owned()
    }

    fn cannot_tell(&self, why: &str) -> Rejection {
        if !self.troubled.swap(true, Relaxed) {
            warn!(
                url = self.shown(),
                why, "the authentication service cannot tell who clients are"
            );
        }
        Rejection::Unavailable
    }

    fn has_told(&self) {
        if self.troubled.swap(false, Relaxed) {
            info!(
                url = self.shown(),
                "the authentication service answers again"
            );
        }
    }
}
