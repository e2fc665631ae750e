//! From a recorded request to the one a shadow gets. Pure: no sockets, no time.
//! What is not named here stays as it was recorded, byte for byte, in its order.

use std::borrow::Cow;

use bytes::Bytes;
use umbra_record::{authority::ShadowHost, marker, pb, token::is_token};

use super::{
    SenderError,
    value::{elements, parse_length},
};
use crate::{config::Target, outcome::Outgoing};

/// Fields between two neighbours only (RFC 9110 section 7.6.1), never sent on.
const HOP_BY_HOP: [&[u8]; 8] = [
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-authentication-info",
    b"upgrade",
    // The body follows at once: nobody waits for a 100.
    b"expect",
];

/// Fields that a Connection field cannot take out of a request, and that the user
/// cannot set or remove: the sender answers for them.
const FRAMING: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"te"];

/// What is changed on the way to one target.
pub(super) struct Rules {
    via: marker::ShadowVia,
    shadow_host: ShadowHost,
    /// The target's own, as in its URL.
    authority: String,
    /// Path of the target's URL without its last slash.
    prefix: Bytes,
    /// Each name once, with all its values.
    set: Vec<(Bytes, Vec<Bytes>)>,
    remove: Vec<Bytes>,
}

/// A request as a target gets it, in no particular HTTP version. What was recorded is
/// borrowed: it is written once, and nobody keeps it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shadow<'a> {
    pub(super) method: &'a [u8],
    /// Path and query, raw.
    pub(super) target: Cow<'a, [u8]>,
    /// All field lines, Host and framing included.
    pub(super) fields: Vec<Field<'a>>,
    pub(super) framing: Framing,
    pub(super) body: &'a [Bytes],
    /// Only with [`Framing::Chunked`].
    pub(super) trailers: Vec<Field<'a>>,
}

/// A field line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: Cow<'a, [u8]>,
}

impl<'a> Field<'a> {
    fn new(name: &'a str, value: impl Into<Cow<'a, [u8]>>) -> Self {
        Self { name: name.as_bytes(), value: value.into() }
    }

    fn recorded(header: &'a pb::Header) -> Self {
        Self { name: &header.name, value: Cow::Borrowed(&header.value) }
    }

    fn is(&self, name: &[u8]) -> bool {
        is_same(self.name, name)
    }
}

/// How the end of the body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is no body.
    None,
    /// Content-Length.
    Length,
    /// Transfer-Encoding, or nothing on HTTP/2.
    Chunked,
}

/// Why a record cannot be sent.
pub(super) type Unsendable = &'static str;

impl Rules {
    pub(super) fn new(target: &Target, job: &str) -> Result<Self, SenderError> {
        let bad = |why: &str| SenderError::Url(target.url.to_string(), why.to_owned());
        if target.url.query().is_some() {
            return Err(bad("a query cannot be a prefix of paths"));
        }
        let authority = target.url.authority().ok_or_else(|| bad("it names no host"))?.as_str();
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let owned = |name: &http::HeaderName| {
            let name = name.as_str().as_bytes();
            FRAMING.contains(&name) || HOP_BY_HOP.contains(&name)
        };
        let mut set: Vec<(Bytes, Vec<Bytes>)> = Vec::new();
        for (name, value) in &target.set_headers {
            if owned(name) {
                return Err(SenderError::Field(name.to_string()));
            }
            let value = Bytes::copy_from_slice(value.as_bytes());
            match set.iter_mut().find(|(known, _)| known == name.as_str().as_bytes()) {
                Some((_, values)) => values.push(value),
                None => set.push((Bytes::copy_from_slice(name.as_ref()), vec![value])),
            }
        }
        let mut remove = Vec::new();
        for name in &target.remove_headers {
            if owned(name) || name == http::header::HOST {
                return Err(SenderError::Field(name.to_string()));
            }
            remove.push(Bytes::copy_from_slice(name.as_ref()));
        }
        Ok(Self {
            via: marker::ShadowVia::new(job),
            shadow_host: target.shadow_host.clone(),
            authority: authority.to_owned(),
            prefix: Bytes::copy_from_slice(target.url.path().trim_end_matches('/').as_bytes()),
            set,
            remove,
        })
    }

