//! Committing: at most one commit is on its way, at most every 200 ms, only of what
//! is owned now; at once when a partition needs a reservation.

use std::time::{Duration, Instant};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
};

use super::{group::Committed, poller::Poller};
use crate::progress::Checkpoint;

const INTERVAL: Duration = Duration::from_millis(200);

#[derive(Default)]
pub(super) struct Commits {
    on_its_way: Option<Vec<Sent>>,
    /// When the last one was begun, or failed.
    last: Option<Instant>,
    /// The last one failed: a reservation waits its turn too.
    failing: bool,
}

/// A checkpoint that was sent, of a partition in one assignment.
struct Sent {
    partition: u32,
    epoch: u32,
    checkpoint: Checkpoint,
    /// Nothing of this partition follows.
    last: bool,
}

impl Commits {
    pub(super) fn in_flight(&self) -> bool {
        self.on_its_way.is_some()
    }
}

impl Poller {
    /// Begins a commit if one is due.
    pub(super) fn commit(&mut self) {
        if !self.settings.grouped || self.commits.in_flight() {
            return;
        }
        let due = self.commits.last.is_none_or(|last| last.elapsed() >= INTERVAL);
        let mut sent = Vec::new();
        for partition in self.partitions.values_mut().filter(|one| !one.revoking) {
            let urgent = partition.progress.wants_reservation() && !self.commits.failing;
            if urgent || (due && (partition.progress.changed() || partition.progress.wants_reservation())) {
                let checkpoint = partition.progress.checkpoint();
                let (partition, epoch) = (partition.number, partition.epoch);
                sent.push(Sent { partition, epoch, checkpoint, last: false });
            }
        }
        if !sent.is_empty() {
            self.send(sent);
        }
    }

    /// Begins the last commit of partitions that are given up.
    pub(super) fn commit_last(&mut self, numbers: &[u32]) {
        let sent = numbers.iter().filter_map(|number| {
            let partition = self.partitions.get(number)?;
            let checkpoint = partition.progress.last_checkpoint();
            Some(Sent { partition: *number, epoch: partition.epoch, checkpoint, last: true })
        });
        let sent: Vec<Sent> = sent.collect();
        if !sent.is_empty() {
            self.send(sent);
        }
    }

    fn send(&mut self, sent: Vec<Sent>) {
        self.commits.last = Some(Instant::now());
        // What has been lost may be somebody else's by now: ours would rewind his.
        let result = if self.consumer.assignment_lost() {
            Err(KafkaError::ConsumerCommit(Code::UnknownMemberId))
        } else {
            self.offsets(&sent).and_then(|list| self.consumer.commit(&list, CommitMode::Async))
        };
        self.commits.on_its_way = Some(sent);
        if let Err(error) = result {
            let result = Err(error.rdkafka_error_code().unwrap_or(Code::Fail));
            self.committed(&Committed { result, refused: Vec::new() });
        }
    }

    fn offsets(&self, sent: &[Sent]) -> KafkaResult<TopicPartitionList> {
        let topic = &self.settings.topic;
        let mut list = TopicPartitionList::with_capacity(sent.len());
        for Sent { partition, checkpoint, .. } in sent {
            let mut one = list.add_partition(topic, *partition as i32);
            one.set_offset(Offset::Offset(checkpoint.committed as i64))?;
            one.set_metadata(checkpoint.metadata());
        }
        Ok(list)
    }

    /// The brokers have answered.
    pub(super) fn committed(&mut self, answer: &Committed) {
        let Some(sent) = self.commits.on_its_way.take() else { return };
        self.commits.failing = answer.result.is_err() && answer.refused.is_empty();
        for Sent { partition: number, epoch, checkpoint, last } in sent {
            let refused = answer.refused.iter().find(|(one, _)| *one == number).map(|(_, code)| *code);
            // With a refusal of some, the overall result is that of the others or theirs.
            let outcome = match (refused, answer.result) {
                (Some(code), _) => Err(code),
                (None, Err(code)) if answer.refused.is_empty() => Err(code),
                (None, _) => Ok(()),
            };
            let Some(partition) = self.partitions.get_mut(&number).filter(|one| one.epoch == epoch)
            else {
                continue;
            };
            match outcome {
                Ok(()) => {
                    partition.progress.confirmed(&checkpoint);
                    partition.release(&self.desk);
                }
                Err(code) => {
                    tracing::debug!(partition = number, %code, "a commit failed");
                    self.commits.failing = true;
                    partition.progress.failed();
                }
            }
            if last {
                self.rebalancing.last_committed(number, outcome);
            }
        }
    }
}
