//! The data keys an agent seals with: one for each day (UTC), so that a day can be
//! erased by destroying its keys. Each is encrypted to the recipients and durable in
//! the log's key store before anything is sealed with it; nothing in a log is ever
//! sealed with a key that nobody can find. How values are sealed is in `umbra-record`,
//! where keys are kept in `umbra-log`.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prost::Message as _;
use umbra_log::{LogError, Table};
use umbra_record::{
    pb,
    seal::{DataKey, Sealer, wrap::Recipients},
};

const DAY_NS: u64 = 86_400 * 1_000_000_000;

/// How long before midnight the next day's key is put into the store …
const AHEAD: Duration = Duration::from_secs(3600);

/// … and how often that is tried again.
const RETRY: Duration = Duration::from_secs(60);

/// Longest sleep before the clock is looked at again: it may be set.
const LOOK: Duration = Duration::from_secs(600);

/// Keys that may be in use at a time: requests that began yesterday are still being
/// written, and tomorrow's is there before midnight.
const KEPT: usize = 3;

/// Where wrapped keys are kept.
pub trait KeyStore: Send + Sync {
    /// Keeps an entry (`umbra.v1.DataKey`) under its id; returns once it is durable.
    /// The same again changes nothing.
    fn put(&self, id: &str, entry: &[u8]) -> impl Future<Output = Result<(), LogError>> + Send;
}

impl KeyStore for Table {
    async fn put(&self, id: &str, entry: &[u8]) -> Result<(), LogError> {
        Self::put(self, id, entry).await
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system gives no randomness, or the key cannot be encrypted.
    #[error("no data key can be made: {0}")]
    Make(String),
    /// The store does not take it.
    #[error("the data key cannot be kept with the log: {0}")]
    Keep(#[source] LogError),
}

/// The keys of one agent; clones are the same keys.
#[derive(Clone)]
pub struct SealKeys {
    shared: Arc<Shared>,
}

struct Shared {
    agent: [u8; 16],
    recipients: Recipients,
    /// In order of time; never empty.
    keys: Mutex<Vec<Since>>,
    /// Counts changes of `keys`.
    generation: AtomicU64,
    failures: AtomicU64,
    /// Day of the newest key.
    newest: AtomicU64,
}

/// A key, and from when on requests that begin are sealed with it.
#[derive(Clone)]
struct Since {
    from_ns: u64,
    key: Arc<DataKey>,
}

/// What one thread seals with.
#[derive(Debug, Default)]
pub(crate) struct Sealers {
    keys: Option<SealKeys>,
    generation: u64,
    /// In order of time.
    sealers: Vec<(u64, Sealer)>,
}

impl SealKeys {
    /// The first key of an agent, for requests from now on; it is in the store when
    /// this returns.
    ///
    /// # Errors
    /// The key cannot be made or kept.
    pub async fn open(
        store: &impl KeyStore,
        recipients: Recipients,
        agent: [u8; 16],
        now_ns: u64,
    ) -> Result<Self, KeyError> {
        let key = put(store, &recipients, &agent, now_ns).await?;
        // Whatever was begun before is sealed with it too.
        let keys = vec![Since { from_ns: 0, key }];
        Ok(Self {
            shared: Arc::new(Shared {
                agent,
                recipients,
                keys: Mutex::new(keys),
                generation: AtomicU64::new(1),
                failures: AtomicU64::new(0),
                newest: AtomicU64::new(now_ns / DAY_NS),
            }),
        })
    }

    /// Puts the key of each next day into the store in time, for as long as it is
    /// polled. While that fails, the last key goes on being used, and it is told.
    pub async fn renew(&self, store: &impl KeyStore, now_ns: impl Fn() -> u64) {
        loop {
            let wait = self.look_ahead(store, now_ns()).await;
            tokio::time::sleep(wait).await;
        }
    }

    /// Does what is due, and says when to look again.
    async fn look_ahead(&self, store: &impl KeyStore, now_ns: u64) -> Duration {
        let newest = self.shared.newest.load(Ordering::Relaxed);
        // The day after today, or today if that was missed.
        let wanted = (now_ns + nanos(AHEAD)) / DAY_NS;
        if wanted <= newest {
            let due_ns = (newest + 1) * DAY_NS - nanos(AHEAD);
            return Duration::from_nanos(due_ns.saturating_sub(now_ns)).min(LOOK);
        }
        let start_ns = wanted * DAY_NS;
        match put(store, &self.shared.recipients, &self.shared.agent, start_ns).await {
            Ok(key) => {
                self.shared.newest.store(wanted, Ordering::Relaxed);
                // Late, it seals from now on: what was sealed stays as it is.
                self.add(Since { from_ns: start_ns.max(now_ns), key });
                Duration::ZERO
            }
            Err(error) => {
                self.shared.failures.fetch_add(1, Ordering::Relaxed);
                let late = now_ns >= start_ns;
                tracing::error!(%error, late, "no data key for the next day yet: the last one goes on being used");
                RETRY
            }
        }
    }

    /// Recipients, as text.
    pub fn recipients(&self) -> Vec<String> {
        self.shared.recipients.names()
    }

    /// How often a key could not be put into the store.
    pub(crate) fn failures(&self) -> u64 {
        self.shared.failures.load(Ordering::Relaxed)
    }

    fn add(&self, since: Since) {
        let mut keys = self.keys();
        tracing::info!(key = since.key.id(), "the next data key is in the store");
        keys.push(since);
        let surplus = keys.len().saturating_sub(KEPT);
        keys.drain(..surplus);
        self.shared.generation.fetch_add(1, Ordering::Release);
    }

    fn keys(&self) -> MutexGuard<'_, Vec<Since>> {
        self.shared.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKeys").field("recipients", &self.shared.recipients).finish()
    }
}

impl Sealers {
    pub(crate) fn new(keys: Option<SealKeys>) -> Self {
        Self { keys, generation: 0, sealers: Vec::new() }
    }

