//! HTTP/2 sessions with an upstream, of one capture thread: made when requests find no
//! room in those that are there, closed when nobody has needed them for a while. Each
//! is driven by a task of the thread that ends with the session; when the thread ends,
//! they all do.

mod driver;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant as TokioInstant, timeout_at},
};

use super::Line;
use crate::{
    stream::Stream,
    upstream::{Fault, Link},
};
pub(super) use driver::Pulse;

/// What may arrive of one answer while the client does not take it.
const STREAM_WINDOW: u32 = 512 << 10;

/// Most streams of a session, whatever the upstream allows. Those who do not read
/// must not hold up the others, so their windows together are the session's.
const MAX_STREAMS: usize = 128;

const SESSION_WINDOW: u32 = MAX_STREAMS as u32 * STREAM_WINDOW;

/// What is kept of one request's body while the upstream does not take it.
const SEND_BUFFER: usize = 128 << 10;

/// As many streams as an upstream allows that has not yet said how many
/// (RFC 9113 6.5.2 recommends no fewer).
const STREAMS_AT_FIRST: usize = 100;

/// Most sessions at a time.
const MAX_SESSIONS: usize = 64;

/// Longest time a session is kept without a stream, as idle connections are.
const IDLE: Duration = Duration::from_secs(30);

/// How long the last words of sessions may take at the end.
const GOODBYE: Duration = Duration::from_millis(200);

/// The sessions with one upstream.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: RefCell<Vec<Rc<Session>>>,
    /// Of those who are waiting for room, so many are making a session.
    dialing: Cell<usize>,
    waiting: Cell<usize>,
    /// A stream has ended, or a session has begun or changed.
    room: Rc<Notify>,
    drivers: RefCell<JoinSet<()>>,
    /// When it was last asked for HTTP/2, the upstream wanted HTTP/1.
    refused: Cell<bool>,
}

/// One session.
#[derive(Debug)]
struct Session {
    requests: SendRequest<Bytes>,
    pulse: Rc<Pulse>,
    room: Rc<Notify>,
}

/// A stream's place in a session, until dropped.
pub(super) struct Place {
    session: Rc<Session>,
}

/// What making a connection gave.
pub(super) enum Made {
    Session(Link),
    /// The upstream wants HTTP/1 on it.
    Http1(Line),
}

/// Where a request can go.
pub(super) enum Found {
    Place(Place),
    Http1(Line),
}

/// Counts one of several, until dropped.
struct Counting<'a>(&'a Cell<usize>, Option<&'a Notify>);

impl Sessions {
    /// A place for a stream: in a session that has room, or in a new one, over a
    /// connection that `dial` makes. Waits no longer than `within`.
    pub(super) async fn find(
        &self,
        within: Duration,
        max_head: usize,
        dial: impl AsyncFn() -> Result<Made, Fault>,
    ) -> Result<Found, Fault> {
        let deadline = TokioInstant::now() + within;
        let waiting = Counting::new(&self.waiting, None);
        loop {
            if let Some(place) = self.free() {
                return Ok(Found::Place(place));
            }
            if self.may_dial() {
                let dialing = Counting::new(&self.dialing, Some(&self.room));
                let made = dial().await?;
                self.refused.set(matches!(made, Made::Http1(_)));
                let link = match made {
                    Made::Session(link) => link,
                    Made::Http1(line) => return Ok(Found::Http1(line)),
                };
                let session = self.begin(link, max_head).await?;
                drop((dialing, waiting));
                return Ok(Found::Place(Place::new(session)));
            }
            if timeout_at(deadline, self.room.notified()).await.is_err() {
                return Err(Fault::Timeout("take another stream"));
            }
        }
    }

    /// Whether the upstream speaks no HTTP/2, as far as that is known.
    pub(super) fn are_refused(&self) -> bool {
        self.refused.get()
    }

    /// A place in a session that has room.
    pub(super) fn free(&self) -> Option<Place> {
        let mut open = self.open.borrow_mut();
        open.retain(|session| session.is_usable());
        let session = open.iter().find(|session| session.has_room())?;
        Some(Place::new(Rc::clone(session)))
    }

