//! Clients of HTTP/2: one that sends frames as they are, and one on the `h2` crate.

use std::{
    future::Future,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, client};
use http::{HeaderMap, Request, Response};
use tokio::{runtime, task::LocalSet, time::timeout};

use super::harness::{Agent, PATIENCE};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame, as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// Of RST_STREAM and GOAWAY.
    pub(crate) fn code(&self) -> Reason {
        self.word(if self.kind == GOAWAY { 4 } else { 0 }).into()
    }
}

/// A frame's bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A field block of literals that touch no table (RFC 7541 section 6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        string(&mut out, name.as_bytes());
        string(&mut out, value.as_bytes());
    }
    out
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut left = bytes.len();
    if left < 127 {
        out.push(left as u8);
    } else {
        out.push(127);
        left -= 127;
        while left >= 128 {
            out.push((left % 128) as u8 | 128);
            left /= 128;
        }
        out.push(left as u8);
    }
    out.extend(bytes);
}

/// The pseudo-header fields of a GET.
pub(crate) fn get(path: &str) -> Vec<(&str, &str)> {
    vec![(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", path)]
}

pub(crate) fn post(path: &str) -> Vec<(&str, &str)> {
    let mut fields = get(path);
    fields[0].1 = "POST";
    fields
}

/// A HEADERS frame that ends its block, and the stream if `flags` say so.
pub(crate) fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &block(fields))
}

/// A client that sends what it likes.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
}

impl Raw {
    /// Has said the preface and its settings.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut raw = Self::silent(address);
        raw.send(PREFACE);
        raw.send(frame(SETTINGS, 0, 0, &[]));
        raw
    }

    /// Has said nothing.
    pub(crate) fn silent(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends while it is taken.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// The next frame; none: the connection has ended.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("nothing came"),
            Err(_) => return None,
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame of this kind, whatever comes before it.
    #[track_caller]
    pub(crate) fn find(&mut self, kind: u8) -> Frame {
        let mut seen = Vec::new();
        while let Some(frame) = self.next() {
            if frame.kind == kind {
                return frame;
            }
            seen.push(frame);
        }
        panic!("no frame of kind {kind} came, but {seen:?}")
    }

    /// The connection ends with a GOAWAY of this code; and what else came before.
    #[track_caller]
    pub(crate) fn gone(&mut self, code: Reason) {
        let goaway = self.find(GOAWAY);
        assert_eq!(goaway.code(), code);
        self.closed();
    }

    /// The connection ends.
    pub(crate) fn closed(&mut self) {
        while self.next().is_some() {}
    }

    /// This stream is reset with this code.
    #[track_caller]
    pub(crate) fn reset(&mut self, stream: u32, code: Reason) {
        let reset = self.find(RST_STREAM);
        assert_eq!((reset.stream, reset.code()), (stream, code));
    }

    /// The connection still serves: a GET on this stream is answered.
    #[track_caller]
    pub(crate) fn lives(&mut self, stream: u32) {
        self.send(headers(stream, END_STREAM, &get("/alive")));
        loop {
            let answer = self.find(HEADERS);
            if answer.stream == stream {
                return;
            }
        }
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) head: Response<()>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

/// Runs a client of the `h2` crate against the agent.
pub(crate) fn with_client<F: Future<Output = ()>>(
    agent: &Agent,
    run: impl FnOnce(client::SendRequest<Bytes>) -> F,
) {
    with_builder(agent.address, &client::Builder::new(), run);
}

pub(crate) fn with_builder<F: Future<Output = ()>>(
    address: SocketAddr,
    builder: &client::Builder,
    run: impl FnOnce(client::SendRequest<Bytes>) -> F,
) {
    block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = builder.handshake(stream).await.unwrap();
        let driver = tokio::task::spawn_local(async move { drop(connection.await) });
        run(sender).await;
        driver.abort();
    });
}

/// Runs on a runtime of its own, and not for ever.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        timeout(2 * PATIENCE, future).await.expect("the test takes too long")
    })
}

pub(crate) fn request(method: &str, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://test{path}")).body(()).unwrap()
}

/// Sends a request with a body and gives the whole answer.
pub(crate) async fn call(
    sender: &client::SendRequest<Bytes>,
    request: Request<()>,
    body: Vec<u8>,
) -> Result<Whole, h2::Error> {
    let mut sender = sender.clone().ready().await?;
    let (response, stream) = sender.send_request(request, body.is_empty())?;
    let sending = async {
        if !body.is_empty() {
            send(stream, body.into(), None).await?;
        }
        Ok::<_, h2::Error>(())
    };
    let receiving = async { receive(response.await?).await };
    let (sent, received) = tokio::join!(sending, receiving);
    let whole = received?;
    sent?;
    Ok(whole)
}

/// Sends a body as the windows allow.
pub(crate) async fn send(
    mut stream: h2::SendStream<Bytes>,
    mut body: Bytes,
    trailers: Option<HeaderMap>,
) -> Result<(), h2::Error> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let room = room.unwrap_or_else(|| Err(Reason::STREAM_CLOSED.into()))?;
        let piece = body.split_to(room.min(body.len()));
        stream.send_data(piece, body.is_empty() && trailers.is_none())?;
    }
    trailers.map_or(Ok(()), |trailers| stream.send_trailers(trailers))
}

/// Reads a whole answer.
pub(crate) async fn receive(response: Response<RecvStream>) -> Result<Whole, h2::Error> {
    let (parts, mut stream) = response.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        body.extend_from_slice(&data);
        stream.flow_control().release_capacity(data.len())?;
    }
    let trailers = stream.trailers().await?;
    Ok(Whole { head: Response::from_parts(parts, ()), body, trailers })
}
