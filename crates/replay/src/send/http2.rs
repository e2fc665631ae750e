//! HTTP/2 to a target, by hyper. Translates a shadow request, whose form is that of
//! HTTP/1 (RFC 9113 section 8.2 and 8.3), and shares a few connections between all
//! requests. What hyper's types cannot carry is unsendable, and said so.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, uri};
use http_body_util::BodyExt;
use hyper::{
    body::{Body, Frame, Incoming},
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{sync::oneshot, time::timeout};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use umbra_record::pb;

use super::{
    Fault, Sent,
    answer::{Collector, Head},
    connect::Connector,
    rewrite::{Shadow, Unsendable},
};
use crate::outcome::Class;

/// Requests in flight for which one connection is opened; servers tend to allow
/// 100 to 128 streams on each.
const STREAMS: usize = 100;
/// Connections at most.
const MAX_CONNECTIONS: usize = 16;
/// A connection that does not answer a ping within this is closed.
const PING: Duration = Duration::from_secs(10);
/// Connections tried for one request, if each says goodbye before it is its turn.
const TRIES: usize = 10;
/// Receive windows: answers are drained at once.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// Sends over a few shared HTTP/2 connections.
pub(super) struct Http2 {
    connector: Connector,
    scheme: uri::Scheme,
    timeout: Duration,
    slots: Vec<Slot>,
}

/// Room for one connection.
#[derive(Default)]
struct Slot {
    in_flight: AtomicUsize,
    current: Mutex<Option<Arc<Connection>>>,
    /// Held while a new connection is made, so that there is one and not many.
    connecting: tokio::sync::Mutex<()>,
}

/// Shared by its slot and the requests on it: one that says goodbye still ends what
/// it has begun, after the slot has another.
struct Connection {
    sender: SendRequest<Pieces>,
    /// How long it took to make.
    took: Duration,
    /// Ends the connection and its streams when the last one lets go.
    _tasks: DropGuard,
}

/// Runs what hyper spawns for a connection, until the connection is dropped.
#[derive(Clone, Default)]
struct Tasks {
    tracker: TaskTracker,
    cancelled: CancellationToken,
}

/// One more in flight on a slot, for as long as it is held.
struct InFlight<'s>(&'s Slot);

/// A request's body as hyper takes it.
struct Pieces {
    left: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    /// Told whether all was taken, when hyper lets go of the body.
    released: Option<oneshot::Sender<bool>>,
}

impl Http2 {
    pub(super) fn new(
        connector: Connector,
        scheme: &str,
        timeout: Duration,
        concurrency: usize,
    ) -> Self {
        let scheme = if scheme == "https" { uri::Scheme::HTTPS } else { uri::Scheme::HTTP };
        let connections = concurrency.div_ceil(STREAMS).clamp(1, MAX_CONNECTIONS);
        let slots = (0..connections).map(|_| Slot::default()).collect();
        Self { connector, scheme, timeout, slots }
    }

    /// Whether a connection can be made now.
    pub(super) async fn probe(&self) -> bool {
        self.connector.connect().await.is_ok()
    }

    /// Sends it; again, on a new connection, only if the first one gave it back
    /// unsent or said that it will not be looked at.
    pub(super) async fn send(&self, shadow: Shadow) -> Sent {
        let began = Instant::now();
        let parts = match translate(&shadow, &self.scheme) {
            Ok(parts) => parts,
            Err(why) => return Sent::not_connected(Fault::new(Class::Unsendable, why), began),
        };
        // Where the fewest are: above what a server allows, streams queue in hyper, and
        // what it does with them when the connection says goodbye cannot be known.
        let slot = self.slots.iter().min_by_key(|slot| slot.in_flight.load(Ordering::Relaxed));
        let in_flight = InFlight::on(slot.expect("at least one was made"));
        let slot = in_flight.0;
        let mut tries = 1;
        loop {
            let (connection, made) = match self.connection(slot).await {
                Ok(connection) => connection,
                Err(fault) => return Sent::not_connected(fault, began),
            };
            let (pieces, released) = Pieces::new(&shadow.body, &parts.trailers);
            let request = Request::from_parts(parts.head.clone(), pieces);
            let mut sent = self.exchange(connection.sender.clone(), request, released).await;
            if sent.written || sent.fault.is_none() || tries == TRIES {
                sent.connect = made.then_some(connection.took);
                return sent;
            }
            slot.forget(&connection);
            tries += 1;
        }
    }

