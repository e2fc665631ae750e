//! An HTTP/1 client whose upstream speaks HTTP/2: its request goes over a leg, and the
//! answer gets the framing HTTP/1 needs. What connections, timeouts and tees have to do
//! with it is as on the way to an HTTP/1 upstream.
//!
//! A request that asks to leave HTTP goes as one that does not: the upstream answers
//! as if it ignored that, which RFC 9110 7.8 allows.

use std::{
    cell::{Cell, RefCell},
    future::{Future as _, pending, poll_fn},
    io,
    ops::Range,
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use futures_util::future::poll_immediate;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};

use super::{
    answer::{Answered, Asked},
    connection::{After, Connection},
    course::{Course, Ended},
    exchange::Facts,
    io::{Unsent, read, room},
    progress::{Patience, Progress, Waits},
    upload::{Uploaded, walk},
};
use crate::{
    h1::{
        BodyDecoder, FieldKind, Fields, Malformed, MethodKind, Version, content_length,
        error_response,
    },
    leg::{Leg, LegHead, Received, Receiving, Sending, from_http1},
    record::Http2Answer,
    stream::Stream,
    tee::{AnswerTee, RequestTee, SHARED_FRAME},
    upstream::{Fault, Link},
};

/// A request's body on its way.
struct Upload<'a> {
    client: &'a Stream,
    sending: &'a mut Sending,
    buf: &'a mut BytesMut,
    body: &'a mut BodyDecoder,
    tee: &'a RefCell<RequestTee>,
    progress: &'a Progress,
}

/// An answer on its way.
struct Answer<'a> {
    receiving: &'a mut Receiving,
    client: &'a Stream,
    out: Unsent,
    tee: &'a RefCell<AnswerTee>,
    progress: &'a Progress,
    /// Whether the final head has been written.
    begun: &'a Cell<bool>,
    asked: Asked<'a>,
}

/// How the client is told where an answer's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// There is none.
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

impl Connection<'_> {
    /// Keeps a connection on which the upstream wants to speak HTTP/2.
    pub(super) async fn adopt(&self, link: Link) {
        self.backend.sessions.adopt(link, self.proxy.limits().max_head).await;
    }

    /// Sends the request, the beginning of whose body is `at_hand`, and sees the
    /// exchange through.
    pub(super) async fn over_leg(
        &mut self,
        client: &mut Stream,
        facts: Facts,
        at_hand: usize,
    ) -> After {
        let facts = Facts { upgrade: false, may_switch: false, ..facts };
        self.record_if_ended(facts);
        let end = self.request_body.is_done() && at_hand == 0;
        let leg = match self.open(end).await {
            Ok(leg) => leg,
            Err(Fault::Misframed { status, reason }) => {
                self.refused(reason);
                self.answer.get_mut().discard();
                self.request.get_mut().emit();
                return self.say(client, error_response(status)).await;
            }
            Err(fault) => return self.fail(client, &fault).await,
        };
        let ended = self.run_leg(client, leg, facts, at_hand, end).await;
        self.end(client, None, ended).await
    }

    async fn open(&mut self, end: bool) -> Result<Leg, Fault> {
        let (head, bytes) = self.request.get_mut().head();
        let received = match head.version() {
            Version::Http10 => "1.0",
            Version::Http11 => "1.1",
        };
        let request = from_http1(bytes, head, &self.backend.authority)?;
        let (session, backend) = (Arc::clone(&self.session), Rc::clone(&self.backend));
        let head = LegHead { request: &request, session: &session, received, backend: &backend };
        self.looking_on(Leg::open(self.proxy, head, end)).await
    }

    /// Passes on the request's body and the answer, both at once.
    async fn run_leg(
        &mut self,
        client: &Stream,
        mut leg: Leg,
        facts: Facts,
        at_hand: usize,
        end: bool,
    ) -> Ended {
        let config = &self.proxy.tap.config;
        let patience = Patience { client: config.idle_timeout, upstream: config.upstream_timeout };
        let progress = Progress::new((!end).then_some(Waits::Upstream), Instant::now());
        let (uploaded, begun) = (Cell::new(end), Cell::new(false));
        let first = self.first(at_hand);
        let (request, stop) = (&self.request, &self.stop);
        let upload = Upload {
            client,
            sending: &mut leg.sending,
            buf: &mut self.from_client,
            body: &mut self.request_body,
            tee: request,
            progress: &progress,
        };
        let uploading = pin!(async { if end { pending().await } else { upload.run(first).await } });
        let answer = Answer {
            receiving: &mut leg.receiving,
            client,
            out: Unsent::default(),
            tee: &self.answer,
            progress: &progress,
            begun: &begun,
            asked: Asked {
                method: facts.method,
                version: facts.version,
                upgrade: false,
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
            waits_for_upgrade: false,
            sending: !end,
            answered: None,
        };
        course.follow(uploading, answering, &mut self.watchdog, patience).await
    }

    /// What is at hand of the body. The tee has seen it before; now it is passed on.
    fn first(&mut self, at_hand: usize) -> Piece {
        let kind = self.request.get_mut().head().0.body();
        let mut body = BodyDecoder::new(self.proxy.limits());
        body.start(kind);
        let bytes = self.from_client.split_to(at_hand).freeze();
        let mut data = Vec::new();
        let seen = walk(&mut body, &bytes, |range| data.push(range));
        let trailers = body.is_done().then(|| owned(body.trailers(&bytes[seen.last..])));
        Piece { bytes, data, end: trailers, fault: None }
    }
}

