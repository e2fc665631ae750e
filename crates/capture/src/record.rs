//! Messages as they were received, owned and ready to be encoded, on whatever
//! thread: the link between the heads of [`crate::h1`] and the records of
//! `umbra-record`.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use umbra_record::{
    encode::{PartParts, Pieces, RequestParts, ResponseParts},
    fields::{self, Fields},
    pb::{self, Completeness, Failure},
};

use crate::{
    Config,
    h1::{BodyKind, Field, FieldKind, Form, RequestHead, ResponseHead, Version},
    lane::{BodyId, Kind, Lane, NotTaken, Tells},
    origin::Origin,
    redactor::{Aside, Fit, Head, Redactor, Told, Whose},
    tee::Body,
};

/// A trailer section, owned.
pub(crate) type Trailers = Vec<(Vec<u8>, Vec<u8>)>;

/// An HTTP/2 trailer section as one.
pub(crate) fn owned_trailers(fields: &HeaderMap) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    fields.iter().map(|(name, value)| (name.as_str().into(), value.as_bytes().to_vec()))
}

/// The fields of an HTTP/2 head, in the order received, but that lines of one name
/// stand together where the first of them stood.
pub(crate) type Http2Fields = Vec<(HeaderName, HeaderValue)>;

/// The head of an HTTP/2 request.
#[derive(Debug)]
pub(crate) struct Http2Request {
    pub(crate) method: http::Method,
    /// `:scheme`.
    pub(crate) scheme: Vec<u8>,
    /// `:authority`, else Host.
    pub(crate) authority: Vec<u8>,
    pub(crate) path: Vec<u8>,
    pub(crate) query: Option<Vec<u8>>,
    pub(crate) fields: Http2Fields,
    /// Whether the stream did not end with the head.
    pub(crate) has_body: bool,
}

/// The head of an HTTP/2 answer.
#[derive(Debug)]
pub(crate) struct Http2Answer {
    pub(crate) status: u16,
    pub(crate) fields: Http2Fields,
    pub(crate) has_body: bool,
}

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
    /// The head, if the request came over HTTP/2; then the two above mean nothing.
    pub(crate) http2: Option<Arc<Http2Request>>,
    /// Whether the message has a body, be it empty.
    pub(crate) framed: bool,
    pub(crate) body: Body,
    pub(crate) length: u64,
    pub(crate) hash: Option<[u8; 16]>,
    pub(crate) trailers: Trailers,
    pub(crate) completeness: Completeness,
    /// Where it went.
    pub(crate) upstream: Arc<str>,
    pub(crate) tunnel: bool,
    /// It is written open, and its body is held until its end.
    pub(crate) holds_body: bool,
    /// What was taken out of the body.
    pub(crate) aside: Aside,
    /// See [`crate::sink`]: as it came, if it is recorded as it was before; else empty.
    pub(crate) received_authority: Vec<u8>,
    /// Who sent it to the mesh that mirrored it, if that is known.
    pub(crate) client: Vec<u8>,
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
    /// The head, if the answer came over HTTP/2; then the two above mean nothing.
    pub(crate) http2: Option<Arc<Http2Answer>>,
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
    /// What was taken out of the body.
    pub(crate) aside: Aside,
}

/// The fields of a head, where they lie.
#[derive(Debug, Clone, Copy)]
pub(crate) enum HeadFields<'a> {
    Http1 { bytes: &'a [u8], fields: &'a [Field] },
    Http2(&'a [(HeaderName, HeaderValue)]),
}

impl Fields for HeadFields<'_> {
    fn count(&self) -> usize {
        match self {
            Self::Http1 { fields, .. } => fields.len(),
            Self::Http2(fields) => fields.len(),
        }
    }

    fn field(&self, index: usize) -> (&[u8], &[u8]) {
        match self {
            Self::Http1 { bytes, fields } => {
                let field = &fields[index];
                (field.name(bytes), field.value(bytes))
            }
            Self::Http2(fields) => {
                let (name, value) = &fields[index];
                (name.as_str().as_bytes(), value.as_bytes())
            }
        }
    }
}

