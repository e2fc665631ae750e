//! JSON (RFC 8259) as text with its structure found: numbers stay as they are
//! written, members keep their order and repetitions, strings are borrowed unless
//! they contain escapes. Strict, and bounded in depth.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::node::{MAX_NODES, Node};

/// Deepest nesting; deeper is "not JSON" and compared as bytes.
const MAX_DEPTH: usize = 128;

/// The one value of a text; `None` if it is not JSON.
pub(crate) fn parse(bytes: &[u8]) -> Option<Node<'_>> {
    let mut left = MAX_NODES;
    parse_some(bytes, &mut left)
}

/// The same for one of several texts that share a bound of values.
pub(crate) fn parse_some<'a>(bytes: &'a [u8], left: &mut usize) -> Option<Node<'a>> {
    let text = std::str::from_utf8(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)).ok()?;
    let mut reader = Reader { text, at: 0, left };
    reader.space();
    let node = reader.value(MAX_DEPTH)?;
    reader.space();
    (reader.at == text.len()).then_some(node)
}

struct Reader<'a, 'b> {
    text: &'a str,
    at: usize,
    /// How many more values there may be.
    left: &'b mut usize,
}

impl<'a> Reader<'a, '_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Option<Node<'a>> {
        *self.left = self.left.checked_sub(1)?;
        match self.peek()? {
            b'{' => self.map(depth.checked_sub(1)?),
            b'[' => self.list(depth.checked_sub(1)?),
            b'"' => self.string().map(Node::Text),
            b'n' => self.word("null", Node::Null),
            b't' => self.word("true", Node::Bool(true)),
            b'f' => self.word("false", Node::Bool(false)),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &str, node: Node<'a>) -> Option<Node<'a>> {
        self.text[self.at..].starts_with(word).then(|| {
            self.at += word.len();
            node
        })
    }

    fn list(&mut self, depth: usize) -> Option<Node<'a>> {
        self.take(b'[')?;
        let mut items = Vec::new();
        self.space();
        if self.take(b']').is_some() {
            return Some(Node::List(items));
        }
        loop {
            self.space();
            items.push(self.value(depth)?);
            self.space();
            if self.take(b']').is_some() {
                return Some(Node::List(items));
            }
            self.take(b',')?;
        }
    }

    fn map(&mut self, depth: usize) -> Option<Node<'a>> {
        self.take(b'{')?;
        let mut members = Vec::new();
        self.space();
        if self.take(b'}').is_some() {
            return Some(Node::Map(members));
        }
        loop {
            self.space();
            let name = self.string()?;
            self.space();
            self.take(b':')?;
            self.space();
            members.push((name, self.value(depth)?));
            self.space();
            if self.take(b'}').is_some() {
                return Some(Node::Map(members));
            }
            self.take(b',')?;
        }
    }

    fn number(&mut self) -> Option<Node<'a>> {
        let start = self.at;
        let _ = self.take(b'-');
        if self.take(b'0').is_none() {
            self.digits()?;
        }
        if self.take(b'.').is_some() {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(Node::Number(self.text[start..self.at].into()))
    }

    /// One digit or more.
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn string(&mut self) -> Option<Cow<'a, [u8]>> {
        self.take(b'"')?;
        let bytes = self.text.as_bytes();
        let mut start = self.at;
        let mut owned: Option<Vec<u8>> = None;
        loop {
            match self.peek()? {
                b'"' => {
                    let rest = &bytes[start..self.at];
                    self.at += 1;
                    return Some(match owned {
                        None => rest.into(),
                        Some(mut owned) => {
                            owned.extend_from_slice(rest);
                            owned.into()
                        }
                    });
                }
                b'\\' => {
                    let owned = owned.get_or_insert_default();
                    owned.extend_from_slice(&bytes[start..self.at]);
                    self.at += 1;
                    self.escape(owned)?;
                    start = self.at;
                }
                // Control characters must be escaped.
                0..0x20 => return None,
                _ => self.at += 1,
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let byte = self.peek()?;
        self.at += 1;
        out.push(match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let unit = self.unit()?;
                self.scalar(unit, out)?;
                return Some(());
            }
            _ => return None,
        });
        Some(())
    }

    /// Appends the character of a UTF-16 unit, together with the low half that
    /// follows a high one.
    fn scalar(&mut self, unit: u32, out: &mut Vec<u8>) -> Option<()> {
        let mut scalar = unit;
        if (0xd800..0xdc00).contains(&unit) && self.text[self.at..].starts_with("\\u") {
            let before = self.at;
            self.at += 2;
            let low = self.unit()?;
            if (0xdc00..0xe000).contains(&low) {
                scalar = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            } else {
                self.at = before;
            }
        }
        match char::from_u32(scalar) {
            Some(scalar) => out.extend_from_slice(scalar.encode_utf8(&mut [0; 4]).as_bytes()),
            None => out.extend_from_slice(&[
                0xe0 | (scalar >> 12) as u8,
                0x80 | (scalar >> 6 & 0x3f) as u8,
                0x80 | (scalar & 0x3f) as u8,
            ]),
        }
        Some(())
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4)?;
        let unit = digits
            .iter()
            .try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))?;
        self.at += 4;
        Some(unit)
    }
}
