//! What differs between two answers, field by field. Knows nothing of how often, or
//! whether that matters.

mod body;
mod headers;
pub(crate) mod shape;

#[cfg(test)]
mod tests;

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::{Deserialize, Serialize};
use umbra_record::fields;

use crate::{Answer, Rules, content::coding, redaction::Redaction};

pub(crate) use headers::NOT_COMPARED;

/// Most differences told of one pair of answers; the last one then says that there
/// are more.
pub const MAX_DIFFERENCES: usize = 1000;

/// Longest name of a field.
const MAX_FIELD: usize = 200;
/// Longest value kept of one side.
const MAX_VALUE: usize = 200;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where: `status`, `failure`, `header:NAME`, `set-cookie:NAME`, `trailer:NAME`,
    /// `body`, `body.a.b[].c`.
    pub field: String,
    /// In which way.
    pub kind: Kind,
    /// Both sides, shortened, for people.
    pub note: String,
    /// The exact place, with positions in arrays, where the field does not say it:
    /// `body.items[3].price`.
    pub place: Option<String>,
    /// The first answer's value there, shortened; `None`: absent, or not one value.
    pub expected: Option<String>,
    /// The second's.
    pub actual: Option<String>,
}

impl Difference {
    /// With a note only.
    pub fn new(field: impl Into<String>, kind: Kind, note: impl Into<String>) -> Self {
        let (field, note) = (field.into(), note.into());
        Self { field, kind, note, place: None, expected: None, actual: None }
    }
}

/// What is said about a difference beside field and kind.
#[derive(Default)]
pub(crate) struct Detail {
    note: String,
    place: Option<String>,
    expected: Option<String>,
    actual: Option<String>,
}

impl From<String> for Detail {
    fn from(note: String) -> Self {
        Self { note, ..Self::default() }
    }
}

impl Detail {
    /// Two values, of which one may be absent; `note` comes behind the place.
    pub(crate) fn new(
        place: &str,
        note: &str,
        expected: Option<&[u8]>,
        actual: Option<&[u8]>,
    ) -> Self {
        let side = |side: Option<&[u8]>| {
            side.map(|text| {
                shorten(&String::from_utf8_lossy(start(text, 4 * MAX_VALUE)), MAX_VALUE)
            })
        };
        let exact = place.strip_suffix(": ").filter(|place| !place.is_empty());
        Self {
            note: format!("{place}{note}"),
            place: exact.map(str::to_owned),
            expected: side(expected),
            actual: side(actual),
        }
    }
}

/// At most so many bytes.
fn start(text: &[u8], limit: usize) -> &[u8] {
    &text[..text.len().min(limit)]
}

/// Why what was redacted is passed over.
const REDACTED: &str = "redacted when it was recorded";

/// In which way a field differs. The same field can differ in several ways, each
/// with its own count: noise in its values does not hide that it is sometimes gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Only in the first answer.
    Missing,
    /// Only in the second.
    Added,
    /// Another JSON type, or a body of another kind.
    Type,
    /// Another kind of value: empty against not, a UUID against other text.
    Shape,
    /// Another value.
    Value,
    /// The same elements in another order.
    Order,
    /// Another number of elements.
    Count,
    /// Takes longer (made by the verdict, not by [`differences`]).
    Slower,
    /// Too long to be shown, or too many to be listed.
    More,
    /// Noted only: the same number written in another way.
    Notation,
    /// Noted only: the same content in another content coding.
    Coding,
    /// Noted only: each answer quotes the name it was asked under.
    Authority,
}

impl Kind {
    /// Whether answers that differ in this way only are still equal.
    pub fn is_note(self) -> bool {
        matches!(self, Self::Notation | Self::Coding | Self::Authority)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Added => "added",
            Self::Type => "type",
            Self::Shape => "shape",
            Self::Value => "value",
            Self::Order => "order",
            Self::Count => "count",
            Self::Slower => "slower",
            Self::More => "more",
            Self::Notation => "notation",
            Self::Coding => "coding",
            Self::Authority => "authority",
        })
    }
}

