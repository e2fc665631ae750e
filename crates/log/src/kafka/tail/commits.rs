//! Committing: at most one commit is on its way, at most every 200 ms, only of what
//! is owned now; at once when a partition needs a reservation.
//!
//! librdkafka tells the outcome of a commit only to a caller that waits for it, so a
//! thread of its own does the waiting.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaResult, RDKafkaErrorCode as Code},
};

use super::{group::Group, poller::Poller, wake::Wake};
use crate::{LogError, progress::Checkpoint};

const INTERVAL: Duration = Duration::from_millis(200);

pub(super) struct Commits {
    committer: Option<Committer>,
    on_its_way: Option<Vec<Sent>>,
    /// When the last one was begun.
    last: Option<Instant>,
    /// The last one failed: a reservation waits its turn too.
    failing: bool,
}

/// The thread that waits for the brokers.
struct Committer {
    jobs: SyncSender<Vec<Offsets>>,
    outcomes: Receiver<Result<(), Code>>,
    thread: JoinHandle<()>,
}

/// What is committed of one partition.
struct Offsets {
    partition: u32,
    offset: u64,
    metadata: String,
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
    /// Without a group there is nothing to commit.
    pub(super) fn none() -> Self {
        Self { committer: None, on_its_way: None, last: None, failing: false }
    }

    /// Rings whenever an outcome is there.
    pub(super) fn of(
        consumer: &Arc<BaseConsumer<Group>>,
        topic: &str,
        wake: Arc<Wake>,
    ) -> Result<Self, LogError> {
        let (jobs, waiting) = sync_channel::<Vec<Offsets>>(1);
        let (tell, outcomes) = sync_channel(1);
        let (consumer, topic) = (Arc::clone(consumer), topic.to_owned());
        let work = move || {
            for job in waiting {
                let list = list(&topic, job);
                let done = list.and_then(|list| consumer.commit(&list, CommitMode::Sync));
                let done = done.map_err(|error| error.rdkafka_error_code().unwrap_or(Code::Fail));
                if tell.send(done).is_err() {
                    return;
                }
                wake.ring();
            }
        };
        let thread = thread::Builder::new()
            .name("kafka-commit".into())
            .spawn(work)
            .map_err(|error| LogError::Io(format!("no thread: {error}")))?;
        Ok(Self { committer: Some(Committer { jobs, outcomes, thread }), ..Self::none() })
    }

    pub(super) fn in_flight(&self) -> bool {
        self.on_its_way.is_some()
    }

    /// Ends the thread. One that still waits for the brokers ends when they answer, or
    /// librdkafka gives up.
    pub(super) fn end(self) {
        let waits = self.in_flight();
        if let Some(Committer { jobs, thread, .. }) = self.committer {
            drop(jobs);
            if !waits && thread.join().is_err() {
                tracing::error!("the thread that commits has panicked");
            }
        }
    }
}

fn list(topic: &str, offsets: Vec<Offsets>) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for Offsets { partition, offset, metadata } in offsets {
        let mut one = list.add_partition(topic, partition as i32);
        one.set_offset(Offset::Offset(offset as i64))?;
        one.set_metadata(metadata);
    }
    Ok(list)
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
            if urgent
                || (due && (partition.progress.changed() || partition.progress.wants_reservation()))
            {
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
        let job = sent.iter().map(|Sent { partition, checkpoint, .. }| Offsets {
            partition: *partition,
            offset: checkpoint.committed,
            metadata: checkpoint.metadata(),
        });
        let job = job.collect();
        self.commits.on_its_way = Some(sent);
        // What has been lost may be somebody else's by now: ours would rewind his.
        let lost = self.consumer.assignment_lost();
        let committer = self.commits.committer.as_ref().filter(|_| !lost);
        if committer.is_none_or(|committer| committer.jobs.try_send(job).is_err()) {
            self.committed(Err(Code::AssignmentLost));
        }
    }

    /// Takes the outcome of the commit that was on its way.
    pub(super) fn take_outcome(&mut self) {
        let Some(committer) = &self.commits.committer else { return };
        match committer.outcomes.try_recv() {
            Ok(outcome) => self.committed(outcome),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => self.committed(Err(Code::Fail)),
        }
    }

    fn committed(&mut self, outcome: Result<(), Code>) {
        let Some(sent) = self.commits.on_its_way.take() else { return };
        self.commits.failing = outcome.is_err();
        if let Err(code) = outcome {
            tracing::debug!(%code, topic = self.settings.topic, "a commit failed");
        }
        for Sent { partition: number, epoch, checkpoint, last } in sent {
            if last {
                self.rebalancing.last_committed(number, outcome);
            }
            let partition = self.partitions.get_mut(&number);
            let Some(partition) = partition.filter(|one| one.epoch == epoch) else { continue };
            if outcome.is_ok() {
                partition.progress.confirmed(&checkpoint);
                partition.release(&self.desk);
            } else {
                partition.progress.failed();
            }
        }
    }
}
