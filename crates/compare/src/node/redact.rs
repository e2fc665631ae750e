//! Takes redacted places out of a tree, so that they are neither compared nor shown.

use super::{Element, Node};

/// Removes the members at a place. Each step is a name, `*` for any name, `**` for any
/// number of steps; arrays need no step: all of their elements are meant.
pub(crate) fn redact(node: &mut Node<'_>, steps: &[String]) {
    let Some((first, rest)) = steps.split_first() else { return };
    match node {
        Node::List(items) => {
            // A number may be a name or a position; no element is told from another.
            let is_position = first.bytes().all(|byte| byte.is_ascii_digit());
            if is_position && rest.is_empty() {
                items.clear();
            }
            for item in items {
                redact(item, steps);
                if is_position {
                    redact(item, rest);
                }
            }
        }
        Node::Map(members) => {
            members.retain(|(name, _)| !(rest.is_empty() && is_named(first, name)));
            if first == "**" {
                // None of the steps it stands for, or one more.
                redact_rest(node, rest);
                children(node, |child| redact(child, steps));
                return;
            }
            for (name, child) in members {
                if is_named(first, name) {
                    redact(child, rest);
                }
            }
        }
        Node::Element(element) => {
            let Element { name, attributes: _, children } = &mut **element;
            let below = if is_named(first, name.as_bytes()) { rest } else { steps };
            children.iter_mut().for_each(|child| redact(child, below));
        }
        _ => {}
    }
}

/// What follows `**`, here.
fn redact_rest(node: &mut Node<'_>, rest: &[String]) {
    if !rest.is_empty() {
        redact(node, rest);
    }
}

fn children(node: &mut Node<'_>, mut act: impl FnMut(&mut Node<'_>)) {
    if let Node::Map(members) = node {
        members.iter_mut().for_each(|(_, child)| act(child));
    }
}

fn is_named(step: &str, name: &[u8]) -> bool {
    step == "*" || step == "**" || step.as_bytes() == name
}
