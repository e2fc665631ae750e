//! HTML as browsers see it: a tree with the elements that are implied, whatever the
//! tags. A few kilobytes of unclosed tags can ask for a tree of
//! any size or depth, so bounds are looked at between steps.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
};

use html5ever::{
    Attribute, LocalName, Namespace, ParseOpts, QualName,
    interface::{ElemName, ElementFlags, NodeOrText, QuirksMode, TreeSink},
    parse_document,
    tendril::{StrTendril, TendrilSink},
};

use crate::node::{Element, Member, Node};

/// Deepest nesting; deeper is compared as text.
const MAX_DEPTH: usize = 200;
/// Most elements and texts.
const MAX_PIECES: usize = 100_000;
/// Largest document.
const MAX_BYTES: usize = 4 << 20;
/// Most places where attributes could begin while nothing comes out of the parser:
/// looking for attributes given twice takes the square of their number.
const MAX_SEPARATORS: usize = 10_000;
/// So much is parsed before the bounds are looked at again.
const STEP: usize = 4096;

/// The document as an element without a name; `None` beyond the bounds.
pub(super) fn parse(body: &[u8]) -> Option<Node<'static>> {
    let mut rest = std::str::from_utf8(body).ok().filter(|text| text.len() <= MAX_BYTES)?;
    let mut parser = parse_document(Sink::default(), ParseOpts::default());
    let mut stalled = 0;
    while !rest.is_empty() {
        let mut end = rest.len().min(STEP);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let sink = &parser.tokenizer.sink.sink;
        let (before, step) = (sink.calls.get(), &rest[..end]);
        parser.process(StrTendril::from_slice(step));
        rest = &rest[end..];
        let sink = &parser.tokenizer.sink.sink;
        stalled = if sink.calls.get() > before { 0 } else { stalled + separators(step) };
        if stalled > MAX_SEPARATORS || !sink.is_within_bounds() {
            return None;
        }
    }
    let mut arena = parser.finish().filter(|arena| arena.len() <= MAX_PIECES)?;
    take(&mut arena, 0, 0, false).map(|element| Node::Element(Box::new(element)))
}

/// At least as many as there are attributes in a piece of a tag.
fn separators(text: &str) -> usize {
    text.bytes().filter(|byte| byte.is_ascii_whitespace() || b"/=".contains(byte)).count()
}

/// Moves a node and what is below it out of the arena.
fn take(arena: &mut [Piece], at: usize, depth: usize, exact: bool) -> Option<Element<'static>> {
    if depth > MAX_DEPTH {
        return None;
    }
    let piece = &mut arena[at];
    let children = std::mem::take(&mut piece.children);
    let name = piece.name.as_ref().map(|name| name.local.to_string()).unwrap_or_default();
    let exact = exact || matches!(name.as_str(), "pre" | "textarea" | "script" | "style");
    let mut element = Element {
        attributes: piece.attributes.iter().map(attribute).collect(),
        children: Vec::with_capacity(children.len()),
        name: name.into(),
    };
    for child in children {
        if let Some(text) = arena[child].text.take() {
            let text = if exact { text.to_string() } else { collapsed(&text) };
            if !text.is_empty() {
                element.children.push(Node::Text(text.into_bytes().into()));
            }
        } else if arena[child].name.is_some() {
            let child = take(arena, child, depth + 1, exact)?;
            element.children.push(Node::Element(Box::new(child)));
        }
    }
    Some(element)
}

/// Runs of white space are one space to a browser.
fn collapsed(text: &str) -> String {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    words.join(" ")
}

fn attribute(attribute: &Attribute) -> Member<'static> {
    let name = format!("@{}", attribute.name.local);
    let value = Node::Text(attribute.value.as_bytes().to_vec().into());
    (Cow::Owned(name.into_bytes()), value)
}

/// A document, an element, a text, or (with neither name nor text) what is not
/// compared.
#[derive(Default)]
struct Piece {
    name: Option<QualName>,
    attributes: Vec<Attribute>,
    text: Option<StrTendril>,
    parent: Option<usize>,
    children: Vec<usize>,
    depth: usize,
}

/// Where the parser puts the tree: pieces are numbers, 0 is the document.
struct Sink {
    arena: RefCell<Vec<Piece>>,
    deepest: Cell<usize>,
    /// How often the parser has put something here.
    calls: Cell<u64>,
}

impl Default for Sink {
    fn default() -> Self {
        Self {
            arena: RefCell::new(vec![Piece::default()]),
            deepest: Cell::new(0),
            calls: Cell::new(0),
        }
    }
}

impl Sink {
    fn is_within_bounds(&self) -> bool {
        self.deepest.get() <= MAX_DEPTH && self.arena.borrow().len() <= MAX_PIECES
    }

    fn push(&self, piece: Piece) -> usize {
        let mut arena = self.arena.borrow_mut();
        arena.push(piece);
        arena.len() - 1
    }