/// What an HTTP/2 field or a trailer costs beside its bytes.
const FIELD_COST: usize = 64;

fn size_of_http2(fields: &Http2Fields) -> usize {
    fields.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_COST).sum()
}

fn size_of_trailers(trailers: &Trailers) -> usize {
    trailers.iter().map(|(name, value)| name.len() + value.len() + FIELD_COST).sum()
}

impl RequestRecord {
    /// Bytes that are held beside the body.
    pub(crate) fn head_size(&self) -> usize {
        let http2 = self.http2.as_ref().map_or(0, |head| {
            let query = head.query.as_ref().map_or(0, Vec::len);
            head.path.len() + query + head.authority.len() + size_of_http2(&head.fields)
        });
        self.bytes.len() + http2 + size_of_trailers(&self.trailers)
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.http2.is_some()
    }

    pub(crate) fn method(&self) -> &[u8] {
        match &self.http2 {
            None => self.head.method(&self.bytes),
            Some(head) => head.method.as_str().as_bytes(),
        }
    }

    pub(crate) fn authority(&self) -> &[u8] {
        match &self.http2 {
            None => self.head.authority(&self.bytes).unwrap_or_default(),
            Some(head) => &head.authority,
        }
    }

    pub(crate) fn path(&self) -> &[u8] {
        match &self.http2 {
            None => self.head.path(&self.bytes),
            Some(head) => &head.path,
        }
    }

    pub(crate) fn query(&self) -> Option<&[u8]> {
        match &self.http2 {
            None => self.head.query(&self.bytes),
            Some(head) => head.query.as_deref(),
        }
    }

