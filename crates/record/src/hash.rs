//! The hash of a body: XXH3-128, seed 0, as 16 canonical (big-endian) bytes. It
//! tells bodies apart; it is no protection against someone who forges them.

#[cfg(test)]
mod tests;

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Length and hash of a body that passes in pieces.
#[derive(Clone, Default)]
pub struct BodyHash {
    state: Xxh3,
    length: u64,
}

impl BodyHash {
    /// Of no bytes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.state.update(piece);
        self.length += piece.len() as u64;
    }

    /// Bytes so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Hash of the bytes so far.
    pub fn digest(&self) -> [u8; 16] {
        self.state.digest128().to_be_bytes()
    }
}

impl std::fmt::Debug for BodyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyHash").field("length", &self.length).finish_non_exhaustive()
    }
}

/// Hash of a body at hand as a whole; for small bodies several times as fast as
/// [`BodyHash`].
pub fn of(body: &[u8]) -> [u8; 16] {
    xxh3_128(body).to_be_bytes()
}
