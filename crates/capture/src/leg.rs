//! One request on its way to the upstream and its answer on the way back, in
//! whatever version of HTTP the upstream speaks. The two halves are used at the same
//! time by one task. What is asked and answered here is what HTTP/2 can say; who asks,
//! what is recorded and how long an answer is waited for is left to the caller.

mod http1;
mod http2;
mod sessions;
mod translate;

use std::{rc::Rc, time::Instant};

use bytes::Bytes;
use http::{HeaderMap, Response};

use crate::{
    origin::Session,
    proxy::{Connected, Proxy},
    record::Http2Request,
    upstream::{Backend, Fault, Link, Offer},
};
pub(crate) use sessions::Sessions;
use sessions::{Found, Made};
pub(crate) use translate::{check, check_trailers, from_http1};

/// How often a session that was just found may turn out to be closed.
const MAX_ATTEMPTS: usize = 3;

/// A request's head, as received.
#[derive(Clone, Copy)]
pub(crate) struct LegHead<'a> {
    pub(crate) request: &'a Http2Request,
    /// Whom X-Forwarded-For and X-Forwarded-Proto tell of.
    pub(crate) session: &'a Session,
    /// The version it was received in, for Via.
    pub(crate) received: &'static str,
    /// Where it goes.
    pub(crate) backend: &'a Rc<Backend>,
}

/// An exchange with the upstream. Dropped before its end it is broken off.
pub(crate) struct Leg {
    pub(crate) sending: Sending,
    pub(crate) receiving: Receiving,
}

/// The request's body on its way.
///
/// An error says that the upstream takes no more of it. There may be an answer all the
/// same.
pub(crate) enum Sending {
    Http1(http1::Sending),
    Http2(http2::Sending),
}

/// The answer on its way.
pub(crate) enum Receiving {
    Http1(http1::Receiving),
    Http2(http2::Receiving, Way),
}

/// What has come of an answer: any number of interim heads, one head, data, perhaps
/// trailers, the end.
#[derive(Debug)]
pub(crate) enum Received {
    Interim(Response<()>),
    Head(Response<()>),
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

/// A connection on which HTTP/1 is spoken.
pub(crate) struct Line {
    link: Link,
    /// It has never been used before.
    fresh: bool,
}

/// From this thread to that upstream.
#[derive(Clone)]
pub(crate) struct Way {
    proxy: Rc<Proxy>,
    backend: Rc<Backend>,
}

impl Leg {
    /// Sends a request's head; `end`: that is all of it. Takes as long as connecting
    /// may.
    pub(crate) async fn open(
        proxy: &Rc<Proxy>,
        head: LegHead<'_>,
        end: bool,
    ) -> Result<Self, Fault> {
        check(head.request, end, proxy.limits())?;
        let way = Way { proxy: Rc::clone(proxy), backend: Rc::clone(head.backend) };
        if !way.backend.dialer.may_speak_http2() {
            return Ok(http1::open(&way, head, end, None).await?.into());
        }
        let mut attempts = 0;
        loop {
            let place = match way.find().await? {
                Found::Place(place) => place,
                Found::Http1(line) => {
                    return Ok(http1::open(&way, head, end, Some(line)).await?.into());
                }
            };
            let LegHead { request, session, received, .. } = head;
            let scheme = way.backend.dialer.scheme();
            let request = translate::http2(request, session, received, scheme)?;
            match http2::open(place, request, end) {
                Ok((sending, receiving)) => {
                    let (sending, receiving) =
                        (Sending::Http2(sending), Receiving::Http2(receiving, way));
                    return Ok(Self { sending, receiving });
                }
                Err(fault) if attempts == MAX_ATTEMPTS => return Err(fault),
                Err(_) => attempts += 1,
            }
        }
    }
}

impl From<(http1::Sending, http1::Receiving)> for Leg {
    fn from((sending, receiving): (http1::Sending, http1::Receiving)) -> Self {
        Self { sending: Sending::Http1(sending), receiving: Receiving::Http1(receiving) }
    }
}

impl Sending {
    /// Sends some of the body, once the upstream takes it. If this is dropped before
    /// it is ready, the data is sent all the same with what follows.
    pub(crate) async fn data(&mut self, data: Bytes) -> Result<(), Fault> {
        match self {
            Self::Http1(sending) => sending.data(data).await,
            Self::Http2(sending) => sending.data(data).await,
        }
    }

    /// Ends the request. Trailers of a body whose length was announced cannot be told
    /// an HTTP/1 upstream and are left out.
    pub(crate) async fn finish(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Fault> {
        match self {
            Self::Http1(sending) => sending.finish(trailers).await,
            Self::Http2(sending) => sending.finish(trailers).await,
        }
    }

    /// Breaks the request off. HTTP/1 can only close the connection for that, once
    /// the other half is dropped too.
    pub(crate) fn reset(&mut self, reason: h2::Reason) {
        match self {
            Self::Http1(sending) => sending.reset(),
            Self::Http2(sending) => sending.reset(reason),
        }
    }
}

impl Receiving {
    /// What comes next; after the end only that. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Received, Fault> {
        let (receiving, way) = match self {
            Self::Http1(receiving) => return receiving.next().await,
            Self::Http2(receiving, way) => (receiving, way),
        };
        loop {
            if let Some(received) = receiving.next().await? {
                return Ok(received);
            }
            // The upstream has not processed the request: once more.
            match way.find().await {
                Ok(Found::Place(place)) => receiving.again(place)?,
                Ok(Found::Http1(line)) => {
                    way.backend.pool.put(line.link, Instant::now());
                    receiving.give_up()?;
                }
                Err(_) => receiving.give_up()?,
            }
        }
    }

    /// Whether nothing follows the head that has come.
    pub(crate) fn is_ended(&self) -> bool {
        match self {
            Self::Http1(receiving) => receiving.is_ended(),
            Self::Http2(receiving, _) => receiving.is_ended(),
        }
    }

    /// So much of the data has been passed on: the upstream may send as much again.
    /// HTTP/1 is held back by not being read.
    pub(crate) fn release(&mut self, bytes: usize) {
        match self {
            Self::Http1(_) => {}
            Self::Http2(receiving, _) => receiving.release(bytes),
        }
    }
}

impl Way {
    /// Room for a stream, or a connection on which the upstream wants HTTP/1.
    async fn find(&self) -> Result<Found, Fault> {
        let Self { proxy, backend } = self;
        if let Some(place) = backend.sessions.free() {
            return Ok(Found::Place(place));
        }
        if backend.sessions.are_refused()
            && let Some(idle) = backend.pool.take(true)
        {
            return Ok(Found::Http1(Line { link: idle, fresh: false }));
        }
        let dial = async || match proxy.connect(backend, Offer::Http2, true).await? {
            Connected::Http2(link) => Ok(Made::Session(link)),
            Connected::New(link) => Ok(Made::Http1(Line { link, fresh: true })),
            Connected::Idle(link) => Ok(Made::Http1(Line { link, fresh: false })),
        };
        let config = &proxy.tap.config;
        backend.sessions.find(config.connect_timeout, config.max_head, dial).await
    }
}