/// Some of a body as it was read.
struct Piece {
    bytes: Bytes,
    /// Where the data is among them.
    data: Vec<Range<usize>>,
    /// The body ends with it, and with these trailers.
    end: Option<HeaderMap>,
    /// What is wrong behind it.
    fault: Option<Malformed>,
}

impl Upload<'_> {
    async fn run(mut self, first: Piece) -> Uploaded {
        let mut piece = first;
        loop {
            self.progress.upload(Some(Waits::Upstream));
            for data in std::mem::take(&mut piece.data) {
                if self.sending.data(piece.bytes.slice(data)).await.is_err() {
                    return Uploaded::UpstreamGone;
                }
            }
            // Told after what was right before it has been passed on.
            if let Some(fault) = piece.fault {
                return Uploaded::Malformed(fault);
            }
            if let Some(trailers) = &piece.end {
                let trailers = Some(trailers).filter(|trailers| !trailers.is_empty());
                let sent = self.sending.finish(trailers).await;
                return sent.map_or(Uploaded::UpstreamGone, |()| Uploaded::Whole);
            }
            self.progress.upload(Some(Waits::Client));
            match read(self.client, self.buf, room(self.body.data_len())).await {
                Ok(1..) => piece = self.take(),
                Ok(0) | Err(_) => return Uploaded::ClientGone,
            }
        }
    }

    /// Takes what has been read out of the buffer and shows it to the tee.
    fn take(&mut self) -> Piece {
        let bytes = self.buf.split().freeze();
        let mut tee = self.tee.borrow_mut();
        let mut data = Vec::new();
        let seen = walk(self.body, &bytes, |range| {
            let shared = (range.len() >= SHARED_FRAME).then(|| bytes.slice(range.clone()));
            tee.data(&bytes[range.clone()], shared);
            data.push(range);
        });
        let end = self.body.is_done().then(|| {
            let last = &bytes[seen.last..];
            tee.trailers(self.body.trailers(last));
            tee.ended();
            owned(self.body.trailers(last))
        });
        self.buf.extend_from_slice(&bytes[seen.len..]);
        Piece { bytes, data, end, fault: seen.fault }
    }
}

/// What is known of the head.
struct Head {
    framing: Framing,
    keep: bool,
}

