//! A body read as what its content type says it is. What has a structure becomes a
//! tree; what has none, or does not hold what it says, is text or bytes. Never fails:
//! bodies come from anywhere.

mod charset;
pub(crate) mod coding;
mod events;
mod html;
mod multipart;
mod protobuf;
mod xml;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use umbra_record::fields;

pub(crate) use events::count as events;
pub(crate) use protobuf::{Descriptors, is_trailer, trailers};

use crate::{
    Answer,
    json::{parse, parse_some},
    node::{MAX_NODES, Node},
};
use prost_reflect::MessageDescriptor;

/// A body that was read.
pub(crate) enum Content<'a> {
    /// With the name of its format.
    Tree(&'static str, Node<'a>),
    /// With the name of the format it should have had.
    Text(Option<&'static str>, Cow<'a, [u8]>),
    Bytes(Cow<'a, [u8]>),
}

impl Content<'_> {
    /// For people.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Tree(format, _) => format,
            Self::Text(_, text) if text.is_empty() => "empty",
            Self::Text(..) => "text",
            Self::Bytes(_) => "bytes",
        }
    }
}

/// The type of a body, and its parameters.
pub(crate) struct Media<'a> {
    /// In lower case, such as `application/json`.
    pub(crate) name: String,
    line: &'a [u8],
}

impl<'a> Media<'a> {
    /// Of an answer.
    pub(crate) fn of(answer: &'a Answer) -> Self {
        Self::parse(fields::first(&answer.headers, "content-type").unwrap_or_default())
    }

    /// Of the value of a Content-Type field.
    pub(crate) fn parse(line: &'a [u8]) -> Self {
        let name = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        Self { name: String::from_utf8_lossy(name).to_ascii_lowercase(), line }
    }

    /// The value of a parameter, without quotes.
    pub(crate) fn parameter(&self, wanted: &str) -> Option<&'a [u8]> {
        self.line.split(|byte| *byte == b';').skip(1).find_map(|part| {
            let equals = part.iter().position(|byte| *byte == b'=')?;
            let name = part[..equals].trim_ascii();
            let value = part[equals + 1..].trim_ascii();
            let value = value.strip_prefix(b"\"").unwrap_or(value);
            let value = value.strip_suffix(b"\"").unwrap_or(value);
            name.eq_ignore_ascii_case(wanted.as_bytes()).then_some(value)
        })
    }

    /// Whether it is of the family of gRPC.
    pub(crate) fn is_grpc(&self) -> bool {
        self.name.starts_with("application/grpc")
    }

    /// Whether it is a stream of server-sent events.
    pub(crate) fn is_events(&self) -> bool {
        self.name == "text/event-stream"
    }
}

/// Reads a body, its content codings removed. `message` is what the answers of a gRPC
/// method are made of, if that is known.
pub(crate) fn read<'a>(
    answer: &Answer,
    body: Cow<'a, [u8]>,
    message: Option<&MessageDescriptor>,
) -> Content<'a> {
    let media = Media::of(answer);
    if let Some(node) = protobuf::read(answer, &media, &body, message) {
        return Content::Tree(if media.is_grpc() { "gRPC" } else { "protobuf" }, node);
    }
    read_as(&media, charset::to_utf8(&media, body))
}

/// The same for what is not protobuf, in UTF-8.
fn read_as<'a>(media: &Media<'_>, body: Cow<'a, [u8]>) -> Content<'a> {
    let Some((format, reader)) = reader(media, &body) else { return plain(None, body) };
    let tree = match &body {
        Cow::Borrowed(body) => reader(media, body),
        Cow::Owned(body) => reader(media, body).map(Node::into_owned),
    };
    match tree {
        Some(tree) => Content::Tree(format, tree),
        None => plain(Some(format), body),
    }
}

fn plain<'a>(format: Option<&'static str>, body: Cow<'a, [u8]>) -> Content<'a> {
    match std::str::from_utf8(&body) {
        Ok(text) if !text.contains('\0') => Content::Text(format, body),
        _ => Content::Bytes(body),
    }
}

type Reader = for<'a> fn(&Media<'_>, &'a [u8]) -> Option<Node<'a>>;

/// What reads a body of this type: the name of the format, and how.
fn reader(media: &Media<'_>, body: &[u8]) -> Option<(&'static str, Reader)> {
    let name = media.name.as_str();
    match name {
        "application/x-ndjson"
        | "application/ndjson"
        | "application/jsonl"
        | "application/json-lines"
        | "application/json-seq" => Some(("JSON lines", lines)),
        "application/x-www-form-urlencoded" => Some(("form", |_, body| pairs(body))),
        "text/html" => Some(("HTML", |_, body| html::parse(body))),
        "text/xml" | "application/xml" => Some(("XML", |_, body| xml::parse(body))),
        _ if media.is_events() => Some(("events", |_, body| events::parse(body))),
        _ if name.starts_with("multipart/") => Some(("multipart", multipart::parse)),
        _ if name.ends_with("+xml") => Some(("XML", |_, body| xml::parse(body))),
        _ if name.ends_with("/json") || name.ends_with("+json") => {
            Some(("JSON", |_, body| parse(body)))
        }
        // Many services serve JSON under another name; a lone number or word is text.
        _ if matches!(body.trim_ascii_start().first(), Some(b'{' | b'[')) => {
            parse(body).map(|_| ("JSON", (|_, body| parse(body)) as Reader))
        }
        _ => None,
    }
}

/// One JSON value a line, as one list. A record separator (RFC 7464) may come first.
fn lines<'a>(_: &Media<'_>, body: &'a [u8]) -> Option<Node<'a>> {
    let lines =
        body.split(|byte| *byte == b'\n').map(|line| line.strip_prefix(b"\x1e").unwrap_or(line));
    let mut left = MAX_NODES;
    let values = lines
        .filter(|line| !line.trim_ascii().is_empty())
        .map(|line| parse_some(line, &mut left))
        .collect::<Option<Vec<_>>>();
    values.map(Node::List)
}

/// Most pairs of a form; with more it is compared as text.
const MAX_PAIRS: usize = 50_000;

/// Pairs of a form, decoded. `None` if there are too many.
fn pairs(body: &[u8]) -> Option<Node<'static>> {
    let pairs = body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    let pair = |pair: &[u8]| {
        let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let value = unescape(pair.get(equals + 1..).unwrap_or_default());
        (unescape(&pair[..equals]).into(), Node::Text(value.into()))
    };
    let pairs: Vec<_> = pairs.take(MAX_PAIRS + 1).map(pair).collect();
    (pairs.len() <= MAX_PAIRS).then_some(Node::Map(pairs))
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
