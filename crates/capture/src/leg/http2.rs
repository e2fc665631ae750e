//! A leg over HTTP/2: a stream of a session. Flow control reaches through: what the
//! upstream's window does not take is not taken from the client, and the upstream may
//! send what the client has taken.

use std::{
    cell::{Cell, RefCell},
    future::{Future as _, poll_fn},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, client::ResponseFuture};
use http::{HeaderMap, Request, Response, StatusCode, header};

use super::{
    Received,
    sessions::{Place, Pulse},
    translate,
};
use crate::{proxy::MAX_INTERIM, upstream::Fault};

/// The request's side.
pub(crate) struct Sending {
    stream: Rc<Stream>,
    /// What the upstream's window has not taken.
    unsent: Bytes,
    ended: bool,
}

/// The answer's side.
pub(crate) struct Receiving {
    stream: Rc<Stream>,
    state: State,
    interim: usize,
    /// To be sent again in another session, if this one did not process it.
    request: Option<Request<()>>,
    end: bool,
    /// The session was in use before.
    seasoned: bool,
    /// How much of the body is still to come, if that was announced.
    left: Option<u64>,
}

enum State {
    Head(ResponseFuture),
    Body(RecvStream),
    Trailers(RecvStream),
    /// The request was not processed, for this reason.
    Again(Fault),
    End,
}

/// What both sides share: the stream, which is another one after the upstream has
/// refused the first.
struct Stream {
    place: RefCell<Place>,
    half: RefCell<SendStream<Bytes>>,
    /// Some of the body was given to the session.
    used: Cell<bool>,
    /// The upstream may yet turn out not to have processed the request.
    open: Cell<bool>,
    /// The request's side, waiting for that to turn out.
    waiting: Cell<Option<Waker>>,
}

/// Sends a request's head in a place of a session.
pub(super) fn open(
    place: Place,
    request: Request<()>,
    end: bool,
) -> Result<(Sending, Receiving), Fault> {
    let (response, half) = begin(&place, request.clone(), end)?;
    let seasoned = place.pulse().has_lived();
    let stream = Rc::new(Stream {
        place: RefCell::new(place),
        half: RefCell::new(half),
        used: Cell::new(false),
        open: Cell::new(true),
        waiting: Cell::new(None),
    });
    let sending = Sending { stream: Rc::clone(&stream), unsent: Bytes::new(), ended: end };
    let receiving = Receiving {
        stream,
        state: State::Head(response),
        interim: 0,
        request: Some(request),
        end,
        seasoned,
        left: None,
    };
    Ok((sending, receiving))
}

fn begin(
    place: &Place,
    request: Request<()>,
    end: bool,
) -> Result<(ResponseFuture, SendStream<Bytes>), Fault> {
    place.requests().send_request(request, end).map_err(|error| {
        // Of no further use, whatever it was: out of stream ids, or closed just now.
        place.pulse().set_over();
        fault(error, place.pulse())
    })
}

impl Sending {
    pub(super) async fn data(&mut self, data: Bytes) -> Result<(), Fault> {
        if self.unsent.is_empty() {
            self.unsent = data;
        } else {
            // A wait was given up.
            self.unsent = [&self.unsent[..], &data].concat().into();
        }
        self.flush().await
    }

