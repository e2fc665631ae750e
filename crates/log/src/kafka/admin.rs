//! What is asked of the brokers about a topic: whether it is there and with which
//! settings, creating it, what its partitions hold, and where a time begins.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
    metadata::Metadata,
};
use tokio::task::spawn_blocking;

use super::{
    client::{Watch, explain, sorted},
    properties::Properties,
};
use crate::{LogError, Span};

/// Assumed where a broker does not let us read a topic's settings.
const DEFAULT_MAX_MESSAGE_BYTES: usize = 1_048_588;
/// What a broker is asked to wait for; the deadline is ours.
const STEP: Duration = Duration::from_millis(50);

/// What a topic is, as far as it concerns a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) partitions: u32,
    pub(super) max_message_bytes: usize,
    /// `None`: kept for ever, or not told.
    pub(super) retention: Option<Duration>,
    /// Copies of each record, and how many of them must be written before it
    /// counts as durable.
    pub(super) replicas: usize,
    pub(super) min_insync: usize,
}

/// How a topic that is not there yet is made.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) partitions: u32,
    /// `None`: three, or as many as there are brokers.
    pub(super) replicas: Option<u32>,
    /// Settings beyond those every log needs.
    pub(super) settings: BTreeMap<String, String>,
}

/// A client that asks. Its calls wait for the network, so they run on the
/// runtime's threads for that; none takes longer than `timeout`.
pub(super) struct Admin {
    properties: Properties,
    timeout: Duration,
    client: BaseConsumer<Watch>,
}

impl Admin {
    pub(super) fn new(properties: Properties, timeout: Duration) -> Result<Arc<Self>, LogError> {
        let client = properties
            .reader()
            .create_with_context(Watch::default())
            .map_err(|error| explain("opening the log", properties.brokers(), &error, None))?;
        Ok(Arc::new(Self { properties, timeout, client }))
    }

    pub(super) fn properties(&self) -> &Properties {
        &self.properties
    }

    /// Longest wait for the brokers.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// An error of this or another client of the same brokers, in words.
    pub(super) fn explain(&self, doing: &str, error: &KafkaError) -> LogError {
        explain(doing, self.properties.brokers(), error, self.client.context().take_last())
    }

    /// Finds the topic, or makes it if told how, and checks its settings.
    pub(super) async fn open(
        self: &Arc<Self>,
        name: &str,
        wanted: Option<&Wanted>,
    ) -> Result<Topic, LogError> {
        let deadline = Instant::now() + self.timeout;
        let found = self.look(name, deadline).await?;
        let (partitions, replicas) = match (found.partitions, wanted) {
            (Some(found), _) => found,
            (None, None) => {
                return Err(LogError::NotFound(format!(
                    "there is no topic {name} (Kafka at {})",
                    self.properties.brokers()
                )));
            }
            (None, Some(wanted)) => {
                self.create(name, wanted, found.brokers).await?;
                self.wait_for(name, deadline).await?
            }
        };
        let settings = self.settings(name).await?;
        let number = |key: &str| settings.get(key).and_then(|value| value.parse::<i64>().ok());
        refuse(name, &settings)?;
        Ok(Topic {
            partitions,
            max_message_bytes: number("max.message.bytes")
                .and_then(|bytes| usize::try_from(bytes).ok())
                .unwrap_or(DEFAULT_MAX_MESSAGE_BYTES),
            retention: number("retention.ms")
                .and_then(|ms| u64::try_from(ms).ok())
                .map(Duration::from_millis),
            replicas,
            min_insync: number("min.insync.replicas")
                .and_then(|count| usize::try_from(count).ok())
                .unwrap_or(1),
        })
    }

    /// How many partitions the topic has now.
    pub(super) async fn partitions(self: &Arc<Self>, name: &str) -> Result<u32, LogError> {
        let found = self.look(name, Instant::now() + self.timeout).await?;
        found.partitions.map(|(partitions, _)| partitions).ok_or_else(|| {
            LogError::NotFound(format!(
                "the topic {name} is gone (Kafka at {})",
                self.properties.brokers()
            ))
        })
    }