    async fn exchange(
        &self,
        mut sender: SendRequest<Pieces>,
        request: Request<Pieces>,
        released: oneshot::Receiver<bool>,
    ) -> Sent {
        let mut answer = Collector::start();
        let started = answer.started();
        let mut written = true;
        let mut whole = false;
        let head_request = request.method() == http::Method::HEAD;
        let result = timeout(self.timeout, async {
            let response = match sender.try_send_request(request).await {
                Ok(response) => response,
                Err(mut error) => {
                    let unsent = error.take_message().is_some();
                    let error = error.into_error();
                    written = !unsent && !is_unprocessed(&error);
                    return Err(explain(&error));
                }
            };
            receive(response, head_request, &mut answer).await?;
            // Answered; the rest of the body still goes to the shadow.
            whole = released.await.unwrap_or(false);
            Ok(())
        })
        .await;
        let fault = match result {
            Ok(result) => result.err(),
            Err(_) if answer.is_complete() => None,
            Err(_) => {
                let detail = format!("no whole answer within {:?}", self.timeout);
                Some(Fault::new(Class::Timeout, detail))
            }
        };
        Sent { fault, written, whole, connect: None, started, answer: answer.finish() }
    }

    /// The slot's connection and whether it was made for this call.
    async fn connection(&self, slot: &Slot) -> Result<(Arc<Connection>, bool), Fault> {
        if let Some(connection) = slot.connection() {
            return Ok((connection, false));
        }
        let _one_at_a_time = slot.connecting.lock().await;
        if let Some(connection) = slot.connection() {
            return Ok((connection, false));
        }
        let started = Instant::now();
        let stream = self.connector.connect().await?;
        let tasks = Tasks::default();
        let (sender, connection) = http2::Builder::new(tasks.clone())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|e| explain(&e))?;
        tasks.spawn(async move {
            // Its error reaches every request on it.
            let _ = connection.await;
        });
        let _tasks = tasks.cancelled.drop_guard();
        let connection = Arc::new(Connection { sender, took: started.elapsed(), _tasks });
        *slot.lock() = Some(Arc::clone(&connection));
        Ok((connection, true))
    }
}

impl Slot {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Connection>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that is there, unless it takes no more.
    fn connection(&self) -> Option<Arc<Connection>> {
        let mut current = self.lock();
        if current.as_ref().is_some_and(|connection| connection.sender.is_closed()) {
            *current = None;
        }
        current.clone()
    }

    /// No new request goes to this one.
    fn forget(&self, connection: &Arc<Connection>) {
        let mut current = self.lock();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection)) {
            *current = None;
        }
    }
}