    /// The request to send, or why it cannot be sent.
    pub(super) fn apply<'a>(&'a self, outgoing: &'a Outgoing) -> Result<Shadow<'a>, Unsendable> {
        let request = &outgoing.request;
        let form = pb::TargetForm::try_from(request.form).unwrap_or(pb::TargetForm::Origin);
        if form == pb::TargetForm::Authority || request.method.as_ref() == b"CONNECT" {
            return Err("CONNECT opens a tunnel");
        }
        let framing = framing(outgoing);
        let mut fields = self.end_to_end(request);
        frame(&mut fields, framing, outgoing);
        if matches!(request.version(), pb::Version::Http2 | pb::Version::Http3) {
            join_cookies(&mut fields);
        }
        fields.push(Field::new("via", self.via.of(&request.id).into_bytes()));
        if outgoing.attempt >= 2 {
            fields.push(Field::new(marker::ATTEMPT, &b"2"[..]));
        }
        if request.completeness == pb::Completeness::Truncated as i32 {
            let length = request.body_length.to_string();
            fields.push(Field::new(marker::TRUNCATED, length.into_bytes()));
        }
        self.set_and_remove(&mut fields);
        let shadow = Shadow {
            method: &request.method,
            target: self.target(request, form),
            fields,
            framing,
            body: outgoing.body.as_deref().unwrap_or_default(),
            trailers: match framing {
                Framing::Chunked => request.trailers.iter().map(Field::recorded).collect(),
                _ => Vec::new(),
            },
        };
        shadow.check()?;
        Ok(shadow)
    }

    /// Path and query, behind the prefix.
    fn target<'a>(&self, request: &'a pb::Request, form: pb::TargetForm) -> Cow<'a, [u8]> {
        if form == pb::TargetForm::Asterisk {
            return Cow::Borrowed(b"*");
        }
        // An absolute-form target may have no path (RFC 9112 section 3.2.1).
        let slash: &[u8] = if request.path.starts_with(b"/") { b"" } else { b"/" };
        let (mark, query): (&[u8], &[u8]) = match &request.query {
            None if self.prefix.is_empty() && slash.is_empty() => {
                return Cow::Borrowed(&request.path);
            }
            None => (b"", b""),
            Some(query) => (b"?", query),
        };
        Cow::Owned([&self.prefix, slash, &request.path, mark, query].concat())
    }

    /// The recorded fields without those of the hop, Host rewritten where it stood.
    fn end_to_end<'a>(&'a self, request: &'a pb::Request) -> Vec<Field<'a>> {
        let named: Vec<&[u8]> = request
            .headers
            .iter()
            .filter(|h| is_same(&h.name, b"connection"))
            .flat_map(|h| elements(&h.value))
            .collect();
        let named = |name: &[u8]| named.iter().any(|other| other.eq_ignore_ascii_case(name));
        let mut host = Some(self.host(request));
        // Host, Via and the attempt are added; TE may need a Connection.
        let mut fields = Vec::with_capacity(request.headers.len() + 4);
        for header in &request.headers {
            let name = &header.name[..];
            if is_same(name, b"host") {
                if let Some(value) = host.take() {
                    fields.push(Field { name, value });
                }
            } else if is_same(name, b"te") {
                if elements(&header.value).any(|t| t.eq_ignore_ascii_case(b"trailers")) {
                    fields.push(Field { name, value: Cow::Borrowed(b"trailers") });
                    // Demanded beside it (RFC 9110 section 10.1.4).
                    fields.push(Field::new("connection", &b"TE"[..]));
                }
            } else if is_one_of(name, &FRAMING) || !(is_one_of(name, &HOP_BY_HOP) || named(name)) {
                fields.push(Field::recorded(header));
            }
        }
        if let Some(value) = host {
            fields.insert(0, Field::new("host", value));
        }
        fields
    }

    fn host<'a>(&'a self, request: &'a pb::Request) -> Cow<'a, [u8]> {
        let host = self.shadow_host.apply(&request.authority, &self.authority);
        if host.is_empty() {
            // HTTP/1.0 without Host: the least surprising name is the target's.
            return Cow::Borrowed(self.authority.as_bytes());
        }
        host
    }

    /// What the user said, after everything else: a field that is set stands where
    /// the first of its name stood.
    fn set_and_remove<'a>(&'a self, fields: &mut Vec<Field<'a>>) {
        for name in &self.remove {
            fields.retain(|f| !f.is(name));
        }
        for (name, values) in &self.set {
            let at = fields.iter().position(|f| f.is(name));
            let name = at.map_or(&name[..], |at| fields[at].name);
            fields.retain(|f| !f.is(name));
            let at = at.unwrap_or(fields.len());
            let lines = values.iter().map(|value| Field { name, value: Cow::Borrowed(value) });
            fields.splice(at..at, lines);
        }
    }
}

