//! Which librdkafka properties a user may set, and what each kind of client is
//! given. Knows no broker: it only builds configurations.

use std::{collections::BTreeMap, sync::Arc};

use rdkafka::{ClientConfig, client::OAuthToken, config::RDKafkaLogLevel, error::KafkaError};

use super::{client::Watch, token::TokenSource};

/// Properties that follow from what a log promises, with the reason a user is told.
const OWNED: &[(&str, &str)] = &[
    ("bootstrap.servers", "the brokers are part of the log's address"),
    ("metadata.broker.list", "the brokers are part of the log's address"),
    ("group.id", "the group follows from the job's name and the target"),
    ("group.protocol", "progress is kept with the classic protocol"),
    ("partition.assignment.strategy", "members hand partitions over cooperatively"),
    ("enable.auto.commit", "an offset is committed when all before it is settled"),
    ("auto.commit.enable", "an offset is committed when all before it is settled"),
    ("auto.commit.interval.ms", "an offset is committed when all before it is settled"),
    ("enable.auto.offset.store", "an offset is committed when all before it is settled"),
    ("offset.store.method", "progress is kept by the brokers"),
    ("auto.offset.reset", "where to begin is the job's plan; overtaken records are counted"),
    ("enable.partition.eof", "it tells when a reader has caught up"),
    ("allow.auto.create.topics", "a topic is created with checked settings only"),
    ("acks", "a record is durable when all in-sync replicas have it"),
    ("request.required.acks", "a record is durable when all in-sync replicas have it"),
    ("enable.idempotence", "records are neither repeated nor reordered"),
    ("enable.gapless.guarantee", "a lost record is counted, not fatal"),
    ("transactional.id", "records are appended without transactions"),
    ("message.timeout.ms", "what is accepted is kept until it is durable"),
    ("delivery.timeout.ms", "what is accepted is kept until it is durable"),
    ("message.send.max.retries", "what is accepted is kept until it is durable"),
    ("retries", "what is accepted is kept until it is durable"),
    ("message.max.bytes", "it follows the topic's max.message.bytes"),
    ("queue.buffering.max.kbytes", "it is part of the memory budget"),
    ("queue.buffering.max.messages", "it is part of the memory budget"),
    ("enable.sasl.oauthbearer.unsecure.jwt", "--kafka-token-command prints the tokens"),
    ("sasl.oauthbearer.method", "--kafka-token-command prints the tokens"),
    ("dr_msg_cb", "callbacks are not settings"),
    ("log.queue", "librdkafka's log goes to Umbra's"),
    ("delivery.report.only.error", "every record's fate is needed"),
];

/// Why a user may not set this property; `None`: they may.
#[must_use]
pub fn owned(key: &str) -> Option<&'static str> {
    OWNED.iter().find(|(name, _)| *name == key).map(|(_, reason)| *reason)
}

/// What is wrong with these properties: those Umbra owns, and those librdkafka
/// does not know or whose value it refuses. Each problem names its property.
#[must_use]
pub fn problems(properties: &BTreeMap<String, String>) -> Vec<String> {
    let mut problems = Vec::new();
    for (key, value) in properties {
        if let Some(reason) = owned(key) {
            problems.push(format!("{key} cannot be set: {reason}"));
            continue;
        }
        let mut config = ClientConfig::new();
        config.set(key, value);
        if let Err(KafkaError::ClientConfig(_, reason, _, _)) = config.create_native_config() {
            problems.push(format!("{key}: {reason}"));
        }
    }
    problems
}

/// Builds the configuration of each kind of client.
#[derive(Clone)]
pub(super) struct Properties {
    brokers: String,
    user: BTreeMap<String, String>,
    token: Option<Arc<TokenSource>>,
}

impl Properties {
    pub(super) fn new(
        brokers: &[String],
        user: &BTreeMap<String, String>,
        token: Option<Arc<TokenSource>>,
    ) -> Self {
        Self { brokers: brokers.join(","), user: user.clone(), token }
    }

    /// What the context of each client is made of.
    pub(super) fn watch(&self) -> Watch {
        Watch::new(self.token.clone())
    }

    /// Calls this with each new token, until it returns false.
    pub(super) fn on_token(&self, call: impl Fn(OAuthToken) -> bool + Send + 'static) {
        if let Some(token) = &self.token {
            token.on_token(call);
        }
    }

    /// As the user wrote them, for messages.
    pub(super) fn brokers(&self) -> &str {
        &self.brokers
    }