/// What differs in `actual` from `expected`, less what the rules ignore or tolerate.
/// Each (field, kind) is told once, however often it occurs (elements of an array
/// share one field).
pub fn differences(expected: &Answer, actual: &Answer, rules: &Rules) -> Vec<Difference> {
    let mut found = Found::new(expected, actual, rules);
    look(&mut found);
    found.list
}

/// The same for people who ask why: also what a rule passed over, with the rule.
pub fn explain(
    expected: &Answer,
    actual: &Answer,
    rules: &Rules,
) -> (Vec<Difference>, Vec<(Difference, String)>) {
    let mut found = Found::new(expected, actual, rules);
    found.passed = Some(Vec::new());
    look(&mut found);
    (found.list, found.passed.unwrap_or_default())
}

fn look(found: &mut Found<'_>) {
    let (expected, actual) = (found.expected, found.actual);
    let status = |answer: &Answer| match answer.status {
        0 => "none".to_owned(),
        status => status.to_string(),
    };
    if expected.status != actual.status {
        found.add("status", Kind::Value, || arrow(&status(expected), &status(actual)));
    }
    match (&expected.failure, &actual.failure) {
        (None, Some(failure)) => found.add("failure", Kind::Added, || failure.clone()),
        (Some(failure), None) => found.add("failure", Kind::Missing, || failure.clone()),
        (one, other) if one != other => found.add("failure", Kind::Value, || {
            arrow(one.as_deref().unwrap_or_default(), other.as_deref().unwrap_or_default())
        }),
        _ => {}
    }
    // An answer that never came has no fields and no body: said once, above.
    if expected.status != 0 && actual.status != 0 {
        headers::compare(found);
        body::compare(found);
    }
}

/// The content of a body, its codings removed; `None` if they cannot be.
pub(crate) fn content(answer: &Answer) -> Option<Cow<'_, [u8]>> {
    coding::decode(&answer.body.bytes, fields::all(&answer.headers, "content-encoding"))
}

/// The differences found so far, and what is needed to judge the next.
pub(crate) struct Found<'a> {
    pub(crate) expected: &'a Answer,
    pub(crate) actual: &'a Answer,
    pub(crate) rules: &'a Rules,
    /// Of the recording, and of these two answers.
    pub(crate) redaction: Cow<'a, Redaction>,
    list: Vec<Difference>,
    seen: HashSet<(String, Kind)>,
    /// What rules passed over, if somebody wants to know.
    passed: Option<Vec<(Difference, String)>>,
}

impl<'a> Found<'a> {
    fn new(expected: &'a Answer, actual: &'a Answer, rules: &'a Rules) -> Self {
        let redaction = rules.redaction().with(&expected.redacted, &actual.redacted);
        Self {
            expected,
            actual,
            rules,
            redaction,
            list: Vec::new(),
            seen: HashSet::new(),
            passed: None,
        }
    }

    /// Whether somebody wants to know what was passed over.
    pub(crate) fn is_explaining(&self) -> bool {
        self.passed.is_some()
    }

