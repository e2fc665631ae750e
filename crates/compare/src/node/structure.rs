//! Two values side by side: which fields are missing, added, of another type,
//! of another value, or only in another order.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use super::{Element, Member, Node, Path, Step, element};
use crate::{
    difference::{Detail, Found, Kind, arrow, offsets, shorten},
    json, number,
};

/// Adds what differs between two values at this place.
pub(crate) fn compare<'a>(
    found: &mut Found<'_>,
    path: &mut Path<'a>,
    expected: &'a Node<'a>,
    actual: &'a Node<'a>,
) {
    if found.is_full() {
        return;
    }
    match (expected, actual) {
        (Node::Map(one), Node::Map(other)) => maps(found, path, one, other),
        (Node::List(one), Node::List(other)) => lists(found, path, one, other),
        (Node::Text(one), Node::Text(other)) => strings(found, path, one, other),
        (Node::Bytes(one), Node::Bytes(other)) if one != other => {
            let note = || format!("{}{}", path.place(), offsets(one, other));
            found.add(&path.field(), Kind::Value, note);
        }
        (Node::Element(one), Node::Element(other)) if one.name == other.name => {
            element::elements(found, path, one, other);
        }
        (Node::Number(one), Node::Number(other)) => numbers(found, path, one, other),
        (Node::Bool(one), Node::Bool(other)) if one != other => {
            let (one, other) = (one.to_string(), other.to_string());
            let sides = (Some(one.as_bytes()), Some(other.as_bytes()));
            let note = || Detail::new(&path.place(), &arrow(&one, &other), sides.0, sides.1);
            found.add(&path.field(), Kind::Value, note);
        }
        _ if expected.type_name() != actual.type_name() => {
            let side = |node: &Node<'_>| format!("{} {}", node.type_name(), render(node, 40));
            let note = || {
                let (one, other) = (render(expected, 200), render(actual, 200));
                let note = arrow(&side(expected), &side(actual));
                Detail::new(&path.place(), &note, Some(one.as_bytes()), Some(other.as_bytes()))
            };
            found.add(&path.field(), Kind::Type, note);
        }
        _ => {}
    }
}

fn strings(found: &mut Found<'_>, path: &Path<'_>, expected: &[u8], actual: &[u8]) {
    if expected == actual {
        return;
    }
    if found.rules.holds_json(|| path.field())
        && let (Some(one), Some(other)) = (json::parse(expected), json::parse(actual))
    {
        return compare(found, &mut Path::new(&path.field()), &one, &other);
    }
    found.texts(&path.field(), expected, actual, &path.place());
}

fn numbers(found: &mut Found<'_>, path: &Path<'_>, expected: &str, actual: &str) {
    let field = || path.field();
    let note = || {
        let note = arrow(&shorten(expected, 40), &shorten(actual, 40));
        let (expected, actual) = (expected.as_bytes(), actual.as_bytes());
        Detail::new(&path.place(), &note, Some(expected), Some(actual))
    };
    if !number::equal(expected, actual) {
        let field = field();
        if !found.tolerates(&field, expected.as_bytes(), actual.as_bytes()) {
            found.add(&field, Kind::Value, note);
        }
    } else if number::is_integer_notation(expected) != number::is_integer_notation(actual) {
        found.add(&field(), Kind::Notation, note);
    }
}

type Members<'a> = [Member<'a>];

/// Members are matched by name; the first of several of one name with the first, and
/// so on.
pub(super) fn maps<'a>(
    found: &mut Found<'_>,
    path: &mut Path<'a>,
    expected: &'a Members<'a>,
    actual: &'a Members<'a>,
) {
    let in_order = expected.len() == actual.len()
        && expected.iter().zip(actual).all(|((one, _), (other, _))| one == other);
    if in_order {
        for ((name, node), (_, other)) in expected.iter().zip(actual) {
            path.at(Step::Key(name), |path| compare(found, path, node, other));
        }
        return;
    }
    let mut left = vec![true; actual.len()];
    for ((name, node), partner) in expected.iter().zip(partners(expected, actual)) {
        path.at(Step::Key(name), |path| match partner {
            Some(at) => {
                left[at] = false;
                compare(found, path, node, &actual[at].1);
            }
            None => one_sided(found, path, Kind::Missing, node),
        });
    }
    for ((name, node), _) in actual.iter().zip(left).filter(|(_, left)| *left) {
        path.at(Step::Key(name), |path| one_sided(found, path, Kind::Added, node));
    }
}

/// Objects with more members than this are worth a table.
const FEW: usize = 24;

/// For each member the one of the other side that has its name.
fn partners(expected: &Members<'_>, actual: &Members<'_>) -> Vec<Option<usize>> {
    if actual.len() <= FEW {
        let mut taken = [false; FEW];
        let partner = |(name, _): &Member<'_>| {
            let at = (0..actual.len()).find(|at| !taken[*at] && actual[*at].0 == *name)?;
            taken[at] = true;
            Some(at)
        };
        return expected.iter().map(partner).collect();
    }
    let mut places: HashMap<&[u8], Vec<usize>> = HashMap::with_capacity(actual.len());
    for (at, (name, _)) in actual.iter().enumerate().rev() {
        places.entry(name).or_default().push(at);
    }
    let partner = |(name, _): &Member<'_>| places.get_mut(&name[..]).and_then(Vec::pop);
    expected.iter().map(partner).collect()
}

