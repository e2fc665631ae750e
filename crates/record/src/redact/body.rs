//! Secrets in the body of a message: JSON, by itself or in events, forms, multipart. A
//! compressed body is decoded first and stays so.

use std::borrow::Cow;

use super::{
    Action, Compiled, Edit, Redaction, Secrets, events, head, json,
    json::{Edited, Edits, Step},
    multipart,
    pairs::{self, Syntax},
    place::{self, Place},
};
use crate::{
    coding,
    fields::{self, Fields},
};

/// A body after its secrets were taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedactedBody {
    /// What is left, without content codings.
    pub bytes: Vec<u8>,
    /// False: the rest could not be looked at, and is not there.
    pub whole: bool,
}

/// How a body is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    Form,
    /// JSON in the data of server-sent events.
    Events,
    /// With its boundary; empty: there is none, so that nobody can read it.
    Multipart(Vec<u8>),
}

/// Fields that speak of the very bytes of the body, wrong once those have changed.
const OF_BYTES: &[&str] =
    &["content-encoding", "content-md5", "content-digest", "repr-digest", "digest", "etag"];

impl Redaction {
    /// Whether a body with these headers has to be looked at, which takes time in
    /// proportion to its size.
    pub fn concerns_body(&self, headers: &dyn Fields) -> bool {
        self.compiled
            .as_ref()
            .is_some_and(|compiled| (compiled.of.json || compiled.of.form) && !is_opaque(headers))
    }

    /// A body without its secrets; `None` if no rule is about such a body, or nothing
    /// was found in it. `limit` bounds what a compressed body becomes.
    pub fn body(
        &self,
        headers: &dyn Fields,
        body: &[u8],
        limit: usize,
        secrets: &mut Secrets<'_>,
    ) -> Option<RedactedBody> {
        let compiled = self.compiled.as_deref()?;
        if body.is_empty() || !self.concerns_body(headers) {
            return None;
        }
        let Some(decoded) = coding::decode(body, fields::all(headers, "content-encoding"), limit)
        else {
            // A coding nobody here knows: it cannot be looked at.
            return Some(RedactedBody { bytes: Vec::new(), whole: false });
        };
        let content = &decoded.content[..];
        let kind = kind(headers, content)?;
        if !compiled.is_about(&kind) {
            return None;
        }
        let Edited { text, whole } = compiled.edit(&kind, content, secrets);
        let whole = whole && decoded.whole;
        (!whole || text != content).then_some(RedactedBody { bytes: text, whole })
    }
}

impl super::RedactedHead<'_> {
    /// Makes the headers right for a body that was replaced by one of this length;
    /// `None`: how long it will be is not known, and Content-Length stays what was
    /// announced.
    pub fn fit(&mut self, length: Option<usize>) {
        let is = |name: &[u8], wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        self.headers.retain(|(name, _)| !OF_BYTES.iter().any(|one| is(name, one)));
        let Some(length) = length else { return };
        for (name, value) in &mut self.headers {
            if is(name, "content-length") {
                *value = Cow::Owned(length.to_string().into_bytes());
            }
        }
    }
}

impl Compiled {
    fn is_about(&self, kind: &Kind) -> bool {
        match kind {
            Kind::Json | Kind::Events => self.of.json,
            Kind::Form => self.of.form,
            Kind::Multipart(_) => self.of.form || self.of.json,
        }
    }

    fn edit(&self, kind: &Kind, content: &[u8], secrets: &mut Secrets<'_>) -> Edited {
        match kind {
            // Somebody's own text, whatever it says it is.
            Kind::Form if !content.contains(&b'=') => Edited { text: Vec::new(), whole: false },
            Kind::Form => {
                let text = pairs::edit(content, Syntax::Form, |name, value| {
                    self.form_field(name, value, secrets)
                });
                Edited { text: text.unwrap_or_else(|| content.to_vec()), whole: true }
            }
            Kind::Multipart(boundary) => multipart::edit(content, boundary, |head, value| {
                if let Some(name) = head.name() {
                    let edited = self.form_field(&name, value, secrets);
                    if edited != Edit::Keep {
                        return Some(edited);
                    }
                } else if self.of.form {
                    // It may be any field.
                    return None;
                }
                if self.of.json && part_is_json(head, value) {
                    let Edited { text, whole } = self.json(value, secrets);
                    return whole.then_some(Edit::With(text));
                }
                Some(Edit::Keep)
            }),
            Kind::Json => self.json(content, secrets),
            Kind::Events => events::edit(content, |data| {
                begins_like_json(data).then(|| self.json(data, secrets))
            }),
        }
    }

    fn json(&self, content: &[u8], secrets: &mut Secrets<'_>) -> Edited {
        json::edit(content, &mut Redactor { compiled: self, secrets, action: None })
    }

