//! A window whose partitions come and go: some stay empty, some lose their only
//! broker for a while, one is added while the job runs.

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant, SystemTime},
};

use prost::Message;
use umbra_record::pb;

use crate::support::{
    client::Client,
    cluster::Cluster,
    kcat,
    load::Load,
    logs::TestLog,
    nginx::Nginx,
    pause,
    process::{Running, Umbra},
    shadow::{Manner, Shadow},
    wait_for,
};

/// At the beginning, each with one replica, so that it goes with its broker.
const PARTITIONS: u32 = 6;

/// Connections take partitions in turn: two get none.
const BUSY: u32 = PARTITIONS - 2;

/// Recorded so much faster than replayed that there is something to send for as long as
/// a broker is away: an agent delivers in order, and one partition holds up the others.
const RECORDED: u32 = 200;
const REPLAYED: u32 = 60;

/// Bytes of each request, so that some seconds of them fill a replica's read-ahead.
const PADDING: usize = 4_000;

/// How long requests of the window come in.
const WINDOW: Duration = Duration::from_secs(11);

/// How long a partition has no leader.
const AWAY: Duration = Duration::from_secs(10);

fn start_agent(log: &TestLog, upstream: &Nginx, spool: &std::path::Path) -> Running {
    Umbra::agent(log, upstream.address)
        .flag("threads", "1")
        .flag("spool", spool.to_str().unwrap())
        .flag("partitions", PARTITIONS.to_string())
        .flag("mark-every", "1s")
        .flag("admin", "127.0.0.1:0")
        .flag("kafka", "topic.metadata.refresh.interval.ms=1000")
        .start()
}

fn replica(log: &TestLog, shadow: &Shadow, from: SystemTime) -> Running {
    Umbra::new("replay")
        .flag("log", log.arg())
        .flag("job", "partitions")
        .flag("from", super::unix(from))
        .flag("to", super::unix(from + WINDOW))
        .flag("grace", "2m")
        .flag("rate", REPLAYED.to_string())
        // So that it has to fetch while a broker is away.
        .flag("read-ahead", "1MiB")
        .flag("kafka", "topic.metadata.refresh.interval.ms=1000")
        .flag("target", shadow.url())
        .flag("output", "json")
        .start()
}

#[test]
fn partitions_come_and_go_and_the_job_ends() {
    let cluster = Cluster::start(3, &[]);
    let upstream = Nginx::start("location / { return 200 ok; }");
    let url = cluster.log("partitions");
    let (_, topic) = kcat::parts(&url);
    let create = ["--create", "--topic", &topic, "--partitions", &PARTITIONS.to_string()];
    let alone = ["--replication-factor", "1", "--config", "min.insync.replicas=1"];
    cluster.tool("TopicCommand", &[&create[..], &alone[..]].concat());
    println!("{topic} is made");
    let log = TestLog::Kafka(url.clone());
    let spool = tempfile::tempdir().unwrap();
    let agent = start_agent(&log, &upstream, spool.path());
    let from = SystemTime::now();
    let start = Instant::now();
    let first = Load::padded("first", agent.listen(), BUSY, RECORDED, PADDING);
    let shadow = Shadow::start(Manner::Answer(200));
    let replicas = [replica(&log, &shadow, from), replica(&log, &shadow, from)];
    wait_for("it is replayed", || shadow.count() > 100);

    let one_more = (PARTITIONS + 1).to_string();
    cluster.tool("TopicCommand", &["--alter", "--topic", &topic, "--partitions", &one_more]);
    // An agent that is started now finds it at once; a running one within 30 s. Most of its
    // connections say nothing, so that some partitions stay idle.
    let other_spool = tempfile::tempdir().unwrap();
    let newcomer = start_agent(&log, &upstream, other_spool.path());
    let idle: Vec<Client> = (0..PARTITIONS).map(|_| Client::connect(newcomer.listen())).collect();
    let second = Load::padded("second", newcomer.listen(), 1, RECORDED / 4, PADDING);
    wait_for("the newcomer records", || second.answered() > 20);
    let leaders = kcat::leadership(&url).unwrap();
    let node = leaders[0].leader;
    cluster.kill(node as usize);
    let killed = Instant::now();
    println!("broker {node} killed: {leaders:?}");
    pause(AWAY);
    cluster.restart();
    println!("no leader for {:?}", killed.elapsed());
    pause((start + WINDOW).saturating_duration_since(Instant::now()));
    let calls = [first.stop(), second.stop()].concat();
    assert!(calls.iter().all(|call| call.answered));

    let mut sent = 0;
    for replica in replicas {
        let ended = replica.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let result = ended.json();
        assert_eq!(result["agents_missing"], serde_json::json!([]), "{result}");
        sent += result["targets"]["shadow"]["sent"].as_u64().unwrap();
    }
    let arrivals = shadow.arrivals();
    assert_eq!(sent as usize, arrivals.len());
    // The broker may have kept the group's progress: what could not be committed while
    // another took over comes again, and says so.
    let mut once = HashSet::new();
    for arrival in &arrivals {
        let path = super::path(&arrival.message.start);
        let attempt = arrival.message.header_text("x-umbra-attempt");
        let first = once.insert(path.clone());
        assert!(first || attempt.as_deref() == Some("2"), "{path} came twice without a mark");
    }
    let twice = arrivals.len() - once.len();
    println!("{twice} requests were sent twice");
    assert!(twice < arrivals.len() / 4, "{twice} of {}", arrivals.len());
    for call in &calls {
        let inside = call.at + call.took < start + WINDOW;
        assert!(!inside || once.contains(&call.path), "{} is missing", call.path);
    }
    drop(idle);
    for agent in [agent, newcomer] {
        let report = agent.stop();
        assert_eq!(report.code, Some(0), "{}", report.stderr);
    }
    check_partitions(&log);
    check_rate(&arrivals.iter().map(|a| a.at).collect::<Vec<_>>());
}

/// Some were idle, and the new one was written to.
fn check_partitions(log: &TestLog) {
    let mut requests = BTreeMap::new();
    for record in kcat::consume(&log.arg()) {
        let decoded = pb::Record::decode(record.value.as_slice()).unwrap();
        let is_request = matches!(decoded.body, Some(pb::record::Body::Request(_)));
        *requests.entry(record.partition).or_insert(0) += u32::from(is_request);
    }
    println!("requests by partition: {requests:?}");
    let idle = requests.iter().filter(|(_, requests)| **requests == 0).count();
    assert!(idle > 0, "no partition was idle");
    // Marks at least, and the requests of the newcomer if its turn begins there.
    assert!(requests.contains_key(&PARTITIONS), "nothing is in the new partition");
}

/// Over any five seconds, but for the beginning and the end.
fn check_rate(arrivals: &[Instant]) {
    let within = Duration::from_secs(5);
    let (first, last) = (arrivals[0], arrivals[arrivals.len() - 1]);
    let mut worst: f64 = 0.0;
    for (index, at) in arrivals.iter().enumerate() {
        if *at < first + Duration::from_secs(2) || *at + within + Duration::from_secs(1) > last {
            continue;
        }
        let count = arrivals[index..].iter().take_while(|other| **other < *at + within).count();
        let rate = count as f64 / within.as_secs_f64();
        worst = worst.max((rate / f64::from(REPLAYED) - 1.0).abs());
    }
    println!("rate off by at most {:.1} % over any five seconds", worst * 100.0);
    assert!(worst < 0.1, "the rate did not hold: off by {:.0} %", worst * 100.0);
}
