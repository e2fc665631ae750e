//! Bodies side by side: by structure where they have one, by line for text, by length
//! and hash for everything else, and for what was not kept whole.

use std::borrow::Cow;

use umbra_record::fields;

use super::{Found, Kind, arrow, offsets};
use crate::{
    Answer, Body,
    content::{self, Content},
    node::{self, Node, Path},
};

pub(super) fn compare(found: &mut Found<'_>) {
    let (expected, actual) = (found.expected, found.actual);
    let (one, other) = (&expected.body, &actual.body);
    let whole = one.is_whole() && other.is_whole();
    let same = match whole {
        true => one.bytes == other.bytes,
        false => {
            one.length == other.length && one.digest().is_some_and(|d| Some(d) == other.digest())
        }
    };
    if same {
        codings(found);
        return;
    }
    if !whole {
        if codings(found) {
            // A part cannot be decoded for sure, and the hashes are of other bytes.
            let note = || "cut, and in another coding: not compared".to_owned();
            return found.add("body", Kind::More, note);
        }
        return partly(found, one, other);
    }
    let (one, other) = (super::content(expected), super::content(actual));
    codings(found);
    match (one, other) {
        (Some(one), Some(other)) => contents(found, one, other),
        (None, None) => bytes(found, &expected.body.bytes, &actual.body.bytes),
        (one, _) => found.add("body", Kind::Type, || {
            let side = |readable| if readable { "readable" } else { "cannot be decoded" };
            arrow(side(one.is_some()), side(one.is_none()))
        }),
    }
}

/// Another coding is noted, whatever becomes of the content; whether there is one.
fn codings(found: &mut Found<'_>) -> bool {
    let of = |answer: &Answer, name: &str| {
        let lines = fields::all(&answer.headers, name);
        let joined = lines.map(String::from_utf8_lossy).collect::<Vec<_>>().join(", ");
        let joined = joined.to_ascii_lowercase();
        if matches!(joined.as_str(), "" | "identity") { "none".to_owned() } else { joined }
    };
    let (expected, actual) = (found.expected, found.actual);
    let mut differ = false;
    for name in ["content-encoding", "grpc-encoding"] {
        if fields::first(&expected.headers, name) == fields::first(&actual.headers, name) {
            continue;
        }
        let (one, other) = (of(expected, name), of(actual, name));
        if one != other {
            found.add(&format!("header:{name}"), Kind::Coding, || arrow(&one, &other));
            differ = true;
        }
    }
    differ
}

/// Not all bytes of both are here.
fn partly(found: &mut Found<'_>, one: &Body, other: &Body) {
    let common = one.bytes.len().min(other.bytes.len());
    let first = first_difference(&one.bytes[..common], &other.bytes[..common]);
    let hashes = one.digest().zip(other.digest());
    if first < common
        || one.length != other.length
        || hashes.is_some_and(|(one, other)| one != other)
    {
        let lengths = arrow(&one.length.to_string(), &other.length.to_string());
        let place = match first < common {
            true => format!("from byte {first} on"),
            false => "beyond what was kept".to_owned(),
        };
        let note = || format!("differs {place}, not shown: cut at the limit; {lengths} bytes");
        return found.add("body", Kind::Value, note);
    }
    if hashes.is_none() {
        // The same as far as is known, and nobody knows the rest.
        found.add("body", Kind::More, || "cut, and without a hash: not compared".to_owned());
    }
}

fn first_difference(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

fn contents(found: &mut Found<'_>, one: Cow<'_, [u8]>, other: Cow<'_, [u8]>) {
    let message = found.rules.answer_type();
    let one = content::read(found.expected, one, message);
    let other = content::read(found.actual, other, message);
    match (one, other) {
        (Content::Tree(format, mut one), Content::Tree(same, mut other)) if format == same => {
            redact(found, format, &mut one);
            redact(found, format, &mut other);
            node::compare(found, &mut Path::new("body"), &one, &other);
        }
        (Content::Text(format, one), Content::Text(_, other)) => {
            text(found, format, &one, &other);
        }
        (Content::Bytes(one), Content::Bytes(other)) => bytes(found, &one, &other),
        (one, other) => found.add("body", Kind::Type, || arrow(one.name(), other.name())),
    }
}

/// Takes out what was redacted when the baseline's answer was recorded.
fn redact(found: &Found<'_>, format: &str, node: &mut Node<'_>) {
    let redaction = &found.redaction;
    match node {
        Node::Map(pairs) if matches!(format, "form" | "multipart") => {
            pairs.retain(|(name, _)| !redaction.covers_form(&String::from_utf8_lossy(name)));
        }
        _ => redaction.json().iter().for_each(|steps| node::redact(node, steps)),
    }
}

/// By line: where the first and how many differ. All lines are one field, because
/// lines have no names.
fn text(found: &mut Found<'_>, format: Option<&str>, one: &[u8], other: &[u8]) {
    if found.redaction.is_in_bodies() {
        return hidden(found, one, other);
    }
    if one.is_empty() || other.is_empty() {
        return found.texts("body", one, other, "");
    }
    let mut pairs = lines(one).zip(lines(other)).enumerate();
    let Some((first, (line, other_line))) = pairs.find(|(_, (one, other))| one != other) else {
        let (ones, others) = (lines(one).count(), lines(other).count());
        if ones == others {
            return match one == other {
                true => (),
                false => found.add("body", Kind::Notation, || "line ends".to_owned()),
            };
        }
        let counts = arrow(&ones.to_string(), &others.to_string());
        return found.add("body", Kind::Count, || format!("{counts} lines"));
    };
    let place = match format {
        Some(format) => format!("line {} (not {format}): ", first + 1),
        None => format!("line {}: ", first + 1),
    };
    if found.tolerates("body", one, other) {
        return;
    }
    if found.same_but_for_authority(one, other) {
        return found.add("body", Kind::Authority, || place);
    }
    found.add("body", Kind::Value, || super::values(&place, line, other_line));
}

/// What has no structure may hold what was redacted anywhere.
fn hidden(found: &mut Found<'_>, one: &[u8], other: &[u8]) {
    if one == other {
        return;
    }
    let lengths = arrow(&one.len().to_string(), &other.len().to_string());
    let note = || format!("not shown, because places in it are redacted; {lengths} bytes");
    found.add("body", Kind::Value, note);
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn bytes(found: &mut Found<'_>, one: &[u8], other: &[u8]) {
    if one != other {
        found.add("body", Kind::Value, || offsets(one, other));
    }
}
