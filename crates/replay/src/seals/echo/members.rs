//! Names and values as they stand in JSON, whole or broken off, by itself or within other
//! text: `"name": value`, the value a string, a number or a word, or a list of these.
//! Reads no further into a document than that, so that nothing has to be well formed.

use std::collections::{HashMap, HashSet};

use umbra_record::seal::PLACEHOLDER;

/// Longer values are found anywhere.
const LONGEST: usize = 64;
/// Longest name that is looked for.
const LONGEST_NAME: usize = 256;

/// Values by their names in lower case.
#[derive(Default)]
pub(super) struct Members(HashMap<Vec<u8>, HashSet<Vec<u8>>>);

/// A string without its quotes, a number or a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Scalar {
    start: usize,
    end: usize,
    is_string: bool,
    /// The text ends within it.
    is_open: bool,
}

impl Members {
    pub(super) fn add(&mut self, name: &[u8], value: &[u8]) {
        if !name.is_empty() && name.len() <= LONGEST_NAME && (1..=LONGEST).contains(&value.len()) {
            self.0.entry(name.to_ascii_lowercase()).or_default().insert(value.to_vec());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text without these values under their names; `None`: there are none. `cut`: it
    /// goes on.
    pub(super) fn without(&self, text: &[u8], cut: bool) -> Option<Vec<u8>> {
        if self.is_empty() {
            return None;
        }
        let mut left = Vec::new();
        let mut copied = 0;
        for colon in memchr::memchr_iter(b':', text) {
            let Some((name, escape)) = name_before(&text[..colon]) else { continue };
            let Some(values) = self.0.get(&name.to_ascii_lowercase()) else { continue };
            for scalar in Scalars::after(text, colon + 1) {
                let value = &text[scalar.start..scalar.end];
                let is_begun = scalar.is_open
                    && cut
                    && !value.is_empty()
                    && values.iter().any(|one| one.starts_with(value));
                if scalar.start < copied || !(values.contains(value) || is_begun) {
                    continue;
                }
                left.extend_from_slice(&text[copied..scalar.start]);
                let quote: &[u8] = if scalar.is_string { b"" } else { b"\"" };
                let escape: &[u8] = if scalar.is_string { b"" } else { escape };
                for piece in [escape, quote, PLACEHOLDER, escape, quote] {
                    left.extend_from_slice(piece);
                }
                copied = scalar.end;
            }
        }
        (copied > 0).then(|| {
            left.extend_from_slice(&text[copied..]);
            left
        })
    }
}

/// The name that ends here, and the escapes of its quotes, if it stands in a string.
fn name_before(before: &[u8]) -> Option<(&[u8], &[u8])> {
    let inside = before.trim_ascii_end().strip_suffix(b"\"")?;
    let unescaped = inside.len() - inside.iter().rev().take_while(|byte| **byte == b'\\').count();
    let (inside, escape) = inside.split_at(unescaped);
    let from = inside.len().saturating_sub(LONGEST_NAME + 1);
    let quote = memchr::memrchr(b'"', &inside[from..])?;
    Some((&inside[from + quote + 1..], escape))
}

/// One value, or those of a list.
struct Scalars<'a> {
    text: &'a [u8],
    at: usize,
    is_list: bool,
    is_done: bool,
}

impl<'a> Scalars<'a> {
    fn after(text: &'a [u8], at: usize) -> Self {
        let mut scalars = Self { text, at, is_list: false, is_done: false };
        scalars.pass_spaces();
        if scalars.peek() == Some(b'[') {
            scalars.at += 1;
            scalars.is_list = true;
        }
        scalars
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn pass_spaces(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_ascii_start().len();
    }

    fn scalar(&mut self) -> Option<Scalar> {
        self.pass_spaces();
        let escapes = self.text[self.at..].iter().take_while(|byte| **byte == b'\\').count();
        if self.text.get(self.at + escapes) == Some(&b'"') {
            let start = self.at + escapes + 1;
            let (length, is_open) = string(&self.text[start..], escapes > 0);
            let end = start + length;
            self.at = (end + escapes + 1).min(self.text.len());
            return Some(Scalar { start, end, is_string: true, is_open });
        }
        let start = self.at;
        while self.peek().is_some_and(is_of_word) {
            self.at += 1;
        }
        let is_open = self.at == self.text.len();
        let scalar = Scalar { start, end: self.at, is_string: false, is_open };
        (self.at > start).then_some(scalar)
    }
}

impl Iterator for Scalars<'_> {
    type Item = Scalar;

    fn next(&mut self) -> Option<Scalar> {
        if self.is_done {
            return None;
        }
        let scalar = self.scalar();
        self.pass_spaces();
        self.is_done = scalar.is_none() || !self.is_list || self.peek() != Some(b',');
        self.at += 1;
        scalar
    }
}

/// How long a string is that begins here, and whether its end is not there. One that
/// itself stands in a string ends at the next escape.
fn string(text: &[u8], is_escaped: bool) -> (usize, bool) {
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &text[at..]) {
        at += found;
        if is_escaped || text[at] == b'"' {
            return (at, false);
        }
        at = (at + 2).min(text.len());
    }
    (text.len(), true)
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

/// Hands over the strings (without quotes), numbers and words of a JSON value, each with
/// the name it stands under; `name` is that of the value itself.
pub(super) fn leaves(value: &[u8], name: &[u8], mut take: impl FnMut(&[u8], &[u8], bool)) {
    let mut name = name;
    let mut rest = Scalars { text: value, at: 0, is_list: false, is_done: false };
    while rest.at < value.len() {
        let Some(scalar) = rest.scalar() else {
            rest.at += 1;
            continue;
        };
        let inside = &value[scalar.start..scalar.end];
        rest.pass_spaces();
        if scalar.is_string && rest.peek() == Some(b':') {
            name = inside;
        } else if !inside.is_empty() {
            take(name, inside, scalar.is_string);
        }
    }
}
