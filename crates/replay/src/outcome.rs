//! What became of one send: the seam between the sender, which makes outcomes,
//! and everyone who counts, compares or writes them. Knows no sockets.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use umbra_record::{pb, redact::Restored};

/// Captured bytes of an answer's body at most; length and hash are of the whole.
pub const MAX_ANSWER_BODY: usize = 64 * 1024;

/// One request on its way to a target.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// As recorded. Its own `body` is not looked at.
    pub request: Arc<pb::Request>,
    /// The whole body, in pieces as they were recorded. Absent: the message had no
    /// body framing at all. No pieces: it announced a body of no bytes.
    pub body: Option<Vec<Bytes>>,
    /// 2: it may have been sent before, which the request then says.
    pub attempt: u32,
}

/// What became of one send.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// In one word.
    pub class: Class,
    /// What went wrong, in words for people; empty if it was answered.
    pub detail: String,
    /// Whether any byte of the request may have reached the target. `false` means
    /// that sending it again cannot send it twice.
    pub written: bool,
    /// Whether all of the request was written (HTTP/2: given to the connection).
    /// `false` beside an answer: the target answered early and closed.
    pub whole: bool,
    /// How long a new connection took; `None`: an existing one was used, or none
    /// could be made.
    pub connect: Option<Duration>,
    /// From the moment a connection was there until the answer's end, or the
    /// failure. Without a connection: how long was tried.
    pub latency: Duration,
    /// The answer, or as much of it as came: beside a failure, its head at least.
    pub answer: Option<Answer>,
    /// What became of the values that were sealed at capture.
    pub restored: Restored,
    /// Recorded as HTTP/2 and sent with HTTP/1.1, for the target speaks no other.
    pub downgraded: bool,
}

/// A target's answer. Times count from the moment a connection was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The final status.
    pub status: u16,
    /// HTTP/1 reason phrase, as received.
    pub reason: Bytes,
    /// As received.
    pub version: pb::Version,
    /// As received: order, repeated names and any bytes; case on HTTP/1.
    pub headers: Vec<pb::Header>,
    /// The body up to [`MAX_ANSWER_BODY`]. Absent: no body framing.
    pub body: Option<Bytes>,
    /// As received.
    pub trailers: Vec<pb::Header>,
    /// Bytes of the whole body, after removal of chunk framing.
    pub body_length: u64,
    /// XXH3-128 (seed 0, big-endian) of the whole body. Absent without a body.
    pub body_hash: Option<[u8; 16]>,
    /// Whether the answer came to its end.
    pub complete: bool,
    /// Until the final head had been read.
    pub head_after: Duration,
    /// Until the body's first byte; `None`: there was none.
    pub first_byte_after: Option<Duration>,
    /// Until the end, or until it was cut off.
    pub end_after: Duration,
}

/// How a send ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// A whole answer came, whatever its status.
    Answered,
    /// No connection could be made: refused, unreachable, or not in time.
    Refused,
    /// The target's name could not be resolved.
    Unresolved,
    /// The TLS handshake failed.
    Tls,
    /// The answer was not there in time.
    Timeout,
    /// The connection ended before the answer did.
    Reset,
    /// What came was not HTTP.
    Garbled,
    /// The answer's head or trailers were above the sender's limit.
    TooLarge,
    /// The request cannot be expressed in the target's protocol. Nothing was sent.
    Unsendable,
}

impl Class {
    /// Every class, for tables.
    pub const ALL: [Self; 9] = [
        Self::Answered,
        Self::Refused,
        Self::Unresolved,
        Self::Tls,
        Self::Timeout,
        Self::Reset,
        Self::Garbled,
        Self::TooLarge,
        Self::Unsendable,
    ];

    /// As a metric label and a key of results.
    pub fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Unresolved => "unresolved",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Garbled => "garbled",
            Self::TooLarge => "too_large",
            Self::Unsendable => "unsendable",
        }
    }

    /// Whether this says that the target is down rather than something about the
    /// request: there is nobody to connect to.
    pub fn is_down(self) -> bool {
        matches!(self, Self::Refused | Self::Unresolved)
    }
}
