//! Spools in front of a log that is full, late or lossy on demand.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use umbra_log::{AppendTimes, Loss, Position, Rejected, Returned};
use umbra_record::{
    decode::decode,
    encode::Envelope,
    id,
    pb::{self, record::Body},
};

use super::{
    drain::{Drain, Fed},
    store::Store,
    *,
};
use crate::{
    drain::Deadline,
    lane::{Losses, Outlet, Queue},
};

const AGENT: [u8; 16] = [7; 16];
const LANES: u32 = 3;

/// A log in memory.
#[derive(Debug, Default)]
struct Memory(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Takes nothing.
    full: bool,
    /// Takes, and makes nothing durable.
    late: bool,
    waiting: Duration,
    /// Largest payload taken; 0: any.
    limit: usize,
    /// The record at this position is lost.
    loses: Option<u64>,
    losses: Vec<Loss>,
    entries: Vec<pb::Record>,
    durable: u64,
}

impl Memory {
    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.0));
    }

    fn records(&self) -> Vec<pb::Record> {
        lock(&self.0).entries.clone()
    }

    fn sequences(&self, lane: u32) -> Vec<u64> {
        self.records().iter().filter(|one| one.lane == lane).map(|one| one.sequence).collect()
    }
}

impl Queue for Memory {
    fn partitions(&self) -> u32 {
        1
    }

    fn enqueue(&self, entry: &Entry<'_>) -> Result<Position, Rejected> {
        self.fits(entry)?;
        let mut state = lock(&self.0);
        if state.full {
            return Err(Rejected::Full);
        }
        state.entries.push(decode(entry.payload.to_vec().into()).unwrap());
        let number = state.entries.len() as u64;
        if state.loses == Some(number) {
            let loss =
                Loss { partition: 0, first: number, last: number, weight: 1, reason: "log_failed" };
            state.losses.push(loss);
        }
        if !state.late {
            state.durable = number;
        }
        Ok(Position { partition: 0, number })
    }

    fn durable(&self, _: u32) -> u64 {
        let mut state = lock(&self.0);
        if !state.late {
            state.durable = state.entries.len() as u64;
        }
        state.durable
    }

    fn losses(&self) -> Vec<Loss> {
        std::mem::take(&mut lock(&self.0).losses)
    }

    fn waiting(&self) -> Duration {
        lock(&self.0).waiting
    }

    fn times(&self) -> Option<AppendTimes> {
        None
    }

    fn fits(&self, entry: &Entry<'_>) -> Result<(), Rejected> {
        let (size, limit) = (entry.payload.len(), lock(&self.0).limit);
        if limit > 0 && size > limit {
            return Err(Rejected::TooLarge { size, limit });
        }
        Ok(())
    }
}

/// An agent's way into the log, without the agent.
struct Rig {
    outlet: Outlet,
    spool: Arc<Spool>,
    memory: Arc<Memory>,
    thread: JoinHandle<Worker>,
    deadline: Deadline,
}

fn config(dir: &Path) -> SpoolConfig {
    SpoolConfig {
        dir: dir.to_owned(),
        required: true,
        max_bytes: 64 << 20,
        log: "log".to_owned(),
        stall: Duration::from_secs(5),
        queue_bytes: 1 << 20,
        window_bytes: 1 << 20,
    }
}

impl Rig {
    fn start(config: &SpoolConfig, agent: [u8; 16]) -> Self {
        let memory = Arc::<Memory>::default();
        let log: Arc<dyn Queue> = Arc::<Memory>::clone(&memory);
        let spool = Spool::new(config, LANES);
        let losses = Arc::new(Losses::new(LANES + 1));
        let deadline = Deadline::default();
        let worker = Worker::new(
            config.clone(),
            Arc::clone(&spool),
            Arc::clone(&log),
            (Arc::clone(&losses), LANES),
            agent,
            deadline.clone(),
        );
        let worker = worker.unwrap();
        let thread = std::thread::spawn(move || worker.run());
        let outlet = Outlet { log, spool: Some(Arc::clone(&spool)), losses };
        Self { outlet, spool, memory, thread, deadline }
    }

