//! A client's HTTP/2 connection: the handshake, its limits, each stream a part of the
//! connection's own task, and its end. What becomes of a stream is the handler's
//! affair.

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use ::h2::{
    Reason, RecvStream,
    server::{self, SendResponse},
};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, Stream as _};
use http::Request;
use tokio::time::timeout;

use super::{
    client::Client,
    ledger::{Ledger, ON_ITS_WAY},
    request,
    wire::Wire,
};
use crate::{
    clock::Moment,
    drain::StopWatch,
    h1::Malformed,
    lane::Flight,
    origin::Origin,
    proxy::{Proxy, watchdog::Watchdog},
    record::Http2Request,
    sink,
    stream::Stream,
};

/// What a client may send of one stream before the upstream has taken it …
const STREAM_WINDOW: u32 = 1 << 20;
/// … and of all of a connection.
const CONNECTION_WINDOW: u32 = 4 << 20;

/// What waits of one answer for the client's socket.
const SEND_BUFFER: usize = 64 << 10;

/// Streams that a client may have reset before they were looked at.
const MAX_UNSEEN_RESETS: usize = 128;

/// After a goodbye the connection stays open for a moment: requests that are on their
/// way are answered.
const LAST_CALL: Duration = Duration::from_millis(500);

/// After an error the client gets this long, and this much more to send, to read why.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1 << 20;

/// A request on a stream of its own, checked.
pub(crate) struct Incoming {
    pub(crate) head: Arc<Http2Request>,
    pub(crate) body: RecvStream,
    pub(crate) respond: SendResponse<Bytes>,
    pub(crate) start: Moment,
    /// From here on others may write Marks before it is recorded.
    pub(crate) flight: Flight,
    /// Its place on the connection.
    pub(crate) number: u64,
    /// Of the connection.
    pub(crate) origin: Arc<Origin>,
    pub(super) ledger: Rc<Ledger>,
}

/// One connection.
struct Server<'a, S> {
    proxy: &'a Rc<Proxy>,
    origin: Arc<Origin>,
    ledger: Rc<Ledger>,
    connection: server::Connection<Wire, Bytes>,
    streams: FuturesUnordered<S>,
    /// Requests so far.
    number: u64,
    watchdog: Watchdog,
    stop: StopWatch,
    idle_since: Instant,
    /// Since when no new streams are wanted.
    goodbye: Option<Instant>,
    /// Since when the connection is being ended.
    ending: Option<Instant>,
}

/// How a connection ended.
enum Over {
    /// In order, or by the client.
    Quiet,
    /// By us: the client is to read what it has been sent, for so long at most, and for
    /// so long without a word of its own.
    Lingers { most: Duration, quiet: Duration },
}

impl Over {
    /// The client is to learn why.
    const REFUSED: Self = Self::Lingers { most: LINGER, quiet: LINGER };
}

/// Serves an HTTP/2 connection until it ends. `buffered` has been read of it, and is
/// the beginning of the preface if it is not empty. Each request is given to `handler`,
/// whose future says whether the client has taken the request back.
pub(crate) async fn serve<S: Future<Output = bool>>(
    proxy: &Rc<Proxy>,
    stream: Stream,
    buffered: BytesMut,
    origin: Arc<Origin>,
    handler: impl Fn(Incoming) -> S,
) {
    let stream = Rc::new(stream);
    let ledger = Rc::new(Ledger::new(Rc::clone(&proxy.tap)));
    let mut stop = proxy.stop.watch(origin.connection);
    let mut watchdog = Watchdog::new();
    let wire = Wire::new(Rc::clone(&stream), buffered, Rc::clone(&ledger));
    let greeted = greet(proxy, wire, &mut stop, &mut watchdog).await;
    let connection = match greeted {
        Ok(connection) => connection,
        Err(None) => return,
        Err(Some(why)) => return ledger.refuse(why),
    };
    let server = Server {
        proxy,
        origin,
        ledger,
        connection,
        streams: FuturesUnordered::new(),
        number: 0,
        watchdog,
        stop,
        idle_since: Instant::now(),
        goodbye: None,
        ending: None,
    };
    let handler = |incoming: Incoming| {
        let (ledger, start) = (Rc::clone(&incoming.ledger), incoming.start.at);
        let answered = handler(incoming);
        async move { ledger.stream_ended(answered.await, start.elapsed()) }
    };
    if let Over::Lingers { most, quiet } = server.run(handler).await {
        linger(&stream, most, quiet).await;
    }
}

