//! Ids of requests and agents: UUIDv7 (RFC 9562), made without a lock or a system
//! call, so that a capture thread can afford one per request.

#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, RandomState};

/// Makes ids that increase, one generator per thread.
///
/// Layout after the 48 bits of milliseconds: a 32 bit counter that begins at a
/// random number below 2³¹ in each millisecond (method 1 of RFC 9562 section 6.2),
/// then 42 random bits. Two generators never share a counter, so equal ids need
/// equal counters and equal random bits in one millisecond.
#[derive(Debug)]
pub struct IdGenerator {
    random: SplitMix,
    millisecond: u64,
    counter: u32,
}

impl IdGenerator {
    /// Seeded by the operating system.
    pub fn new() -> Self {
        // The standard library keys its hash maps from the system's randomness; two
        // hashes under different keys are two independent 64 bit seeds.
        let seed = || RandomState::new().hash_one(0u64);
        Self::with_seed(seed(), seed())
    }

    /// With a given seed, so that a test can repeat itself.
    fn with_seed(state: u64, step: u64) -> Self {
        Self { random: SplitMix { state, step: step | 1 }, millisecond: 0, counter: 0 }
    }

    /// The next id, for something that happened at `unix_ns`. Greater than the one
    /// before even if the clock went back.
    // Not an iterator: each id needs a time.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self, unix_ns: u64) -> [u8; 16] {
        let millisecond = unix_ns / 1_000_000;
        if millisecond > self.millisecond {
            self.millisecond = millisecond;
            self.counter = self.first_counter();
        } else {
            match self.counter.checked_add(1) {
                Some(counter) => self.counter = counter,
                None => {
                    self.millisecond += 1;
                    self.counter = self.first_counter();
                }
            }
        }
        let random = self.random.next();
        let counter = u128::from(self.counter);
        let value = u128::from(self.millisecond) << 80
            | 0x7 << 76
            | (counter >> 20) << 64
            | 0b10 << 62
            | (counter & 0xf_ffff) << 42
            | u128::from(random >> 22);
        value.to_be_bytes()
    }

    fn first_counter(&mut self) -> u32 {
        (self.random.next() >> 33) as u32
    }
}

impl Default for IdGenerator {
    fn default() -> Self {
        Self::new()
    }
}

/// An id as UUID text, lower case. Bytes that are no id (not 16) are shown as
/// hexadecimal digits.
pub fn text(id: &[u8]) -> String {
    let mut text = String::new();
    push_text(id, &mut text);
    text
}

/// Puts the same behind what is there.
pub(crate) fn push_text(id: &[u8], text: &mut String) {
    match <[u8; 16]>::try_from(id) {
        Ok(id) => {
            let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
            text.push_str(uuid::Uuid::from_bytes(id).hyphenated().encode_lower(&mut buffer));
        }
        Err(_) => id.iter().for_each(|byte| text.push_str(&format!("{byte:02x}"))),
    }
}

/// An id from its UUID text, with or without hyphens, in any case.
pub fn parse(text: &str) -> Option<[u8; 16]> {
    uuid::Uuid::try_parse(text).ok().map(uuid::Uuid::into_bytes)
}

/// Steele, Lea and Flood's SplitMix64 with its own step: fast, and good enough for
/// bits that only have to differ.
#[derive(Debug)]
struct SplitMix {
    state: u64,
    step: u64,
}

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(self.step);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
