//! Messages as they were received, owned and ready to be encoded, on whatever
//! thread: the link between the heads of [`crate::h1`] and the records of
//! `umbra-record`.

use umbra_record::{
    encode::{PartParts, Pieces, RequestParts, ResponseParts},
    fields::Fields,
    pb::{self, Completeness, Failure},
};

use crate::{
    Config,
    h1::{Field, Form, RequestHead, ResponseHead, Version},
    lane::{BodyId, Kind, Lane, NotTaken, Tells},
    tap::Origin,
    tee::Body,
};

/// A trailer section, owned.
pub(crate) type Trailers = Vec<(Vec<u8>, Vec<u8>)>;

/// A request as received.
#[derive(Debug, Default)]
pub(crate) struct RequestRecord {
    pub(crate) id: [u8; 16],
    pub(crate) number: u64,
    pub(crate) start_ns: u64,
    pub(crate) end_after_ns: u64,
    /// What `head` was parsed from.
    pub(crate) bytes: Vec<u8>,
    pub(crate) head: RequestHead,
    /// Whether the message has a body, be it empty.
    pub(crate) framed: bool,
    pub(crate) body: Body,
    pub(crate) length: u64,
    pub(crate) hash: Option<[u8; 16]>,
    pub(crate) trailers: Trailers,
    pub(crate) completeness: Completeness,
    pub(crate) tunnel: bool,
}

/// What followed of a request that was written open.
#[derive(Debug)]
pub(crate) struct PartRecord {
    pub(crate) id: [u8; 16],
    pub(crate) start_ns: u64,
    pub(crate) body: Body,
    pub(crate) end: Option<PartEnd>,
}

/// The end of a request that was written open.
#[derive(Debug)]
pub(crate) struct PartEnd {
    pub(crate) completeness: Completeness,
    pub(crate) trailers: Trailers,
    pub(crate) length: u64,
    pub(crate) hash: Option<[u8; 16]>,
    /// Why the body in the log is of no use, if so.
    pub(crate) lost: Option<&'static str>,
}

/// The upstream's answer as received, or what went wrong.
#[derive(Debug, Default)]
pub(crate) struct AnswerRecord {
    /// Of the request.
    pub(crate) id: [u8; 16],
    pub(crate) number: u64,
    pub(crate) start_ns: u64,
    /// What `head` was parsed from; empty: there was no answer.
    pub(crate) bytes: Vec<u8>,
    pub(crate) head: ResponseHead,
    pub(crate) framed: bool,
    pub(crate) body: Body,
    pub(crate) length: u64,
    pub(crate) hash: Option<[u8; 16]>,
    pub(crate) trailers: Trailers,
    pub(crate) completeness: Completeness,
    pub(crate) head_after_ns: u64,
    pub(crate) first_byte_after_ns: u64,
    pub(crate) end_after_ns: u64,
    pub(crate) failure: Failure,
    pub(crate) failure_detail: String,
}

/// The fields of a parsed head, where they lie.
pub(crate) struct HeadFields<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) fields: &'a [Field],
}

impl Fields for HeadFields<'_> {
    fn count(&self) -> usize {
        self.fields.len()
    }

    fn field(&self, index: usize) -> (&[u8], &[u8]) {
        let field = &self.fields[index];
        (field.name(self.bytes), field.value(self.bytes))
    }
}

impl RequestRecord {
    /// A copy that can leave the connection, with this body. The head stays: the
    /// request may yet have to be forwarded.
    pub(crate) fn snapshot(&self, body: Body) -> Self {
        Self {
            bytes: self.bytes.clone(),
            head: self.head.clone(),
            trailers: self.trailers.clone(),
            body,
            ..*self
        }
    }

