//! The one thread, with a lane of its own, for what would hold up a capture
//! thread: large bodies, written as one record or in parts, and whatever follows
//! them on their connections. It may wait for the log; the live requests do not
//! wait for it: its queue is bounded by the tee's budget, and what finds no budget
//! is counted as lost.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use umbra_record::{encode::PartParts, pb::Completeness};

use crate::{
    Config,
    budget::DetachedCharge,
    clock::Clock,
    drain::Deadline,
    lane::{BodyId, Lane, NotTaken},
    origin::Origin,
    record::{AnswerRecord, PartEnd, PartRecord, RequestRecord, parts_of, write_part},
    redactor::Aside,
    tee::Body,
};

/// How often the lane's losses and Marks are looked after.
const TICK: Duration = Duration::from_millis(200);

/// Pause before a full log is asked again.
const PAUSE: Duration = Duration::from_millis(2);

/// Longest wait for a full log to take the next record of a body.
const PATIENCE: Duration = Duration::from_secs(10);

/// Something to be recorded, with the part of the budget it holds.
pub(crate) struct Job {
    pub(crate) origin: Arc<Origin>,
    pub(crate) work: Work,
    pub(crate) charge: DetachedCharge,
}

/// What it is.
pub(crate) enum Work {
    Request(Box<RequestRecord>),
    /// The request goes on: parts follow as jobs.
    Open(Box<RequestRecord>),
    Part(Box<PartRecord>),
    Answer(Box<AnswerRecord>),
}

/// No later request of a capture thread, whether it records it or hands it to the
/// recorder, starts earlier than what is published here for it.
#[derive(Debug)]
pub(crate) struct Lows(Vec<AtomicU64>);

/// The thread's state.
pub(crate) struct Recorder {
    pub(crate) config: Arc<Config>,
    pub(crate) lane: Lane,
    pub(crate) lows: Arc<Lows>,
    pub(crate) deadline: Deadline,
    jobs: Receiver<Job>,
    clock: Clock,
    queue: VecDeque<Job>,
    /// Start of the request being written.
    current: Option<u64>,
    /// Requests written open, whose parts are still coming.
    open: BTreeMap<[u8; 16], Open>,
    /// Closing parts that found no room yet.
    owed: VecDeque<(Arc<Origin>, Owed)>,
    ticked: Instant,
}

/// Most closing parts kept until there is room; a reader counts a request whose
/// parts never end as incomplete anyway.
const MAX_OWED: usize = 1024;

#[derive(Debug, Default)]
struct Open {
    /// None: nothing of it is in the log.
    body: Option<BodyId>,
    next: u32,
    failed: bool,
    /// What was written, if secrets have to be taken out of what follows.
    head: Option<Head>,
}

/// The head of a request that was written open.
#[derive(Debug)]
struct Head {
    record: Box<RequestRecord>,
    _charge: DetachedCharge,
}

/// An `aborted` part to be written.
#[derive(Debug)]
struct Owed {
    id: [u8; 16],
    start_ns: u64,
    index: u32,
}

impl Work {
    /// Start of the request that this would record first.
    pub(crate) fn begins_request(&self) -> Option<u64> {
        match self {
            Self::Request(record) | Self::Open(record) => Some(record.start_ns),
            Self::Part(_) | Self::Answer(_) => None,
        }
    }
}

impl Lows {
    pub(crate) fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| AtomicU64::new(0)).collect())
    }

    /// Everything handed over before this call starts before or after `low_ns`;
    /// everything handed over later starts at `low_ns` or after.
    pub(crate) fn publish(&self, thread: usize, low_ns: u64) {
        self.0[thread].store(low_ns, Ordering::Release);
    }

    fn lowest(&self) -> u64 {
        self.0.iter().map(|low| low.load(Ordering::Acquire)).min().unwrap_or(0)
    }
}

impl Recorder {
    pub(crate) fn new(
        config: Arc<Config>,
        lane: Lane,
        lows: Arc<Lows>,
        jobs: Receiver<Job>,
        deadline: Deadline,
    ) -> Self {
        Self {
            config,
            lane,
            lows,
            deadline,
            jobs,
            clock: Clock::new(),
            queue: VecDeque::new(),
            current: None,
            open: BTreeMap::new(),
            owed: VecDeque::new(),
            ticked: Instant::now(),
        }
    }