    /// Whether the bound is reached, so that looking further is useless.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= MAX_DIFFERENCES
    }

    /// Adds a difference, unless it is there already or a rule ignores it.
    pub(crate) fn add<D: Into<Detail>>(
        &mut self,
        field: &str,
        kind: Kind,
        detail: impl FnOnce() -> D,
    ) {
        let field = shorten(field, MAX_FIELD);
        if self.is_full() {
            return;
        }
        let redacted = self.redaction.covers(&field);
        // What was recorded, if only as something that is redacted, and is not there now
        // is missing; anything else is not known.
        if redacted && kind != Kind::Missing {
            return self.pass(REDACTED, &field, kind, String::new);
        }
        if let Some(rule) = self.rules.ignores(&field, kind) {
            return match redacted {
                true => self.pass(rule, &field, kind, String::new),
                false => self.pass(rule, &field, kind, detail),
            };
        }
        if !self.seen.insert((field.clone(), kind)) {
            return;
        }
        let detail = if redacted { Detail::default() } else { detail().into() };
        self.list.push(difference(field, kind, detail));
        if self.list.len() + 1 == MAX_DIFFERENCES {
            let note = "more differences than are listed";
            self.list.push(Difference::new("body", Kind::More, note));
        }
    }

    /// Whether a rule tolerates these two values, or they are not compared at all.
    pub(crate) fn tolerates(&mut self, field: &str, expected: &[u8], actual: &[u8]) -> bool {
        if self.redaction.covers(field) {
            self.pass(REDACTED, field, Kind::Value, String::new);
            return true;
        }
        let Some(rule) = self.rules.tolerates(field, expected, actual) else { return false };
        self.pass(rule, field, Kind::Value, || values("", expected, actual));
        true
    }

    fn pass<D: Into<Detail>>(
        &mut self,
        rule: &str,
        field: &str,
        kind: Kind,
        detail: impl FnOnce() -> D,
    ) {
        if let Some(passed) = self.passed.as_mut().filter(|list| list.len() < MAX_DIFFERENCES) {
            let difference = difference(field.to_owned(), kind, detail().into());
            passed.push((difference, rule.to_owned()));
        }
    }

    /// Adds what there is to say about two texts at one field that are not equal.
    pub(crate) fn texts(&mut self, field: &str, expected: &[u8], actual: &[u8], place: &str) {
        if self.tolerates(field, expected, actual) {
            return;
        }
        if self.same_but_for_authority(expected, actual) {
            return self.add(field, Kind::Authority, || values(place, expected, actual));
        }
        self.add(field, Kind::Value, || values(place, expected, actual));
        let (one, other) = (shape::of(expected), shape::of(actual));
        if one != other {
            let note = || arrow(one.name(), other.name());
            self.add(field, Kind::Shape, || {
                Detail::new(place, &note(), Some(expected), Some(actual))
            });
        }
    }

    /// Whether the texts are equal once each name the request was sent under is
    /// replaced by the other's.
    fn same_but_for_authority(&self, expected: &[u8], actual: &[u8]) -> bool {
        let (one, other) = (&self.expected.authority[..], &self.actual.authority[..]);
        if one.is_empty() || other.is_empty() || one == other {
            return false;
        }
        replace(actual, other, one) == expected || {
            // Without the port, as in a link made from the host's name alone.
            let host = |authority| umbra_record::authority::split_port(authority).0;
            replace(actual, host(other), host(one)) == expected
        }
    }
}

/// `text` with every `from` replaced by `to`.
fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        match rest.strip_prefix(from) {
            Some(after) if !from.is_empty() => {
                out.extend_from_slice(to);
                rest = after;
            }
            _ => {
                out.push(rest[0]);
                rest = &rest[1..];
            }
        }
    }
    out
}

fn difference(field: String, kind: Kind, detail: Detail) -> Difference {
    let Detail { note, place, expected, actual } = detail;
    Difference { field, kind, note, place, expected, actual }
}

/// Two texts.
fn values(place: &str, expected: &[u8], actual: &[u8]) -> Detail {
    Detail::new(place, &note("", expected, actual), Some(expected), Some(actual))
}

/// Two byte strings, as far as people want to know.
pub(crate) fn offsets(one: &[u8], other: &[u8]) -> String {
    let first = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    let lengths = arrow(&one.len().to_string(), &other.len().to_string());
    format!("from byte {first} on; {lengths} bytes")
}

fn note(place: &str, expected: &[u8], actual: &[u8]) -> String {
    // What differs may come late in a long text: both are shown from shortly before.
    let same = expected.iter().zip(actual).take_while(|(one, other)| one == other).count();
    let longest = expected.len().max(actual.len());
    let skip = if longest > 60 { same.saturating_sub(15) } else { 0 };
    let show = |text: &[u8]| {
        let ellipsis = if skip > 0 { "\u{2026}" } else { "" };
        let text = start(text.get(skip..).unwrap_or_default(), 300);
        let text = String::from_utf8_lossy(text);
        format!("{ellipsis}{}", shorten(&text, 60))
    };
    format!("{place}{}", arrow(&format!("{:?}", show(expected)), &format!("{:?}", show(actual))))
}

pub(crate) fn arrow(expected: &str, actual: &str) -> String {
    format!("{expected} \u{2192} {actual}")
}

/// At most `limit` characters.
pub(crate) fn shorten(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}\u{2026}", &text[..end]),
    }
}