    /// Seals what belongs to a request that began then; `None`: nothing is sealed
    /// here.
    pub(crate) fn at(&mut self, start_ns: u64) -> Option<&mut Sealer> {
        let keys = self.keys.as_ref()?;
        let generation = keys.shared.generation.load(Ordering::Acquire);
        if generation != self.generation {
            self.take(&keys.clone());
            self.generation = generation;
        }
        let after = self.sealers.partition_point(|(from_ns, _)| *from_ns <= start_ns);
        self.sealers.get_mut(after.saturating_sub(1)).map(|(_, sealer)| sealer)
    }

    fn take(&mut self, keys: &SealKeys) {
        let old = std::mem::take(&mut self.sealers);
        let mut old: Vec<Option<(u64, Sealer)>> = old.into_iter().map(Some).collect();
        for Since { from_ns, key } in keys.keys().iter() {
            let known = old
                .iter_mut()
                .find(|one| one.as_ref().is_some_and(|(_, sealer)| Arc::ptr_eq(sealer.key(), key)));
            match known.and_then(Option::take) {
                Some(sealer) => self.sealers.push(sealer),
                // Without randomness for its nonces, a value is dropped, not sealed.
                None => match Sealer::new(Arc::clone(key)) {
                    Ok(sealer) => self.sealers.push((*from_ns, sealer)),
                    Err(error) => tracing::error!(%error, "no randomness: values are dropped"),
                },
            }
        }
    }
}

/// Makes a key for requests from then on, and puts it into the store.
async fn put(
    store: &impl KeyStore,
    recipients: &Recipients,
    agent: &[u8; 16],
    created_ns: u64,
) -> Result<Arc<DataKey>, KeyError> {
    let make = |error: &dyn fmt::Display| KeyError::Make(error.to_string());
    let key = DataKey::for_day(created_ns).map_err(|error| make(&error))?;
    let wrapped = recipients.wrap(&key).map_err(|error| make(&error))?;
    let entry = pb::DataKey {
        id: key.id().to_owned(),
        agent: agent.to_vec().into(),
        created_ns,
        recipients: recipients.names(),
        wrapped: wrapped.into(),
    };
    store.put(key.id(), &entry.encode_to_vec()).await.map_err(KeyError::Keep)?;
    Ok(Arc::new(key))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
