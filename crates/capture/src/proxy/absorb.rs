//! A request to a mirror sink: taken in as fast as it comes, recorded, answered by
//! ourselves. Nobody but the mirroring proxy sees the answer; what counts is that it
//! never has to wait.
//!
//! The answer is written when the last byte of the request has been read, whatever
//! the log does. Not before: Envoy and nginx stop sending a body once they have the
//! answer, so an early one would cut the record. Only when the rest of a body is of
//! no use any more, because there is no room to keep it, the answer comes early; the
//! rest is read all the same, as long as the proxy goes on sending it.

use std::{
    future::{Future as _, poll_fn},
    io,
    pin::pin,
    task::Poll,
    time::Instant,
};

use bytes::Buf as _;

use super::{
    connection::{After, Connection},
    io::{read, room, write_both},
    receive::Started,
    upload::look,
};
use crate::{
    h1::{Limits, Malformed, Parsed, Version, error_response, parse_request},
    record::HeadFields,
    sink::{Sink, View, rewrite},
    stream::Stream,
    tee::SHARED_FRAME,
};

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
const ACCEPTED: &[u8] = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
const ACCEPTED_KEEP_ALIVE: &[u8] =
    b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n";
const ACCEPTED_CLOSE: &[u8] =
    b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// What the answer has to know of the request.
#[derive(Clone, Copy)]
struct Facts {
    version: Version,
    keep_alive: bool,
    /// After an upgrade the proxy may send what is not HTTP.
    upgrade: bool,
    expects: bool,
}

/// Why a body ended before its end.
enum Broken {
    /// The proxy is gone, which it may be as soon as it is answered.
    Gone,
    /// It sends nothing for too long.
    Silent,
    Malformed(Malformed),
}

