//! Bodies of several parts (RFC 2046 section 5.1, RFC 7578): the boundary is another
//! in every answer and says nothing; parts are told by name, or else by place.

use std::borrow::Cow;

use umbra_record::pb;

use super::{Content, Media, charset, read_as};
use crate::node::{Member, Node};

/// Most parts; with more it is compared as bytes.
const MAX_PARTS: usize = 10_000;

/// `None` without a boundary, or if a part is broken.
pub(super) fn parse<'a>(media: &Media<'_>, body: &'a [u8]) -> Option<Node<'a>> {
    let boundary = media.parameter("boundary").filter(|boundary| !boundary.is_empty())?;
    let parts = split(body, boundary)?;
    let parts = parts.into_iter().map(part).collect::<Option<Vec<_>>>()?;
    if parts.iter().all(|(name, _)| name.is_some()) {
        let named = parts.into_iter().map(|(name, node)| (name.unwrap_or_default().into(), node));
        return Some(Node::Map(named.collect()));
    }
    Some(Node::List(parts.into_iter().map(|(_, node)| node).collect()))
}

/// What is between the delimiters; what comes before the first and after the last is
/// for people.
fn split<'a>(body: &'a [u8], boundary: &[u8]) -> Option<Vec<&'a [u8]>> {
    let delimiter = [b"--", boundary].concat();
    let mut parts = Vec::new();
    let mut rest = &body[find(body, &delimiter)? + delimiter.len()..];
    loop {
        if rest.starts_with(b"--") {
            return Some(parts);
        }
        let start = rest.iter().position(|byte| *byte == b'\n')? + 1;
        let end = start + find(&rest[start..], &delimiter)?;
        let part = &rest[start..end];
        let part = part.strip_suffix(b"\n")?;
        parts.push(part.strip_suffix(b"\r").unwrap_or(part));
        if parts.len() > MAX_PARTS {
            return None;
        }
        rest = &rest[end + delimiter.len()..];
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, wanted)
}

/// Its name, and its type and content.
fn part(part: &[u8]) -> Option<(Option<Vec<u8>>, Node<'_>)> {
    let mut rest = part;
    let mut headers = Vec::new();
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = rest[..end].trim_ascii_end();
        rest = &rest[end + 1..];
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|byte| *byte == b':')?;
        headers.push(pb::Header {
            name: line[..colon].to_ascii_lowercase().into(),
            value: line[colon + 1..].trim_ascii().to_vec().into(),
        });
    }
    let first = |name| umbra_record::fields::first(&headers, name).unwrap_or_default();
    let disposition = Media::parse(first("content-disposition"));
    let media = Media::parse(first("content-type"));
    let mut members: Vec<Member<'_>> = Vec::new();
    let mut text = |name: &'static str, value: &[u8]| {
        members.push((name.as_bytes().into(), Node::Text(value.to_vec().into())));
    };
    if !media.name.is_empty() {
        text("type", media.name.as_bytes());
    }
    if let Some(file) = disposition.parameter("filename") {
        text("filename", file);
    }
    let name = disposition.parameter("name").map(<[u8]>::to_vec);
    members.push((Cow::Borrowed(b"content"), content(&media, rest)));
    Some((name, Node::Map(members)))
}

/// Parts within parts are not looked into: nobody sends them, and they could be nested
/// without end.
fn content<'a>(media: &Media<'_>, body: &'a [u8]) -> Node<'a> {
    if media.name.starts_with("multipart/") {
        return Node::Bytes(body.into());
    }
    match read_as(media, charset::to_utf8(media, body.into())) {
        Content::Tree(_, node) => node,
        Content::Text(_, text) => Node::Text(text),
        Content::Bytes(bytes) => Node::Bytes(bytes),
    }
}