    fn form_field(&self, name: &[u8], value: &[u8], secrets: &mut Secrets<'_>) -> Edit {
        match self.form_action(name) {
            Some(action) => secrets.edit(action, || head::place("form", name), value),
            None => Edit::Keep,
        }
    }

    fn form_action(&self, name: &[u8]) -> Option<Action> {
        self.action(|place| match place {
            Place::Form(wanted) => name.eq_ignore_ascii_case(wanted.as_bytes()),
            Place::Tokens => place::is_token_name(name),
            _ => false,
        })
    }

    fn json_action(&self, path: &[Step]) -> Option<Action> {
        self.action(|place| match (place, path.last()) {
            (Place::Json(wanted), _) => wanted.matches(path),
            (Place::Tokens, Some(Step::Name(name))) => place::is_token_name(name),
            _ => false,
        })
    }
}

/// Applies rules to the values of a document.
struct Redactor<'a, 'b> {
    compiled: &'a Compiled,
    secrets: &'a mut Secrets<'b>,
    action: Option<Action>,
}

impl Edits for Redactor<'_, '_> {
    fn is_meant(&mut self, path: &[Step]) -> bool {
        self.action = self.compiled.json_action(path);
        self.action.is_some()
    }

    fn edit(&mut self, path: &[Step], value: &[u8]) -> Edit {
        let Some(action) = self.action else { return Edit::Keep };
        match self.secrets.edit(action, || pointer(path), value) {
            // It stands where a value stood.
            Edit::With(text) => Edit::With([b"\"", &text[..], b"\""].concat()),
            other => other,
        }
    }
}

/// Where a value is in a document, as a JSON pointer (RFC 6901).
pub(super) fn pointer(path: &[Step]) -> String {
    let mut pointer = "json:".to_owned();
    for step in path {
        pointer.push('/');
        match step {
            Step::Name(name) => {
                let name = String::from_utf8_lossy(name);
                pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
            }
            Step::Index(index) => pointer.push_str(&index.to_string()),
        }
    }
    pointer
}

/// Whether a part of a multipart body is JSON.
pub(super) fn part_is_json(head: multipart::PartHead<'_>, value: &[u8]) -> bool {
    head.content_type().is_some_and(|one| is_json(&media_type(&one))) || begins_like_json(value)
}

/// Content that is surely neither JSON nor a form. What says two things may be either.
fn is_opaque(headers: &dyn Fields) -> bool {
    let opaque = |media: &str| {
        ["image/", "video/", "audio/", "font/", "application/grpc", "text/html", "text/css"]
            .iter()
            .any(|start| media.starts_with(start))
    };
    let mut lines = fields::all(headers, "content-type").peekable();
    lines.peek().is_some() && lines.all(|line| opaque(&media_type(line)))
}

fn media_type(content_type: &[u8]) -> String {
    let end = memchr::memchr(b';', content_type).unwrap_or(content_type.len());
    String::from_utf8_lossy(content_type[..end].trim_ascii()).to_ascii_lowercase()
}

fn is_json(media: &str) -> bool {
    media.contains("json")
}

/// How to read a body. What begins like JSON is JSON, unless it surely is something
/// else: many a server reads it so whatever is announced. So is a form what looks like
/// one.
pub(super) fn kind(headers: &dyn Fields, content: &[u8]) -> Option<Kind> {
    let lines: Vec<&[u8]> = fields::all(headers, "content-type").collect();
    let media: Vec<String> = lines.iter().map(|line| media_type(line)).collect();
    if media.iter().any(|media| is_json(media)) {
        return Some(Kind::Json);
    }
    if let Some(at) = media.iter().position(|media| media.starts_with("multipart/")) {
        return Some(Kind::Multipart(multipart::boundary(lines[at]).unwrap_or_default()));
    }
    if begins_like_json(content) {
        return Some(Kind::Json);
    }
    if media.iter().any(|media| media == "text/event-stream") {
        return Some(Kind::Events);
    }
    let is_form = |media: &String| media == "application/x-www-form-urlencoded";
    (media.iter().any(is_form) || looks_like_form(content)).then_some(Kind::Form)
}

/// Pairs as a browser writes them: nothing in them but visible ASCII.
fn looks_like_form(content: &[u8]) -> bool {
    content.contains(&b'=') && content.iter().all(u8::is_ascii_graphic)
}

/// Also in UTF-16, of which nothing passes.
pub(super) fn begins_like_json(content: &[u8]) -> bool {
    let wide = [&b"\xff\xfe"[..], b"\xfe\xff", b"{\0", b"[\0", b"\0{", b"\0["];
    let start = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content).trim_ascii_start();
    matches!(start.first(), Some(b'{' | b'[')) || wide.iter().any(|wide| content.starts_with(wide))
}