    /// Oldest offset and high watermark of each partition.
    pub(super) async fn spans(
        self: &Arc<Self>,
        name: &str,
        partitions: u32,
    ) -> Result<Vec<Span>, LogError> {
        // Asked in this order a span never ends before it begins.
        let low = self.list(name, partitions, Offset::Beginning).await?;
        let high = self.list(name, partitions, Offset::End).await?;
        Ok((0..partitions)
            .filter_map(|partition| {
                let (low, high) = (*low.get(&partition)?, *high.get(&partition)?);
                Some(Span { partition, low, high: high.max(low) })
            })
            .collect())
    }

    /// The first offset of each partition whose record's time is `time_ns` or later;
    /// where there is none, the high watermark, asked before: what is appended in
    /// between is then behind it, and not skipped.
    pub(super) async fn offsets_for_time(
        self: &Arc<Self>,
        name: &str,
        partitions: u32,
        time_ns: u64,
    ) -> Result<BTreeMap<u32, u64>, LogError> {
        let mut offsets = self.list(name, partitions, Offset::End).await?;
        let millis = i64::try_from(time_ns / 1_000_000).unwrap_or(i64::MAX);
        offsets.extend(self.list(name, partitions, Offset::Offset(millis)).await?);
        Ok(offsets)
    }

    /// Offsets by time, where the beginning and the end are times too. Partitions
    /// without such a record are left out.
    async fn list(
        self: &Arc<Self>,
        name: &str,
        partitions: u32,
        at: Offset,
    ) -> Result<BTreeMap<u32, u64>, LogError> {
        let mut query = TopicPartitionList::with_capacity(partitions as usize);
        for partition in 0..partitions {
            query
                .add_partition_offset(name, partition as i32, at)
                .map_err(|error| LogError::Unusable(format!("{name}/{partition}: {error}")))?;
        }
        let answer = self
            .blocking("asking for offsets", move |client, timeout| {
                client.offsets_for_times(query, timeout)
            })
            .await?;
        let mut offsets = BTreeMap::new();
        for one in answer.elements() {
            if let Err(error) = one.error() {
                let doing = format!("asking for an offset of {name}/{}", one.partition());
                return Err(explain(&doing, self.properties.brokers(), &error, None));
            }
            if let (Offset::Offset(offset), Ok(partition)) =
                (one.offset(), u32::try_from(one.partition()))
            {
                offsets.insert(partition, offset.max(0) as u64);
            }
        }
        Ok(offsets)
    }

    async fn look(self: &Arc<Self>, name: &str, deadline: Instant) -> Result<Found, LogError> {
        let topic = name.to_owned();
        let left = deadline.saturating_duration_since(Instant::now()).max(STEP);
        let metadata = self
            .blocking(&format!("looking for the topic {name}"), move |client, _| {
                client.fetch_metadata(Some(&topic), left)
            })
            .await?;
        Found::read(name, &metadata, self.properties.brokers())
    }

    /// Waits until a topic that was just made is known with leaders.
    async fn wait_for(
        self: &Arc<Self>,
        name: &str,
        deadline: Instant,
    ) -> Result<(u32, usize), LogError> {
        loop {
            if let Some(found) = self.look(name, deadline).await?.partitions {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                return Err(LogError::Deadline(format!(
                    "the topic {name} was created and has no leader after {:?} (Kafka at {})",
                    self.timeout,
                    self.properties.brokers()
                )));
            }
            tokio::time::sleep(STEP).await;
        }
    }

    async fn create(&self, name: &str, wanted: &Wanted, brokers: usize) -> Result<(), LogError> {
        let replicas = wanted.replicas.unwrap_or(brokers.clamp(1, 3) as u32);
        let mut topic =
            NewTopic::new(name, wanted.partitions as i32, TopicReplication::Fixed(replicas as i32))
                .set("message.timestamp.type", "CreateTime")
                .set("cleanup.policy", "delete");
        for (key, value) in &wanted.settings {
            topic = topic.set(key, value);
        }
        let admin = self.admin()?;
        let doing = format!("creating the topic {name}");
        let results = admin
            .create_topics([&topic], &self.options())
            .await
            .map_err(|error| self.explain(&doing, &error))?;
        self.finish(admin).await;
        for result in results {
            match result {
                // Another agent was faster: its topic is as good as ours if it passes.
                Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
                Err((_, code)) => {
                    return Err(sorted(
                        code,
                        format!(
                            "{doing} with {} partitions and {replicas} replicas (Kafka at {}): {code}",
                            wanted.partitions,
                            self.properties.brokers()
                        ),
                    ));
                }
            }
        }
        Ok(())
    }

