//! One thread's way into the log: numbers its records per partition, counts what
//! became of them, tells losses as Gaps and its state as Marks. Shares nothing
//! with other lanes but the log itself. What the records say is decided by its
//! callers.

mod flights;
mod gaps;
mod ledger;
mod losses;
mod outlet;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use umbra_log::{Append, AppendTimes, Entry, Loss, Position, Rejected};
use umbra_record::{
    encode::{self, Envelope},
    pb,
};

use crate::{redactor::Redactor, stats::LaneStats};
pub(crate) use flights::{Flight, Flights};
use gaps::Gaps;
pub(crate) use ledger::BodyId;
use ledger::{Item, Ledger, Way};
pub(crate) use losses::Losses;
pub(crate) use outlet::{At, Outlet};

/// The part of a log a lane uses. Lanes are not generic over the log: nothing
/// that is called once per record gains from it.
pub(crate) trait Queue: Send + Sync {
    fn partitions(&self) -> u32;
    fn enqueue(&self, entry: &Entry<'_>) -> Result<Position, Rejected>;
    fn durable(&self, partition: u32) -> u64;
    fn losses(&self) -> Vec<Loss>;
    fn waiting(&self) -> Duration;
    fn fits(&self, entry: &Entry<'_>) -> Result<(), Rejected>;
    fn times(&self) -> Option<AppendTimes>;
}

impl<A: Append> Queue for A {
    fn partitions(&self) -> u32 {
        Append::partitions(self)
    }

    fn enqueue(&self, entry: &Entry<'_>) -> Result<Position, Rejected> {
        Append::enqueue(self, entry)
    }

    fn durable(&self, partition: u32) -> u64 {
        Append::durable(self, partition)
    }

    fn losses(&self) -> Vec<Loss> {
        Append::losses(self)
    }

    fn waiting(&self) -> Duration {
        Append::waiting(self)
    }

    fn fits(&self, entry: &Entry<'_>) -> Result<(), Rejected> {
        Append::fits(self, entry)
    }

    fn times(&self) -> Option<AppendTimes> {
        Append::times(self)
    }
}

/// What all lanes of an agent have in common.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) agent: [u8; 16],
    pub(crate) lanes: u32,
    pub(crate) host: String,
    pub(crate) labels: BTreeMap<String, String>,
}

/// Where a record belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) partition: u32,
    pub(crate) key: &'a [u8],
    /// Of the request the record is about.
    pub(crate) time_ns: u64,
}

/// Kinds of records, by the word outside readers see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Response,
    Part,
    Gap,
    Mark,
}

/// What is lost with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tells {
    /// One request.
    Request,
    /// The one request that has this body, unless it is lost already.
    Body(BodyId),
    /// No request.
    Nothing,
}

/// A record that was not accepted: the reason, fit for a metric, and whether it
/// may be accepted later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotTaken {
    pub(crate) reason: &'static str,
    pub(crate) later: bool,
}

/// The writing side of one thread.
pub(crate) struct Lane {
    number: u32,
    identity: Arc<Identity>,
    outlet: Outlet,
    stats: Arc<LaneStats>,
    partitions: Vec<Partition>,
    gaps: Gaps,
    gap_partition: u32,
    last_body: u64,
    redactor: Redactor,
    /// The record being encoded; used again and again.
    buffer: Vec<u8>,
}

#[derive(Debug, Default)]
struct Partition {
    sequence: u64,
    ledger: Ledger,
    marked_ns: u64,
    ended: bool,
}

impl Kind {
    fn word(self) -> &'static [u8] {
        match self {
            Self::Request => b"request",
            Self::Response => b"response",
            Self::Part => b"part",
            Self::Gap => b"gap",
            Self::Mark => b"mark",
        }
    }
}

