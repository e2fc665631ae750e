//! Whatever becomes of the log or the budget: clients notice nothing, and every
//! request is recorded or counted with a reason.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use umbra_log::{Append, Appender, Entry, LogError, Loss, Position, Rejected};
use umbra_record::pb::{Completeness, record::Body};

use super::harness::{Agent, Server, TestLog, noise, until};

type Rule = Box<dyn Fn(&Entry<'_>) -> Option<Rejected> + Send + Sync>;

/// A log that takes what a rule does not reject.
struct Picky {
    inner: Arc<Appender>,
    rule: Rule,
}

impl Append for Picky {
    fn partitions(&self) -> u32 {
        self.inner.partitions()
    }

    fn enqueue(&self, entry: &Entry<'_>) -> Result<Position, Rejected> {
        match (self.rule)(entry) {
            Some(rejected) => Err(rejected),
            None => self.inner.enqueue(entry),
        }
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

fn kind<'a>(entry: &Entry<'a>) -> &'a [u8] {
    entry.headers[0].1
}

fn start(
    upstream: &Server,
    rule: impl Fn(&Entry<'_>) -> Option<Rejected> + Send + Sync + 'static,
    change: impl FnOnce(&mut umbra_capture::Config),
) -> Agent {
    let log = TestLog::new();
    let picky = Picky { inner: Arc::clone(&log.appender), rule: Box::new(rule) };
    Agent::start_with(upstream.address, log, Arc::new(picky), change)
}

/// A rule that is in force while the switch is on.
fn full_while(switch: &Arc<AtomicBool>) -> impl Fn(&Entry<'_>) -> Option<Rejected> + use<> {
    let switch = Arc::clone(switch);
    move |_| switch.load(Ordering::SeqCst).then_some(Rejected::Full)
}

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[test]
fn while_the_log_is_full_requests_go_on_and_a_gap_tells_of_them() {
    let full = Arc::new(AtomicBool::new(false));
    let upstream = Server::echo();
    let agent = start(&upstream, full_while(&full), |_| {});
    let mut client = agent.connect();
    assert_eq!(client.get("/before").status, 200);
    until("it is recorded", || agent.stats.snapshot().recorded == 1);
    full.store(true, Ordering::SeqCst);
    for _ in 0..25 {
        assert_eq!(client.get("/during").status, 200);
    }
    full.store(false, Ordering::SeqCst);
    assert_eq!(client.get("/after").status, 200);
    let ended = agent.end();
    assert_eq!((ended.report.recorded, ended.lost("log_full")), (2, 25));
    let gaps = ended.gaps();
    let before = ended.request("/before").start_ns;
    let after = ended.request("/after").start_ns;
    for gap in gaps {
        assert_eq!((gap.reason.as_str(), gap.ranges.len()), ("log_full", 0));
        assert!(before < gap.from_ns && gap.from_ns <= gap.to_ns && gap.to_ns < after);
    }
}

#[test]
fn a_body_over_the_budget_is_given_up_and_passes_all_the_same() {
    let upstream = Server::echo();
    let agent = Agent::start(upstream.address, |config| config.memory = 200_000);
    let noise = noise(1_000_000);
    let mut client = agent.connect();
    assert_eq!(client.get("/small").status, 200);
    for n in 0..5 {
        client.send(post(&format!("/{n}"), &noise));
        assert_eq!(client.answer().body, format!("/{n} 1000000").into_bytes());
    }
    client.send(post("/fits", &noise[..20_000]));
    assert_eq!(client.answer().status, 200);
    let ended = agent.end();
    assert_eq!((ended.report.recorded, ended.lost("tee_full")), (2, 5));
    assert_eq!(ended.responses().len(), 2, "answers to requests nobody has");
    assert!(ended.body(ended.request("/fits")) == noise[..20_000]);
}

#[test]
fn large_bodies_wait_for_the_log_within_the_budget_only() {
    let full = Arc::new(AtomicBool::new(true));
    let upstream = Server::echo();
    let agent = start(&upstream, full_while(&full), |config| config.memory = 3_000_000);
    let noise = noise(500_000);
    let mut client = agent.connect();
    for n in 0..20 {
        client.send(post(&format!("/{n}"), &noise));
        assert_eq!(client.answer().status, 200);
        assert!(agent.stats.snapshot().tee_bytes <= 3_000_000);
    }
    full.store(false, Ordering::SeqCst);
    until("the backlog is written", || {
        let now = agent.stats.snapshot();
        now.recorded + now.lost.values().sum::<u64>() == 20
    });
    client.send(post("/last", &noise));
    assert_eq!(client.answer().status, 200);
    let ended = agent.end();
    // What fitted is there whole, what did not is counted.
    assert!(ended.report.recorded >= 3, "{:?}", ended.report);
    assert_eq!(ended.report.recorded + ended.lost("tee_full"), 21);
    for request in ended.requests() {
        assert!(ended.body(request) == noise);
    }
    ended.request("/last");
}

#[test]
fn what_the_log_never_takes_is_counted_as_too_large() {
    let upstream = Server::echo();
    let limit = 30_000;
    let rule = move |entry: &Entry<'_>| {
        let size = entry.payload.len();
        (size > limit).then_some(Rejected::TooLarge { size, limit })
    };
    let agent = start(&upstream, rule, |_| {});
    let mut client = agent.connect();
    for size in [10, 40_000, 100_000, 20] {
        client.send(post("/x", &noise(size)));
        assert_eq!(client.answer().status, 200);
    }
    let ended = agent.end();
    assert_eq!((ended.report.recorded, ended.lost("too_large")), (2, 2));
}

#[test]
fn a_body_whose_parts_do_not_fit_is_closed_and_counted() {
    let upstream = Server::echo();
    // Takes the request and two parts.
    let parts = AtomicU64::new(0);
    let rule = move |entry: &Entry<'_>| {
        let is_data = kind(entry) == b"part" && entry.payload.len() > 1000;
        (is_data && parts.fetch_add(1, Ordering::SeqCst) >= 2)
            .then_some(Rejected::TooLarge { size: entry.payload.len(), limit: 1 })
    };
    let agent = start(&upstream, rule, |config| config.max_record_body = 50_000);
    let mut client = agent.connect();
    client.send(post("/p", &noise(300_000)));
    assert_eq!(client.answer().status, 200);
    let ended = agent.end();
    assert_eq!((ended.report.recorded, ended.lost("too_large")), (0, 1));
    let request = ended.request("/p");
    assert_eq!(request.parts, 5);
    let written = ended.parts(&request.id);
    assert_eq!(written.len(), 3);
    assert!(written[2].aborted && !written[2].last && written[2].data.is_empty());
    assert_eq!((written[2].index, written[2].completeness()), (2, Completeness::Aborted));
}

