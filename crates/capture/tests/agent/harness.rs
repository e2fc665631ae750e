//! An agent on port 0 in front of a scripted upstream, with an embedded log whose
//! promises are checked at the end of every test.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use umbra_capture::{AgentError, Config, Listener, RecordResponses, Report, Stats, Upstream};
use umbra_log::{
    Address, Append, Appender, Event, Log, LogOptions, Mode, Schema, Tail, TailOptions,
};
use umbra_record::{
    decode,
    pb::{self, record::Body},
};

/// No wait in a test takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running agent.
pub(crate) struct Agent {
    pub(crate) address: SocketAddr,
    pub(crate) stats: Stats,
    pub(crate) stop: CancellationToken,
    thread: JoinHandle<Result<Report, AgentError>>,
    log: TestLog,
}

/// What an agent left behind.
pub(crate) struct Ended {
    pub(crate) report: Report,
    /// In the order of each partition.
    pub(crate) records: Vec<(u32, pb::Record)>,
}

/// An embedded log in a temporary directory.
pub(crate) struct TestLog {
    runtime: tokio::runtime::Runtime,
    directory: tempfile::TempDir,
    pub(crate) appender: Arc<Appender>,
}

pub(crate) fn config(upstream: SocketAddr) -> Config {
    Config {
        upstream: Upstream::tcp(&upstream.ip().to_string(), upstream.port()),
        routes: Vec::new(),
        sink: None,
        tls: None,
        proxy_protocol: false,
        connect: false,
        selection: Default::default(),
        responses: RecordResponses::Full,
        max_body: 10 << 20,
        max_response_body: 64 << 10,
        key: umbra_capture::KeyBy::Auto,
        privacy: umbra_capture::Privacy::default(),
        agent: umbra_capture::new_agent(),
        max_record_body: 512 << 10,
        memory: 128 << 20,
        labels: BTreeMap::from([("env".to_owned(), "test".to_owned())]),
        threads: 2,
        connect_timeout: PATIENCE,
        upstream_timeout: PATIENCE,
        header_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        max_head: 64 << 10,
        max_headers: 100,
        max_connections: 1000,
        max_streams: 256,
        open_after: PATIENCE,
        mark_every: Duration::from_millis(300),
        drain: PATIENCE,
        spool: None,
    }
}

impl TestLog {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let appender = runtime.block_on(async {
            let log = open(directory.path(), Mode::Create).await;
            Arc::new(log.appender().await.unwrap())
        });
        Self { runtime, directory, appender }
    }

    /// Everything in the log.
    pub(crate) fn read(self) -> Vec<(u32, pb::Record)> {
        drop(self.appender);
        let path = self.directory.path().to_owned();
        self.runtime.block_on(async move {
            let log = open(&path, Mode::Existing).await;
            let spans = log.spans().await.unwrap();
            let mut missing: u64 = spans.iter().map(|span| span.high - span.low).sum();
            let mut tail = log.tail(TailOptions::default()).await.unwrap();
            let mut records = Vec::new();
            while missing > 0 {
                let event = tokio::time::timeout(PATIENCE, tail.next()).await.unwrap().unwrap();
                if let Event::Delivery(delivery) = event {
                    let record = decode::decode(delivery.payload.clone()).unwrap();
                    records.push((delivery.partition, record));
                    delivery.done();
                    missing -= 1;
                }
            }
            records
        })
    }
}

async fn open(path: &std::path::Path, mode: Mode) -> Log {
    let schema = Schema {
        name: umbra_record::SCHEMA_NAME.to_owned(),
        encoding: "protobuf".to_owned(),
        data: umbra_record::SCHEMA.to_vec(),
    };
    let options = LogOptions { schema: Some(schema), partitions: 4, ..LogOptions::default() };
    Log::open(&Address::File(path.to_owned()), options, mode).await.unwrap()
}

impl Agent {
    pub(crate) fn start(upstream: SocketAddr, change: impl FnOnce(&mut Config)) -> Self {
        let log = TestLog::new();
        let appender = Arc::clone(&log.appender);
        Self::start_with(upstream, log, appender, change)
    }

    /// `log` is what is read in the end, `appender` what the agent writes to.
    pub(crate) fn start_with<A: Append>(
        upstream: SocketAddr,
        log: TestLog,
        appender: Arc<A>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // Room for all that a test lets wait outside.
        socket2::SockRef::from(&listener).listen(1024).unwrap();
        let address = listener.local_addr().unwrap();
        Self::start_at(upstream, (address, listener.into()), log, appender, change)
    }

