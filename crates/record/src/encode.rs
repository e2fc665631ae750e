//! The hot path from a message in memory to the bytes of a record: straight from
//! borrowed slices into a buffer that is used again, without building the
//! generated types and without allocating beyond the growth of that buffer.
//!
//! A record is its envelope and its body, in either order (protobuf fields may come
//! in any). With the envelope first the bytes equal those of `prost` for the same
//! [`pb::Record`]. With the envelope last a message can be encoded before its
//! partition and sequence are known, and encoded again for another partition by
//! truncating the buffer to the message's end and appending another envelope:
//!
//! ```
//! use umbra_record::encode::{Envelope, RequestParts};
//! let mut out = Vec::new();
//! let request = RequestParts { id: [7; 16], method: b"GET", path: b"/", ..Default::default() };
//! request.encode(&mut out);
//! let end = out.len();
//! Envelope { agent: [1; 16], lane: 0, key: b"c1", sequence: 41 }.encode(&mut out);
//! // Rejected there; now for another partition:
//! out.truncate(end);
//! Envelope { agent: [1; 16], lane: 0, key: b"c1", sequence: 7 }.encode(&mut out);
//! let record = umbra_record::decode::decode(out.into()).unwrap();
//! assert_eq!(record.sequence, 7);
//! ```

mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use prost::Message;

use crate::{
    fields::{self, Fields},
    pb,
};
use wire::{Count, Sink};

/// Numbers of the kinds of a record in `umbra.v1.Record`.
const REQUEST: u32 = 8;
const RESPONSE: u32 = 9;
const PART: u32 = 10;
const GAP: u32 = 11;
const MARK: u32 = 12;

/// Bytes that lie in several pieces, such as a body as it was read.
pub trait Pieces {
    /// How many pieces.
    fn count(&self) -> usize;
    /// One of them; `index` is below [`Pieces::count`].
    fn piece(&self, index: usize) -> &[u8];
}

impl<T: AsRef<[u8]>> Pieces for &[T] {
    fn count(&self) -> usize {
        self.len()
    }

    fn piece(&self, index: usize) -> &[u8] {
        self[index].as_ref()
    }
}

impl<T: AsRef<[u8]>> Pieces for Vec<T> {
    fn count(&self) -> usize {
        self.len()
    }

    fn piece(&self, index: usize) -> &[u8] {
        self[index].as_ref()
    }
}

impl<T: AsRef<[u8]>, const N: usize> Pieces for [T; N] {
    fn count(&self) -> usize {
        N
    }

    fn piece(&self, index: usize) -> &[u8] {
        self[index].as_ref()
    }
}

/// No pieces: an empty body.
pub const EMPTY: &'static dyn Pieces = &[] as &[&[u8]; 0];

/// Who recorded it and where it stands; fields 1 to 4 of `umbra.v1.Record`.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The process.
    pub agent: [u8; 16],
    /// The capture thread.
    pub lane: u32,
    /// What the record is kept together by.
    pub key: &'a [u8],
    /// Of this lane in the record's partition, from 1.
    pub sequence: u64,
}

impl Envelope<'_> {
    /// Bytes that `encode` will append.
    pub fn encoded_len(&self) -> usize {
        let mut count = Count(0);
        self.fields(&mut count);
        count.0
    }

    /// Appends the envelope, before or after the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.fields(out);
    }

    fn fields<S: Sink>(&self, out: &mut S) {
        out.bytes(1, &self.agent);
        out.uint(2, u64::from(self.lane));
        out.bytes(3, self.key);
        out.uint(4, self.sequence);
    }
}