impl Connection<'_> {
    /// Takes in the request whose head is the first `len` bytes of the buffer.
    pub(super) async fn absorb(
        &mut self,
        client: &Stream,
        sink: &Sink,
        started: Started,
        len: usize,
    ) -> After {
        if self.request.get_mut().head_mut().is_connect() {
            self.refused("connect");
            return self.say(client, error_response(405)).await;
        }
        self.wake();
        let facts = self.take_in(sink, started, len);
        let mut answered = false;
        let ended = self.take_body(client, facts, &mut answered).await;
        // In the queue before it is answered: what was accepted is recorded or counted.
        self.request.get_mut().emit();
        match ended {
            Ok(()) if answered => {}
            Ok(()) => {
                if self.accept(client, facts).await.is_err() {
                    return After::Close;
                }
            }
            Err(Broken::Gone) => return After::Close,
            Err(Broken::Silent) => {
                self.refused("body_timeout");
                return self.refuse(client, answered, error_response(408)).await;
            }
            Err(Broken::Malformed(malformed)) => {
                self.refused(malformed.reason);
                return self.refuse(client, answered, malformed.response()).await;
            }
        }
        if self.goes_on(facts) { After::Next } else { After::Linger }
    }

    /// Hands the head to the tee, as it was before the mesh got it.
    fn take_in(&mut self, sink: &Sink, started: Started, len: usize) -> Facts {
        let request = self.request.get_mut();
        let received = &self.from_client[..len];
        let head = request.head_mut();
        let facts = Facts {
            version: head.version(),
            keep_alive: head.keep_alive(),
            upgrade: head.upgrade(),
            expects: head.expect_continue(),
        };
        self.request_body.start(head.body());
        let fields = HeadFields::Http1 { bytes: received, fields: head.field_places() };
        let authority = head.authority(received).unwrap_or_default();
        let view = View { authority, fields: &fields };
        let restored = sink.restore(view);
        let named = sink.client(view).map(<[u8]>::to_vec);
        self.request_out.clear();
        if !restored.is_nothing() {
            rewrite(&mut self.request_out, received, head, &restored);
            // A host put back may be longer than what was received.
            let Limits { max_head, max_headers } = self.proxy.limits;
            let limits = Limits { max_head: 2 * max_head, max_headers };
            let parsed = parse_request(&self.request_out, &limits, head);
            // A profile's changes leave a head that parses; if ever not, the one that
            // was received is recorded, which does.
            if !matches!(parsed, Ok(Parsed::Complete { .. })) {
                self.request_out.clear();
                let _ = parse_request(received, &limits, head);
            }
        }
        let bytes = if self.request_out.is_empty() { received } else { &self.request_out[..] };
        request.mirrored(authority, &restored, named.as_deref());
        request.begin(started.at, bytes, started.flight);
        if facts.upgrade {
            request.tunnel();
        }
        self.from_client.advance(len);
        facts
    }

    /// Reads the body to its end, whatever becomes of it.
    async fn take_body(
        &mut self,
        client: &Stream,
        facts: Facts,
        answered: &mut bool,
    ) -> Result<(), Broken> {
        if facts.expects && self.from_client.is_empty() && !self.request_body.is_done() {
            // The sender waits for it, and reads it soon.
            self.request.get_mut().hold();
            let patience = self.proxy.tap.config.idle_timeout;
            let told = tokio::time::timeout(patience, write_both(client, CONTINUE, &[])).await;
            told.map_err(|_| Broken::Gone)?.map_err(|_| Broken::Gone)?;
        }
        loop {
            self.look_on().map_or(Ok(()), |malformed| Err(Broken::Malformed(malformed)))?;
            if self.request_body.is_done() {
                return Ok(());
            }
            self.request.get_mut().hold();
            if !*answered && self.request.get_mut().has_given_up() {
                *answered = true;
                self.accept(client, facts).await.map_err(|_| Broken::Gone)?;
            }
            self.read_body(client).await?;
        }
    }

    /// Shows the tee what is at hand of the body.
    fn look_on(&mut self) -> Option<Malformed> {
        let tee = self.request.get_mut();
        let share = self.from_client.len() >= SHARED_FRAME && tee.wants_frames();
        let shared = share.then(|| self.from_client.split().freeze());
        let bytes = shared.as_deref().unwrap_or(&self.from_client);
        let seen = look(&mut self.request_body, bytes, shared.as_ref(), tee);
        match shared {
            Some(shared) => self.from_client.extend_from_slice(&shared[seen.len..]),
            None => self.from_client.advance(seen.len),
        }
        seen.fault
    }

    /// Reads once. Meanwhile a request that goes on for long is written as it stands.
    async fn read_body(&mut self, client: &Stream) -> Result<(), Broken> {
        let deadline = Instant::now() + self.proxy.tap.config.idle_timeout;
        let Self { from_client, request_body, request, watchdog, .. } = self;
        request.get_mut().reads_on();
        let mut reading = pin!(read(client, from_client, room(request_body.data_len())));
        poll_fn(|cx| {
            if let Poll::Ready(read) = reading.as_mut().poll(cx) {
                return Poll::Ready(match read {
                    Ok(1..) => Ok(()),
                    Ok(0) | Err(_) => Err(Broken::Gone),
                });
            }
            loop {
                let open_at = request.get_mut().open_at();
                let next = open_at.map_or(deadline, |at| at.min(deadline));
                std::task::ready!(watchdog.poll_until(cx, next));
                if Instant::now() >= deadline {
                    return Poll::Ready(Err(Broken::Silent));
                }
                request.get_mut().write_open();
            }
        })
        .await
    }

    /// The answer. It is small, so that it is written at once or the sender is gone.
    async fn accept(&self, client: &Stream, facts: Facts) -> io::Result<()> {
        let answer = match (self.goes_on(facts), facts.version) {
            (false, _) => ACCEPTED_CLOSE,
            (true, Version::Http10) => ACCEPTED_KEEP_ALIVE,
            (true, Version::Http11) => ACCEPTED,
        };
        let patience = self.proxy.tap.config.idle_timeout;
        match tokio::time::timeout(patience, write_both(client, answer, &[])).await {
            Ok(written) => written,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// What cannot be taken in ends the connection; with an answer, if there was none.
    async fn refuse(&mut self, client: &Stream, answered: bool, answer: &[u8]) -> After {
        if answered { After::Close } else { self.say(client, answer).await }
    }

    fn goes_on(&self, facts: Facts) -> bool {
        facts.keep_alive && !facts.upgrade && self.stop.since().is_none()
    }
}
