//! A leg over HTTP/1.1: a connection of the pool or a new one, which goes back into
//! the pool once the request has been sent and the answer received. What comes back
//! passes the same strict parser as on the way of HTTP/1 clients.

use std::{cell::Cell, io, rc::Rc, time::Instant};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::time::timeout;

use super::{LegHead, Line, Received, Way, translate};
use crate::{
    h1::{BodyDecoder, BodyKind, MethodKind, Parsed, ResponseHead, parse_response},
    proxy::{Connected, MAX_INTERIM, SMALL, Unsent, read, room, try_write_both},
    stream::Stream,
    upstream::{Fault, Link, Offer},
};

/// The request's side.
pub(crate) struct Sending {
    /// None: all is sent, or nothing more can be.
    line: Option<Rc<Held>>,
    unsent: Unsent,
    body: Body,
}

/// The answer's side.
pub(crate) struct Receiving {
    way: Way,
    /// None: the answer has ended.
    line: Option<Rc<Held>>,
    buf: BytesMut,
    method: MethodKind,
    head: ResponseHead,
    body: BodyDecoder,
    state: State,
    interim: usize,
    /// The whole request, if it is to be sent again should the connection turn out
    /// to have been closed before.
    again: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Body,
    End,
}

/// How the body is framed, and what is still to come of it.
#[derive(Debug, Clone, Copy)]
enum Body {
    Length(u64),
    Chunked,
}

/// A connection, while one of the two sides needs it.
struct Held {
    link: Option<Link>,
    way: Way,
    sent: Cell<bool>,
    received: Cell<bool>,
}

/// Sends a request's head, over `line` if there is one.
pub(super) async fn open(
    way: &Way,
    head: LegHead<'_>,
    end: bool,
    line: Option<Line>,
) -> Result<(Sending, Receiving), Fault> {
    let framing = translate::framing(head.request, end)?;
    let mut bytes = Vec::with_capacity(512);
    translate::write_http1(&mut bytes, head.request, head.session, head.received, framing);
    let repeatable = end && translate::is_idempotent(&head.request.method);
    let taken = take(way, !repeatable, &bytes, line).await?;
    let line = Rc::new(Held::new(taken.line.link, way));
    let unsent = Unsent { before: BytesMut::from(&bytes[taken.written..]), ..Unsent::default() };
    let body = match framing {
        BodyKind::Chunked => Body::Chunked,
        BodyKind::Length(length) => Body::Length(length),
        BodyKind::None | BodyKind::UntilClose => Body::Length(0),
    };
    let mut sending = Sending { line: Some(Rc::clone(&line)), unsent, body };
    // The upstream may have answered instead of reading all of it.
    let patience = way.proxy.tap.config.upstream_timeout;
    let sent = timeout(patience, sending.flush()).await;
    let sent = sent.map_err(|_| Fault::Timeout("read the request"))?;
    if end && sent.is_ok() {
        sending.ended();
    }
    let again = (repeatable && !taken.line.fresh).then_some(bytes);
    let method = match head.request.method {
        Method::HEAD => MethodKind::Head,
        _ => MethodKind::Other,
    };
    Ok((sending, Receiving::new(way, line, method, again)))
}

/// A connection that has taken the beginning of a request.
struct Taken {
    line: Line,
    written: usize,
}

/// Sends as much of `bytes` as a connection takes now.
async fn take(way: &Way, sure: bool, bytes: &[u8], line: Option<Line>) -> Result<Taken, Fault> {
    let idle = || way.backend.pool.take(sure).map(|link| Line { link, fresh: false });
    let mut at_hand = line.or_else(idle);
    loop {
        let line = match at_hand.take() {
            Some(line) => line,
            None => connect(way, sure).await?,
        };
        match try_write_both(&line.link.stream, bytes, &[], 0) {
            Ok(written) => return Ok(Taken { line, written }),
            // An error shows again when the answer is read; there may be one.
            Err(error) if line.fresh || error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Taken { line, written: 0 });
            }
            // It took nothing, so nothing is sent twice.
            Err(_) => {}
        }
    }
}

