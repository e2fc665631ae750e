//! A record as it stands in a spool: what the log was to be given, with a checksum,
//! so that a torn tail and damage are seen, and a mark by which reading finds its
//! way again behind damage.

use umbra_log::Entry;

/// Begins each frame.
const MAGIC: [u8; 4] = *b"\xfeUmS";

/// Magic, length of the body, checksum of the body.
const HEAD: usize = 12;

/// The numbers of a body: partition, lane, sequence, time, weight, length of the
/// key, number of headers.
const FIXED: usize = 4 + 4 + 8 + 8 + 4 + 2 + 1;

/// No frame is larger: a longer one is damage.
pub(crate) const MAX_FRAME: usize = 64 << 20;

/// A record, where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) partition: u32,
    pub(crate) lane: u32,
    pub(crate) sequence: u64,
    pub(crate) time_ns: u64,
    /// Requests that are lost with it.
    pub(crate) weight: u32,
    pub(crate) key: &'a [u8],
    pub(crate) headers: Vec<(&'a str, &'a [u8])>,
    pub(crate) payload: &'a [u8],
}

/// What lies at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A whole frame, and its length.
    Frame(Frame<'a>, usize),
    /// The beginning of a frame, perhaps: so many bytes are needed to know.
    Partial(usize),
    /// No frame.
    Damaged,
}

impl Frame<'_> {
    /// As an entry for the log.
    pub(crate) fn entry(&self) -> Entry<'_> {
        Entry {
            partition: self.partition,
            time_ns: self.time_ns,
            key: self.key,
            headers: &self.headers,
            payload: self.payload,
            weight: self.weight,
        }
    }
}

/// How many bytes the frame of an entry takes.
pub(crate) fn encoded_len(entry: &Entry<'_>) -> usize {
    let headers: usize =
        entry.headers.iter().map(|(name, value)| 3 + name.len() + value.len()).sum();
    HEAD + FIXED + headers + entry.key.len() + entry.payload.len()
}

/// Appends the frame of an entry; the checksum is left for [`seal`].
pub(crate) fn encode(entry: &Entry<'_>, lane: u32, sequence: u64, out: &mut Vec<u8>) {
    let body = encoded_len(entry) - HEAD;
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&(body as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&entry.partition.to_le_bytes());
    out.extend_from_slice(&lane.to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&entry.time_ns.to_le_bytes());
    out.extend_from_slice(&entry.weight.to_le_bytes());
    out.extend_from_slice(&(entry.key.len() as u16).to_le_bytes());
    out.push(entry.headers.len() as u8);
    for (name, value) in entry.headers {
        out.push(name.len() as u8);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&(value.len() as u16).to_le_bytes());
        out.extend_from_slice(value);
    }
    out.extend_from_slice(entry.key);
    out.extend_from_slice(entry.payload);
}

/// Puts the checksum into each of these whole frames. Says how many they are.
pub(crate) fn seal(mut frames: &mut [u8]) -> u64 {
    let mut count = 0;
    while let Some(body) = body_len(frames) {
        let (frame, rest) = std::mem::take(&mut frames).split_at_mut(HEAD + body);
        let sum = crc32fast::hash(&frame[HEAD..]);
        frame[8..HEAD].copy_from_slice(&sum.to_le_bytes());
        frames = rest;
        count += 1;
    }
    count
}

/// Looks at the beginning of `bytes`.
pub(crate) fn find(bytes: &[u8]) -> Found<'_> {
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return Found::Damaged;
    }
    if bytes.len() < HEAD {
        return Found::Partial(HEAD);
    }
    let Some(body) = body_len(bytes).filter(|len| (FIXED..=MAX_FRAME).contains(len)) else {
        return Found::Damaged;
    };
    let len = HEAD + body;
    if bytes.len() < len {
        return Found::Partial(len);
    }
    let mut cursor = Cursor(&bytes[8..len]);
    let sum = cursor.number::<4>() as u32;
    if sum != crc32fast::hash(cursor.0) {
        return Found::Damaged;
    }
    match cursor.frame() {
        Some(frame) => Found::Frame(frame, len),
        None => Found::Damaged,
    }
}

/// Where the next frame may begin, behind the first byte; the length of `bytes` if
/// nowhere.
pub(crate) fn next_start(bytes: &[u8]) -> usize {
    let starts = |at: &usize| {
        let rest = &bytes[*at..];
        let known = rest.len().min(MAGIC.len());
        rest[..known] == MAGIC[..known]
    };
    (1..bytes.len()).find(starts).unwrap_or(bytes.len())
}

/// Length of the body of the frame that begins here.
fn body_len(bytes: &[u8]) -> Option<usize> {
    let len = bytes.get(4..8)?.try_into().ok()?;
    Some(u32::from_le_bytes(len) as usize)
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn frame(&mut self) -> Option<Frame<'a>> {
        if self.0.len() < FIXED {
            return None;
        }
        let partition = self.number::<4>() as u32;
        let lane = self.number::<4>() as u32;
        let (sequence, time_ns) = (self.number::<8>(), self.number::<8>());
        let weight = self.number::<4>() as u32;
        let (key, headers) = (self.number::<2>() as usize, self.number::<1>());
        let mut frame = Frame {
            partition,
            lane,
            sequence,
            time_ns,
            weight,
            key: &[],
            headers: Vec::with_capacity(headers as usize),
            payload: &[],
        };
        for _ in 0..headers {
            let len = self.bytes(1)?[0];
            let name = std::str::from_utf8(self.bytes(len.into())?).ok()?;
            let len = u16::from_le_bytes(self.bytes(2)?.try_into().ok()?);
            frame.headers.push((name, self.bytes(len.into())?));
        }
        frame.key = self.bytes(key)?;
        frame.payload = self.0;
        Some(frame)
    }

    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    /// Of N bytes, which are there.
    fn number<const N: usize>(&mut self) -> u64 {
        let mut number = [0; 8];
        if let Some(bytes) = self.bytes(N) {
            number[..N].copy_from_slice(bytes);
        }
        u64::from_le_bytes(number)
    }
}

#[cfg(test)]
mod tests;
