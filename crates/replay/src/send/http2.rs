//! HTTP/2 to a target, on the `h2` crate. Translates a shadow request, whose form is
//! that of HTTP/1 (RFC 9113 sections 8.2 and 8.3), and shares a few connections
//! between all requests. What the types of `http` cannot carry is unsendable, and
//! said so.
//!
//! On `h2` rather than hyper, because hyper also fails a request that was sent with
//! the error of one that was refused, and then nobody may send it again.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::{Either, select};
use h2::{
    RecvStream, SendStream,
    client::{self, ResponseFuture, SendRequest},
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, uri};
use tokio::time::timeout;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use umbra_record::pb;

use super::{
    Fault, Sent,
    answer::{Collector, Head},
    connect::Connector,
    rewrite::{Field, Shadow, Unsendable},
};
use crate::outcome::Class;

/// Requests in flight for which one connection is opened; servers tend to allow
/// 100 to 128 streams on each.
const STREAMS: usize = 100;
/// Connections at most.
const MAX_CONNECTIONS: usize = 16;
/// Connections tried for one request, if each says goodbye before it is its turn.
const TRIES: usize = 10;
/// Receive windows: answers are drained at once.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// Largest list of fields taken in an answer.
const MAX_FIELDS: u32 = 256 * 1024;

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
    sender: SendRequest<Bytes>,
    /// How long it took to make.
    took: Duration,
    /// Something came from the target since this was last cleared.
    alive: AtomicBool,
    /// Reads and writes frames; ends when the last one lets go.
    driver: AbortOnDropHandle<()>,
}

/// One more in flight on a slot, for as long as it is held.
struct InFlight<'s>(&'s Slot);

/// How far a request has come, also when it is given up.
struct Progress {
    answer: Collector,
    written: bool,
    whole: bool,
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

    /// Sends it; again, on another connection, only if nothing was sent or the target
    /// said that it will not look at it.
    pub(super) async fn send(&self, shadow: &Shadow<'_>) -> Sent {
        let began = Instant::now();
        let request = match translate(shadow, &self.scheme) {
            Ok(request) => request,
            Err(why) => return Sent::not_connected(Fault::new(Class::Unsendable, why), began),
        };
        // Where the fewest are: what is above the streams a server allows has to wait.
        let slot = self.slots.iter().min_by_key(|slot| slot.in_flight.load(Ordering::Relaxed));
        let in_flight = InFlight::on(slot.expect("at least one was made"));
        let slot = in_flight.0;
        let mut tries = 1;
        loop {
            let (connection, made) = match self.connection(slot).await {
                Ok(connection) => connection,
                Err(fault) => return Sent::not_connected(fault, began),
            };
            let mut sent = self.exchange(&connection, &request, shadow.body).await;
            let class = sent.fault.as_ref().map(|fault| fault.class);
            let silent = !connection.alive.load(Ordering::Relaxed);
            let unsent = !sent.written && class.is_some_and(|class| class != Class::Unsendable);
            if unsent || class == Some(Class::Timeout) && silent {
                slot.forget(&connection);
            }
            if !unsent || class == Some(Class::Timeout) || tries == TRIES {
                sent.connect = made.then_some(connection.took);
                return sent;
            }
            tries += 1;
        }
    }

