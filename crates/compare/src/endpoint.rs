//! Endpoints: requests that one piece of code answers. Segments of a path that look
//! like ids become placeholders; others are learned to be variable when a place has
//! more different ones than an API has routes.

mod openapi;
mod tree;

#[cfg(test)]
mod tests;

pub use openapi::openapi;
pub(crate) use tree::{Count, Tree};

use crate::difference::shape;

/// Longest literal segment kept.
const MAX_SEGMENT: usize = 80;
/// Most segments; the rest of a longer path is one placeholder.
const MAX_SEGMENTS: usize = 24;

/// Segments of a path, with those that look variable replaced: `{id}` (digits),
/// `{uuid}`, `{date}`, `{hash}` (hexadecimal or random text).
pub(crate) fn segments(path: &str) -> Vec<String> {
    let mut out = Vec::new();
    for segment in path.strip_prefix('/').unwrap_or(path).split('/') {
        if out.len() == MAX_SEGMENTS {
            out.push("{rest}".to_owned());
            break;
        }
        out.push(match placeholder(segment) {
            Some(name) => name.to_owned(),
            None => segment.to_owned(),
        });
    }
    out
}

/// The template of a path as far as its text alone tells, such as
/// `/users/{id}/orders`.
pub fn lexical_template(path: &str) -> String {
    format!("/{}", segments(path).join("/"))
}

/// Whether a name looks like an id, not like a word.
pub(crate) fn is_variable(text: &str) -> bool {
    placeholder(text).is_some()
}

fn placeholder(segment: &str) -> Option<&'static str> {
    let bytes = segment.as_bytes();
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    let hex = |byte: &u8| byte.is_ascii_hexdigit();
    if bytes.is_empty() {
        None
    } else if digits == bytes.len() {
        Some("{id}")
    } else if shape::is_uuid(bytes) {
        Some("{uuid}")
    } else if shape::is_time(bytes) {
        Some("{date}")
    } else if (bytes.len() >= 8 && digits > 0 && bytes.iter().all(hex))
        || (bytes.len() >= 16 && digits >= 3 && is_random(bytes))
        || bytes.len() > MAX_SEGMENT
    {
        Some("{hash}")
    } else {
        None
    }
}

/// Letters and digits without separators, the digits scattered: not a word with a
/// number behind.
fn is_random(text: &[u8]) -> bool {
    let plain = text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
    let changes =
        text.windows(2).filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit()).count();
    plain && changes >= 4
}