/// `umbra.v1.Request`, borrowed. The fields are specified in `record.proto`.
#[allow(missing_docs)] // the schema is the one place that explains them
#[derive(Clone, Copy)]
pub struct RequestParts<'a> {
    pub id: [u8; 16],
    pub connection: u64,
    pub number: u64,
    pub start_ns: u64,
    pub end_after_ns: u64,
    pub peer: &'a str,
    pub scheme: &'a str,
    pub method: &'a [u8],
    pub authority: &'a [u8],
    pub path: &'a [u8],
    pub query: Option<&'a [u8]>,
    pub form: pb::TargetForm,
    pub version: pb::Version,
    pub headers: &'a dyn Fields,
    pub body: Option<&'a dyn Pieces>,
    pub trailers: &'a dyn Fields,
    pub body_length: u64,
    pub body_hash: Option<[u8; 16]>,
    pub completeness: pb::Completeness,
    pub parts: u32,
    pub upstream: &'a str,
    pub labels: &'a BTreeMap<String, String>,
    pub rule_set: &'a [u8],
    pub sealed: &'a [pb::Sealed],
    pub tls_server_name: &'a str,
    pub alpn: &'a str,
    pub tunnel: bool,
    pub received_authority: &'a [u8],
}

impl RequestParts<'_> {
    /// Bytes that `encode` will append.
    pub fn encoded_len(&self) -> usize {
        wire::message_len(REQUEST, self)
    }

    /// Appends the request as the body of a record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        wire::message(REQUEST, self, out);
    }
}

impl Default for RequestParts<'_> {
    fn default() -> Self {
        Self {
            id: [0; 16],
            connection: 0,
            number: 0,
            start_ns: 0,
            end_after_ns: 0,
            peer: "",
            scheme: "",
            method: b"",
            authority: b"",
            path: b"",
            query: None,
            form: pb::TargetForm::Origin,
            version: pb::Version::Unspecified,
            headers: fields::NONE,
            body: None,
            trailers: fields::NONE,
            body_length: 0,
            body_hash: None,
            completeness: pb::Completeness::Complete,
            parts: 0,
            upstream: "",
            labels: &NO_LABELS,
            rule_set: b"",
            sealed: &[],
            tls_server_name: "",
            alpn: "",
            tunnel: false,
            received_authority: b"",
        }
    }
}

impl wire::Fields for RequestParts<'_> {
    fn write<S: Sink>(&self, out: &mut S) {
        out.bytes(1, &self.id);
        out.uint(2, self.connection);
        out.uint(3, self.number);
        out.fixed(4, self.start_ns);
        out.uint(5, self.end_after_ns);
        out.bytes(6, self.peer.as_bytes());
        out.bytes(7, self.scheme.as_bytes());
        out.bytes(8, self.method);
        out.bytes(9, self.authority);
        out.bytes(10, self.path);
        out.optional(11, self.query);
        out.enumeration(12, self.form.into());
        out.enumeration(13, self.version.into());
        out.headers(14, self.headers);
        out.pieces(15, self.body);
        out.headers(16, self.trailers);
        out.uint(17, self.body_length);
        out.bytes(18, self.body_hash.as_ref().map_or(&[], |hash| hash));
        out.enumeration(19, self.completeness.into());
        out.uint(20, u64::from(self.parts));
        out.bytes(21, self.upstream.as_bytes());
        out.labels(22, self.labels);
        out.bytes(23, self.rule_set);
        out.sealed(24, self.sealed);
        out.bytes(25, self.tls_server_name.as_bytes());
        out.bytes(26, self.alpn.as_bytes());
        out.uint(27, u64::from(self.tunnel));
        out.bytes(28, self.received_authority);
    }
}

/// `umbra.v1.Response`, borrowed. The fields are specified in `record.proto`.
#[allow(missing_docs)] // the schema is the one place that explains them
#[derive(Clone, Copy)]
pub struct ResponseParts<'a> {
    pub id: [u8; 16],
    pub request_start_ns: u64,
    pub status: u32,
    pub reason: &'a [u8],
    pub version: pb::Version,
    pub headers: &'a dyn Fields,
    pub body: Option<&'a dyn Pieces>,
    pub trailers: &'a dyn Fields,
    pub body_length: u64,
    pub body_hash: Option<[u8; 16]>,
    pub completeness: pb::Completeness,
    pub head_after_ns: u64,
    pub first_byte_after_ns: u64,
    pub end_after_ns: u64,
    pub failure: pb::Failure,
    pub failure_detail: &'a str,
    pub sealed: &'a [pb::Sealed],
    pub rule_set: &'a [u8],
}

impl ResponseParts<'_> {
    /// Bytes that `encode` will append.
    pub fn encoded_len(&self) -> usize {
        wire::message_len(RESPONSE, self)
    }

    /// Appends the response as the body of a record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        wire::message(RESPONSE, self, out);
    }
}

