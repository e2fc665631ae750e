//! The log on Kafka: a topic, written by an idempotent producer and read by the
//! members of a consumer group, or by readers without one. What it asks of a topic
//! is in `admin`, what of librdkafka in `properties`.
//!
//! Leaves to others what the records mean, and to the caller what to do while
//! Kafka is away: appending then ends in [`crate::Rejected::Full`], reading waits.

mod admin;
mod appender;
mod client;
mod group;
mod journal;
mod permit;
mod properties;
mod refusal;
mod shares;
mod table;
mod tail;
mod token;
mod topic;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use self::{
    admin::Admin,
    properties::{Limits, Properties},
    token::TokenSource,
    topic::{Topic, Wanted},
};
use crate::{GroupState, LogError, LogOptions, Mode, Span, TailOptions};

pub use self::{
    journal::KafkaJournal,
    properties::{owned, problems},
    shares::KafkaAppender,
    table::KafkaTable,
    tail::KafkaTail,
};

/// A topic whose settings have been checked.
pub struct KafkaLog {
    name: String,
    topic: Topic,
    options: LogOptions,
    admin: Arc<Admin>,
}

impl KafkaLog {
    /// Finds the topic, or makes it with `mode` [`Mode::Create`].
    ///
    /// # Errors
    /// [`LogError::Unreachable`] if no broker answers within the connect timeout,
    /// [`LogError::NotFound`] if there is no such topic, [`LogError::Refused`] if we may
    /// not use it, or its settings or the given properties break a promise.
    pub async fn open(
        brokers: &[String],
        topic: &str,
        options: LogOptions,
        mode: Mode,
    ) -> Result<Self, LogError> {
        let problems = problems(&options.kafka);
        if !problems.is_empty() {
            return Err(LogError::Refused(format!("Kafka property {}", problems.join("; "))));
        }
        let token = match &options.token_command {
            Some(command) => Some(TokenSource::with_first(command).await?),
            None => None,
        };
        let properties = Properties::new(brokers, &options.kafka, token);
        let admin = Admin::new(properties, options.connect_timeout)?;
        let wanted = Wanted {
            partitions: options.partitions,
            replicas: options.replicas,
            settings: options.topic.clone(),
        };
        let wanted = (mode == Mode::Create).then_some(&wanted);
        let name = topic.to_owned();
        let topic = admin.open(topic, wanted).await?;
        if mode == Mode::Create {
            permit::may_write(&admin, &name, &topic).await?;
            if let Some(concern) = topic.concern() {
                tracing::warn!(topic = name, "the topic may lose records: {concern}");
            }
        }
        Ok(Self { name, topic, options, admin })
    }

    /// Producers of its own.
    ///
    /// # Errors
    /// If librdkafka refuses the properties.
    pub async fn appender(&self) -> Result<KafkaAppender, LogError> {
        let wanted = shares::Wanted {
            partitions: self.topic.partitions,
            queue_bytes: self.options.queue_bytes,
            max_message_bytes: self.topic.max_message_bytes,
            producers: self.options.producers,
        };
        KafkaAppender::open(&self.admin, &self.name, &wanted)
    }

    /// A member of a group, or a reader without one.
    ///
    /// # Errors
    /// If librdkafka refuses the properties, or the brokers do not say where a reader
    /// of the latest begins.
    pub async fn tail(&self, options: TailOptions) -> Result<KafkaTail, LogError> {
        KafkaTail::open(&self.admin, &self.name, options).await
    }

    /// What each partition holds now.
    ///
    /// # Errors
    /// If the brokers do not answer.
    pub async fn spans(&self) -> Result<Vec<Span>, LogError> {
        let partitions = self.admin.partitions(&self.name).await?;
        self.admin.spans(&self.name, partitions).await
    }

    /// See [`crate::Log::offsets_for_time`].
    ///
    /// # Errors
    /// If the brokers do not answer.
    pub async fn offsets_for_time(&self, time_ns: u64) -> Result<BTreeMap<u32, u64>, LogError> {
        let partitions = self.admin.partitions(&self.name).await?;
        self.admin.offsets_for_time(&self.name, partitions, time_ns).await
    }

    /// See [`crate::Log::group`].
    ///
    /// # Errors
    /// If the brokers do not answer, or do not allow it.
    pub async fn group(&self, group: &str) -> Result<GroupState, LogError> {
        let partitions = self.admin.partitions(&self.name).await?;
        group::look(&self.admin, &self.name, partitions, group).await
    }

    /// See [`crate::Log::delete_group`].
    ///
    /// # Errors
    /// [`LogError::Held`] while it has members.
    pub async fn delete_group(&self, group: &str) -> Result<(), LogError> {
        group::delete(&self.admin, group).await
    }

    /// See [`crate::Log::times_at`].
    ///
    /// # Errors
    /// If the topic cannot be read.
    pub async fn times_at(
        &self,
        offsets: BTreeMap<u32, u64>,
        deadline: Duration,
    ) -> Result<BTreeMap<u32, u64>, LogError> {
        group::times_at(&self.admin, &self.name, offsets, deadline).await
    }

    /// The topic `NAME.suffix`: one partition, kept for ever.
    ///
    /// # Errors
    /// If it can be neither opened nor created, or does not keep its entries;
    /// [`LogError::NotFound`] with `mode` [`Mode::Existing`] if it is not there.
    pub async fn journal(&self, suffix: &str, mode: Mode) -> Result<KafkaJournal, LogError> {
        let name = format!("{}.{suffix}", self.name);
        KafkaJournal::open(&self.admin, name, self.topic.max_message_bytes, mode).await
    }

    /// The topic `NAME.suffix`: one partition, compacted.
    ///
    /// # Errors
    /// If it can be neither opened nor created, or keeps what is removed.
    pub async fn table(&self, suffix: &str, mode: Mode) -> Result<KafkaTable, LogError> {
        KafkaTable::open(&self.admin, format!("{}.{suffix}", self.name), mode).await
    }

    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long the topic keeps a record after its time; `None`: for ever, or not
    /// told.
    #[must_use]
    pub fn retention(&self) -> Option<Duration> {
        self.topic.retention
    }
}

impl std::fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaLog")
            .field("name", &self.name)
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}
