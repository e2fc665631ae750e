//! Replaces values in JSON text by where they stand, leaving every other byte as it
//! is: order, spacing, numbers. What does not parse is cut off where it stops being
//! JSON, so that nothing passes that was not looked at.

#[cfg(test)]
mod tests;

use super::Edit;

/// Deeper text is cut there.
const MAX_DEPTH: usize = 200;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One step from a value to one inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A member, by its name without escapes.
    Name(Vec<u8>),
    /// An element, from 0.
    Index(usize),
}

/// JSON text after its values were replaced.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Edited {
    pub(super) text: Vec<u8>,
    /// All of it was JSON; if not, `text` ends where it stopped.
    pub(super) whole: bool,
}

/// Asks `edit` for each value, from the outside inwards, whether it is to be replaced,
/// and then with what. Several documents may follow one another.
pub(super) fn edit(text: &[u8], edits: &mut dyn Edits) -> Edited {
    let mut editor = Editor { text, at: 0, out: Vec::with_capacity(text.len()), path: Vec::new() };
    let whole = editor.documents(edits).is_ok();
    Edited { text: editor.out, whole }
}

/// What is to be done to the values of a document.
pub(super) trait Edits {
    /// Whether the value at this path is meant as a whole.
    fn is_meant(&mut self, path: &[Step]) -> bool;
    /// What becomes of it; `value` is its text.
    fn edit(&mut self, path: &[Step], value: &[u8]) -> Edit;
}

/// The text stopped being JSON; everything looked at is in `out`.
struct Broken;

struct Editor<'a> {
    text: &'a [u8],
    at: usize,
    out: Vec<u8>,
    path: Vec<Step>,
}

