//! Partitions come and go. librdkafka tells of it while it is polled and then waits
//! for an answer, which is given here when the time has come: after the progress of
//! what comes was read, after what goes was settled and committed.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use rdkafka::{
    Offset,
    consumer::Consumer,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
};

use super::{
    Offsets,
    group::Rebalance,
    partition::Partition,
    poller::{ASK, Poller},
};
use crate::{
    Assigned, Event, LogError, Start,
    kafka::client::{explain, is_unheard},
    progress::Checkpoint,
};

/// Pause between two attempts at what the brokers did not answer.
const AGAIN: Duration = Duration::from_millis(300);

#[derive(Default)]
pub(super) struct Rebalancing {
    waiting: VecDeque<Rebalance>,
    revoking: Option<Revoking>,
    /// Some partition's position does not exist any more.
    pub(super) out_of_range: bool,
    /// Counts assignments.
    epoch: u32,
    not_before: Option<Instant>,
}

/// Partitions on their way out.
struct Revoking {
    numbers: Vec<u32>,
    settle_by: Instant,
    commit_by: Instant,
    stage: Stage,
}

enum Stage {
    /// What is in flight may still be settled.
    Settling,
    /// The last commit was sent; it is still missing for these.
    Committing(Vec<u32>),
}

/// What the brokers know about partitions.
struct Found {
    committed: BTreeMap<u32, Checkpoint>,
    /// Absent: not asked for.
    ranges: Option<Ranges>,
}

/// The offsets that are there.
struct Ranges {
    low: Offsets,
    high: Offsets,
}

impl Found {
    fn low(&self, partition: u32) -> u64 {
        let ranges = self.ranges.as_ref();
        ranges.and_then(|ranges| ranges.low.get(&partition).copied()).unwrap_or(0)
    }
}

impl Rebalancing {
    pub(super) fn is_busy(&self) -> bool {
        self.revoking.is_some() || !self.waiting.is_empty() || self.out_of_range
    }

    /// Partitions that need no group's consent.
    pub(super) fn add(&mut self, numbers: Vec<u32>) {
        self.waiting.push_back(Rebalance::Assign(numbers));
    }

    pub(super) fn last_committed(&mut self, number: u32, outcome: Result<(), Code>) {
        let Some(Revoking { stage, .. }) = &mut self.revoking else { return };
        let Stage::Committing(missing) = stage else { return };
        match outcome {
            Ok(()) => missing.retain(|one| *one != number),
            // Not ours any more: nothing is left to commit.
            Err(
                Code::UnknownMemberId
                | Code::IllegalGeneration
                | Code::FencedInstanceId
                | Code::AssignmentLost,
            ) => missing.retain(|one| *one != number),
            // Once more, until its time is over.
            Err(_) => *stage = Stage::Settling,
        }
    }

    fn may_ask(&mut self) -> bool {
        if self.not_before.is_some_and(|time| Instant::now() < time) {
            return false;
        }
        self.not_before = None;
        true
    }

    fn ask_again(&mut self) {
        self.not_before = Some(Instant::now() + AGAIN);
    }
}

impl Poller {
    /// Takes over what librdkafka told of.
    pub(super) fn take_notes(&mut self) {
        let told = std::mem::take(&mut *self.consumer.context().rebalances());
        self.rebalancing.waiting.extend(told);
    }

    /// Moves rebalances along as far as they go.
    pub(super) fn rebalance(&mut self) {
        if self.rebalancing.revoking.is_some() {
            return self.go_on_revoking();
        }
        if self.rebalancing.out_of_range && self.rebalancing.may_ask() {
            self.back_into_range();
        }
        match self.rebalancing.waiting.pop_front() {
            Some(Rebalance::Assign(numbers)) => {
                if !self.rebalancing.may_ask() {
                    return self.rebalancing.waiting.push_front(Rebalance::Assign(numbers));
                }
                if let Err(error) = self.assign(&numbers) {
                    self.fail_or_wait(&error);
                    self.rebalancing.waiting.push_front(Rebalance::Assign(numbers));
                }
            }
            Some(Rebalance::Revoke { partitions, lost: true }) => {
                tracing::warn!(
                    ?partitions,
                    topic = self.settings.topic,
                    "lost: the group gave them away"
                );
                self.withdraw(&partitions);
                self.give_away(&partitions);
            }
            Some(Rebalance::Revoke { partitions, lost: false }) => self.revoke(partitions),
            None => {}
        }
    }

