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
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};
use umbra_log::{Address, Log, LogOptions, Mode};

/// Longest wait for anything in these tests.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub fn script() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kafka")
}

struct Broker {
    addresses: String,
    /// `scripts/kafka run`, which waits for the end of its standard input: the kernel
    /// closes it when this process is gone.
    _run: Option<Child>,
}

/// `host:port[,host:port]`
pub fn addresses() -> &'static str {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    // RUST_LOG=debug shows what librdkafka says, with UMBRA_TEST_KAFKA_DEBUG=cgrp,fetch more.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    &BROKER.get_or_init(start).addresses
}

fn start() -> Broker {
    if let Ok(addresses) = std::env::var("UMBRA_TEST_KAFKA") {
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
pub fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    format!("{what}-{}-{}-{count}", std::process::id(), since.as_millis())
}

pub fn address(topic: &str) -> Address {
    Address::Kafka {
        brokers: addresses().split(',').map(str::to_owned).collect(),
        topic: topic.to_owned(),
    }
}

pub fn options(partitions: u32) -> LogOptions {
    let kafka = std::env::var("UMBRA_TEST_KAFKA_DEBUG").map(|debug| ("debug".to_owned(), debug));
    LogOptions {
        partitions,
        connect_timeout: DEADLINE,
        kafka: kafka.into_iter().collect(),
        ..LogOptions::default()
    }
}

pub fn with(partitions: u32, properties: &[(&str, &str)]) -> LogOptions {
    let kafka = properties.iter().map(|(key, value)| ((*key).into(), (*value).into()));
    LogOptions { kafka: BTreeMap::from_iter(kafka), ..options(partitions) }
}

/// A topic of its own.
pub async fn log(topic: &str, partitions: u32) -> Log {
    Log::open(&address(topic), options(partitions), Mode::Create).await.expect("a log")
}

pub fn config() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", addresses());
    config
}

pub fn admin() -> AdminClient<DefaultClientContext> {
    config().create().expect("an admin client")
}

pub async fn create_topic(name: &str, partitions: i32, settings: &[(&str, &str)]) {
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    for (key, value) in settings {
        topic = topic.set(key, value);
    }
    let results = admin().create_topics([&topic], &AdminOptions::new()).await.expect("created");
    results[0].as_ref().expect("created");
}

pub async fn add_partitions(name: &str, count: usize) {
    let more = NewPartitions::new(name, count);
    let results = admin().create_partitions([&more], &AdminOptions::new()).await.expect("added");
    results[0].as_ref().expect("added");
}