    async fn exchange(
        &self,
        connection: &Connection,
        request: &Translated,
        body: &[Bytes],
    ) -> Sent {
        connection.alive.store(false, Ordering::Relaxed);
        let mut progress = Progress { answer: Collector::start(), written: false, whole: false };
        let exchange = progress.exchange(connection, request, body);
        let fault = match timeout(self.timeout, exchange).await {
            Ok(result) => result.err(),
            Err(_) if progress.answer.is_complete() => None,
            Err(_) => {
                let detail = format!("no whole answer within {:?}", self.timeout);
                Some(Fault::new(Class::Timeout, detail))
            }
        };
        let Progress { answer, written, whole } = progress;
        let started = answer.started();
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
        let mut builder = client::Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_FIELDS);
        let (sender, connection) = builder.handshake(stream).await.map_err(|e| explain(&e))?;
        let driver = TaskTracker::new().spawn(async move {
            // Its error reaches every request on it.
            let _ = connection.await;
        });
        let driver = AbortOnDropHandle::new(driver);
        let took = started.elapsed();
        let connection =
            Arc::new(Connection { sender, took, alive: AtomicBool::new(true), driver });
        *slot.lock() = Some(Arc::clone(&connection));
        Ok((connection, true))
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Connection>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that is there, unless it has ended.
    fn connection(&self) -> Option<Arc<Connection>> {
        let mut current = self.lock();
        if current.as_ref().is_some_and(|connection| connection.driver.is_finished()) {
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

impl Progress {
    /// One request and its answer, both ways at the same time.
    async fn exchange(
        &mut self,
        connection: &Connection,
        request: &Translated,
        body: &[Bytes],
    ) -> Result<(), Fault> {
        let mut sender = connection.sender.clone().ready().await.map_err(|e| explain(&e))?;
        let empty = body.iter().all(Bytes::is_empty) && request.trailers.is_none();
        let head = Request::from_parts(request.head.clone(), ());
        let (response, stream) = sender.send_request(head, empty).map_err(|e| not_begun(&e))?;
        self.written = true;
        self.whole = empty;

        let head_request = request.head.method == http::Method::HEAD;
        let Self { answer, written, whole } = self;
        let receiving = std::pin::pin!(receive(response, connection, head_request, answer));
        if empty {
            return receiving.await.map_err(|e| seen(&e, written));
        }
        let sending = std::pin::pin!(send_body(stream, body.to_vec(), request.trailers.clone()));
        match select(receiving, sending).await {
            // Answered early. The rest of the body still belongs to the shadow, for as
            // long as it is there to take it.
            Either::Left((Ok(()), sending)) => *whole = sending.await.is_ok(),
            Either::Left((Err(e), _)) => return Err(seen(&e, written)),
            // The answer may still come: a target that refuses a body answers, then
            // resets the stream.
            Either::Right((sent, receiving)) => {
                *whole = sent.is_ok();
                receiving.await.map_err(|e| seen(&e, written))?;
            }
        }
        Ok(())
    }
}

/// What a failed stream means, and whether the target looked at it.
fn seen(error: &h2::Error, written: &mut bool) -> Fault {
    *written = !is_unprocessed(error);
    explain(error)
}

async fn send_body(
    mut stream: SendStream<Bytes>,
    pieces: Vec<Bytes>,
    trailers: Option<HeaderMap>,
) -> Result<(), h2::Error> {
    let mut left = pieces.iter().map(Bytes::len).sum::<usize>();
    for mut piece in pieces {
        while !piece.is_empty() {
            stream.reserve_capacity(piece.len());
            let room = poll_fn(|cx| stream.poll_capacity(cx)).await;
            let room = room.unwrap_or_else(|| Err(h2::Reason::STREAM_CLOSED.into()))?;
            let data = piece.split_to(room.min(piece.len()));
            left -= data.len();
            stream.send_data(data, left == 0 && trailers.is_none())?;
        }
    }
    trailers.map_or(Ok(()), |trailers| stream.send_trailers(trailers))
}

/// A request in the types of `http`.
struct Translated {
    head: http::request::Parts,
    trailers: Option<HeaderMap>,
}

fn translate(shadow: &Shadow<'_>, scheme: &uri::Scheme) -> Result<Translated, Unsendable> {
    let mut parts = uri::Parts::default();
    parts.scheme = Some(scheme.clone());
    let path = uri::PathAndQuery::try_from(&shadow.target[..]);
    let path = path.map_err(|_| "the path has bytes that cannot be sent over HTTP/2")?;
    // That type cuts a fragment off silently.
    if path.as_str().as_bytes() != &shadow.target[..] {
        return Err("the path has bytes that cannot be sent over HTTP/2");
    }
    parts.path_and_query = Some(path);
    let host = shadow.fields.iter().find(|f| f.name.eq_ignore_ascii_case(b"host"));
    let authority = host.map(|f| uri::Authority::try_from(&f.value[..]));
    parts.authority = authority.transpose().map_err(|_| "the host cannot be sent over HTTP/2")?;
    let (mut head, ()) = Request::new(()).into_parts();
    head.version = http::Version::HTTP_2;
    head.method = http::Method::from_bytes(shadow.method).map_err(|_| "a bad method")?;
    head.uri = Uri::from_parts(parts).map_err(|_| "the target cannot be sent over HTTP/2")?;
    head.headers = field_map(&shadow.fields)?;
    let trailers =
        (!shadow.trailers.is_empty()).then(|| field_map(&shadow.trailers)).transpose()?;
    Ok(Translated { head, trailers })
}

/// Without what HTTP/2 says in other ways (RFC 9113 section 8.2.2).
fn field_map(fields: &[Field<'_>]) -> Result<HeaderMap, Unsendable> {
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name).map_err(|_| "a bad field name")?;
        if matches!(name.as_str(), "host" | "transfer-encoding" | "connection") {
            continue;
        }
        let value = HeaderValue::from_bytes(&field.value)
            .map_err(|_| "a control character in a field value")?;
        map.try_append(name, value).map_err(|_| "too many fields")?;
    }
    Ok(map)
}

async fn receive(
    response: ResponseFuture,
    connection: &Connection,
    head_request: bool,
    answer: &mut Collector,
) -> Result<(), h2::Error> {
    let (parts, mut body) = response.await?.into_parts();
    connection.alive.store(true, Ordering::Relaxed);
    let framed = !body.is_end_stream() || parts.headers.contains_key(http::header::CONTENT_LENGTH);
    answer.head(Head {
        status: parts.status.as_u16(),
        reason: Bytes::new(),
        version: pb::Version::Http2,
        headers: fields_of(&parts.headers),
        has_body: framed && !head_request && !matches!(parts.status.as_u16(), 204 | 304),
    });
    receive_body(&mut body, connection, answer).await?;
    answer.end();
    Ok(())
}

async fn receive_body(
    body: &mut RecvStream,
    connection: &Connection,
    answer: &mut Collector,
) -> Result<(), h2::Error> {
    while let Some(data) = body.data().await {
        let data = data?;
        connection.alive.store(true, Ordering::Relaxed);
        answer.body(&data);
        body.flow_control().release_capacity(data.len())?;
    }
    if let Some(trailers) = body.trailers().await? {
        answer.trailers(fields_of(&trailers));
    }
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
/// 9113 section 8.7): its stream came after the goodbye, or was refused. Streams
/// before a goodbye go on and never end with its error.
fn is_unprocessed(error: &h2::Error) -> bool {
    let after_goodbye = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (after_goodbye || refused)
}

/// Why a stream could not even be begun: the connection has ended, or the request is
/// none to `h2`.
fn not_begun(error: &h2::Error) -> Fault {
    if error.is_io() || error.is_go_away() || error.is_reset() {
        return explain(error);
    }
    Fault::new(Class::Unsendable, error.to_string())
}

fn explain(error: &h2::Error) -> Fault {
    // What we end ourselves is not HTTP/2; what the peer ends is a reset.
    let ours = !error.is_io() && !error.is_remote() && error.reason().is_some();
    let class = if ours { Class::Garbled } else { Class::Reset };
    Fault::new(class, error.to_string())
}