async fn connect(way: &Way, sure: bool) -> Result<Line, Fault> {
    match way.proxy.connect(&way.backend, Offer::Http1, sure).await? {
        Connected::New(link) => Ok(Line { link, fresh: true }),
        Connected::Idle(link) => Ok(Line { link, fresh: false }),
        Connected::Http2(_) => Err(Fault::Garbled("http2_only")),
    }
}

impl Sending {
    pub(super) async fn data(&mut self, data: Bytes) -> Result<(), Fault> {
        if data.is_empty() {
            // In chunks it would be the end.
            return Ok(());
        }
        self.unsent.gather();
        match &mut self.body {
            Body::Length(left) => match left.checked_sub(data.len() as u64) {
                Some(rest) => *left = rest,
                None => return self.misframed("content_length_mismatch"),
            },
            Body::Chunked => {
                self.unsent.before.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                self.unsent.after = b"\r\n";
            }
        }
        self.unsent.data = data;
        self.flush().await
    }

    pub(super) async fn flush(&mut self) -> Result<(), Fault> {
        let Some(line) = &self.line else {
            return if self.unsent.is_empty() { Ok(()) } else { Err(gone()) };
        };
        match self.unsent.write(line.stream()).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.line = None;
                Err(Fault::Reset(error))
            }
        }
    }

    pub(super) async fn finish(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Fault> {
        match self.body {
            Body::Length(0) => {}
            Body::Length(_) => return self.misframed("content_length_mismatch"),
            Body::Chunked => {
                if let Some(trailers) = trailers
                    && let Err(malformed) = translate::check_trailers(trailers)
                {
                    return self.misframed(malformed.reason);
                }
                self.body = Body::Length(0);
                self.unsent.gather();
                let out = &mut self.unsent.before;
                out.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.into_iter().flatten() {
                    for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                        out.extend_from_slice(part);
                    }
                }
                out.extend_from_slice(b"\r\n");
            }
        }
        self.flush().await?;
        self.ended();
        Ok(())
    }

    pub(super) fn reset(&mut self) {
        self.line = None;
    }

    fn ended(&mut self) {
        if let Some(line) = self.line.take() {
            line.sent.set(true);
        }
    }

    /// What was sent is no whole request and must not become one.
    fn misframed(&mut self, reason: &'static str) -> Result<(), Fault> {
        self.line = None;
        Err(Fault::Misframed { status: 400, reason })
    }
}

impl Receiving {
    fn new(way: &Way, line: Rc<Held>, method: MethodKind, again: Option<Vec<u8>>) -> Self {
        Self {
            way: way.clone(),
            line: Some(line),
            buf: BytesMut::new(),
            method,
            head: ResponseHead::default(),
            body: BodyDecoder::new(way.proxy.limits()),
            state: State::Head,
            interim: 0,
            again,
        }
    }

    pub(super) async fn next(&mut self) -> Result<Received, Fault> {
        loop {
            let received = match self.state {
                State::Head => self.take_head()?,
                State::Body => self.take_body()?,
                State::End => Some(Received::End),
            };
            match received {
                Some(received) => return Ok(received),
                None => self.read().await?,
            }
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.state != State::Head && self.body.is_done()
    }

    fn take_head(&mut self) -> Result<Option<Received>, Fault> {
        if self.buf.is_empty() {
            return Ok(None);
        }
        let parsed =
            parse_response(&self.buf, self.way.proxy.limits(), self.method, &mut self.head);
        let Parsed::Complete { len } = parsed.map_err(garbled)? else {
            return Ok(None);
        };
        let answer = translate::answer(&self.buf, &self.head).map_err(garbled)?;
        self.buf.advance(len);
        if self.head.is_tunnel() {
            return Err(Fault::Garbled("unexpected_switch"));
        }
        if self.head.is_interim() {
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err(Fault::Garbled("too_many_interim"));
            }
            return Ok(Some(Received::Interim(answer)));
        }
        self.body.start(self.head.body());
        self.state = State::Body;
        Ok(Some(Received::Head(answer)))
    }

