//! Puts the values that were sealed at capture back into the requests that are sent:
//! finds their data keys in the log's table, opens those with the user's identities, and
//! says of the others why they stay closed. When that happens is `send`'s business, and
//! nobody else is ever given a value.

mod echo;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use prost::Message as _;
use tokio::sync::Mutex;
use umbra_log::{Log, LogError, Table};
use umbra_record::{
    pb,
    redact::{Restored, restore},
    seal::{
        DataKey, OpenError, Opener, TABLE,
        wrap::{Identities, WrapError},
    },
};

use crate::{error::ReplayError, outcome::Outgoing};
pub(crate) use echo::Echo;

/// Between tries to read the table while it does not answer.
const AGAIN: Duration = Duration::from_secs(1);
/// So many tries.
const TRIES: usize = 10;
/// Most data keys that are remembered; what is beyond stays closed.
const MAX_KEYS: usize = 100_000;
/// Bodies above this are not edited on a thread that others wait for.
const LARGE: usize = 64 << 10;

/// How values that were sealed at capture come back.
#[derive(Debug, Clone, Default)]
pub struct Unsealing {
    /// Those whose data keys open; `None`: nobody's.
    pub identities: Option<Identities>,
    /// What happens to a request with values that stay closed.
    pub closed: Closed,
}

/// What happens to a request with a value that cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Closed {
    /// The replay ends before it is sent, with an error that names the key.
    #[default]
    Stop,
    /// It is sent without the value, which is counted.
    Omit,
}

/// The data keys of a log, as far as they were needed. Shared by all who send.
pub(crate) struct Seals {
    unsealing: Unsealing,
    table: Table,
    known: RwLock<HashMap<String, Key>>,
    /// Held while the table is read, so that one does it for all who wait.
    reading: Mutex<()>,
}

/// What is known of a data key.
#[derive(Clone)]
enum Key {
    Open(DataKey),
    /// And why, in words.
    Closed(Arc<str>),
}

/// A request with its values back, and what that came to.
pub(crate) struct Unsealed {
    pub outgoing: Outgoing,
    pub restored: Restored,
    pub echo: Echo,
}

impl Seals {
    pub(crate) async fn new(log: &Log, unsealing: Unsealing) -> Result<Self, ReplayError> {
        let table = log.table_if_any(TABLE).await?;
        Ok(Self { unsealing, table, known: RwLock::default(), reading: Mutex::new(()) })
    }

    /// Gets the keys of these values ready.
    ///
    /// # Errors
    /// If one of them is closed and that ends the replay, or the table cannot be read.
    pub(crate) async fn prepare(&self, sealed: &[pb::Sealed]) -> Result<(), ReplayError> {
        for sealed in sealed {
            let key = match self.known(&sealed.key_id) {
                Some(key) => key,
                None => self.find(&sealed.key_id).await?,
            };
            if let (Key::Closed(why), Closed::Stop) = (key, self.unsealing.closed) {
                return Err(ReplayError::Sealed {
                    key: sealed.key_id.clone(),
                    place: sealed.place.clone(),
                    why: why.to_string(),
                });
            }
        }
        Ok(())
    }

    /// Why a key does not open; `None`: it does.
    pub(crate) async fn why_closed(&self, key: &str) -> Result<Option<Arc<str>>, ReplayError> {
        let key = match self.known(key) {
            Some(key) => key,
            None => self.find(key).await?,
        };
        Ok(match key {
            Key::Open(_) => None,
            Key::Closed(why) => Some(why),
        })
    }

    /// The request as it is to be sent: its values put back, or left out with `unseal`
    /// false and where the user said so.
    ///
    /// # Errors
    /// The value that does not open, in words.
    pub(crate) async fn restore(
        self: &Arc<Self>,
        outgoing: Outgoing,
        unseal: bool,
    ) -> Result<Unsealed, String> {
        let seals = Arc::clone(self);
        let large = outgoing.body.iter().flatten().map(bytes::Bytes::len).sum::<usize>() > LARGE;
        if !large {
            return seals.restore_now(outgoing, unseal);
        }
        let done = tokio::task::spawn_blocking(move || seals.restore_now(outgoing, unseal));
        done.await.map_err(|stopped| format!("putting sealed values back: {stopped}"))?
    }

    fn restore_now(&self, mut outgoing: Outgoing, unseal: bool) -> Result<Unsealed, String> {
        let mut opener = Opener::default();
        for sealed in outgoing.request.sealed.iter().filter(|_| unseal) {
            if let Some(Key::Open(key)) = self.known(&sealed.key_id)
                && !opener.has(key.id())
            {
                opener.add(&key);
            }
        }
        let echo = Echo::of(&outgoing.request, &opener);
        let omit = !unseal || self.unsealing.closed == Closed::Omit;
        let restored =
            restore(Arc::make_mut(&mut outgoing.request), &mut outgoing.body, Some(&opener), omit)
                .map_err(|error| match error {
                    OpenError::NoKey(id) => format!("a value is sealed with key {id}"),
                    damaged @ OpenError::Damaged(_) => format!("a sealed value: {damaged}"),
                })?;
        Ok(Unsealed { outgoing, restored, echo })
    }

    fn known(&self, id: &str) -> Option<Key> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Reads the table. A key is in it before anything is sealed with it: one that is
    /// not there now is there no more.
    async fn find(&self, id: &str) -> Result<Key, ReplayError> {
        let _one_at_a_time = self.reading.lock().await;
        if let Some(key) = self.known(id) {
            return Ok(key);
        }
        let all = self.read().await?;
        let key = match all.get(id) {
            Some(entry) => self.open(id, entry),
            None => Key::Closed(
                format!(
                    "it is not in {}: it was erased, or the log was copied without its keys",
                    self.table.name()
                )
                .into(),
            ),
        };
        if let Key::Closed(why) = &key {
            tracing::warn!(key = id, "a key of sealed values stays closed: {why}");
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MAX_KEYS {
            known.insert(id.to_owned(), key.clone());
        }
        Ok(key)
    }

    async fn read(&self) -> Result<std::collections::BTreeMap<String, bytes::Bytes>, LogError> {
        let mut tries = 1;
        loop {
            match self.table.read_all().await {
                Err(error) if error.retryable() && tries < TRIES => {
                    tracing::warn!(%error, "reading the keys of sealed values; trying again");
                    tries += 1;
                    tokio::time::sleep(AGAIN).await;
                }
                read => return read,
            }
        }
    }

    fn open(&self, id: &str, entry: &[u8]) -> Key {
        let closed = |why: String| Key::Closed(why.into());
        let Ok(entry) = pb::DataKey::decode(entry) else {
            return closed(format!("its entry in {} is damaged", self.table.name()));
        };
        let recipients = entry.recipients.join(", ");
        let Some(identities) = &self.unsealing.identities else {
            return closed(format!("it is for {recipients}, and no identity was given"));
        };
        match identities.unwrap(id, &entry.wrapped) {
            Ok(key) => Key::Open(key),
            Err(WrapError::NotForUs) => {
                let ours = identities.recipients().names().join(", ");
                closed(format!("it is for {recipients}, and the identities given are {ours}"))
            }
            Err(error @ WrapError::Damaged(_)) => closed(error.to_string()),
        }
    }
}

impl fmt::Debug for Seals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seals").field("table", &self.table).finish_non_exhaustive()
    }
}
