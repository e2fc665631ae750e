//! The tree that structured content is read into, whatever its format, and where a
//! value stands in it. Values keep their text: numbers stay as they are written,
//! members keep their order and repetitions.

mod element;
mod redact;
mod structure;

use std::borrow::Cow;

use crate::{difference::shorten, endpoint::is_variable};

pub(crate) use element::Element;
pub(crate) use redact::redact;
pub(crate) use structure::compare;

/// Most values in one body: a value can be two bytes of text and takes many times that
/// in memory. With more it is compared as text.
pub(crate) const MAX_NODES: usize = 500_000;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node<'a> {
    Null,
    Bool(bool),
    /// As written, in JSON's notation.
    Number(Cow<'a, str>),
    /// Unescaped. Bytes, because a lone surrogate escape is no Unicode text; it is
    /// kept in the three bytes that UTF-8 would have for it.
    Text(Cow<'a, [u8]>),
    /// What is not for people to read.
    Bytes(Cow<'a, [u8]>),
    List(Vec<Node<'a>>),
    /// Members in order, names perhaps repeated.
    Map(Vec<Member<'a>>),
    /// Of XML or HTML.
    Element(Box<Element<'a>>),
}

/// A name and what is under it.
pub(crate) type Member<'a> = (Cow<'a, [u8]>, Node<'a>);

impl Node<'_> {
    /// For people.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Number(_) => "number",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "array",
            Self::Map(_) => "object",
            Self::Element(_) => "element",
        }
    }

    /// The same, without borrowing from the text it was read from.
    pub(crate) fn into_owned(self) -> Node<'static> {
        let name = |name: Cow<'_, [u8]>| Cow::Owned(name.into_owned());
        match self {
            Self::Null => Node::Null,
            Self::Bool(value) => Node::Bool(value),
            Self::Number(text) => Node::Number(Cow::Owned(text.into_owned())),
            Self::Text(text) => Node::Text(Cow::Owned(text.into_owned())),
            Self::Bytes(bytes) => Node::Bytes(Cow::Owned(bytes.into_owned())),
            Self::List(items) => Node::List(items.into_iter().map(Node::into_owned).collect()),
            Self::Map(members) => Node::Map(
                members.into_iter().map(|(key, node)| (name(key), node.into_owned())).collect(),
            ),
            Self::Element(element) => Node::Element(Box::new(element.into_owned())),
        }
    }
}

/// Where in the tree; the beginning is the name of the whole.
pub(crate) struct Path<'a> {
    root: &'a str,
    steps: Vec<Step<'a>>,
}

#[derive(Clone, Copy)]
pub(crate) enum Step<'a> {
    Key(&'a [u8]),
    Index(usize),
    /// A child element, and which one if there are several of that name.
    Child(&'a str, Option<usize>),
}

impl<'a> Path<'a> {
    pub(crate) fn new(root: &'a str) -> Self {
        Self { root, steps: Vec::new() }
    }

    /// Does something one step further down.
    pub(crate) fn at<T>(&mut self, step: Step<'a>, act: impl FnOnce(&mut Self) -> T) -> T {
        self.steps.push(step);
        let out = act(self);
        self.steps.pop();
        out
    }

    /// The field: without positions in arrays, and with names that are ids replaced,
    /// so that many answers share it.
    pub(crate) fn field(&self) -> String {
        self.steps.iter().fold(self.root.to_owned(), |mut out, step| {
            match step {
                Step::Index(_) => out.push_str("[]"),
                Step::Key(key) => push_key(&mut out, key, true),
                Step::Child(name, _) => push_key(&mut out, name.as_bytes(), false),
            }
            out
        })
    }

    /// For a note: the exact place, if the field does not say it.
    pub(crate) fn place(&self) -> String {
        let exact = self.steps.iter().fold(self.root.to_owned(), |mut out, step| {
            match step {
                Step::Index(index) => out.push_str(&format!("[{index}]")),
                Step::Key(key) => push_key(&mut out, key, false),
                Step::Child(name, index) => {
                    push_key(&mut out, name.as_bytes(), false);
                    if let Some(index) = index {
                        out.push_str(&format!("[{index}]"));
                    }
                }
            }
            out
        });
        if exact == self.field() { String::new() } else { format!("{}: ", shorten(&exact, 200)) }
    }
}

fn push_key(out: &mut String, key: &[u8], template: bool) {
    let key = String::from_utf8_lossy(key);
    let plain = |c: char| c.is_alphanumeric() || "_-$@:/#".contains(c);
    if template && is_variable(&key) {
        out.push_str(".{}");
    } else if !key.is_empty() && key.chars().all(plain) {
        out.push('.');
        out.push_str(&shorten(&key, 60));
    } else {
        out.push_str(&format!("[{:?}]", shorten(&key, 60)));
    }
}
