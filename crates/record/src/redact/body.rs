//! Secrets in the body of a message: JSON, forms, multipart. A compressed body is
//! decoded first and stays so.

use std::borrow::Cow;

use super::{
    Action, Compiled, Edit, Redaction, Secrets, head, json,
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

/// The headers of a message whose body was replaced by one of this length.
pub(crate) fn fit<'a>(
    headers: Vec<(&'a [u8], Cow<'a, [u8]>)>,
    length: usize,
) -> Vec<(&'a [u8], Cow<'a, [u8]>)> {
    let is = |name: &[u8], wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
    headers
        .into_iter()
        .filter(|(name, _)| !OF_BYTES.iter().any(|one| is(name, one)))
        .map(|(name, value)| match is(name, "content-length") {
            true => (name, Cow::Owned(length.to_string().into_bytes())),
            false => (name, value),
        })
        .collect()
}

impl super::RedactedHead<'_> {
    /// Makes the headers right for a body that was replaced by one of this length.
    pub fn fit(&mut self, length: usize) {
        self.headers = fit(std::mem::take(&mut self.headers), length);
    }
}

impl Compiled {
    fn is_about(&self, kind: &Kind) -> bool {
        match kind {
            Kind::Json => self.of.json,
            Kind::Form | Kind::Multipart(_) => self.of.form,
        }
    }

    fn edit(&self, kind: &Kind, content: &[u8], secrets: &mut Secrets<'_>) -> Edited {
        let mut field = |name: &[u8], value: &[u8]| match self.form_action(name) {
            Some(action) => secrets.edit(action, || head::place("form", name), value),
            None => Edit::Keep,
        };
        match kind {
            Kind::Form => {
                let text = pairs::edit(content, Syntax::Form, field);
                Edited { text: text.unwrap_or_else(|| content.to_vec()), whole: true }
            }
            Kind::Multipart(boundary) => multipart::edit(content, boundary, &mut field),
            Kind::Json => {
                json::edit(content, &mut Redactor { compiled: self, secrets, action: None })
            }
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

/// Content that is surely neither JSON nor a form.
fn is_opaque(headers: &dyn Fields) -> bool {
    let Some(media) = media_type(headers) else { return false };
    ["image/", "video/", "audio/", "font/", "application/grpc", "text/html", "text/css"]
        .iter()
        .any(|start| media.starts_with(start))
}

fn media_type(headers: &dyn Fields) -> Option<String> {
    let value = fields::first(headers, "content-type")?;
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    Some(String::from_utf8_lossy(value[..end].trim_ascii()).to_ascii_lowercase())
}

/// How to read a body. What does not say what it is, or says no more than "text" or
/// "bytes", is JSON if it begins like it.
pub(super) fn kind(headers: &dyn Fields, content: &[u8]) -> Option<Kind> {
    let media = media_type(headers).unwrap_or_default();
    match media.as_str() {
        "application/x-www-form-urlencoded" => return Some(Kind::Form),
        "multipart/form-data" => {
            let boundary = fields::first(headers, "content-type").and_then(multipart::boundary);
            return Some(Kind::Multipart(boundary.unwrap_or_default()));
        }
        "" | "text/plain" | "application/octet-stream" | "binary/octet-stream" => {}
        media if media.contains("json") => return Some(Kind::Json),
        _ => return None,
    }
    let start = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content).trim_ascii_start();
    matches!(start.first(), Some(b'{' | b'[')).then_some(Kind::Json)
}
