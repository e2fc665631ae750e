//! XML as a tree. Nothing is loaded and no entity of a document type is expanded: what
//! is not predefined stays as it is written.

use std::borrow::Cow;

use quick_xml::{
    NsReader, XmlVersion,
    events::{BytesStart, Event},
    name::ResolveResult,
};

use crate::node::{Element, Member, Node};

/// Deepest nesting; deeper is "not XML" and compared as text.
const MAX_DEPTH: usize = 128;
/// Most elements, attributes and texts together.
const MAX_PIECES: usize = 100_000;
/// Most attributes of one element.
const MAX_ATTRIBUTES: usize = 1000;
/// Largest document.
const MAX_BYTES: usize = 4 << 20;

/// The document as an element without a name; `None` if it is not well-formed.
pub(super) fn parse(body: &[u8]) -> Option<Node<'static>> {
    let text = std::str::from_utf8(body).ok().filter(|text| text.len() <= MAX_BYTES)?;
    let mut reader = NsReader::from_str(text);
    let config = reader.config_mut();
    config.expand_empty_elements = true;
    let mut tree = Tree { open: vec![Open::default()], left: MAX_PIECES };
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => {
                let (space, local) = reader.resolver().resolve_element(start.name());
                let space = match space {
                    ResolveResult::Bound(space) => space.as_ref().to_owned(),
                    _ => String::new(),
                };
                let name = local.as_ref().to_owned();
                tree.start(name, space, attributes(&start)?)?;
            }
            Event::End(_) => tree.end()?,
            Event::Text(text) => tree.text(&text.xml10_content())?,
            Event::CData(text) => tree.text(&text.xml10_content())?,
            Event::GeneralRef(reference) => match reference.resolve_char_ref().ok()? {
                Some(character) => tree.text(character.encode_utf8(&mut [0; 4]))?,
                None => tree.text(&entity(&reference))?,
            },
            Event::Eof => return tree.finish(),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            Event::Empty(_) => return None,
        }
    }
}

/// The character of a predefined entity, or the reference itself.
fn entity(name: &str) -> Cow<'static, str> {
    match quick_xml::escape::resolve_predefined_entity(name) {
        Some(text) => text.into(),
        None => format!("&{name};").into(),
    }
}

/// Without the declarations of namespaces: their prefixes say nothing.
fn attributes(start: &BytesStart<'_>) -> Option<Vec<Member<'static>>> {
    let mut members = Vec::new();
    // Looking for doubles takes the square of their number.
    for (at, attribute) in start.attributes().with_checks(false).enumerate() {
        if at == MAX_ATTRIBUTES {
            return None;
        }
        let attribute = attribute.ok()?;
        let name: &str = attribute.key.as_ref();
        if name == "xmlns" || name.starts_with("xmlns:") {
            continue;
        }
        let value = match attribute.normalized_value(XmlVersion::Explicit1_0) {
            Ok(value) => value.into_owned(),
            // An entity of the document type.
            Err(_) => attribute.value.clone().into_owned(),
        };
        let name = format!("@{name}").into_bytes();
        members.push((Cow::Owned(name), Node::Text(value.into_bytes().into())));
    }
    Some(members)
}

/// What was begun and not ended yet, from the top.
struct Tree {
    open: Vec<Open>,
    left: usize,
}

#[derive(Default)]
struct Open {
    element: Element<'static>,
    space: String,
    text: String,
}

impl Tree {
    fn spend(&mut self, pieces: usize) -> Option<()> {
        self.left = self.left.checked_sub(pieces)?;
        Some(())
    }

    fn start(
        &mut self,
        name: String,
        space: String,
        mut attributes: Vec<Member<'static>>,
    ) -> Option<()> {
        self.spend(1 + attributes.len())?;
        let parent = self.open.last_mut()?;
        parent.flush();
        if parent.space != space {
            let space = space.clone().into_bytes();
            attributes.push((Cow::Borrowed(b"@xmlns"), Node::Text(space.into())));
        }
        let element = Element { name: name.into(), attributes, children: Vec::new() };
        self.open.push(Open { element, space, text: String::new() });
        (self.open.len() <= MAX_DEPTH + 1).then_some(())
    }

    fn text(&mut self, text: &str) -> Option<()> {
        self.open.last_mut()?.text.push_str(text);
        Some(())
    }

    fn end(&mut self) -> Option<()> {
        let mut open = self.open.pop()?;
        open.flush();
        open.drop_indentation();
        let children = &mut self.open.last_mut()?.element.children;
        children.push(Node::Element(Box::new(open.element)));
        self.spend(1)
    }

    /// The whole, if all that was begun is ended and there is one root.
    fn finish(mut self) -> Option<Node<'static>> {
        let mut open = self.open.pop().filter(|_| self.open.is_empty())?;
        open.flush();
        open.drop_indentation();
        let is_root = matches!(open.element.children.as_slice(), [Node::Element(_)]);
        is_root.then(|| Node::Element(Box::new(open.element)))
    }
}

impl Open {
    fn flush(&mut self) {
        if !self.text.is_empty() {
            let text = std::mem::take(&mut self.text).into_bytes();
            self.element.children.push(Node::Text(text.into()));
        }
    }

    /// White space between elements is for people.
    fn drop_indentation(&mut self) {
        let children = &mut self.element.children;
        if children.iter().any(|child| matches!(child, Node::Element(_))) {
            children.retain(|child| match child {
                Node::Text(text) => !text.trim_ascii().is_empty(),
                _ => true,
            });
        }
    }
}
