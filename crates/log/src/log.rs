//! The two logs behind one enum, so that everything above is statically
//! dispatched and only the binary knows which one it opened.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    time::Duration,
};

use bytes::Bytes;

use crate::{
    Append, AppendTimes, Entry, Event, GroupState, Journal, LogError, Loss, Position, Rejected,
    Returned, Span, Table, Tail, TailOptions,
    file::{FileAppender, FileLog, FileTail},
    kafka::{KafkaAppender, KafkaLog, KafkaTail},
};

/// Where a log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A directory of MCAP segments, or a single MCAP file (to read only).
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
#[derive(Clone)]
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
    /// Kafka: prints the token that clients sign in with (SASL OAUTHBEARER), run by
    /// `sh -c`.
    pub token_command: Option<String>,
    /// Kafka: copies of each record of a topic that does not exist yet; three, or as
    /// many as there are brokers, if not told.
    pub replicas: Option<u32>,
    /// Kafka: how many producers share an appender's partitions and its queue, if both are
    /// large enough. One compresses and sends half a gigabyte a second at most.
    pub producers: u32,
    /// Kafka: settings of a topic that does not exist yet, such as `retention.ms`.
    pub topic: BTreeMap<String, String>,
}

impl fmt::Debug for LogOptions {
    /// Values of Kafka's properties and the token command may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogOptions")
            .field("partitions", &self.partitions)
            .field("kafka", &self.kafka.keys())
            .finish_non_exhaustive()
    }
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
            token_command: None,
            replicas: None,
            producers: 1,
            topic: BTreeMap::new(),
        }
    }
}

/// What a log is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// To write: created if absent.
    Create,
    /// To read: must be there.
    Existing,
}

/// An open log of either kind. Cheap to keep; holds no lock until an appender or
/// a tail is made of it.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a process has one or two of them")]
pub enum Log {
    /// Embedded.
    File(FileLog),
    /// On Kafka.
    Kafka(KafkaLog),
}

/// The writing side of a [`Log`].
#[derive(Debug)]
pub enum Appender {
    /// Embedded.
    File(FileAppender),
    /// On Kafka.
    Kafka(KafkaAppender),
}

/// The reading side of a [`Log`].
#[derive(Debug)]
pub enum LogTail {
    /// Embedded.
    File(FileTail),
    /// On Kafka.
    Kafka(KafkaTail),
}

impl Address {
    /// Reads `file:DIR`, a plain path or `kafka://BROKER[,BROKER]/TOPIC`. A
    /// broker without a port gets 9092.
    ///
    /// # Errors
    /// In words fit for the user.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("kafka://") {
            return parse_kafka(text, rest);
        }
        let path = match text.strip_prefix("file:") {
            Some(path) => path,
            None => match text.split_once("://") {
                Some((scheme, _)) => {
                    return Err(format!(
                        "`{text}`: `{scheme}` is no kind of log; use file:DIR or kafka://BROKER/TOPIC"
                    ));
                }
                None => text,
            },
        };
        if path.is_empty() {
            return Err(format!("`{text}`: the path of the log is missing"));
        }
        Ok(Self::File(PathBuf::from(path)))
    }
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Kafka { brokers, topic } => write!(f, "kafka://{}/{topic}", brokers.join(",")),
        }
    }
}

