//! Whatever becomes of the log or the budget: clients notice nothing, and every
//! request is recorded or counted with a reason.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use umbra_log::{Append, Appender, Entry, LogError, Loss, Position, Rejected};
use umbra_record::pb::{Completeness, record::Body};

use super::harness::{Agent, Client, Ended, PATIENCE, Server, TestLog, noise, until};

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
fn what_finds_the_log_full_for_a_while_is_recorded_later_and_in_order() {
    let full = Arc::new(AtomicBool::new(false));
    let upstream = Server::echo();
    let agent = start(&upstream, full_while(&full), |_| {});
    let mut client = agent.connect();
    full.store(true, Ordering::SeqCst);
    for _ in 0..25 {
        assert_eq!(client.get("/during").status, 200);
    }
    full.store(false, Ordering::SeqCst);
    assert_eq!(client.get("/after").status, 200);
    let ended = agent.end();
    assert_eq!((ended.report.recorded, ended.report.lost.len()), (26, 0));
}

#[test]
fn while_the_log_is_full_requests_go_on_and_a_gap_tells_of_them() {
    let full = Arc::new(AtomicBool::new(false));
    let upstream = Server::echo();
    // No budget: nothing can wait for the log.
    let agent = start(&upstream, full_while(&full), |config| config.memory = 512);
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
    /// Why an entry is lost, given how many of its kind came before.
    loses: Loses,
    /// What becomes of an entry is known so much later.
    after: Duration,
}

type Loses = Box<dyn Fn(&Entry<'_>, u64) -> Option<&'static str> + Send + Sync>;

#[derive(Default)]
struct LossyState {
    numbers: Vec<u64>,
    kinds: BTreeMap<Vec<u8>, u64>,
    /// What is not known yet: when it came, where, and how it is lost.
    coming: VecDeque<(Instant, Position, Option<Loss>)>,
    durable: Vec<u64>,
    losses: Vec<Loss>,
}

impl Lossy {
    fn new(
        log: &TestLog,
        loses: impl Fn(&Entry<'_>, u64) -> Option<&'static str> + Send + Sync + 'static,
    ) -> Self {
        Self {
            inner: Arc::clone(&log.appender),
            state: Mutex::default(),
            loses: Box::new(loses),
            after: Duration::ZERO,
        }
    }

    /// Its state after what has become known by now.
    fn state(&self) -> MutexGuard<'_, LossyState> {
        let mut state = self.state.lock().unwrap();
        while state.coming.front().is_some_and(|coming| coming.0.elapsed() >= self.after) {
            let (_, position, loss) = state.coming.pop_front().unwrap();
            state.losses.extend(loss);
            let at = position.partition as usize;
            let partitions = state.durable.len().max(at + 1);
            state.durable.resize(partitions, 0);
            state.durable[at] = position.number;
        }
        state
    }
}

impl Append for Lossy {
    fn partitions(&self) -> u32 {
        self.inner.partitions()
    }

    fn enqueue(&self, entry: &Entry<'_>) -> Result<Position, Rejected> {
        let mut state = self.state();
        let at = entry.partition as usize;
        let nth = state.kinds.entry(kind(entry).to_vec()).or_default();
        let loss = (self.loses)(entry, *nth);
        *nth += 1;
        if loss == Some("reject") {
            let size = entry.payload.len();
            return Err(Rejected::TooLarge { size, limit: 0 });
        }
        if loss.is_none() {
            self.inner.enqueue(entry)?;
        }
        let partitions = state.numbers.len().max(at + 1);
        state.numbers.resize(partitions, 0);
        state.numbers[at] += 1;
        let (partition, number) = (entry.partition, state.numbers[at]);
        let weight = u64::from(entry.weight);
        let loss =
            loss.map(|reason| Loss { partition, first: number, last: number, weight, reason });
        let position = Position { partition, number };
        state.coming.push_back((Instant::now(), position, loss));
        Ok(position)
    }

    fn durable(&self, partition: u32) -> u64 {
        self.state().durable.get(partition as usize).copied().unwrap_or(0)
    }

    fn losses(&self) -> Vec<Loss> {
        std::mem::take(&mut self.state().losses)
    }

    async fn flush(&self, deadline: Duration) -> Result<(), LogError> {
        self.inner.flush(deadline).await
    }
}

/// Runs an agent on such a log, and sends it so many requests on each of four
/// connections.
fn run_lossy(lossy: impl FnOnce(&TestLog) -> Lossy, requests: usize) -> Ended {
    let upstream = Server::echo();
    let log = TestLog::new();
    let lossy = lossy(&log);
    let agent = Agent::start_with(upstream.address, log, Arc::new(lossy), |_| {});
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let address = agent.address;
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                for n in 0..requests {
                    assert_eq!(client.get(&format!("/{n}")).status, 200);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    agent.end_unchecked()
}

/// The holes in the sequences are those the gaps tell; so many.
fn check_holes(ended: &Ended) -> usize {
    let mut here = BTreeMap::<_, BTreeSet<u64>>::new();
    for (partition, record) in &ended.records {
        here.entry((record.lane, *partition)).or_default().insert(record.sequence);
    }
    let told: BTreeSet<_> = ended
        .gaps()
        .iter()
        .flat_map(|gap| &gap.ranges)
        .flat_map(|range| (range.first..=range.last).map(|one| (range.lane, range.partition, one)))
        .collect();
    let holes: BTreeSet<_> = here
        .iter()
        .flat_map(|(place, seen)| {
            let all = 1..=*seen.last().unwrap();
            all.filter(|one| !seen.contains(one)).map(|one| (place.0, place.1, one))
        })
        .collect();
    assert_eq!(holes, told);
    holes.len()
}

/// The last Marks tell the same as the report.
fn check_final_marks(ended: &Ended) {
    let mut finals = BTreeMap::new();
    for (_, record) in &ended.records {
        if let Some(Body::Mark(mark)) = &record.body
            && mark.r#final
        {
            finals.insert(record.lane, mark);
        }
    }
    assert_eq!(finals.len(), 3, "not every lane has ended");
    assert_eq!(finals.values().map(|mark| mark.recorded).sum::<u64>(), ended.report.recorded);
}

#[test]
fn what_the_log_loses_after_accepting_it_is_told_with_its_sequences() {
    let is_lost = |entry: &Entry<'_>, nth: u64| {
        (kind(entry) == b"request" && nth % 7 == 6).then_some("log_failed")
    };
    let ended = run_lossy(|log| Lossy::new(log, is_lost), 50);
    assert_eq!((ended.report.recorded, ended.lost("log_failed")), (200 - 28, 28));
    ended.check_sums();
    assert_eq!(check_holes(&ended), 28);
    check_final_marks(&ended);
}

#[test]
fn a_gap_that_is_lost_itself_is_told_again() {
    // The first Gaps go the way of what they tell, and some of the next.
    let is_lost = |entry: &Entry<'_>, nth: u64| match kind(entry) {
        b"request" if nth % 7 == 6 => Some("log_failed"),
        b"gap" if nth < 6 || nth == 8 => Some("not_authorized"),
        _ => None,
    };
    let ended = run_lossy(|log| Lossy::new(log, is_lost), 50);
    assert_eq!((ended.report.recorded, ended.lost("log_failed")), (200 - 28, 28));
    assert_eq!(ended.lost("not_authorized"), 0);
    ended.check_sums();
    assert!(check_holes(&ended) >= 28 + 6);
    check_final_marks(&ended);
}

