//! Why a connection is closed: the code and the reason that the client reads.

use std::borrow::Cow;

/// A close code of `docs/protocol.md` with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// RFC 6455 section 7.4.1, IANA's registry, or 4000–4999 of our own.
    pub code: u16,
    /// For people; the wire cuts it at 123 bytes.
    pub reason: Cow<'static, str>,
}

impl Close {
    /// The child ended well.
    pub const OK: u16 = 1000;
    /// A limit of the room's life was reached.
    pub const GOING_AWAY: u16 = 1001;
    /// A rule was broken, or a message not finished in time.
    pub const POLICY: u16 = 1008;
    /// The child failed, or could not start.
    pub const ERROR: u16 = 1011;
    /// The server drains or ends.
    pub const RESTART: u16 = 1012;
    /// Full or unavailable; worth another try later.
    pub const TRY_LATER: u16 = 1013;
    /// What proved who the client is was missing, wrong, or is over.
    pub const UNAUTHORIZED: u16 = 4401;
    /// Who the client is may not come in.
    pub const FORBIDDEN: u16 = 4403;
    /// Kicked by the child.
    pub const KICKED: u16 = 4000;
    /// The client read too slowly.
    pub const TOO_SLOW: u16 = 4008;

    /// A close with a code and a reason.
    pub fn new(code: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        Close {
            code,
            reason: reason.into(),
        }
    }
}
