//! One request and its answer.

use std::{
    cell::Cell,
    future::{Future, pending, poll_fn},
    io,
    pin::pin,
    rc::Rc,
};

use bytes::Buf as _;
use umbra_record::pb::Failure;

use super::{
    Connected, Proxy,
    answer::{Answer, Answered, Asked},
    connection::{After, Connection},
    course::{Course, Ended},
    io::try_write_both,
    progress::{Patience, Progress, Waits, poll_open},
    receive::Started,
    tunnel::tunnel,
    upload::{Upload, look},
};
use crate::{
    h1::{ForwardChanges, MethodKind, Version, error_response, write_request_head},
    stream::Stream,
    upstream::{Fault, Link, Offer},
};

/// What the exchange has to know of the request.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    pub(super) method: MethodKind,
    pub(super) version: Version,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    /// The connection may become a tunnel by an upgrade or CONNECT.
    pub(super) may_switch: bool,
    pub(super) idempotent: bool,
}

/// How far the request is on its way before the exchange runs.
#[derive(Clone, Copy)]
struct Sent {
    /// Bytes of head and body that the upstream's socket has taken.
    written: usize,
    /// Body bytes at the start of the client's buffer that belong to the first
    /// write.
    at_hand: usize,
    /// All of it: nothing is left to upload.
    whole: bool,
}

