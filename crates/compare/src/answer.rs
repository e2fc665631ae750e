//! One answer to a request, as far as comparing needs it: status or failure, fields,
//! body, times.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use umbra_record::pb;

/// An answer, or what came instead of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status; 0: no answer came.
    pub status: u16,
    /// What went wrong, in one word (`refused`, `timeout`, `reset`, …). May come with
    /// a status: the answer broke off.
    pub failure: Option<String>,
    /// In the order received.
    pub headers: Vec<pb::Header>,
    /// In the order received.
    pub trailers: Vec<pb::Header>,
    /// As received, content codings not removed.
    pub body: Body,
    /// The authority the request was sent with. An answer that quotes it differs from
    /// another only because it was asked under another name, which is noted and not
    /// counted.
    pub authority: Bytes,
    /// When it came, if that was measured.
    pub timing: Option<Timing>,
    /// Places that were taken out when it was recorded (`header:NAME`,
    /// `set-cookie:NAME`, `form:NAME`, `json:PATH`): not compared, on either side. Those of
    /// all answers are given to [`crate::Rules::redacted`].
    pub redacted: Vec<String>,
}

/// As much of a body as was kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Body {
    /// All of it, or its beginning if `length` is more.
    pub bytes: Bytes,
    /// Of the whole.
    pub length: u64,
    /// XXH3-128 of the whole (see `umbra_record::hash`), if it was computed.
    pub hash: Option<[u8; 16]>,
}

/// Nanoseconds after the request's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Until the head.
    pub head_ns: u64,
    /// Until the first byte of the body.
    pub first_byte_ns: u64,
    /// Until the end.
    pub end_ns: u64,
}

impl Answer {
    /// Why this answer cannot serve as a baseline, if it cannot: the client had gone
    /// before the end, so that nobody knows what the whole would have been.
    pub fn unusable(&self) -> Option<&'static str> {
        match self.failure.as_deref() {
            Some("client_gone") => Some("client_gone"),
            None if self.status == 0 => Some("no_answer"),
            _ => None,
        }
    }
}

impl Body {
    /// A body of which all bytes are here.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { length: bytes.len() as u64, bytes, hash: None }
    }

    /// Whether all of its bytes are here.
    pub fn is_whole(&self) -> bool {
        self.bytes.len() as u64 == self.length
    }

    /// The hash of the whole, computed if need be; `None` if it cannot be known.
    pub fn digest(&self) -> Option<[u8; 16]> {
        self.hash.or_else(|| self.is_whole().then(|| umbra_record::hash::of(&self.bytes)))
    }
}

impl From<&pb::Response> for Answer {
    fn from(response: &pb::Response) -> Self {
        let failure = match response.failure() {
            pb::Failure::None => None,
            failure => {
                let name = failure.as_str_name();
                Some(name.strip_prefix("FAILURE_").unwrap_or(name).to_ascii_lowercase())
            }
        };
        let bytes = response.body.clone().unwrap_or_default();
        // With places taken out, the length and hash are of a body nobody has any more.
        let is_redacted = !response.rule_set.is_empty() || !response.sealed.is_empty();
        let is_complete = response.completeness() == pb::Completeness::Complete;
        let body = match is_redacted && is_complete && response.body.is_some() {
            true => Body::whole(bytes),
            false => Body {
                // A record without the length (head only) still says what it has.
                length: response.body_length.max(bytes.len() as u64),
                bytes,
                hash: response.body_hash.as_ref().try_into().ok(),
            },
        };
        Self {
            status: u16::try_from(response.status).unwrap_or(0),
            failure,
            headers: response.headers.clone(),
            trailers: response.trailers.clone(),
            body,
            authority: Bytes::new(),
            timing: Some(Timing {
                head_ns: response.head_after_ns,
                first_byte_ns: response.first_byte_after_ns,
                end_ns: response.end_after_ns,
            }),
            redacted: response.sealed.iter().map(|sealed| sealed.place.clone()).collect(),
        }
    }
}