impl Lane {
    pub(crate) fn new(
        number: u32,
        identity: Arc<Identity>,
        outlet: Outlet,
        stats: Arc<LaneStats>,
        redactor: Redactor,
    ) -> Self {
        Self {
            number,
            identity,
            outlet,
            stats,
            partitions: Vec::new(),
            gaps: Gaps::default(),
            gap_partition: number,
            last_body: 0,
            redactor,
            buffer: Vec::with_capacity(4096),
        }
    }

    pub(crate) fn stats(&self) -> &LaneStats {
        &self.stats
    }

    /// What takes the secrets out of the lane's messages.
    pub(crate) fn redactor(&mut self) -> &mut Redactor {
        &mut self.redactor
    }

    /// The process this lane belongs to.
    pub(crate) fn agent(&self) -> &[u8; 16] {
        &self.identity.agent
    }

    /// How many partitions the log has now.
    pub(crate) fn partitions(&self) -> u32 {
        self.outlet.log.partitions().max(1)
    }

    /// Hands a request's record to the log; counted as accepted if it is taken, and
    /// as recorded once it is durable.
    /// If not, the caller tries again or says `lose`. `body`: that of its parts.
    pub(crate) fn request(
        &mut self,
        place: Place<'_>,
        message: &encode::RequestParts<'_>,
        body: Option<BodyId>,
    ) -> Result<(), NotTaken> {
        let tells = body.map_or(Tells::Request, Tells::Body);
        self.append(place, Kind::Request, &message.id, tells, |out| message.encode(out))?;
        self.stats.accepted.add(1);
        Ok(())
    }

    /// A request is about to be written whose body follows as parts, in this
    /// partition: its records count as one request, lost with the first of them.
    pub(crate) fn begin_body(&mut self, number: u32) -> BodyId {
        self.last_body += 1;
        let body = BodyId(self.last_body);
        partition(&mut self.partitions, number).ledger.begin_body(body);
        body
    }

    /// No further record belongs to the body.
    pub(crate) fn end_body(&mut self, number: u32, body: BodyId) {
        partition(&mut self.partitions, number).ledger.end_body(body);
    }

    /// A request that was counted as recorded is of no use: its body is not whole.
    pub(crate) fn lose_body(
        &mut self,
        number: u32,
        body: BodyId,
        reason: &'static str,
        start_ns: u64,
    ) {
        if partition(&mut self.partitions, number).ledger.lose_body(body) {
            self.stats.accepted.sub(1);
            self.lose(reason, start_ns);
        }
    }

