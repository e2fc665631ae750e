//! Threads of the agent that panic or cannot start: the agent says so, and what
//! the other threads have is not lost.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;
use umbra_capture::{AgentError, SpoolConfig, Stats};
use umbra_log::{Append, Appender, Entry, LogError, Loss, Position, Rejected};
use umbra_record::pb::record::Body;

use super::harness::{Agent, Client, Server, TestLog, config, signal, until};

/// A log whose use is a panic, on one thread, once it is told so.
struct Fatal {
    inner: Arc<Appender>,
    thread: &'static str,
    armed: Arc<AtomicBool>,
    /// Threads that have recorded requests.
    serving: Arc<Mutex<BTreeSet<String>>>,
}

impl Append for Fatal {
    fn partitions(&self) -> u32 {
        self.inner.partitions()
    }

    fn enqueue(&self, entry: &Entry<'_>) -> Result<Position, Rejected> {
        let (current, kind) = (std::thread::current(), entry.headers[0].1);
        let name = current.name().unwrap();
        if kind == b"request" {
            self.serving.lock().unwrap().insert(name.to_owned());
        }
        let fatal = name == self.thread && kind == b"mark" && self.armed.load(Ordering::SeqCst);
        assert!(!fatal, "as the test wants it");
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

/// Lanes that ended with Marks in all partitions.
fn ended_lanes(records: &[(u32, umbra_record::pb::Record)]) -> Vec<u32> {
    let finals = |lane| {
        let is_final = |body: &Option<Body>| matches!(body, Some(Body::Mark(m)) if m.r#final);
        records.iter().filter(|(_, r)| r.lane == lane && is_final(&r.body)).count()
    };
    (0..3).filter(|lane| finals(*lane) == 4).collect()
}

#[test]
fn a_thread_that_panics_ends_the_agent_after_the_others_are_drained() {
    for (thread, dead) in [("capture-0", 0), ("recorder", 2)] {
        let (go, wait) = signal();
        let upstream = Server::start(move |client, server| {
            while let Some(request) = client.request(server) {
                if request.path == "/slow" {
                    wait();
                }
                client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
        });
        let (log, armed) = (TestLog::new(), Arc::new(AtomicBool::new(false)));
        let serving = Arc::<Mutex<BTreeSet<String>>>::default();
        let fatal = Fatal {
            inner: Arc::clone(&log.appender),
            thread,
            armed: Arc::clone(&armed),
            serving: Arc::clone(&serving),
        };
        let agent = Agent::start_with(upstream.address, log, Arc::new(fatal), |config| {
            config.mark_every = Duration::from_millis(20);
        });
        let mut clients = Vec::new();
        until("both threads have a request running", || {
            let mut client = agent.connect();
            client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
            clients.push(client);
            until("it runs", || agent.stats.snapshot().recorded == clients.len() as u64);
            serving.lock().unwrap().len() == 2
        });
        let all = clients.len();
        assert!(!agent.stop.is_cancelled());
        armed.store(true, Ordering::SeqCst);
        let address = agent.address;
        until("nobody listens any more", || std::net::TcpStream::connect(address).is_err());
        (0..all).for_each(|_| go());
        let answered =
            clients.iter_mut().map(|client| client.try_answer(false)).filter(Result::is_ok).count();
        assert!(!agent.stop.is_cancelled(), "the caller's own signal is the caller's");
        let (error, records) = agent.failed();
        assert!(error.to_string().contains(thread), "{error}");
        let AgentError::Panicked { thread: named, report } = error else {
            panic!("{error}");
        };
        assert_eq!((named.as_str(), report.requests), (thread, all as u64));
        let alive: Vec<_> = (0..3).filter(|lane| *lane != dead).collect();
        assert_eq!(ended_lanes(&records), alive);
        assert!(answered > 0, "no other thread was drained");
        if dead == 2 {
            assert_eq!(answered, all);
        }
    }
}

#[test]
fn an_agent_without_descriptors_for_its_threads_does_not_start() {
    // The limit is one of the process, so the agent gets a process of its own.
    let output = Command::new("/proc/self/exe")
        .args(["--exact", "agent::threads::alone_without_descriptors", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "a part of another test, which needs a process of its own"]
fn alone_without_descriptors() {
    let upstream = Server::echo();
    let log = TestLog::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = Client::connect(listener.local_addr().unwrap());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let used = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let maximum = getrlimit(Resource::Nofile).maximum;
    // Enough for one thread, not for four.
    setrlimit(Resource::Nofile, Rlimit { current: Some(used + 10), maximum }).unwrap();
    let mut config = config(upstream.address);
    config.threads = 4;
    let stats = Stats::default();
    let appender = Arc::clone(&log.appender);
    let failed = umbra_capture::run(
        config,
        vec![listener.into()],
        appender,
        stats,
        CancellationToken::new(),
    )
    .unwrap_err();
    let AgentError::Start { thread, error } = &failed else { panic!("{failed}") };
    assert!(thread.starts_with("capture-"), "{thread}");
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::MFILE.raw_os_error()));
    // Nobody took the request that was waiting, and the log knows of no agent.
    assert!(client.try_answer(false).is_err());
    assert!(upstream.heads().is_empty());
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    assert!(log.read().is_empty());
}

#[test]
fn a_spool_that_cannot_be_keeps_an_agent_from_starting_only_if_it_is_required() {
    let upstream = Server::echo();
    let file = tempfile::NamedTempFile::new().unwrap();
    let spool = |required| SpoolConfig {
        dir: file.path().to_owned(),
        required,
        max_bytes: 1 << 20,
        log: "log".to_owned(),
        stall: Duration::from_secs(5),
        queue_bytes: 1 << 16,
        window_bytes: 1 << 16,
    };
    let refused = Agent::start(upstream.address, |config| config.spool = Some(spool(true)));
    let (error, records) = refused.failed();
    assert!(matches!(error, AgentError::Spool { .. }), "{error}");
    assert!(records.is_empty());

    let agent = Agent::start(upstream.address, |config| config.spool = Some(spool(false)));
    agent.connect().get("/");
    let ended = agent.end();
    assert_eq!((ended.report.recorded, ended.report.spooled), (1, 0));
}