    /// For a client that asks about topics, offsets and settings.
    pub(super) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", "umbra");
        if self.token.is_some() {
            config.set("sasl.mechanism", "OAUTHBEARER");
            config.set("security.protocol", "SASL_SSL");
        }
        for (key, value) in &self.user {
            config.set(key, value);
        }
        config.set("bootstrap.servers", &self.brokers).set_log_level(
            if self.user.contains_key("debug") {
                RDKafkaLogLevel::Debug
            } else {
                RDKafkaLogLevel::Info
            },
        );
        config
    }

    /// For a client that reads without a group, or asks as a reader.
    pub(super) fn reader(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("allow.auto.create.topics", "false")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            // An offset that is gone is told, counted and passed by us.
            .set("auto.offset.reset", "error");
        // Added partitions should be found before much is in them.
        self.unless_set(&mut config, "topic.metadata.refresh.interval.ms", "10000");
        // What librdkafka fetches ahead comes on top of the reader's own bound.
        self.unless_set(&mut config, "queued.max.messages.kbytes", "8192");
        self.unless_set(&mut config, "queued.min.messages", "2000");
        self.unless_set(&mut config, "fetch.wait.max.ms", "100");
        self.unless_set(&mut config, "fetch.queue.backoff.ms", "20");
        config
    }

    /// For a reader that has a queue for each partition, and takes so much of it. What is
    /// fetched beyond that comes on top.
    pub(super) fn fetch_for(&self, config: &mut ClientConfig, bytes: usize, records: usize) {
        let records = (records / 2).clamp(50, 2_000);
        self.unless_set(config, "queued.min.messages", &records.to_string());
        let bytes = (bytes / 2).clamp(64 << 10, 1 << 20);
        self.unless_set(config, "fetch.message.max.bytes", &bytes.to_string());
        self.unless_set(config, "queued.max.messages.kbytes", &(bytes >> 10).to_string());
    }

    /// For a member of a consumer group.
    pub(super) fn member(&self, group: &str) -> ClientConfig {
        let mut config = self.reader();
        config.set("group.id", group).set("partition.assignment.strategy", "cooperative-sticky");
        // Members hear of a rebalance with a heartbeat, twice while partitions move: what
        // moves has no reader meanwhile.
        self.unless_set(&mut config, "heartbeat.interval.ms", "500");
        config
    }

    /// For appending records of up to `limit` bytes.
    pub(super) fn producer(&self, queue_bytes: usize, limits: Limits) -> ClientConfig {
        let mut config = self.client();
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", "0")
            .set("message.max.bytes", limits.request.to_string())
            .set("queue.buffering.max.kbytes", (queue_bytes / 1024).max(1).to_string())
            // The other bound counts payload only; this one bounds what librdkafka
            // keeps per record beside it. Requests are seldom below 128 bytes.
            .set(
                "queue.buffering.max.messages",
                (queue_bytes / 128).clamp(1_000, 10_000_000).to_string(),
            );
        self.unless_set(&mut config, "compression.type", "lz4");
        // What waits for its batch is nobody's answer. A batch costs the same whatever is in
        // it, and each partition fills its own.
        self.unless_set(&mut config, "linger.ms", "50");
        // A record older than the linger that may not be sent yet, as five of its partition are
        // under way, keeps the broker's thread going round without a pause. With fewer requests
        // than that under way the next one is made and waits, and the thread with it.
        if !self.user.contains_key("max.in.flight") {
            self.unless_set(&mut config, "max.in.flight.requests.per.connection", "4");
        }
        let wanted = self.user.get("batch.size").and_then(|size| size.parse().ok());
        config.set("batch.size", wanted.unwrap_or(1_000_000).min(limits.batch).to_string());
        config
    }

    fn unless_set(&self, config: &mut ClientConfig, key: &str, value: &str) {
        if !self.user.contains_key(key) {
            config.set(key, value);
        }
    }
}

/// What the topic's `max.message.bytes` allows. The broker applies it to whole
/// batches, librdkafka does not split one that was refused, and its own sums are
/// estimates: hence a tenth of distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// For librdkafka's own check of a single record.
    pub(super) request: usize,
    /// Largest batch.
    pub(super) batch: usize,
    /// Largest record with key and headers.
    pub(super) record: usize,
}

impl Limits {
    pub(super) fn of(max_message_bytes: usize, queue_bytes: usize) -> Self {
        let below = max_message_bytes - max_message_bytes / 10;
        // librdkafka accepts no smaller values than 1,000, nor above 1,000,000,000.
        Self {
            request: max_message_bytes.clamp(1_000, 1_000_000_000),
            batch: below.max(1),
            // A record above the queue would find it full for ever.
            record: below.min(queue_bytes),
        }
    }
}

#[cfg(test)]
mod tests;
