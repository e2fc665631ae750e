//! What a producer has given up for a reason that may pass (it failed for good, it is
//! not authorized any more, it was told to), kept until the next one takes it, or the
//! caller takes it back. No more than fits the producer's queue.

use std::{
    collections::BTreeMap,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    Message,
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::{BorrowedHeaders, BorrowedMessage, Headers, OwnedHeaders},
};

use crate::{Position, Returned};

/// A record that is not durable, as far as is known.
pub(super) struct Rescued {
    pub(super) time_ms: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) headers: Option<OwnedHeaders>,
    pub(super) payload: Vec<u8>,
    pub(super) weight: u32,
}

/// See the module.
#[derive(Default)]
pub(super) struct Rescue {
    state: Mutex<State>,
    changed: Condvar,
    /// The producer is of no use any more.
    failed: AtomicBool,
}

#[derive(Default)]
struct State {
    /// By partition and number.
    records: BTreeMap<(u32, u64), Rescued>,
    why: Option<String>,
    /// The caller wants everything back.
    asked: bool,
    given: Option<Vec<Returned>>,
    woken: bool,
}

/// Whether a later producer may deliver what this error has stopped.
pub(super) fn rescues(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::Fatal
                | Code::PurgeQueue
                | Code::PurgeInflight
                | Code::OutOfOrderSequenceNumber
                | Code::UnknownProducerId
                | Code::InvalidProducerEpoch
                | Code::ProducerFenced
                | Code::Fenced
                | Code::TopicAuthorizationFailed
                | Code::ClusterAuthorizationFailed
        )
    )
}

impl Rescue {
    /// Keeps a record: its number, weight and time.
    pub(super) fn keep(
        &self,
        message: &BorrowedMessage<'_>,
        (number, weight, time_ms): (u64, u32, i64),
        error: &KafkaError,
    ) {
        let rescued = Rescued {
            time_ms,
            key: message.key().map(<[u8]>::to_vec),
            headers: message.headers().map(BorrowedHeaders::detach),
            payload: message.payload().unwrap_or_default().to_vec(),
            weight,
        };
        let Ok(partition) = u32::try_from(message.partition()) else { return };
        self.put(partition, number, rescued);
        let purged =
            matches!(error.rdkafka_error_code(), Some(Code::PurgeQueue | Code::PurgeInflight));
        if rescues(error) && !purged {
            self.fail(&error.to_string());
        }
    }

    /// Keeps it again.
    pub(super) fn put(&self, partition: u32, number: u64, record: Rescued) {
        self.state().records.insert((partition, number), record);
    }

    /// The first one, to be sent.
    pub(super) fn take(&self) -> Option<((u32, u64), Rescued)> {
        self.state().records.pop_first()
    }

    /// Whether this record is kept.
    pub(super) fn has(&self, partition: u32, number: u64) -> bool {
        self.state().records.contains_key(&(partition, number))
    }

    /// The producer has failed.
    pub(super) fn fail(&self, why: &str) {
        if !self.failed.swap(true, Ordering::AcqRel) {
            tracing::warn!("Kafka's producer has failed, another takes its records: {why}");
        }
        self.state().why = Some(why.to_owned());
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Another one is tried.
    pub(super) fn begin_again(&self) {
        self.failed.store(false, Ordering::Release);
    }

    /// All is well again.
    pub(super) fn recovered(&self) {
        self.state().why = None;
    }

    /// Why a producer failed last, while that is not over.
    pub(super) fn why(&self) -> Option<String> {
        self.state().why.clone()
    }

    /// Whether the caller wants everything back.
    pub(super) fn is_asked(&self) -> bool {
        self.state().asked
    }

    /// Asks for everything that is not durable.
    pub(super) fn ask_back(&self) {
        let mut state = self.state();
        state.asked = true;
        state.woken = true;
        self.changed.notify_all();
    }

    /// Waits for what was asked for.
    pub(super) fn given_back(&self, until: Instant) -> Vec<Returned> {
        let mut state = self.state();
        loop {
            if let Some(given) = state.given.take() {
                return given;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // What is not taken stays what it is: not durable.
                state.asked = false;
                return Vec::new();
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Gives everything to who asked for it and still waits. The positions that are
    /// given back.
    pub(super) fn give_back(&self) -> Vec<Position> {
        let mut state = self.state();
        if !state.asked {
            return Vec::new();
        }
        let records = std::mem::take(&mut state.records);
        let given: Vec<Returned> = records.into_iter().map(returned).collect();
        let positions = given.iter().map(|one| one.position).collect();
        state.given = Some(given);
        state.asked = false;
        self.changed.notify_all();
        positions
    }

    /// Waits; shorter, if it is woken.
    pub(super) fn rest(&self, time: Duration) {
        let mut state = self.state();
        if !state.woken {
            let waited = self.changed.wait_timeout(state, time);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.woken = false;
    }

    pub(super) fn wake(&self) {
        self.state().woken = true;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn returned(((partition, number), record): ((u32, u64), Rescued)) -> Returned {
    let headers = record.headers.iter().flat_map(|headers| {
        headers.iter().map(|header| {
            (header.key.to_owned(), header.value.map(<[u8]>::to_vec).unwrap_or_default())
        })
    });
    Returned {
        position: Position { partition, number },
        time_ns: u64::try_from(record.time_ms).unwrap_or(0).saturating_mul(1_000_000),
        key: record.key.unwrap_or_default(),
        headers: headers.collect(),
        payload: record.payload,
        weight: record.weight,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Rescued {
        Rescued { time_ms: 1, key: None, headers: None, payload: vec![1], weight: 1 }
    }

    #[test]
    fn who_does_not_wait_any_more_is_given_nothing() {
        let rescue = Rescue::default();
        rescue.put(0, 7, record());
        rescue.ask_back();
        assert!(rescue.given_back(Instant::now()).is_empty());
        assert!(!rescue.is_asked());
        assert!(rescue.give_back().is_empty(), "nobody has it");
        assert!(rescue.has(0, 7));
        rescue.ask_back();
        let until = Instant::now() + Duration::from_secs(20);
        let given = std::thread::scope(|scope| {
            let asking = scope.spawn(|| rescue.given_back(until));
            let positions = rescue.give_back();
            assert_eq!(positions, [Position { partition: 0, number: 7 }]);
            asking.join().unwrap()
        });
        assert_eq!(given.len(), 1);
    }
}
