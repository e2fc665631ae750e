//! An answer on its way from upstream to client: interim heads, the final head,
//! the body.

use std::{
    cell::{Cell, RefCell},
    future::{Future as _, poll_fn},
    io,
    pin::pin,
};

use bytes::{Buf as _, BytesMut};

use super::{
    io::{SMALL, read, room, write_both},
    progress::{Progress, Waits},
    upload::{Seen, walk},
};
use crate::{
    h1::{
        BodyDecoder, Limits, MethodKind, Parsed, ResponseChanges, Version, parse_response,
        write_response_head,
    },
    stream::Stream,
    tee::AnswerTee,
    upstream::Fault,
};

/// Most interim answers to one request. Each may take as long as a final one, so
/// their number is bounded.
pub(crate) const MAX_INTERIM: usize = 100;

/// One answer in passing.
pub(super) struct Answer<'a> {
    pub(super) upstream: &'a Stream,
    pub(super) client: &'a Stream,
    pub(super) buf: &'a mut BytesMut,
    pub(super) out: &'a mut Vec<u8>,
    pub(super) body: &'a mut BodyDecoder,
    pub(super) tee: &'a RefCell<AnswerTee>,
    pub(super) progress: &'a Progress,
    pub(super) limits: &'a Limits,
    /// Whether the final head has been written.
    pub(super) begun: &'a Cell<bool>,
    pub(super) asked: Asked<'a>,
}

/// What the answer depends on of its request.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) method: MethodKind,
    pub(super) version: Version,
    pub(super) upgrade: bool,
    /// Whether the client's connection may go on, asked when the head is written.
    pub(super) may_go_on: &'a dyn Fn() -> bool,
    /// Whether all of the request has been passed on.
    pub(super) uploaded: &'a Cell<bool>,
}

/// How it ended.
#[derive(Debug)]
pub(super) enum Answered {
    /// The client has all of it. Which connections can be used again?
    Whole {
        upstream: bool,
        client: bool,
    },
    /// 101, or what allows a CONNECT, has been passed on: both connections are a tunnel
    /// now.
    Tunnel,
    /// Nothing of a final answer has been passed on. `untouched`: the upstream
    /// sent not even a byte.
    None {
        fault: Fault,
        untouched: bool,
    },
    /// The upstream failed in the middle of the body.
    Broken(Fault),
    ClientGone(io::Error),
}

/// What is known of the head.
struct Head {
    client: bool,
    upstream: bool,
    dechunk: bool,
}

