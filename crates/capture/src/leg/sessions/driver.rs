//! The task that moves a session's frames, and notices when its peer is dead.

use std::{
    cell::Cell,
    future::{Future, pending, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{Ping, PingPong, client::Connection};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

/// What a session's streams and its driver tell each other.
#[derive(Debug)]
pub(crate) struct Pulse {
    streams: Cell<usize>,
    limit: Cell<usize>,
    /// When a stream last got something, or the session began.
    heard: Cell<Instant>,
    /// Since when a stream has been waiting for something: that, or its beginning.
    waits_since: Cell<Instant>,
    /// It has heard something at all.
    lived: Cell<bool>,
    /// Since when there has been no stream.
    idle_since: Cell<std::time::Instant>,
    over: Cell<bool>,
    silent: Cell<bool>,
}

/// How long a silent peer is believed to live.
///
/// Servers of gRPC end sessions on which they get pings without having sent anything
/// for five minutes, so a ping is repeated only after something was heard, or later
/// than that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// A peer that owes an answer and says nothing for so long is asked.
    pub(super) silence: Duration,
    /// It has so long to say that it lives.
    pub(super) pong: Duration,
    /// Before it is asked again without having said anything else.
    pub(super) again: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(30),
            pong: Duration::from_secs(20),
            again: Duration::from_secs(330),
        }
    }
}

impl Pulse {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            streams: Cell::new(0),
            limit: Cell::new(limit),
            heard: Cell::new(Instant::now()),
            waits_since: Cell::new(Instant::now()),
            lived: Cell::new(false),
            idle_since: Cell::new(std::time::Instant::now()),
            over: Cell::new(false),
            silent: Cell::new(false),
        }
    }

    pub(super) fn begin(&self) {
        if self.streams.get() == 0 {
            self.waits_since.set(Instant::now());
        }
        self.streams.set(self.streams.get() + 1);
    }

    pub(super) fn end(&self) {
        self.streams.set(self.streams.get() - 1);
        if self.streams.get() == 0 {
            self.idle_since.set(std::time::Instant::now());
        }
    }

    pub(super) fn streams(&self) -> usize {
        self.streams.get()
    }

    /// Most streams at a time the upstream allows.
    pub(super) fn limit(&self) -> usize {
        self.limit.get()
    }

    /// How long there has been no stream.
    pub(super) fn idle_for(&self, now: std::time::Instant) -> Option<Duration> {
        let idle = now.saturating_duration_since(self.idle_since.get());
        (self.streams.get() == 0).then_some(idle)
    }

    /// No stream can be begun in it any more.
    pub(super) fn is_over(&self) -> bool {
        self.over.get()
    }

    pub(in crate::leg) fn set_over(&self) {
        self.over.set(true);
    }

    /// Whether a stream has ever got something.
    pub(in crate::leg) fn has_lived(&self) -> bool {
        self.lived.get()
    }

    /// A stream got something.
    pub(in crate::leg) fn heard(&self) {
        self.lived.set(true);
        self.heard.set(Instant::now());
        self.waits_since.set(self.heard.get());
    }

    /// The session was given up because its peer did not even answer a ping.
    pub(in crate::leg) fn is_silent(&self) -> bool {
        self.silent.get()
    }
}

/// Moves frames until the session has ended: when nobody needs it any more, when the
/// peer ends it, or when the peer is dead.
pub(super) async fn drive<T>(
    mut connection: Connection<T, Bytes>,
    pulse: &Pulse,
    room: &Notify,
    times: Times,
) where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let pings = connection.ping_pong();
    {
        let mut moving = poll_fn(|cx| {
            let ended = Pin::new(&mut connection).poll(cx);
            // The peer's settings may have come.
            let limit = connection.max_concurrent_send_streams();
            if pulse.limit.replace(limit) != limit {
                room.notify_waiters();
            }
            ended
        });
        let mut watching = pin!(watch(pings, pulse, times));
        poll_fn(|cx| {
            if let Poll::Ready(ended) = Pin::new(&mut moving).poll(cx) {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a session with the upstream ended");
                }
                return Poll::Ready(());
            }
            watching.as_mut().poll(cx)
        })
        .await;
    }
    pulse.over.set(true);
    // Streams that are left end with it.
    drop(connection);
    room.notify_waiters();
}

/// Waits until the peer is found dead.
async fn watch(pings: Option<PingPong>, pulse: &Pulse, times: Times) {
    let Some(mut pings) = pings else { return pending().await };
    let mut asked: Option<Instant> = None;
    let mut outstanding = false;
    loop {
        let mut due = pulse.waits_since.get() + times.silence;
        if let Some(asked) = asked.filter(|asked| pulse.heard.get() <= *asked) {
            due = due.max(asked + times.again);
        }
        if pulse.streams() == 0 {
            // Nobody waits.
            due = due.max(Instant::now() + times.silence);
        }
        if due > Instant::now() {
            sleep_until(due).await;
            continue;
        }
        if !outstanding && pings.send_ping(Ping::opaque()).is_err() {
            return pending().await;
        }
        let now = Instant::now();
        asked = Some(now);
        let pong = poll_fn(|cx: &mut Context<'_>| pings.poll_pong(cx));
        outstanding = match timeout(times.pong, pong).await {
            Ok(Ok(_)) => false,
            // The session has ended.
            Ok(Err(_)) => return pending().await,
            // It may have sent something else instead.
            Err(_) if pulse.heard.get() > now => true,
            Err(_) => {
                tracing::debug!("a session's peer is dead");
                pulse.silent.set(true);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