    pub(crate) fn fields(&self) -> HeadFields<'_> {
        match &self.http2 {
            None => HeadFields::Http1 { bytes: &self.bytes, fields: self.head.field_places() },
            Some(head) => HeadFields::Http2(&head.fields),
        }
    }

    /// The values of the Via field, which tell of loops.
    pub(crate) fn via(&self) -> impl Iterator<Item = &[u8]> {
        let (http1, http2) = match &self.http2 {
            None => (self.head.field_places(), &[][..]),
            Some(head) => (&[][..], &head.fields[..]),
        };
        let http1 = http1.iter().filter(|field| field.kind() == FieldKind::Via);
        let http2 = http2.iter().filter(|(name, _)| *name == http::header::VIA);
        let http1 = http1.map(|field| field.value(&self.bytes));
        http1.chain(http2.map(|(_, value)| value.as_bytes()))
    }

    /// Bytes of the body, if the head says how many.
    pub(crate) fn announced_size(&self) -> Option<u64> {
        match &self.http2 {
            None => match self.head.body() {
                BodyKind::None => Some(0),
                BodyKind::Length(length) => Some(length),
                _ => None,
            },
            Some(head) if !head.has_body => Some(0),
            Some(head) => {
                let (_, length) =
                    head.fields.iter().find(|(name, _)| *name == http::header::CONTENT_LENGTH)?;
                length.to_str().ok()?.parse().ok()
            }
        }
    }

    /// Whether the head announces a body, be it empty.
    pub(crate) fn announces_body(&self) -> bool {
        match &self.http2 {
            None => self.head.body() != BodyKind::None,
            Some(head) => head.has_body,
        }
    }

    fn form(&self) -> pb::TargetForm {
        if self.is_http2() { pb::TargetForm::Origin } else { form(self.head.form()) }
    }

    fn version(&self) -> pb::Version {
        if self.is_http2() { pb::Version::Http2 } else { version(self.head.version()) }
    }

    /// A copy that can leave the connection, with this body. The head stays: the
    /// request may yet have to be forwarded.
    pub(crate) fn snapshot(&self, body: Body) -> Self {
        Self {
            bytes: self.bytes.clone(),
            head: self.head.clone(),
            http2: self.http2.clone(),
            trailers: self.trailers.clone(),
            upstream: Arc::clone(&self.upstream),
            aside: self.aside.clone(),
            received_authority: self.received_authority.clone(),
            // Selected it has been, and its key is known.
            client: Vec::new(),
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
        let headers = self.fields();
        let trailers = &self.trailers[..];
        let head = Head { query: self.query(), fields: &headers, trailers: &trailers };
        let shown = lane.redactor().head(&self.id, self.start_ns, head, &self.aside);
        let sealed = self.aside.with(&shown.sealed);
        let session = &*origin.session;
        let message = RequestParts {
            id: self.id,
            connection: origin.connection,
            number: self.number,
            start_ns: self.start_ns,
            end_after_ns: self.end_after_ns,
            peer: &session.peer,
            scheme: session.scheme,
            method: self.method(),
            authority: self.authority(),
            path: self.path(),
            query: shown.query(self.query()),
            form: self.form(),
            version: self.version(),
            headers: shown.fields(&headers),
            body: self.framed.then_some(body),
            trailers: shown.trailers(&trailers),
            body_length: self.length,
            body_hash: self.hash,
            completeness: self.completeness,
            parts,
            upstream: &self.upstream,
            labels: &config.labels,
            tls_server_name: &session.tls_server_name,
            alpn: &session.alpn,
            tunnel: self.tunnel,
            rule_set: config.privacy.rules.rule_set(),
            sealed: &sealed,
            received_authority: &self.received_authority,
        };
        lane.request(origin.place(self.start_ns), &message, body_id)?;
        lane.stats().redacted(shown.dropped, self.aside.cut);
        Ok(())
    }

    /// Takes the secrets out of the body, which may become that large when its coding
    /// is removed.
    pub(crate) fn redact_body(&mut self, redactor: &mut Redactor, limit: usize) {
        let mut told = Told {
            body: std::mem::take(&mut self.body),
            length: self.length,
            hash: self.hash,
            completeness: self.completeness,
        };
        let (id, start_ns, fields) = (&self.id, self.start_ns, self.fields());
        let whose = Whose { id, start_ns, fields: &fields, limit, head_sealed: None };
        self.aside = redactor.body(whose, &mut told);
        (self.body, self.length) = (told.body, told.length);
        (self.hash, self.completeness) = (told.hash, told.completeness);
    }

    /// The record is written now, and its body, from which secrets may have to be taken
    /// as from a whole, at its end: then without a coding, and the head says so.
    pub(crate) fn hold_body(&mut self) {
        self.holds_body = true;
        if fields::first(&self.fields(), "content-encoding").is_some() {
            self.aside.fit = Fit::Decoded;
        }
    }

    /// Takes the secrets out of the body that was held, and out of the trailers; `self`
    /// is what was written, without them. Gives the values sealed.
    pub(crate) fn redact_rest(
        &self,
        redactor: &mut Redactor,
        limit: usize,
        part: &mut PartRecord,
    ) -> Aside {
        let Some(end) = &mut part.end else { return Aside::default() };
        let (id, start_ns, headers) = (&self.id, self.start_ns, self.fields());
        let head = Head { query: self.query(), fields: &headers, trailers: fields::NONE };
        // Sealed anew only to know where: the trailers count on.
        let sealed = redactor.head(id, start_ns, head, &Aside::default()).sealed;
        let mut aside = Aside::default();
        if self.holds_body {
            let mut told = Told {
                body: std::mem::take(&mut part.body),
                length: end.length,
                hash: end.hash,
                completeness: end.completeness,
            };
            let whose = Whose { id, start_ns, fields: &headers, limit, head_sealed: Some(&sealed) };
            aside = redactor.body(whose, &mut told);
            (part.body, end.length) = (told.body, told.length);
            (end.hash, end.completeness) = (told.hash, told.completeness);
        }
        let trailers = &end.trailers[..];
        let all = aside.with(&sealed);
        let shown = redactor.trailers(id, start_ns, &trailers, &all);
        let owned = fields::iter(shown.trailers(&trailers))
            .map(|(name, value)| (name.to_vec(), value.to_vec()))
            .collect();
        drop(all);
        aside.sealed.extend(shown.sealed);
        aside.dropped += shown.dropped;
        end.trailers = owned;
        aside
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
    /// Bytes that are held beside the body.
    pub(crate) fn head_size(&self) -> usize {
        let http2 = self.http2.as_ref().map_or(0, |head| size_of_http2(&head.fields));
        self.bytes.len() + http2 + size_of_trailers(&self.trailers)
    }

    /// Whether there was an answer at all.
    fn has_head(&self) -> bool {
        self.http2.is_some() || !self.bytes.is_empty()
    }

    fn status(&self) -> u32 {
        u32::from(self.http2.as_ref().map_or_else(|| self.head.status(), |head| head.status))
    }

    fn reason(&self) -> &[u8] {
        if self.http2.is_some() { &[] } else { self.head.reason(&self.bytes) }
    }

    fn version(&self) -> pb::Version {
        if self.http2.is_some() { pb::Version::Http2 } else { version(self.head.version()) }
    }

    pub(crate) fn fields(&self) -> HeadFields<'_> {
        match &self.http2 {
            None => HeadFields::Http1 { bytes: &self.bytes, fields: self.head.field_places() },
            Some(head) => HeadFields::Http2(&head.fields),
        }
    }

    /// A copy that can leave the connection; takes the body with it.
    pub(crate) fn snapshot(&mut self) -> Self {
        Self {
            bytes: self.bytes.clone(),
            head: self.head.clone(),
            http2: self.http2.clone(),
            body: std::mem::take(&mut self.body),
            trailers: std::mem::take(&mut self.trailers),
            failure_detail: std::mem::take(&mut self.failure_detail),
            aside: std::mem::take(&mut self.aside),
            ..*self
        }
    }

    /// Takes the secrets out of the body, which may become that large when its coding
    /// is removed.
    pub(crate) fn redact_body(&mut self, redactor: &mut Redactor, limit: usize) {
        let mut told = Told {
            body: std::mem::take(&mut self.body),
            length: self.length,
            hash: self.hash,
            completeness: self.completeness,
        };
        let (id, start_ns, fields) = (&self.id, self.start_ns, self.fields());
        let whose = Whose { id, start_ns, fields: &fields, limit, head_sealed: None };
        self.aside = redactor.body(whose, &mut told);
        (self.body, self.length) = (told.body, told.length);
        (self.hash, self.completeness) = (told.hash, told.completeness);
    }

    /// Hands the record to the log.
    pub(crate) fn write(
        &self,
        lane: &mut Lane,
        origin: &Origin,
        config: &Config,
    ) -> Result<(), NotTaken> {
        let headers = self.fields();
        let trailers = &self.trailers[..];
        let head = Head { query: None, fields: &headers, trailers: &trailers };
        let shown = lane.redactor().head(&self.id, self.start_ns, head, &self.aside);
        let sealed = self.aside.with(&shown.sealed);
        let mut message = ResponseParts {
            id: self.id,
            request_start_ns: self.start_ns,
            end_after_ns: self.end_after_ns,
            failure: self.failure,
            failure_detail: &self.failure_detail,
            completeness: self.completeness,
            rule_set: config.privacy.rules.rule_set(),
            sealed: &sealed,
            ..ResponseParts::default()
        };
        if self.has_head() {
            message = ResponseParts {
                status: self.status(),
                reason: self.reason(),
                version: self.version(),
                headers: shown.fields(&headers),
                body: self.framed.then_some(&self.body as &dyn Pieces),
                trailers: shown.trailers(&trailers),
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
        lane.stats().redacted(shown.dropped, self.aside.cut);
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
