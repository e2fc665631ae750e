//! Requests that show a difference: a few of each, every request with the same chance.

use serde::{Deserialize, Serialize};
use umbra_record::{hash, id};

use super::RequestKey;
use crate::Difference;

/// Longest text of an example, in bytes.
const MAX_TEXT: usize = 300;

/// One request that shows a difference.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Its id; empty if the note is about all requests.
    pub id: String,
    /// Both sides, shortened.
    pub note: String,
    /// Method and path, as recorded.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request: String,
    /// The exact place, where the field does not say it: `body.items[3].price`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The baseline's value there, shortened; `None`: absent, or not one value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// The candidate's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual: Option<String>,
    /// Decides which examples are kept: a hash of the id, so that each request has the
    /// same chance and the order of requests has no part in it.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub(super) rank: u64,
}

fn is_zero(rank: &u64) -> bool {
    *rank == 0
}

impl Example {
    pub(super) fn new(request: &RequestKey<'_>, difference: &Difference) -> Self {
        let side = |side: &Option<String>| side.as_deref().map(clip);
        Self {
            id: id::text(request.id),
            note: clip(&difference.note),
            request: clip(&format!("{} {}", request.method, request.path)),
            place: side(&difference.place),
            expected: side(&difference.expected),
            actual: side(&difference.actual),
            rank: rank(request.id),
        }
    }

    /// About all requests, not one.
    pub(super) fn general(note: String) -> Self {
        Self { note, ..Self::default() }
    }

    /// As it is shown.
    pub(super) fn unranked(&self) -> Self {
        Self { rank: 0, ..self.clone() }
    }

    /// What it takes, about.
    pub(super) fn size(&self) -> usize {
        let side = |side: &Option<String>| side.as_ref().map_or(0, String::len);
        let optional = side(&self.place) + side(&self.expected) + side(&self.actual);
        150 + self.id.len() + self.note.len() + self.request.len() + optional
    }
}

/// The same for the same id, otherwise as good as random, and not 0.
pub(crate) fn rank(id: &[u8]) -> u64 {
    let [half @ .., _, _, _, _, _, _, _, _] = hash::of(id);
    u64::from_be_bytes(half).max(1)
}

/// At most so many bytes of a text.
fn clip(text: &str) -> String {
    if text.len() <= MAX_TEXT {
        return text.to_owned();
    }
    let mut end = MAX_TEXT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}\u{2026}", &text[..end])
}
