//! Replaces values in lists of `name=value` pairs: queries and forms (`&`), cookies
//! (`;`). Every other byte stays as it is.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use super::Edit;

/// How pairs stand in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// `a=1&b=2`, names percent-encoded (WHATWG URL, application/x-www-form-urlencoded).
    Form,
    /// `a=1; b=2` (RFC 6265 section 4.2.1).
    Cookies,
}

/// The text with the values replaced for which `edit` says so; `edit` gets each pair's
/// name without its encoding, and its value as it stands. A cookie that is a value alone
/// has an empty name (RFC 6265bis section 5.7). `None`: nothing changed.
pub(super) fn edit(
    text: &[u8],
    syntax: Syntax,
    mut edit: impl FnMut(&[u8], &[u8]) -> Edit,
) -> Option<Vec<u8>> {
    let separator = if syntax == Syntax::Form { b'&' } else { b';' };
    let mut out = Vec::new();
    let mut changed = false;
    let mut written = 0;
    for pair in text.split(|byte| *byte == separator) {
        let edited = match memchr::memchr(b'=', pair) {
            // A name alone has no value that could be a secret.
            None if syntax == Syntax::Form => Edit::Keep,
            None => edit(b"", pair.trim_ascii()),
            Some(at) if syntax == Syntax::Form => edit(&unescaped(&pair[..at]), &pair[at + 1..]),
            Some(at) => edit(pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()),
        };
        if edited == Edit::Remove {
            changed = true;
            continue;
        }
        let first = written == 0;
        written += 1;
        if !first {
            out.push(separator);
        }
        // The space before a cookie belongs to the separator.
        let pair = if first { pair.trim_ascii_start() } else { pair };
        match edited {
            Edit::With(new) => {
                changed = true;
                let spaces = pair.len() - pair.trim_ascii_start().len();
                let value = memchr::memchr(b'=', pair).map_or(spaces, |at| at + 1);
                out.extend_from_slice(&pair[..value]);
                out.extend_from_slice(&new);
            }
            Edit::Keep | Edit::Remove => out.extend_from_slice(pair),
        }
    }
    changed.then_some(out)
}

/// A name or value of a form without its percent-encoding and plus signs.
pub fn unescaped(name: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'%', b'+', name).is_none() {
        return Cow::Borrowed(name);
    }
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, after)) = rest.split_first() {
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                plain.push(high << 4 | low);
                rest = &after[2..];
            }
            None => {
                plain.push(if *first == b'+' { b' ' } else { *first });
                rest = after;
            }
        }
    }
    Cow::Owned(plain)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