    /// Hands any record to the log. Its sequence number is used up only if it is
    /// taken.
    pub(crate) fn append(
        &mut self,
        place: Place<'_>,
        kind: Kind,
        id: &[u8],
        tells: Tells,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<At, NotTaken> {
        self.buffer.clear();
        encode(&mut self.buffer);
        let partition = partition(&mut self.partitions, place.partition);
        let sequence = partition.sequence + 1;
        let (agent, lane) = (self.identity.agent, self.number);
        Envelope { agent, lane, key: place.key, sequence }.encode(&mut self.buffer);
        let headers = [("umbra-kind", kind.word()), ("umbra-id", id)];
        let entry = Entry {
            partition: place.partition,
            time_ns: place.time_ns,
            key: place.key,
            headers: if id.is_empty() { &headers[..1] } else { &headers },
            payload: &self.buffer,
            weight: u32::from(kind == Kind::Request),
        };
        let taken = self.outlet.take(&entry, kind, lane, sequence);
        if self.buffer.capacity() > 4 << 20 {
            self.buffer = Vec::with_capacity(4096);
        }
        let at = taken?;
        partition.sequence = sequence;
        let item = match tells {
            Tells::Request => Item { requests: 1, body: None },
            Tells::Body(body) => Item { requests: 0, body: Some(body) },
            Tells::Nothing => Item { requests: 0, body: None },
        };
        partition.ledger.push(at.way, at.number, sequence, item, place.time_ns);
        Ok(at)
    }

    /// Counts a request that will not be in the log.
    pub(crate) fn lose(&mut self, reason: &'static str, start_ns: u64) {
        self.stats.lose(reason, 1);
        self.gaps.add(reason, 1, start_ns, start_ns);
    }

    /// Learns what is durable, in the log or in the spool, and what was lost.
    pub(crate) fn settle(&mut self) {
        // Watermarks first: what a watermark passes because it was lost has been
        // told to `losses` by then, and must be found before it is forgotten.
        let log = &self.outlet.log;
        let durable: Vec<u64> =
            (0..self.partitions.len()).map(|at| log.durable(at as u32)).collect();
        let written = self.outlet.spool.as_ref().map_or(0, |spool| spool.written());
        for loss in self.outlet.losses.fetch(self.number, &**log) {
            let run = loss.first..=loss.last;
            let lies = |at: At| {
                at.way == Way::Log && at.partition == loss.partition && run.contains(&at.number)
            };
            self.gaps.lost(lies, loss.reason);
            self.lost(Way::Log, loss.partition, (loss.first, loss.last), loss.reason);
        }
        for loss in
            self.outlet.spool.iter().flat_map(|spool| spool.lost(self.number)).collect::<Vec<_>>()
        {
            let run = loss.first..=loss.last;
            self.gaps.lost(|at| at.way == Way::Spool && run.contains(&at.number), loss.reason);
            for partition in 0..self.partitions.len() as u32 {
                self.lost(Way::Spool, partition, (loss.first, loss.last), loss.reason);
            }
        }
        for (number, (partition, durable)) in self.partitions.iter_mut().zip(durable).enumerate() {
            partition.ledger.settle(Way::Log, durable);
            partition.ledger.settle(Way::Spool, written);
            self.gaps.settle(number as u32, durable);
        }
        self.gaps.settle_spool(written);
        let open = self.partitions.iter().map(|partition| partition.ledger.open_requests()).sum();
        self.stats.recorded(open);
    }

    /// Counts what was accepted on a way and is lost, and keeps it to be told.
    fn lost(&mut self, way: Way, number: u32, (first, last): (u64, u64), reason: &'static str) {
        let Some(partition) = self.partitions.get_mut(number as usize) else { return };
        for run in partition.ledger.lose(way, first, last) {
            self.stats.accepted.sub(run.requests);
            self.stats.lose(reason, run.requests);
            self.gaps.add_run(reason, self.number, number, run);
        }
    }

    /// All that was handed to the log is durable, or lost and told.
    fn is_settled(&self) -> bool {
        self.gaps.are_told() && self.partitions.iter().all(|one| one.ledger.is_empty())
    }

    /// One step of the lane's end; says whether that was the last. The final Marks
    /// come last, when nothing can be lost any more that they should tell of, or
    /// when there is no more time (`hurry`).
    pub(crate) fn end(&mut self, now_ns: u64, hurry: bool) -> bool {
        self.settle();
        let told = self.write_gaps(now_ns) && (self.is_settled() || self.outlet.is_kept());
        (told || hurry) && self.write_final_marks(now_ns)
    }

    /// Counts as lost what the log holds and did not make durable, and what a spool
    /// holds that did not write it. For the end, after a flush and `settle`.
    pub(crate) fn give_up_undurable(&mut self) {
        for partition in &mut self.partitions {
            let lost = [Way::Log, Way::Spool].map(|way| partition.ledger.lose(way, 0, u64::MAX));
            for run in lost.into_iter().flatten() {
                self.stats.accepted.sub(run.requests);
                self.stats.lose("not_flushed", run.requests);
            }
        }
        self.stats.recorded(0);
    }

    /// What the log had not made durable is kept in the spool: nothing is lost.
    pub(crate) fn all_is_kept(&mut self) {
        self.stats.recorded(0);
    }

    /// Writes the losses so far as Gap records, as far as the log takes them, in
    /// pieces that it takes. Says whether none are left to be written.
    pub(crate) fn write_gaps(&mut self, now_ns: u64) -> bool {
        while let Some((reason, gap)) = self.gaps.take() {
            let partition = self.gap_partition % self.partitions();
            let message = gap.message(reason);
            let place = Place { partition, key: &[], time_ns: now_ns };
            let encode = |out: &mut Vec<u8>| encode::gap(&message, out);
            match self.append(place, Kind::Gap, &[], Tells::Nothing, encode) {
                Ok(at) => self.gaps.sent(reason, gap, at),
                Err(NotTaken { reason: "too_large", .. }) => {
                    self.gaps.too_large(reason, gap);
                    continue;
                }
                Err(_) => {
                    self.gaps.put_back(reason, gap);
                    return false;
                }
            }
            self.gap_partition = self.gap_partition.wrapping_add(1);
        }
        self.gaps.are_written()
    }

    /// Writes a Mark into each partition that had none for `every`. `low_ns`: no
    /// later request of this lane starts earlier.
    pub(crate) fn write_marks(&mut self, now_ns: u64, low_ns: u64, every: Duration) {
        let partitions = self.partitions();
        // With thousands of partitions, marks alone would be a load.
        let every = every.max(Duration::from_millis(5) * partitions).as_nanos() as u64;
        for number in 0..partitions {
            let state = partition(&mut self.partitions, number);
            if state.marked_ns != 0 && now_ns.saturating_sub(state.marked_ns) < every {
                continue;
            }
            if self.write_mark(number, now_ns, low_ns, false).is_err() {
                return;
            }
        }
    }

    /// Writes the last Mark of each partition. Says whether all are written; what
    /// is missing is tried again by the next call.
    fn write_final_marks(&mut self, now_ns: u64) -> bool {
        (0..self.partitions()).all(|number| {
            partition(&mut self.partitions, number).ended
                || self.write_mark(number, now_ns, now_ns, true).is_ok()
        })
    }

    fn write_mark(
        &mut self,
        number: u32,
        now_ns: u64,
        low_ns: u64,
        last: bool,
    ) -> Result<(), NotTaken> {
        let message = self.mark(number, now_ns, low_ns, last);
        let place = Place { partition: number, key: &[], time_ns: now_ns };
        self.append(place, Kind::Mark, &[], Tells::Nothing, |out| encode::mark(&message, out))?;
        let state = partition(&mut self.partitions, number);
        state.marked_ns = now_ns;
        state.ended = last;
        Ok(())
    }

    fn mark(&mut self, number: u32, now_ns: u64, low_ns: u64, last: bool) -> pb::Mark {
        let lost = self.stats.lost();
        let (recorded, not_selected) = (self.stats.accepted.get(), self.stats.not_selected.get());
        pb::Mark {
            low_ns,
            last_sequence: partition(&mut self.partitions, number).sequence,
            r#final: last,
            at_ns: now_ns,
            // What is decided, so that the sum holds at any moment.
            requests: recorded + not_selected + lost.values().sum::<u64>(),
            recorded,
            not_selected,
            lost: lost.into_iter().map(|(reason, n)| (reason.to_owned(), n)).collect(),
            lanes: self.identity.lanes,
            host: self.identity.host.clone(),
            labels: self.identity.labels.clone().into_iter().collect(),
            rules: self.redactor.rules().text().to_vec(),
        }
    }
}

impl NotTaken {
    fn of(rejected: &Rejected) -> Self {
        match rejected {
            Rejected::Full => Self { reason: "log_full", later: true },
            Rejected::TooLarge { .. } => Self { reason: "too_large", later: false },
            Rejected::Closed(_) => Self { reason: "log_closed", later: false },
        }
    }
}

/// The state of a partition, which may be new.
fn partition(partitions: &mut Vec<Partition>, number: u32) -> &mut Partition {
    let at = number as usize;
    if partitions.len() <= at {
        partitions.resize_with(at + 1, Partition::default);
    }
    &mut partitions[at]
}