/// A log that accepts everything and later says that it lost some of it.
struct Lossy {
    inner: Arc<Appender>,
    state: Mutex<LossyState>,
    /// Of which request records.
    every: u64,
}

#[derive(Default)]
struct LossyState {
    numbers: Vec<u64>,
    requests: u64,
    losses: Vec<Loss>,
}

impl Append for Lossy {
    fn partitions(&self) -> u32 {
        self.inner.partitions()
    }

    fn enqueue(&self, entry: &Entry<'_>) -> Result<Position, Rejected> {
        let mut state = self.state.lock().unwrap();
        let at = entry.partition as usize;
        if state.numbers.len() <= at {
            state.numbers.resize(at + 1, 0);
        }
        state.numbers[at] += 1;
        let number = state.numbers[at];
        if kind(entry) == b"request" {
            state.requests += 1;
            if state.requests.is_multiple_of(self.every) {
                state.losses.push(Loss {
                    partition: entry.partition,
                    first: number,
                    last: number,
                    weight: u64::from(entry.weight),
                    reason: "log_failed",
                });
                return Ok(Position { partition: entry.partition, number });
            }
        }
        self.inner.enqueue(entry)?;
        Ok(Position { partition: entry.partition, number })
    }

    fn durable(&self, partition: u32) -> u64 {
        self.state.lock().unwrap().numbers.get(partition as usize).copied().unwrap_or(0)
    }

    fn losses(&self) -> Vec<Loss> {
        std::mem::take(&mut self.state.lock().unwrap().losses)
    }

    async fn flush(&self, deadline: Duration) -> Result<(), LogError> {
        self.inner.flush(deadline).await
    }
}

