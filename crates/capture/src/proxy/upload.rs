//! The rest of a request's body on its way from client to upstream.

use std::{cell::RefCell, ops::Range};

use bytes::{Buf as _, Bytes, BytesMut};

use super::{
    io::{read, room, write_both},
    progress::{Progress, Waits},
};
use crate::{
    h1::{BodyDecoder, Malformed},
    stream::Stream,
    tee::{RequestTee, SHARED_FRAME},
};

/// One body in passing.
pub(super) struct Upload<'a> {
    pub(super) client: &'a Stream,
    pub(super) upstream: &'a Stream,
    pub(super) buf: &'a mut BytesMut,
    pub(super) body: &'a mut BodyDecoder,
    pub(super) tee: &'a RefCell<RequestTee>,
    pub(super) progress: &'a Progress,
}

/// How it ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Uploaded {
    /// All of it has been passed on.
    Whole,
    /// The client went away in the middle.
    ClientGone,
    /// The client's framing is broken.
    Malformed(Malformed),
    /// The upstream takes no more.
    UpstreamGone,
}

impl Upload<'_> {
    /// Begins with what is left of the first write: `head` and the first `at_hand`
    /// bytes of the buffer, of which `written` are sent.
    pub(super) async fn run(mut self, head: &[u8], written: usize, at_hand: usize) -> Uploaded {
        let body = &self.buf[written.saturating_sub(head.len())..at_hand];
        let head = &head[written.min(head.len())..];
        if write_both(self.upstream, head, body).await.is_err() {
            return Uploaded::UpstreamGone;
        }
        self.buf.advance(at_hand);
        // The end has been seen by whoever looked at what was at hand; what is
        // behind it belongs to the next request.
        if self.body.is_done() {
            return Uploaded::Whole;
        }
        loop {
            match self.pass().await {
                Ok(true) => return Uploaded::Whole,
                Ok(false) => {}
                Err(end) => return end,
            }
            self.progress.upload(Some(Waits::Client));
            self.tee.borrow_mut().reads_on();
            match read(self.client, self.buf, room(self.body.data_len())).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Uploaded::ClientGone,
            }
        }
    }

    /// Passes on what has been read. Says whether that was all.
    async fn pass(&mut self) -> Result<bool, Uploaded> {
        if self.buf.is_empty() {
            return Ok(self.body.is_done());
        }
        let share = self.buf.len() >= SHARED_FRAME && self.tee.borrow().wants_frames();
        let shared = share.then(|| self.buf.split().freeze());
        let bytes = shared.as_deref().unwrap_or(self.buf);
        let seen = look(self.body, bytes, shared.as_ref(), &mut self.tee.borrow_mut());
        if seen.len > 0 {
            self.progress.upload(Some(Waits::Upstream));
            let written = write_both(self.upstream, &bytes[..seen.len], &[]).await;
            written.map_err(|_| Uploaded::UpstreamGone)?;
        }
        match shared {
            Some(shared) => self.buf.extend_from_slice(&shared[seen.len..]),
            None => self.buf.advance(seen.len),
        }
        // Told after what was right before it has been passed on.
        seen.fault.map_or(Ok(self.body.is_done()), |fault| Err(Uploaded::Malformed(fault)))
    }
}

/// Shows body bytes to the tee. Not to be called again once the body is done.
pub(super) fn look(
    body: &mut BodyDecoder,
    bytes: &[u8],
    shared: Option<&Bytes>,
    tee: &mut RequestTee,
) -> Seen {
    let seen = walk(body, bytes, |data| {
        let shared = shared.filter(|_| data.len() >= SHARED_FRAME);
        tee.data(&bytes[data.clone()], shared.map(|shared| shared.slice(data)));
    });
    if body.is_done() {
        tee.trailers(body.trailers(&bytes[seen.last..]));
        tee.ended();
    }
    seen
}

/// What the start of a buffer holds of a body.
#[derive(Debug)]
pub(super) struct Seen {
    /// Bytes that may be passed on.
    pub(super) len: usize,
    /// Where the last piece began.
    pub(super) last: usize,
    /// What is wrong behind them.
    pub(super) fault: Option<Malformed>,
}

/// Goes through all of a body that is at hand.
pub(super) fn walk(
    body: &mut BodyDecoder,
    bytes: &[u8],
    mut data: impl FnMut(Range<usize>),
) -> Seen {
    let mut seen = Seen { len: 0, last: 0, fault: None };
    while !body.is_done() {
        match body.decode(&bytes[seen.len..]) {
            Ok(step) => {
                if !step.data.is_empty() {
                    data(seen.len + step.data.start..seen.len + step.data.end);
                }
                if step.len == 0 && !step.done {
                    break;
                }
                seen.last = seen.len;
                seen.len += step.len;
            }
            Err(fault) => {
                seen.fault = Some(fault);
                break;
            }
        }
    }
    seen
}
