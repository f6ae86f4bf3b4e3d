//! What is fuzzed: each target takes any bytes and panics if something does not hold.
//!
//! Beside "no panic", every target holds the server's answer against a second, plainer one: another
//! parser, or the same bytes in other pieces. The fuzzer (`fuzz/run`) brings the inputs;
//! `tests/fuzz.rs` brings those that are kept, so that a target neither rots nor forgets a finding.

mod certificates;
mod codec;
mod deflate;
mod flags;
mod forwarded;
mod gwsocket;
mod handshake;
mod input;
mod json_header;
mod json_splice;
mod json_text;
mod keys;
mod lines;
mod proxy_protocol;
mod recording;
mod room_name;
mod template;
mod token;

/// One target: any bytes may be given to it.
pub(crate) type Target = fn(&[u8]);

/// All of them, by the names of their directories of seeds.
pub(crate) const TARGETS: [(&str, Target); 16] = [
    ("certificates", certificates::run),
    ("codec", codec::run),
    ("deflate", deflate::run),
    ("flags", flags::run),
    ("forwarded", forwarded::run),
    ("gwsocket", gwsocket::run),
    ("handshake", handshake::run),
    ("json_header", json_header::run),
    ("json_splice", json_splice::run),
    ("keys", keys::run),
    ("lines", lines::run),
    ("proxy_protocol", proxy_protocol::run),
    ("recording", recording::run),
    ("room_name", room_name::run),
    ("template", template::run),
    ("token", token::run),
];
