//! The websocket handshake: who may come in, the answer of RFC 6455 section 4.2.2, and the way
//! of the raw socket out of HTTP.

use std::ffi::OsString;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use sha1::{Digest, Sha1};
use tokio::net::{TcpStream, UnixStream};

use super::answer::Denied;
use super::connections::Share;
use super::gate::{Entrance, Visit, strip};
use super::head::Rewound;
use super::{Door, Ends, Readiness, Refuse, Side, Subject};
use crate::auth::{Identity, Rejection};
use crate::child;
use crate::room::{BadName, Newcomer, RoomName};
use crate::ws::connection::Connection;
use crate::ws::deflate::{self, Agreement};
use crate::ws::lease::Lease;
use crate::ws::socket::Socket;
use crate::ws::tls::Tls;

/// RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// How long the way from our 101 to the raw socket may take.
const UPGRADE_TIME: Duration = Duration::from_secs(10);

/// Whether a request wants a websocket; it may still be a wrong one.
pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, header::UPGRADE, "websocket")
}

/// Answers a request that [`is_upgrade`] and came through a listener of that side.
pub(super) async fn join(door: Arc<Door>, side: Side, mut request: Request<Body>) -> Response {
    let accept = match accept_key(&request) {
        Ok(accept) => accept,
        Err(denied) => return deny(&door, side, denied),
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let protocol = subprotocol(request.headers(), &door.options.subprotocols);
    let agreed = match extension(request.headers(), door.options.connection.compress) {
        Ok(agreed) => agreed,
        Err(denied) => return deny(&door, side, denied),
    };
    let (parts, _) = request.into_parts();
    let entrance = match come(&door, side, parts).await {
        Ok(entrance) => Ok(entrance),
        Err(denied) if door.options.refuse == Refuse::Http || side == Side::Peer => {
            return deny(&door, side, denied);
        }
        Err(denied) if denied.is_http() => return deny(&door, side, denied),
        Err(denied) => {
            door.metrics.refused(denied.label());
            Err(denied.close())
        }
    };
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    let entrance = match entrance {
        // The server that took the client has answered its key, and chosen its protocol and extension.
        Ok(Entrance::There(mut passage)) => {
            headers.extend(std::mem::take(&mut passage.headers));
            Ok(Entrance::There(passage))
        }
        here => {
            if let (Ok(_), Some((_, answer))) = (&here, &agreed) {
                headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, answer.clone());
            }
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
            headers.extend(protocol.map(|protocol| (header::SEC_WEBSOCKET_PROTOCOL, protocol)));
            here
        }
    };
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let task = {
        let door = Arc::clone(&door);
        async move {
            let Some((socket, early, lease)) = raw(upgrade).await else {
                return;
            };
            let options = Arc::clone(&door.options.connection);
            // A task of its own, so that what the handshake needed is not kept for its life.
            match entrance {
                Ok(Entrance::Here(place)) => {
                    let connection = match agreed {
                        Some((agreed, _)) => {
                            if let Some(least) = options.compress.filter(|_| agreed.hears_packed) {
                                place.read_packed(least);
                            }
                            Connection::new(socket, place, options, early).inflating()
                        }
                        None => Connection::new(socket, place, options, early),
                    };
                    door.tasks.spawn(connection.leasing(lease))
                }
                Ok(Entrance::There(passage)) => {
                    let passage = (passage.carry)(socket, early);
                    door.tasks.spawn(Box::pin(async move {
                        passage.await;
                        drop(lease);
                    }))
                }
                Err(close) => {
                    let connection = Connection::refused(socket, &close, options);
                    door.tasks.spawn(connection.leasing(lease))
                }
            };
        }
    };
    door.tasks.spawn(task);
    response
}

fn deny(door: &Door, side: Side, denied: Denied) -> Response {
    door.metrics.refused(denied.label());
    denied.tell();
    match side {
        Side::Peer => denied.to_peer(),
        Side::Public | Side::Admin | Side::Redirect(_) => denied.into_response(),
    }
}