    /// Puts a child at this position of a parent.
    fn insert(&self, parent: usize, at: usize, child: NodeOrText<usize>) {
        self.calls.set(self.calls.get() + 1);
        let child = match child {
            NodeOrText::AppendNode(node) => {
                self.detach(node);
                node
            }
            NodeOrText::AppendText(text) => {
                let mut arena = self.arena.borrow_mut();
                let before = at.checked_sub(1).map(|before| arena[parent].children[before]);
                if let Some(existing) = before.and_then(|before| arena[before].text.as_mut()) {
                    existing.push_tendril(&text);
                    return;
                }
                drop(arena);
                self.push(Piece { text: Some(text), ..Piece::default() })
            }
        };
        let mut arena = self.arena.borrow_mut();
        let depth = arena[parent].depth + 1;
        self.deepest.set(self.deepest.get().max(depth));
        arena[child].parent = Some(parent);
        arena[child].depth = depth;
        let at = at.min(arena[parent].children.len());
        arena[parent].children.insert(at, child);
    }

    fn detach(&self, node: usize) {
        let mut arena = self.arena.borrow_mut();
        if let Some(parent) = arena[node].parent.take() {
            arena[parent].children.retain(|child| *child != node);
        }
    }
}

/// The name of an element, as the parser asks for it.
#[derive(Debug)]
struct Name(QualName);

impl ElemName for Name {
    fn ns(&self) -> &Namespace {
        &self.0.ns
    }

    fn local_name(&self) -> &LocalName {
        &self.0.local
    }
}

impl TreeSink for Sink {
    type Handle = usize;
    /// `None` beyond the bounds.
    type Output = Option<Vec<Piece>>;
    type ElemName<'a> = Name;

    fn finish(self) -> Self::Output {
        self.is_within_bounds().then(|| self.arena.into_inner())
    }

    fn parse_error(&self, _: Cow<'static, str>) {}

    fn get_document(&self) -> usize {
        0
    }

    fn elem_name<'a>(&'a self, target: &'a usize) -> Name {
        let none = || QualName::new(None, Namespace::default(), LocalName::default());
        Name(self.arena.borrow()[*target].name.clone().unwrap_or_else(none))
    }

    fn create_element(&self, name: QualName, attributes: Vec<Attribute>, _: ElementFlags) -> usize {
        self.push(Piece { name: Some(name), attributes, ..Piece::default() })
    }

    fn create_comment(&self, _: StrTendril) -> usize {
        self.push(Piece::default())
    }

    fn create_pi(&self, _: StrTendril, _: StrTendril) -> usize {
        self.push(Piece::default())
    }

    fn append(&self, parent: &usize, child: NodeOrText<usize>) {
        let end = self.arena.borrow()[*parent].children.len();
        self.insert(*parent, end, child);
    }

    fn append_based_on_parent_node(
        &self,
        element: &usize,
        previous: &usize,
        child: NodeOrText<usize>,
    ) {
        let has_parent = self.arena.borrow()[*element].parent.is_some();
        if has_parent {
            self.append_before_sibling(element, child);
        } else {
            self.append(previous, child);
        }
    }

    /// Not compared, but for whether there is one: without it browsers lay out otherwise.
    fn append_doctype_to_document(&self, name: StrTendril, _: StrTendril, _: StrTendril) {
        let local = LocalName::from("!doctype");
        let name_of = QualName::new(None, Namespace::default(), local);
        let doctype = self.push(Piece { name: Some(name_of), ..Piece::default() });
        self.append(&doctype, NodeOrText::AppendText(name));
        self.append(&0, NodeOrText::AppendNode(doctype));
    }

    /// What a template holds is compared as its children.
    fn get_template_contents(&self, target: &usize) -> usize {
        *target
    }

    fn same_node(&self, one: &usize, other: &usize) -> bool {
        one == other
    }

    fn set_quirks_mode(&self, _: QuirksMode) {}

    fn append_before_sibling(&self, sibling: &usize, child: NodeOrText<usize>) {
        if let NodeOrText::AppendNode(node) = &child {
            self.detach(*node);
        }
        let place = {
            let arena = self.arena.borrow();
            arena[*sibling].parent.and_then(|parent| {
                let at = arena[parent].children.iter().rposition(|child| child == sibling)?;
                Some((parent, at))
            })
        };
        if let Some((parent, at)) = place {
            self.insert(parent, at, child);
        }
    }

    fn add_attrs_if_missing(&self, target: &usize, attributes: Vec<Attribute>) {
        let existing = &mut self.arena.borrow_mut()[*target].attributes;
        for attribute in attributes {
            if !existing.iter().any(|other| other.name == attribute.name) {
                existing.push(attribute);
            }
        }
    }

    fn remove_from_parent(&self, target: &usize) {
        self.detach(*target);
    }

    fn reparent_children(&self, node: &usize, parent: &usize) {
        let children = std::mem::take(&mut self.arena.borrow_mut()[*node].children);
        for child in children {
            self.arena.borrow_mut()[child].parent = None;
            self.append(parent, NodeOrText::AppendNode(child));
        }
    }
}