    pub(super) async fn flush(&mut self) -> Result<(), Fault> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    pub(super) async fn finish(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Fault> {
        if self.ended {
            return Ok(());
        }
        if let Some(trailers) = trailers {
            translate::check_trailers(trailers)?;
        }
        poll_fn(|cx| self.poll_finish(trailers, cx)).await
    }

    pub(super) fn reset(&mut self, reason: Reason) {
        self.stream.half.borrow_mut().send_reset(reason);
        self.ended = true;
    }

    fn poll_finish(
        &mut self,
        trailers: Option<&HeaderMap>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        ready!(self.poll_flush(cx))?;
        let ended = {
            let mut half = self.stream.half.borrow_mut();
            match trailers {
                Some(trailers) => half.send_trailers(trailers.clone()),
                None => half.send_data(Bytes::new(), true),
            }
        };
        if ended.is_err() {
            return self.stream.poll_broken(cx);
        }
        self.stream.used.set(true);
        self.ended = true;
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        while !self.unsent.is_empty() {
            let mut half = self.stream.half.borrow_mut();
            half.reserve_capacity(self.unsent.len());
            let capacity = half.capacity();
            if capacity == 0 {
                if let Some(Ok(_)) = ready!(half.poll_capacity(cx)) {
                    continue;
                }
                drop(half);
                return self.stream.poll_broken(cx);
            }
            let piece = self.unsent.split_to(capacity.min(self.unsent.len()));
            if half.send_data(piece.clone(), false).is_err() {
                self.unsent = [&piece[..], &self.unsent].concat().into();
                drop(half);
                return self.stream.poll_broken(cx);
            }
            self.stream.used.set(true);
        }
        Poll::Ready(Ok(()))
    }
}

impl Stream {
    /// Why nothing more can be sent; waits while the request may yet be sent again.
    fn poll_broken(&self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if self.open.get() && !self.used.get() {
            self.waiting.set(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        let reset = self.half.borrow_mut().poll_reset(cx);
        let pulse = self.place.borrow();
        Poll::Ready(Err(match reset {
            Poll::Ready(Ok(reason)) => Fault::StreamReset(reason),
            Poll::Ready(Err(error)) => fault(error, pulse.pulse()),
            Poll::Pending => Fault::Reset(io::ErrorKind::BrokenPipe.into()),
        }))
    }

    /// This stream it is.
    fn settle(&self) {
        self.open.set(false);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}

impl Receiving {
    /// Sends the request again, once, in this place.
    pub(super) fn again(&mut self, place: Place) -> Result<(), Fault> {
        let Some(request) = self.request.take() else { return self.give_up() };
        let (response, half) = match begin(&place, request, self.end) {
            Ok(begun) => begun,
            Err(fault) => {
                self.end();
                return Err(fault);
            }
        };
        self.stream.half.replace(half);
        self.stream.place.replace(place);
        self.state = State::Head(response);
        self.stream.wake();
        Ok(())
    }

    /// Tells why the request was not processed.
    pub(super) fn give_up(&mut self) -> Result<(), Fault> {
        match std::mem::replace(&mut self.state, State::End) {
            State::Again(fault) => {
                self.end();
                Err(fault)
            }
            state => {
                self.state = state;
                Ok(())
            }
        }
    }

    /// What comes next. None: the request is to be sent again.
    pub(super) async fn next(&mut self) -> Result<Option<Received>, Fault> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    pub(super) fn is_ended(&self) -> bool {
        match &self.state {
            State::Body(body) => body.is_end_stream(),
            State::End => true,
            _ => false,
        }
    }

    pub(super) fn release(&mut self, bytes: usize) {
        if let State::Body(body) | State::Trailers(body) = &mut self.state {
            // More than was received is never released; a stream that is gone does
            // not care.
            let _ = body.flow_control().release_capacity(bytes);
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Received>, Fault>> {
        match &mut self.state {
            State::Head(response) => {
                if let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
                    return Poll::Ready(self.interim(interim).map(Some));
                }
                let answer = ready!(Pin::new(response).poll(cx));
                Poll::Ready(self.head(answer))
            }
            State::Body(body) => match ready!(body.poll_data(cx)) {
                Some(Ok(data)) => {
                    self.stream.place.borrow().pulse().heard();
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    Poll::Ready(Ok(Some(Received::Data(data))))
                }
                Some(Err(error)) => Poll::Ready(self.broken(error).map(Some)),
                None => {
                    if let State::Body(body) = std::mem::replace(&mut self.state, State::End) {
                        self.state = State::Trailers(body);
                    }
                    self.poll_next(cx)
                }
            },
            State::Trailers(body) => {
                let trailers = match ready!(body.poll_trailers(cx)) {
                    Ok(trailers) => trailers,
                    Err(error) => return Poll::Ready(self.broken(error).map(Some)),
                };
                self.stream.place.borrow().pulse().heard();
                self.end();
                Poll::Ready(Ok(Some(trailers.map_or(Received::End, Received::Trailers))))
            }
            State::Again(_) => Poll::Ready(Ok(None)),
            State::End => Poll::Ready(Ok(Some(Received::End))),
        }
    }

    fn interim(&mut self, interim: Response<()>) -> Result<Received, Fault> {
        self.stream.place.borrow().pulse().heard();
        self.stream.settle();
        self.interim += 1;
        match interim.status() {
            StatusCode::SWITCHING_PROTOCOLS => Err(Fault::Garbled("unexpected_switch")),
            _ if self.interim > MAX_INTERIM => Err(Fault::Garbled("too_many_interim")),
            _ => Ok(Received::Interim(interim)),
        }
    }

    fn head(
        &mut self,
        answer: Result<Response<RecvStream>, h2::Error>,
    ) -> Result<Option<Received>, Fault> {
        let (head, body) = match answer {
            Ok(answer) => answer.into_parts(),
            Err(error) => return self.unanswered(error),
        };
        self.stream.place.borrow().pulse().heard();
        self.stream.settle();
        self.request = None;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            self.end();
            return Err(Fault::Garbled("unexpected_switch"));
        }
        self.left = head
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok())
            .filter(|_| !body.is_end_stream());
        self.state = State::Body(body);
        Ok(Some(Received::Head(Response::from_parts(head, ()))))
    }

    /// There is no answer. If the request was certainly not processed, or makes no
    /// difference, it is sent again.
    fn unanswered(&mut self, error: h2::Error) -> Result<Option<Received>, Fault> {
        let refused = error.is_remote()
            && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM));
        let harmless = |request: &Request<()>| {
            // As on a pooled HTTP/1 connection that turned out to be closed.
            error.is_io() && self.end && self.seasoned && translate::is_idempotent(request.method())
        };
        let again = self.request.as_ref().is_some_and(|request| {
            self.stream.open.get() && !self.stream.used.get() && (refused || harmless(request))
        });
        let fault = fault(error, self.stream.place.borrow().pulse());
        if again {
            self.state = State::Again(fault);
            return Ok(None);
        }
        self.end();
        Err(fault)
    }