    // --- coming ---

    fn assign(&mut self, numbers: &[u32]) -> KafkaResult<()> {
        // Members that gain nothing are told of that too, and have to answer.
        if numbers.is_empty() {
            return self.consumer.incremental_assign(&self.list([]));
        }
        let found = self.find(numbers, false)?;
        self.rebalancing.epoch += 1;
        let epoch = self.rebalancing.epoch;
        let (mut begins, mut missing) = (Vec::<Assigned>::new(), Vec::new());
        for &number in numbers {
            let mut from = found.committed.get(&number).cloned().unwrap_or_else(|| {
                Checkpoint::fresh(match &self.settings.start {
                    Start::At(offsets) => offsets.get(&number).copied().unwrap_or(0),
                    Start::Earliest | Start::Latest => found.low(number),
                })
            });
            missing.extend(repair(&mut from, number, &found));
            let (offset, note) = (from.committed, from.note.clone());
            let Checkpoint { reserved, runs, .. } = &from;
            tracing::debug!(partition = number, offset, reserved, ?runs, "taking over");
            begins.push(Assigned { partition: number, offset, note });
            self.partitions.insert(number, Partition::new(number, epoch, &from));
        }
        for &number in numbers {
            self.split(number)?;
        }
        let at = begins.iter().map(|one| (one.partition, Offset::Offset(one.offset as i64)));
        self.consumer.incremental_assign(&self.list_at(at)?)?;
        // A pause outlives the assignment it was made in.
        if let Err(error) = self.consumer.resume(&self.list(numbers.iter().copied())) {
            tracing::warn!(%error, ?numbers, "partitions could not be resumed");
        }
        self.desk.inbox.assigned(epoch, begins);
        for (number, event) in missing {
            self.desk.inbox.tell(epoch, number, event);
        }
        Ok(())
    }

