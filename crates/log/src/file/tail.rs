//! The reading side of the embedded log as its user sees it. The work is done by
//! `follow` on a thread of its own; a wake-up hands over everything that is ready.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    cursor::Cursor,
    follow::{Follower, ReadAhead, Shared, Stop, discard_unseen},
    group::Group,
    seek,
    segment::Place,
};
use crate::{Event, LogError, Start, Tail, TailOptions, progress::Checkpoint, settle::SettleQueue};

/// Reads an embedded log. Dropped without `close`, it leaves progress as last
/// committed.
#[derive(Debug)]
pub struct FileTail {
    shared: Arc<Shared>,
    events: VecDeque<Event>,
    finished: BTreeSet<u32>,
    settle: Arc<SettleQueue>,
    thread: Option<JoinHandle<()>>,
}

impl FileTail {
    pub(super) fn open(
        place: &Place,
        partitions: u32,
        options: &TailOptions,
    ) -> Result<Self, LogError> {
        let joined = options.group.as_deref().map(|name| Group::join(place, name)).transpose()?;
        let (group, progress) = match joined {
            Some((group, progress)) => (Some(group), progress),
            None => (None, BTreeMap::new()),
        };
        let from = begin(place, partitions, &options.start, progress)?;
        let floor: Vec<u64> = from.iter().map(|from| from.committed).collect();
        let spot = seek::by_offsets(place, &floor)?;
        let cursor = Cursor::new(place.clone(), spot, floor)
            .map_err(|error| LogError::Io(format!("zstd: {error}")))?;
        let shared = Arc::<Shared>::default();
        let limit =
            ReadAhead { bytes: options.read_ahead_bytes, records: options.read_ahead_records };
        // Nobody is woken: the thread looks often enough.
        let settle = SettleQueue::new(|| {});
        let back = (Arc::clone(&shared), Arc::clone(&settle));
        let follower = Follower::new(back, cursor, group, &from, limit);
        let thread = thread::Builder::new()
            .name("log-reader".to_owned())
            .spawn(move || {
                let _gone = Gone(Arc::clone(&follower.shared));
                follower.run();
            })
            .map_err(|error| LogError::Io(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            shared,
            events: VecDeque::new(),
            finished: BTreeSet::new(),
            settle,
            thread: Some(thread),
        })
    }

    fn is_finished(&self, event: &Event) -> bool {
        !self.finished.is_empty()
            && match event {
                Event::Delivery(delivery) => self.finished.contains(&delivery.partition),
                Event::CaughtUp { partition, .. } | Event::Missing { partition, .. } => {
                    self.finished.contains(partition)
                }
                Event::SetAside(_) | Event::Assigned(_) | Event::Revoked(_) => false,
            }
    }

    fn unpark(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

/// However the thread ends, nobody waits for it in vain.
struct Gone(Arc<Shared>);

impl Drop for Gone {
    fn drop(&mut self) {
        let gone = || LogError::Io("the reader of the log is gone".to_owned());
        self.0.outbox().error.get_or_insert_with(gone);
        self.0.ready.notify_one();
    }
}

/// Where each partition begins.
fn begin(
    place: &Place,
    partitions: u32,
    start: &Start,
    mut progress: BTreeMap<u32, Checkpoint>,
) -> Result<Vec<Checkpoint>, LogError> {
    let spans = seek::spans(place, partitions)?;
    let begin = spans.iter().map(|span| {
        if let Some(checkpoint) = progress.remove(&span.partition) {
            if checkpoint.committed <= span.high {
                return checkpoint;
            }
            // The machine crashed and took records back that were read already;
            // their offsets are given to others.
            tracing::warn!(
                partition = span.partition,
                committed = checkpoint.committed,
                end = span.high,
                "progress is beyond the end of the log; going on at its end"
            );
            return checkpoint.anew(span.high);
        }
        Checkpoint::fresh(match start {
            Start::Earliest => span.low,
            Start::Latest => span.high,
            Start::At(offsets) => offsets.get(&span.partition).copied().unwrap_or(0),
        })
    });
    Ok(begin.collect())
}

impl Tail for FileTail {
    async fn next(&mut self) -> Result<Event, LogError> {
        loop {
            while let Some(event) = self.events.pop_front() {
                if !self.is_finished(&event) {
                    return Ok(event);
                }
                if let Event::Delivery(delivery) = event {
                    delivery.discard();
                }
            }
            {
                let mut outbox = self.shared.outbox();
                std::mem::swap(&mut outbox.events, &mut self.events);
                if self.events.is_empty()
                    && let Some(error) = &outbox.error
                {
                    return Err(error.clone());
                }
            }
            if self.events.is_empty() {
                self.shared.ready.notified().await;
            }
        }
    }

    fn finish(&mut self, partition: u32) {
        if self.finished.insert(partition) {
            self.shared.control().finished.push(partition);
            self.unpark();
        }
    }

    fn note(&mut self, partition: u32, note: Bytes) {
        self.settle.note(partition, 0, note);
    }

    async fn close(mut self, deadline: Duration) -> Result<(), LogError> {
        discard_unseen(std::mem::take(&mut self.events));
        let (result, closed) = oneshot::channel();
        self.shared.control().stop = Some(Stop::Close { result });
        self.unpark();
        match tokio::time::timeout(deadline, closed).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(LogError::Io("the reader of the log is gone".to_owned())),
            Err(_) => Err(LogError::Deadline(format!("not closed within {deadline:?}"))),
        }
    }
}

impl Drop for FileTail {
    fn drop(&mut self) {
        // After `close` the thread is gone, or about to be.
        self.shared.control().stop.get_or_insert(Stop::Abandon);
        self.unpark();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