impl Answer<'_> {
    pub(super) async fn run(mut self) -> Answered {
        match self.head().await {
            Ok(Some(head)) => self.body(head).await.unwrap_or_else(|end| end),
            Ok(None) => Answered::Tunnel,
            Err(end) => end,
        }
    }

    /// Reads heads until the final one, which is left in `out`, to be sent with
    /// the beginning of the body. None: a tunnel.
    async fn head(&mut self) -> Result<Option<Head>, Answered> {
        let mut untouched = true;
        let mut interim = 0;
        loop {
            while !self.buf.is_empty() {
                untouched = false;
                let parsed = {
                    let mut tee = self.tee.borrow_mut();
                    parse_response(self.buf, self.limits, self.asked.method, tee.head_mut())
                };
                match parsed {
                    Err(malformed) => return Err(none(Fault::Garbled(malformed.reason))),
                    Ok(Parsed::Incomplete) => break,
                    Ok(Parsed::Complete { .. })
                        if interim == MAX_INTERIM && self.tee.borrow().head().is_interim() =>
                    {
                        return Err(none(Fault::Garbled("too_many_interim")));
                    }
                    Ok(Parsed::Complete { len }) => match self.found(len).await? {
                        Found::Interim => interim += 1,
                        Found::Final(head) => return Ok(Some(head)),
                        Found::Tunnel => return Ok(None),
                    },
                }
            }
            let fault = match read(self.upstream, self.buf, SMALL).await {
                Ok(1..) => continue,
                Ok(0) => Fault::Reset(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => Fault::Reset(error),
            };
            return Err(Answered::None { fault, untouched });
        }
    }

    /// A head of `len` bytes has been parsed.
    async fn found(&mut self, len: usize) -> Result<Found, Answered> {
        let (status, interim) = {
            let tee = self.tee.borrow();
            (tee.head().status(), tee.head().is_interim())
        };
        if status == 101 && !self.asked.upgrade {
            return Err(none(Fault::Garbled("unexpected_switch")));
        }
        if interim && self.asked.version == Version::Http10 {
            // RFC 9110 15.2: an HTTP/1.0 client does not know interim answers.
            self.buf.advance(len);
            return Ok(Found::Interim);
        }
        let (head, tunnel) = {
            let mut tee = self.tee.borrow_mut();
            if !interim {
                self.begun.set(true);
                tee.head_read(&self.buf[..len]);
            }
            let head = tee.head();
            let reusable = head.keep_alive();
            // An upstream that closes will not read the rest of the request, so
            // the client need not send it.
            let go_on = (self.asked.may_go_on)() && (reusable || self.asked.uploaded.get());
            let changes = ResponseChanges { client: self.asked.version, keep_alive: go_on };
            let client = write_response_head(self.out, &self.buf[..len], head, &changes);
            self.body.start(head.body());
            let dechunk = head.must_dechunk(self.asked.version);
            (Head { client, upstream: reusable, dechunk }, head.is_tunnel())
        };
        self.buf.advance(len);
        if interim || tunnel {
            self.flush(0).await?;
            self.progress.answer(Some(Waits::Upstream));
        }
        Ok(match (tunnel, interim) {
            (true, _) => Found::Tunnel,
            (false, true) => Found::Interim,
            (false, false) => Found::Final(head),
        })
    }

    async fn body(&mut self, head: Head) -> Result<Answered, Answered> {
        loop {
            let seen = self.look(head.dechunk);
            if head.dechunk {
                self.buf.advance(seen.len);
                self.flush(0).await?;
            } else {
                self.flush(seen.len).await?;
            }
            if let Some(malformed) = seen.fault {
                return Err(Answered::Broken(Fault::Garbled(malformed.reason)));
            }
            if self.body.is_done() {
                break;
            }
            self.progress.answer(Some(Waits::Stream));
            match self.read_more().await {
                Ok(1..) => {}
                Ok(0) if self.body.eof().is_ok() => break,
                Ok(0) => {
                    let early = io::ErrorKind::UnexpectedEof.into();
                    return Err(Answered::Broken(Fault::Reset(early)));
                }
                Err(error) => return Err(Answered::Broken(Fault::Reset(error))),
            }
        }
        self.tee.borrow_mut().ended();
        // Bytes behind the answer are nobody's: such a connection is not trusted.
        let upstream = head.upstream && self.buf.is_empty();
        Ok(Answered::Whole { upstream, client: head.client })
    }

    async fn read_more(&mut self) -> io::Result<usize> {
        self.tee.borrow_mut().reads_on();
        let mut reading = pin!(read(self.upstream, self.buf, room(self.body.data_len())));
        poll_fn(|cx| {
            self.progress.look(self.client);
            reading.as_mut().poll(cx)
        })
        .await
    }

    /// Shows body bytes to the tee; without chunk framing they are put into `out`.
    fn look(&mut self, dechunk: bool) -> Seen {
        let (out, bytes) = (&mut *self.out, &self.buf[..]);
        let mut tee = self.tee.borrow_mut();
        let seen = walk(self.body, bytes, |data| {
            tee.data(&bytes[data.clone()], None);
            if dechunk {
                out.extend_from_slice(&bytes[data]);
            }
        });
        if self.body.is_done() {
            tee.trailers(self.body.trailers(&bytes[seen.last..]));
        }
        seen
    }

    /// Sends what is in `out` and `len` bytes of the buffer.
    async fn flush(&mut self, len: usize) -> Result<(), Answered> {
        if self.out.is_empty() && len == 0 {
            return Ok(());
        }
        self.progress.answer_at(Some(Waits::Client), self.tee.borrow().read_at().at);
        let written = write_both(self.client, self.out, &self.buf[..len]).await;
        self.out.clear();
        self.buf.advance(len);
        written.map_err(Answered::ClientGone)
    }
}

enum Found {
    Interim,
    Final(Head),
    Tunnel,
}

fn none(fault: Fault) -> Answered {
    Answered::None { fault, untouched: false }
}
