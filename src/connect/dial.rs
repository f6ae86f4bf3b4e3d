//! The way to a server: TCP, TLS where it is asked for, and the handshake.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::{Context as _, anyhow, bail};
use http::header::{HOST, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue, Request, Response};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::{Options, Talk};
use crate::probe::any_certificate;

/// What is kept of a refusal's body.
const REASON_MAX: usize = 4 << 10;

/// A byte stream to the server.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects and shakes hands.
pub(super) async fn dial(options: &Options) -> anyhow::Result<Talk> {
    let host = options.url.host().unwrap_or_default();
    let secure = options.url.scheme_str() == Some("wss");
    let port = options
        .url
        .port_u16()
        .unwrap_or(if secure { 443 } else { 80 });
    // An IPv6 address stands in brackets in a URL and nowhere else.
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let tcp = TcpStream::connect((bare, port))
        .await
        .with_context(|| format!("cannot connect to {host}:{port}"))?;
    tcp.set_nodelay(true)?;
    let socket = match secure {
        false => Socket::Tcp(tcp),
        true => {
            let name = ServerName::try_from(bare.to_owned())
                .with_context(|| format!("{bare} is no name of a host"))?;
            let connector = TlsConnector::from(Arc::new(trust(options.insecure)?));
            let tls = connector.connect(name, tcp).await;
            Socket::Tls(Box::new(tls.with_context(|| match options.insecure {
                true => format!("cannot speak TLS with {host}:{port}"),
                false => format!(
                    "cannot speak TLS with {host}:{port} (--insecure takes any certificate)"
                ),
            })?))
        }
    };
    // The server's limits are what counts, not a client's.
    let config = WebSocketConfig::default()
        .max_message_size(None)
        .max_frame_size(None);
    match client_async_with_config(request(options)?, socket, Some(config)).await {
        Ok((talk, _)) => Ok(talk),
        Err(Error::Http(answer)) => Err(refused(&answer)),
        Err(Error::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            bail!(
                "the server hung up: it may speak TLS where none was expected, or the other way round"
            )
        }
        Err(error) => Err(anyhow!("no websocket: {error}")),
    }
}

fn trust(insecure: bool) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    if insecure {
        let config = config.dangerous();
        return Ok(config
            .with_custom_certificate_verifier(any_certificate(provider))
            .with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        bail!(
            "the system has no certificates to know servers by: name a file with SSL_CERT_FILE, \
             or take any certificate with --insecure"
        );
    }
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn request(options: &Options) -> anyhow::Result<Request<()>> {
    let url = &options.url;
    let host = url.authority().map(|authority| authority.as_str());
    // Whatever stands before an @ is for us, not for a header.
    let host = host
        .unwrap_or_default()
        .rsplit('@')
        .next()
        .unwrap_or_default();
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_str(host)?);
    if !options.subprotocols.is_empty() {
        let offer = HeaderValue::from_str(&options.subprotocols.join(", "))?;
        headers.insert(SEC_WEBSOCKET_PROTOCOL, offer);
    }
    for (name, value) in &options.headers {
        headers.append(name, value.clone());
    }
    let mut request = Request::get(url.clone())
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", generate_key())
        .body(())?;
    request.headers_mut().extend(headers);
    Ok(request)
}

/// Why somebody was not let in, as the server says it.
fn refused(answer: &Response<Option<Vec<u8>>>) -> anyhow::Error {
    let body = answer.body().as_deref().unwrap_or_default();
    let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let reason = match json["message"].as_str() {
        Some(message) => message.to_owned(),
        None => {
            let body = body.get(..REASON_MAX).unwrap_or(body);
            String::from_utf8_lossy(body).trim().to_owned()
        }
    };
    let reason = crate::cli::shown(reason.as_ref());
    let colon = if reason.is_empty() { "" } else { ": " };
    anyhow!("refused: {}{colon}{reason}", answer.status())
}

/// What is asked of either kind of stream.
macro_rules! either {
    ($socket:expr, $inner:ident => $call:expr) => {
        match $socket.get_mut() {
            Socket::Tcp($inner) => {
                let $inner = Pin::new($inner);
                $call
            }
            Socket::Tls(tls) => {
                let $inner = Pin::new(&mut **tls);
                $call
            }
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, inner => inner.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, inner => inner.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, inner => inner.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, inner => inner.poll_shutdown(cx))
    }
}
