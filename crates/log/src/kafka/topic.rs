//! What a topic must be for a log: the settings it is made with, those with which
//! the promises of a log do not hold, and those that deserve a warning.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{admin::NewTopic, admin::TopicReplication};

use crate::LogError;

/// Assumed where a broker does not let us read a topic's settings.
const DEFAULT_MAX_MESSAGE_BYTES: usize = 1_048_588;
/// A topic that keeps its records for less is told of: a replayer that is away for
/// a night would miss some.
const SHORT_RETENTION: Duration = Duration::from_secs(12 * 3600);

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
    /// Whether these are the topic's settings, rather than Kafka's defaults.
    pub(super) told: bool,
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

/// A topic's settings by name, as the brokers tell them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settings(pub(super) BTreeMap<String, String>);

impl Settings {
    /// Whether the brokers told all that there is to know.
    pub(super) fn complete(&self) -> bool {
        ["cleanup.policy", "message.timestamp.type", "max.message.bytes"]
            .iter()
            .all(|key| self.0.contains_key(*key))
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.0.get(key)?.parse().ok()
    }

    /// Largest batch the topic takes, if told.
    pub(super) fn max_message_bytes(&self) -> Option<usize> {
        self.number("max.message.bytes").and_then(|bytes| usize::try_from(bytes).ok())
    }

    /// What they come to.
    pub(super) fn topic(&self, partitions: u32, replicas: usize) -> Topic {
        Topic {
            partitions,
            max_message_bytes: self.max_message_bytes().unwrap_or(DEFAULT_MAX_MESSAGE_BYTES),
            retention: self.number("retention.ms").map(Duration::from_millis),
            replicas,
            min_insync: self.number("min.insync.replicas").unwrap_or(1) as usize,
            told: self.complete(),
        }
    }

    /// Refuses settings with which the promises of a log do not hold.
    pub(super) fn refuse(&self, name: &str) -> Result<(), LogError> {
        let is = |key: &str, word: &str| {
            self.0.get(key).is_some_and(|value| value.split(',').any(|one| one.trim() == word))
        };
        if is("message.timestamp.type", "LogAppendTime") {
            return Err(LogError::Refused(format!(
                "the topic {name} has message.timestamp.type=LogAppendTime, which replaces the \
                 time a request was captured by the time it reached Kafka: set it to CreateTime, \
                 or use another topic"
            )));
        }
        if is("cleanup.policy", "compact") {
            return Err(LogError::Refused(format!(
                "the topic {name} has cleanup.policy={}, which removes requests that share a \
                 key: set it to delete, or use another topic",
                self.0["cleanup.policy"]
            )));
        }
        Ok(())
    }

    /// The same for a table, of which nothing but what was replaced may go.
    pub(super) fn refuse_table(&self, name: &str) -> Result<(), LogError> {
        match self.0.get("cleanup.policy") {
            Some(policy) if policy != "compact" => Err(LogError::Refused(format!(
                "the topic {name} has cleanup.policy={policy}: set it to compact, so that it \
                 keeps what is in use and forgets what is removed"
            ))),
            _ => Ok(()),
        }
    }
}

impl Topic {
    /// What may cost records, in one line, with what to do; `None`: nothing.
    pub(super) fn concern(&self) -> Option<String> {
        let mut concerns = Vec::new();
        if self.replicas < 2 {
            concerns.push(
                "it has one replica, so that its records are lost with one broker (three are \
                 safe: create it with --replicas 3, or reassign its partitions)"
                    .to_owned(),
            );
        } else if self.min_insync < 2 {
            concerns.push(
                "min.insync.replicas is 1, so that a record can be lost with the one broker that \
                 has it (set it to 2)"
                    .to_owned(),
            );
        } else if self.min_insync >= self.replicas {
            concerns.push(format!(
                "min.insync.replicas is {} of {} replicas, so that nothing is taken while one \
                 broker is away (set it to {})",
                self.min_insync,
                self.replicas,
                self.replicas - 1
            ));
        }
        if let Some(retention) = self.retention.filter(|retention| *retention < SHORT_RETENTION) {
            concerns.push(format!(
                "retention.ms keeps records for {retention:?} only, and what is not replayed by \
                 then is gone (raise it)"
            ));
        }
        (!concerns.is_empty()).then(|| concerns.join("; "))
    }

    /// Where an existing topic is not what was asked for; `None`: it is.
    pub(super) fn differs(&self, wanted: &Wanted) -> Option<String> {
        let mut differences = Vec::new();
        if let Some(replicas) = wanted.replicas
            && replicas as usize != self.replicas
        {
            differences.push(format!("{} replicas instead of {replicas}", self.replicas));
        }
        let told = |key: &str| wanted.settings.get(key).and_then(|value| value.parse::<u64>().ok());
        if let Some(min_insync) = told("min.insync.replicas")
            && min_insync as usize != self.min_insync
        {
            differences
                .push(format!("min.insync.replicas={} instead of {min_insync}", self.min_insync));
        }
        if let Some(retention) = told("retention.ms").map(Duration::from_millis)
            && Some(retention) != self.retention
        {
            let has = self.retention.map_or("no limit".to_owned(), |has| format!("{has:?}"));
            differences.push(format!("a retention of {has} instead of {retention:?}"));
        }
        (!differences.is_empty()).then(|| differences.join(", "))
    }
}

impl Wanted {
    /// Copies of each record in a cluster of so many brokers.
    pub(super) fn replicas(&self, brokers: usize) -> u32 {
        self.replicas.unwrap_or(brokers.clamp(1, 3) as u32)
    }

    /// The topic's settings: what every log needs, then what the user wants.
    pub(super) fn settings(&self, brokers: usize) -> BTreeMap<&str, &str> {
        let mut settings = BTreeMap::from([
            ("message.timestamp.type", "CreateTime"),
            ("cleanup.policy", "delete"),
        ]);
        // With acks=all a record then outlives any one broker, and one may be away.
        if self.replicas(brokers) >= 3 {
            settings.insert("min.insync.replicas", "2");
        }
        settings.extend(self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        settings
    }

    /// What the brokers are asked for.
    pub(super) fn request<'a>(&'a self, name: &'a str, brokers: usize) -> NewTopic<'a> {
        let replicas = TopicReplication::Fixed(self.replicas(brokers) as i32);
        let topic = NewTopic::new(name, self.partitions as i32, replicas);
        let settings = self.settings(brokers);
        settings.into_iter().fold(topic, |topic, (key, value)| topic.set(key, value))
    }

    /// The same in words, for whoever has to create it instead.
    pub(super) fn words(&self, brokers: usize) -> String {
        let settings = self.settings(brokers);
        let settings: Vec<String> =
            settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
        format!(
            "{} partition{}, {} replica{}, {}",
            self.partitions,
            if self.partitions == 1 { "" } else { "s" },
            self.replicas(brokers),
            if self.replicas(brokers) == 1 { "" } else { "s" },
            settings.join(", ")
        )
    }
}

#[cfg(test)]
mod tests;
