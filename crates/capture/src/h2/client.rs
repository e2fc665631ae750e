//! The client's side of a stream: what it is answered, within its flow control, and
//! whether it still wants that.

use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, ready},
};

use ::h2::{Reason, SendStream, server::SendResponse};
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};

use super::ledger::Ledger;

/// What a stream's client is answered.
pub(super) struct Client {
    respond: SendResponse<Bytes>,
    /// Since the head of the answer.
    body: Option<SendStream<Bytes>>,
    ended: bool,
    ledger: Rc<Ledger>,
}

/// The client wants no more of it: it has reset the stream, or its connection has
/// ended, or the `h2` crate has ended the stream for what the client did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone {
    /// With what code.
    pub(super) code: Reason,
    /// It was the client that said so, for this stream alone.
    pub(super) reset: bool,
    /// Its own fault.
    pub(super) malformed: bool,
}

impl Gone {
    pub(super) fn of(error: &::h2::Error) -> Self {
        let code = error.reason().unwrap_or(Reason::CANCEL);
        Self {
            code: if code == Reason::NO_ERROR { Reason::CANCEL } else { code },
            reset: error.is_reset() && error.is_remote(),
            malformed: error.is_library(),
        }
    }

    fn by(code: Reason) -> Self {
        let code = if code == Reason::NO_ERROR { Reason::CANCEL } else { code };
        Self { code, reset: true, malformed: false }
    }
}

impl Client {
    pub(super) fn new(respond: SendResponse<Bytes>, ledger: Rc<Ledger>) -> Self {
        Self { respond, body: None, ended: false, ledger }
    }

    /// Ready once the client is gone.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        if self.ended {
            return Poll::Pending;
        }
        let reset = match &mut self.body {
            Some(body) => body.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        Poll::Ready(match ready!(reset) {
            Ok(code) => Gone::by(code),
            Err(error) => Gone::of(&error),
        })
    }

    /// Passes an interim answer on.
    pub(super) fn interim(&mut self, head: Response<()>) -> Result<(), Gone> {
        self.respond.send_informational(head).map_err(|error| Gone::of(&error))
    }

    /// Begins the final answer; `end`: that is all of it.
    pub(super) fn head(&mut self, head: Response<()>, end: bool) -> Result<(), Gone> {
        let body = self.respond.send_response(head, end).map_err(|error| Gone::of(&error))?;
        self.body = Some(body);
        self.ended = end;
        if end {
            self.answered();
        }
        Ok(())
    }

    /// Sends some of the body, as fast as the client's windows and socket take it;
    /// `ends`: there is no more of it.
    pub(super) async fn data(&mut self, mut data: Bytes, ends: bool) -> Result<(), Gone> {
        while !data.is_empty() {
            let room = self.room(data.len()).await?;
            let piece = data.split_to(room.min(data.len()));
            let Some(body) = &mut self.body else {
                return Ok(());
            };
            self.ended = ends && data.is_empty();
            body.send_data(piece, self.ended).map_err(|error| Gone::of(&error))?;
            if self.ended {
                self.answered();
            }
        }
        if ends && !self.ended { self.finish(None) } else { Ok(()) }
    }

    /// Ends the answer.
    pub(super) fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), Gone> {
        self.ended = true;
        let Some(body) = &mut self.body else {
            return Ok(());
        };
        let sent = match trailers {
            Some(trailers) => body.send_trailers(trailers),
            None => body.send_data(Bytes::new(), true),
        };
        sent.map_err(|error| Gone::of(&error))?;
        self.answered();
        Ok(())
    }

    /// An answer of our own, without a body.
    pub(super) fn say(&mut self, status: u16) {
        let mut head = Response::new(());
        *head.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        head.headers_mut().insert(header::CONTENT_LENGTH, header::HeaderValue::from_static("0"));
        // Whoever is gone will not miss it.
        let _ = self.head(head, true);
    }

    /// Breaks the stream off.
    pub(super) fn reset(&mut self, code: Reason) {
        if !self.ended {
            self.ended = true;
            self.ledger.resets(self.respond.stream_id().as_u32());
            self.respond.send_reset(code);
        }
    }

    /// All of the answer has been given to the `h2` crate.
    fn answered(&self) {
        self.ledger.answered(self.respond.stream_id().as_u32());
    }

    /// Waits until some of `wanted` bytes can be sent.
    async fn room(&mut self, wanted: usize) -> Result<usize, Gone> {
        poll_fn(|cx| {
            let Some(body) = &mut self.body else {
                return Poll::Ready(Ok(wanted));
            };
            body.reserve_capacity(wanted);
            let room = body.capacity();
            if room > 0 {
                return Poll::Ready(Ok(room));
            }
            match ready!(body.poll_capacity(cx)) {
                Some(Ok(room)) => Poll::Ready(Ok(room)),
                Some(Err(error)) => Poll::Ready(Err(Gone::of(&error))),
                None => self.poll_gone(cx).map(Err),
            }
        })
        .await
    }
}
