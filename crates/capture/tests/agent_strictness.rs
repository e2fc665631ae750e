//! A running agent and clients that do not keep to RFC 9112: each gets the status
//! its fault deserves and loses its connection, nothing of its message reaches
//! the upstream as a whole, and the next client is served as if nothing had been.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use umbra_capture::{
    AgentError, Config, RecordResponses, Report, Stats, Upstream,
    h1::{
        BodyDecoder, Limits, MethodKind, Parsed, RequestHead, ResponseHead, parse_request,
        parse_response,
    },
};
use umbra_log::{Append, Entry, LogError, Loss, Position, Rejected};

/// Longest wait for anything: a test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(20);

const LIMITS: Limits = Limits { max_head: 16 * 1024, max_headers: 50 };

/// A log that takes everything and keeps nothing: what is recorded is for others
/// to test.
#[derive(Debug, Default)]
struct Sink {
    enqueued: [AtomicU64; 4],
}

impl Append for Sink {
    fn partitions(&self) -> u32 {
        self.enqueued.len() as u32
    }

    fn enqueue(&self, entry: &Entry<'_>) -> Result<Position, Rejected> {
        let number = self.enqueued[entry.partition as usize].fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Position { partition: entry.partition, number })
    }

    fn durable(&self, partition: u32) -> u64 {
        self.enqueued[partition as usize].load(Ordering::Relaxed)
    }

    fn losses(&self) -> Vec<Loss> {
        Vec::new()
    }

    async fn flush(&self, _deadline: Duration) -> Result<(), LogError> {
        Ok(())
    }
}

/// What reached the upstream.
#[derive(Debug, Default)]
struct Seen {
    /// Targets of heads.
    begun: Vec<String>,
    /// Targets of whole messages.
    whole: Vec<String>,
    /// What was no request.
    refused: Vec<&'static str>,
}

/// An upstream that answers each whole request with 200 and its target.
struct Service {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    tasks: JoinSet<()>,
}

impl Service {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&seen);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { address, seen, tasks }
    }

    fn whole(&self) -> Vec<String> {
        self.seen.lock().expect("not poisoned").whole.clone()
    }
}

/// Answers requests on one connection until it ends.
async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Seen>>) {
    let mut head = RequestHead::default();
    let mut body = BodyDecoder::new(&LIMITS);
    let mut buf = Vec::new();
    let mut target = None;
    loop {
        match take(&mut buf, &mut head, &mut body, &mut target, &seen) {
            Ok(Some(whole)) => {
                seen.lock().expect("not poisoned").whole.push(whole.clone());
                let answer =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{whole}", whole.len());
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
                continue;
            }
            Ok(None) => {}
            Err(refused) => {
                seen.lock().expect("not poisoned").refused.push(refused);
                return;
            }
        }
        if !matches!(stream.read_buf(&mut buf).await, Ok(1..)) {
            return;
        }
    }
}

/// The target of the next whole request in `buf`, which is taken out.
fn take(
    buf: &mut Vec<u8>,
    head: &mut RequestHead,
    body: &mut BodyDecoder,
    target: &mut Option<String>,
    seen: &Mutex<Seen>,
) -> Result<Option<String>, &'static str> {
    loop {
        if target.is_none() {
            let parsed = parse_request(buf, &LIMITS, head).map_err(|refused| refused.reason)?;
            let Parsed::Complete { len } = parsed else { return Ok(None) };
            let found = String::from_utf8_lossy(head.target(buf)).into_owned();
            seen.lock().expect("not poisoned").begun.push(found.clone());
            *target = Some(found);
            body.start(head.body());
            buf.drain(..len);
        }
        if body.is_done() {
            return Ok(target.take());
        }
        let step = body.decode(buf).map_err(|refused| refused.reason)?;
        buf.drain(..step.len);
        if step.len == 0 {
            return Ok(None);
        }
    }
}

/// An agent in front of a service.
struct Agent {
    address: SocketAddr,
    stats: Stats,
    stop: CancellationToken,
    thread: JoinHandle<Result<Report, AgentError>>,
}