impl Shadow<'_> {
    /// Refuses what would be read as something else at the other end: a record is
    /// data from outside, and no byte of it may begin another line or request.
    fn check(&self) -> Result<(), Unsendable> {
        if !is_token(self.method) {
            return Err("the method is not a token");
        }
        if self.target.iter().any(|b| *b <= b' ') {
            return Err("a blank or control character in the target");
        }
        for field in self.fields.iter().chain(&self.trailers) {
            if !is_token(field.name) {
                return Err("a field name is not a token");
            }
            if memchr::memchr3(b'\r', b'\n', 0, &field.value).is_some() {
                return Err("a line end or NUL in a field value");
            }
        }
        Ok(())
    }
}

/// As recorded, where HTTP/1.1 allows: trailers need chunks.
fn framing(outgoing: &Outgoing) -> Framing {
    let Some(body) = &outgoing.body else {
        return Framing::None;
    };
    let headers = &outgoing.request.headers;
    let has = |name: &[u8]| headers.iter().any(|h| is_same(&h.name, name));
    if has(b"transfer-encoding") || !outgoing.request.trailers.is_empty() {
        Framing::Chunked
    } else if has(b"content-length") || body.iter().all(Bytes::is_empty) {
        Framing::Length
    } else {
        Framing::Chunked
    }
}

/// Makes the framing fields say what will be sent. Lines that already do stay as
/// they were; a body that was cut has another length than its record says.
fn frame(fields: &mut Vec<Field<'_>>, framing: Framing, outgoing: &Outgoing) {
    let (keep, drop): (&[u8], &[u8]) = match framing {
        Framing::None => (b"", b"transfer-encoding"),
        Framing::Length => (b"content-length", b"transfer-encoding"),
        Framing::Chunked => (b"transfer-encoding", b"content-length"),
    };
    fields.retain(|f| !f.is(drop));
    match framing {
        // Without a body, `Content-Length: 0` may stand and any other may not.
        Framing::None => {
            fields.retain(|f| !f.is(b"content-length") || parse_length(&f.value) == Some(0));
        }
        Framing::Length => {
            let body = outgoing.body.iter().flatten();
            let length = body.map(|piece| piece.len() as u64).sum();
            let mut found = false;
            fields.retain_mut(|f| {
                if !f.is(keep) {
                    return true;
                }
                if parse_length(&f.value) != Some(length) {
                    f.value = Cow::Owned(length.to_string().into_bytes());
                }
                !std::mem::replace(&mut found, true)
            });
            if !found {
                fields.push(Field::new("content-length", length.to_string().into_bytes()));
            }
        }
        Framing::Chunked => {
            let last = fields.iter().rposition(|f| f.is(keep));
            let ends = last.is_some_and(|at| {
                let coding = elements(&fields[at].value).last();
                coding.is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"))
            });
            if !ends {
                fields.push(Field::new("transfer-encoding", &b"chunked"[..]));
            }
        }
    }
}

/// HTTP/2 may split Cookie into several lines; elsewhere it is one (RFC 9113
/// section 8.2.3).
fn join_cookies(fields: &mut Vec<Field<'_>>) {
    let is_cookie = |f: &Field<'_>| f.is(b"cookie");
    if fields.iter().filter(|f| is_cookie(f)).count() < 2 {
        return;
    }
    let all: Vec<&[u8]> = fields.iter().filter(|f| is_cookie(f)).map(|f| &f.value[..]).collect();
    let mut joined = Some(Cow::Owned(all.join(&b"; "[..])));
    fields.retain_mut(|f| {
        if !is_cookie(f) {
            return true;
        }
        joined.take().map(|value| f.value = value).is_some()
    });
}

fn is_one_of(name: &[u8], names: &[&[u8]]) -> bool {
    names.iter().any(|other| is_same(other, name))
}

/// Whether it is the same field name: most are told apart by their length.
#[inline]
fn is_same(name: &[u8], other: &[u8]) -> bool {
    name.len() == other.len() && name.eq_ignore_ascii_case(other)
}

#[cfg(test)]
mod tests;
