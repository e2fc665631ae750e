//! A shadow may quote what it was sent. Values that were put back are taken out of its
//! answer again before anybody sees it: long ones wherever they stand in it, short ones
//! in JSON under the name they were sent with. Compressed bodies are decoded for it.
//! How names and values stand in JSON is `members`' business.

mod members;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, collections::HashSet};

use bytes::Bytes;
use memchr::memmem::Finder;
use umbra_record::{
    coding, fields, hash, pb,
    redact::unescaped,
    seal::{Opener, PLACEHOLDER},
};

use crate::outcome::{Answer, MAX_ANSWER_BODY};
use members::{Members, leaves};

/// What is shorter is found everywhere by chance.
const SHORTEST: usize = 8;
/// Less of a value at the end of a body that was cut tells too little of it.
const BEGINNING: usize = 4;
/// Most of a compressed body that is looked at; what is beyond is not kept.
const MAX_CONTENT: usize = 4 << 20;
/// Looking for so many bytes' worth of values is not for a thread that others wait for.
const LONG_WORK: usize = 1 << 20;

/// The values of one request.
#[derive(Default)]
pub(crate) struct Echo {
    /// Longest first: one that contains another is taken out as a whole.
    anywhere: Vec<Vec<u8>>,
    /// By the names they were sent with.
    members: Members,
}

impl Echo {
    /// Of all values that open.
    pub(crate) fn of(request: &pb::Request, opener: &Opener) -> Self {
        let mut found = Found::default();
        for sealed in &request.sealed {
            if let Ok(value) = opener.open(&request.id, sealed) {
                found.value(&sealed.place, &value);
            }
        }
        let mut anywhere: Vec<Vec<u8>> = found.anywhere.into_iter().collect();
        anywhere.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        Self { anywhere, members: found.members }
    }

    /// Whether taking them out of this answer may take a while.
    pub(crate) fn is_work(&self, answer: &Answer) -> bool {
        let length = answer.body.as_ref().map_or(0, Bytes::len);
        let is_coded = fields::first(&answer.headers, "content-encoding").is_some();
        !self.is_empty() && length > 0 && (is_coded || length * self.anywhere.len() > LONG_WORK)
    }

    fn is_empty(&self) -> bool {
        self.anywhere.is_empty() && self.members.is_empty()
    }

    /// Takes them out of an answer. Where its body had any, it has no coding any more,
    /// and its length and hash are of what is left.
    pub(crate) fn remove_from(&self, answer: &mut Answer) {
        if self.is_empty() {
            return;
        }
        if let Some(reason) = self.without_long(&answer.reason) {
            answer.reason = reason.into();
        }
        for field in answer.headers.iter_mut().chain(&mut answer.trailers) {
            if let Some(value) = self.without_long(&field.value) {
                field.value = value.into();
            }
        }
        self.remove_from_body(answer);
    }

    fn remove_from_body(&self, answer: &mut Answer) {
        let Some(body) = answer.body.clone().filter(|body| !body.is_empty()) else { return };
        let cut = !answer.complete || answer.body_length > body.len() as u64;
        let codings = fields::all(&answer.headers, "content-encoding");
        let decoded = match coding::decode(&body, codings, MAX_CONTENT) {
            // Nobody here can look at it.
            None => Some((Vec::new(), false)),
            Some(decoded) => match decoded.content {
                Cow::Borrowed(_) => None,
                Cow::Owned(content) => {
                    let whole = decoded.whole && !cut;
                    let left = self.without(&content, !whole);
                    // What is beyond the bound was not looked at.
                    let is_full = !decoded.whole && content.len() >= MAX_CONTENT;
                    left.or(is_full.then_some(content)).map(|left| (left, whole))
                }
            },
        };
        if let Some((left, whole)) = decoded {
            answer.headers.retain(|one| !one.name.eq_ignore_ascii_case(b"content-encoding"));
            replace(answer, left, whole);
        } else if let Some(left) = self.without(&body, cut) {
            // Also of one that only says it is compressed.
            replace(answer, left, !cut);
        }
    }

    /// A body without them; `None`: there are none in it. `cut`: it goes on.
    fn without(&self, body: &[u8], cut: bool) -> Option<Vec<u8>> {
        let mut left = self.members.without(body, cut);
        if let Some(without) = self.without_long(left.as_deref().unwrap_or(body)) {
            left = Some(without);
        }
        let end = left.as_deref().unwrap_or(body);
        let begun = if cut { self.begun_at_the_end_of(end) } else { 0 };
        if begun > 0 {
            let end = end.len() - begun;
            left.get_or_insert_with(|| body.to_vec()).truncate(end);
        }
        left
    }

