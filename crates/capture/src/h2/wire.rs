//! A connection as the `h2` crate reads and writes it, with the ledger looking on.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{PREFACE, frames::Scan, ledger::Ledger};
use crate::stream::Stream;

/// One connection.
pub(super) struct Wire {
    stream: Rc<Stream>,
    /// Read before HTTP/2 was known to be spoken.
    buffered: BytesMut,
    incoming: Scan,
    outgoing: Scan,
    ledger: Rc<Ledger>,
}

impl Wire {
    pub(super) fn new(stream: Rc<Stream>, buffered: BytesMut, ledger: Rc<Ledger>) -> Self {
        let incoming = Scan::new(PREFACE.len());
        Self { stream, buffered, incoming, outgoing: Scan::new(0), ledger }
    }

    fn sent(&mut self, slices: &[IoSlice<'_>], mut written: usize) {
        for slice in slices {
            let part = written.min(slice.len());
            self.outgoing.look(&slice[..part], |frame| self.ledger.sent(frame));
            written -= part;
        }
        self.ledger.wrote(self.outgoing.is_inside_frame());
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ledger.verdict().is_some() {
            // Whoever polls looks for the verdict next.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if this.buffered.is_empty() {
            ready!(this.stream.poll_read(cx, buf))?;
        } else {
            let taken = buf.remaining().min(this.buffered.len());
            buf.put_slice(&this.buffered[..taken]);
            this.buffered.advance(taken);
            if this.buffered.is_empty() {
                this.buffered = BytesMut::new();
            }
        }
        let ledger = &this.ledger;
        this.incoming.look(&buf.filled()[before..], |frame| ledger.received(frame));
        ledger.inside_fields(this.incoming.is_inside_fields());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(this.stream.poll_write(cx, data))?;
        this.sent(&[IoSlice::new(data)], written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(this.stream.poll_write_vectored(cx, slices))?;
        this.sent(slices, written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_shutdown(cx)
    }
}
