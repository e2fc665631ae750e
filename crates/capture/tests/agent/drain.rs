//! Stopping: what runs is finished, what waits is closed, nothing fails, and it
//! ends in time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use umbra_capture::SpoolConfig;
use umbra_log::{Append, Appender, Entry, LogError, Loss, Position, Rejected, Returned};
use umbra_record::pb::{Completeness, Failure};

use super::harness::{Agent, Client, Server, TestLog, noise, signal, until};

#[test]
fn under_load_no_request_fails() {
    let upstream = Server::echo();
    let agent = Agent::start(upstream.address, |_| {});
    let done = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..16)
        .map(|c| {
            let (mut client, done) = (agent.connect(), Arc::clone(&done));
            std::thread::spawn(move || {
                for n in 0.. {
                    let size = [0, 100, 100_000][(c + n) % 3];
                    client.send(format!(
                        "POST /{c}/{n} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"
                    ));
                    client.send(vec![7; size]);
                    let answer = client.try_answer(false).expect("a request failed");
                    assert_eq!(answer.body, format!("/{c}/{n} {size}").into_bytes());
                    done.fetch_add(1, Ordering::SeqCst);
                    if answer.header("connection") == Some("close") {
                        assert!(client.is_closed());
                        return n + 1;
                    }
                }
                unreachable!()
            })
        })
        .collect();
    until("there is load", || done.load(Ordering::SeqCst) > 500);
    agent.stop.cancel();
    let sent: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    let ended = agent.end();
    assert_eq!(ended.report.recorded, sent as u64);
    assert_eq!(ended.responses().len(), sent);
}

#[test]
fn a_running_request_is_finished_and_idle_connections_are_closed() {
    let (go, wait) = signal();
    let upstream = Server::start(move |client, server| {
        while let Some(request) = client.request(server) {
            if request.path == "/slow" {
                wait();
            }
            client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let agent = Agent::start(upstream.address, |_| {});
    let mut idle = agent.connect();
    assert_eq!(idle.get("/quick").status, 200);
    let mut running = agent.connect();
    running.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    until("it runs", || upstream.heads().len() == 2);
    agent.stop.cancel();
    assert!(idle.is_closed());
    let address = agent.address;
    until("nobody listens any more", || std::net::TcpStream::connect(address).is_err());
    go();
    let answer = running.answer();
    assert_eq!((&answer.body[..], answer.header("connection")), (&b"ok"[..], Some("close")));
    assert!(running.is_closed());
    assert_eq!(agent.end().report.recorded, 2);
}

#[test]
fn a_request_on_its_way_when_the_stop_comes_is_answered() {
    let upstream = Server::echo();
    let agent = Agent::start(upstream.address, |_| {});
    let mut client = agent.connect();
    assert_eq!(client.get("/1").status, 200);
    agent.stop.cancel();
    let answer = client.get("/2");
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!(agent.end().report.recorded, 2);
}

#[test]
fn what_does_not_end_is_cut_off_at_the_deadline_and_recorded() {
    let upstream = Server::start(|client, server| {
        client.request(server);
        client.is_closed();
    });
    let agent = Agent::start(upstream.address, |config| config.drain = Duration::from_secs(1));
    let mut whole = agent.connect();
    whole.send("GET /whole HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut half = agent.connect();
    half.send("POST /half HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n");
    half.send(noise(100_000));
    until("both run", || {
        upstream.heads().len() == 2 && agent.stats.snapshot().tee_bytes >= 100_000
    });
    let start = Instant::now();
    let ended = agent.end();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(whole.is_closed() && half.is_closed());
    assert_eq!(ended.report.recorded, 2);
    assert_eq!(ended.request("/whole").completeness(), Completeness::Complete);
    assert_eq!(ended.request("/half").completeness(), Completeness::Aborted);
    assert!(ended.body(ended.request("/half")) == noise(100_000));
    assert_eq!(ended.response_to("/whole").failure(), Failure::ClientGone);
}

#[test]
fn connections_that_wait_to_be_accepted_are_served() {
    let upstream = Server::echo();
    let agent = Agent::start(upstream.address, |config| config.threads = 1);
    let mut clients: Vec<Client> = (0..50).map(|_| agent.connect()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    agent.stop.cancel();
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
    assert_eq!(agent.end().report.recorded, 50);
}

/// A log that is late until it is asked for what it has, and then has nothing.
struct Late {
    inner: Arc<Appender>,
    asked: AtomicBool,
}

impl Append for Late {
    fn partitions(&self) -> u32 {
        self.inner.partitions()
    }

    fn enqueue(&self, entry: &Entry<'_>) -> Result<Position, Rejected> {
        self.inner.enqueue(entry)
    }

    fn durable(&self, partition: u32) -> u64 {
        if self.asked.load(Ordering::SeqCst) { self.inner.durable(partition) } else { 0 }
    }

    fn losses(&self) -> Vec<Loss> {
        self.inner.losses()
    }

    fn take_back(&self, _: Duration) -> Vec<Returned> {
        self.asked.store(true, Ordering::SeqCst);
        Vec::new()
    }

    async fn flush(&self, deadline: Duration) -> Result<(), LogError> {
        self.inner.flush(deadline).await?;
        Err(LogError::Deadline("late".to_owned()))
    }
}

#[test]
fn what_became_durable_while_it_was_asked_back_is_recorded() {
    let upstream = Server::echo();
    let (log, dir) = (TestLog::new(), tempfile::tempdir().unwrap());
    let inner = Arc::clone(&log.appender);
    let late = Arc::new(Late { inner, asked: AtomicBool::new(false) });
    let agent = Agent::start_with(upstream.address, log, Arc::clone(&late), |config| {
        config.drain = Duration::from_secs(1);
        config.spool = Some(SpoolConfig {
            dir: dir.path().to_owned(),
            required: true,
            max_bytes: 1 << 20,
            log: "log".to_owned(),
            stall: Duration::from_secs(60),
            queue_bytes: 1 << 16,
            window_bytes: 1 << 16,
        });
    });
    agent.connect().get("/");
    // The log that is read in the end has no other writer.
    drop(late);
    let report = agent.end_unchecked().report;
    assert_eq!((report.recorded, report.spooled), (1, 0), "{report:?}");
    assert!(report.lost.is_empty(), "{report:?}");
}
