//! Elements of XML and HTML side by side: attributes by name, children wherever they
//! are equal, the rest by name in order.

use std::{borrow::Cow, collections::HashMap};

use super::{
    Member, Node, Path, Step,
    structure::{compare, digest, maps, render, split},
};
use crate::difference::{Found, Kind};

/// An element.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Element<'a> {
    pub(crate) name: Cow<'a, str>,
    /// Names with an `@` in front.
    pub(crate) attributes: Vec<Member<'a>>,
    /// Elements and text.
    pub(crate) children: Vec<Node<'a>>,
}

impl Element<'_> {
    pub(super) fn into_owned(self) -> Element<'static> {
        let own = |(key, node): Member<'_>| (Cow::Owned(key.into_owned()), node.into_owned());
        Element {
            name: Cow::Owned(self.name.into_owned()),
            attributes: self.attributes.into_iter().map(own).collect(),
            children: self.children.into_iter().map(Node::into_owned).collect(),
        }
    }
}

/// What kind of child a node is: its name, or text.
fn label<'a>(node: &'a Node<'_>) -> &'a str {
    match node {
        Node::Element(element) => &element.name,
        _ => "",
    }
}

/// Adds what differs between two elements of one name.
pub(super) fn elements<'a>(
    found: &mut Found<'_>,
    path: &mut Path<'a>,
    expected: &'a Element<'a>,
    actual: &'a Element<'a>,
) {
    maps(found, path, &expected.attributes, &actual.attributes);
    let one: Vec<u64> = expected.children.iter().map(digest).collect();
    let other: Vec<u64> = actual.children.iter().map(digest).collect();
    if one == other {
        return;
    }
    let (matched_one, left_one) = split(&one, &other);
    let (matched_other, left_other) = split(&other, &one);
    if matched_one.iter().map(|at| one[*at]).ne(matched_other.iter().map(|at| other[*at])) {
        let note = || format!("{}the same children in another order", path.place());
        found.add(&path.field(), Kind::Order, note);
    }
    let (one_steps, other_steps) = (steps(&expected.children), steps(&actual.children));
    let mut others: HashMap<&str, Vec<usize>> = HashMap::new();
    for at in left_other.iter().rev() {
        others.entry(label(&actual.children[*at])).or_default().push(*at);
    }
    for at in left_one {
        let node = &expected.children[at];
        let step = one_steps[at];
        match others.get_mut(label(node)).and_then(Vec::pop) {
            Some(other) => child(found, path, step, (node, &actual.children[other])),
            None => one_sided(found, path, step, Kind::Missing, node),
        }
    }
    // In the order of the answer, so that the same answers give the same list.
    let mut added: Vec<usize> = others.into_values().flatten().collect();
    added.sort_unstable();
    for at in added {
        one_sided(found, path, other_steps[at], Kind::Added, &actual.children[at]);
    }
}

/// The step to each child; none to a text, which is the value of the element itself.
fn steps<'a>(children: &'a [Node<'a>]) -> Vec<Option<Step<'a>>> {
    let mut totals: HashMap<&str, usize> = HashMap::new();
    children.iter().for_each(|node| *totals.entry(label(node)).or_default() += 1);
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let step = |node: &'a Node<'a>| {
        let Node::Element(element) = node else { return None };
        let nth = seen.entry(&element.name).or_default();
        *nth += 1;
        Some(Step::Child(&element.name, (totals[&*element.name] > 1).then_some(*nth - 1)))
    };
    children.iter().map(step).collect()
}

fn child<'a>(
    found: &mut Found<'_>,
    path: &mut Path<'a>,
    step: Option<Step<'a>>,
    (expected, actual): (&'a Node<'a>, &'a Node<'a>),
) {
    match step {
        Some(step) => path.at(step, |path| compare(found, path, expected, actual)),
        None => compare(found, path, expected, actual),
    }
}

fn one_sided<'a>(
    found: &mut Found<'_>,
    path: &mut Path<'a>,
    step: Option<Step<'a>>,
    kind: Kind,
    node: &Node<'a>,
) {
    match (step, node) {
        (Some(step), _) => path.at(step, |path| {
            found.add(&path.field(), kind, || format!("{}{}", path.place(), render(node, 60)));
        }),
        (None, Node::Text(text)) => {
            let (one, other): (&[u8], &[u8]) = match kind {
                Kind::Missing => (text, b""),
                _ => (b"", text),
            };
            found.texts(&path.field(), one, other, &path.place());
        }
        (None, _) => {}
    }
}