    fn without_long(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut left: Option<Vec<u8>> = None;
        for value in &self.anywhere {
            if let Some(without) = replaced(left.as_deref().unwrap_or(bytes), value) {
                left = Some(without);
            }
        }
        left
    }

    /// How many last bytes begin one of the values.
    fn begun_at_the_end_of(&self, body: &[u8]) -> usize {
        let begun = self.anywhere.iter().filter_map(|value| {
            let most = (value.len() - 1).min(body.len());
            (BEGINNING..=most).rev().find(|length| body.ends_with(&value[..*length]))
        });
        begun.max().unwrap_or(0)
    }
}

/// The body is this now. What is above the bound is not kept.
fn replace(answer: &mut Answer, mut left: Vec<u8>, whole: bool) {
    let length = left.len() as u64;
    answer.body_hash = whole.then(|| hash::of(&left));
    answer.body_length = if whole { length } else { answer.body_length.max(length + 1) };
    left.truncate(MAX_ANSWER_BODY);
    answer.body = Some(left.into());
}

fn replaced(bytes: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let finder = Finder::new(value);
    let mut found = finder.find_iter(bytes).peekable();
    found.peek()?;
    let mut without = Vec::with_capacity(bytes.len());
    let mut from = 0;
    for at in found {
        without.extend_from_slice(&bytes[from..at]);
        without.extend_from_slice(PLACEHOLDER);
        from = at + value.len();
    }
    without.extend_from_slice(&bytes[from..]);
    Some(without)
}

/// What is to be looked for.
#[derive(Default)]
struct Found {
    anywhere: HashSet<Vec<u8>>,
    members: Members,
}

impl Found {
    /// A value, and what of it is a secret of its own.
    fn value(&mut self, place: &str, value: &[u8]) {
        let (kind, name) = place.split_once(':').unwrap_or(("", place));
        match (kind, name) {
            ("json", pointer) => self.json(pointer, value),
            ("query" | "form", _) => {
                self.text(name.as_bytes(), value);
                self.text(name.as_bytes(), &unescaped(value));
            }
            ("header", "cookie") => {
                self.text(name.as_bytes(), value);
                for pair in value.split(|byte| *byte == b';') {
                    if let Some(equals) = memchr::memchr(b'=', pair) {
                        let (name, value) = (&pair[..equals], &pair[equals + 1..]);
                        self.text(name.trim_ascii(), value.trim_ascii());
                    }
                }
            }
            // The token behind its scheme.
            ("header", "authorization" | "proxy-authorization") => {
                self.text(name.as_bytes(), value);
                if let Some(space) = memchr::memchr(b' ', value) {
                    self.text(b"token", value[space + 1..].trim_ascii());
                }
            }
            _ => self.text(name.as_bytes(), value),
        }
    }

    /// The text of a JSON value: what is a secret are the strings and numbers in it.
    fn json(&mut self, pointer: &str, value: &[u8]) {
        let mut path = pointer.rsplit('/').map(|step| step.replace("~1", "/").replace("~0", "~"));
        let last = path.next().unwrap_or_default();
        // An element goes by the name of its array.
        let is_index = |step: &String| step.bytes().all(|byte| byte.is_ascii_digit());
        let named = if is_index(&last) { path.find(|step| !is_index(step)) } else { None };
        leaves(value, named.unwrap_or(last).as_bytes(), |name, inside, is_string| {
            self.text(name, inside);
            let quoted = [b"\"", inside, b"\""].concat();
            if is_string
                && inside.contains(&b'\\')
                && let Ok(plain) = serde_json::from_slice::<String>(&quoted)
            {
                self.text(name, plain.as_bytes());
            }
        });
    }

    fn text(&mut self, name: &[u8], value: &[u8]) {
        self.one(name, value);
        // As they stand in JSON, where some write a slash with its escape.
        if value.contains(&b'/') {
            let slashes = String::from_utf8_lossy(value).replace('/', "\\/");
            self.one(name, slashes.as_bytes());
        }
        if memchr::memchr2(b'"', b'\\', value).is_some()
            && let Ok(text) = serde_json::to_string(&String::from_utf8_lossy(value))
        {
            self.one(name, &text.as_bytes()[1..text.len() - 1]);
        }
    }

    fn one(&mut self, name: &[u8], value: &[u8]) {
        self.members.add(name, value);
        if value.len() >= SHORTEST {
            self.anywhere.insert(value.to_vec());
        }
    }
}