    /// Hands the record to the log: whole, or its beginning if `parts` follow or
    /// it is open, with the `body` they belong to.
    pub(crate) fn write(
        &self,
        lane: &mut Lane,
        origin: &Origin,
        config: &Config,
        parts: u32,
        body_id: Option<BodyId>,
    ) -> Result<(), NotTaken> {
        let start: Vec<&[u8]>;
        let body: &dyn Pieces = if self.body.len() > config.max_record_body {
            start = self.body.slices(0, config.max_record_body);
            &start
        } else {
            &self.body
        };
        let bytes = &self.bytes[..];
        let headers = HeadFields { bytes, fields: self.head.field_places() };
        let trailers = &self.trailers[..];
        let message = RequestParts {
            id: self.id,
            connection: origin.connection,
            number: self.number,
            start_ns: self.start_ns,
            end_after_ns: self.end_after_ns,
            peer: &origin.peer,
            scheme: origin.scheme,
            method: self.head.method(bytes),
            authority: self.head.authority(bytes).unwrap_or_default(),
            path: self.head.path(bytes),
            query: self.head.query(bytes),
            form: form(self.head.form()),
            version: version(self.head.version()),
            headers: &headers,
            body: self.framed.then_some(body),
            trailers: &trailers,
            body_length: self.length,
            body_hash: self.hash,
            completeness: self.completeness,
            parts,
            upstream: &config.upstream.url,
            labels: &config.labels,
            tunnel: self.tunnel,
            ..RequestParts::default()
        };
        lane.request(origin.place(self.start_ns), &message, body_id)
    }

    /// How many parts follow the record at this limit.
    pub(crate) fn parts(&self, limit: usize) -> u32 {
        parts_of(self.body.len().saturating_sub(limit), limit)
    }
}

/// How many parts `len` bytes make.
pub(crate) fn parts_of(len: usize, limit: usize) -> u32 {
    u32::try_from(len.div_ceil(limit.max(1))).unwrap_or(u32::MAX)
}

/// Hands one part to the log.
pub(crate) fn write_part(
    lane: &mut Lane,
    origin: &Origin,
    start_ns: u64,
    part: &PartParts<'_>,
    body: Option<BodyId>,
) -> Result<(), NotTaken> {
    let tells = body.map_or(Tells::Nothing, Tells::Body);
    lane.append(origin.place(start_ns), Kind::Part, &part.id, tells, |out| part.encode(out))?;
    Ok(())
}

impl AnswerRecord {
    /// A copy that can leave the connection; takes the body with it.
    pub(crate) fn snapshot(&mut self) -> Self {
        Self {
            bytes: self.bytes.clone(),
            head: self.head.clone(),
            body: std::mem::take(&mut self.body),
            trailers: std::mem::take(&mut self.trailers),
            failure_detail: std::mem::take(&mut self.failure_detail),
            ..*self
        }
    }

    /// Hands the record to the log.
    pub(crate) fn write(&self, lane: &mut Lane, origin: &Origin) -> Result<(), NotTaken> {
        let bytes = &self.bytes[..];
        let headers = HeadFields { bytes, fields: self.head.field_places() };
        let trailers = &self.trailers[..];
        let mut message = ResponseParts {
            id: self.id,
            request_start_ns: self.start_ns,
            end_after_ns: self.end_after_ns,
            failure: self.failure,
            failure_detail: &self.failure_detail,
            completeness: self.completeness,
            ..ResponseParts::default()
        };
        if !bytes.is_empty() {
            message = ResponseParts {
                status: u32::from(self.head.status()),
                reason: self.head.reason(bytes),
                version: version(self.head.version()),
                headers: &headers,
                body: self.framed.then_some(&self.body as &dyn Pieces),
                trailers: &trailers,
                body_length: self.length,
                body_hash: self.hash,
                head_after_ns: self.head_after_ns,
                first_byte_after_ns: self.first_byte_after_ns,
                ..message
            };
        }
        let encode = |out: &mut Vec<u8>| message.encode(out);
        let place = origin.place(self.start_ns);
        lane.append(place, Kind::Response, &self.id, Tells::Nothing, encode)?;
        Ok(())
    }
}

fn version(version: Version) -> pb::Version {
    match version {
        Version::Http10 => pb::Version::Http10,
        Version::Http11 => pb::Version::Http11,
    }
}

fn form(form: Form) -> pb::TargetForm {
    match form {
        Form::Origin => pb::TargetForm::Origin,
        Form::Absolute => pb::TargetForm::Absolute,
        Form::Authority => pb::TargetForm::Authority,
        Form::Asterisk => pb::TargetForm::Asterisk,
    }
}
