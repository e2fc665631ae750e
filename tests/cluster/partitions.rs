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
    load::{Call, Load},
    logs::TestLog,
    nginx::Nginx,
    pause,
    process::{Ended, Running, Umbra},
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
        // Told if anything is missing.
        .flag("log-level", "debug")
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
    // What a rebalance costs while the group's coordinator is away is another matter.
    let taken = format!("\"partition\":{PARTITIONS},");
    wait_for("the new partition is read", || {
        let mut told = replicas.iter().flat_map(|one| lines(&one.stderr()));
        told.any(|line| line.contains("taking over") && line.contains(&taken))
    });
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

    let replicas = replicas.map(Running::wait);
    drop(idle);
    let agents = [agent, newcomer].map(Running::stop);
    let records = records(&log);
    let arrivals = shadow.arrivals();
    let once: HashSet<String> = arrivals.iter().map(|a| super::path(&a.message.start)).collect();
    let inside = |call: &&Call| call.at + call.took < start + WINDOW;
    let missing: Vec<&str> = calls
        .iter()
        .filter(inside)
        .map(|call| call.path.as_str())
        .filter(|path| !once.contains(*path))
        .collect();
    if !missing.is_empty() {
        tell_missing(&missing, &records, &once, &agents, &replicas);
        panic!("{} requests are missing, first {}", missing.len(), missing[0]);
    }

    let lost = replicas.iter().any(|ended| ended.stderr.contains("the group gave them away"));
    let mut sent = 0;
    for ended in replicas {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let result = ended.json();
        assert_eq!(result["agents_missing"], serde_json::json!([]), "{result}");
        sent += result["targets"]["shadow"]["sent"].as_u64().unwrap();
    }
    assert_eq!(sent as usize, arrivals.len());
    // The broker may have kept the group's progress: what could not be committed while
    // another took over comes again, and says so.
    let mut met = HashSet::new();
    for arrival in &arrivals {
        let path = super::path(&arrival.message.start);
        let attempt = arrival.message.header_text("x-umbra-attempt");
        let first = met.insert(path.clone());
        assert!(first || attempt.as_deref() == Some("2"), "{path} came twice without a mark");
    }
    let twice = arrivals.len() - once.len();
    println!("{twice} requests were sent twice");
    assert!(twice < arrivals.len() / 4, "{twice} of {}", arrivals.len());
    for report in agents {
        assert_eq!(report.code, Some(0), "{}", report.stderr);
    }
    let busy = check_partitions(&records);
    let at: Vec<Instant> = arrivals.iter().map(|a| a.at).collect();
    let highest = highest(&at);
    assert!(highest < 1.1, "more than the rate: {:.0} %", highest * 100.0);
    let begin = at[0] + Duration::from_secs(2);
    let before = lowest(&at, begin, killed);
    assert!(before > 0.8, "the rate did not hold: {:.0} %", before * 100.0);
    if lost {
        return;
    }
    // For so long there is something to send from the other brokers. The shares of the
    // partitions without a leader, and of the new one when it has been read to its end, are
    // given to the others through the job's topic, which may have to wait for a leader too.
    let leaderless =
        |one: &u32| leaders.iter().any(|other| other.partition == *one && other.leader == node);
    let (given, all) =
        (busy.iter().filter(|one| leaderless(one) || **one == PARTITIONS), busy.len());
    let least = 1.0 - given.count() as f64 / all as f64;
    let while_away = lowest(&at, killed, killed + AWAY);
    assert!(while_away > 0.9 * least, "{:.0} % of the rate were left", while_away * 100.0);
}

/// A record in the log.
struct Placed {
    partition: u32,
    offset: u64,
    record: pb::Record,
}

impl Placed {
    /// Of a request.
    fn path(&self) -> Option<&str> {
        match &self.record.body {
            Some(pb::record::Body::Request(request)) => std::str::from_utf8(&request.path).ok(),
            _ => None,
        }
    }
}

fn records(log: &TestLog) -> Vec<Placed> {
    let decode = |raw: kcat::Raw| Placed {
        partition: raw.partition,
        offset: raw.offset,
        record: pb::Record::decode(raw.value.as_slice()).unwrap(),
    };
    kcat::consume(&log.arg()).into_iter().map(decode).collect()
}