impl Agent {
    fn start(upstream: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("bound");
        let (stats, stop) = (Stats::default(), CancellationToken::new());
        let (config, counts, stopped) = (config(upstream), stats.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            umbra_capture::run(
                config,
                vec![listener.into()],
                Arc::new(Sink::default()),
                counts,
                stopped,
            )
        });
        Self { address, stats, stop, thread }
    }

    /// Sends `pieces`, each when the one before is on its way, and gives all that
    /// came back until the agent closed the connection.
    async fn talk(&self, pieces: &[&[u8]]) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("the agent lives");
        stream.set_nodelay(true).expect("a socket");
        for piece in pieces {
            // The agent may have refused already.
            if stream.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        let read = read.unwrap_or_else(|_| panic!("still open after {:?}", shown(pieces)));
        // A reset is a close too; what came before it is in `answer`.
        drop(read);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// One good request on a connection of its own.
    async fn works(&self, target: &str) {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = self.talk(&[request.as_bytes()]).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(target), "{answer:?}");
    }

    fn refused(&self) -> BTreeMap<String, u64> {
        self.stats.snapshot().refused
    }

    async fn end(self) -> Report {
        self.stop.cancel();
        let thread = self.thread;
        let joined = tokio::task::spawn_blocking(move || thread.join());
        timeout(PATIENCE, joined)
            .await
            .expect("drains")
            .expect("joined")
            .expect("no panic")
            .expect("ran")
    }
}

fn config(upstream: SocketAddr) -> Config {
    Config {
        upstream: Upstream::tcp(&upstream.ip().to_string(), upstream.port()),
        routes: Vec::new(),
        sink: None,
        tls: None,
        proxy_protocol: false,
        connect: false,
        selection: umbra_record::select::Selection::default(),
        responses: RecordResponses::Full,
        max_body: 1 << 20,
        max_response_body: 1 << 16,
        key: umbra_capture::KeyBy::Auto,
        privacy: umbra_capture::Privacy::default(),
        agent: umbra_capture::new_agent(),
        max_record_body: 1 << 16,
        memory: 16 << 20,
        labels: BTreeMap::new(),
        threads: 1,
        connect_timeout: PATIENCE,
        upstream_timeout: PATIENCE,
        header_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        max_head: LIMITS.max_head,
        max_headers: LIMITS.max_headers,
        max_connections: 1000,
        max_streams: 256,
        open_after: PATIENCE,
        mark_every: Duration::from_secs(1),
        drain: Duration::from_secs(2),
        spool: None,
    }
}

fn shown(pieces: &[&[u8]]) -> Vec<String> {
    pieces
        .iter()
        .map(|piece| String::from_utf8_lossy(&piece[..piece.len().min(300)]).into())
        .collect()
}

/// Whether `answer` is exactly one answer of this status that announces the close.
fn is_refusal(answer: &str, status: u16) -> bool {
    answer.starts_with(&format!("HTTP/1.1 {status} "))
        && answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n")
        && answer.matches("HTTP/1.1").count() == 1
}

/// A request for `/evil` with these lines behind the request line.
fn evil(lines: &str) -> String {
    format!("POST /evil HTTP/1.1\r\n{lines}")
}

