//! Which frames pass on a connection: looks at their heads (RFC 9113 section 4.1) in
//! the bytes that go by, holding none of them back. What a frame means is for others.

/// DATA (RFC 9113 section 6.1).
pub(super) const DATA: u8 = 0;
/// HEADERS.
pub(super) const HEADERS: u8 = 1;
/// RST_STREAM.
pub(super) const RST_STREAM: u8 = 3;
/// SETTINGS.
pub(super) const SETTINGS: u8 = 4;
/// GOAWAY.
pub(super) const GOAWAY: u8 = 7;
/// WINDOW_UPDATE.
pub(super) const WINDOW_UPDATE: u8 = 8;
/// CONTINUATION.
pub(super) const CONTINUATION: u8 = 9;

/// END_STREAM; on SETTINGS and PING the same bit is ACK.
pub(super) const END_STREAM: u8 = 1;
/// END_HEADERS.
const END_HEADERS: u8 = 4;

/// Bytes of a frame's head.
const HEAD: usize = 9;
/// As much of a payload as the code in RST_STREAM and GOAWAY takes.
const PEEK: usize = 8;

/// A frame, as far as it is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// Bytes of the payload.
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// Why, in RST_STREAM and GOAWAY.
    pub(super) code: u32,
}

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Scan {
    start: [u8; HEAD + PEEK],
    filled: usize,
    /// Bytes of the frame at hand that are not looked at and still to come.
    left: usize,
    /// The frame at hand is part of a field block.
    fields: bool,
    /// A field block was begun, and its last frame has not.
    block: bool,
}

impl Scan {
    /// For what begins after `skip` bytes.
    pub(super) fn new(skip: usize) -> Self {
        Self { start: [0; HEAD + PEEK], filled: 0, left: skip, fields: false, block: false }
    }

    /// Looks at the next bytes and tells of each frame that begins in them.
    pub(super) fn look(&mut self, mut bytes: &[u8], mut on: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            let passed = self.left.min(bytes.len());
            self.left -= passed;
            bytes = &bytes[passed..];
            let wanted = self.wanted();
            let taken = (wanted - self.filled).min(bytes.len());
            self.start[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == self.wanted() && self.filled >= HEAD {
                on(self.begun());
            }
        }
    }

    /// Whether a field block, or the head of a frame, was begun and is not complete.
    pub(super) fn is_inside_fields(&self) -> bool {
        self.block || self.filled > 0 || (self.fields && self.left > 0)
    }

    /// Whether some of a frame has passed, and not all of it.
    pub(super) fn is_inside_frame(&self) -> bool {
        self.filled > 0 || self.left > 0
    }

    fn wanted(&self) -> usize {
        if self.filled < HEAD {
            return HEAD;
        }
        match self.start[3] {
            RST_STREAM | GOAWAY => HEAD + PEEK.min(self.length()),
            _ => HEAD,
        }
    }

    fn length(&self) -> usize {
        u32::from_be_bytes([0, self.start[0], self.start[1], self.start[2]]) as usize
    }

    fn begun(&mut self) -> Frame {
        let start = &self.start;
        let word = |at: usize| {
            u32::from_be_bytes([start[at], start[at + 1], start[at + 2], start[at + 3]])
        };
        let (kind, flags) = (start[3], start[4]);
        let code = match (kind, self.filled) {
            (RST_STREAM, 13..) => word(HEAD),
            (GOAWAY, 17..) => word(HEAD + 4),
            _ => 0,
        };
        let length = self.length();
        let frame =
            Frame { length: length as u32, kind, flags, stream: word(5) & 0x7fff_ffff, code };
        self.left = length - (self.filled - HEAD);
        self.filled = 0;
        self.fields = matches!(kind, HEADERS | CONTINUATION);
        self.block = self.fields && flags & END_HEADERS == 0;
        frame
    }
}

#[cfg(test)]
mod tests;
