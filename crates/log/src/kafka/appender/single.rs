//! Sends once more, each in a batch of its own, what a broker refused as a batch:
//! the broker judges batches as a whole, and librdkafka does not take apart one
//! that was refused. What is refused again is refused for itself.
//!
//! A record that was sent again may stand behind later ones of its partition.

use std::{sync::OnceLock, time::Duration};

use rdkafka::{
    ClientConfig, Message,
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::{BorrowedHeaders, BorrowedMessage},
    producer::{BaseProducer, BaseRecord},
};

use super::{Reports, lanes::Ticket};

/// Least room for records that are sent again.
const ROOM: usize = 256 << 10;
/// How long is waited for room at a time.
const PAUSE: Duration = Duration::from_millis(1);

/// A second producer, made when it is needed first. Used by one thread only.
pub(super) struct Single {
    config: ClientConfig,
    topic: String,
    producer: OnceLock<BaseProducer<Reports>>,
}

impl Single {
    /// `config` is that of the first producer. Beside its queue there is room for
    /// the largest record.
    pub(super) fn new(mut config: ClientConfig, topic: &str, largest: usize) -> Self {
        config
            .set("batch.num.messages", "1")
            .set("linger.ms", "0")
            .set("queue.buffering.max.kbytes", (largest.max(ROOM) / 1024 + 1).to_string());
        Self { config, topic: topic.to_owned(), producer: OnceLock::new() }
    }

    /// The second producer, if there ever was need of it.
    pub(super) fn producer(&self) -> Option<&BaseProducer<Reports>> {
        self.producer.get()
    }

    /// Hands a refused record on, with the number it has. Waits for room, until it
    /// `is_over`: the first producer's queue fills meanwhile, and with it the
    /// caller learns of it. `make` gives a context for the second producer.
    pub(super) fn send(
        &self,
        message: &BorrowedMessage<'_>,
        time_ms: i64,
        ticket: Ticket,
        is_over: impl Fn() -> bool,
        make: impl FnOnce() -> Reports,
    ) -> Result<(), KafkaError> {
        let producer = self.open(make)?;
        let mut record = BaseRecord::with_opaque_to(&self.topic, ticket.into_raw())
            .partition(message.partition())
            .timestamp(time_ms)
            .payload(message.payload().unwrap_or_default());
        record.headers = message.headers().map(BorrowedHeaders::detach);
        record.key = message.key();
        loop {
            let Err((error, back)) = producer.send(record) else { return Ok(()) };
            if is_over() || error.rdkafka_error_code() != Some(Code::QueueFull) {
                return Err(error);
            }
            record = back;
            producer.poll(PAUSE);
        }
    }

    fn open(&self, make: impl FnOnce() -> Reports) -> Result<&BaseProducer<Reports>, KafkaError> {
        if let Some(producer) = self.producer.get() {
            return Ok(producer);
        }
        tracing::warn!(
            topic = self.topic,
            "the brokers refuse batches that the topic's settings allowed when they were read: \
             their records are sent again one by one, which is slower, until they are read again"
        );
        let made = self.config.create_with_context(make())?;
        Ok(self.producer.get_or_init(|| made))
    }
}

/// Whether a batch may have been refused for the sake of one of its records.
pub(super) fn judges_batches(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::MessageSizeTooLarge
                | Code::MessageBatchTooLarge
                | Code::InvalidTimestamp
                | Code::InvalidRecord
        )
    )
}
