//! The two logs behind one enum, so that everything above is statically
//! dispatched and only the binary knows which one it opened.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// Where a log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A directory of MCAP segments.
    File(PathBuf),
    /// `kafka://BROKER[,BROKER]/TOPIC`.
    Kafka {
        /// Bootstrap servers, `host:port`.
        brokers: Vec<String>,
        /// The topic.
        topic: String,
    },
}

/// What describes the payloads to readers of an embedded log (kept in each
/// segment); opaque to us.
#[derive(Debug, Clone)]
pub struct Schema {
    /// Full name, such as `umbra.v1.Record`.
    pub name: String,
    /// Encoding of `data`, such as `protobuf`.
    pub encoding: String,
    /// For protobuf: a serialized `FileDescriptorSet`.
    pub data: Vec<u8>,
}

/// How to open a log. Fields that do not concern the kind of log are ignored.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Describes the payloads.
    pub schema: Option<Schema>,
    /// Bound of the queue before the log, in bytes of payload.
    pub queue_bytes: usize,
    /// Longest wait for brokers, of each call that asks them.
    pub connect_timeout: Duration,
    /// Partitions of a log that does not exist yet.
    pub partitions: u32,
    /// Embedded: a segment is closed at this size …
    pub segment_bytes: u64,
    /// … or this age.
    pub segment_age: Duration,
    /// Embedded: oldest segments are removed above this many bytes …
    pub retain_bytes: Option<u64>,
    /// … or beyond this age.
    pub retain_age: Option<Duration>,
    /// Kafka: properties of the user, passed to librdkafka.
    pub kafka: BTreeMap<String, String>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            schema: None,
            queue_bytes: 16 << 20,
            connect_timeout: Duration::from_secs(10),
            partitions: 12,
            segment_bytes: 128 << 20,
            segment_age: Duration::from_secs(600),
            retain_bytes: None,
            retain_age: None,
            kafka: BTreeMap::new(),
        }
    }
}
