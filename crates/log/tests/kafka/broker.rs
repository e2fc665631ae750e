//! A real Kafka for the tests of one binary: the one named by `UMBRA_TEST_KAFKA`, or
//! one that `scripts/kafka` starts and that ends with this process, however it ends.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rdkafka::{
    ClientConfig,
    admin::{
        AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
    },
    client::DefaultClientContext,
};
use umbra_log::{Address, Log, LogOptions, Mode};

/// Longest wait for anything in these tests.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) fn script() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kafka")
}

struct Broker {
    addresses: String,
    /// `scripts/kafka run`, which waits for the end of its standard input: the kernel
    /// closes it when this process is gone.
    _run: Option<Child>,
}

/// `host:port[,host:port]`
pub(crate) fn addresses() -> &'static str {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    &BROKER.get_or_init(start).addresses
}

fn start() -> Broker {
    let given = std::env::var("UMBRA_TEST_KAFKA").ok().filter(|given| !given.is_empty());
    if let Some(addresses) = given {
        return Broker { addresses, _run: None };
    }
    let mut run = Command::new(script())
        .args(["run", "--", "sh", "-c", "echo \"$UMBRA_TEST_KAFKA\"; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("scripts/kafka can be run");
    let mut addresses = String::new();
    let told = BufReader::new(run.stdout.take().expect("piped")).read_line(&mut addresses);
    assert!(
        told.is_ok() && !addresses.trim().is_empty(),
        "no Kafka: set UMBRA_TEST_KAFKA=host:port, or make `scripts/kafka start` work (it says \
         above what it needs)"
    );
    Broker { addresses: addresses.trim().to_owned(), _run: Some(run) }
}

/// A name nobody else uses, also not in another run against the same brokers.
pub(crate) fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    format!("{what}-{}-{}-{count}", std::process::id(), since.as_millis())
}

pub(crate) fn address(topic: &str) -> Address {
    Address::Kafka {
        brokers: addresses().split(',').map(str::to_owned).collect(),
        topic: topic.to_owned(),
    }
}

pub(crate) fn options(partitions: u32) -> LogOptions {
    with(partitions, &[])
}

pub(crate) fn with(partitions: u32, properties: &[(&str, &str)]) -> LogOptions {
    // RUST_LOG=debug shows what librdkafka says, with UMBRA_TEST_KAFKA_DEBUG=cgrp,fetch more.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    // Members hear of a rebalance with their next heartbeat: every 3 s if left alone.
    let mut kafka = BTreeMap::from([("heartbeat.interval.ms".to_owned(), "200".to_owned())]);
    if let Ok(debug) = std::env::var("UMBRA_TEST_KAFKA_DEBUG") {
        kafka.insert("debug".to_owned(), debug);
    }
    kafka.extend(properties.iter().map(|(key, value)| ((*key).into(), (*value).into())));
    LogOptions { partitions, connect_timeout: DEADLINE, kafka, ..LogOptions::default() }
}

/// A topic of its own.
pub(crate) async fn log(topic: &str, partitions: u32) -> Log {
    Log::open(&address(topic), options(partitions), Mode::Create).await.expect("a log")
}

pub(crate) fn config() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", addresses());
    config
}

pub(crate) fn admin() -> AdminClient<DefaultClientContext> {
    config().create().expect("an admin client")
}

pub(crate) async fn create_topic(name: &str, partitions: i32, settings: &[(&str, &str)]) {
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    for (key, value) in settings {
        topic = topic.set(key, value);
    }
    let admin = admin();
    let results = admin.create_topics([&topic], &AdminOptions::new()).await.expect("created");
    results[0].as_ref().expect("created");
    // With several brokers, not all of them know the settings at once.
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let mut agreed = 0;
    while agreed < 5 {
        assert!(tokio::time::Instant::now() < deadline, "the settings of {name} do not arrive");
        let asked = [&ResourceSpecifier::Topic(name)];
        let told = admin.describe_configs(asked, &AdminOptions::new()).await.expect("an answer");
        let told = told[0].as_ref().ok();
        let has = |(key, value): &(&str, &str)| {
            told.and_then(|told| told.get(key))
                .is_some_and(|one| one.value.as_deref() == Some(value))
        };
        agreed = if settings.iter().all(has) { agreed + 1 } else { 0 };
    }
}

pub(crate) async fn add_partitions(name: &str, count: usize) {
    let more = NewPartitions::new(name, count);
    let results = admin().create_partitions([&more], &AdminOptions::new()).await.expect("added");
    results[0].as_ref().expect("added");
}

/// A broker of one test's own, to be mistreated.
pub(crate) struct Own {
    dir: tempfile::TempDir,
    addresses: String,
}

impl Own {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let started = Command::new(script())
            .args(["start", "--dir"])
            .arg(dir.path())
            .stderr(Stdio::inherit())
            .output()
            .expect("scripts/kafka can be run");
        assert!(started.status.success(), "scripts/kafka start failed, see above");
        let addresses = String::from_utf8(started.stdout).expect("text").trim().to_owned();
        Self { dir, addresses }
    }

    pub(crate) fn addresses(&self) -> &str {
        &self.addresses
    }

    pub(crate) fn address(&self, topic: &str) -> Address {
        Address::Kafka { brokers: vec![self.addresses.clone()], topic: topic.to_owned() }
    }

    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = std::fs::read_to_string(self.dir.path().join("broker-1.pid")).expect("a pid");
        let done = Command::new("kill").args([signal, pid.trim()]).status().expect("kill");
        assert!(done.success());
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = Command::new(script()).args(["stop", "--dir"]).arg(self.dir.path()).status();
    }
}