/// What is refused by its head: section of RFC 9112, message, status, reason.
fn bad_heads() -> Vec<(&'static str, String, u16, &'static str)> {
    let host = |lines: &str| {
        evil(&format!("Host: a\r\n{lines}\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"))
    };
    let line = |line: &str| format!("{line}\r\nHost: a\r\n\r\n");
    let chunked = "Transfer-Encoding: chunked";
    vec![
        ("2.2", "\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400, "bare_lf"),
        ("2.2", "GET /evil HTTP/1.1\nHost: a\n\n".into(), 400, "bare_lf"),
        ("2.2", evil("Host: a\nX: b\r\n\r\n"), 400, "bare_lf"),
        ("2.2", evil("Host: a\rX: b\r\n\r\n"), 400, "bare_cr"),
        ("2.2", evil(" Host: a\r\n\r\n"), 400, "obs_fold"),
        ("2.2", format!("{}{}", "\r\n".repeat(9), line("GET /evil HTTP/1.1")), 400, "empty_lines"),
        ("2.3", line("GET /evil HTTP/1.2"), 505, "version"),
        ("2.3", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".into(), 505, "version"),
        ("2.3", line("GET /evil http/1.1"), 400, "request_line"),
        ("3", "GET /evil\r\n\r\n".into(), 400, "request_line"),
        ("3", line("GET  /evil HTTP/1.1"), 400, "request_line"),
        ("3", line("GET /evil HTTP/1.1 "), 400, "request_line"),
        ("3", line("GET\t/evil HTTP/1.1"), 400, "method"),
        ("3", line("GET /evil /evil HTTP/1.1"), 400, "request_line"),
        ("3", "\u{16}\u{3}\u{1}\0\u{1}".into(), 400, "request_line"),
        ("3", line(&format!("{} /evil HTTP/1.1", "A".repeat(99))), 501, "method_too_long"),
        ("3", line(&format!("GET /{} HTTP/1.1", "a".repeat(17_000))), 414, "target_too_long"),
        ("3.2", line("GET evil HTTP/1.1"), 400, "target"),
        ("3.2", line("GET * HTTP/1.1"), 400, "target"),
        ("3.2", line("GET /evil#a HTTP/1.1"), 400, "target_fragment"),
        ("3.2", line("GET http:///evil HTTP/1.1"), 400, "target_authority"),
        ("3.2", line("GET http://u@a/evil HTTP/1.1"), 400, "target_authority"),
        ("3.2", "GET /evil HTTP/1.1\r\n\r\n".into(), 400, "host_missing"),
        ("3.2", host("Host: a"), 400, "host_repeated"),
        ("3.2", evil("Host: a/b\r\n\r\n"), 400, "host"),
        ("3.2", evil("Host: a, b\r\n\r\n"), 400, "host"),
        ("3.2.3", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".into(), 405, "connect"),
        ("5", host("X"), 400, "field_name"),
        ("5", host("X Y: a"), 400, "space_before_colon"),
        ("5", host("X: a\0b"), 400, "field_value"),
        ("5", host(&format!("X: {}", "a".repeat(17_000))), 431, "head_too_large"),
        ("5", host(&"X: a\r\n".repeat(60)), 431, "too_many_fields"),
        ("5.1", host("Content-Length : 5"), 400, "space_before_colon"),
        ("5.1", host("Transfer-Encoding : chunked"), 400, "space_before_colon"),
        ("5.2", host("X: a\r\n b"), 400, "obs_fold"),
        ("5.2", host("Transfer-Encoding:\r\n chunked"), 400, "obs_fold"),
        (
            "6.1",
            host(&format!("Content-Length: 5\r\n{chunked}")),
            400,
            "length_and_transfer_encoding",
        ),
        (
            "6.1",
            host(&format!("{chunked}\r\nContent-Length: 0")),
            400,
            "length_and_transfer_encoding",
        ),
        (
            "6.1",
            format!("POST /evil HTTP/1.0\r\n{chunked}\r\n\r\n0\r\n\r\n"),
            400,
            "transfer_encoding_in_http10",
        ),
        ("6.1", host("Transfer-Encoding: gzip, chunked"), 501, "transfer_coding_unknown"),
        ("6.1", host("Transfer-Encoding: chunked, identity"), 400, "transfer_encoding"),
        ("6.1", host("Transfer-Encoding: xchunked"), 400, "transfer_encoding"),
        ("6.1", host("Transfer-Encoding: chunked\u{b}"), 400, "field_value"),
        ("6.1", host("Transfer-Encoding: ,chunked"), 400, "transfer_encoding"),
        ("6.1", host(&format!("{chunked}\r\n{chunked}")), 400, "transfer_encoding_repeated"),
        (
            "6.1",
            host(&format!("{chunked}\r\nTransfer-encoding: x")),
            400,
            "transfer_encoding_repeated",
        ),
        ("6.2", host("Content-Length: 5\r\nContent-Length: 5"), 400, "content_length_repeated"),
        ("6.2", host("Content-Length: 5\r\nContent-Length: 6"), 400, "content_length_repeated"),
        ("6.2", host("Content-Length: 5, 5"), 400, "content_length"),
        ("6.2", host("Content-Length: +5"), 400, "content_length"),
        ("6.2", host("Content-Length: -5"), 400, "content_length"),
        ("6.2", host("Content-Length: 0x5"), 400, "content_length"),
        ("6.2", host("Content-Length:"), 400, "content_length"),
        ("6.2", host("Content-Length: 18446744073709551616"), 400, "content_length_overflow"),
    ]
}

/// What is refused by its chunks.
fn bad_bodies() -> Vec<(&'static str, String, u16, &'static str)> {
    let long = "a".repeat(2000);
    let bodies: [(_, &str, _, _); 19] = [
        ("7.1", "\r\nabc\r\n0\r\n\r\n", 400, "chunk_size"),
        ("7.1", "-3\r\nabc\r\n0\r\n\r\n", 400, "chunk_size"),
        ("7.1", "0x3\r\nabc\r\n0\r\n\r\n", 400, "chunk_size"),
        ("7.1", " 3\r\nabc\r\n0\r\n\r\n", 400, "chunk_size"),
        ("7.1", "3 \r\nabc\r\n0\r\n\r\n", 400, "chunk_extension"),
        ("7.1", "3\nabc\r\n0\r\n\r\n", 400, "bare_lf"),
        ("7.1", "3\r\nabc\n0\r\n\r\n", 400, "chunk_end"),
        ("7.1", "3\r\nabcd\r\n0\r\n\r\n", 400, "chunk_end"),
        ("7.1", "3\r\nab\r\n0\r\n\r\n", 400, "chunk_end"),
        ("7.1", "3\r\nabc\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n", 400, "chunk_size"),
        ("7.1", "00000000000000003\r\nabc\r\n0\r\n\r\n", 400, "chunk_size_overflow"),
        ("7.1.1", "3;a\nb\r\nabc\r\n0\r\n\r\n", 400, "bare_lf"),
        ("7.1.1", "3;\r\nabc\r\n0\r\n\r\n", 400, "chunk_extension"),
        ("7.1.1", "3;a=\"\r\nabc\r\n0\r\n\r\n", 400, "chunk_extension"),
        ("7.1.2", "0\r\nContent-Length: 5\r\n\r\n", 400, "trailer_field"),
        ("7.1.2", "0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "trailer_field"),
        ("7.1.2", "0\r\nX : a\r\n\r\n", 400, "space_before_colon"),
        ("7.1.2", "0\r\nX: a\n\r\n", 400, "bare_lf"),
        ("7.1.2", "0\r\nGET /evil HTTP/1.1\r\n\r\n", 400, "space_before_colon"),
    ];
    let long = ("7.1.1", format!("3;{long}\r\nabc\r\n0\r\n\r\n"), 400, "chunk_extension_too_long");
    let rest =
        bodies.map(|(section, body, status, reason)| (section, body.to_owned(), status, reason));
    rest.into_iter().chain([long]).collect()
}

const CHUNKED: &str = "POST /evil HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

#[tokio::test]
async fn bad_heads_are_refused_and_the_agent_lives_on() {
    let service = Service::start().await;
    let agent = Agent::start(service.address);
    let mut expected = BTreeMap::<String, u64>::new();
    for (section, message, status, reason) in bad_heads() {
        let bytes = message.as_bytes();
        let middle = bytes.len() / 2;
        for pieces in [vec![bytes], vec![&bytes[..middle], &bytes[middle..]]] {
            let answer = agent.talk(&pieces).await;
            assert!(is_refusal(&answer, status), "{section} {:?}: {answer:?}", shown(&pieces));
            *expected.entry(reason.to_owned()).or_default() += 1;
        }
        agent.works("/good").await;
    }
    assert_eq!(agent.refused(), expected);
    let good = bad_heads().len();
    assert_eq!(service.whole(), vec!["/good"; good]);
    let report = agent.end().await;
    assert_eq!((report.requests, report.recorded), (good as u64, good as u64), "{report:?}");
}

#[tokio::test]
async fn what_was_right_before_a_bad_head_is_answered() {
    let service = Service::start().await;
    let agent = Agent::start(service.address);
    for (section, message, status, _) in bad_heads() {
        let first = "POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
        let answer = agent.talk(&[first.as_bytes(), message.as_bytes()]).await;
        let (_, second) = answer
            .split_once("/first")
            .unwrap_or_else(|| panic!("{section} {message:?}: no answer to the first: {answer:?}"));
        assert!(is_refusal(second, status), "{section} {message:?}: {answer:?}");
    }
    assert_eq!(service.whole(), vec!["/first"; bad_heads().len()]);
    agent.end().await;
}

#[tokio::test]
async fn bad_chunks_are_refused_before_anything_is_sent() {
    let service = Service::start().await;
    let agent = Agent::start(service.address);
    let mut expected = BTreeMap::<String, u64>::new();
    for (section, body, status, reason) in bad_bodies() {
        let message = format!("{CHUNKED}{body}");
        let answer = agent.talk(&[message.as_bytes()]).await;
        assert!(is_refusal(&answer, status), "{section} {message:?}: {answer:?}");
        *expected.entry(reason.to_owned()).or_default() += 1;
        agent.works("/good").await;
    }
    assert_eq!(agent.refused(), expected);
    assert_eq!(service.whole(), vec!["/good"; bad_bodies().len()]);
    agent.end().await;
}

/// When the head is on its way already, the upstream gets a message that is not
/// whole, and never its rest.
#[tokio::test]
async fn bad_chunks_behind_a_forwarded_head_never_make_a_whole_message() {
    let service = Service::start().await;
    let agent = Agent::start(service.address);
    for (turn, (section, body, status, _)) in bad_bodies().into_iter().enumerate() {
        let mut stream = TcpStream::connect(agent.address).await.expect("the agent lives");
        stream.write_all(CHUNKED.as_bytes()).await.expect("open");
        let begun = timeout(PATIENCE, async {
            while service
                .seen
                .lock()
                .expect("not poisoned")
                .begun
                .iter()
                .filter(|target| *target == "/evil")
                .count()
                <= turn
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        begun.await.expect("the head reaches the upstream");
        stream.write_all(body.as_bytes()).await.expect("open");
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "{section} {body:?}: still open");
        let answer = String::from_utf8_lossy(&answer);
        assert!(is_refusal(&answer, status), "{section} {body:?}: {answer:?}");
        agent.works("/good").await;
    }
    assert_eq!(service.whole(), vec!["/good"; bad_bodies().len()]);
    agent.end().await;
}

/// Damaged messages, by a fixed random sequence: whatever becomes of them, the
/// upstream never sees anything that is not HTTP, and the agent lives.
#[tokio::test]
async fn damaged_messages_never_reach_the_upstream_as_garbage() {
    let mut service = Service::start().await;
    let agent = Agent::start(service.address);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    let bytes = b"\r\n \t:;,=0159af\0\x7f\xff";
    for _ in 0..400 {
        let mut message = format!(
            "{CHUNKED}3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\nGET /a?b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        .into_bytes();
        for _ in 0..=next(3) {
            let at = next(message.len());
            match next(3) {
                0 => message[at] = bytes[next(bytes.len())],
                1 => message.insert(at, bytes[next(bytes.len())]),
                _ => {
                    message.remove(at);
                }
            }
        }
        let mut stream = TcpStream::connect(agent.address).await.expect("the agent lives");
        // The agent may refuse before all is written.
        let _ = stream.write_all(&message).await;
        // So that a message that lacks something does not wait for it.
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "still open: {:?}", shown(&[&message]));
    }
    agent.works("/good").await;
    let report = agent.end().await;
    assert!(report.lost.is_empty(), "{report:?}");
    service.tasks.shutdown().await;
    let seen = service.seen.lock().expect("not poisoned");
    assert_eq!(seen.refused, Vec::<&str>::new());
    assert!(seen.whole.len() > 100, "hardly anything passed: {}", seen.whole.len());
}

/// Answers that are not HTTP, or cannot be framed: section of RFC 9112, bytes.
const BAD_ANSWERS: &[(&str, &str)] = &[
    ("2.2", "HTTP/1.1 200 OK\nContent-Length: 1\n\nx"),
    ("2.2", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"),
    ("4", "<html>not found</html>"),
    ("4", "HTTP/2 200 OK\r\nContent-Length: 1\r\n\r\nx"),
    ("4", "HTTP/1.1 099 OK\r\nContent-Length: 1\r\n\r\nx"),
    ("4", "HTTP/1.1 2000 OK\r\nContent-Length: 1\r\n\r\nx"),
    ("5.1", "HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\nx"),
    ("5.2", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 1\r\n\r\nx"),
    ("5", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 1\r\n\r\nx"),
    ("6.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    ("6.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("6.1", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("6.2", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"),
    ("6.2", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx"),
    ("9110 7.8", "HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    ("9110 15.2", "HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\nHTTP/1.1 2x0 OK\r\n\r\n"),
    ("8", "HTTP/1.1 200 OK\r\nContent-Len"),
    ("8", ""),
];

/// Bodies whose framing breaks behind a good head.
const BROKEN_ANSWERS: &[(&str, &str)] = &[
    ("6.3", "Content-Length: 5\r\n\r\nabc"),
    ("7.1", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n0\r\n\r\n"),
    ("7.1", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
    ("7.1", "Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n"),
    ("7.1.2", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nContent-Length: 3\r\n\r\n"),
];

/// An upstream that answers the request for `/n` with the n-th of these and
/// closes.
async fn hostile(answers: Vec<String>) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut head, mut buf) = (RequestHead::default(), Vec::new());
            while let Ok(Parsed::Incomplete) = parse_request(&buf, &LIMITS, &mut head) {
                if !matches!(stream.read_buf(&mut buf).await, Ok(1..)) {
                    break;
                }
            }
            let turn = String::from_utf8_lossy(head.path(&buf)).trim_matches('/').parse::<usize>();
            let answer = turn.ok().and_then(|turn| answers.get(turn)).map_or("", String::as_str);
            // The agent may have seen enough.
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    (address, tasks)
}

#[tokio::test]
async fn a_garbled_answer_becomes_502() {
    let answers = BAD_ANSWERS.iter().map(|(_, answer)| (*answer).to_owned()).collect();
    let (upstream, _tasks) = hostile(answers).await;
    let agent = Agent::start(upstream);
    for (turn, (section, bytes)) in BAD_ANSWERS.iter().enumerate() {
        let request = format!("GET /{turn} HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = agent.talk(&[request.as_bytes()]).await;
        // Interim answers before the bad one have been passed on.
        let last = answer.rfind("HTTP/1.1 ").map_or("", |at| &answer[at..]);
        assert!(is_refusal(last, 502), "{section} {bytes:?}: {answer:?}");
    }
    let report = agent.end().await;
    assert_eq!(report.requests, BAD_ANSWERS.len() as u64);
    assert_eq!(report.recorded, report.requests, "{report:?}");
}

/// What has begun cannot become a 502: the client must see that it is not whole.
#[tokio::test]
async fn an_answer_that_breaks_is_never_a_whole_one() {
    let whole = "HTTP/1.1 200 OK\r\n";
    let answers = BROKEN_ANSWERS.iter().map(|(_, rest)| format!("{whole}{rest}")).collect();
    let (upstream, _tasks) = hostile(answers).await;
    let agent = Agent::start(upstream);
    for (turn, (section, bytes)) in BROKEN_ANSWERS.iter().enumerate() {
        let request = format!("GET /{turn} HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = agent.talk(&[request.as_bytes()]).await;
        let mut head = ResponseHead::default();
        let parsed = parse_response(answer.as_bytes(), &LIMITS, MethodKind::Other, &mut head);
        let len = match parsed {
            Ok(Parsed::Complete { len }) => len,
            // The reset may overtake what was sent before it.
            Ok(Parsed::Incomplete) => continue,
            Err(garbled) => panic!("{section} {bytes:?}: {garbled}: {answer:?}"),
        };
        let (mut body, mut rest) = (BodyDecoder::new(&LIMITS), &answer.as_bytes()[len..]);
        body.start(head.body());
        while let Ok(step) = body.decode(rest)
            && step.len > 0
        {
            rest = &rest[step.len..];
        }
        assert!(body.eof().is_err(), "{section} {bytes:?}: whole: {answer:?}");
    }
    agent.end().await;
}
