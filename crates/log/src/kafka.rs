//! The log on Kafka.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use bytes::Bytes;

use crate::{
    Append, Entry, Event, LogError, LogOptions, Loss, Mode, Position, Rejected, Span, Tail,
    TailOptions,
};

/// A topic.
#[derive(Debug)]
pub struct KafkaLog(Infallible);

/// Writes to a topic.
#[derive(Debug)]
pub struct KafkaAppender(Infallible);

/// Reads from a topic.
#[derive(Debug)]
pub struct KafkaTail(Infallible);

/// A side log: a topic of one partition.
#[derive(Debug)]
pub struct KafkaJournal(Infallible);

impl KafkaLog {
    pub(crate) async fn open(
        _brokers: &[String],
        _topic: &str,
        _options: LogOptions,
        _mode: Mode,
    ) -> Result<Self, LogError> {
        Err(LogError::Refused("Kafka is not built yet".to_owned()))
    }

    pub(crate) async fn appender(&self) -> Result<KafkaAppender, LogError> {
        match self.0 {}
    }

    pub(crate) async fn tail(&self, _options: TailOptions) -> Result<KafkaTail, LogError> {
        match self.0 {}
    }

    pub(crate) async fn spans(&self) -> Result<Vec<Span>, LogError> {
        match self.0 {}
    }

    pub(crate) async fn offsets_for_time(&self, _ns: u64) -> Result<BTreeMap<u32, u64>, LogError> {
        match self.0 {}
    }

    pub(crate) async fn journal(&self, _suffix: &str) -> Result<KafkaJournal, LogError> {
        match self.0 {}
    }

    pub(crate) fn name(&self) -> &str {
        match self.0 {}
    }
}

impl Append for KafkaAppender {
    fn partitions(&self) -> u32 {
        match self.0 {}
    }

    fn enqueue(&self, _entry: &Entry<'_>) -> Result<Position, Rejected> {
        match self.0 {}
    }

    fn durable(&self, _partition: u32) -> u64 {
        match self.0 {}
    }

    fn losses(&self) -> Vec<Loss> {
        match self.0 {}
    }

    async fn flush(&self, _deadline: Duration) -> Result<(), LogError> {
        match self.0 {}
    }
}

impl Tail for KafkaTail {
    async fn next(&mut self) -> Result<Event, LogError> {
        match self.0 {}
    }

    fn finish(&mut self, _partition: u32) {
        match self.0 {}
    }

    async fn close(self, _deadline: Duration) -> Result<(), LogError> {
        match self.0 {}
    }
}

impl KafkaJournal {
    pub(crate) async fn append(&self, _entry: &[u8]) -> Result<u64, LogError> {
        match self.0 {}
    }

    pub(crate) async fn read_from(&self, _offset: u64) -> Result<Vec<(u64, Bytes)>, LogError> {
        match self.0 {}
    }

    pub(crate) async fn follow_from(&self, _offset: u64) -> Result<Vec<(u64, Bytes)>, LogError> {
        match self.0 {}
    }
}
