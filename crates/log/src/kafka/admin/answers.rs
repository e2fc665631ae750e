//! What the brokers' answers say about a topic and its partitions. Asks nobody.

use std::collections::BTreeMap;

use rdkafka::{
    Offset, TopicPartitionList,
    error::{KafkaError, RDKafkaErrorCode as Code},
    metadata::Metadata,
};

use crate::{
    LogError,
    kafka::client::{remedy, sorted},
};

/// What metadata told about a topic.
pub(super) struct Found {
    pub(super) brokers: usize,
    /// Partitions and replicas; `None`: not there, or not ready.
    pub(super) partitions: Option<(u32, usize)>,
}

impl Found {
    pub(super) fn read(name: &str, metadata: &Metadata, brokers: &str) -> Result<Self, LogError> {
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
                let remedy = remedy(code).map(|text| format!("; {text}")).unwrap_or_default();
                let words = format!("topic {name} (Kafka at {brokers}): {code}{remedy}");
                return Err(sorted(code, words));
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

/// The offsets that were asked for, or the first partition without one and why.
pub(super) fn offsets(
    answer: &TopicPartitionList,
) -> Result<BTreeMap<u32, u64>, (i32, KafkaError)> {
    let mut offsets = BTreeMap::new();
    for one in answer.elements() {
        one.error().map_err(|error| (one.partition(), error))?;
        if let (Offset::Offset(offset), Ok(partition)) =
            (one.offset(), u32::try_from(one.partition()))
        {
            offsets.insert(partition, offset.max(0) as u64);
        }
    }
    Ok(offsets)
}