/// Leads a client to its room, if that may be.
async fn come(door: &Door, side: Side, mut parts: Parts) -> Result<Entrance, Denied> {
    let seen = parts.extensions.get::<Ends>().copied().unwrap_or_default();
    let subject = parts.extensions.remove::<Arc<Subject>>();
    let gate = door.gate.as_deref();
    let client = match (side, gate) {
        (Side::Peer, Some(gate)) => {
            let said = gate.introduce(&parts)?;
            if door.options.guard.is_some() && said.identity.is_none() {
                // A pod that asks nobody who they are, as before a change of flags.
                return Err(Rejection::Missing.into());
            }
            Client {
                ends: Ends {
                    remote: said.remote,
                    local: said.local,
                    https: said.https,
                    unnamed: false,
                },
                subject: said.subject.map(Arc::new),
                passed_on: true,
                identity: said.identity,
            }
        }
        (Side::Peer, None) => return Err(Denied::NotAPeer("this server is of no fleet")),
        (Side::Public | Side::Admin | Side::Redirect(_), _) => {
            check_origin(door, &parts.headers, seen.https)?;
            let identity = match &door.options.guard {
                Some(guard) => {
                    let admitted = guard.admit(&mut parts, address(seen), seen.https);
                    Some(admitted.await?)
                }
                None => None,
            };
            Client {
                ends: seen,
                subject,
                passed_on: false,
                identity,
            }
        }
    };
    // SECURITY: what was believed is believed no longer, and neither a child nor another server sees
    // what a client made up.
    strip(&mut parts.headers);
    let (name, newcomer) = look(door, &parts, &client)?;
    let identity = client.identity.as_ref();
    if identity.is_some_and(|identity| !identity.may_enter(name.as_str())) {
        return Err(Rejection::OtherRoom.into());
    }
    match gate {
        // Rooms of one connection each are where the connection is.
        Some(gate) if side != Side::Peer && !door.rooms.options().isolate => {
            let visit = Visit {
                room: &name,
                newcomer: &newcomer,
                request: &parts,
                ends: client.ends,
                identity,
                subject: client.subject.as_deref(),
            };
            Ok(gate.lead(visit).await?)
        }
        _ => {
            let place = door.rooms.join(name, &newcomer).await;
            place.map(Entrance::Here).map_err(Denied::Room)
        }
    }
}

/// What is known of the client itself, however its request came.
#[derive(Debug)]
struct Client {
    ends: Ends,
    /// Whose certificate it has, where it needs one.
    subject: Option<Arc<Subject>>,
    /// Another server let it in, and sees to its origin and its address.
    passed_on: bool,
    /// Who it has proved to be, where that is asked.
    identity: Option<Identity>,
}

fn check_origin(door: &Door, headers: &HeaderMap, https: bool) -> Result<(), Denied> {
    let origin = text(headers, header::ORIGIN);
    if headers.contains_key(header::ORIGIN) && origin.is_none() {
        return Err(Denied::Origin);
    }
    let allowed = door
        .options
        .origin
        .allows(origin, text(headers, header::HOST), https);
    allowed.then_some(()).ok_or(Denied::Origin)
}

/// Which room the path names, and who wants to come in.
fn look(door: &Door, request: &Parts, client: &Client) -> Result<(RoomName, Newcomer), Denied> {
    if *door.ready.borrow() == Readiness::Starting {
        return Err(Denied::Starting);
    }
    let path = request.uri.path();
    let path = path.strip_prefix('/').unwrap_or(path);
    let (component, rest) = path
        .find('/')
        .map_or((path, ""), |slash| path.split_at(slash));
    let isolate = door.rooms.options().isolate;
    let name = match RoomName::from_component(component) {
        Ok(name) => name,
        // Any path will do where every connection has a room of its own; but no endpoint's.
        Err(BadName::Empty) if isolate => RoomName::root(),
        Err(bad) => return Err(Denied::Name(bad)),
    };
    let identity = client.identity.as_ref();
    let newcomer = Newcomer {
        address: address(client.ends),
        passed_on: client.passed_on,
        user: identity.and_then(|identity| identity.user.clone()),
        until: identity.and_then(Identity::ends),
        variables: variables(request, client, component, rest, &door.options.base_path),
    };
    Ok((name, newcomer))
}

fn variables(
    request: &Parts,
    client: &Client,
    room: &str,
    rest: &str,
    base: &str,
) -> Vec<(OsString, OsString)> {
    let uri = &request.uri;
    let proved = client.subject.as_deref().map(Subject::variables);
    let target = uri
        .path_and_query()
        .map_or(uri.path(), |target| target.as_str());
    let target = format!("{base}{target}");
    let mut variables = child::cgi(&child::Request {
        remote: client.ends.remote,
        local: client.ends.local,
        method: request.method.as_str(),
        uri: &target,
        protocol: "HTTP/1.1",
        room: &percent_decode_str(room).decode_utf8_lossy(),
        path_info: &percent_decode_str(rest).decode_utf8_lossy(),
        query: uri.query().unwrap_or_default(),
        headers: &request.headers,
        https: client.ends.https,
        proved: &proved.unwrap_or_default(),
        unique_id: &child::unique_id(),
    });
    if let Some((_, script)) = variables.iter_mut().find(|(name, _)| name == "SCRIPT_NAME") {
        let below = std::mem::replace(script, base.into());
        script.push(below);
    }
    if client.ends.remote.is_some_and(|remote| remote.port() == 0) {
        // A proxy told the address alone.
        variables.retain(|(name, _)| name != "REMOTE_PORT");
    }
    // SECURITY: no header of a client becomes a variable of these names.
    if let Some(identity) = &client.identity {
        let user = identity.user.as_deref().unwrap_or_default();
        variables.push(("AUTH_TYPE".into(), identity.scheme.as_str().into()));
        variables.push(("REMOTE_USER".into(), user.into()));
    }
    variables
}