    /// The answer ends here. RFC 9113 8.1: after a whole answer an upstream may ask
    /// with NO_ERROR not to be sent the rest of the request; the library tells that as
    /// the end. Here it is the end if all that was announced has come.
    fn broken(&mut self, error: h2::Error) -> Result<Received, Fault> {
        let whole = error.is_remote()
            && error.is_reset()
            && error.reason() == Some(Reason::NO_ERROR)
            && self.left == Some(0);
        let fault = fault(error, self.stream.place.borrow().pulse());
        self.end();
        if whole { Ok(Received::End) } else { Err(fault) }
    }

    fn end(&mut self) {
        self.state = State::End;
        self.request = None;
        self.stream.settle();
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.stream.settle();
    }
}

/// Whose fault it is that a stream or its session has ended.
fn fault(error: h2::Error, pulse: &Pulse) -> Fault {
    if pulse.is_silent() {
        return Fault::Timeout("answer a ping");
    }
    match error.reason() {
        Some(reason) if error.is_remote() && error.is_go_away() => Fault::GoneAway(reason),
        Some(reason) if error.is_remote() => Fault::StreamReset(reason),
        Some(_) if error.is_library() => Fault::Garbled("http2"),
        _ => match error.into_io() {
            Some(error) => Fault::Reset(error),
            None => Fault::Reset(io::ErrorKind::BrokenPipe.into()),
        },
    }
}