fn parse_kafka(text: &str, rest: &str) -> Result<Address, String> {
    let Some((brokers, topic)) = rest.split_once('/') else {
        return Err(format!("`{text}`: the topic is missing; write kafka://BROKER[,BROKER]/TOPIC"));
    };
    let mut seen = BTreeSet::new();
    let mut list = Vec::new();
    for broker in brokers.split(',') {
        let broker = with_port(broker.trim()).map_err(|why| format!("`{text}`: {why}"))?;
        if seen.insert(broker.clone()) {
            list.push(broker);
        }
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.is_empty()
        || topic.len() > 249
        || !topic.chars().all(legal)
        || matches!(topic, "." | "..")
    {
        return Err(format!(
            "`{text}`: `{topic}` is no topic name (1 to 249 letters, digits, `.`, `_`, `-`)"
        ));
    }
    Ok(Address::Kafka { brokers: list, topic: topic.to_owned() })
}

fn with_port(broker: &str) -> Result<String, String> {
    // An IPv6 address stands in brackets; a colon behind them begins the port.
    let after_host = broker.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match broker[after_host..].rfind(':') {
        Some(at) => (&broker[..after_host + at], &broker[after_host + at + 1..]),
        None => (broker, "9092"),
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || (host.contains(':') && !bracketed) {
        return Err(format!("`{broker}` is no broker address (HOST:PORT)"));
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(format!("{host}:{port}")),
        _ => Err(format!("`{port}` is no port")),
    }
}

impl Log {
    /// Opens the log at `address`.
    ///
    /// # Errors
    /// [`LogError::NotFound`] if it must exist and does not,
    /// [`LogError::Unusable`] if what is there is something else.
    pub async fn open(
        address: &Address,
        options: LogOptions,
        mode: Mode,
    ) -> Result<Self, LogError> {
        Ok(match address {
            Address::File(path) => {
                let path = path.clone();
                Self::File(blocking(move || FileLog::open(&path, options, mode)).await?)
            }
            Address::Kafka { brokers, topic } => {
                Self::Kafka(KafkaLog::open(brokers, topic, options, mode).await?)
            }
        })
    }

    /// The writing side. An embedded log has one writer at a time; dropping it
    /// blocks until what it accepted is written, so flush it first.
    ///
    /// # Errors
    /// [`LogError::Held`] names the other writer of an embedded log.
    pub async fn appender(&self) -> Result<Appender, LogError> {
        Ok(match self {
            Self::File(log) => Appender::File(blocking(of(log, FileLog::appender)).await?),
            Self::Kafka(log) => Appender::Kafka(log.appender().await?),
        })
    }

    /// A reader.
    ///
    /// # Errors
    /// [`LogError::Held`] if another process reads an embedded log for this group.
    pub async fn tail(&self, options: TailOptions) -> Result<LogTail, LogError> {
        Ok(match self {
            Self::File(log) => {
                LogTail::File(blocking(of(log, move |log| log.tail(&options))).await?)
            }
            Self::Kafka(log) => LogTail::Kafka(log.tail(options).await?),
        })
    }

    /// What each partition holds now, in order of the partitions.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub async fn spans(&self) -> Result<Vec<Span>, LogError> {
        match self {
            Self::File(log) => blocking(of(log, FileLog::spans)).await,
            Self::Kafka(log) => log.spans().await,
        }
    }

    /// Where reading from a time on must begin, per partition: every record of
    /// the partition before that offset is older than `time_ns`. The high
    /// watermark if there is nothing as new. Kafka names the exact record (to the
    /// millisecond), an embedded log may begin earlier.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub async fn offsets_for_time(&self, time_ns: u64) -> Result<BTreeMap<u32, u64>, LogError> {
        match self {
            Self::File(log) => blocking(of(log, move |log| log.offsets_for_time(time_ns))).await,
            Self::Kafka(log) => log.offsets_for_time(time_ns).await,
        }
    }

    /// How far a group of readers is, and who they are. Joins nothing and disturbs
    /// nobody.
    ///
    /// # Errors
    /// If the log cannot be read, or what a member told of itself cannot.
    pub async fn group(&self, group: &str) -> Result<GroupState, LogError> {
        match self {
            Self::File(log) => {
                let group = group.to_owned();
                blocking(of(log, move |log| log.group(&group))).await
            }
            Self::Kafka(log) => log.group(group).await,
        }
    }

    /// Forgets the progress of a group, if there is any: a reader that joins it
    /// begins at its start.
    ///
    /// # Errors
    /// [`LogError::Held`] while the group has members.
    pub async fn delete_group(&self, group: &str) -> Result<(), LogError> {
        match self {
            Self::File(log) => {
                let group = group.to_owned();
                blocking(of(log, move |log| log.delete_group(&group))).await
            }
            Self::Kafka(log) => log.delete_group(group).await,
        }
    }

    /// The time of the record at each of these offsets (one a partition), or of the
    /// next record there is. A partition without one is left out, and so is one
    /// whose record could not be read before the deadline.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub async fn times_at(
        &self,
        offsets: &BTreeMap<u32, u64>,
        deadline: Duration,
    ) -> Result<BTreeMap<u32, u64>, LogError> {
        let offsets = offsets.clone();
        match self {
            Self::File(log) => blocking(of(log, move |log| log.times_at(&offsets, deadline))).await,
            Self::Kafka(log) => log.times_at(offsets, deadline).await,
        }
    }

    /// The side log of that name (`jobs`, `dead`), created if absent.
    ///
    /// # Errors
    /// If it can be neither opened nor created.
    pub async fn journal(&self, suffix: &str) -> Result<Journal, LogError> {
        Ok(match self {
            Self::File(log) => Journal::File(log.journal(suffix)?),
            Self::Kafka(log) => Journal::Kafka(log.journal(suffix, Mode::Create).await?),
        })
    }

    /// The same if it is there already: nothing is created.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub async fn journal_if_any(&self, suffix: &str) -> Result<Option<Journal>, LogError> {
        match self {
            Self::File(log) => {
                let journal = log.journal(suffix)?;
                Ok(journal.exists().then_some(Journal::File(journal)))
            }
            Self::Kafka(log) => match log.journal(suffix, Mode::Existing).await {
                Ok(journal) => Ok(Some(Journal::Kafka(journal))),
                Err(LogError::NotFound(_)) => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    /// The table of that name (`keys`), created if absent.
    ///
    /// # Errors
    /// If it can be neither opened nor created.
    pub async fn table(&self, suffix: &str) -> Result<Table, LogError> {
        Ok(match self {
            Self::File(log) => Table::File(log.table(suffix)?),
            Self::Kafka(log) => Table::Kafka(log.table(suffix, Mode::Create).await?),
        })
    }

    /// The same, to be read: nothing is created, and nothing is in it while it is not
    /// there.
    ///
    /// # Errors
    /// If the name cannot be one.
    pub async fn table_if_any(&self, suffix: &str) -> Result<Table, LogError> {
        Ok(match self {
            Self::File(log) => Table::File(log.table(suffix)?),
            Self::Kafka(log) => Table::Kafka(log.table(suffix, Mode::Existing).await?),
        })
    }

    /// How long a topic keeps a record after its time; `None`: for ever, or not told,
    /// or an embedded log.
    #[must_use]
    pub fn retention(&self) -> Option<Duration> {
        match self {
            Self::File(_) => None,
            Self::Kafka(log) => log.retention(),
        }
    }

    /// How people call it: the path, or the topic.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::File(log) => log.name(),
            Self::Kafka(log) => log.name(),
        }
    }
}