    /// `ranges`: they are needed in any case. Otherwise a partition that nobody leads does
    /// not hold up the others: where it goes on is known, and whether that is there is found
    /// out when it is fetched.
    fn find(&self, numbers: &[u32], ranges: bool) -> KafkaResult<Found> {
        let committed = self.committed_checkpoints(numbers)?;
        let placed = matches!(self.settings.start, Start::At(_))
            || numbers.iter().all(|number| committed.contains_key(number));
        let ranges = match self.ranges(numbers) {
            Ok(ranges) => Some(ranges),
            Err(error) if placed && !ranges && self.is_unled(&error) => {
                tracing::info!(%error, ?numbers, "going on without asking what is there");
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Found { committed, ranges })
    }

    /// Whether the brokers of some partition cannot answer now.
    fn is_unled(&self, error: &KafkaError) -> bool {
        !is_unheard(error)
            && explain("asking for offsets", &self.settings.brokers, error, None).retryable()
    }

    fn ranges(&self, numbers: &[u32]) -> KafkaResult<Ranges> {
        let ask = |at: Offset| -> KafkaResult<Offsets> {
            let list = self.list_at(numbers.iter().map(|&number| (number, at)))?;
            let mut offsets = Offsets::new();
            for one in self.consumer.offsets_for_times(list, ASK)?.elements() {
                one.error()?;
                if let Offset::Offset(offset) = one.offset() {
                    offsets.insert(one.partition() as u32, offset.max(0) as u64);
                }
            }
            Ok(offsets)
        };
        Ok(Ranges { low: ask(Offset::Beginning)?, high: ask(Offset::End)? })
    }

    fn committed_checkpoints(&self, numbers: &[u32]) -> KafkaResult<BTreeMap<u32, Checkpoint>> {
        let mut committed = BTreeMap::new();
        if self.settings.grouped {
            let list = self.list(numbers.iter().copied());
            for one in self.consumer.committed_offsets(list, ASK)?.elements() {
                one.error()?;
                if let Offset::Offset(offset) = one.offset() {
                    let offset = offset.max(0) as u64;
                    let checkpoint =
                        Checkpoint::parse(offset, one.metadata()).unwrap_or_else(|why| {
                            tracing::warn!(
                                partition = one.partition(),
                                "beginning at the committed offset: {why}"
                            );
                            Checkpoint::fresh(offset)
                        });
                    committed.insert(one.partition() as u32, checkpoint);
                }
            }
        }
        Ok(committed)
    }

    /// Some partition's next record is gone, and librdkafka has stopped fetching it.
    fn back_into_range(&mut self) {
        let numbers: Vec<u32> =
            self.partitions.values().filter(|one| !one.revoking).map(|one| one.number).collect();
        if numbers.is_empty() {
            self.rebalancing.out_of_range = false;
            return;
        }
        let found = match self.find(&numbers, true) {
            Ok(found) => found,
            Err(error) => return self.fail_or_wait(&error),
        };
        self.rebalancing.out_of_range = false;
        let mut places = Vec::new();
        for number in numbers {
            let Some(partition) = self.partitions.get_mut(&number) else { continue };
            let mut at = Checkpoint::fresh(partition.fetched);
            if let Some((_, event)) = repair(&mut at, number, &found) {
                partition.jump(at.committed);
                self.desk.inbox.tell(partition.epoch, number, event);
                places.push((number, Offset::Offset(at.committed as i64)));
            }
        }
        // The brokers have changed their minds: on from where we were.
        if places.is_empty() {
            let all = self.partitions.values().filter(|one| !one.revoking);
            places = all.map(|one| (one.number, Offset::Offset(one.fetched as i64))).collect();
        }
        let list = self.list(places.iter().map(|(number, _)| *number));
        let placed = self.list_at(places).and_then(|at| {
            self.consumer.incremental_unassign(&list)?;
            self.consumer.incremental_assign(&at)
        });
        if let Err(error) = placed {
            self.fail("going on behind a gap of", &error);
        }
    }

    // --- going ---

    fn revoke(&mut self, numbers: Vec<u32>) {
        self.withdraw(&numbers);
        let now = Instant::now();
        // Whoever closes has settled what he wanted to settle.
        let (settle_by, commit_by) = match &self.closing {
            Some(closing) => (now, closing.by),
            None => (now + self.settings.settle, now + self.settings.settle * 2),
        };
        self.rebalancing.revoking =
            Some(Revoking { numbers, settle_by, commit_by, stage: Stage::Settling });
        self.go_on_revoking();
    }

    fn go_on_revoking(&mut self) {
        let Some(revoking) = &mut self.rebalancing.revoking else { return };
        let now = Instant::now();
        let idle = |number: &u32| self.partitions.get(number).is_none_or(Partition::is_idle);
        let done = match &revoking.stage {
            _ if now >= revoking.commit_by => true,
            Stage::Committing(missing) => missing.is_empty(),
            Stage::Settling => {
                let settled = now >= revoking.settle_by || revoking.numbers.iter().all(idle);
                // An earlier commit must not arrive behind the last one.
                if !settled || self.commits.in_flight() || !self.rebalancing.may_ask() {
                    return;
                }
                self.send_last();
                return;
            }
        };
        if done && let Some(Revoking { numbers, stage, .. }) = self.rebalancing.revoking.take() {
            if !matches!(stage, Stage::Committing(missing) if missing.is_empty()) {
                tracing::warn!(?numbers, "given away without the last progress being confirmed");
                self.close_error.get_or_insert(LogError::Deadline(
                    "the brokers did not confirm the last progress in time".into(),
                ));
            }
            self.give_away(&numbers);
        }
    }

    fn send_last(&mut self) {
        let Some(revoking) = &mut self.rebalancing.revoking else { return };
        let numbers: Vec<u32> = revoking
            .numbers
            .iter()
            .copied()
            .filter(|one| self.partitions.contains_key(one))
            .collect();
        revoking.stage = Stage::Committing(numbers.clone());
        self.rebalancing.ask_again();
        self.commit_last(&numbers);
    }

    /// Takes from the user what he has not seen yet and tells him that they go.
    fn withdraw(&mut self, numbers: &[u32]) {
        let epochs: BTreeMap<u32, u32> = numbers
            .iter()
            .filter_map(|number| Some((*number, self.partitions.get(number)?.epoch)))
            .collect();
        self.desk.inbox.revoke(&epochs);
        for number in epochs.keys() {
            if let Some(partition) = self.partitions.get_mut(number) {
                partition.give_up();
            }
        }
        self.settle();
    }

    fn give_away(&mut self, numbers: &[u32]) {
        for number in numbers {
            if let Some(Partition { fetched, progress, .. }) = self.partitions.remove(number) {
                let offset = progress.committed();
                tracing::debug!(partition = number, offset, fetched, "given away");
            }
            self.queues.remove(number);
        }
        if let Err(error) = self.consumer.incremental_unassign(&self.list(numbers.iter().copied()))
        {
            // Lost ones may be gone already.
            tracing::debug!(%error, ?numbers, "giving partitions away");
        }
    }

    // --- the end ---

    /// Answers what is still waiting for an answer.
    pub(super) fn answer_all(&mut self) {
        self.take_notes();
        if let Some(revoking) = self.rebalancing.revoking.take() {
            self.give_away(&revoking.numbers);
        }
        while let Some(one) = self.rebalancing.waiting.pop_front() {
            match one {
                Rebalance::Revoke { partitions, .. } => self.give_away(&partitions),
                Rebalance::Assign(partitions) => {
                    let at = partitions.iter().map(|&number| (number, Offset::End));
                    let answer =
                        self.list_at(at).and_then(|list| self.consumer.incremental_assign(&list));
                    if let Err(error) = answer {
                        tracing::debug!(%error, ?partitions, "an assignment while leaving");
                    }
                }
            }
        }
    }

    /// Some errors are for the user, all others are worth another attempt.
    fn fail_or_wait(&mut self, error: &KafkaError) {
        self.rebalancing.ask_again();
        let told = explain("asking for the progress", &self.settings.brokers, error, None);
        if told.retryable() || is_unheard(error) {
            tracing::warn!("{told}; asking again");
        } else {
            self.desk.inbox.fail(told);
        }
    }
}

/// Moves a beginning that does not exist to the oldest record there is, and tells
/// what is missing.
fn repair(from: &mut Checkpoint, partition: u32, found: &Found) -> Option<(u32, Event)> {
    let low = found.low(partition);
    let high = found.ranges.as_ref()?.high.get(&partition).copied().unwrap_or(low).max(low);
    let at = from.committed;
    if at < low {
        from.runs.retain(|&(start, _)| start >= low);
        from.reserved = from.reserved.max(low);
        from.committed = low;
        let reason = format!(
            "retention removed offsets {at} to {low} of partition {partition} before they were read"
        );
        return Some((partition, Event::Missing { partition, from: at, to: low, reason }));
    }
    if at > high {
        *from = from.anew(low);
        let reason = format!(
            "the next offset to read of partition {partition} was {at} and the partition ends at \
             {high}: the topic was made anew, or the brokers lost records; going on at {low}"
        );
        return Some((partition, Event::Missing { partition, from: high, to: at, reason }));
    }
    None
}
