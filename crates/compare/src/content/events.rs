//! Server-sent events (the HTML standard, section 9.2), as a list of objects with the
//! type, id and data of each; data that is JSON as JSON.

use std::borrow::Cow;

use crate::{
    json::parse_some,
    node::{MAX_NODES, Member, Node},
};

/// `None` if it is no text, or holds too much.
pub(super) fn parse(body: &[u8]) -> Option<Node<'_>> {
    let text = std::str::from_utf8(body).ok()?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut left = MAX_NODES;
    let mut events = Vec::new();
    let mut event = Event::default();
    for line in lines(text).chain([""]) {
        left = left.checked_sub(1)?;
        if line.is_empty() {
            events.extend(std::mem::take(&mut event).finish(&mut left));
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => event.data.push(value),
            // A line without a name is a comment, most often to keep the stream open.
            "" => {}
            name => event.fields.push((name, value)),
        }
    }
    Some(Node::List(events))
}

/// How many events there are.
pub(crate) fn count(body: &[u8]) -> u64 {
    match parse(body) {
        Some(Node::List(events)) => events.len() as u64,
        _ => 0,
    }
}

/// A line ends with LF, CR LF or CR.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

#[derive(Default)]
struct Event<'a> {
    fields: Vec<(&'a str, &'a str)>,
    data: Vec<&'a str>,
}

impl<'a> Event<'a> {
    fn finish(self, left: &mut usize) -> Option<Node<'a>> {
        let field = |(name, value): (&'a str, &'a str)| -> Member<'a> {
            (name.as_bytes().into(), Node::Text(value.as_bytes().into()))
        };
        let mut members: Vec<Member<'a>> = self.fields.into_iter().map(field).collect();
        let data: Option<Cow<'a, str>> = match self.data.as_slice() {
            [] => None,
            [line] => Some((*line).into()),
            lines => Some(lines.join("\n").into()),
        };
        members.extend(data.map(|data| (Cow::Borrowed(&b"data"[..]), value(data, left))));
        (!members.is_empty()).then_some(Node::Map(members))
    }
}

fn value<'a>(data: Cow<'a, str>, left: &mut usize) -> Node<'a> {
    let structure = match &data {
        Cow::Borrowed(text) if is_structure(text) => parse_some(text.as_bytes(), left),
        Cow::Owned(text) if is_structure(text) => {
            parse_some(text.as_bytes(), left).map(Node::into_owned)
        }
        _ => None,
    };
    structure.unwrap_or(match data {
        Cow::Borrowed(text) => Node::Text(text.as_bytes().into()),
        Cow::Owned(text) => Node::Text(text.into_bytes().into()),
    })
}

/// A lone number or word is text.
fn is_structure(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}
