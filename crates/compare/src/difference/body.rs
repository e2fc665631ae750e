//! Bodies: by structure where the content type has one, by line for text, by length
//! and hash for everything else, and for what was not kept whole.

use std::{borrow::Cow, collections::BTreeMap};

use umbra_record::fields;

use super::{Found, Kind, arrow, coding};
use crate::{
    Answer, Body,
    json::{self, MAX_NODES, Node, Path},
};

/// Most pairs of a form; with more it is compared as text.
const MAX_PAIRS: usize = 50_000;

/// A body that was read as what it says it is.
enum Content<'a> {
    Json(Node<'a>),
    /// Names and values, decoded, in order.
    Form(Vec<(Vec<u8>, Vec<u8>)>),
    Text(&'a str),
    Bytes(&'a [u8]),
}

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
    let (one, other) = (decoded(expected), decoded(actual));
    codings(found);
    match (one, other) {
        (Some(one), Some(other)) => contents(found, &one, &other),
        (None, None) => bytes(found, &expected.body.bytes, &actual.body.bytes),
        (one, _) => found.add("body", Kind::Type, || {
            let side = |readable| if readable { "readable" } else { "cannot be decoded" };
            arrow(side(one.is_some()), side(one.is_none()))
        }),
    }
}

/// The content without its codings; `None` if they cannot be removed.
fn decoded(answer: &Answer) -> Option<Cow<'_, [u8]>> {
    coding::decode(&answer.body.bytes, fields::all(&answer.headers, "content-encoding"))
}

/// Another coding is noted, whatever becomes of the content; whether there is one.
fn codings(found: &mut Found<'_>) -> bool {
    let of = |answer: &Answer| {
        let lines = fields::all(&answer.headers, "content-encoding");
        lines.map(String::from_utf8_lossy).collect::<Vec<_>>().join(", ").to_ascii_lowercase()
    };
    let (one, other) = (of(found.expected), of(found.actual));
    if one != other {
        let name = |coding: &str| if coding.is_empty() { "none".into() } else { coding.to_owned() };
        found.add("header:content-encoding", Kind::Coding, || arrow(&name(&one), &name(&other)));
    }
    one != other
}

/// Not all bytes of both are here.
fn partly(found: &mut Found<'_>, one: &Body, other: &Body) {
    let common = one.bytes.len().min(other.bytes.len());
    if one.bytes[..common] != other.bytes[..common] {
        return bytes(found, &one.bytes[..common], &other.bytes[..common]);
    }
    let hashes = one.digest().zip(other.digest());
    if one.length != other.length || hashes.is_some_and(|(one, other)| one != other) {
        let lengths = arrow(&one.length.to_string(), &other.length.to_string());
        let note = || format!("differs beyond what was kept; {lengths} bytes");
        found.add("body", Kind::Value, note);
    }
}

fn contents(found: &mut Found<'_>, one: &[u8], other: &[u8]) {
    match (read(found.expected, one), read(found.actual, other)) {
        (Content::Json(one), Content::Json(other)) => {
            json::compare(found, &mut Path::new("body"), &one, &other);
        }
        (Content::Form(one), Content::Form(other)) => form(found, &one, &other),
        (Content::Text(one), Content::Text(other)) => text(found, one, other),
        (Content::Bytes(one), Content::Bytes(other)) => bytes(found, one, other),
        (one, other) => found.add("body", Kind::Type, || arrow(one.name(), other.name())),
    }
}

impl Content<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Json(_) => "JSON",
            Self::Form(_) => "form",
            Self::Text("") => "empty",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
        }
    }
}

fn read<'a>(answer: &Answer, body: &'a [u8]) -> Content<'a> {
    let media = fields::first(&answer.headers, "content-type").unwrap_or_default();
    let media = media.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let media = String::from_utf8_lossy(media).to_ascii_lowercase();
    let structure = match media.as_str() {
        "application/x-ndjson" | "application/jsonl" | "application/json-lines" => lines(body),
        "text/event-stream" => events(body),
        "application/x-www-form-urlencoded" => pairs(body).map(Content::Form),
        media if media.ends_with("/json") || media.ends_with("+json") => {
            json::parse(body).map(Content::Json)
        }
        // Many services serve JSON under another name; a lone number or word is text.
        _ if matches!(body.trim_ascii_start().first(), Some(b'{' | b'[')) => {
            json::parse(body).map(Content::Json)
        }
        _ => None,
    };
    structure.unwrap_or_else(|| match std::str::from_utf8(body) {
        Ok(text) if !text.contains('\0') => Content::Text(text),
        _ => Content::Bytes(body),
    })
}

