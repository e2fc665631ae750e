//! HTTP/1 on the wire: reads and writes message heads, and finds the end of
//! message bodies, as RFC 9112 says. Sans-I/O: functions and small state
//! machines over byte slices; who reads and writes sockets is the caller.
//!
//! An intermediary must not repair what it forwards: what it takes for one
//! message, the next hop might take for two. So everything ambiguous is refused
//! ([`Malformed`]) instead of being interpreted, in requests and in answers, and
//! what is valid is forwarded byte for byte but for the fields that belong to
//! one connection.
//!
//! | section of RFC 9112 | where |
//! |---|---|
//! | 2 message, 5 field syntax | `fields` |
//! | 3 request line, 3.2 target | `request`, `target` |
//! | 4 status line | `response` |
//! | 6 body, 9.3 persistence | `framing` |
//! | 7 transfer codings | `body` |
//! | RFC 9110 7.6 forwarding | `forward` |
//!
//! Where the RFC leaves a choice:
//! - Both framing fields, or one of them twice, even with equal values: refused.
//!   A coding but `chunked`: 501. HTTP/1.x but 1.0 and 1.1: 505.
//! - An absolute-form target may differ from Host and wins. User information,
//!   an empty host, a fragment: refused. Other bytes of path and query pass,
//!   also those RFC 3986 does not know.
//! - A Connection field does not remove what the framing, the target or the
//!   trace of the request depend on, whatever it names.
//! - Fields that steer this connection or frame a message: refused in trailers.
//! - An upgrade to another HTTP (`h2c`) is not passed on.
//! - From the upstream the same is refused as from a client, as 502; also
//!   whitespace before a colon, which might be removed instead.
//! - Max-Forwards and a missing Date are left as they are: to client and upstream
//!   the agent is not there.

mod body;
mod fields;
mod forward;
mod framing;
mod request;
mod response;
mod target;

pub use body::{BodyDecoder, Step};
pub use fields::{Field, FieldKind, Fields};
pub use forward::{ForwardChanges, ResponseChanges, write_request_head, write_response_head};
pub use framing::BodyKind;
pub(crate) use framing::content_length;
pub(crate) use request::{MAX_EMPTY_LINES, MAX_METHOD};
pub use request::{MethodKind, RequestHead, parse_request};
pub use response::{ResponseHead, parse_response};
pub use target::Form;
pub(crate) use target::is_valid_host;

/// How large a head (or a trailer section) may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes from the first of the start line to the empty line. A caller's
    /// buffer must be able to hold this many.
    pub max_head: usize,
    /// Fields.
    pub max_headers: usize,
}

/// What a parser made of the bytes so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// Valid so far. Read more, then parse the longer buffer from its start.
    Incomplete,
    /// A whole head; what follows begins at `len`.
    Complete {
        /// Bytes of the head, with empty lines before it.
        len: usize,
    },
}

/// HTTP version of a message (RFC 9110 2.5). Others are refused: 505.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
}

/// A message that is refused. The connection it came on cannot be used further,
/// because nobody knows where the next message begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason} ({status})")]
pub struct Malformed {
    /// What to tell the client; 502 if it came from the upstream.
    pub status: u16,
    /// What was wrong: snake_case, from a small fixed set, fit for a metric.
    pub reason: &'static str,
}

impl Malformed {
    /// The answer to the client who sent it, with `Connection: close`.
    #[must_use]
    pub fn response(&self) -> &'static [u8] {
        error_response(self.status)
    }

    pub(crate) const fn bad(reason: &'static str) -> Self {
        Self { status: 400, reason }
    }

    pub(crate) const fn with(status: u16, reason: &'static str) -> Self {
        Self { status, reason }
    }

    /// The same fault in an answer of the upstream (RFC 9110 15.6.3).
    pub(crate) const fn garbled(self) -> Self {
        Self { status: 502, reason: self.reason }
    }
}