impl Default for ResponseParts<'_> {
    fn default() -> Self {
        Self {
            id: [0; 16],
            request_start_ns: 0,
            status: 0,
            reason: b"",
            version: pb::Version::Unspecified,
            headers: fields::NONE,
            body: None,
            trailers: fields::NONE,
            body_length: 0,
            body_hash: None,
            completeness: pb::Completeness::Complete,
            head_after_ns: 0,
            first_byte_after_ns: 0,
            end_after_ns: 0,
            failure: pb::Failure::None,
            failure_detail: "",
            sealed: &[],
            rule_set: b"",
        }
    }
}

impl wire::Fields for ResponseParts<'_> {
    fn write<S: Sink>(&self, out: &mut S) {
        out.bytes(1, &self.id);
        out.fixed(2, self.request_start_ns);
        out.uint(3, u64::from(self.status));
        out.bytes(4, self.reason);
        out.enumeration(5, self.version.into());
        out.headers(6, self.headers);
        out.pieces(7, self.body);
        out.headers(8, self.trailers);
        out.uint(9, self.body_length);
        out.bytes(10, self.body_hash.as_ref().map_or(&[], |hash| hash));
        out.enumeration(11, self.completeness.into());
        out.uint(12, self.head_after_ns);
        out.uint(13, self.first_byte_after_ns);
        out.uint(14, self.end_after_ns);
        out.enumeration(15, self.failure.into());
        out.bytes(16, self.failure_detail.as_bytes());
        out.sealed(17, self.sealed);
        out.bytes(18, self.rule_set);
    }
}

/// `umbra.v1.BodyPart`, borrowed. The fields are specified in `record.proto`.
#[allow(missing_docs)] // the schema is the one place that explains them
#[derive(Clone, Copy)]
pub struct PartParts<'a> {
    pub id: [u8; 16],
    pub index: u32,
    pub data: &'a dyn Pieces,
    pub last: bool,
    pub aborted: bool,
    pub completeness: pb::Completeness,
    pub trailers: &'a dyn Fields,
    pub body_length: u64,
    pub body_hash: Option<[u8; 16]>,
    pub sealed: &'a [pb::Sealed],
}

impl PartParts<'_> {
    /// Bytes that `encode` will append.
    pub fn encoded_len(&self) -> usize {
        wire::message_len(PART, self)
    }

    /// Appends the part as the body of a record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        wire::message(PART, self, out);
    }
}

impl Default for PartParts<'_> {
    fn default() -> Self {
        Self {
            id: [0; 16],
            index: 0,
            data: EMPTY,
            last: false,
            aborted: false,
            completeness: pb::Completeness::Complete,
            trailers: fields::NONE,
            body_length: 0,
            body_hash: None,
            sealed: &[],
        }
    }
}

impl wire::Fields for PartParts<'_> {
    fn write<S: Sink>(&self, out: &mut S) {
        out.bytes(1, &self.id);
        out.uint(2, u64::from(self.index));
        if (0..self.data.count()).any(|at| !self.data.piece(at).is_empty()) {
            out.pieces(3, Some(self.data));
        }
        out.uint(4, u64::from(self.last));
        out.uint(5, u64::from(self.aborted));
        out.enumeration(6, self.completeness.into());
        out.headers(7, self.trailers);
        out.uint(8, self.body_length);
        out.bytes(9, self.body_hash.as_ref().map_or(&[], |hash| hash));
        out.sealed(10, self.sealed);
    }
}

/// Appends a gap as the body of a record. Gaps are rare, so the generated type does.
pub fn gap(gap: &pb::Gap, out: &mut Vec<u8>) {
    wire::generated(GAP, gap, out);
}

/// Appends a mark as the body of a record. Marks are rare, so the generated type does.
pub fn mark(mark: &pb::Mark, out: &mut Vec<u8>) {
    wire::generated(MARK, mark, out);
}

/// Appends a whole record in the generated types.
pub fn record(record: &pb::Record, out: &mut Vec<u8>) {
    record.encode(out).expect("a Vec takes any number of bytes");
}

static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();
