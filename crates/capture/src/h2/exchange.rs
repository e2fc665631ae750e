//! One stream: its request goes to the upstream and the answer comes back, both at
//! the same time, while the tees look on. How an exchange ends, whoever ends it.

mod answer;
mod upload;

use std::{
    cell::{Cell, RefCell},
    future::{Future as _, pending, poll_fn},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Instant,
};

use ::h2::{Reason, RecvStream};
use umbra_record::pb::Failure;

use self::{
    answer::{Answer, Answered},
    upload::{Upload, Uploaded},
};
use super::{
    client::{Client, Gone},
    server::Incoming,
};
use crate::{
    leg::{Leg, LegHead},
    proxy::{
        Proxy,
        progress::{Due, Patience, Progress, Waits, poll_open},
        watchdog::Watchdog,
    },
    record::Http2Request,
    tee::{AnswerTee, RequestTee},
    upstream::{Backend, Fault},
};

/// The version, as Via names it (RFC 9110 section 7.6.3).
const RECEIVED: &str = "2.0";

/// One stream of a client.
struct Exchange<'a> {
    proxy: &'a Rc<Proxy>,
    backend: Rc<Backend>,
    head: Arc<Http2Request>,
    body: RecvStream,
    client: Client,
    watchdog: Watchdog,
    // In this order: when the connection is dropped in the middle of an exchange,
    // the request is recorded before its answer.
    request: RefCell<RequestTee>,
    answer: RefCell<AnswerTee>,
}

/// How an exchange ended.
enum Ended {
    /// By the answer.
    Answer(Answered),
    /// The client is gone.
    Gone(Gone),
    /// The client's trailers are refused.
    Malformed(&'static str),
    /// The client sent or read nothing for too long.
    ClientSilent,
    /// Too long without an answer's head, or without reading the request.
    UpstreamSilent,
}

/// What happened.
enum Event {
    Uploaded(Uploaded),
    Answered(Answered),
    Due(Due),
}

/// Passes a request on to the upstream and the answer back. Says whether the client
/// has taken the request back.
pub(crate) async fn forward(proxy: &Rc<Proxy>, incoming: Incoming) -> bool {
    let Incoming { head, body, respond, start, flight, number, origin, ledger } = incoming;
    let tap = &proxy.tap;
    let backend = Rc::clone(proxy.routes.choose(&head.authority, &head.path));
    let mut request = RequestTee::new(Rc::clone(tap), Arc::clone(&origin));
    let mut answer = AnswerTee::new(Rc::clone(tap), origin);
    request.begin_http2(start, number, Arc::clone(&head), Some(flight));
    request.goes_to(&backend.url);
    answer.begin(&request);
    request.hold();
    let exchange = Exchange {
        proxy,
        backend,
        head,
        body,
        client: Client::new(respond, ledger),
        watchdog: Watchdog::new(),
        request: RefCell::new(request),
        answer: RefCell::new(answer),
    };
    exchange.run().await
}

impl Exchange<'_> {
    async fn run(mut self) -> bool {
        let whole = !self.head.has_body;
        if whole {
            self.request.get_mut().ended();
        }
        let begun = Cell::new(false);
        let ended = match self.open(whole).await {
            Ok(leg) => self.pass(leg, whole, &begun).await,
            Err(ended) => ended,
        };
        self.request.get_mut().emit();
        let taken_back = matches!(&ended, Ended::Gone(gone) if gone.reset);
        self.end(ended, begun.get());
        self.answer.get_mut().emit();
        taken_back
    }

    /// Sends the head to the upstream.
    async fn open(&mut self, whole: bool) -> Result<Leg, Ended> {
        let session = Arc::clone(&self.request.get_mut().origin().session);
        let head = LegHead {
            request: &self.head,
            session: &session,
            received: RECEIVED,
            backend: &self.backend,
        };
        let Self { proxy, client, request, watchdog, .. } = self;
        let mut opening = pin!(Leg::open(proxy, head, whole));
        poll_fn(|cx| {
            // Nothing is begun for a request that has been taken back.
            if let Poll::Ready(gone) = client.poll_gone(cx) {
                return Poll::Ready(Err(Ended::Gone(gone)));
            }
            let opened = opening.as_mut().poll(cx);
            if whole {
                // The upstream is at work, or connected to.
                request.get_mut().emit();
            } else if opened.is_pending() {
                poll_open(request.get_mut(), watchdog, cx);
            }
            opened.map_err(|fault| Ended::Answer(Answered::None(fault)))
        })
        .await
    }