fn address(ends: Ends) -> Option<IpAddr> {
    ends.remote.map(|remote| remote.ip().to_canonical())
}

/// Checks the handshake and computes the answer to its key.
fn accept_key(request: &Request<Body>) -> Result<HeaderValue, Denied> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(Denied::Handshake("a websocket handshake is a GET request"));
    }
    if request.version() < Version::HTTP_11 {
        return Err(Denied::Handshake("a websocket handshake needs HTTP/1.1"));
    }
    if headers.get_all(header::HOST).iter().count() != 1 {
        return Err(Denied::Handshake("a request names its Host, once"));
    }
    // SECURITY: bytes that a proxy takes for a body must not be frames to us, nor the other way round.
    if !request.body().is_end_stream() {
        return Err(Denied::Handshake("a websocket handshake has no body"));
    }
    if !has_token(headers, header::CONNECTION, "upgrade") {
        return Err(Denied::Handshake("the Connection header must name Upgrade"));
    }
    let mut versions = headers.get_all(header::SEC_WEBSOCKET_VERSION).iter();
    match (
        versions.next().and_then(|version| version.to_str().ok()),
        versions.next(),
    ) {
        (Some(version), None) if version.trim() == "13" => {}
        _ => return Err(Denied::Version),
    }
    let bad = Denied::Handshake("Sec-WebSocket-Key must be 16 bytes in base64, given once");
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) => key.as_bytes().trim_ascii(),
        _ => return Err(bad),
    };
    if STANDARD.decode(key).map_or(0, |nonce| nonce.len()) != 16 {
        return Err(bad);
    }
    let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    HeaderValue::from_str(&STANDARD.encode(hash)).map_err(|_| bad)
}

/// Whether a comma-separated header has a token, in any case.
fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name);
    let mut tokens = values
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','));
    tokens.any(|given| given.trim().eq_ignore_ascii_case(token))
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The first of the offered subprotocols that is one of ours.
fn subprotocol(headers: &HeaderMap, ours: &[String]) -> Option<HeaderValue> {
    let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let mut offered = offers
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim);
    let chosen = offered.find(|offer| ours.iter().any(|protocol| protocol == offer))?;
    HeaderValue::from_str(chosen).ok()
}

/// What is agreed to of the offered extensions, and the header that says so, where messages may be
/// compressed. Who may come in does not depend on that: what is malformed is refused either way.
fn extension(
    headers: &HeaderMap,
    compress: Option<usize>,
) -> Result<Option<(Agreement, HeaderValue)>, Denied> {
    let malformed = || Denied::Handshake("Sec-WebSocket-Extensions must be a list of extensions");
    let offers = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter();
    let offers: Result<Vec<&str>, _> = offers.map(HeaderValue::to_str).collect();
    let agreed = deflate::agree(offers.map_err(|_| malformed())?).map_err(|_| malformed())?;
    let Some(agreed) = agreed.filter(|_| compress.is_some()) else {
        return Ok(None);
    };
    let answer = HeaderValue::from_str(&agreed.answer).map_err(|_| malformed())?;
    Ok(Some((agreed, answer)))
}

/// A socket, what came early behind the handshake, and what its connection has of the limits.
type Raw<S> = (S, Vec<u8>, Option<Lease>);

/// The socket below HTTP.
async fn raw(upgrade: OnUpgrade) -> Option<Raw<Socket>> {
    let upgraded = tokio::time::timeout(UPGRADE_TIME, upgrade)
        .await
        .ok()?
        .ok()?;
    let upgraded = match downcast::<TcpStream>(upgraded) {
        Ok((tcp, early, lease)) => return Some((Socket::Tcp(tcp), early, lease)),
        Err(upgraded) => upgraded,
    };
    let upgraded = match downcast::<Box<Tls>>(upgraded) {
        Ok((tls, early, lease)) => return Some((Socket::Tls(tls), early, lease)),
        Err(upgraded) => upgraded,
    };
    let (unix, early, lease) = downcast::<UnixStream>(upgraded).ok()?;
    Some((Socket::Unix(unix), early, lease))
}

fn downcast<S>(upgraded: Upgraded) -> Result<Raw<S>, Upgraded>
where
    TokioIo<Rewound<S>>: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
{
    let parts = upgraded.downcast::<TokioIo<Rewound<S>>>()?;
    let (stream, rest, share) = parts.io.into_inner().into_parts();
    // A copy: the buffer itself pins the 8 KiB that it was read into.
    let lease = share.map(Share::into_lease);
    Ok((stream, [&parts.read_buf, &*rest].concat(), lease))
}
