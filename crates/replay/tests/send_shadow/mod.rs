//! A shadow that speaks raw TCP, so that a test sees every byte it is sent and
//! answers with any byte it likes.
// Each test program uses a part of it.
#![allow(dead_code)]

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;
use umbra_record::{authority::ShadowHost, pb};
use umbra_replay::{Outgoing, Protocol, Target, WhenDown};

pub(crate) const ID: [u8; 16] = [0xab; 16];
pub(crate) const VIA: &str =
    "via: 1.1 umbra-shadow (job; abababab-abab-abab-abab-abababababab)\r\n";

/// Accepts connections until it is dropped.
pub(crate) struct Shadow {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    received: mpsc::UnboundedReceiver<Received>,
    _accepting: AbortOnDropHandle<()>,
}

/// One connection of a shadow.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    /// Read, and not yet part of a request.
    pub(crate) buffer: Vec<u8>,
    /// The how manieth, from 0.
    pub(crate) number: usize,
    log: mpsc::UnboundedSender<Received>,
}

/// One request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) connection: usize,
    /// Request line, field lines and the empty line.
    pub(crate) head: Vec<u8>,
    /// After removal of chunk framing.
    pub(crate) body: Vec<u8>,
    /// Trailer lines, without the empty line.
    pub(crate) trailers: Vec<u8>,
}

impl Shadow {
    /// Runs `serve` for each connection.
    pub(crate) async fn start<F, Fut>(serve: F) -> Self
    where
        F: Fn(Peer) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, serve)
    }

    pub(crate) fn on<F, Fut>(listener: TcpListener, serve: F) -> Self
    where
        F: Fn(Peer) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let (log, received) = mpsc::unbounded_channel();
        let count = Arc::clone(&accepted);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                let peer = Peer { stream, buffer: Vec::new(), number, log: log.clone() };
                connections.spawn(serve(peer));
            }
        });
        let _accepting = AbortOnDropHandle::new(accepting);
        Self { address, accepted, received, _accepting }
    }

    pub(crate) fn target(&self) -> Target {
        target(&format!("http://{}", self.address))
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// The next request that came whole.
    pub(crate) async fn received(&mut self) -> Received {
        let next = tokio::time::timeout(Duration::from_secs(20), self.received.recv()).await;
        next.expect("a request in time").expect("the shadow runs")
    }

    /// Requests that came whole and were not asked for yet.
    pub(crate) fn more(&mut self) -> usize {
        let mut count = 0;
        while self.received.try_recv().is_ok() {
            count += 1;
        }
        count
    }
}

impl Peer {
    /// Reads one request; `None` at the end of the connection.
    pub(crate) async fn request(&mut self) -> Option<Received> {
        let head = self.head().await?;
        let (body, trailers) = self.body(&head).await?;
        let received = Received { connection: self.number, head, body, trailers };
        self.log.send(received.clone()).ok();
        Some(received)
    }

    /// Reads a head only.
    pub(crate) async fn head(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                return Some(self.take(end + 4));
            }
            self.fill().await?;
        }
    }

    /// Reads the body that this head announces.
    pub(crate) async fn body(&mut self, head: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let text = String::from_utf8_lossy(head).to_ascii_lowercase();
        if let Some(at) = text.find("\r\ncontent-length:") {
            let value = text[at + 17..].lines().next().unwrap().trim();
            let length: usize = value.parse().unwrap();
            while self.buffer.len() < length {
                self.fill().await?;
            }
            return Some((self.take(length), Vec::new()));
        }
        let mut body = Vec::new();
        if !text.contains("\r\ntransfer-encoding: chunked") {
            return Some((body, Vec::new()));
        }
        loop {
            let line = self.line().await?;
            let size = std::str::from_utf8(&line).unwrap().trim_end();
            let size = usize::from_str_radix(size, 16).expect("a chunk size");
            if size == 0 {
                break;
            }
            while self.buffer.len() < size + 2 {
                self.fill().await?;
            }
            body.extend(self.take(size));
            assert_eq!(self.take(2), b"\r\n");
        }
        let mut trailers = Vec::new();
        loop {
            let line = self.line().await?;
            if line == b"\r\n" {
                return Some((body, trailers));
            }
            trailers.extend(line);
        }
    }

    async fn line(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                return Some(self.take(end + 2));
            }
            self.fill().await?;
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(length);
        std::mem::replace(&mut self.buffer, rest)
    }

    async fn fill(&mut self) -> Option<()> {
        let count = self.stream.read_buf(&mut self.buffer).await.ok()?;
        (count > 0).then_some(())
    }

    pub(crate) async fn answer(&mut self, bytes: impl AsRef<[u8]>) {
        // The client may be gone, which is the client's matter.
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        let socket = self.stream.into_std().unwrap();
        rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
    }
}

/// Answers every request of a connection with this.
pub(crate) async fn answer_all(mut peer: Peer, answer: &'static [u8]) {
    while peer.request().await.is_some() {
        peer.answer(answer).await;
    }
}

pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

pub(crate) fn target(url: &str) -> Target {
    Target {
        name: "shadow".to_owned(),
        url: url.parse().unwrap(),
        shadow_host: ShadowHost::default(),
        percent: 100.0,
        set_headers: Vec::new(),
        remove_headers: Vec::new(),
        concurrency: 64,
        timeout: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(5),
        protocol: Protocol::Http1,
        tls: umbra_replay::Tls::default(),
        unseal: true,
        when_down: WhenDown::Hold(None),
    }
}

pub(crate) fn header(name: &[u8], value: &[u8]) -> pb::Header {
    pb::Header { name: Bytes::copy_from_slice(name), value: Bytes::copy_from_slice(value) }
}

/// A recorded request to `httpbin:8000`, without a body.
pub(crate) fn request(method: &str, path: &str) -> pb::Request {
    pb::Request {
        id: Bytes::copy_from_slice(&ID),
        method: Bytes::copy_from_slice(method.as_bytes()),
        authority: Bytes::from_static(b"httpbin:8000"),
        path: Bytes::copy_from_slice(path.as_bytes()),
        version: pb::Version::Http11.into(),
        headers: vec![header(b"Host", b"httpbin:8000")],
        ..pb::Request::default()
    }
}

pub(crate) fn get(path: &str) -> Outgoing {
    Outgoing { request: request("GET", path).into(), body: None, attempt: 1 }
}

/// A POST of these pieces, with Content-Length.
pub(crate) fn post(path: &str, pieces: Vec<Bytes>) -> Outgoing {
    let mut request = request("POST", path);
    let length: usize = pieces.iter().map(Bytes::len).sum();
    request.headers.push(header(b"Content-Length", length.to_string().as_bytes()));
    Outgoing { request: request.into(), body: Some(pieces), attempt: 1 }
}

/// So many bytes, in pieces of 300,000, that are not all alike.
pub(crate) fn noise(length: usize) -> Vec<Bytes> {
    let all: Vec<u8> = (0..length).map(|i| (i / 3 + i / 70_001) as u8).collect();
    all.chunks(300_000).map(Bytes::copy_from_slice).collect()
}
