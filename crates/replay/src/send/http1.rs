//! HTTP/1.1 to a target: writes a shadow request byte for byte, reads the answer,
//! keeps connections that can be used again. Written by hand because a recorded
//! request must arrive as it was recorded (any byte in path and values, order and
//! case of fields), which an HTTP library's types do not carry.

mod decode;

use std::{
    collections::VecDeque,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant as TimerInstant,
};

use super::{
    Fault, Reused, Sent,
    answer::Collector,
    connect::{Connector, Stream},
    rewrite::{Field, Framing, Shadow},
};
use crate::outcome::Class;
use decode::Decoder;

/// Bodies up to this are copied behind the head, so that a request is one write.
const COPY_BELOW: usize = 16 * 1024;
/// Memory kept for writing the next request.
const KEPT: usize = 4 * COPY_BELOW;
/// Largest chunk written.
const CHUNK: usize = 256 * 1024;
/// Read at once.
const READ: usize = 16 * 1024;
/// Idle connections are not used after this.
const IDLE: Duration = Duration::from_secs(30);

/// Sends over HTTP/1.1 connections, one request at a time on each.
pub(super) struct Http1 {
    connector: Connector,
    timeout: Duration,
    idle: Mutex<VecDeque<Idle>>,
    max_idle: usize,
}

struct Idle {
    stream: Stream,
    /// Empty; its memory serves the next answer.
    buffer: BytesMut,
    until: Instant,
}

impl Http1 {
    pub(super) fn new(connector: Connector, timeout: Duration, max_idle: usize) -> Self {
        Self { connector, timeout, idle: Mutex::default(), max_idle }
    }

    /// Whether a connection can be made now.
    pub(super) async fn probe(&self) -> bool {
        self.connector.connect().await.is_ok()
    }

    /// Sends it: again, once and on a new connection, only if the first connection
    /// failed before it took a byte.
    pub(super) async fn send(&self, shadow: &Shadow<'_>, reused: &mut Reused) -> Sent {
        if let Some((stream, buffer)) = self.reuse() {
            let sent = self.exchange(stream, buffer, shadow, reused).await;
            if sent.written || sent.fault.is_none() {
                return sent;
            }
        }
        let started = Instant::now();
        match Box::pin(self.connector.connect()).await {
            Ok(stream) => {
                let connect = started.elapsed();
                let sent = self.exchange(stream, BytesMut::new(), shadow, reused).await;
                Sent { connect: Some(connect), ..sent }
            }
            Err(fault) => Sent::not_connected(fault, started),
        }
    }

    async fn exchange(
        &self,
        stream: Stream,
        buffer: BytesMut,
        shadow: &Shadow<'_>,
        reused: &mut Reused,
    ) -> Sent {
        let out = std::mem::take(&mut reused.out);
        let mut exchange = Exchange::new(stream, buffer, out, shadow);
        let until = TimerInstant::now().checked_add(self.timeout);
        let result = poll_fn(|cx| match (exchange.poll(cx), until) {
            (Poll::Pending, Some(until)) => reused.patience.poll(cx, until).map(|()| None),
            (result, _) => result.map(Some),
        });
        let fault = match result.await {
            Some(result) => result.err(),
            // The answer was there, the target only did not take the rest of the body.
            None if exchange.answer.is_complete() => None,
            None => {
                let detail = format!("no whole answer within {:?}", self.timeout);
                Some(Fault::new(Class::Timeout, detail))
            }
        };
        let sent = Sent {
            fault,
            written: exchange.written,
            whole: exchange.is_whole(),
            connect: None,
            started: exchange.answer.started(),
            answer: None,
        };
        if exchange.out.capacity() <= KEPT {
            reused.out = std::mem::take(&mut exchange.out);
        }
        self.keep(exchange, sent)
    }

    /// Puts the connection back if it can be used again.
    fn keep(&self, exchange: Exchange, mut sent: Sent) -> Sent {
        let reusable = sent.fault.is_none()
            && sent.whole
            && exchange.decoder.is_persistent()
            && exchange.buffer.is_empty();
        sent.answer = exchange.answer.finish();
        if reusable {
            // Away a second before the target says it would be.
            let life = exchange.decoder.keep_alive().map_or(IDLE, |seconds| {
                IDLE.min(Duration::from_secs(seconds).saturating_sub(Duration::from_secs(1)))
            });
            let Exchange { stream, buffer, .. } = exchange;
            let idle = Idle { stream, buffer, until: Instant::now() + life };
            let mut kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < self.max_idle {
                kept.push_back(idle);
            }
            // The front ones are the longest unused.
            while kept.front().is_some_and(|idle| idle.until < Instant::now()) {
                kept.pop_front();
            }
        }
        sent
    }

    /// The connection last used, if it still stands.
    fn reuse(&self) -> Option<(Stream, BytesMut)> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop_back()?;
            if Instant::now() < idle.until && idle.stream.is_quiet() {
                return Some((idle.stream, idle.buffer));
            }
        }
    }
}

/// One request and its answer on one connection. Writing and reading go on at the
/// same time: a target may answer before it has read the body, and some only go on
/// reading when somebody reads their answer.
struct Exchange {
    stream: Stream,
    /// What is still to be written: at first this …
    out: BytesMut,
    /// … then these.
    pieces: VecDeque<Bytes>,
    flushed: bool,
    written: bool,
    /// Why writing stopped. The answer may still come: a target that refuses a body
    /// answers, then closes.
    write_error: Option<io::Error>,
    buffer: BytesMut,
    decoder: Decoder,
    answer: Collector,
}

