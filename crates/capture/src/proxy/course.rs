//! The course of an exchange: what each event means while request and answer are
//! on their way at the same time.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

use super::{
    answer::Answered,
    progress::{Due, Patience, Progress},
    upload::Uploaded,
    watchdog::Watchdog,
};
use crate::{h1::Malformed, tee::RequestTee};

/// Where an exchange stands.
pub(super) struct Course<'a> {
    pub(super) request: &'a RefCell<RequestTee>,
    pub(super) progress: &'a Progress,
    /// All of the request has been passed on.
    pub(super) uploaded: &'a Cell<bool>,
    /// The head of the final answer is on its way to the client.
    pub(super) begun: &'a Cell<bool>,
    /// The request is not recorded before it is known whether it becomes a tunnel.
    pub(super) waits_for_upgrade: bool,
    /// There is an upload, and it goes on.
    pub(super) sending: bool,
    /// The answer has ended, its request not yet.
    pub(super) answered: Option<Answered>,
}

/// What happened.
enum Event {
    Uploaded(Uploaded),
    Answered(Answered),
    Due(Due),
}

/// How an exchange over one upstream connection ended.
pub(super) enum Ended {
    /// By the answer; and whether all of the request was passed on.
    Answer(Answered, bool),
    /// The client is gone.
    ClientGone,
    /// The client sent or read nothing for too long; whether an answer had begun.
    ClientSilent(bool),
    /// The client's body is refused; whether an answer had begun.
    Malformed(Malformed, bool),
    /// Too long without an answer's head, or without reading the request; whether
    /// an answer had begun.
    UpstreamSilent(bool),
}

impl Course<'_> {
    /// Sees both directions through to the end of the exchange.
    pub(super) async fn follow(
        &mut self,
        mut uploading: Pin<&mut impl Future<Output = Uploaded>>,
        mut answering: Pin<&mut impl Future<Output = Answered>>,
        watchdog: &mut Watchdog,
        patience: Patience,
    ) -> Ended {
        loop {
            let event = poll_fn(|cx| {
                if self.sending
                    && let Poll::Ready(end) = uploading.as_mut().poll(cx)
                {
                    return Poll::Ready(Event::Uploaded(end));
                }
                if self.answered.is_none()
                    && let Poll::Ready(end) = answering.as_mut().poll(cx)
                {
                    return Poll::Ready(Event::Answered(end));
                }
                let open_at = self.request.borrow().open_at();
                self.progress.poll_due(cx, watchdog, patience, open_at).map(Event::Due)
            })
            .await;
            if let Some(ended) = self.on(event) {
                return ended;
            }
        }
    }

    /// Whether the exchange has ended by this.
    fn on(&mut self, event: Event) -> Option<Ended> {
        match event {
            Event::Uploaded(end) => self.on_uploaded(end),
            Event::Answered(end) => self.on_answered(end),
            Event::Due(due) => self.on_due(due),
        }
    }

    fn on_uploaded(&mut self, end: Uploaded) -> Option<Ended> {
        self.sending = false;
        self.progress.upload(None);
        let whole = matches!(end, Uploaded::Whole);
        if whole {
            self.uploaded.set(true);
            self.record_request();
        }
        if let Some(answered) = self.answered.take() {
            return Some(Ended::Answer(answered, whole));
        }
        match end {
            // An upstream that takes no more may have answered before.
            Uploaded::Whole | Uploaded::UpstreamGone => None,
            Uploaded::ClientGone => Some(Ended::ClientGone),
            Uploaded::Malformed(malformed) => Some(Ended::Malformed(malformed, self.begun.get())),
        }
    }

    fn on_answered(&mut self, end: Answered) -> Option<Ended> {
        self.progress.answer(None);
        // RFC 9112 9.6: an early answer. If the upstream keeps reading, it gets the
        // rest, and both connections can go on.
        let reads_on = matches!(end, Answered::Whole { upstream: true, .. });
        if self.sending && reads_on {
            self.answered = Some(end);
            return None;
        }
        Some(Ended::Answer(end, self.uploaded.get()))
    }

    fn on_due(&mut self, due: Due) -> Option<Ended> {
        match due {
            Due::Open => {
                self.request.borrow_mut().write_open();
                return None;
            }
            Due::StreamSilent => {
                self.progress.look_for_client();
                return None;
            }
            _ => {}
        }
        // The answer is complete, only its request is not.
        if let Some(answered) = self.answered.take() {
            return Some(Ended::Answer(answered, false));
        }
        let begun = self.begun.get();
        Some(match due {
            Due::ClientSilent => Ended::ClientSilent(begun),
            Due::ClientGone => Ended::ClientGone,
            _ => Ended::UpstreamSilent(begun),
        })
    }

    fn record_request(&self) {
        if !self.waits_for_upgrade {
            self.request.borrow_mut().emit();
        }
    }
}