    fn send(&self, lane: u32, sequence: u64) -> Result<(), NotTaken> {
        self.send_bytes(Kind::Request, lane, sequence, 200)
    }

    fn send_bytes(
        &self,
        kind: Kind,
        lane: u32,
        sequence: u64,
        bytes: usize,
    ) -> Result<(), NotTaken> {
        let payload = payload(AGENT, lane, sequence, bytes);
        self.outlet.take(&entry(&payload), kind, lane, sequence).map(drop)
    }

    /// Everything is in the log, and new records go there.
    fn drained(&self) {
        until("it is drained", || !self.spool.is_active());
    }

    /// Leaves everything as kill -9 does, but for the lock, which goes with what is
    /// returned.
    fn kill(self) -> Worker {
        self.deadline.set(Duration::ZERO);
        self.spool.close();
        self.thread.join().unwrap()
    }

    fn end(self) -> Worker {
        self.deadline.set(Duration::from_secs(20));
        self.spool.close();
        self.thread.join().unwrap()
    }
}

fn payload(agent: [u8; 16], lane: u32, sequence: u64, bytes: usize) -> Vec<u8> {
    let mut payload = Vec::new();
    let (id, path) = (vec![1; 16].into(), vec![b'x'; bytes].into());
    let method = b"GET".to_vec().into();
    let request = pb::Request { id, method, path, ..Default::default() };
    let record = pb::Record { body: Some(Body::Request(request)), ..Default::default() };
    umbra_record::encode::record(&record, &mut payload);
    Envelope { agent, lane, key: &[], sequence }.encode(&mut payload);
    payload
}

fn entry(payload: &[u8]) -> Entry<'_> {
    Entry { partition: 0, time_ns: 1, key: &[], headers: &[], payload, weight: 1 }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Directories of agents.
fn dirs(root: &Path) -> usize {
    fs::read_dir(root).unwrap().count()
}

fn segments(root: &Path, agent: [u8; 16]) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join(id::text(&agent))).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "spool"));
    paths.sort();
    paths
}

#[test]
fn lanes_keep_their_order_through_the_spool_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(&config(dir.path()), AGENT);
    let count = 20_000;
    std::thread::scope(|scope| {
        for lane in 0..LANES {
            let rig = &rig;
            scope.spawn(move || {
                for sequence in 1..=count {
                    until("there is room", || match rig.send(lane, sequence) {
                        Err(not) if not.later => false,
                        sent => sent.map(|()| true).unwrap(),
                    });
                }
            });
        }
        // Full at times, whatever the lanes are doing.
        for _ in 0..30 {
            rig.memory.set(|log| log.full = !log.full);
            std::thread::park_timeout(Duration::from_millis(2));
        }
        rig.memory.set(|log| log.full = false);
    });
    rig.drained();
    for lane in 0..LANES {
        assert!(rig.memory.sequences(lane).into_iter().eq(1..=count), "lane {lane}");
    }
    // What went through the spool was seen there; nothing is left of it.
    assert!(rig.spool.written() > 0);
    let kept = rig.end().keep(&[]);
    assert_eq!((kept.records, dirs(dir.path())), (0, 0));
}

#[test]
fn a_log_that_is_late_is_left_alone_until_it_has_caught_up() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(&config(dir.path()), AGENT);
    rig.memory.set(|log| {
        log.waiting = Duration::from_secs(6);
        log.late = true;
    });
    until("the spool is used", || rig.spool.is_holding());
    for sequence in 1..=10 {
        rig.send(0, sequence).unwrap();
    }
    until("it is written", || rig.spool.written() == 10);
    assert!(rig.memory.records().is_empty());
    rig.memory.set(|log| {
        log.waiting = Duration::ZERO;
        log.late = false;
    });
    rig.drained();
    assert!(rig.memory.sequences(0).into_iter().eq(1..=10));
    assert_eq!(rig.end().keep(&[]).records, 0);
}