    /// Passes on the request's body and the answer, both at once.
    async fn pass(&mut self, leg: Leg, whole: bool, begun: &Cell<bool>) -> Ended {
        let Self { proxy, head, body, client, watchdog, request, answer, .. } = self;
        let Leg { mut sending, mut receiving } = leg;
        let config = &proxy.tap.config;
        let patience = Patience { client: config.idle_timeout, upstream: config.upstream_timeout };
        let progress = Progress::new((!whole).then_some(Waits::Client), Instant::now());
        let upload = Upload {
            body,
            sending: &mut sending,
            tee: request,
            progress: &progress,
            begun,
            is_grpc: is_grpc(head),
        };
        let answer = Answer {
            receiving: &mut receiving,
            client,
            tee: answer,
            progress: &progress,
            begun,
            is_head: head.method == http::Method::HEAD,
        };
        let ended = {
            let mut uploading =
                pin!(async { if whole { pending().await } else { upload.run().await } });
            let mut answering = pin!(answer.run());
            let mut course =
                Course { request, progress: &progress, sending: !whole, answered: None };
            loop {
                let event = poll_fn(|cx| {
                    if course.sending
                        && let Poll::Ready(end) = uploading.as_mut().poll(cx)
                    {
                        return Poll::Ready(Event::Uploaded(end));
                    }
                    if course.answered.is_none()
                        && let Poll::Ready(end) = answering.as_mut().poll(cx)
                    {
                        return Poll::Ready(Event::Answered(end));
                    }
                    let open_at = request.borrow().open_at();
                    progress.poll_due(cx, watchdog, patience, open_at).map(Event::Due)
                })
                .await;
                if let Some(ended) = course.on(event) {
                    break ended;
                }
            }
        };
        if let Ended::Gone(gone) | Ended::Answer(Answered::Gone(gone)) = &ended {
            sending.reset(gone.code);
        }
        ended
    }

    /// What the client is told of it, and the answer's record.
    fn end(&mut self, ended: Ended, begun: bool) {
        let (client, answer) = (&mut self.client, self.answer.get_mut());
        match ended {
            Ended::Answer(Answered::Whole) => {}
            Ended::Answer(Answered::None(fault)) => {
                tracing::debug!(%fault, "no answer from the upstream");
                answer.fail(fault.failure(), &fault);
                match fault {
                    Fault::StreamReset(code) if code != Reason::NO_ERROR => client.reset(code),
                    fault => client.say(fault.status()),
                }
            }
            Ended::Answer(Answered::Broken(fault)) => {
                answer.fail(fault.failure(), &fault);
                client.reset(fault.reason());
            }
            Ended::Gone(gone) | Ended::Answer(Answered::Gone(gone)) => {
                if gone.malformed {
                    answer.discard();
                } else {
                    answer.fail(Failure::ClientGone, gone.code);
                }
            }
            Ended::Malformed(reason) => {
                self.proxy.refuse(reason);
                answer.discard();
                client.reset(Reason::PROTOCOL_ERROR);
            }
            Ended::ClientSilent if begun => client.reset(Reason::CANCEL),
            Ended::ClientSilent => {
                self.proxy.refuse("body_timeout");
                client.say(408);
            }
            Ended::UpstreamSilent => {
                let fault = Fault::Timeout("answer");
                answer.fail(fault.failure(), &fault);
                if begun { client.reset(fault.reason()) } else { client.say(fault.status()) }
            }
        }
    }
}

/// Whether a client may be silent in the middle of its request for as long as it likes:
/// a call that streams may have nothing to say, and nobody answers before it does.
fn is_grpc(head: &Http2Request) -> bool {
    let mut types = head.fields.iter().filter(|(name, _)| *name == http::header::CONTENT_TYPE);
    types.any(|(_, value)| value.as_bytes().starts_with(b"application/grpc"))
}

/// The course of an exchange: what each event means while request and answer are on
/// their way at the same time.
struct Course<'a> {
    request: &'a RefCell<RequestTee>,
    progress: &'a Progress,
    /// There is an upload, and it goes on.
    sending: bool,
    /// The answer has ended, its request not yet.
    answered: Option<Answered>,
}

impl Course<'_> {
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
        match end {
            Uploaded::Gone(gone) => return Some(Ended::Gone(gone)),
            Uploaded::Malformed(reason) => return Some(Ended::Malformed(reason)),
            Uploaded::Whole => self.request.borrow_mut().emit(),
            // An upstream that takes no more may have answered before.
            Uploaded::UpstreamGone => {}
        }
        self.answered.take().map(Ended::Answer)
    }

    fn on_answered(&mut self, end: Answered) -> Option<Ended> {
        self.progress.answer(None);
        // An early answer. If the upstream keeps reading, it gets the rest.
        if self.sending && matches!(end, Answered::Whole) {
            self.answered = Some(end);
            return None;
        }
        Some(Ended::Answer(end))
    }

    fn on_due(&mut self, due: Due) -> Option<Ended> {
        match due {
            Due::Open => self.request.borrow_mut().write_open(),
            // The answer is complete, only its request is not.
            Due::StreamSilent | Due::ClientSilent | Due::UpstreamSilent
                if self.answered.is_some() =>
            {
                return self.answered.take().map(Ended::Answer);
            }
            // A client that leaves says so, or its connection ends.
            Due::StreamSilent | Due::ClientGone => self.progress.wait_on(),
            Due::ClientSilent => return Some(Ended::ClientSilent),
            Due::UpstreamSilent => return Some(Ended::UpstreamSilent),
        }
        None
    }
}