/// What `call` does to an embedded log, to be done elsewhere.
fn of<T, F: FnOnce(&FileLog) -> T>(log: &FileLog, call: F) -> impl FnOnce() -> T + use<T, F> {
    let log = log.clone();
    move || call(&log)
}

/// Files are read on the threads the runtime keeps for what blocks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(LogError::Io(format!("reading the log failed: {error}"))),
    }
}

impl Append for Appender {
    fn partitions(&self) -> u32 {
        match self {
            Self::File(one) => one.partitions(),
            Self::Kafka(one) => one.partitions(),
        }
    }

    fn enqueue(&self, entry: &Entry<'_>) -> Result<Position, Rejected> {
        match self {
            Self::File(one) => one.enqueue(entry),
            Self::Kafka(one) => one.enqueue(entry),
        }
    }

    fn durable(&self, partition: u32) -> u64 {
        match self {
            Self::File(one) => one.durable(partition),
            Self::Kafka(one) => one.durable(partition),
        }
    }

    fn losses(&self) -> Vec<Loss> {
        match self {
            Self::File(one) => one.losses(),
            Self::Kafka(one) => one.losses(),
        }
    }

    fn waiting(&self) -> Duration {
        match self {
            Self::File(one) => one.waiting(),
            Self::Kafka(one) => one.waiting(),
        }
    }

    fn fits(&self, entry: &Entry<'_>) -> Result<(), Rejected> {
        match self {
            Self::File(one) => one.fits(entry),
            Self::Kafka(one) => one.fits(entry),
        }
    }

    fn times(&self) -> Option<AppendTimes> {
        match self {
            Self::File(one) => one.times(),
            Self::Kafka(one) => one.times(),
        }
    }

    fn take_back(&self, deadline: Duration) -> Vec<Returned> {
        match self {
            Self::File(one) => one.take_back(deadline),
            Self::Kafka(one) => one.take_back(deadline),
        }
    }

    async fn flush(&self, deadline: Duration) -> Result<(), LogError> {
        match self {
            Self::File(one) => one.flush(deadline).await,
            Self::Kafka(one) => one.flush(deadline).await,
        }
    }
}

impl Tail for LogTail {
    async fn next(&mut self) -> Result<Event, LogError> {
        match self {
            Self::File(one) => one.next().await,
            Self::Kafka(one) => one.next().await,
        }
    }

    fn finish(&mut self, partition: u32) {
        match self {
            Self::File(one) => one.finish(partition),
            Self::Kafka(one) => one.finish(partition),
        }
    }

    fn note(&mut self, partition: u32, note: Bytes) {
        match self {
            Self::File(one) => one.note(partition, note),
            Self::Kafka(one) => one.note(partition, note),
        }
    }

    async fn close(self, deadline: Duration) -> Result<(), LogError> {
        match self {
            Self::File(one) => one.close(deadline).await,
            Self::Kafka(one) => one.close(deadline).await,
        }
    }
}

#[cfg(test)]
mod tests;