fn one_sided(found: &mut Found<'_>, path: &Path<'_>, kind: Kind, node: &Node<'_>) {
    found.add(&path.field(), kind, || {
        let value = render(node, 200);
        let (one, other) = match kind {
            Kind::Missing => (Some(value.as_bytes()), None),
            _ => (None, Some(value.as_bytes())),
        };
        Detail::new(&path.place(), &render(node, 60), one, other)
    });
}

/// Elements that are equal are matched wherever they are; what is left is compared in
/// its order.
fn lists<'a>(
    found: &mut Found<'_>,
    path: &mut Path<'a>,
    expected: &'a [Node<'a>],
    actual: &'a [Node<'a>],
) {
    if let Some(key) = found.rules.key_of(|| path.field())
        && let (Some(one), Some(other)) = (by_key(expected, &key), by_key(actual, &key))
    {
        return keyed(found, path, (expected, &one), (actual, &other));
    }
    // Most answers have most elements in common, so only what is between the first and
    // the last that differ is looked at closely.
    let same = |(one, other): &(&Node<'_>, &Node<'_>)| one == other;
    let first = expected.iter().zip(actual).take_while(same).count();
    let rest = (&expected[first..], &actual[first..]);
    let last = rest.0.iter().rev().zip(rest.1.iter().rev()).take_while(same).count();
    let (one, other) = (&rest.0[..rest.0.len() - last], &rest.1[..rest.1.len() - last]);
    if let ([one], [other]) = (one, other) {
        return element(found, path, first, one, other);
    }
    let (left_one, left_other) = unmatched(found, path, first, (one, other));
    for (at, other_at) in left_one.iter().zip(&left_other) {
        element(found, path, first + *other_at, &one[*at], &other[*other_at]);
    }
    if expected.len() != actual.len() {
        let lengths = (expected.len(), actual.len());
        let paired = left_one.len().min(left_other.len());
        let extra = (
            left_one.get(paired).map(|at| &one[*at]),
            left_other.get(paired).map(|at| &other[*at]),
        );
        count(found, path, lengths, extra);
    }
}

/// Positions of the elements that have no equal on the other side. Tells whether those
/// that have are in another order.
fn unmatched<'a>(
    found: &mut Found<'_>,
    path: &mut Path<'a>,
    first: usize,
    (expected, actual): (&'a [Node<'a>], &'a [Node<'a>]),
) -> (Vec<usize>, Vec<usize>) {
    let one: Vec<u64> = expected.iter().map(digest).collect();
    let other: Vec<u64> = actual.iter().map(digest).collect();
    if one == other {
        // Equal in value; what is left to find are other notations.
        for (index, (one, other)) in expected.iter().zip(actual).enumerate() {
            element(found, path, first + index, one, other);
        }
        return (Vec::new(), Vec::new());
    }
    let (matched_one, left_one) = split(&one, &other);
    let (matched_other, left_other) = split(&other, &one);
    if matched_one.iter().map(|at| one[*at]).ne(matched_other.iter().map(|at| other[*at])) {
        let note = || format!("{}the same elements in another order", path.place());
        found.add(&path.field(), Kind::Order, note);
    }
    (left_one, left_other)
}

fn element<'a>(
    found: &mut Found<'_>,
    path: &mut Path<'a>,
    index: usize,
    expected: &'a Node<'a>,
    actual: &'a Node<'a>,
) {
    path.at(Step::Index(index), |path| compare(found, path, expected, actual));
}

fn count(
    found: &mut Found<'_>,
    path: &Path<'_>,
    (expected, actual): (usize, usize),
    extra: (Option<&Node<'_>>, Option<&Node<'_>>),
) {
    let extra = match extra {
        (Some(one), _) => format!(", without {}", render(one, 60)),
        (None, Some(other)) => format!(", with {}", render(other, 60)),
        (None, None) => String::new(),
    };
    let counts = arrow(&expected.to_string(), &actual.to_string());
    found.add(&path.field(), Kind::Count, || format!("{}{counts} elements{extra}", path.place()));
}

/// Positions of the elements that are also in `others` (as often as they are there),
/// and of those that are not.
pub(super) fn split(list: &[u64], others: &[u64]) -> (Vec<usize>, Vec<usize>) {
    let mut there: HashMap<u64, usize> = HashMap::with_capacity(others.len());
    for digest in others {
        *there.entry(*digest).or_default() += 1;
    }
    (0..list.len()).partition(|at| match there.get_mut(&list[*at]) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    })
}

