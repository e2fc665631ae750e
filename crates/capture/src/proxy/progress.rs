//! Who is waited for during an exchange, since when, and therefore how long yet.

use std::{
    cell::Cell,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::watchdog::Watchdog;
use crate::{stream::Stream, tee::RequestTee};

/// Kept up to date by the two directions of an exchange.
#[derive(Debug)]
pub(crate) struct Progress {
    upload: Cell<Option<(Waits, Instant)>>,
    answer: Cell<Option<(Waits, Instant)>>,
    look: Cell<bool>,
    gone: Cell<bool>,
}

/// Whose turn it is in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waits {
    /// The client is to send, or to read.
    Client,
    /// The upstream is to send, or to read.
    Upstream,
    /// The upstream is to send more of an answer, or the client of a stream of messages.
    /// They take the time they need: streams of events may be silent for long.
    Stream,
}

/// How long is waited.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) client: Duration,
    pub(crate) upstream: Duration,
}

/// What time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// The request has been open for so long that it is to be written as it is.
    Open,
    /// Nothing came from the upstream for too long.
    UpstreamSilent,
    /// The client neither sends nor reads.
    ClientSilent,
    /// Nothing has moved for so long that the client may be gone: look.
    StreamSilent,
    /// It is.
    ClientGone,
}

impl Progress {
    /// A request has been sent, as far as it was there, `now`.
    pub(crate) fn new(upload: Option<Waits>, now: Instant) -> Self {
        Self {
            upload: Cell::new(upload.map(|waits| (waits, now))),
            answer: Cell::new(Some((Waits::Upstream, now))),
            look: Cell::new(false),
            gone: Cell::new(false),
        }
    }

    /// The upload waits from now on, or has ended.
    pub(crate) fn upload(&self, waits: Option<Waits>) {
        let now = Instant::now();
        self.upload.set(waits.map(|waits| (waits, now)));
        // What the upstream gets it may think about as long as it is allowed to.
        if let Some((Waits::Upstream, _)) = self.answer.get() {
            self.answer.set(Some((Waits::Upstream, now)));
        }
    }

    /// The answer waits from now on, or has ended.
    pub(crate) fn answer(&self, waits: Option<Waits>) {
        self.answer.set(waits.map(|waits| (waits, Instant::now())));
    }

    /// The same, where it is known what time it is.
    pub(crate) fn answer_at(&self, waits: Option<Waits>, now: Instant) {
        self.answer.set(waits.map(|waits| (waits, now)));
    }

    /// The answer has begun: from here on the client, too, takes the time it needs to
    /// send. Streams in both directions may be silent for long.
    pub(crate) fn both_stream(&self) {
        self.answer(Some(Waits::Stream));
        if let Some((Waits::Client, _)) = self.upload.get() {
            self.upload(Some(Waits::Stream));
        }
    }

    /// What may be silent for long, and is, is waited for again.
    pub(crate) fn wait_on(&self) {
        for direction in [&self.upload, &self.answer] {
            if let Some((Waits::Stream, _)) = direction.get() {
                direction.set(Some((Waits::Stream, Instant::now())));
            }
        }
    }

    /// Whoever has the client's socket is to look whether it is still open.
    pub(crate) fn look_for_client(&self) {
        self.look.set(true);
        self.answer(Some(Waits::Stream));
    }

    /// Looks, if that was asked for.
    pub(crate) fn look(&self, client: &Stream) {
        if self.look.take() {
            self.gone.set(client.is_ended());
        }
    }

    fn next(&self, patience: Patience, open_at: Option<Instant>) -> Option<(Instant, Due)> {
        let upload = self.upload.get();
        let answer = match (self.answer.get(), upload) {
            // While the client is still sending, the upstream need not answer.
            (Some((Waits::Upstream, _)), Some((Waits::Client | Waits::Stream, _))) => None,
            (answer, _) => answer,
        };
        let waits = [upload, answer].into_iter().flatten().map(|(waits, since)| match waits {
            Waits::Client => (since + patience.client, Due::ClientSilent),
            Waits::Upstream => (since + patience.upstream, Due::UpstreamSilent),
            Waits::Stream => (since + patience.client, Due::StreamSilent),
        });
        waits.chain(open_at.map(|at| (at, Due::Open))).min_by_key(|(at, _)| *at)
    }

    /// Ready when something is due. Looks again at what is waited for whenever its
    /// task runs.
    pub(crate) fn poll_due(
        &self,
        cx: &mut Context<'_>,
        watchdog: &mut Watchdog,
        patience: Patience,
        open_at: Option<Instant>,
    ) -> Poll<Due> {
        if self.gone.get() {
            return Poll::Ready(Due::ClientGone);
        }
        match self.next(patience, open_at) {
            None => Poll::Pending,
            Some((at, due)) => watchdog.poll_until(cx, at).map(|()| due),
        }
    }
}

/// While the upstream is not there yet, nothing but the request itself can be due: to be
/// written as it stands.
pub(crate) fn poll_open(request: &mut RequestTee, watchdog: &mut Watchdog, cx: &mut Context<'_>) {
    if let Some(at) = request.open_at()
        && watchdog.poll_until(cx, at).is_ready()
    {
        request.write_open();
    }
}