    /// The same on any kind of socket; one without an address has any.
    pub(crate) fn start_at<A: Append>(
        upstream: SocketAddr,
        (address, listener): (SocketAddr, Listener),
        log: TestLog,
        appender: Arc<A>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = config(upstream);
        change(&mut config);
        let (stats, stop) = (Stats::default(), CancellationToken::new());
        let thread = {
            let (stats, stop) = (stats.clone(), stop.clone());
            std::thread::spawn(move || {
                umbra_capture::run(config, vec![listener], appender, stats, stop)
            })
        };
        Self { address, stats, stop, thread, log }
    }

    /// How many records each partition holds, at least.
    pub(crate) fn written(&self) -> u64 {
        let log = &self.log.appender;
        (0..log.partitions()).map(|partition| log.durable(partition)).min().unwrap()
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Drains the agent, reads its log and checks what must always hold.
    pub(crate) fn end(self) -> Ended {
        let ended = self.end_unchecked();
        ended.check();
        ended
    }

    pub(crate) fn end_unchecked(self) -> Ended {
        self.stop.cancel();
        let report = self.thread.join().unwrap().unwrap();
        // A connection that panics is caught, and counted.
        assert_eq!(self.stats.snapshot().refused.get("fault"), None);
        Ended { report, records: self.log.read() }
    }

    /// Waits for an agent that ends by itself; and what it left in the log.
    pub(crate) fn failed(self) -> (AgentError, Vec<(u32, pb::Record)>) {
        until("the agent ends", || self.thread.is_finished());
        (self.thread.join().unwrap().unwrap_err(), self.log.read())
    }
}

impl Ended {
    pub(crate) fn requests(&self) -> Vec<&pb::Request> {
        self.records
            .iter()
            .filter_map(|(_, record)| match &record.body {
                Some(Body::Request(request)) => Some(request),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn responses(&self) -> Vec<&pb::Response> {
        self.records
            .iter()
            .filter_map(|(_, record)| match &record.body {
                Some(Body::Response(response)) => Some(response),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn gaps(&self) -> Vec<&pb::Gap> {
        self.records
            .iter()
            .filter_map(|(_, record)| match &record.body {
                Some(Body::Gap(gap)) => Some(gap),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn parts(&self, id: &[u8]) -> Vec<&pb::BodyPart> {
        self.records
            .iter()
            .filter_map(|(_, record)| match &record.body {
                Some(Body::Part(part)) if part.id == id => Some(part),
                _ => None,
            })
            .collect()
    }

    /// The request with this path.
    pub(crate) fn request(&self, path: &str) -> &pb::Request {
        let mut found =
            self.requests().into_iter().filter(|request| request.path == path.as_bytes());
        let request = found.next().unwrap_or_else(|| panic!("no request {path} in the log"));
        assert!(found.next().is_none(), "{path} is in the log twice");
        request
    }

    pub(crate) fn response_to(&self, path: &str) -> &pb::Response {
        let id = &self.request(path).id;
        let mut found = self.responses().into_iter().filter(|response| response.id == *id);
        let response = found.next().unwrap_or_else(|| panic!("no answer to {path} in the log"));
        assert!(found.next().is_none(), "the answer to {path} is in the log twice");
        response
    }

    /// Of the answer nothing but this came before its upstream broke off.
    #[track_caller]
    pub(crate) fn broken_off(&self, path: &str, body: &[u8]) {
        let response = self.response_to(path);
        assert_eq!((response.status, response.failure()), (200, pb::Failure::Reset));
        assert_eq!(response.completeness(), pb::Completeness::Aborted);
        assert_eq!(response.body.as_deref(), Some(body));
    }

    /// The whole recorded body of a request, with its parts.
    pub(crate) fn body(&self, request: &pb::Request) -> Vec<u8> {
        let mut body = request.body.as_deref().unwrap_or_default().to_vec();
        for (index, part) in self.parts(&request.id).into_iter().enumerate() {
            assert_eq!(part.index as usize, index);
            body.extend_from_slice(&part.data);
        }
        body
    }

    pub(crate) fn lost(&self, reason: &str) -> u64 {
        self.report.lost.get(reason).copied().unwrap_or(0)
    }

    /// What every agent promises, whatever it went through.
    pub(crate) fn check(&self) {
        self.check_sums();
        self.check_sequences();
        self.check_marks();
        self.check_order();
    }

    pub(crate) fn check_sums(&self) {
        let Report { requests, recorded, not_selected, lost, .. } = &self.report;
        assert_eq!(*requests, recorded + not_selected + lost.values().sum::<u64>(), "{lost:?}");
        let gaps: u64 = self.gaps().iter().map(|gap| gap.requests).sum();
        let told: u64 =
            lost.iter().filter(|(reason, _)| *reason != "not_flushed").map(|(_, n)| n).sum();
        assert_eq!(gaps, told, "gaps do not tell the losses {lost:?}");
    }

    /// No hole and no repetition per lane and partition.
    fn check_sequences(&self) {
        let mut last = BTreeMap::<(u32, u32), u64>::new();
        for (partition, record) in &self.records {
            let last = last.entry((record.lane, *partition)).or_default();
            assert_eq!(record.sequence, *last + 1, "lane {} in {partition}", record.lane);
            *last = record.sequence;
            if let Some(Body::Mark(mark)) = &record.body {
                assert_eq!(mark.last_sequence + 1, record.sequence);
            }
        }
    }

    /// Marks keep their promise, and the last ones tell the whole.
    fn check_marks(&self) {
        let mut low = BTreeMap::<(u32, u32), u64>::new();
        let mut finals = BTreeMap::<u32, (u32, pb::Mark)>::new();
        for (partition, record) in &self.records {
            let lane = (record.lane, *partition);
            match &record.body {
                Some(Body::Mark(mark)) => {
                    let low = low.entry(lane).or_default();
                    assert!(mark.low_ns >= *low, "a promise was taken back");
                    assert!(mark.low_ns <= mark.at_ns);
                    *low = mark.low_ns;
                    let lost: u64 = mark.lost.values().sum();
                    assert_eq!(mark.requests, mark.recorded + mark.not_selected + lost);
                    if mark.r#final {
                        let entry = finals.entry(record.lane).or_insert((0, mark.clone()));
                        entry.0 += 1;
                    }
                }
                body => {
                    let start = match body {
                        Some(Body::Request(request)) => request.start_ns,
                        _ => u64::MAX,
                    };
                    let low = low.get(&lane).copied().unwrap_or(0);
                    assert!(start >= low, "a request of {start} after the mark of {low}");
                    let ended = finals.get(&record.lane).is_some_and(|(n, _)| *n == 4);
                    assert!(!ended, "a record after the last final mark of its lane");
                }
            }
        }
        let lanes = finals.values().next().map_or(0, |(_, mark)| mark.lanes);
        assert_eq!(finals.len() as u32, lanes, "not every lane ended");
        assert!(finals.values().all(|(n, _)| *n == 4), "not every partition has a final mark");
        let sum = |of: fn(&pb::Mark) -> u64| finals.values().map(|(_, m)| of(m)).sum::<u64>();
        let unflushed = self.lost("not_flushed");
        assert_eq!(sum(|mark| mark.recorded), self.report.recorded + unflushed);
        assert_eq!(sum(|mark| mark.not_selected), self.report.not_selected);
        assert_eq!(sum(|mark| mark.requests), self.report.requests);
    }

    /// Within a connection requests are in order, and no answer or part comes
    /// before its request.
    fn check_order(&self) {
        let mut next = BTreeMap::<u64, (u32, u64)>::new();
        let mut seen = std::collections::BTreeSet::new();
        for (partition, record) in &self.records {
            match &record.body {
                Some(Body::Request(request)) => {
                    assert!(seen.insert(request.id.clone()), "an id twice");
                    if request.version() == pb::Version::Http2 {
                        // Each goes where its own key says.
                        continue;
                    }
                    let place = next.entry(request.connection).or_insert((*partition, 0));
                    assert_eq!(place.0, *partition, "a connection changed its partition");
                    assert!(request.number >= place.1, "requests of a connection out of order");
                    place.1 = request.number + 1;
                }
                Some(Body::Response(response)) => assert!(seen.contains(&response.id)),
                Some(Body::Part(part)) => assert!(seen.contains(&part.id)),
                _ => {}
            }
        }
    }
}

/// A client that sends bytes as they are.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    reader: BufReader<TcpStream>,
}

/// An answer, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (n, value) = line.split_once(": ")?;
            n.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends a request without a body and gives its answer.
    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        self.answer()
    }

    pub(crate) fn answer(&mut self) -> Answer {
        self.try_answer(false).unwrap()
    }

    /// The answer to a HEAD.
    pub(crate) fn answer_without_body(&mut self) -> Answer {
        self.try_answer(true).unwrap()
    }

    pub(crate) fn try_answer(&mut self, no_body: bool) -> io::Result<Answer> {
        let head = self.lines()?;
        let status = head.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
        let mut answer = Answer { status, head, body: Vec::new(), trailers: String::new() };
        if no_body || status < 200 || status == 204 || status == 304 {
            return Ok(answer);
        }
        if answer.header("transfer-encoding").is_some() {
            self.chunks(&mut answer)?;
        } else if let Some(length) = answer.header("content-length") {
            answer.body = vec![0; length.parse().unwrap()];
            self.reader.read_exact(&mut answer.body)?;
        } else {
            self.reader.read_to_end(&mut answer.body)?;
        }
        Ok(answer)
    }

    fn chunks(&mut self, answer: &mut Answer) -> io::Result<()> {
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            let size = line.split(';').next().unwrap().trim();
            let size = usize::from_str_radix(size, 16)
                .map_err(|_| io::Error::other(format!("no chunk size: {line:?}")))?;
            if size == 0 {
                answer.trailers = self.lines()?;
                return Ok(());
            }
            let start = answer.body.len();
            answer.body.resize(start + size, 0);
            self.reader.read_exact(&mut answer.body[start..])?;
            self.reader.read_exact(&mut [0; 2])?;
        }
    }

    /// Lines up to the empty one.
    fn lines(&mut self) -> io::Result<String> {
        let mut lines = Vec::new();
        loop {
            if self.reader.read_until(b'\n', &mut lines)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if lines.ends_with(b"\r\n\r\n") || lines == b"\r\n" {
                return Ok(String::from_utf8_lossy(&lines).into_owned());
            }
        }
    }

    /// Whether the peer has closed: nothing more comes.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _ = self.reader.read_to_end(&mut rest);
        rest.is_empty()
    }

    /// The next head, and nothing behind it.
    pub(crate) fn read_head(&mut self) -> String {
        self.lines().unwrap()
    }

    pub(crate) fn read_exactly(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.reader.read_exact(&mut bytes).unwrap();
        bytes
    }
}

/// A server whose connections are served by a closure, each on its own thread.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Heads of the requests it got.
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
    /// How many connections it accepted.
    pub(crate) accepted: Arc<Mutex<usize>>,
}

impl Server {
    pub(crate) fn start(serve: impl Fn(&mut Client, &Server) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self { address, seen: Arc::default(), accepted: Arc::default() };
        let (serve, shared) = (Arc::new(serve), server.share());
        // Ends with the test's process; its connections end with the agent.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                *shared.accepted.lock().unwrap() += 1;
                let (serve, shared) = (Arc::clone(&serve), shared.share());
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    stream.set_nodelay(true).unwrap();
                    let reader = BufReader::new(stream.try_clone().unwrap());
                    serve(&mut Client { stream, reader }, &shared);
                });
            }
        });
        server
    }

    fn share(&self) -> Self {
        Self {
            address: self.address,
            seen: Arc::clone(&self.seen),
            accepted: Arc::clone(&self.accepted),
        }
    }

    /// Answers every request with `ok` and its own path and body's length.
    pub(crate) fn echo() -> Self {
        Self::start(|client, server| {
            while let Some(request) = client.request(server) {
                let text = format!("{} {}", request.path, request.body.len());
                client.send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
                    text.len()
                ));
            }
        })
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        *self.accepted.lock().unwrap()
    }
}