#[test]
fn what_a_dead_agent_left_is_drained_by_the_next_but_for_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(&config(dir.path()), AGENT);
    rig.memory.set(|log| log.full = true);
    for sequence in 1..=100 {
        rig.send(1, sequence).unwrap();
    }
    until("it is written", || rig.spool.written() == 100);
    // As kill -9 leaves it: nothing is told, the lock is gone; the last write torn.
    drop(rig.kill());
    let segment = segments(dir.path(), AGENT).pop().unwrap();
    let file = fs::File::options().write(true).open(&segment).unwrap();
    file.set_len(file.metadata().unwrap().len() - 3).unwrap();

    let next = Rig::start(&config(dir.path()), [9; 16]);
    until("it is drained", || next.memory.records().len() == 99);
    until("it is removed", || dirs(dir.path()) == 1);
    assert!(next.memory.sequences(1).into_iter().eq(1..=99));
    assert!(next.memory.records().iter().all(|record| record.agent[..] == AGENT));
    assert_eq!(next.spool.stats.damaged_bytes.load(Ordering::Relaxed), 0);
    next.end().keep(&[]);
    assert_eq!(dirs(dir.path()), 0);
}

#[test]
fn a_spool_of_another_log_or_a_living_agent_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let other = SpoolConfig { log: "other".to_owned(), ..config(dir.path()) };
    for (config, agent) in [(&other, [1; 16]), (&config(dir.path()), [2; 16])] {
        let rig = Rig::start(config, agent);
        rig.memory.set(|log| log.full = true);
        rig.send(0, 1).unwrap();
        until("it is written", || rig.spool.written() == 1);
        let worker = rig.kill();
        if agent == [2; 16] {
            // Still held.
            let next = Rig::start(config, [3; 16]);
            next.send(2, 1).unwrap();
            until("it has looked", || next.memory.records().len() == 1);
            drop(next.kill());
            assert_eq!(segments(dir.path(), agent).len(), 1);
        }
        drop(worker);
    }
    let next = Rig::start(&config(dir.path()), [4; 16]);
    until("its own are drained", || next.memory.records().len() == 1);
    drop(next.kill());
    assert_eq!(segments(dir.path(), [1; 16]).len(), 1);
}

#[test]
fn damage_is_passed_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(&config(dir.path()), AGENT);
    rig.memory.set(|log| log.full = true);
    for sequence in 1..=50 {
        rig.send(0, sequence).unwrap();
    }
    until("it is written", || rig.spool.written() == 50);
    drop(rig.kill());
    let segment = segments(dir.path(), AGENT).remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    let frame = bytes.len() / 50;
    // In the twelfth record, and the whole head of the thirtieth.
    bytes[11 * frame + frame / 2] ^= 1;
    bytes[29 * frame..29 * frame + 12].fill(0xff);
    fs::write(&segment, bytes).unwrap();

    let next = Rig::start(&config(dir.path()), [9; 16]);
    until("it is drained", || dirs(dir.path()) == 1);
    let expected = (1..=50).filter(|sequence| ![12, 30].contains(sequence));
    assert!(next.memory.sequences(0).into_iter().eq(expected));
    let damaged = next.spool.stats.damaged_bytes.load(Ordering::Relaxed);
    assert_eq!(damaged, 2 * frame as u64);
    next.end().keep(&[]);
}

#[test]
fn a_full_spool_takes_no_requests_and_still_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let config = SpoolConfig { max_bytes: 1 << 20, ..config(dir.path()) };
    let rig = Rig::start(&config, AGENT);
    rig.memory.set(|log| log.full = true);
    let mut last = 0;
    let refused = loop {
        match rig.send_bytes(Kind::Request, 0, last + 1, 10_000) {
            Ok(()) => last += 1,
            Err(not) if not.later => std::thread::yield_now(),
            Err(not) => break not,
        }
    };
    assert_eq!(refused.reason, "spool_full");
    assert!((80..110).contains(&last), "{last} records of 10 kB in a spool of 1 MiB");
    rig.send_bytes(Kind::Gap, 0, last + 1, 100).unwrap();
    until("it is written", || rig.spool.written() == last + 1);
    let used: u64 =
        segments(dir.path(), AGENT).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(used <= 1 << 20, "{used} bytes");
    rig.memory.set(|log| log.full = false);
    rig.drained();
    until("the disk is free again", || segments(dir.path(), AGENT).is_empty());
    rig.send(0, last + 2).unwrap();
    assert!(rig.memory.sequences(0).into_iter().eq(1..=last + 2));
    rig.end().keep(&[]);
}