    fn take_body(&mut self) -> Result<Option<Received>, Fault> {
        while !self.body.is_done() {
            let step = self.body.decode(&self.buf).map_err(garbled)?;
            if step.len == 0 && !step.done {
                return Ok(None);
            }
            if step.done && step.data.is_empty() {
                let trailers = trailers(self.body.trailers(&self.buf[..step.len]))?;
                self.buf.advance(step.len);
                self.ended();
                return Ok(trailers.map(Received::Trailers).or(Some(Received::End)));
            }
            let piece = self.buf.split_to(step.len);
            if !step.data.is_empty() {
                return Ok(Some(Received::Data(piece.freeze().slice(step.data))));
            }
        }
        self.ended();
        Ok(Some(Received::End))
    }

    /// The connection, if it is as good as before, is free for the next request.
    fn ended(&mut self) {
        self.state = State::End;
        if let Some(line) = self.line.take() {
            // Bytes behind the answer are nobody's: such a connection is not trusted.
            line.received.set(self.head.keep_alive() && self.buf.is_empty());
        }
        self.buf.clear();
        self.way.proxy.buffers().take_back(&mut self.buf);
    }

    async fn read(&mut self) -> Result<(), Fault> {
        let Some(line) = &self.line else { return Err(gone()) };
        self.way.proxy.buffers().lend(&mut self.buf);
        let size = if self.state == State::Head { SMALL } else { room(self.body.data_len()) };
        let fault = match read(line.stream(), &mut self.buf, size).await {
            Ok(1..) => {
                self.again = None;
                return Ok(());
            }
            Ok(0) if self.state == State::Body && self.body.eof().is_ok() => return Ok(()),
            Ok(0) => io::ErrorKind::UnexpectedEof.into(),
            Err(error) => error,
        };
        match &self.again {
            Some(bytes) => self.line = Some(send_again(&self.way, bytes).await?),
            None => return Err(Fault::Reset(fault)),
        }
        self.again = None;
        Ok(())
    }
}

/// On a pooled connection that turned out to be closed, nothing came back.
async fn send_again(way: &Way, bytes: &[u8]) -> Result<Rc<Held>, Fault> {
    let line = Held::new(connect(way, true).await?.link, way);
    let mut unsent = Unsent { before: BytesMut::from(bytes), ..Unsent::default() };
    let patience = way.proxy.tap.config.upstream_timeout;
    let sent = timeout(patience, unsent.write(line.stream())).await;
    sent.map_err(|_| Fault::Timeout("read the request"))?.map_err(Fault::Reset)?;
    line.sent.set(true);
    Ok(Rc::new(line))
}

fn trailers(fields: crate::h1::Fields<'_>) -> Result<Option<HeaderMap>, Fault> {
    if fields.len() == 0 {
        return Ok(None);
    }
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields {
        match (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            (Ok(name), Ok(value)) => trailers.append(name, value),
            _ => return Err(Fault::Garbled("field_value")),
        };
    }
    Ok(Some(trailers))
}

fn garbled(malformed: crate::h1::Malformed) -> Fault {
    Fault::Garbled(malformed.reason)
}

fn gone() -> Fault {
    Fault::Reset(io::ErrorKind::BrokenPipe.into())
}

impl Held {
    fn new(link: Link, way: &Way) -> Self {
        Self {
            link: Some(link),
            way: way.clone(),
            sent: Cell::new(false),
            received: Cell::new(false),
        }
    }

    fn stream(&self) -> &Stream {
        &self.link.as_ref().expect("it is taken out only when the line is dropped").stream
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.sent.get()
            && self.received.get()
            && let Some(link) = self.link.take()
        {
            self.way.backend.pool.put(link, Instant::now());
        }
    }
}