    /// Works until every capture thread has ended and all is written, then ends
    /// its lane.
    pub(crate) fn run(mut self) -> Lane {
        loop {
            self.tick();
            if let Some(job) = self.queue.pop_front() {
                self.handle(job);
                continue;
            }
            match self.jobs.recv_timeout(self.every()) {
                Ok(job) => self.handle(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.finish();
        self.lane
    }

    fn finish(&mut self) {
        loop {
            self.pay_owed();
            let now_ns = self.clock.now().wall_ns;
            if self.lane.end(now_ns, self.deadline.is_near()) || self.deadline.is_over() {
                return;
            }
            std::thread::park_timeout(PAUSE);
        }
    }

    fn every(&self) -> Duration {
        TICK.min(self.config.mark_every)
    }

    fn tick(&mut self) {
        if self.ticked.elapsed() < self.every() {
            return;
        }
        self.ticked = Instant::now();
        let now_ns = self.clock.now().wall_ns;
        // Published lows first: what was handed over before one was published is
        // found in the channel afterwards, what comes later starts no earlier.
        let lowest = self.lows.lowest();
        self.queue.extend(self.jobs.try_iter());
        let queued = self.queue.iter().filter_map(|job| job.work.begins_request()).min();
        let low_ns = [Some(lowest), queued, self.current].into_iter().flatten().min();
        self.lane.settle();
        self.pay_owed();
        self.lane.write_gaps(now_ns);
        let low_ns = low_ns.unwrap_or(now_ns).min(now_ns);
        self.lane.write_marks(now_ns, low_ns, self.config.mark_every);
    }

    fn handle(&mut self, job: Job) {
        let Job { origin, work, charge } = job;
        self.current = work.begins_request();
        match work {
            Work::Request(record) => self.request(&origin, record, charge, false),
            Work::Open(record) => self.request(&origin, record, charge, true),
            Work::Part(part) => self.part(&origin, *part),
            // Nobody could use it.
            Work::Answer(record) if origin.lost_there.is(record.number) => {}
            Work::Answer(mut record) => {
                let config = Arc::clone(&self.config);
                record.redact_body(self.lane.redactor(), config.max_answer_body());
                let taken = self.patiently(|lane| record.write(lane, &origin, &config));
                if let Err(not) = taken {
                    self.lane.stats().lose_answer(not.reason);
                }
            }
        }
        self.current = None;
        // From here on the connection's capture thread may write by itself again.
        origin.pending.fetch_sub(1, Ordering::Release);
    }

    fn request(
        &mut self,
        origin: &Arc<Origin>,
        mut record: Box<RequestRecord>,
        charge: DetachedCharge,
        open: bool,
    ) {
        let config = Arc::clone(&self.config);
        if !open {
            record.redact_body(self.lane.redactor(), config.body_limit());
        }
        let limit = config.max_record_body.max(1);
        let parts = record.parts(limit);
        let announced = if open { 0 } else { parts };
        let body = (open || parts > 0).then(|| self.lane.begin_body(origin.partition));
        let first = self.patiently(|lane| record.write(lane, origin, &config, announced, body));
        self.current = None;
        let mut written = Open { body, ..Open::default() };
        if let Err(not) = first {
            self.lane.lose(not.reason, record.start_ns);
            origin.lost_there.set(record.number);
            written.failed = true;
        } else if parts > 0 {
            let from = limit.min(record.body.len());
            let end = (!open).then_some((record.completeness, record.length, record.hash));
            let parts =
                Parts { id: record.id, start_ns: record.start_ns, body: &record.body, from };
            self.parts(origin, &parts, &mut written, end);
        }
        if open {
            let id = record.id;
            if !self.lane.redactor().rules().is_nothing() {
                record.body = Body::default();
                written.head = Some(Head { record, _charge: charge });
            }
            self.open.insert(id, written);
        } else {
            self.end_body(origin, &written);
        }
    }

    fn end_body(&mut self, origin: &Origin, open: &Open) {
        if let Some(body) = open.body {
            self.lane.end_body(origin.partition, body);
        }
    }

    /// The request was recorded, its body cannot be: closes and counts it.
    fn lose_body(&mut self, origin: &Arc<Origin>, open: &Open, lost: Lost) {
        if let Some(body) = open.body {
            self.lane.lose_body(origin.partition, body, lost.reason, lost.start_ns);
        }
        self.owe(origin, lost.id, lost.start_ns, open.next);
    }

    fn part(&mut self, origin: &Arc<Origin>, mut part: PartRecord) {
        let mut open =
            self.open.remove(&part.id).unwrap_or(Open { failed: true, ..Open::default() });
        let mut aside = Aside::default();
        if let (Some(head), false) = (&open.head, open.failed) {
            let limit = self.config.body_limit();
            aside = head.record.redact_rest(self.lane.redactor(), limit, &mut part);
        }
        if !open.failed {
            let parts = Parts { id: part.id, start_ns: part.start_ns, body: &part.body, from: 0 };
            self.parts(origin, &parts, &mut open, None);
        }
        let Some(end) = part.end else {
            self.open.insert(part.id, open);
            return;
        };
        if !open.failed {
            self.close(origin, part.id, part.start_ns, &open, &end, &aside);
        }
        self.end_body(origin, &open);
    }

    /// Writes bytes as parts. With `end` the last of them closes the body.
    fn parts(
        &mut self,
        origin: &Arc<Origin>,
        parts: &Parts<'_>,
        open: &mut Open,
        end: Option<(Completeness, u64, Option<[u8; 16]>)>,
    ) {
        let limit = self.config.max_record_body.max(1);
        let count = parts_of(parts.body.len() - parts.from, limit);
        for nth in 0..count {
            let from = parts.from + nth as usize * limit;
            let data = parts.body.slices(from, from + limit);
            let mut part =
                PartParts { id: parts.id, index: open.next, data: &data, ..PartParts::default() };
            if let Some((completeness, length, hash)) = end.filter(|_| nth + 1 == count) {
                part = PartParts {
                    last: true,
                    completeness,
                    body_length: length,
                    body_hash: hash,
                    ..part
                };
            }
            let body = open.body;
            let taken =
                self.patiently(|lane| write_part(lane, origin, parts.start_ns, &part, body));
            if let Err(not) = taken {
                open.failed = true;
                let (id, start_ns) = (parts.id, parts.start_ns);
                self.lose_body(origin, open, Lost { id, start_ns, reason: not.reason });
                return;
            }
            open.next += 1;
        }
    }

    /// Closes the body of a request that was written open.
    fn close(
        &mut self,
        origin: &Arc<Origin>,
        id: [u8; 16],
        start_ns: u64,
        open: &Open,
        end: &PartEnd,
        aside: &Aside,
    ) {
        if let Some(reason) = end.lost {
            self.lose_body(origin, open, Lost { id, start_ns, reason });
            return;
        }
        let trailers = &end.trailers[..];
        let whole = end.completeness == Completeness::Complete;
        let part = PartParts {
            id,
            index: open.next,
            last: whole,
            aborted: !whole,
            completeness: end.completeness,
            trailers: &trailers,
            body_length: end.length,
            body_hash: end.hash,
            sealed: &aside.sealed,
            ..PartParts::default()
        };
        let taken = self.patiently(|lane| write_part(lane, origin, start_ns, &part, open.body));
        match taken {
            Ok(()) => self.lane.stats().redacted(aside.dropped, aside.cut),
            Err(not) => self.lose_body(origin, open, Lost { id, start_ns, reason: not.reason }),
        }
    }

    fn owe(&mut self, origin: &Arc<Origin>, id: [u8; 16], start_ns: u64, index: u32) {
        if self.owed.len() < MAX_OWED {
            self.owed.push_back((Arc::clone(origin), Owed { id, start_ns, index }));
        }
        self.pay_owed();
    }

    /// Writes the closing parts that found no room before.
    fn pay_owed(&mut self) {
        while let Some((origin, owed)) = self.owed.front() {
            let part = PartParts {
                id: owed.id,
                index: owed.index,
                aborted: true,
                completeness: Completeness::Aborted,
                ..PartParts::default()
            };
            match write_part(&mut self.lane, origin, owed.start_ns, &part, None) {
                Err(not) if not.later => return,
                _ => self.owed.pop_front(),
            };
        }
    }

    /// Tries until the log has room, within bounds.
    fn patiently(
        &mut self,
        write: impl Fn(&mut Lane) -> Result<(), NotTaken>,
    ) -> Result<(), NotTaken> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            match write(&mut self.lane) {
                Err(not) if not.later => {
                    if Instant::now() >= give_up || self.deadline.is_over() {
                        return Err(not);
                    }
                }
                done => return done,
            }
            std::thread::park_timeout(PAUSE);
            self.tick();
        }
    }
}

/// A request whose body cannot be recorded.
#[derive(Clone, Copy)]
struct Lost {
    id: [u8; 16],
    start_ns: u64,
    reason: &'static str,
}

/// Bytes of a body that become parts.
struct Parts<'a> {
    id: [u8; 16],
    start_ns: u64,
    body: &'a Body,
    from: usize,
}