/// Position of each element by the value of its member `key`; `None` if an element
/// has none or two have the same.
fn by_key(list: &[Node<'_>], key: &str) -> Option<HashMap<String, usize>> {
    let mut positions = HashMap::with_capacity(list.len());
    for (at, node) in list.iter().enumerate() {
        let Node::Map(members) = node else { return None };
        let (_, value) = members.iter().find(|(name, _)| name.as_ref() == key.as_bytes())?;
        if positions.insert(render(value, usize::MAX), at).is_some() {
            return None;
        }
    }
    Some(positions)
}

type Keyed<'a, 'b> = (&'a [Node<'a>], &'b HashMap<String, usize>);

fn keyed<'a>(
    found: &mut Found<'_>,
    path: &mut Path<'a>,
    (expected, one): Keyed<'a, '_>,
    (actual, other): Keyed<'a, '_>,
) {
    let in_order = |positions: &HashMap<String, usize>| {
        let mut keys: Vec<_> = positions.iter().map(|(key, at)| (*at, key.clone())).collect();
        keys.sort_unstable();
        keys
    };
    let (one_order, other_order) = (in_order(one), in_order(other));
    for (at, key) in &one_order {
        match other.get(key) {
            Some(other) => element(found, path, *other, &expected[*at], &actual[*other]),
            None => {
                let node = &expected[*at];
                path.at(Step::Index(*at), |path| one_sided(found, path, Kind::Missing, node));
            }
        }
    }
    for (at, _) in other_order.iter().filter(|(_, key)| !one.contains_key(key)) {
        let node = &actual[*at];
        path.at(Step::Index(*at), |path| one_sided(found, path, Kind::Added, node));
    }
    let common = |order: &[(usize, String)], there: &HashMap<String, usize>| -> Vec<String> {
        order.iter().map(|(_, key)| key.clone()).filter(|key| there.contains_key(key)).collect()
    };
    if common(&one_order, other) != common(&other_order, one) {
        let note = || format!("{}the same elements in another order", path.place());
        found.add(&path.field(), Kind::Order, note);
    }
}

/// Equal for equal values, whatever the order of members and the notation of numbers.
/// Of values that differ, one pair in 2⁶⁴ has the same.
pub(super) fn digest(node: &Node<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    node.type_name().hash(&mut hasher);
    match node {
        Node::Null => {}
        Node::Bool(value) => value.hash(&mut hasher),
        Node::Number(text) => match number::Decimal::parse(text) {
            Some(decimal) => decimal.hash(&mut hasher),
            None => text.hash(&mut hasher),
        },
        Node::Text(text) | Node::Bytes(text) => text.hash(&mut hasher),
        Node::List(items) => items.iter().for_each(|item| digest(item).hash(&mut hasher)),
        Node::Map(members) => unordered(members).hash(&mut hasher),
        Node::Element(element) => {
            element.name.hash(&mut hasher);
            unordered(&element.attributes).hash(&mut hasher);
            element.children.iter().for_each(|child| digest(child).hash(&mut hasher));
        }
    }
    hasher.finish()
}

fn unordered(members: &Members<'_>) -> u64 {
    members.iter().fold(0u64, |sum, (name, value)| {
        let mut member = DefaultHasher::new();
        name.hash(&mut member);
        digest(value).hash(&mut member);
        sum.wrapping_add(member.finish())
    })
}

/// A value as JSON, shortened to about `limit` characters.
pub(super) fn render(node: &Node<'_>, limit: usize) -> String {
    let mut out = String::new();
    write_node(node, limit, &mut out);
    shorten(&out, limit)
}

fn write_node(node: &Node<'_>, limit: usize, out: &mut String) {
    if out.len() > limit {
        return;
    }
    match node {
        Node::Null => out.push_str("null"),
        Node::Bool(value) => out.push_str(&format!("{value}")),
        Node::Number(text) => out.push_str(text),
        Node::Text(text) => out.push_str(&format!("{:?}", String::from_utf8_lossy(text))),
        Node::Bytes(bytes) => out.push_str(&format!("{} bytes", bytes.len())),
        Node::Element(element) => write_element(element, limit, out),
        Node::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                write_node(item, limit, out);
            }
            out.push(']');
        }
        Node::Map(members) => {
            out.push('{');
            for (at, (name, value)) in members.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                out.push_str(&format!("{:?}:", String::from_utf8_lossy(name)));
                write_node(value, limit, out);
            }
            out.push('}');
        }
    }
}

/// As markup; text is not escaped, because this is for people.
fn write_element(element: &Element<'_>, limit: usize, out: &mut String) {
    out.push_str(&format!("<{}", element.name));
    for (name, value) in &element.attributes {
        let name = String::from_utf8_lossy(name);
        out.push_str(&format!(" {}=", name.trim_start_matches('@')));
        write_node(value, limit, out);
    }
    out.push('>');
    for child in &element.children {
        match child {
            Node::Text(text) if out.len() <= limit => {
                out.push_str(&shorten(&String::from_utf8_lossy(text), limit));
            }
            child => write_node(child, limit, out),
        }
    }
}
