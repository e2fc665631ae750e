//! Reading into and writing from a connection's buffers, with as few system calls
//! and as little memory as the traffic needs.

use std::{cell::RefCell, io, io::IoSlice};

use crate::stream::Stream;
use bytes::{Buf as _, Bytes, BytesMut};

/// First size of a read buffer; most messages fit.
pub(crate) const SMALL: usize = 16 << 10;

/// Size while a body streams.
const LARGE: usize = 64 << 10;

/// Most buffers kept for connections to come.
const MAX_KEPT: usize = 256;

/// First size of a head's memory, and the largest that is kept.
const TEXT: usize = 1 << 10;
const LARGE_TEXT: usize = 8 << 10;

/// Buffers of one thread, to read into and for heads, so that an idle connection holds
/// none.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    free: RefCell<Vec<BytesMut>>,
    texts: RefCell<Vec<Vec<u8>>>,
}

/// What waits for the socket, in this order.
#[derive(Debug, Default)]
pub(crate) struct Unsent {
    pub(crate) before: BytesMut,
    pub(crate) data: Bytes,
    pub(crate) after: &'static [u8],
}

impl Buffers {
    /// Gives `buf` memory, if it has none.
    pub(crate) fn lend(&self, buf: &mut BytesMut) {
        if buf.capacity() == 0 {
            let kept = self.free.borrow_mut().pop();
            *buf = kept.unwrap_or_else(|| BytesMut::with_capacity(SMALL));
        }
    }

    /// Takes the memory of an empty `buf` back.
    pub(crate) fn take_back(&self, buf: &mut BytesMut) {
        if buf.is_empty() && buf.capacity() > 0 {
            let mut buf = std::mem::take(buf);
            buf.clear();
            let mut free = self.free.borrow_mut();
            // What a body had grown, or shares with a record, is not kept.
            if free.len() < MAX_KEPT && buf.try_reclaim(SMALL) && buf.capacity() < LARGE {
                free.push(buf);
            }
        }
    }

    /// Gives `text` memory, if it has none.
    pub(crate) fn lend_text(&self, text: &mut Vec<u8>) {
        if text.capacity() == 0 {
            let kept = self.texts.borrow_mut().pop();
            *text = kept.unwrap_or_else(|| Vec::with_capacity(TEXT));
        }
    }

    /// Takes the memory of `text` back, whatever is in it.
    pub(crate) fn take_text_back(&self, text: &mut Vec<u8>) {
        let mut text = std::mem::take(text);
        let mut texts = self.texts.borrow_mut();
        if texts.len() < 4 * MAX_KEPT && (1..=LARGE_TEXT).contains(&text.capacity()) {
            text.clear();
            texts.push(text);
        }
    }
}

impl Unsent {
    pub(crate) fn is_empty(&self) -> bool {
        self.before.is_empty() && self.data.is_empty() && self.after.is_empty()
    }

    /// Makes one piece of all that waits, so that more can be put behind it. There is
    /// something only if a wait for the socket was given up.
    pub(crate) fn gather(&mut self) {
        self.before.extend_from_slice(&self.data);
        self.before.extend_from_slice(self.after);
        (self.data, self.after) = (Bytes::new(), &[]);
    }

    /// Cancel-safe.
    pub(crate) async fn write(&mut self, stream: &Stream) -> io::Result<()> {
        while !self.is_empty() {
            match self.try_write(stream) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    stream.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        if stream.is_unflushed() { stream.writable().await } else { Ok(()) }
    }

    fn try_write(&self, stream: &Stream) -> io::Result<usize> {
        let all = [&self.before[..], &self.data[..], self.after];
        let mut slices = [IoSlice::new(&[]); 3];
        let mut count = 0;
        for slice in all.into_iter().filter(|slice| !slice.is_empty()) {
            slices[count] = IoSlice::new(slice);
            count += 1;
        }
        stream.try_write(&slices[..count])
    }

    fn advance(&mut self, mut written: usize) {
        let step = written.min(self.before.len());
        self.before.advance(step);
        written -= step;
        let step = written.min(self.data.len());
        self.data.advance(step);
        written -= step;
        self.after = &self.after[written..];
    }
}

/// Reads once, into room of `size` if there is little left. 0: the peer will send
/// nothing more.
pub(crate) async fn read(from: &Stream, buf: &mut BytesMut, size: usize) -> io::Result<usize> {
    if buf.spare_capacity_mut().len() < size / 4 {
        buf.reserve(size);
    }
    from.read(buf).await
}

/// Room for the next read of a body of which `so_far` bytes have come.
pub(crate) fn room(so_far: u64) -> usize {
    if so_far < SMALL as u64 { SMALL } else { LARGE }
}

/// Writes both slices completely, together where the socket takes it.
pub(crate) async fn write_both(to: &Stream, first: &[u8], second: &[u8]) -> io::Result<()> {
    let mut written = 0;
    loop {
        written += match try_write_both(to, first, second, written) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                to.writable().await?;
                continue;
            }
            Err(error) => return Err(error),
        };
        if written >= first.len() + second.len() {
            return if to.is_unflushed() { to.writable().await } else { Ok(()) };
        }
    }
}

/// Writes what the socket takes now of both slices, less the first `skip` bytes.
pub(crate) fn try_write_both(
    to: &Stream,
    first: &[u8],
    second: &[u8],
    skip: usize,
) -> io::Result<usize> {
    let in_second = skip.saturating_sub(first.len()).min(second.len());
    let (first, second) = (&first[skip.min(first.len())..], &second[in_second..]);
    if first.is_empty() && second.is_empty() {
        return Ok(0);
    }
    let n = match (first.is_empty(), second.is_empty()) {
        (false, true) => to.try_write(&[IoSlice::new(first)])?,
        (true, _) => to.try_write(&[IoSlice::new(second)])?,
        _ => to.try_write(&[IoSlice::new(first), IoSlice::new(second)])?,
    };
    if n == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(n) }
}