/// Waits for the preface; or why there is none, if that is to be counted.
async fn greet(
    proxy: &Proxy,
    wire: Wire,
    stop: &mut StopWatch,
    watchdog: &mut Watchdog,
) -> Result<server::Connection<Wire, Bytes>, Option<&'static str>> {
    let since = Instant::now();
    let mut handshake = settings(proxy).handshake::<_, Bytes>(wire);
    poll_fn(|cx| {
        if let Poll::Ready(greeted) = Pin::new(&mut handshake).poll(cx) {
            let refused = |error: ::h2::Error| (!error.is_io()).then_some("http2_preface");
            return Poll::Ready(greeted.map_err(refused));
        }
        let stopped = match stop.poll(cx) {
            Poll::Ready(stopped) => Some(stopped.max(since) + LAST_CALL),
            Poll::Pending => None,
        };
        let late = since + proxy.tap.config.header_timeout;
        let over = watchdog.poll_until(cx, stopped.map_or(late, |end| end.min(late)));
        over.map(|()| Err(stopped.is_none().then_some("header_timeout")))
    })
    .await
}

fn settings(proxy: &Proxy) -> server::Builder {
    let config = &proxy.tap.config;
    // The list counts 32 bytes a field and the names of pseudo-header fields beside
    // what a head has in HTTP/1; what is within this and above our limit is told so.
    let list = config.max_head + 32 * (config.max_headers + 4) + 64;
    let mut builder = server::Builder::new();
    builder
        .max_concurrent_streams(config.max_streams)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_UNSEEN_RESETS);
    builder
}