impl<'s> InFlight<'s> {
    fn on(slot: &'s Slot) -> Self {
        slot.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(slot)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Tasks {
    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let cancelled = self.cancelled.clone();
        self.tracker.spawn(async move { cancelled.run_until_cancelled(future).await });
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.spawn(future);
    }
}

impl Pieces {
    fn new(body: &[Bytes], trailers: &Option<HeaderMap>) -> (Self, oneshot::Receiver<bool>) {
        let left = body.iter().filter(|piece| !piece.is_empty()).cloned().collect();
        let (released, receiver) = oneshot::channel();
        (Self { left, trailers: trailers.clone(), released: Some(released) }, receiver)
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let data = this.left.pop_front().map(Frame::data);
        let frame = data.or_else(|| this.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.trailers.is_none()
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        let whole = self.is_end_stream();
        if let Some(released) = self.released.take() {
            // Nobody waits for it any more after a timeout.
            let _ = released.send(whole);
        }
    }
}

/// A request in hyper's types.
struct Translated {
    head: http::request::Parts,
    trailers: Option<HeaderMap>,
}

fn translate(shadow: &Shadow, scheme: &uri::Scheme) -> Result<Translated, Unsendable> {
    let mut parts = uri::Parts::default();
    parts.scheme = Some(scheme.clone());
    let path = uri::PathAndQuery::from_maybe_shared(shadow.target.clone());
    let path = path.map_err(|_| "the path has bytes that cannot be sent over HTTP/2")?;
    // hyper's type cuts a fragment off silently.
    if path.as_str().as_bytes() != shadow.target {
        return Err("the path has bytes that cannot be sent over HTTP/2");
    }
    parts.path_and_query = Some(path);
    let host = shadow.fields.iter().find(|f| f.name.eq_ignore_ascii_case(b"host"));
    let authority = host.map(|f| uri::Authority::from_maybe_shared(f.value.clone()));
    parts.authority = authority.transpose().map_err(|_| "the host cannot be sent over HTTP/2")?;
    let (mut head, ()) = Request::new(()).into_parts();
    head.version = http::Version::HTTP_2;
    head.method = http::Method::from_bytes(&shadow.method).map_err(|_| "a bad method")?;
    head.uri = Uri::from_parts(parts).map_err(|_| "the target cannot be sent over HTTP/2")?;
    head.headers = field_map(&shadow.fields)?;
    let trailers =
        (!shadow.trailers.is_empty()).then(|| field_map(&shadow.trailers)).transpose()?;
    Ok(Translated { head, trailers })
}

/// Without what HTTP/2 says in other ways (RFC 9113 section 8.2.2).
fn field_map(fields: &[pb::Header]) -> Result<HeaderMap, Unsendable> {
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(&field.name).map_err(|_| "a bad field name")?;
        if matches!(name.as_str(), "host" | "transfer-encoding" | "connection") {
            continue;
        }
        let value = HeaderValue::from_maybe_shared(field.value.clone())
            .map_err(|_| "a control character in a field value")?;
        map.try_append(name, value).map_err(|_| "too many fields")?;
    }
    Ok(map)
}

async fn receive(
    response: http::Response<Incoming>,
    head_request: bool,
    answer: &mut Collector,
) -> Result<(), Fault> {
    let (parts, mut body) = response.into_parts();
    let framed = !body.is_end_stream() || parts.headers.contains_key(http::header::CONTENT_LENGTH);
    answer.head(Head {
        status: parts.status.as_u16(),
        reason: Bytes::new(),
        version: pb::Version::Http2,
        headers: fields_of(&parts.headers),
        has_body: framed && !head_request && !matches!(parts.status.as_u16(), 204 | 304),
    });
    while let Some(frame) = body.frame().await {
        match frame.map_err(|e| explain(&e))?.into_data() {
            Ok(data) => answer.body(&data),
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    answer.trailers(fields_of(&trailers));
                }
            }
        }
    }
    answer.end();
    Ok(())
}

fn fields_of(map: &HeaderMap) -> Vec<pb::Header> {
    let field = |(name, value): (&HeaderName, &HeaderValue)| pb::Header {
        name: Bytes::copy_from_slice(name.as_ref()),
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    map.iter().map(field).collect()
}

/// Whether the target says that it did not and will not look at the request (RFC
/// 9113 section 8.7): its stream came after the goodbye, or was refused. Only such
/// streams end with these errors; those before a goodbye go on.
fn is_unprocessed(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    let Some(error) = source.and_then(|e| e.downcast_ref::<h2::Error>()) else { return false };
    let after_goodbye = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (after_goodbye || refused)
}

fn explain(error: &hyper::Error) -> Fault {
    let mut detail = error.to_string();
    let mut class = Class::Reset;
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(h2) = cause.downcast_ref::<h2::Error>() {
            // What we refuse ourselves is not HTTP/2; what the peer refuses is a reset.
            if !h2.is_io() && !h2.is_remote() && h2.reason().is_some() {
                class = Class::Garbled;
            }
        }
        detail = format!("{detail}: {cause}");
        source = cause.source();
    }
    Fault::new(class, detail)
}
