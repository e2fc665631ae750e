//! What is asked of the brokers about a topic: whether it is there and with which
//! settings, creating it, what its partitions hold, and where a time begins. What a
//! topic has to be is in `topic`.

mod answers;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, ResourceSpecifier},
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
};
use tokio::task::spawn_blocking;

use self::answers::{Found, offsets};
use super::{
    client::{STEP, Watch, explain, is_unsettled, sorted},
    properties::Properties,
    token::hand_over,
    topic::{Settings, Topic, Wanted},
};
use crate::{LogError, Span};

/// How long a topic's settings are asked for where none are told.
const UNTOLD: Duration = Duration::from_secs(3);
/// How long an answer is waited for first; twice as long each time after that. Why
/// there is none is told in between.
const FIRST_PATIENCE: Duration = Duration::from_millis(250);

/// A client that asks. Its calls wait for the network, so they run on the
/// runtime's threads for that; none takes longer than `timeout`.
pub(super) struct Admin {
    properties: Properties,
    timeout: Duration,
    client: BaseConsumer<Watch>,
    /// Threads that close clients which nobody needs any more.
    closing: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Admin {
    fn drop(&mut self) {
        let closing = std::mem::take(&mut self.closing);
        for one in closing.into_inner().unwrap_or_else(PoisonError::into_inner) {
            if one.join().is_err() {
                tracing::error!("a thread that closes a client of Kafka has panicked");
            }
        }
    }
}

impl Admin {
    pub(super) fn new(properties: Properties, timeout: Duration) -> Result<Arc<Self>, LogError> {
        let client: BaseConsumer<Watch> = properties
            .reader()
            .create_with_context(properties.watch())
            .map_err(|error| explain("opening the log", properties.brokers(), &error, None))?;
        let admin = Arc::new(Self { properties, timeout, client, closing: Mutex::default() });
        // Nobody polls it while nobody asks: each new token is handed to it.
        let weak = Arc::downgrade(&admin);
        admin.properties.on_token(move |token| {
            let Some(admin) = weak.upgrade() else { return false };
            if let Err(why) = hand_over(admin.client.client(), token) {
                tracing::warn!("a client of Kafka does not take the new token: {why}");
            }
            true
        });
        Ok(admin)
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
        self.open_checked(name, wanted, Settings::refuse).await
    }

    /// The same for a topic of which something else is demanded than of a log.
    pub(super) async fn open_checked(
        self: &Arc<Self>,
        name: &str,
        wanted: Option<&Wanted>,
        refuse: fn(&Settings, &str) -> Result<(), LogError>,
    ) -> Result<Topic, LogError> {
        let deadline = Instant::now() + self.timeout;
        let admin = self.admin()?;
        // Both are asked at once, for it is seldom that the topic has to be made.
        let looking = async {
            let found = self.look(name, deadline).await;
            found.map_err(|error| beside(error, wanted))
        };
        let asking = async { Ok(self.ask_settings(&admin, name).await) };
        let (found, told) = tokio::try_join!(looking, asking)?;
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
        let created = found.partitions.is_none();
        let settings = match told {
            Ok(told) if told.complete() => told,
            _ => self.insist_on_settings(&admin, name, deadline).await?,
        };
        self.finish(admin);
        refuse(&settings, name)?;
        let topic = settings.topic(partitions, replicas);
        if let Some(wanted) = wanted.filter(|_| !created)
            && let Some(differences) = topic.differs(wanted)
        {
            tracing::warn!(
                topic = name,
                "the topic was there before and is used as it is: {differences}"
            );
        }
        Ok(topic)
    }

    /// Largest batch the topic takes now; `None`: we may not read its settings.
    ///
    /// # Errors
    /// If the brokers do not answer.
    pub(super) async fn max_message_bytes(
        self: &Arc<Self>,
        name: &str,
    ) -> Result<Option<usize>, LogError> {
        let admin = self.admin()?;
        let settings = self.insist_on_settings(&admin, name, Instant::now() + self.timeout).await?;
        self.finish(admin);
        Ok(settings.max_message_bytes())
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
    /// without such a record are left out. While a partition changes its leader, or
    /// has none yet, it is asked again.
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
        let doing = "asking for offsets";
        let deadline = Instant::now() + self.timeout;
        loop {
            let query = query.clone();
            let answer = self
                .ask(doing, move |client, timeout| client.offsets_for_times(query, timeout))
                .await?;
            // If none of them is led, the call itself fails.
            let (what, error) = match answer.map(|answer| offsets(&answer)) {
                Ok(Ok(offsets)) => return Ok(offsets),
                Ok(Err((partition, error))) => (format!(" of {name}/{partition}"), error),
                Err(error) => (format!(" of {name}"), error),
            };
            if !is_unsettled(&error) || Instant::now() >= deadline {
                return Err(self.explain(&format!("{doing}{what}"), &error));
            }
            tokio::time::sleep(STEP).await;
        }
    }

