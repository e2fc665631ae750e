//! A copy of a body in the making: bytes, length and hash. Small frames are
//! copied, because a slice of them would pin a whole read buffer; large ones are
//! shared. Everything kept is charged to the budget.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use umbra_record::{encode::Pieces, hash};

use crate::budget::Charge;

/// Frames from this size on are shared with the read buffer instead of copied.
pub(crate) const SHARED_FRAME: usize = 16 << 10;

/// Kept bytes of a body, in order.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pieces: Vec<Bytes>,
    /// Behind the pieces.
    tail: BytesMut,
    len: usize,
}

/// A body being copied.
#[derive(Debug)]
pub(crate) struct BodyCopy {
    pub(super) body: Body,
    pub(super) charge: Charge,
    /// Bytes to keep; what follows is only counted and hashed.
    limit: u64,
    kept: u64,
    length: u64,
    hash: Hash,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copied {
    /// Kept as far as the limit allows.
    Yes,
    /// The budget is used up; nothing of the frame was kept.
    OverBudget,
}

/// The hash of a body. One that stays small is hashed at its end in one go,
/// which is several times as fast.
#[derive(Debug, Default)]
struct Hash {
    state: Option<Box<hash::BodyHash>>,
    running: bool,
}

impl Body {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All of it in one piece.
    pub(crate) fn contiguous(&self) -> Cow<'_, [u8]> {
        match &self.pieces[..] {
            [] => Cow::Borrowed(&self.tail),
            [one] if self.tail.is_empty() => Cow::Borrowed(one),
            _ => Cow::Owned(self.slices(0, self.len).concat()),
        }
    }

    fn copy(&mut self, frame: &[u8]) {
        self.tail.extend_from_slice(frame);
        self.len += frame.len();
    }

    fn share(&mut self, frame: Bytes) {
        if !self.tail.is_empty() {
            self.pieces.push(self.tail.split().freeze());
        }
        self.len += frame.len();
        self.pieces.push(frame);
    }

    /// Empties it; the memory of a small body is kept for the next one.
    fn clear(&mut self) {
        self.pieces.clear();
        self.len = 0;
        if self.tail.capacity() > SHARED_FRAME {
            self.tail = BytesMut::new();
        } else {
            self.tail.clear();
        }
    }

    /// The bytes from `from` to `to`, where they lie.
    pub(crate) fn slices(&self, from: usize, to: usize) -> Vec<&[u8]> {
        let mut slices = Vec::new();
        let mut start = 0;
        for piece in (0..self.count()).map(|at| self.piece(at)) {
            let end = start + piece.len();
            if from < end && start < to {
                slices.push(&piece[from.max(start) - start..to.min(end) - start]);
            }
            start = end;
        }
        slices
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self { len: bytes.len(), pieces: vec![bytes.into()], tail: BytesMut::new() }
    }
}

impl Pieces for Body {
    fn count(&self) -> usize {
        self.pieces.len() + 1
    }

    fn piece(&self, index: usize) -> &[u8] {
        self.pieces.get(index).map_or(&self.tail, |piece| piece)
    }
}

impl BodyCopy {
    pub(super) fn new(charge: Charge) -> Self {
        Self { body: Body::default(), charge, limit: 0, kept: 0, length: 0, hash: Hash::default() }
    }

    /// Begins the next body.
    pub(super) fn start(&mut self, limit: u64) {
        self.clear();
        self.limit = limit;
        self.kept = 0;
        self.length = 0;
        self.hash.running = false;
    }

    /// Forgets the bytes and gives their budget back.
    pub(super) fn clear(&mut self) {
        self.body.clear();
        self.charge.release();
    }

    /// Whether bytes that follow will be kept.
    pub(super) fn wants_more(&self) -> bool {
        self.kept < self.limit
    }

    /// Keeps nothing of what follows.
    pub(super) fn cut_here(&mut self) {
        self.limit = self.kept;
    }

    /// Bytes of the body so far, kept or not.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Whether some of it was not kept.
    pub(super) fn is_cut(&self) -> bool {
        self.kept < self.length
    }

    pub(super) fn digest(&self) -> [u8; 16] {
        match &self.hash.state {
            Some(state) if self.hash.running => state.digest(),
            _ => hash::of(&self.body.tail),
        }
    }

    /// Takes the next frame; `shared` is the same bytes, if they can be shared.
    pub(super) fn add(&mut self, frame: &[u8], shared: Option<Bytes>) -> Copied {
        let room = usize::try_from(self.limit - self.kept).unwrap_or(usize::MAX);
        let keep = frame.len().min(room);
        if self.hash.running || keep < frame.len() || self.body.len() + keep >= SHARED_FRAME {
            self.hash.run(&self.body.tail);
            self.hash.update(frame);
        }
        self.length += frame.len() as u64;
        if keep == 0 {
            return Copied::Yes;
        }
        let shared = shared.filter(|_| keep >= SHARED_FRAME);
        // What a shared frame pins of its buffer beside itself is charged too.
        let cost = if shared.is_some() { keep + keep / 4 } else { keep };
        if !self.charge.grow(cost) {
            // The tail stops short of the body now, so it cannot be hashed later.
            if !self.hash.running {
                self.hash.run(&self.body.tail);
                self.hash.update(frame);
            }
            return Copied::OverBudget;
        }
        self.kept += keep as u64;
        match shared {
            Some(shared) => self.body.share(shared.slice(..keep)),
            None => self.body.copy(&frame[..keep]),
        }
        Copied::Yes
    }

    /// Takes out what is kept so far, with its charge.
    pub(super) fn take(&mut self) -> (Body, Charge) {
        self.hash.run(&self.body.tail);
        let charge = self.charge.take();
        (std::mem::take(&mut self.body), charge)
    }
}

impl Hash {
    /// From here on each frame is hashed as it comes; `before` is all so far.
    fn run(&mut self, before: &[u8]) {
        if self.running {
            return;
        }
        let state = self.state.get_or_insert_default();
        **state = hash::BodyHash::new();
        state.update(before);
        self.running = true;
    }

    fn update(&mut self, frame: &[u8]) {
        if let Some(state) = &mut self.state {
            state.update(frame);
        }
    }
}

#[cfg(test)]
mod tests;