impl Exchange {
    /// The memory of `out` is used again.
    fn new(stream: Stream, buffer: BytesMut, mut out: BytesMut, shadow: &Shadow<'_>) -> Self {
        let pieces = encode(shadow, &mut out);
        Self {
            stream,
            out,
            pieces,
            flushed: false,
            written: false,
            write_error: None,
            buffer,
            decoder: Decoder::new(shadow.method == b"HEAD"),
            answer: Collector::start(),
        }
    }

    fn is_whole(&self) -> bool {
        self.flushed && self.write_error.is_none()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let writing = match self.poll_write(cx) {
            Poll::Pending => true,
            Poll::Ready(Ok(())) => false,
            Poll::Ready(Err(e)) => {
                self.out.clear();
                self.pieces.clear();
                self.write_error = Some(e);
                false
            }
        };
        while !self.decoder.is_done() {
            if let Err(fault) = ready!(self.poll_answer(cx)) {
                return Poll::Ready(Err(self.explain(fault)));
            }
        }
        if !writing {
            return Poll::Ready(Ok(()));
        }
        // Answered early. The rest of the body still belongs to the shadow, for as
        // long as it is there to take it.
        let mut byte = [0_u8; 1];
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut ReadBuf::new(&mut byte))).ok();
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write_error.is_some() {
            return Poll::Ready(Ok(()));
        }
        while !self.out.is_empty() {
            let taken = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written = true;
            self.out.advance(taken);
        }
        while !self.pieces.is_empty() {
            let mut slices = [IoSlice::new(&[]); 16];
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                *slice = IoSlice::new(piece);
            }
            let count = self.pieces.len().min(slices.len());
            let stream = Pin::new(&mut self.stream);
            let mut taken = ready!(stream.poll_write_vectored(cx, &slices[..count]))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written = true;
            while let Some(piece) = self.pieces.front_mut() {
                if piece.len() > taken {
                    piece.advance(taken);
                    break;
                }
                taken -= piece.len();
                self.pieces.pop_front();
            }
        }
        if !self.flushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once and decodes.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if self.buffer.capacity() - self.buffer.len() < READ / 4 {
            self.buffer.reserve(READ);
        }
        let read = ready!(poll_read_buf(&mut self.stream, cx, &mut self.buffer));
        Poll::Ready(match read {
            Ok(0) => self.decoder.end_of_input(&mut self.answer),
            Ok(_) => self.decoder.advance(&mut self.buffer, &mut self.answer),
            Err(e) => Err(Fault::new(Class::Reset, e.to_string())),
        })
    }

    /// When both directions failed, the first failure is the one that tells.
    fn explain(&self, fault: Fault) -> Fault {
        match &self.write_error {
            Some(e) if fault.class == Class::Reset => {
                Fault::new(Class::Reset, format!("while the request was written: {e}"))
            }
            _ => fault,
        }
    }
}

fn poll_read_buf(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    buffer: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    let future = tokio::io::AsyncReadExt::read_buf(stream, buffer);
    let mut future = std::pin::pin!(future);
    std::future::Future::poll(future.as_mut(), cx)
}

/// The request: all of it in `out` if it is small, else in pieces to be written one after
/// the other.
fn encode(shadow: &Shadow<'_>, out: &mut BytesMut) -> VecDeque<Bytes> {
    let fields = shadow.fields.iter().map(|f| f.name.len() + f.value.len() + 4);
    let size = shadow.method.len() + shadow.target.len() + 14 + fields.sum::<usize>();
    let body = shadow.body.iter().map(Bytes::len).sum::<usize>();
    let copy = body <= COPY_BELOW;
    out.clear();
    let mut head = if copy { std::mem::take(out) } else { BytesMut::new() };
    head.reserve(size + if copy { body + 64 } else { 0 });
    head.put_slice(shadow.method);
    head.put_u8(b' ');
    head.put_slice(&shadow.target);
    head.put_slice(b" HTTP/1.1\r\n");
    put_fields(&mut head, &shadow.fields);

    let mut pieces = VecDeque::new();
    let chunked = shadow.framing == Framing::Chunked;
    for piece in shadow.body.iter().filter(|piece| !piece.is_empty()) {
        for at in (0..piece.len()).step_by(if chunked { CHUNK } else { piece.len() }) {
            let end = if chunked { piece.len().min(at + CHUNK) } else { piece.len() };
            if chunked {
                head.put_slice(format!("{:x}\r\n", end - at).as_bytes());
            }
            if copy {
                head.put_slice(&piece[at..end]);
            } else {
                pieces.push_back(head.split().freeze());
                pieces.push_back(piece.slice(at..end));
            }
            if chunked {
                head.put_slice(b"\r\n");
            }
        }
    }
    if chunked {
        head.put_slice(b"0\r\n");
        put_fields(&mut head, &shadow.trailers);
    }
    if copy {
        *out = head;
        return pieces;
    }
    pieces.push_back(head.freeze());
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// Field lines and the empty line behind them.
fn put_fields(out: &mut BytesMut, fields: &[Field<'_>]) {
    for field in fields {
        out.put_slice(field.name);
        out.put_slice(b": ");
        out.put_slice(&field.value);
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
}