    /// Looks for the topic, until the deadline, or until it is known that looking
    /// longer does not help.
    async fn look(self: &Arc<Self>, name: &str, deadline: Instant) -> Result<Found, LogError> {
        let doing = format!("looking for the topic {name}");
        let mut patience = FIRST_PATIENCE;
        // What befell an idle connection does not matter.
        self.ask(&doing, |client, _| {
            client.context().forget();
            Ok(())
        })
        .await?
        .map_err(|error| self.explain(&doing, &error))?;
        loop {
            let topic = name.to_owned();
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = patience.min(left).max(STEP);
            let answer = self
                .ask(&doing, move |client, _| client.fetch_metadata(Some(&topic), wait))
                .await?;
            match answer {
                Ok(metadata) => return Found::read(name, &metadata, self.properties.brokers()),
                Err(error) if wait >= left || self.client.context().hopeless() => {
                    return Err(self.explain(&doing, &error));
                }
                Err(error) => tracing::debug!(%error, "{doing}"),
            }
            patience *= 2;
        }
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
        let admin = self.admin()?;
        let doing = format!("creating the topic {name}");
        let results = admin
            .create_topics([&wanted.request(name, brokers)], &self.options())
            .await
            .map_err(|error| self.explain(&doing, &error))?;
        self.finish(admin);
        for result in results {
            match result {
                Ok(_) => tracing::info!(topic = name, "created with {}", wanted.words(brokers)),
                // Another agent was faster: its topic is as good as ours if it passes.
                Err((_, Code::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(self.not_created(name, wanted, brokers, code)),
            }
        }
        Ok(())
    }

    fn not_created(&self, name: &str, wanted: &Wanted, brokers: usize, code: Code) -> LogError {
        let remedy = match code {
            Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => format!(
                "; allow Create on the topic {name} (or on the cluster) by ACL, or create it \
                 beforehand"
            ),
            Code::InvalidReplicationFactor => {
                format!("; the cluster has {brokers} broker(s): choose --replicas accordingly")
            }
            Code::PolicyViolation => {
                "; a policy of the cluster forbids it: create it as the policy wants".to_owned()
            }
            Code::InvalidConfig => "; one of these settings is not taken".to_owned(),
            _ => String::new(),
        };
        sorted(
            code,
            format!(
                "creating the topic {name} with {} (Kafka at {}): {code}{remedy}",
                wanted.words(brokers),
                self.properties.brokers()
            ),
        )
    }

    /// The topic's settings; none if we may not read them. `rdkafka` does not hand on
    /// why a broker tells none: it may not have heard yet of a topic that another one
    /// knows, so it is asked again for a while.
    async fn insist_on_settings(
        &self,
        admin: &AdminClient<Watch>,
        name: &str,
        deadline: Instant,
    ) -> Result<Settings, LogError> {
        let deadline = deadline.min(Instant::now() + UNTOLD);
        loop {
            let told = self.ask_settings(admin, name).await?;
            if told.complete() {
                return Ok(told);
            }
            if Instant::now() >= deadline {
                tracing::warn!(
                    topic = name,
                    "the brokers do not tell the topic's settings: assuming Kafka's defaults \
                     (allow DescribeConfigs on the topic by ACL)"
                );
                return Ok(Settings::default());
            }
            tokio::time::sleep(STEP).await;
        }
    }

    /// What the brokers tell of them now.
    async fn ask_settings(
        &self,
        admin: &AdminClient<Watch>,
        name: &str,
    ) -> Result<Settings, LogError> {
        let asked = [&ResourceSpecifier::Topic(name)];
        let answer = admin.describe_configs(asked, &self.options()).await;
        let doing = || format!("reading the settings of the topic {name}");
        let resources = answer.map_err(|error| self.explain(&doing(), &error))?;
        let told = resources.into_iter().filter_map(Result::ok);
        let entries = told.flat_map(|resource| resource.entries);
        Ok(Settings(entries.filter_map(|one| Some((one.name, one.value?))).collect()))
    }

    /// A client that may create, change and delete; it is signed in.
    pub(super) fn admin(&self) -> Result<AdminClient<Watch>, LogError> {
        let admin: AdminClient<Watch> = self
            .properties
            .client()
            .create_with_context(self.properties.watch())
            .map_err(|error| self.explain("opening the log", &error))?;
        if let Some(token) = admin.inner().context().token() {
            token
                .and_then(|token| hand_over(admin.inner(), token))
                .map_err(|why| LogError::Refused(format!("signing in to Kafka: {why}")))?;
        }
        Ok(admin)
    }

    fn options(&self) -> AdminOptions {
        AdminOptions::new()
            .request_timeout(Some(self.timeout))
            .operation_timeout(Some(self.timeout))
    }

    /// Closing a client waits for its threads, up to a tenth of a second. Nobody has to wait
    /// for that before the end.
    fn finish(&self, admin: AdminClient<Watch>) {
        let close = thread::Builder::new().name("kafka-close".into());
        // Without a thread it has been closed here.
        if let Ok(closing) = close.spawn(move || drop(admin)) {
            let mut all = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|one| !one.is_finished());
            all.push(closing);
        }
    }

    async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        doing: &str,
        call: impl FnOnce(&BaseConsumer<Watch>, Duration) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<Result<T, KafkaError>, LogError> {
        let admin = Arc::clone(self);
        spawn_blocking(move || {
            Watch::sign_in(&admin.client);
            let result = call(&admin.client, admin.timeout);
            // Log lines and errors wait until somebody polls.
            for _ in 0..64 {
                if admin.client.poll(Duration::ZERO).is_none() && result.is_ok() {
                    break;
                }
            }
            result
        })
        .await
        .map_err(|stopped| LogError::Unreachable(format!("{doing}: {stopped}")))
    }
}

/// Where we may not even see the topic, whoever may has to make it.
fn beside(error: LogError, wanted: Option<&Wanted>) -> LogError {
    match (error, wanted) {
        (LogError::Refused(why), Some(wanted))
            if why.contains(&Code::TopicAuthorizationFailed.to_string()) =>
        {
            // How many brokers there are is not known: as many as are best.
            let words = wanted.words(3);
            LogError::Refused(format!("{why}; if it is not there, make it with {words}"))
        }
        (error, _) => error,
    }
}
