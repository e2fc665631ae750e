//! A client's connection: its buffers and tees, and the requests on it.

use std::{cell::RefCell, io, rc::Rc, sync::Arc, time::Duration};

use super::{
    Proxy,
    io::{SMALL, read, write_both},
    receive::Received,
    watchdog::Watchdog,
};
use crate::{
    drain::StopWatch,
    h1::{BodyDecoder, error_response},
    origin::{Origin, Session},
    sink::Suffix,
    stream::Stream,
    tee::{AnswerTee, RequestTee},
    upstream::Backend,
};
use bytes::BytesMut;

/// After an error the client gets this long, and this much more to send, to read
/// the answer; closing earlier would make its system throw the answer away
/// (RFC 9112 9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1 << 20;

/// Everything that belongs to one client connection.
pub(super) struct Connection<'a> {
    pub(super) proxy: &'a Rc<Proxy>,
    /// Where the request at hand goes.
    pub(super) backend: Rc<Backend>,
    /// Read and not used up.
    pub(super) from_client: BytesMut,
    pub(super) from_upstream: BytesMut,
    /// The head of the request on its way; kept as long as it may be sent again.
    pub(super) request_out: Vec<u8>,
    /// The head of the answer on its way.
    pub(super) out: Vec<u8>,
    pub(super) request_body: BodyDecoder,
    pub(super) answer_body: BodyDecoder,
    pub(super) watchdog: Watchdog,
    pub(super) stop: StopWatch,
    pub(super) session: Arc<Session>,
    // In this order: when the connection is dropped in the middle of an exchange,
    // the request is recorded before its answer.
    pub(super) request: RefCell<RequestTee>,
    pub(super) answer: RefCell<AnswerTee>,
}

/// Whether a connection serves another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// It does.
    Next,
    /// All is said.
    Close,
    /// The last answer may still be on its way while the client is sending.
    Linger,
}

impl<'a> Connection<'a> {
    /// On the heap, once: the futures it is handed to keep a place for it each.
    pub(super) fn new(proxy: &'a Rc<Proxy>, origin: Arc<Origin>, buffered: BytesMut) -> Box<Self> {
        Box::new(Self {
            from_client: buffered,
            from_upstream: BytesMut::new(),
            request_out: Vec::new(),
            out: Vec::new(),
            request_body: BodyDecoder::new(&proxy.limits),
            answer_body: BodyDecoder::new(&proxy.limits),
            watchdog: Watchdog::new(),
            stop: proxy.stop.watch(origin.connection),
            session: Arc::clone(&origin.session),
            request: RefCell::new(RequestTee::new(proxy.tap.clone(), Arc::clone(&origin))),
            answer: RefCell::new(AnswerTee::new(proxy.tap.clone(), origin)),
            backend: Rc::clone(proxy.routes.default()),
            proxy,
        })
    }

    /// Serves its requests until one side has had enough. What is left is a connection
    /// on which HTTP/2 is spoken, and what has been read of it.
    pub(super) async fn serve(
        mut self: Box<Self>,
        mut stream: Stream,
    ) -> Option<(Stream, BytesMut)> {
        let mut first = true;
        if let Some(sink) = &self.proxy.tap.config.sink {
            self.request.get_mut().head_mut().tolerates_suffix = sink.suffix == Suffix::Strip;
        }
        loop {
            let after = match self.receive(&stream, first).await {
                Received::Head(started, len) => match &self.proxy.tap.config.sink {
                    None => self.exchange(&mut stream, started, len).await,
                    Some(sink) => self.absorb(&stream, sink, started, len).await,
                },
                Received::Http2 => return Some((stream, self.from_client)),
                Received::End => After::Close,
                Received::Slow => {
                    self.refused("header_timeout");
                    self.say(&stream, error_response(408)).await
                }
                Received::Malformed(malformed) => {
                    self.refused(malformed.reason);
                    self.say(&stream, malformed.response()).await
                }
            };
            // Bytes behind an answer must never be taken for the next one.
            self.from_upstream.clear();
            self.proxy.buffers.take_back(&mut self.from_upstream);
            match after {
                After::Next => first = false,
                After::Close => return None,
                After::Linger => {
                    self.linger(&stream).await;
                    return None;
                }
            }
        }
    }

    /// An idle connection holds no buffers.
    pub(super) fn rest(&mut self) {
        let buffers = &self.proxy.buffers;
        buffers.take_back(&mut self.from_client);
        for text in self.texts() {
            buffers.take_text_back(text);
        }
    }

    /// Takes what a request needs.
    pub(super) fn wake(&mut self) {
        let buffers = &self.proxy.buffers;
        for text in self.texts() {
            buffers.lend_text(text);
        }
    }

    /// Where heads are written and kept.
    fn texts(&mut self) -> [&mut Vec<u8>; 4] {
        let (request, answer) = (self.request.get_mut(), self.answer.get_mut());
        [&mut self.request_out, &mut self.out, request.head_bytes(), answer.head_bytes()]
    }

    /// Counts a message that is refused.
    pub(super) fn refused(&self, reason: &'static str) {
        self.proxy.tap.lane.borrow().stats().refuse(reason);
    }

    /// Sends an answer of our own, the last on this connection.
    pub(super) async fn say(&mut self, stream: &Stream, answer: &[u8]) -> After {
        let sent = tokio::time::timeout(LINGER, write_both(stream, answer, &[])).await;
        match sent {
            Ok(Ok(())) => After::Linger,
            _ => After::Close,
        }
    }

    /// Closes our direction and reads on until the client closes its own.
    async fn linger(mut self: Box<Self>, stream: &Stream) {
        // What the client does from here on is nobody's concern any more.
        self.request.get_mut().emit();
        self.answer.get_mut().emit();
        let rest = async {
            stream.shutdown().await?;
            let mut left = LINGER_BYTES;
            while left > 0 {
                self.from_client.clear();
                match read(stream, &mut self.from_client, SMALL).await? {
                    0 => break,
                    n => left = left.saturating_sub(n),
                }
            }
            io::Result::Ok(())
        };
        // Whatever ends it, the connection is over.
        let _ = tokio::time::timeout(LINGER, rest).await;
    }
}
