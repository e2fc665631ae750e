//! A log with requests in it, and the settings to replay it.

use std::{
    collections::HashMap,
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

pub(crate) use pb::job_entry::Entry as Told;
use prost::Message;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use umbra_log::{Append, Appender, Entry, Log, LogOptions, Mode};
use umbra_record::{
    authority::ShadowHost,
    encode,
    id::IdGenerator,
    pb::{self, record::Body},
    select::Selection,
};
use umbra_replay::{
    Config, Late, Order, Pace, Protocol, ReplayError, Report, Stats, Target, WhenDown, Which, plan,
    run,
};

use crate::shadow::Shadow;

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const MILLI: u64 = 1_000_000;
/// Some time long ago.
pub(crate) const THEN: u64 = 1_700_000_000 * SECOND;
pub(crate) const AGENT: [u8; 16] = [0xaa; 16];

/// A log, of four partitions as a rule, and its writer.
pub(crate) struct Recording {
    pub(crate) log: Arc<Log>,
    pub(crate) dir: TempDir,
    appender: Appender,
    sequences: HashMap<(u32, u32), u64>,
    ids: IdGenerator,
}

impl Recording {
    pub(crate) async fn new() -> Self {
        Self::of(4).await
    }

    pub(crate) async fn of(partitions: u32) -> Self {
        Self::with(partitions, &[]).await
    }

    /// With these properties, if it is on Kafka.
    pub(crate) async fn with(partitions: u32, kafka: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = crate::address(dir.path());
        let kafka = kafka.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let options = LogOptions { partitions, kafka: kafka.collect(), ..LogOptions::default() };
        let log = Log::open(&address, options, Mode::Create).await.unwrap();
        let appender = log.appender().await.unwrap();
        Self {
            log: Arc::new(log),
            dir,
            appender,
            sequences: HashMap::new(),
            ids: IdGenerator::new(),
        }
    }

    /// `GET /name`, captured at that time on that connection, in the partition of
    /// the connection.
    pub(crate) fn get(&mut self, name: &str, at: u64, connection: u64, number: u64) {
        let request = self.make(name, at, connection, number);
        self.request(request);
    }

    /// So many requests, each on its own connection, at these distances.
    pub(crate) fn gets(&mut self, n: u64, from: u64, apart: u64) {
        for i in 0..n {
            self.get(&format!("{i}"), from + i * apart, i, 0);
        }
    }

    pub(crate) fn make(
        &mut self,
        name: &str,
        at: u64,
        connection: u64,
        number: u64,
    ) -> pb::Request {
        pb::Request {
            id: self.ids.next(at).to_vec().into(),
            connection,
            number,
            start_ns: at,
            end_after_ns: 1000,
            scheme: "http".to_owned(),
            method: "GET".into(),
            authority: "api.example".into(),
            path: format!("/{name}").into(),
            version: pb::Version::Http11 as i32,
            headers: vec![pb::Header { name: "Host".into(), value: "api.example".into() }],
            ..pb::Request::default()
        }
    }

    pub(crate) fn request(&mut self, request: pb::Request) {
        let (at, partition) = (request.start_ns, request.connection as u32 % 4);
        self.append(partition, at, Body::Request(request));
    }

    pub(crate) fn append(&mut self, partition: u32, at: u64, body: Body) {
        let sequence = self.sequences.entry((0, partition)).or_default();
        *sequence += 1;
        let sequence = *sequence;
        self.append_as(partition, at, body, sequence);
    }

    pub(crate) fn append_as(&mut self, partition: u32, at: u64, body: Body, sequence: u64) {
        let record = pb::Record {
            agent: AGENT.to_vec().into(),
            lane: 0,
            key: "k".into(),
            sequence,
            body: Some(body),
        };
        let mut bytes = Vec::new();
        encode::record(&record, &mut bytes);
        self.raw(partition, at, &bytes);
    }

    /// The agent's one lane says in every partition how far it is.
    pub(crate) fn marks(&mut self, low_ns: u64, at_ns: u64, last: bool) {
        for partition in 0..4 {
            let mark = pb::Mark {
                low_ns,
                at_ns,
                r#final: last,
                lanes: 1,
                host: "web-1".to_owned(),
                ..pb::Mark::default()
            };
            self.append(partition, at_ns, Body::Mark(mark));
        }
    }

    pub(crate) fn raw(&mut self, partition: u32, time_ns: u64, payload: &[u8]) {
        let entry = Entry { partition, time_ns, key: b"k", headers: &[], payload, weight: 1 };
        self.appender.enqueue(&entry).unwrap();
    }

    pub(crate) async fn flush(&self) {
        self.appender.flush(Duration::from_secs(10)).await.unwrap();
    }

    /// What an operator writes into the journal of jobs.
    pub(crate) async fn tell(&self, job: &str, entry: Told) {
        let entry = pb::JobEntry {
            job: job.to_owned(),
            at_ns: now(),
            entry: Some(entry),
            ..pb::JobEntry::default()
        };
        let journal = self.log.journal("jobs").await.unwrap();
        journal.append(&entry.encode_to_vec()).await.unwrap();
    }

    pub(crate) async fn pause(&self, job: &str, paused: bool) {
        let action = Some(pb::job_steer::Action::Paused(paused));
        self.tell(job, Told::Steer(pb::JobSteer { run: 0, action })).await;
    }

    pub(crate) async fn pace(&self, job: &str, pace: pb::pace::Pace) {
        let action = Some(pb::job_steer::Action::Pace(pb::Pace { pace: Some(pace) }));
        self.tell(job, Told::Steer(pb::JobSteer { run: 0, action })).await;
    }

    pub(crate) async fn cancel(&self, job: &str) {
        let end = pb::JobEnd { run: 0, state: "cancelled".to_owned() };
        self.tell(job, Told::End(end)).await;
    }

    /// Runs the job to its end.
    pub(crate) async fn replay(&self, config: Config) -> Report {
        self.try_replay(config).await.unwrap()
    }

    pub(crate) async fn try_replay(&self, config: Config) -> Result<Report, ReplayError> {
        self.flush().await;
        let planned = plan(&config, &self.log).await?;
        in_time(run(config, planned, &self.log, Stats::new(), CancellationToken::new())).await
    }

    /// Runs the job beside the test.
    pub(crate) async fn start(&self, config: Config) -> Running {
        self.flush().await;
        let (stats, stop) = (Stats::new(), CancellationToken::new());
        let mut task = JoinSet::new();
        task.spawn({
            let (log, stats, stop) = (Arc::clone(&self.log), stats.clone(), stop.clone());
            async move {
                let planned = plan(&config, &log).await?;
                run(config, planned, &log, stats, stop).await
            }
        });
        Running { task, stats, stop }
    }
}

/// A replay that runs beside the test.
pub(crate) struct Running {
    task: JoinSet<Result<Report, ReplayError>>,
    pub(crate) stats: Stats,
    pub(crate) stop: CancellationToken,
}

impl Running {
    pub(crate) async fn end(mut self) -> Report {
        in_time(self.task.join_next()).await.unwrap().unwrap().unwrap()
    }

    pub(crate) async fn stop(self) -> Report {
        self.stop.cancel();
        self.end().await
    }

    /// What a crash does: nothing more happens, nothing is closed.
    pub(crate) async fn kill(mut self) {
        self.task.shutdown().await;
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        match self.task.try_join_next() {
            Some(result) => panic!("ended: {result:?}"),
            None => false,
        }
    }
}

/// Waits until something holds.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    in_time(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

pub(crate) async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("in time")
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// Everything in the log, as fast as the shadows answer.
pub(crate) fn config(job: &str, shadows: &[&Shadow]) -> Config {
    Config {
        job: job.to_owned(),
        again: false,
        adopt: false,
        which: Which::Window { from_ns: None, to_ns: None },
        grace: Duration::from_secs(1),
        limit: None,
        duration: None,
        repeat: 1,
        pace: Pace::Max,
        selection: Selection::default(),
        targets: shadows
            .iter()
            .enumerate()
            .map(|(i, shadow)| target(&format!("t{i}"), shadow))
            .collect(),
        order: Order::Connection,
        late: Late::Send,
        writes: true,
        allow_production: false,
        read_ahead_bytes: 64 << 20,
        instance: None,
        drain: Duration::from_secs(5),
        compare: None,
        unsealing: umbra_replay::Unsealing::default(),
        outcomes: None,
        settings: Vec::new(),
    }
}

pub(crate) fn target(name: &str, shadow: &Shadow) -> Target {
    Target {
        name: name.to_owned(),
        url: shadow.url().parse().unwrap(),
        shadow_host: ShadowHost::Suffix("-shadow".to_owned()),
        percent: 100.0,
        set_headers: Vec::new(),
        remove_headers: Vec::new(),
        concurrency: 32,
        timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(2),
        protocol: Protocol::Http1,
        tls: umbra_replay::Tls::default(),
        unseal: true,
        when_down: WhenDown::Hold(None),
    }
}