/// A request as the upstream got it.
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: String,
}

impl Client {
    /// On the upstream's side: the head of the next request.
    pub(crate) fn request_head(&mut self, server: &Server) -> Option<String> {
        let head = self.lines().ok()?;
        server.seen.lock().unwrap().push(head.clone());
        Some(head)
    }

    /// On the upstream's side: the next request.
    pub(crate) fn request(&mut self, server: &Server) -> Option<Received> {
        let head = self.request_head(server)?;
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let mut answer = Answer { status: 0, head, body: Vec::new(), trailers: String::new() };
        if answer.header("transfer-encoding").is_some() {
            self.chunks(&mut answer).ok()?;
        } else if let Some(length) = answer.header("content-length") {
            answer.body = vec![0; length.parse().unwrap()];
            self.reader.read_exact(&mut answer.body).ok()?;
        }
        let Answer { head, body, trailers, .. } = answer;
        Some(Received { head, path, body, trailers })
    }
}

/// Waits until a condition holds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// A way to tell a server's thread to go on: what the test calls, and what the
/// server waits with.
pub(crate) fn signal() -> (impl Fn(), impl Fn() + Send + Sync) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let receiver = Mutex::new(receiver);
    let wait = move || receiver.lock().unwrap().recv_timeout(PATIENCE).unwrap();
    (move || sender.send(()).unwrap(), wait)
}

/// Bytes that differ everywhere.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
