//! Replaces the parts of a multipart body (RFC 2046, RFC 7578), leaving every other byte
//! as it is. What is not multipart as announced is cut off there.

#[cfg(test)]
mod tests;

use memchr::memmem;

use super::{Edit, json::Edited};

/// The head of a part.
#[derive(Debug, Clone, Copy)]
pub(super) struct PartHead<'a>(&'a [u8]);

/// Longest head of a part that is understood.
const MAX_HEAD: usize = 16 << 10;

/// The boundary that a Content-Type announces.
pub(super) fn boundary(content_type: &[u8]) -> Option<Vec<u8>> {
    parameter(content_type, b"boundary").filter(|boundary| !boundary.is_empty())
}

/// The body with the parts replaced for which `edit` says so; what comes from a part on
/// that it does not understand is cut off.
pub(super) fn edit(
    body: &[u8],
    boundary: &[u8],
    mut edit: impl FnMut(PartHead<'_>, &[u8]) -> Option<Edit>,
) -> Edited {
    let mut out = Vec::with_capacity(body.len());
    let delimiter = [b"--", boundary].concat();
    let between = [b"\r\n", &delimiter[..]].concat();
    let first = memmem::find(body, &delimiter).filter(|_| !boundary.is_empty());
    let Some(mut at) = first else {
        return Edited { text: out, whole: false };
    };
    loop {
        // At a delimiter.
        let rest = &body[at..];
        let after = &rest[delimiter.len()..];
        if after.starts_with(b"--") {
            out.extend_from_slice(rest);
            return Edited { text: out, whole: true };
        }
        let head = memmem::find(&after[..after.len().min(MAX_HEAD)], b"\r\n\r\n");
        let Some(head) = head.map(|found| found + 4) else {
            return Edited { text: out, whole: false };
        };
        // Where readers disagree on what is head and what is content, nothing passes.
        let own = &after[..head];
        let early = [b"\n", &delimiter[..]].concat();
        let doubtful = memmem::find(own, b"\n\n").is_some()
            || memmem::find(own, &early).is_some()
            || after[head..].starts_with(&delimiter);
        if doubtful {
            return Edited { text: out, whole: false };
        }
        let end = memmem::find(&after[head..], &between).map(|found| head + found);
        let value = &after[head..end.unwrap_or(after.len())];
        let Some(edited) = edit(PartHead(&after[..head]), value) else {
            return Edited { text: out, whole: false };
        };
        let Some(end) = end else {
            // The body was cut in this part: what was meant is not shown by half.
            if edited == Edit::Keep {
                out.extend_from_slice(rest);
            }
            return Edited { text: out, whole: false };
        };
        if edited != Edit::Remove {
            out.extend_from_slice(&rest[..delimiter.len() + head]);
            match edited {
                Edit::With(new) => out.extend_from_slice(&new),
                _ => out.extend_from_slice(value),
            }
            out.extend_from_slice(b"\r\n");
        }
        at += delimiter.len() + end + 2;
    }
}

impl PartHead<'_> {
    /// The field's name, from the Content-Disposition.
    pub(super) fn name(self) -> Option<Vec<u8>> {
        self.field(b"content-disposition").and_then(|value| parameter(&value, b"name"))
    }

    /// What is in the part.
    pub(super) fn content_type(self) -> Option<Vec<u8>> {
        self.field(b"content-type")
    }

    /// A field's value; one that is folded over several lines is put together.
    fn field(self, wanted: &[u8]) -> Option<Vec<u8>> {
        let mut found: Option<Vec<u8>> = None;
        for line in self.0.split(|byte| *byte == b'\n') {
            let folded = matches!(line.first(), Some(b' ' | b'\t'));
            match &mut found {
                Some(value) if folded => value.extend_from_slice(line),
                Some(_) => break,
                None => {
                    let colon = memchr::memchr(b':', line).unwrap_or(line.len());
                    if line[..colon].trim_ascii().eq_ignore_ascii_case(wanted) {
                        found = Some(line[(colon + 1).min(line.len())..].to_vec());
                    }
                }
            }
        }
        found.map(|value| value.into_iter().filter(|byte| *byte != b'\r').collect())
    }
}

/// A parameter of a header value, without its quotes.
fn parameter(value: &[u8], wanted: &[u8]) -> Option<Vec<u8>> {
    let mut rest = value;
    while let Some(semicolon) = memchr::memchr(b';', rest) {
        rest = rest[semicolon + 1..].trim_ascii_start();
        let equals = memchr::memchr(b'=', rest)?;
        let is_wanted = rest[..equals].trim_ascii().eq_ignore_ascii_case(wanted);
        let after = rest[equals + 1..].trim_ascii_start();
        let (text, behind) = match after.strip_prefix(b"\"") {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let end = memchr::memchr(b';', after).unwrap_or(after.len());
                (after[..end].trim_ascii().to_vec(), &after[end..])
            }
        };
        if is_wanted {
            return Some(text);
        }
        rest = behind;
    }
    None
}

/// A quoted string after its first quote, and what follows its last.
fn unquoted(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut plain = Vec::new();
    let mut at = 0;
    loop {
        match *text.get(at)? {
            b'"' => return Some((plain, &text[at + 1..])),
            b'\\' => {
                plain.push(*text.get(at + 1)?);
                at += 2;
            }
            byte => {
                plain.push(byte);
                at += 1;
            }
        }
    }
}