/// One JSON value a line, as one list.
fn lines(body: &[u8]) -> Option<Content<'_>> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let mut left = MAX_NODES;
    let values = lines.map(|line| json::parse_some(line, &mut left)).collect::<Option<Vec<_>>>();
    values.map(|values| Content::Json(Node::List(values)))
}

/// Server-sent events, as a list of objects with the fields of each; data that is JSON
/// as JSON.
fn events(body: &[u8]) -> Option<Content<'_>> {
    let text = std::str::from_utf8(body).ok()?;
    let mut left = MAX_NODES;
    let mut events = Vec::new();
    let mut event: Vec<(Cow<'_, [u8]>, Node<'_>)> = Vec::new();
    for line in text.lines().chain([""]) {
        left = left.checked_sub(1)?;
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        if line.is_empty() {
            if !event.is_empty() {
                events.push(Node::Map(std::mem::take(&mut event)));
            }
        } else if !name.is_empty() {
            // A line without a name is a comment.
            let structure = match value.starts_with(['{', '[']) {
                true => json::parse_some(value.as_bytes(), &mut left),
                false => None,
            };
            let plain = || Node::Text(value.as_bytes().into());
            event.push((name.as_bytes().into(), structure.unwrap_or_else(plain)));
        }
    }
    Some(Content::Json(Node::List(events)))
}

/// `None` if there are too many.
fn pairs(body: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let pairs = body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    let pair = |pair: &[u8]| {
        let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        (unescape(&pair[..equals]), unescape(pair.get(equals + 1..).unwrap_or_default()))
    };
    let pairs: Vec<_> = pairs.take(MAX_PAIRS + 1).map(pair).collect();
    (pairs.len() <= MAX_PAIRS).then_some(pairs)
}

/// `+` is a space, `%41` an A; anything else, a broken escape included, is itself.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let hex = |at: usize| after.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        rest = after;
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            (b'+', ..) => out.push(b' '),
            (byte, ..) => out.push(*byte),
        }
    }
    out
}

type Pairs = [(Vec<u8>, Vec<u8>)];

/// `body.NAME`, the values of one name as a list.
fn form(found: &mut Found<'_>, one: &Pairs, other: &Pairs) {
    let by_name = |pairs: &Pairs| {
        let mut names: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for (name, value) in pairs {
            let name = String::from_utf8_lossy(name).into_owned();
            names.entry(name).or_default().push(value.clone());
        }
        names
    };
    let (one, other) = (by_name(one), by_name(other));
    for (name, values) in &one {
        let field = format!("body.{name}");
        match other.get(name) {
            None => found.add(&field, Kind::Missing, String::new),
            Some(others) if values == others => {}
            Some(others) => found.texts(&field, &values.join(&b','), &others.join(&b','), ""),
        }
    }
    for name in other.keys().filter(|name| !one.contains_key(*name)) {
        found.add(&format!("body.{name}"), Kind::Added, String::new);
    }
}

/// By line: where the first and how many differ. All lines are one field, because
/// lines have no names.
fn text(found: &mut Found<'_>, one: &str, other: &str) {
    if one.is_empty() || other.is_empty() {
        return found.texts("body", one.as_bytes(), other.as_bytes(), "");
    }
    let differs = |(_, (one, other)): &(usize, (&str, &str))| one != other;
    let Some((first, (line, other_line))) =
        one.lines().zip(other.lines()).enumerate().find(differs)
    else {
        let (ones, others) = (one.lines().count(), other.lines().count());
        if ones == others {
            return found.add("body", Kind::Notation, || "line ends".to_owned());
        }
        let counts = arrow(&ones.to_string(), &others.to_string());
        return found.add("body", Kind::Count, || format!("{counts} lines"));
    };
    let place = format!("line {}: ", first + 1);
    if found.tolerates("body", one.as_bytes(), other.as_bytes()) {
        return;
    }
    if found.same_but_for_authority(one.as_bytes(), other.as_bytes()) {
        return found.add("body", Kind::Authority, || place);
    }
    let note = || super::note(&place, line.as_bytes(), other_line.as_bytes());
    found.add("body", Kind::Value, note);
}

fn bytes(found: &mut Found<'_>, one: &[u8], other: &[u8]) {
    let first = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    if one == other {
        return;
    }
    let lengths = arrow(&one.len().to_string(), &other.len().to_string());
    found.add("body", Kind::Value, || format!("from byte {first} on; {lengths} bytes"));
}
