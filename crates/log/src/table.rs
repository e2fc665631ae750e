//! A small durable table beside a log: opaque bytes by key, where a key that is removed
//! takes what it stood for with it. Data keys of sealed values live in one. Not made for
//! volume.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{LogError, file::FileTable, kafka::KafkaTable};

/// Longest key.
pub const MAX_KEY: usize = 128;
/// Largest value.
pub const MAX_VALUE: usize = 64 << 10;
/// Most keys that are read.
pub const MAX_KEYS: usize = 100_000;

/// A table of either kind. Cheap to clone.
///
/// Promises: what `put` or `remove` returned from is durable, and every later
/// `read_all`, anywhere, shows it; the last `put` of a key wins. A value that was
/// removed or replaced is not only hidden: a file is gone when `remove` returns, and a
/// topic's brokers delete it within minutes of their own accord.
#[derive(Debug, Clone)]
pub enum Table {
    /// A directory beside the embedded log.
    File(FileTable),
    /// A compacted topic of one partition.
    Kafka(KafkaTable),
}

impl Table {
    /// Sets the value of a key: 1 to [`MAX_KEY`] letters, digits, `.`, `_` and `-`, not
    /// beginning with a dot.
    ///
    /// # Errors
    /// If it could not be made durable; it may still turn up later, and may be put again.
    pub async fn put(&self, key: &str, value: &[u8]) -> Result<(), LogError> {
        check_key(key)?;
        if value.len() > MAX_VALUE {
            return Err(LogError::Refused(format!(
                "a value of {} bytes is above a table's limit of {MAX_VALUE}",
                value.len()
            )));
        }
        match self {
            Self::File(table) => table.put(key, value).await,
            Self::Kafka(table) => table.put(key, value).await,
        }
    }

    /// Removes these keys with their values. Those that are not there are no error.
    ///
    /// # Errors
    /// If not all of it could be made durable.
    pub async fn remove(&self, keys: &[String]) -> Result<(), LogError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        if keys.is_empty() {
            return Ok(());
        }
        match self {
            Self::File(table) => table.remove(keys).await,
            Self::Kafka(table) => table.remove(keys).await,
        }
    }

    /// Everything that is in it now.
    ///
    /// # Errors
    /// If it cannot be read, or holds more than [`MAX_KEYS`].
    pub async fn read_all(&self) -> Result<BTreeMap<String, Bytes>, LogError> {
        match self {
            Self::File(table) => table.read_all().await,
            Self::Kafka(table) => table.read_all().await,
        }
    }

    /// How people call it: the directory, or the topic.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::File(table) => table.name(),
            Self::Kafka(table) => table.name().to_owned(),
        }
    }
}

fn check_key(key: &str) -> Result<(), LogError> {
    if is_key(key) {
        return Ok(());
    }
    Err(LogError::Refused(format!("`{key}` cannot be a key of a table")))
}

/// Whether it is fit for a file's name.
pub(crate) fn is_key(key: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !key.is_empty() && key.len() <= MAX_KEY && !key.starts_with('.') && key.bytes().all(legal)
}

/// Refuses to hold more than is bearable.
pub(crate) fn too_many(name: &str) -> LogError {
    LogError::Unusable(format!("{name} holds more than {MAX_KEYS} keys: remove those of no use"))
}