impl Editor<'_> {
    fn documents(&mut self, edits: &mut dyn Edits) -> Result<(), Broken> {
        if self.text.starts_with(BYTE_ORDER_MARK) {
            self.out.extend_from_slice(BYTE_ORDER_MARK);
            self.at = BYTE_ORDER_MARK.len();
        }
        loop {
            self.copy_spaces();
            if self.at == self.text.len() {
                return Ok(());
            }
            if !self.value(edits)? {
                self.out.extend_from_slice(b"null");
            }
        }
    }

    /// Copies one value, changed if it is meant. False: it is to be taken out, which
    /// is for whoever holds it to do.
    fn value(&mut self, edits: &mut dyn Edits) -> Result<bool, Broken> {
        if edits.is_meant(&self.path) {
            let start = self.at;
            self.skip()?;
            let value = &self.text[start..self.at];
            match edits.edit(&self.path, value) {
                Edit::Keep => self.out.extend_from_slice(value),
                Edit::Remove => return Ok(false),
                Edit::With(new) => self.out.extend_from_slice(&new),
            }
            return Ok(true);
        }
        if self.path.len() >= MAX_DEPTH {
            return Err(Broken);
        }
        match self.peek() {
            Some(b'{') => self.object(edits)?,
            Some(b'[') => self.array(edits)?,
            _ => {
                let start = self.at;
                let scalar = self.scalar();
                self.out.extend_from_slice(&self.text[start..self.at]);
                scalar?;
            }
        }
        Ok(true)
    }

    fn object(&mut self, edits: &mut dyn Edits) -> Result<(), Broken> {
        self.copy();
        self.copy_spaces();
        if self.peek() == Some(b'}') {
            self.copy();
            return Ok(());
        }
        let mut kept = 0;
        loop {
            // What stands before the member goes with it.
            let before = self.out.len();
            if kept > 0 {
                self.out.push(b',');
            }
            self.copy_spaces();
            let name = self.name()?;
            self.copy_spaces();
            self.expect(b':')?;
            self.copy();
            self.copy_spaces();
            self.path.push(Step::Name(name));
            let keep = self.value(edits)?;
            self.path.pop();
            self.copy_spaces();
            if keep {
                kept += 1;
            } else {
                self.out.truncate(before);
            }
            match self.next()? {
                b',' => {}
                b'}' => {
                    self.out.push(b'}');
                    return Ok(());
                }
                _ => return Err(Broken),
            }
        }
    }

    fn array(&mut self, edits: &mut dyn Edits) -> Result<(), Broken> {
        self.copy();
        self.copy_spaces();
        if self.peek() == Some(b']') {
            self.copy();
            return Ok(());
        }
        let mut index = 0;
        loop {
            self.copy_spaces();
            self.path.push(Step::Index(index));
            if !self.value(edits)? {
                // The places of its neighbours stay what they are.
                self.out.extend_from_slice(b"null");
            }
            self.path.pop();
            index += 1;
            self.copy_spaces();
            match self.peek() {
                Some(b',') => self.copy(),
                Some(b']') => {
                    self.copy();
                    return Ok(());
                }
                _ => return Err(Broken),
            }
        }
    }

    /// Copies a member's name and tells it without escapes.
    fn name(&mut self) -> Result<Vec<u8>, Broken> {
        self.expect(b'"')?;
        let start = self.at;
        let string = self.string();
        let raw = &self.text[start..self.at];
        self.out.extend_from_slice(raw);
        string?;
        let inside = &raw[1..raw.len() - 1];
        if !inside.contains(&b'\\') {
            return Ok(inside.to_vec());
        }
        // Half a surrogate pair has no meaning as text and can match no rule.
        Ok(serde_json::from_slice::<String>(raw).map_or_else(|_| raw.to_vec(), String::into_bytes))
    }

    /// Passes a value without copying it.
    fn skip(&mut self) -> Result<(), Broken> {
        // What each open bracket ends with.
        let mut open = Vec::new();
        loop {
            self.pass_spaces();
            match self.peek() {
                Some(b'{') => open.push(b'}'),
                Some(b'[') => open.push(b']'),
                Some(b'}' | b']') if open.last().copied() == self.peek() => {
                    open.pop();
                }
                Some(b',' | b':') if !open.is_empty() => {
                    self.at += 1;
                    continue;
                }
                _ => {
                    self.scalar()?;
                    if open.is_empty() {
                        return Ok(());
                    }
                    continue;
                }
            }
            self.at += 1;
            if open.is_empty() {
                return Ok(());
            }
            if self.path.len() + open.len() > MAX_DEPTH {
                return Err(Broken);
            }
        }
    }

    fn scalar(&mut self) -> Result<(), Broken> {
        if self.peek() == Some(b'"') {
            return self.string();
        }
        let start = self.at;
        while matches!(
            self.peek(),
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'+' | b'-' | b'.')
        ) {
            self.at += 1;
        }
        if self.at == start { Err(Broken) } else { Ok(()) }
    }

    /// Passes a string with its quotes.
    fn string(&mut self) -> Result<(), Broken> {
        self.at += 1;
        loop {
            let rest = &self.text[self.at..];
            let Some(found) = memchr::memchr2(b'"', b'\\', rest) else {
                self.at = self.text.len();
                return Err(Broken);
            };
            self.at += found + 1;
            if rest[found] == b'"' {
                return Ok(());
            }
            if self.at == self.text.len() {
                return Err(Broken);
            }
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Result<u8, Broken> {
        let byte = self.peek().ok_or(Broken)?;
        self.at += 1;
        Ok(byte)
    }

    fn expect(&self, byte: u8) -> Result<(), Broken> {
        if self.peek() == Some(byte) { Ok(()) } else { Err(Broken) }
    }

    /// Copies the byte that was peeked at.
    fn copy(&mut self) {
        self.out.extend(self.peek());
        self.at += 1;
    }

    fn copy_spaces(&mut self) {
        let start = self.at;
        self.pass_spaces();
        self.out.extend_from_slice(&self.text[start..self.at]);
    }

    fn pass_spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }
}