#[test]
fn a_disk_that_fails_loses_what_it_was_given_and_tells() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(&config(dir.path()), AGENT);
    rig.memory.set(|log| log.full = true);
    fs::remove_dir_all(dir.path().join(id::text(&AGENT))).unwrap();
    rig.send(0, 1).unwrap();
    until("it has failed", || rig.spool.written() == 1);
    for lane in 0..LANES {
        let lost = rig.spool.lost(lane);
        assert_eq!(
            lost.iter().map(|lost| (lost.first, lost.last, lost.reason)).collect::<Vec<_>>(),
            [(1, 1, "disk")]
        );
    }
    assert_eq!(rig.send(0, 2).unwrap_err(), NotTaken { reason: "disk", later: false });
    // As soon as it can, it goes on.
    fs::create_dir(dir.path().join(id::text(&AGENT))).unwrap();
    until("it is tried again", || rig.send(0, 2).is_ok());
    rig.memory.set(|log| log.full = false);
    rig.drained();
    assert_eq!(rig.memory.sequences(0), [2]);
    drop(rig.kill());
}

#[test]
fn what_the_log_refuses_is_a_gap_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(&config(dir.path()), AGENT);
    rig.memory.set(|log| log.full = true);
    rig.send(0, 1).unwrap();
    rig.send_bytes(Kind::Request, 0, 2, 5000).unwrap();
    rig.send(0, 3).unwrap();
    until("it is written", || rig.spool.written() == 3);
    rig.memory.set(|log| {
        (log.full, log.limit, log.loses) = (false, 1000, Some(3));
    });
    rig.drained();
    until("the gap is told", || rig.memory.records().len() == 4);
    let records = rig.memory.records();
    let seen: Vec<_> = records
        .iter()
        .map(|record| match &record.body {
            Some(Body::Gap(gap)) => (record.sequence, gap.reason.as_str(), gap.requests),
            _ => (record.sequence, "", 0),
        })
        .collect();
    // The third was accepted, then lost, and told behind it.
    assert_eq!(seen, [(1, "", 0), (2, "too_large", 1), (3, "", 0), (3, "log_failed", 1)]);
    let refused = lock(&rig.spool.stats.refused).clone();
    assert_eq!(refused, BTreeMap::from([("too_large", 1), ("log_failed", 1)]));
    assert_eq!(rig.send_bytes(Kind::Request, 0, 4, 5000).unwrap_err().reason, "too_large");
    assert_eq!(rig.end().keep(&[]).records, 0);
}

#[test]
fn what_the_log_gives_back_comes_first() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(&config(dir.path()), AGENT);
    rig.memory.set(|log| log.late = true);
    rig.send(0, 1).unwrap();
    rig.send(0, 2).unwrap();
    rig.memory.set(|log| log.full = true);
    rig.send(0, 3).unwrap();
    until("it is written", || rig.spool.written() == 1);
    // The third is on its way too, the fourth is not.
    rig.memory.set(|log| log.full = false);
    rig.drained();
    rig.memory.set(|log| log.full = true);
    rig.send(0, 4).unwrap();
    until("it is written", || rig.spool.written() == 2);
    rig.memory.set(|log| log.waiting = Duration::from_secs(9));
    let given_back: Vec<Returned> = (1..=3).map(returned).collect();
    let kept = rig.end().keep(&given_back);
    assert!(kept.error.is_none());
    assert_eq!(kept.records, 4);
    let next = Rig::start(&config(dir.path()), [9; 16]);
    until("it is drained", || dirs(dir.path()) == 1);
    assert_eq!(next.memory.sequences(0), [1, 2, 3, 4]);
    next.end().keep(&[]);
}

fn returned(number: u64) -> Returned {
    Returned {
        position: Position { partition: 0, number },
        time_ns: 1,
        key: Vec::new(),
        headers: vec![("umbra-kind".to_owned(), b"request".to_vec())],
        payload: payload(AGENT, 0, number, 100),
        weight: 1,
    }
}

