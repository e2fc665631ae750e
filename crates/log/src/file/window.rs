//! A window on a growing file: its records one after the other by `pread`, so
//! that a reader holds no state in the kernel and sees what was appended since.
//! Knows how records are framed, not what they mean.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
};

use super::format::RECORD_HEAD;

/// Read at a time by whoever reads on and on.
const BLOCK: usize = 512 << 10;
/// Read at a time by whoever looks at a few small records.
const GLANCE: usize = 16 << 10;
/// A record that claims to be longer is damage.
const RECORD_LIMIT: u64 = 256 << 20;

/// What is at the current place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A whole record: its opcode; see [`Window::body`].
    Record(u8),
    /// The file ends within a record (or before it).
    More,
    /// No record can begin so.
    Bad(String),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Window {
    file: File,
    /// Read at a time when there is more.
    block: usize,
    /// Reused as it is: only the first `filled` bytes mean anything.
    buffer: Vec<u8>,
    filled: usize,
    /// Place of the buffer's first byte in the file.
    start: u64,
    /// Of the current record, in the buffer.
    at: usize,
    /// Length of the current record's body, once it was stepped on.
    body: usize,
}

impl Window {
    /// A window that begins at `place`.
    pub(super) fn new(file: File, place: u64) -> Self {
        Self { file, block: BLOCK, buffer: Vec::new(), filled: 0, start: place, at: 0, body: 0 }
    }

    /// One to look at a few small records.
    pub(super) fn glance(file: File, place: u64) -> Self {
        Self { block: GLANCE, ..Self::new(file, place) }
    }

    /// The file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Where the current record begins.
    pub(super) fn place(&self) -> u64 {
        self.start + self.at as u64
    }

    /// Goes to another place.
    pub(super) fn go_to(&mut self, place: u64) {
        let buffered = self.start..=self.start + self.filled as u64;
        if buffered.contains(&place) {
            self.at = (place - self.start) as usize;
        } else {
            self.filled = 0;
            self.start = place;
            self.at = 0;
        }
    }

    /// Looks at the record at the current place.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        if !self.have(RECORD_HEAD)? {
            return Ok(Step::More);
        }
        let head = &self.buffer[self.at..self.at + RECORD_HEAD];
        let opcode = head[0];
        let length = u64::from_le_bytes(head[1..].try_into().expect("eight bytes"));
        // Opcode 0 is none; 0x10 to 0x7f are not defined.
        if !matches!(opcode, 0x01..=0x0f | 0x80..=0xff) {
            return Ok(Step::Bad(format!("0x{opcode:02x} is no record")));
        }
        if length > RECORD_LIMIT {
            return Ok(Step::Bad(format!("a record claims {length} bytes")));
        }
        self.body = length as usize;
        if !self.have(RECORD_HEAD + self.body)? {
            return Ok(Step::More);
        }
        Ok(Step::Record(opcode))
    }

    /// Body of the record [`Window::step`] found.
    pub(super) fn body(&self) -> &[u8] {
        let from = self.at + RECORD_HEAD;
        &self.buffer[from..from + self.body]
    }

    /// Passes the record [`Window::step`] found.
    pub(super) fn pass(&mut self) {
        self.at += RECORD_HEAD + self.body;
        self.body = 0;
    }

    /// Makes `wanted` bytes from the current place available; false if the file
    /// is not that long yet.
    fn have(&mut self, wanted: usize) -> io::Result<bool> {
        if self.filled - self.at >= wanted {
            return Ok(true);
        }
        self.buffer.copy_within(self.at..self.filled, 0);
        self.start += self.at as u64;
        self.filled -= self.at;
        self.at = 0;
        if self.buffer.len() < wanted.max(self.block) {
            self.buffer.resize(wanted.max(self.block), 0);
        }
        while self.filled < wanted {
            let place = self.start + self.filled as u64;
            match self.file.read_at(&mut self.buffer[self.filled..], place) {
                Ok(0) => break,
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.filled >= wanted)
    }
}

/// Reads up to `buffer.len()` bytes at `place`; fewer only at the end of the file.
pub(super) fn read_at_most(file: &File, place: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], place + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