#[test]
fn losses_that_become_known_late_are_told_before_the_final_marks() {
    let is_lost = |entry: &Entry<'_>, nth: u64| match kind(entry) {
        b"request" if nth % 7 == 6 => Some("log_failed"),
        b"gap" if nth == 0 => Some("log_failed"),
        _ => None,
    };
    let after = Duration::from_millis(600);
    let ended = run_lossy(|log| Lossy { after, ..Lossy::new(log, is_lost) }, 50);
    assert_eq!((ended.report.recorded, ended.lost("log_failed")), (200 - 28, 28));
    ended.check_sums();
    assert_eq!(check_holes(&ended), 29);
    check_final_marks(&ended);
}

#[test]
fn a_gap_above_the_record_limit_is_told_in_pieces_and_holds_nothing_up() {
    for reason in ["reject", "too_large"] {
        // Every second request is lost, and no Gap may tell of more than some.
        let is_lost = move |entry: &Entry<'_>, nth: u64| match kind(entry) {
            b"request" if nth % 2 == 1 => Some("log_failed"),
            b"gap" if entry.payload.len() > 200 => Some(reason),
            _ => None,
        };
        let started = Instant::now();
        let ended = run_lossy(|log| Lossy::new(log, is_lost), 100);
        assert!(started.elapsed() < PATIENCE, "it waited for the deadline");
        assert_eq!((ended.report.recorded, ended.lost("log_failed")), (200, 200));
        ended.check_sums();
        assert!(check_holes(&ended) >= 200);
        check_final_marks(&ended);
    }
}

#[test]
fn gaps_without_room_for_ranges_still_tell_how_many() {
    let is_lost = |entry: &Entry<'_>, nth: u64| match kind(entry) {
        b"request" if nth % 2 == 1 => Some("log_failed"),
        b"gap" => {
            let record = umbra_record::decode::decode(entry.payload.to_vec().into()).unwrap();
            let has_ranges = matches!(&record.body, Some(Body::Gap(gap)) if !gap.ranges.is_empty());
            has_ranges.then_some("reject")
        }
        _ => None,
    };
    let ended = run_lossy(|log| Lossy::new(log, is_lost), 50);
    ended.check_sums();
    assert!(ended.gaps().iter().all(|gap| gap.ranges.is_empty()));
    check_final_marks(&ended);
}

#[test]
fn a_request_whose_parts_are_lost_is_lost_once() {
    let upstream = Server::echo();
    let log = TestLog::new();
    // Of the first request two parts, of the second one, of the third none.
    let is_lost = |entry: &Entry<'_>, nth: u64| {
        (kind(entry) == b"part" && [1, 3, 5].contains(&nth)).then_some("log_failed")
    };
    let lossy = Lossy::new(&log, is_lost);
    let agent = Agent::start_with(upstream.address, log, Arc::new(lossy), |config| {
        config.max_record_body = 20_000;
    });
    let mut client = agent.connect();
    for n in 0..3 {
        // A request's record and four parts.
        client.send(post(&format!("/{n}"), &noise(100_000)));
        assert_eq!(client.answer().status, 200);
    }
    let ended = agent.end_unchecked();
    assert_eq!((ended.report.recorded, ended.lost("log_failed")), (1, 2));
    ended.check_sums();
    assert_eq!(check_holes(&ended), 3);
    check_final_marks(&ended);
    assert!(ended.body(ended.request("/2")) == noise(100_000));
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
    let agent = Agent::start_with(upstream.address, log, stuck, |config| {
        config.drain = Duration::from_secs(1);
    });
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
    until("it is written", || agent.stats.snapshot().accepted == 1);
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