macro_rules! answer {
    ($status:literal) => {
        concat!("HTTP/1.1 ", $status, "\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .as_bytes()
    };
}

/// A complete answer of the agent's own: empty, `Connection: close`. Statuses it
/// has no text for become 500.
#[must_use]
pub fn error_response(status: u16) -> &'static [u8] {
    match status {
        400 => answer!("400 Bad Request"),
        405 => answer!("405 Method Not Allowed"),
        408 => answer!("408 Request Timeout"),
        413 => answer!("413 Content Too Large"),
        414 => answer!("414 URI Too Long"),
        417 => answer!("417 Expectation Failed"),
        431 => answer!("431 Request Header Fields Too Large"),
        501 => answer!("501 Not Implemented"),
        502 => answer!("502 Bad Gateway"),
        503 => answer!("503 Service Unavailable"),
        504 => answer!("504 Gateway Timeout"),
        505 => answer!("505 HTTP Version Not Supported"),
        _ => answer!("500 Internal Server Error"),
    }
}

/// A place in the buffer a head was parsed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        // A head is cut at `Limits::max_head`, which `window` keeps below 4 GiB.
        Self { start: start as u32, end: end as u32 }
    }

    pub(crate) fn of(self, buf: &[u8]) -> &[u8] {
        &buf[self.start as usize..self.end as usize]
    }

    pub(crate) fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// As much of a buffer as a head may take. Nothing behind it is ever looked at,
/// so that a verdict does not depend on how the bytes arrived.
#[derive(Clone, Copy)]
pub(crate) struct Window<'a> {
    pub(crate) buf: &'a [u8],
    /// Where the head begins.
    pub(crate) start: usize,
    /// More is not allowed: what is not complete now is too large.
    pub(crate) full: bool,
}

impl<'a> Window<'a> {
    pub(crate) fn new(buf: &'a [u8], start: usize, limits: &Limits) -> Self {
        let max = limits.max_head.saturating_add(start).min(u32::MAX as usize);
        Self { buf: &buf[..buf.len().min(max)], start, full: buf.len() >= max }
    }
}

/// How much of an incomplete line or section is looked at again on each call.
/// What is not HTTP at all shows at its beginning; reading all of it again for
/// each small piece that arrives would be quadratic.
pub(crate) const PROBE: usize = 4096;

/// RFC 9110 5.6.2: a character of a method or of a field name.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    CLASSES[byte as usize] & TOKEN != 0
}

/// RFC 3986 2.2, 2.3: `unreserved / sub-delims`, a character of a host.
pub(crate) fn is_host_byte(byte: u8) -> bool {
    CLASSES[byte as usize] & HOST != 0
}

/// A byte of a request target: any but whitespace, controls and `#`. Clients send
/// `|`, `<` and raw UTF-8, and an intermediary passes on what it need not
/// understand. A fragment is never sent (RFC 9110 7.1); hops differ on what to
/// do with one.
pub(crate) fn is_target_byte(byte: u8) -> bool {
    CLASSES[byte as usize] & TARGET != 0
}

const TOKEN: u8 = 1;
const HOST: u8 = 2;
const TARGET: u8 = 4;

/// What each byte may be part of.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let alphanumeric = (byte as u8).is_ascii_alphanumeric();
        if alphanumeric || contains(b"!#$%&'*+-.^_`|~", byte as u8) {
            classes[byte] |= TOKEN;
        }
        if alphanumeric || contains(b"-._~!$&'()*+,;=", byte as u8) {
            classes[byte] |= HOST;
        }
        if byte > b' ' as usize && byte != 0x7f && byte != b'#' as usize {
            classes[byte] |= TARGET;
        }
        byte += 1;
    }
    classes
};

const fn contains(set: &[u8], byte: u8) -> bool {
    let mut at = 0;
    while at < set.len() {
        if set[at] == byte {
            return true;
        }
        at += 1;
    }
    false
}

/// RFC 9110 5.6.3: removes optional whitespace at both ends.
pub(crate) fn trim_ows(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