    /// The topic's settings; none if we may not read them.
    async fn settings(&self, name: &str) -> Result<BTreeMap<String, String>, LogError> {
        let admin = self.admin()?;
        let doing = format!("reading the settings of the topic {name}");
        let resources = admin
            .describe_configs([&ResourceSpecifier::Topic(name)], &self.options())
            .await
            .map_err(|error| self.explain(&doing, &error))?;
        self.finish(admin).await;
        let mut settings = BTreeMap::new();
        for resource in resources {
            match resource {
                Ok(resource) => settings.extend(
                    resource.entries.into_iter().filter_map(|one| Some((one.name, one.value?))),
                ),
                Err(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => {
                    tracing::warn!(
                        topic = name,
                        "may not read the topic's settings: assuming Kafka's defaults"
                    );
                }
                Err(code) => {
                    return Err(sorted(
                        code,
                        format!("{doing} (Kafka at {}): {code}", self.properties.brokers()),
                    ));
                }
            }
        }
        Ok(settings)
    }

    fn admin(&self) -> Result<AdminClient<Watch>, LogError> {
        self.properties
            .client()
            .create_with_context(Watch::default())
            .map_err(|error| self.explain("opening the log", &error))
    }

    fn options(&self) -> AdminOptions {
        AdminOptions::new()
            .request_timeout(Some(self.timeout))
            .operation_timeout(Some(self.timeout))
    }

    /// Closing a client waits for its threads.
    async fn finish(&self, admin: AdminClient<Watch>) {
        let _ = spawn_blocking(move || drop(admin)).await;
    }

    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        doing: &str,
        call: impl FnOnce(&BaseConsumer<Watch>, Duration) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, LogError> {
        let admin = Arc::clone(self);
        spawn_blocking(move || {
            let result = call(&admin.client, admin.timeout);
            // Log lines and errors wait until somebody polls.
            for _ in 0..16 {
                if admin.client.poll(Duration::ZERO).is_none() && result.is_ok() {
                    break;
                }
            }
            result
        })
        .await
        .map_err(|stopped| LogError::Unreachable(format!("{doing}: {stopped}")))?
        .map_err(|error| self.explain(doing, &error))
    }
}

/// What metadata told about a topic.
struct Found {
    brokers: usize,
    /// Partitions and replicas; `None`: not there, or not ready.
    partitions: Option<(u32, usize)>,
}

impl Found {
    fn read(name: &str, metadata: &Metadata, brokers: &str) -> Result<Self, LogError> {
        let count = metadata.brokers().len();
        let absent = Self { brokers: count, partitions: None };
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
            return Ok(absent);
        };
        match topic.error().map(Code::from) {
            None => {}
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::LeaderNotAvailable) => {
                return Ok(absent);
            }
            Some(code) => {
                return Err(sorted(code, format!("topic {name} (Kafka at {brokers}): {code}")));
            }
        }
        let partitions = topic.partitions();
        let replicas = partitions.iter().map(|one| one.replicas().len()).min().unwrap_or(0);
        Ok(Self {
            brokers: count,
            partitions: (!partitions.is_empty()).then_some((partitions.len() as u32, replicas)),
        })
    }
}

/// Refuses settings with which the promises of a log do not hold.
fn refuse(name: &str, settings: &BTreeMap<String, String>) -> Result<(), LogError> {
    let is = |key: &str, word: &str| {
        settings.get(key).is_some_and(|value| value.split(',').any(|one| one.trim() == word))
    };
    if is("message.timestamp.type", "LogAppendTime") {
        return Err(LogError::Refused(format!(
            "the topic {name} has message.timestamp.type=LogAppendTime, which replaces the time a \
             request was captured by the time it reached Kafka: set it to CreateTime, or use \
             another topic"
        )));
    }
    if is("cleanup.policy", "compact") {
        return Err(LogError::Refused(format!(
            "the topic {name} has cleanup.policy={}, which removes requests that share a key: set \
             it to delete, or use another topic",
            settings["cleanup.policy"]
        )));
    }
    Ok(())
}