impl Connection<'_> {
    /// Forwards the request whose head is the first `len` bytes of the buffer.
    pub(super) async fn exchange(
        &mut self,
        client: &mut Stream,
        started: Started,
        len: usize,
    ) -> After {
        if self.request.get_mut().head_mut().is_connect() && !self.proxy.tap.config.connect {
            self.refused("connect");
            return self.say(client, error_response(405)).await;
        }
        self.wake();
        let facts = self.begin(started, len);
        let seen = {
            let tee = self.request.get_mut();
            look(&mut self.request_body, &self.from_client, None, tee)
        };
        if let Some(malformed) = seen.fault {
            self.refused(malformed.reason);
            self.answer.get_mut().discard();
            // Before the client is waited for: no flight holds Marks back for it.
            self.request.get_mut().emit();
            return self.say(client, malformed.response()).await;
        }
        let after = self.forward(client, facts, seen.len).await;
        self.request.get_mut().emit();
        self.answer.get_mut().emit();
        after
    }

    /// Hands the request to the tees and writes the head for the upstream.
    fn begin(&mut self, started: Started, len: usize) -> Facts {
        let request = self.request.get_mut();
        request.begin(started.at, &self.from_client[..len], started.flight);
        let (head, bytes) = request.head();
        let authority = head.authority(bytes).unwrap_or_default();
        self.backend = Rc::clone(self.proxy.routes.choose(authority, head.path(bytes)));
        request.goes_to(&self.backend.url);
        self.answer.get_mut().begin(request);
        self.from_client.advance(len);
        let (head, bytes) = request.head();
        self.request_body.start(head.body());
        self.request_out.clear();
        let changes = ForwardChanges {
            forwarded_for: Some(self.session.client.as_bytes()).filter(|client| !client.is_empty()),
            forwarded_proto: Some(self.session.scheme.as_bytes()),
            via: Some(Proxy::via()),
            default_host: &self.backend.authority,
        };
        write_request_head(&mut self.request_out, bytes, head, &changes);
        Facts {
            method: head.method_kind(),
            version: head.version(),
            keep_alive: head.keep_alive(),
            upgrade: head.upgrade(),
            may_switch: head.upgrade() || head.is_connect(),
            idempotent: head.is_idempotent(),
        }
    }

    /// Sends head and beginning of the body to the upstream and sees the exchange
    /// through; a pooled connection that turns out to be closed is replaced once.
    async fn forward(&mut self, client: &mut Stream, facts: Facts, at_hand: usize) -> After {
        let backend = Rc::clone(&self.backend);
        if backend.dialer.speaks_only_http2() {
            return Box::pin(self.over_leg(client, facts, at_hand)).await;
        }
        let mut pooled = backend.pool.take(!facts.idempotent);
        loop {
            let (upstream, fresh) = match pooled.take() {
                Some(idle) => (idle, false),
                None => {
                    self.record_if_ended(facts);
                    let sure = !facts.idempotent;
                    // On the heap: seldom beside requests on kept connections.
                    let connecting = Box::pin(self.proxy.connect(&backend, Offer::Http1, sure));
                    match self.looking_on(connecting).await {
                        Ok(Connected::New(link)) => (link, true),
                        Ok(Connected::Idle(link)) => (link, false),
                        Ok(Connected::Http2(link)) => {
                            self.adopt(link).await;
                            return Box::pin(self.over_leg(client, facts, at_hand)).await;
                        }
                        Err(fault) => return self.fail(client, &fault).await,
                    }
                }
            };
            // In most cases the socket takes all of it at once. Only then, while
            // the upstream is already at work, the request is recorded.
            let body = &self.from_client[..at_hand];
            let first = try_write_both(&upstream.stream, &self.request_out, body, 0);
            self.record_if_ended(facts);
            // An error shows again when the answer is read; there may be one.
            let written = *first.as_ref().unwrap_or(&0);
            let all = written == self.request_out.len() + at_hand;
            let sent = Sent { written, at_hand, whole: all && self.request_body.is_done() };
            if !fresh && is_broken(&first) {
                continue;
            }
            let ended = self.run(client, &upstream.stream, facts, sent).await;
            let closed_unseen = matches!(
                ended,
                Ended::Answer(Answered::None { fault: Fault::Reset(_), untouched: true }, _)
            );
            if closed_unseen && !fresh && sent.whole && facts.idempotent {
                continue;
            }
            if sent.whole {
                self.from_client.advance(at_hand);
            }
            return self.end(client, Some(upstream), ended).await;
        }
    }

    /// Waits for the upstream. If that takes long, the request is written as it stands.
    pub(super) async fn looking_on<T>(&mut self, waiting: impl Future<Output = T>) -> T {
        let (request, watchdog) = (self.request.get_mut(), &mut self.watchdog);
        request.reads_on();
        let mut waiting = pin!(waiting);
        poll_fn(|cx| {
            let done = waiting.as_mut().poll(cx);
            if done.is_pending() {
                poll_open(request, watchdog, cx);
            }
            done
        })
        .await
    }

    /// Passes on the rest of the request and the answer, both at once.
    async fn run(&mut self, client: &Stream, upstream: &Stream, facts: Facts, sent: Sent) -> Ended {
        self.proxy.buffers.lend(&mut self.from_upstream);
        let config = &self.proxy.tap.config;
        let patience = Patience { client: config.idle_timeout, upstream: config.upstream_timeout };
        let now = self.request.get_mut().read_at().at;
        let progress = Progress::new((!sent.whole).then_some(Waits::Upstream), now);
        let (uploaded, begun) = (Cell::new(sent.whole), Cell::new(false));
        let (request, stop, watchdog) = (&self.request, &self.stop, &mut self.watchdog);
        let upload = Upload {
            client,
            upstream,
            buf: &mut self.from_client,
            body: &mut self.request_body,
            tee: request,
            progress: &progress,
        };
        let head = &self.request_out[..];
        let uploading = pin!(async {
            if sent.whole {
                pending().await
            } else {
                upload.run(head, sent.written, sent.at_hand).await
            }
        });
        let answer = Answer {
            upstream,
            client,
            buf: &mut self.from_upstream,
            out: &mut self.out,
            body: &mut self.answer_body,
            tee: &self.answer,
            progress: &progress,
            limits: &self.proxy.limits,
            begun: &begun,
            asked: Asked {
                method: facts.method,
                version: facts.version,
                upgrade: facts.upgrade,
                may_go_on: &|| facts.keep_alive && stop.since().is_none(),
                uploaded: &uploaded,
            },
        };
        let answering = pin!(answer.run());
        let mut course = Course {
            request,
            progress: &progress,
            uploaded: &uploaded,
            begun: &begun,
            waits_for_upgrade: facts.may_switch,
            sending: !sent.whole,
            answered: None,
        };
        course.follow(uploading, answering, watchdog, patience).await
    }

    pub(super) async fn end(
        &mut self,
        client: &mut Stream,
        upstream: Option<Link>,
        ended: Ended,
    ) -> After {
        match ended {
            Ended::Answer(Answered::Whole { upstream: reusable, client: keep }, uploaded) => {
                if let Some(upstream) = upstream.filter(|_| reusable && uploaded) {
                    self.backend.pool.put(upstream, self.answer.get_mut().read_at().at);
                }
                // Else the client is told that this was all, and its system is not to throw
                // the end of it away for what it sends meanwhile.
                if uploaded && keep { After::Next } else { After::Linger }
            }
            Ended::Answer(Answered::Tunnel, _) => match upstream {
                Some(upstream) => Box::pin(self.tunnel(client, upstream)).await,
                None => After::Close,
            },
            Ended::Answer(Answered::None { fault, .. }, _) => self.fail(client, &fault).await,
            Ended::Answer(Answered::Broken(fault), _) => {
                self.answer.get_mut().fail(fault.failure(), &fault);
                abort(client)
            }
            Ended::Answer(Answered::ClientGone(error), _) => {
                self.answer.get_mut().fail(Failure::ClientGone, error);
                After::Close
            }
            Ended::ClientGone => After::Close,
            Ended::Malformed(malformed, begun) => {
                self.refused(malformed.reason);
                self.answer.get_mut().discard();
                if begun { abort(client) } else { self.say(client, malformed.response()).await }
            }
            Ended::ClientSilent(true) | Ended::UpstreamSilent(true) => abort(client),
            Ended::ClientSilent(false) => {
                self.refused("body_timeout");
                self.say(client, error_response(408)).await
            }
            Ended::UpstreamSilent(false) => self.fail(client, &Fault::Timeout("answer")).await,
        }
    }

    async fn tunnel(&mut self, client: &mut Stream, mut upstream: Link) -> After {
        let (request, answer) = (self.request.get_mut(), self.answer.get_mut());
        request.tunnel();
        request.emit();
        answer.ended();
        answer.emit();
        tunnel(client, &mut upstream.stream, &mut self.from_client, &mut self.from_upstream).await;
        After::Close
    }

    /// There will be no answer from the upstream: the client gets ours.
    pub(super) async fn fail(&mut self, client: &Stream, fault: &Fault) -> After {
        tracing::debug!(%fault, "no answer from the upstream");
        self.answer.get_mut().fail(fault.failure(), fault);
        self.say(client, error_response(fault.status())).await
    }

    /// Whether it becomes a tunnel is part of an upgrade's record: it waits.
    pub(super) fn record_if_ended(&mut self, facts: Facts) {
        let request = self.request.get_mut();
        if facts.may_switch || !self.request_body.is_done() {
            return request.hold();
        }
        request.emit();
    }
}

/// The client must not take what it has for the whole, so its connection ends with
/// a reset.
fn abort(client: &Stream) -> After {
    client.reset_on_close();
    After::Close
}

fn is_broken(written: &io::Result<usize>) -> bool {
    matches!(written, Err(error) if error.kind() != io::ErrorKind::WouldBlock)
}
