//! Reads the frames of a spool in order, passes damage, and counts it.

use std::{fs::File, io};

use super::{
    frame::{self, Found, Frame},
    store::{Place, Store},
};

/// What is read at a time.
const PIECE: usize = 256 << 10;

/// Reads one store.
#[derive(Debug)]
pub(crate) struct Reader {
    /// Where the buffer's unread part begins.
    at: Place,
    buffer: Vec<u8>,
    /// What of the buffer is read.
    read: usize,
    file: Option<(u64, File)>,
    /// Bytes that were no frames.
    damaged: u64,
}

impl Reader {
    pub(crate) fn new(at: Place) -> Self {
        Self { at, buffer: Vec::new(), read: 0, file: None, damaged: 0 }
    }

    /// Behind the last frame that was passed.
    pub(crate) fn place(&self) -> Place {
        self.at
    }

    /// Bytes passed that were no frames, since the last call.
    pub(crate) fn take_damaged(&mut self) -> u64 {
        std::mem::take(&mut self.damaged)
    }

    /// Finds the next frame. Its length, for [`Self::frame`] and [`Self::pass`];
    /// None: there is nothing more yet.
    pub(crate) fn find(&mut self, store: &Store) -> io::Result<Option<usize>> {
        loop {
            let unread = &self.buffer[self.read..];
            let needed = match frame::find(unread) {
                Found::Frame(_, len) => return Ok(Some(len)),
                Found::Damaged => {
                    self.skip();
                    continue;
                }
                Found::Partial(needed) => needed,
            };
            if self.fill(store, needed)? {
                continue;
            }
            // The segment ends here: in the middle of a frame, if anything is left.
            let Some(next) = store.after(self.at.segment) else {
                return Ok(None);
            };
            let torn = self.buffer.len() - self.read;
            self.damaged += torn as u64;
            self.jump(Place { segment: next, offset: 0 });
        }
    }

    /// The frame that was found.
    pub(crate) fn frame(&self) -> Option<Frame<'_>> {
        match frame::find(&self.buffer[self.read..]) {
            Found::Frame(frame, _) => Some(frame),
            _ => None,
        }
    }

    /// Goes on behind the frame that was found.
    pub(crate) fn pass(&mut self, len: usize) {
        self.read += len;
        self.at.offset += len as u64;
    }

    /// Goes on elsewhere.
    pub(crate) fn jump(&mut self, to: Place) {
        self.at = to;
        self.buffer.clear();
        self.read = 0;
    }

    /// How much of the last segment is no whole frame. For a spool nobody writes.
    pub(crate) fn torn(&self) -> u64 {
        (self.buffer.len() - self.read) as u64
    }

    /// Passes what is no frame.
    fn skip(&mut self) {
        let bytes = frame::next_start(&self.buffer[self.read..]);
        self.damaged += bytes as u64;
        self.pass(bytes);
    }

    /// Reads on until `needed` bytes are there. False: the segment ends before.
    fn fill(&mut self, store: &Store, needed: usize) -> io::Result<bool> {
        if self.read > 0 {
            self.buffer.drain(..self.read);
            self.read = 0;
        }
        let mut there = self.buffer.len();
        if there == 0 && self.buffer.capacity() > 4 * PIECE {
            self.buffer = Vec::new();
        }
        self.buffer.resize(needed.max(PIECE), 0);
        let mut read = Ok(0);
        while there < needed {
            let at = Place { offset: self.at.offset + there as u64, ..self.at };
            read = store.read(&mut self.file, at, &mut self.buffer[there..]);
            match read {
                Ok(bytes) if bytes > 0 => there += bytes,
                _ => break,
            }
        }
        self.buffer.truncate(there);
        read.map(|_| there >= needed)
    }
}