/// All that is known: where the missing requests are in the log, what of their partitions
/// did arrive, and everything that was said by anybody.
fn tell_missing(
    missing: &[&str],
    records: &[Placed],
    once: &HashSet<String>,
    agents: &[Ended],
    replicas: &[Ended],
) {
    for (who, ends) in [("agent", agents), ("replica", replicas)] {
        for (number, ended) in ends.iter().enumerate() {
            println!("--- {who} {number} ended with {:?}, stderr:\n{}", ended.code, ended.stderr);
        }
    }
    for (who, ends) in [("agent", agents), ("replica", replicas)] {
        for (number, ended) in ends.iter().enumerate() {
            println!("--- {who} {number} said:\n{}", ended.stdout);
        }
    }
    println!("--- in the log, runs of requests that arrived (+) or did not (-), by offset:");
    let mut run: Option<(u32, bool, u64, u64, usize)> = None;
    let say = |run: Option<(u32, bool, u64, u64, usize)>| {
        if let Some((partition, arrived, first, last, count)) = run {
            let sign = if arrived { '+' } else { '-' };
            println!("partition {partition}: {sign} {count} requests, offsets {first} to {last}");
        }
    };
    let mut in_order: Vec<&Placed> = records.iter().filter(|one| one.path().is_some()).collect();
    in_order.sort_by_key(|one| (one.partition, one.offset));
    for one in in_order {
        let arrived = one.path().is_some_and(|path| once.contains(path));
        match &mut run {
            Some((partition, same, _, last, count))
                if *partition == one.partition && *same == arrived =>
            {
                (*last, *count) = (one.offset, *count + 1);
            }
            other => {
                say(other.take());
                run = Some((one.partition, arrived, one.offset, one.offset, 1));
            }
        }
    }
    say(run);
    for path in missing {
        let mut places = records.iter().filter(|one| one.path() == Some(*path)).peekable();
        if places.peek().is_none() {
            println!("{path} is not in the log");
        }
        for Placed { partition, offset, record } in places {
            let (lane, sequence) = (record.lane, record.sequence);
            println!(
                "{path}: partition {partition}, offset {offset}, lane {lane}, sequence {sequence}"
            );
        }
    }
    for Placed { partition, offset, record } in records {
        if let Some(pb::record::Body::Gap(gap)) = &record.body {
            println!("partition {partition}, offset {offset}: {gap:?}");
        }
    }
}

/// Some were idle, and the new one was written to: those with requests in them.
fn check_partitions(records: &[Placed]) -> Vec<u32> {
    let mut requests = BTreeMap::new();
    for one in records {
        let is_request = one.path().is_some();
        *requests.entry(one.partition).or_insert(0) += u32::from(is_request);
    }
    println!("requests by partition: {requests:?}");
    // Marks at least, and the requests of the newcomer if its turn begins there.
    assert!(requests.contains_key(&PARTITIONS), "nothing is in the new partition");
    let all = requests.len();
    requests.retain(|_, requests| *requests > 0);
    assert!(requests.len() < all, "no partition was idle");
    requests.into_keys().collect()
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// Looked at at once, where there is so much.
const WITHIN: Duration = Duration::from_secs(5);

/// Of the rate, in such a time from then on.
fn share(arrivals: &[Instant], from: Instant, within: Duration) -> f64 {
    let count = arrivals.iter().filter(|at| (from..from + within).contains(*at)).count();
    count as f64 / within.as_secs_f64() / f64::from(REPLAYED)
}

/// The most of the rate over any such time.
fn highest(arrivals: &[Instant]) -> f64 {
    let highest = arrivals.iter().map(|at| share(arrivals, *at, WITHIN)).fold(0.0, f64::max);
    println!("over any {WITHIN:?} at most {:.1} % of the rate", highest * 100.0);
    highest
}

/// The least of the rate over any such time between these.
fn lowest(arrivals: &[Instant], from: Instant, to: Instant) -> f64 {
    let within = WITHIN.min(to - from);
    let steps = (to - from - within).as_millis() as u64 / 100;
    let starts = (0..=steps).map(|step| from + Duration::from_millis(step * 100));
    let lowest = starts.map(|at| share(arrivals, at, within)).fold(f64::MAX, f64::min);
    println!("over any {within:?} of {:?} at least {:.1} %", to - from, lowest * 100.0);
    lowest
}