    /// Takes a connection that was made without being asked for.
    pub(crate) async fn adopt(&self, link: Link, max_head: usize) {
        if let Err(fault) = self.begin(link, max_head).await {
            tracing::debug!(%fault, "a new session with the upstream ended");
        }
    }

    /// Each new session is good for many who wait, unless the upstream takes nobody.
    fn may_dial(&self) -> bool {
        let (open, dialing) = (self.open.borrow(), self.dialing.get());
        open.len() + dialing < MAX_SESSIONS
            && open.iter().all(|session| session.pulse.limit() > 0)
            && (dialing == 0 || self.waiting.get() > (dialing + 1) * STREAMS_AT_FIRST)
    }

    async fn begin(&self, link: Link, max_head: usize) -> Result<Rc<Session>, Fault> {
        let (stream, counted) = link.into_parts();
        let (requests, connection) = handshake(stream, max_head).await?;
        let pulse = Rc::new(Pulse::new(STREAMS_AT_FIRST.min(MAX_STREAMS)));
        let room = Rc::clone(&self.room);
        let session = Rc::new(Session { requests, pulse: Rc::clone(&pulse), room });
        self.open.borrow_mut().push(Rc::clone(&session));
        let room = Rc::clone(&self.room);
        let mut drivers = self.drivers.borrow_mut();
        // Those that have ended are forgotten.
        while drivers.try_join_next().is_some() {}
        drivers.spawn_local(async move {
            driver::drive(connection, &pulse, &room, driver::Times::default()).await;
            drop(counted);
        });
        Ok(session)
    }

    /// Closes what has been idle for too long, or all that is idle.
    /// Says how many.
    pub(crate) fn prune(&self, now: Instant, all: bool) -> usize {
        let mut open = self.open.borrow_mut();
        let before = open.len();
        open.retain(|session| {
            let idle = session.pulse.idle_for(now);
            session.is_usable() && !idle.is_some_and(|idle| all || idle > IDLE)
        });
        while self.drivers.borrow_mut().try_join_next().is_some() {}
        before - open.len()
    }

    /// Ends all sessions. To be called when no stream is left.
    pub(crate) async fn end(&self) {
        self.open.borrow_mut().clear();
        let mut drivers = std::mem::take(&mut *self.drivers.borrow_mut());
        let deadline = TokioInstant::now() + GOODBYE;
        while let Ok(Some(_)) = timeout_at(deadline, drivers.join_next()).await {}
        drivers.shutdown().await;
    }
}

/// RFC 9113 3.4: our half of it; the upstream's is not waited for.
async fn handshake(
    stream: Stream,
    max_head: usize,
) -> Result<(SendRequest<Bytes>, Connection<Stream, Bytes>), Fault> {
    Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(SESSION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(max_head).unwrap_or(u32::MAX))
        .initial_max_send_streams(STREAMS_AT_FIRST)
        .enable_push(false)
        // Clients that go away leave data on its way behind. However many they are,
        // it is no fault of the upstream's.
        .max_concurrent_reset_streams(MAX_STREAMS)
        .max_local_error_reset_streams(None)
        .handshake(stream)
        .await
        .map_err(|error| Fault::Reset(std::io::Error::other(error)))
}

impl Session {
    /// New streams may be begun in it. The library is asked whether the upstream has
    /// said GOAWAY.
    fn is_usable(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let ready = self.requests.clone().poll_ready(&mut cx);
        !self.pulse.is_over() && !matches!(ready, Poll::Ready(Err(_)))
    }

    fn has_room(&self) -> bool {
        self.pulse.streams() < self.pulse.limit().min(MAX_STREAMS)
    }
}

impl Place {
    fn new(session: Rc<Session>) -> Self {
        session.pulse.begin();
        Self { session }
    }

    pub(super) fn requests(&self) -> SendRequest<Bytes> {
        self.session.requests.clone()
    }

    pub(super) fn pulse(&self) -> &Pulse {
        &self.session.pulse
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.session.pulse.end();
        self.session.room.notify_one();
    }
}

impl<'a> Counting<'a> {
    fn new(count: &'a Cell<usize>, tell: Option<&'a Notify>) -> Self {
        count.set(count.get() + 1);
        Self(count, tell)
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
        if let Some(tell) = self.1 {
            tell.notify_waiters();
        }
    }
}
