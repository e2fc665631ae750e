//! A restored HTTP/1 head as bytes: what was received, with what a profile changes.

use super::{Restored, profile::Change};
use crate::h1::{FieldKind, Form, RequestHead};

/// Writes the head into `out` instead of what is there: to be parsed again.
pub(crate) fn rewrite(out: &mut Vec<u8>, bytes: &[u8], head: &RequestHead, restored: &Restored) {
    out.clear();
    out.extend_from_slice(head.method(bytes));
    out.push(b' ');
    let authority = restored.authority.as_deref();
    match (head.form(), &restored.target, authority) {
        (Form::Origin, Some(target), _) => out.extend_from_slice(target),
        // The target's authority wins over Host, so it is the one to be restored.
        (Form::Absolute, _, Some(authority)) => absolute(out, bytes, head, authority),
        _ => out.extend_from_slice(head.target(bytes)),
    }
    out.extend_from_slice(match head.version() {
        crate::h1::Version::Http10 => b" HTTP/1.0\r\n",
        crate::h1::Version::Http11 => b" HTTP/1.1\r\n",
    });
    for (index, field) in head.field_places().iter().enumerate() {
        let value = match (restored.of(index), field.kind(), authority) {
            (Some(Change::Drop), ..) => continue,
            (Some(Change::Value(value)), ..) => value,
            (None, FieldKind::Host, Some(authority)) if head.form() != Form::Absolute => authority,
            _ => field.value(bytes),
        };
        out.extend_from_slice(field.name(bytes));
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

fn absolute(out: &mut Vec<u8>, bytes: &[u8], head: &RequestHead, authority: &[u8]) {
    out.extend_from_slice(head.scheme(bytes).unwrap_or(b"http"));
    out.extend_from_slice(b"://");
    out.extend_from_slice(authority);
    out.extend_from_slice(head.path(bytes));
    if let Some(query) = head.query(bytes) {
        out.push(b'?');
        out.extend_from_slice(query);
    }
}

#[cfg(test)]
mod tests;
