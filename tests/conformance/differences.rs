//! Where Python's `websockets` judges a case otherwise, and why ours does not follow.

/// How the connection was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on.
    Open,
    Closed(Option<u16>),
    /// Nothing is said: it waits for more.
    Silent,
    /// Of a handshake.
    Welcome,
    Refused,
}

/// Cases of which theirs judges otherwise, by a chapter's title and the beginning of a name.
pub(crate) struct Difference {
    pub(crate) chapter: &'static str,
    pub(crate) cases: &'static str,
    pub(crate) theirs: Verdict,
    pub(crate) why: &'static str,
}

const FRAMING: &str = "Framing";
const CONTROL: &str = "Control frames";
const PACKED: &str = "Compressed messages";
const ODD: &str = "Handshakes with odd spellings";
const NASTY: &str = "Nasty handshakes";
const OFFERS: &str = "Offers to compress";

pub(crate) const DIFFERENCES: &[Difference] = &[
    differs(FRAMING, "length_0_in_", Verdict::Open, LONGER),
    differs(FRAMING, "length_1_in_", Verdict::Open, LONGER),
    differs(FRAMING, "length_125_in_", Verdict::Open, LONGER),
    differs(FRAMING, "length_126_in_", Verdict::Open, LONGER),
    differs(FRAMING, "length_65535_in_", Verdict::Open, LONGER),
    differs(FRAMING, "length_2_63", Verdict::Closed(Some(1009)), HIGHEST),
    differs(
        FRAMING,
        "length_all_ones",
        Verdict::Closed(Some(1009)),
        HIGHEST,
    ),
    differs(
        "Fragmentation",
        "close_between",
        Verdict::Closed(Some(1002)),
        "5.4 lets control frames come between fragments, and a close is one: it is answered with its own code",
    ),
    differs(CONTROL, "ping_with_long_length", Verdict::Open, LONGER),
    differs(CONTROL, "pong_with_long_length", Verdict::Silent, LONGER),
    differs(
        CONTROL,
        "close_with_long_length",
        Verdict::Closed(Some(1000)),
        LONGER,
    ),
    differs(
        "Text",
        "fails_in",
        Verdict::Silent,
        "8.1 does not say when: theirs judges a message when it is whole, ours as soon as no rest can mend it",
    ),
    differs(
        PACKED,
        "after_a_final_block",
        Verdict::Open,
        "7.2.1 lets a sender put blocks behind a final one: theirs stops there and hands on a shorter message",
    ),
    differs(
        PACKED,
        "wrong_",
        Verdict::Closed(Some(1002)),
        "no code is named: the frames are right, what they hold is not what it says, so ours is 1007",
    ),
    differs(
        ODD,
        "bare_line_feeds",
        Verdict::Refused,
        "RFC 9112 (2.2) lets a server take LF for CRLF",
    ),
    differs(
        ODD,
        "empty_line_first",
        Verdict::Refused,
        "RFC 9112 (2.2) wants at least one empty line before a request ignored",
    ),
    differs(
        ODD,
        "upgrade_",
        Verdict::Refused,
        "RFC 9110 (7.8) makes `Upgrade` a list, of which a server picks",
    ),
    differs(
        ODD,
        "two_upgrade_headers",
        Verdict::Refused,
        "RFC 9110 (5.3) makes one list of two headers",
    ),
    differs(
        ODD,
        "subprotocol_empty",
        Verdict::Refused,
        "an empty list offers nothing, and nothing is echoed",
    ),
    differs(
        NASTY,
        "no_host",
        Verdict::Welcome,
        "4.2.1 wants a `Host`, and RFC 9112 (3.2) a 400 without",
    ),
    differs(
        NASTY,
        "two_hosts",
        Verdict::Welcome,
        "RFC 9112 (3.2) wants a 400 for more than one",
    ),
    differs(
        NASTY,
        "key_with_odd_bits",
        Verdict::Welcome,
        "RFC 4648 (3.5) lets a decoder refuse bits that encode nothing: no encoder writes them",
    ),
    differs(
        NASTY,
        "nul_in_path",
        Verdict::Welcome,
        "no URI has a NUL (RFC 3986)",
    ),
    differs(
        OFFERS,
        "declined_empty",
        Verdict::Refused,
        "an empty list offers nothing, and nothing is agreed to",
    ),
];

const LONGER: &str = "5.2: \"the minimal number of bytes MUST be used\": theirs takes any form, ours is strict, because two readings of one frame help whoever hides something from a middlebox";
const HIGHEST: &str =
    "5.2: the highest bit \"MUST be 0\", so it is no length that is too large, but none";

const fn differs(
    chapter: &'static str,
    cases: &'static str,
    theirs: Verdict,
    why: &'static str,
) -> Difference {
    Difference {
        chapter,
        cases,
        theirs,
        why,
    }
}