#[test]
fn what_the_log_loses_after_accepting_it_is_told_with_its_sequences() {
    let upstream = Server::echo();
    let log = TestLog::new();
    let lossy = Lossy { inner: Arc::clone(&log.appender), state: Mutex::default(), every: 7 };
    let agent = Agent::start_with(upstream.address, log, Arc::new(lossy), |_| {});
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let address = agent.address;
            std::thread::spawn(move || {
                let mut client = super::harness::Client::connect(address);
                for n in 0..50 {
                    assert_eq!(client.get(&format!("/{n}")).status, 200);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    let ended = agent.end_unchecked();
    assert_eq!((ended.report.recorded, ended.lost("log_failed")), (200 - 28, 28));
    ended.check_sums();
    // The holes in the sequences are those the gaps tell.
    let mut holes = BTreeSet::new();
    let mut last = std::collections::BTreeMap::new();
    for (partition, record) in &ended.records {
        let last = last.entry((record.lane, *partition)).or_insert(0);
        holes.extend((*last + 1..record.sequence).map(|hole| (record.lane, *partition, hole)));
        *last = record.sequence;
    }
    let told: BTreeSet<_> = ended
        .gaps()
        .iter()
        .flat_map(|gap| &gap.ranges)
        .flat_map(|range| (range.first..=range.last).map(|one| (range.lane, range.partition, one)))
        .collect();
    assert_eq!(holes.len(), 28);
    assert_eq!(holes, told);
}

/// A log on which nothing becomes durable.
struct Stuck(Arc<Appender>);

impl Append for Stuck {
    fn partitions(&self) -> u32 {
        self.0.partitions()
    }

    fn enqueue(&self, entry: &Entry<'_>) -> Result<Position, Rejected> {
        self.0.enqueue(entry)
    }

    fn durable(&self, _: u32) -> u64 {
        0
    }

    fn losses(&self) -> Vec<Loss> {
        Vec::new()
    }

    async fn flush(&self, deadline: Duration) -> Result<(), LogError> {
        self.0.flush(deadline).await?;
        Err(LogError::Deadline("stuck".to_owned()))
    }
}

#[test]
fn what_is_not_durable_at_the_end_is_not_recorded() {
    let upstream = Server::echo();
    let log = TestLog::new();
    let stuck = Arc::new(Stuck(Arc::clone(&log.appender)));
    let agent = Agent::start_with(upstream.address, log, stuck, |_| {});
    let mut client = agent.connect();
    for _ in 0..10 {
        client.get("/");
    }
    client.send(post("/large", &noise(200_000)));
    client.answer();
    let ended = agent.end();
    assert_eq!((ended.report.recorded, ended.lost("not_flushed")), (0, 11));
}

#[test]
fn an_agent_ends_in_time_although_the_log_takes_nothing() {
    let upstream = Server::echo();
    let agent = start(
        &upstream,
        |_| Some(Rejected::Full),
        |config| {
            config.drain = Duration::from_millis(800);
        },
    );
    let mut client = agent.connect();
    client.get("/small");
    client.send(post("/large", &noise(300_000)));
    assert_eq!(client.answer().status, 200);
    let started = std::time::Instant::now();
    let ended = agent.end_unchecked();
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!((ended.report.requests, ended.lost("log_full")), (2, 2));
    assert!(ended.records.is_empty());
}

#[test]
fn an_open_request_that_outgrows_the_budget_is_closed_and_counted() {
    let upstream = Server::echo();
    let agent = Agent::start(upstream.address, |config| {
        config.memory = 100_000;
        config.open_after = Duration::from_millis(50);
    });
    let noise = noise(1_000_000);
    let mut client = agent.connect();
    client.send("POST /o HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nx");
    until("it is written", || agent.stats.snapshot().recorded == 1);
    client.send(&noise[1..]);
    assert_eq!(client.answer().status, 200);
    let ended = agent.end();
    assert_eq!((ended.report.recorded, ended.lost("tee_full")), (0, 1));
    let request = ended.request("/o");
    let last = *ended.parts(&request.id).last().unwrap();
    assert!(last.aborted);
    // Both lanes' sums hold although the loss came after the record.
    assert!(ended.records.iter().all(|(_, record)| match &record.body {
        Some(Body::Mark(mark)) => mark.recorded <= 1,
        _ => true,
    }));
}