impl Answer<'_> {
    async fn run(mut self) -> Answered {
        let head = match self.head().await {
            Ok(head) => head,
            Err(end) => return end,
        };
        match self.body(head.framing).await {
            Ok(()) => Answered::Whole { upstream: true, client: head.keep },
            Err(end) => end,
        }
    }

    /// Passes on interim heads and writes the final one, to be sent with the beginning
    /// of the body.
    async fn head(&mut self) -> Result<Head, Answered> {
        loop {
            let fault = match self.receiving.next().await {
                Ok(Received::Interim(_)) if self.asked.version == Version::Http10 => continue,
                Ok(Received::Interim(interim)) => {
                    head_lines(&mut self.out.before, &interim, false);
                    self.out.before.extend_from_slice(b"\r\n");
                    self.flush().await?;
                    self.progress.answer(Some(Waits::Upstream));
                    continue;
                }
                Ok(Received::Head(head)) => match self.found(&head) {
                    Ok(head) => return Ok(head),
                    Err(fault) => fault,
                },
                Ok(_) => Fault::Garbled("http2"),
                Err(fault) => fault,
            };
            return Err(Answered::None { fault, untouched: false });
        }
    }

    fn found(&mut self, head: &Response<()>) -> Result<Head, Fault> {
        let framing = self.framing(head)?;
        self.begun.set(true);
        let fields = head.headers().iter().map(|(name, value)| (name.clone(), value.clone()));
        self.tee.borrow_mut().head_http2(Http2Answer {
            status: head.status().as_u16(),
            fields: fields.collect(),
            has_body: framing != Framing::None && !self.receiving.is_ended(),
        });
        let keep = (self.asked.may_go_on)() && framing != Framing::UntilClose;
        let bare = head.status().as_u16() == 204;
        let out = &mut self.out.before;
        head_lines(out, head, !bare);
        match framing {
            Framing::Length(0) if !head.headers().contains_key(header::CONTENT_LENGTH) => {
                out.extend_from_slice(b"content-length: 0\r\n");
            }
            Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            _ => {}
        }
        if !keep {
            out.extend_from_slice(b"connection: close\r\n");
        } else if self.asked.version == Version::Http10 {
            out.extend_from_slice(b"connection: keep-alive\r\n");
        }
        out.extend_from_slice(b"\r\n");
        Ok(Head { framing, keep })
    }

    /// RFC 9112 6.3, for what HTTP/2 says with the end of a stream.
    fn framing(&self, head: &Response<()>) -> Result<Framing, Fault> {
        let mut lengths = head.headers().get_all(header::CONTENT_LENGTH).iter();
        let length = match (lengths.next(), lengths.next()) {
            (_, Some(_)) => return Err(Fault::Garbled("content_length_repeated")),
            (Some(length), None) => {
                let length = content_length(length.as_bytes());
                Some(length.map_err(|malformed| Fault::Garbled(malformed.reason))?)
            }
            (None, None) => None,
        };
        let bodiless = matches!(head.status().as_u16(), 204 | 304);
        Ok(match length {
            _ if bodiless || self.asked.method == MethodKind::Head => Framing::None,
            Some(length) => Framing::Length(length),
            None if self.receiving.is_ended() => Framing::Length(0),
            None if self.asked.version == Version::Http10 => Framing::UntilClose,
            None => Framing::Chunked,
        })
    }

    async fn body(&mut self, mut framing: Framing) -> Result<(), Answered> {
        let mut trailers = HeaderMap::new();
        loop {
            match self.next().await? {
                Received::Data(data) => self.data(data, &mut framing).await?,
                Received::Trailers(fields) => {
                    self.tee.borrow_mut().trailers_http2(&fields);
                    trailers = fields;
                }
                Received::End => break,
                Received::Interim(_) | Received::Head(_) => return Err(garbled("http2")),
            }
        }
        match framing {
            Framing::Length(1..) => {
                let early = io::ErrorKind::UnexpectedEof.into();
                return Err(Answered::Broken(Fault::Reset(early)));
            }
            Framing::Chunked => {
                let out = &mut self.out.before;
                out.extend_from_slice(b"0\r\n");
                fields(out, &trailers, |kind| !kind.is_forbidden_in_trailers());
                out.extend_from_slice(b"\r\n");
            }
            _ => {}
        }
        self.flush().await?;
        self.tee.borrow_mut().ended();
        Ok(())
    }

    /// What comes next. What is written waits for it only if it is there.
    async fn next(&mut self) -> Result<Received, Answered> {
        let at_hand = poll_immediate(self.receiving.next()).await;
        let received = match at_hand {
            Some(received) => received,
            None => {
                self.flush().await?;
                self.progress.answer(Some(Waits::Stream));
                let (progress, client) = (self.progress, self.client);
                let mut receiving = pin!(self.receiving.next());
                poll_fn(|cx| {
                    progress.look(client);
                    receiving.as_mut().poll(cx)
                })
                .await
            }
        };
        match received {
            Ok(received) => Ok(received),
            Err(fault) => {
                // What came before it is the client's.
                self.flush().await?;
                Err(Answered::Broken(fault))
            }
        }
    }

    async fn data(&mut self, data: Bytes, framing: &mut Framing) -> Result<(), Answered> {
        if data.is_empty() {
            return Ok(());
        }
        let length = data.len();
        match framing {
            Framing::None => return Err(garbled("body_unexpected")),
            Framing::Length(left) => match left.checked_sub(length as u64) {
                Some(rest) => *left = rest,
                None => return Err(garbled("content_length_mismatch")),
            },
            Framing::Chunked => {
                self.out.before.extend_from_slice(format!("{length:x}\r\n").as_bytes());
                self.out.after = b"\r\n";
            }
            Framing::UntilClose => {}
        }
        let shared = (length >= SHARED_FRAME).then(|| data.clone());
        self.tee.borrow_mut().data(&data, shared);
        self.out.data = data;
        self.flush().await?;
        self.receiving.release(length);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Answered> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.progress.answer(Some(Waits::Client));
        self.out.write(self.client).await.map_err(Answered::ClientGone)
    }
}

fn garbled(reason: &'static str) -> Answered {
    Answered::Broken(Fault::Garbled(reason))
}

/// Status line and fields.
fn head_lines(out: &mut BytesMut, head: &Response<()>, with_length: bool) {
    let status = head.status();
    let reason = status.canonical_reason().unwrap_or_default();
    out.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).as_bytes());
    fields(out, head.headers(), |kind| match kind {
        FieldKind::ContentLength => with_length,
        FieldKind::TransferEncoding => false,
        kind => !kind.is_hop_by_hop(),
    });
}

fn fields(out: &mut BytesMut, fields: &HeaderMap, wanted: impl Fn(FieldKind) -> bool) {
    for (name, value) in fields {
        if wanted(FieldKind::of(name.as_str().as_bytes())) {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
    }
}

/// A trailer section as HTTP/2 has it. What HTTP/1 allows in names and values, HTTP/2
/// does too.
fn owned(section: Fields<'_>) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(section.len());
    for (name, value) in section {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            fields.append(name, value);
        }
    }
    fields
}
