//! Corners of the protocol where a request's beginning, end or refusal is easily
//! taken for something else.

use std::{
    io::{Read as _, Write as _},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use umbra_log::{Append, Appender, Entry, LogError, Loss, Position, Rejected};
use umbra_record::{
    decode,
    pb::{Failure, record::Body},
};

use super::harness::{Agent, PATIENCE, Server, TestLog, noise, signal};

/// A log that shows each request record to a closure first.
struct Shown<F> {
    inner: Arc<Appender>,
    show: F,
}

impl<F: Fn(&Entry<'_>) + Send + Sync + 'static> Append for Shown<F> {
    fn partitions(&self) -> u32 {
        self.inner.partitions()
    }

    fn enqueue(&self, entry: &Entry<'_>) -> Result<Position, Rejected> {
        if entry.headers[0].1 == b"request" {
            (self.show)(entry);
        }
        self.inner.enqueue(entry)
    }

    fn durable(&self, partition: u32) -> u64 {
        self.inner.durable(partition)
    }

    fn losses(&self) -> Vec<Loss> {
        self.inner.losses()
    }

    async fn flush(&self, deadline: Duration) -> Result<(), LogError> {
        self.inner.flush(deadline).await
    }
}

fn start_shown(
    upstream: &Server,
    show: impl Fn(&Entry<'_>) + Send + Sync + 'static,
    change: impl FnOnce(&mut umbra_capture::Config),
) -> Agent {
    let log = TestLog::new();
    let shown = Shown { inner: Arc::clone(&log.appender), show };
    Agent::start_with(upstream.address, log, Arc::new(shown), change)
}

/// Larger than what both sockets of a connection take without a reader.
const LARGE_HEAD: usize = 8 << 20;

#[test]
fn trailers_that_came_with_a_head_too_large_for_one_write_are_taken_once() {
    let upstream = Server::start(|client, server| {
        // Read only once the agent cannot write any more.
        std::thread::park_timeout(Duration::from_millis(100));
        while client.request(server).is_some() {
            client.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    // Such records are too large for the log, but it is shown them.
    let records = Arc::new(Mutex::new(Vec::new()));
    let shown = Arc::clone(&records);
    let show = move |entry: &Entry<'_>| {
        let record = decode::decode(Bytes::copy_from_slice(entry.payload)).unwrap();
        shown.lock().unwrap().push(record);
    };
    let agent = start_shown(&upstream, show, |config| config.max_head = 2 * LARGE_HEAD);
    for behind in ["GET /behind HTTP/1.1\r\nHost: b\r\n\r\n", "G"] {
        let mut client = agent.connect();
        client.send("POST /large HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n");
        client.send("Transfer-Encoding: chunked\r\nPadding: ");
        client.send(vec![b'x'; LARGE_HEAD]);
        // What follows is to come in one piece, behind a head that has been read.
        std::thread::park_timeout(Duration::from_millis(100));
        let trailers = "Check: 0123456789\r\nAnother-Check: 0123456789\r\n";
        client.send(format!("\r\n\r\n3\r\nabc\r\n0\r\n{trailers}\r\n{behind}"));
        assert_eq!(client.answer().status, 200);
        if behind.len() > 1 {
            assert_eq!(client.answer().status, 200);
        }
    }
    let ended = agent.end();
    let large = records
        .lock()
        .unwrap()
        .iter()
        .filter_map(|record| match &record.body {
            Some(Body::Request(request)) if *request.path == *b"/large" => Some(request.clone()),
            _ => None,
        })
        .collect::<Vec<_>>();
    assert_eq!((large.len(), ended.report.requests), (2, 3));
    for request in large {
        let names: Vec<_> =
            request.trailers.iter().map(|field| String::from_utf8_lossy(&field.name)).collect();
        assert_eq!(names, ["Check", "Another-Check"]);
        assert!(request.trailers.iter().all(|field| *field.value == *b"0123456789"));
    }
}

#[test]
fn a_refused_request_is_recorded_before_its_client_is_waited_for() {
    let upstream = Server::echo();
    let (entered, is_entered) = signal();
    let (go, wait) = signal();
    let entered = Mutex::new(entered);
    let show = move |_: &Entry<'_>| {
        (entered.lock().unwrap())();
        wait();
    };
    let agent = start_shown(&upstream, show, |_| {});
    let mut client = agent.connect();
    client.send("POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    is_entered();
    client.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let early = client.stream.read(&mut [0; 16]);
    assert!(early.is_err(), "the client was answered before its request was recorded");
    go();
    client.stream.set_read_timeout(Some(super::harness::PATIENCE)).unwrap();
    assert_eq!(client.answer().status, 400);
    let ended = agent.end();
    ended.request("/bad");
    assert!(ended.responses().is_empty());
}

#[test]
fn an_empty_line_between_requests_begins_none() {
    let upstream = Server::echo();
    let agent = Agent::start(upstream.address, |config| {
        config.header_timeout = Duration::from_millis(50);
        config.threads = 1;
    });
    for empty in ["\r\n", "\r", "\r\n\r\n\r"] {
        let mut client = agent.connect();
        assert_eq!(client.get("/first").status, 200);
        client.send(empty);
        std::thread::park_timeout(Duration::from_millis(200));
        let rest = if empty.ends_with('\r') { "\n" } else { "" };
        client.send(format!("{rest}GET /second HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.answer().body, b"/second 0", "{empty:?}");
        // The line belongs to nothing, so it is no part of a slow head either.
        client.send("\r\nGET");
        assert_eq!(client.answer().status, 408);
    }
    assert_eq!(agent.end().report.requests, 6);
}

#[test]
fn empty_lines_are_bounded_however_they_come() {
    let upstream = Server::echo();
    let agent = Agent::start(upstream.address, |_| {});
    let mut client = agent.connect();
    client.send("\r\n\r\n\r\n\r\nGET /four HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    for _ in 0..5 {
        client.send("\r\n");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert_eq!(client.answer().status, 400);
    assert_eq!(agent.stats.snapshot().refused.get("empty_lines"), Some(&1));
    agent.end();
}

#[test]
fn interim_answers_without_end_are_garbled() {
    let upstream = Server::start(|client, server| {
        let Some(request) = client.request(server) else { return };
        let interim = if request.path == "/many" { 100 } else { 10_000 };
        for _ in 0..interim {
            // The agent may have closed the connection by now.
            let sent = std::io::Write::write_all(
                &mut client.stream,
                b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
            );
            if sent.is_err() {
                return;
            }
        }
        let _ = std::io::Write::write_all(
            &mut client.stream,
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
    });
    let agent = Agent::start(upstream.address, |_| {});
    for (path, last) in [("/many", 200), ("/endless", 502)] {
        let mut client = agent.connect();
        let mut answer = client.get(path);
        let mut interim = 0;
        while answer.status == 103 {
            interim += 1;
            answer = client.answer();
        }
        assert_eq!((interim, answer.status), (100, last));
    }
    assert_eq!(agent.end().response_to("/endless").failure(), Failure::Garbled);
}

/// RFC 9112 9.6: what a client has sent behind its last request must not cost it the
/// answer, whose end is still on its way when our side is done.
#[test]
fn nothing_behind_a_close_is_served_and_the_last_answer_arrives_whole() {
    let upstream = Server::start(|client, server| {
        while client.request(server).is_some() {
            client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE_HEAD}\r\n\r\n"));
            client.send(noise(LARGE_HEAD));
        }
    });
    let agent = Agent::start(upstream.address, |_| {});
    let mut client = std::net::TcpStream::connect(agent.address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut requests = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_vec();
    // More than is read in one go.
    requests.extend(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2000));
    client.write_all(&requests).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert!(answer.ends_with(&noise(LARGE_HEAD)), "cut off after {} bytes", answer.len());
    assert_eq!(upstream.heads().len(), 1);
    assert_eq!(agent.end().report.requests, 1);
}