impl<S: Future<Output = ()>> Server<'_, S> {
    async fn run(mut self, handler: impl Fn(Incoming) -> S) -> Over {
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(over) = self.poll_io(cx, &handler) {
                    return Poll::Ready(over);
                }
                match self.poll_time(cx) {
                    Poll::Ready(Some(over)) => return Poll::Ready(over),
                    Poll::Ready(None) => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// Goes on with the streams and the connection until both wait.
    fn poll_io(&mut self, cx: &mut Context<'_>, handler: &impl Fn(Incoming) -> S) -> Poll<Over> {
        loop {
            let mut moved = self.poll_streams(cx);
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    moved = true;
                    if let Some(incoming) = self.accept(request, respond) {
                        self.streams.push(handler(incoming));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(%error, "an HTTP/2 connection ended");
                    let ours = !error.is_io() && !error.is_remote();
                    return Poll::Ready(if ours { Over::REFUSED } else { Over::Quiet });
                }
                Poll::Ready(None) => return Poll::Ready(self.over()),
                Poll::Pending => {}
            }
            if let (Some(verdict), None) = (self.ledger.verdict(), self.ending) {
                tracing::debug!(why = verdict.why, "an HTTP/2 connection is ended");
                self.ending = Some(Instant::now());
                self.connection.abrupt_shutdown(verdict.code);
                moved = true;
            }
            if !moved {
                return Poll::Pending;
            }
        }
    }

    /// The `h2` crate has ended the connection, or the client has.
    fn over(&self) -> Over {
        match (self.ledger.verdict(), self.goodbye) {
            (Some(_), _) => Over::REFUSED,
            (None, Some(_)) => {
                let most = self.proxy.tap.config.idle_timeout;
                let quiet = self.ledger.on_its_way().map_or(LAST_CALL, |_| ON_ITS_WAY);
                Over::Lingers { most, quiet }
            }
            (None, None) => Over::Quiet,
        }
    }

    /// Goes on with the streams. Says whether one has ended.
    fn poll_streams(&mut self, cx: &mut Context<'_>) -> bool {
        let mut ended = false;
        while let Poll::Ready(Some(_)) = Pin::new(&mut self.streams).poll_next(cx) {
            ended = true;
        }
        if ended && self.streams.is_empty() {
            self.idle_since = Instant::now();
        }
        ended
    }

    /// A request, unless it is refused here.
    fn accept(
        &mut self,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
    ) -> Option<Incoming> {
        let start = self.proxy.tap.now();
        self.ledger.seen(respond.stream_id().as_u32());
        let (parts, body) = request.into_parts();
        let end = body.is_end_stream();
        let checked = request::head(parts, end).and_then(|mut head| {
            let sink = self.proxy.tap.config.sink.as_ref();
            sink::check(sink, &mut head, end, self.proxy.limits())?;
            Ok(head)
        });
        match checked {
            Ok(head) => {
                let number = self.number;
                self.number += 1;
                let (origin, ledger) = (Arc::clone(&self.origin), Rc::clone(&self.ledger));
                Some(Incoming {
                    head: Arc::new(head),
                    body,
                    respond,
                    start,
                    flight: self.proxy.tap.flights.begin(start.wall_ns),
                    number,
                    origin,
                    ledger,
                })
            }
            Err(malformed) => {
                self.refuse(malformed, respond);
                None
            }
        }
    }

    /// RFC 9113 section 8.1.1: what is malformed is an error of the stream.
    fn refuse(&self, malformed: Malformed, respond: SendResponse<Bytes>) {
        self.ledger.refuse(malformed.reason);
        let mut client = Client::new(respond, Rc::clone(&self.ledger));
        if malformed.status == 400 {
            client.reset(Reason::PROTOCOL_ERROR);
        } else {
            client.say(malformed.status);
        }
    }

    /// Looks at the time. Ready: something was done, or the connection is over.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<Option<Over>> {
        let config = &self.proxy.tap.config;
        if let Some(since) = self.ending {
            let over = self.watchdog.poll_until(cx, since + LINGER);
            return over.map(|()| Some(Over::Quiet));
        }
        if self.goodbye.is_none() && self.stop.poll(cx).is_ready() {
            self.say_goodbye();
            return Poll::Ready(None);
        }
        let idle = self.streams.is_empty().then(|| match self.goodbye {
            None => self.idle_since + config.idle_timeout,
            Some(since) => self.last_call(since.max(self.idle_since)),
        });
        let owes = self.ledger.owes().map(|since| since + config.header_timeout);
        let Some(next) = idle.into_iter().chain(owes).min() else {
            return Poll::Pending;
        };
        if self.watchdog.poll_until(cx, next).is_pending() {
            return Poll::Pending;
        }
        if owes == Some(next) {
            self.ledger.condemn("header_timeout", Reason::NO_ERROR);
        } else if self.goodbye.is_none() {
            self.say_goodbye();
        } else {
            return Poll::Ready(Some(Over::Quiet));
        }
        Poll::Ready(None)
    }

    /// When to close after a goodbye, if nothing was asked any more after `since`. What
    /// was answered may not have reached the client yet.
    fn last_call(&self, since: Instant) -> Instant {
        let call = since + LAST_CALL;
        if self.ledger.is_all_sent() {
            self.ledger.on_its_way().map_or(call, |end| end.max(call))
        } else {
            let moved = self.ledger.moved().map_or(since, |moved| moved.max(since));
            moved + self.proxy.tap.config.idle_timeout
        }
    }

    /// RFC 9113 section 6.8: what is on its way will still be answered.
    fn say_goodbye(&mut self) {
        self.goodbye = Some(Instant::now());
        self.connection.graceful_shutdown();
    }
}

/// Reads on until the client closes its direction: closing earlier would make its
/// system throw our last words away.
async fn linger(stream: &Stream, most: Duration, quiet: Duration) {
    let rest = async {
        let mut buf = BytesMut::new();
        let mut left = LINGER_BYTES;
        while left > 0 {
            buf.clear();
            buf.reserve(16 << 10);
            match timeout(quiet, stream.read(&mut buf)).await?? {
                0 => break,
                n => left = left.saturating_sub(n),
            }
        }
        io::Result::Ok(())
    };
    // Whatever ends it, the connection is over.
    let _ = timeout(most, rest).await;
}