#[test]
fn what_the_log_gave_back_is_not_hidden_by_a_cursor_of_before() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(&config(dir.path()), AGENT);
    // An outage that is over: how far it was drained is written down.
    rig.memory.set(|log| log.full = true);
    rig.send(0, 1).unwrap();
    let cursor = dir.path().join(id::text(&AGENT)).join("cursor");
    until("its beginning is written down", || cursor.exists());
    let beginning = fs::read(&cursor).unwrap();
    rig.memory.set(|log| log.full = false);
    rig.drained();
    until("its end is written down", || fs::read(&cursor).unwrap() != beginning);
    let before = fs::read(&cursor).unwrap();
    // In the next one the process ends behind the segment and before the cursor.
    rig.memory.set(|log| (log.late, log.waiting) = (true, Duration::from_secs(9)));
    let given_back: Vec<Returned> = (2..=9).map(returned).collect();
    assert_eq!(rig.end().keep(&given_back).records, 8);
    fs::write(&cursor, before).unwrap();

    let next = Rig::start(&config(dir.path()), [9; 16]);
    until("it is drained", || dirs(dir.path()) == 1);
    assert!(next.memory.sequences(0).into_iter().eq(2..=9));
    next.end().keep(&[]);
}

#[test]
fn what_the_last_flush_made_durable_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(&config(dir.path()), AGENT);
    rig.memory.set(|log| log.full = true);
    for sequence in 1..=10 {
        rig.send(0, sequence).unwrap();
    }
    until("it is written", || rig.spool.written() == 10);
    rig.memory.set(|log| (log.full, log.late) = (false, true));
    until("it is handed over", || rig.memory.records().len() == 10);
    let memory = Arc::clone(&rig.memory);
    let mut worker = rig.kill();
    memory.set(|log| log.late = false);
    worker.settle();
    assert_eq!((worker.keep(&[]).records, dirs(dir.path())), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever is written, drained and taken over in between: records come in order,
    /// and again only from where it was not known that they are durable.
    #[test]
    fn a_spool_is_a_queue(steps in proptest::collection::vec((0..4_u8, 1..60_usize), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let name = id::text(&AGENT);
        let store = Store::create(dir.path(), &name, "log", 2000).unwrap();
        let mut drain = Drain::new(store, AGENT);
        let log = Memory::default();
        let (mut written, mut settled) = (0, 0);
        let mut from = 1;
        for (step, count) in steps {
            match step {
                0 => {
                    let mut frames = Vec::new();
                    for _ in 0..count {
                        written += 1;
                        let payload = payload(AGENT, 0, written, (written % 97) as usize * 9);
                        frame::encode(&entry(&payload), 0, written, &mut frames);
                    }
                    frame::seal(&mut frames);
                    drain.store.write(&frames).unwrap();
                }
                1 => drop(drain.feed(&log, 8000, count * 300).unwrap()),
                2 => {
                    drain.settle(&log, &[log.durable(0)], &[]);
                    drain.store.save().unwrap();
                    settled = log.records().last().map_or(settled, |last| last.sequence);
                }
                _ => {
                    // Another process: it may begin where the cursor was written.
                    check(&log, from)?;
                    log.set(|log| log.entries.clear());
                    log.set(|log| log.durable = 0);
                    drop(drain);
                    let path = dir.path().join(&name);
                    let store = Store::adopt(&path, "log").unwrap().unwrap();
                    drain = Drain::new(store, AGENT);
                    from = settled + 1;
                }
            }
        }
        while drain.feed(&log, usize::MAX, usize::MAX).unwrap() != Fed::All {}
        check(&log, from)?;
        let last = log.records().last().map(|last| last.sequence);
        prop_assert_eq!(last.unwrap_or(from - 1), written);
        prop_assert_eq!(drain.take_damaged(), 0);
    }
}

fn check(log: &Memory, from: u64) -> Result<(), TestCaseError> {
    for (nth, record) in log.records().iter().enumerate() {
        prop_assert_eq!(record.sequence, from + nth as u64);
    }
    Ok(())
}
