//! A broker that stands still under load, and what agents keep on disk meanwhile: one
//! that lives through it, one that is killed, one that is stopped, and one without
//! enough room. One broker and one outage for all of them.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    client::get,
    cluster::Cluster,
    load::{Call, Load, place},
    logs::TestLog,
    nginx::Nginx,
    process::{Ended, Running, Umbra},
    secured::Secured,
    wait_for,
};

/// An agent under load, with a log and a spool of its own.
struct Subject {
    name: &'static str,
    log: TestLog,
    spool: TempDir,
    agent: Running,
    load: Load,
}

impl Subject {
    fn start(
        name: &'static str,
        cluster: &Cluster,
        upstream: &Nginx,
        flags: &[(&str, &str)],
    ) -> Self {
        let log = TestLog::Kafka(cluster.log(name));
        let spool = tempfile::tempdir().unwrap();
        let agent = capture(&log, upstream, spool.path(), flags);
        let load = Load::padded(name, agent.listen(), 4, 60, 200);
        Self { name, log, spool, agent, load }
    }

    fn spooled(&self) -> f64 {
        self.agent.metric("umbra_capture_spool_records")
    }

    fn audit(&self) -> (Option<i32>, Value) {
        let ended = Umbra::new("audit").arg(self.log.arg()).flag("output", "json").run();
        (ended.code, ended.json())
    }
}

fn capture(log: &TestLog, upstream: &Nginx, spool: &Path, flags: &[(&str, &str)]) -> Running {
    let mut agent = Umbra::agent(log, upstream.address)
        .flag("partitions", "3")
        .flag("spool", spool.to_str().unwrap())
        .flag("admin", "127.0.0.1:0")
        .flag("mark-every", "500ms")
        .flag("output", "json");
    for (name, value) in flags {
        agent = agent.flag(name, value);
    }
    agent.start()
}

/// Every request of a connection in its order, none twice; how many there are.
fn in_order(log: &TestLog) -> usize {
    let cat = Umbra::new("log cat").arg(log.arg()).flag("output", "json").run();
    assert_eq!(cat.code, Some(0), "{}", cat.stderr);
    let mut last: HashMap<String, u64> = HashMap::new();
    let mut count = 0;
    for line in cat.stdout.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let Some((connection, number)) = record["path"].as_str().and_then(place) else { continue };
        let before = last.insert(connection.to_owned(), number);
        assert!(before < Some(number), "{connection}: {number} after {before:?}");
        count += 1;
    }
    count
}

#[track_caller]
fn all_answered(name: &str, calls: &[Call]) {
    let failed = calls.iter().filter(|call| !call.answered).count();
    assert_eq!(failed, 0, "{name}: of {} requests", calls.len());
    let slowest = calls.iter().map(|call| call.took).max().unwrap_or_default();
    println!("{name}: {} requests, the slowest took {slowest:?}", calls.len());
}

#[test]
fn an_outage_of_kafka_goes_through_the_spool() {
    let cluster = Cluster::start(1, &[]);
    let upstream = Nginx::start("location / { return 200 ok; }");
    let start = |name, flags: &[(&str, &str)]| Subject::start(name, &cluster, &upstream, flags);
    let lives = start("lives", &[]);
    let killed = start("killed", &[]);
    let stopped = start("stopped", &[]);
    let full = start("full", &[("spool-max", "1MiB"), ("memory", "8MiB")]);
    let all = [&lives, &killed, &stopped, &full];
    wait_for("all of them record", || {
        all.iter().all(|one| one.agent.metric("umbra_capture_recorded_total") > 20.0)
    });

    cluster.freeze(1);
    let recorded = full.agent.metric("umbra_capture_recorded_total");
    wait_for("records are kept in the spools", || {
        [&lives, &killed, &stopped].iter().all(|one| one.spooled() > 300.0)
    });
    wait_for("one is full", || {
        get(full.agent.listen(), &format!("/fill?{}", "x".repeat(30_000)));
        full.agent.metric("umbra_capture_lost_total{reason=\"spool_full\"}") > 10.0
    });
    assert!(full.agent.metric("umbra_capture_spool_bytes") <= f64::from(1 << 20));
    assert!(full.agent.metric("umbra_capture_recorded_total") >= recorded);
    // One is killed, one is stopped; the load of both ends before.
    let Subject { load, agent, log: killed_log, spool: killed_spool, .. } = killed;
    all_answered("killed", &load.stop());
    agent.kill();
    let Subject { load, agent, log: stopped_log, spool: stopped_spool, .. } = stopped;
    let stopped_calls = load.stop();
    all_answered("stopped", &stopped_calls);
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let result = ended.json();
    assert!(result["spooled"].as_u64().unwrap() > 300, "{result}");
    assert_eq!(result["recorded"], stopped_calls.len(), "{result}\n{}", ended.stderr);
    cluster.thaw(1);

    lived(lives);
    full_told(full);
    left_by_killed(&killed_log, &killed_spool, &upstream);
    left_by_stopped(&stopped_log, &stopped_spool, &upstream, stopped_calls.len());
}

/// What the audit says. A broker that was frozen may have no leader for its partitions
/// for a while.
fn audited(log: &TestLog) -> Ended {
    let mut ended = None;
    wait_for("the log can be read", || {
        let one = Umbra::new("audit").arg(log.arg()).flag("output", "json").run();
        let served = one.code != Some(69);
        ended = Some(one);
        served
    });
    ended.unwrap()
}

/// All of it is in the log, in order, once.
fn lived(lives: Subject) {
    wait_for("its spool is drained", || lives.spooled() == 0.0);
    assert!(lives.agent.metric("umbra_log_append_seconds_count") > 0.0);
    let Subject { name, log, spool, agent, load } = lives;
    let calls = load.stop();
    all_answered(name, &calls);
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let result = ended.json();
    assert_eq!((&result["recorded"], &result["spooled"]), (&calls.len().into(), &0.into()));
    assert_eq!(result["lost"], serde_json::json!({}));
    assert_eq!(std::fs::read_dir(spool.path()).unwrap().count(), 0);
    let ended = audited(&log);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let audit = ended.json();
    assert_eq!((&audit["missing"], &audit["duplicates"]), (&0.into(), &0.into()), "{audit}");
    assert_eq!(in_order(&log), calls.len());
}

/// What found no room is told; production did not notice.
fn full_told(full: Subject) {
    wait_for("its spool is drained", || full.spooled() == 0.0);
    let (name, audit) = (full.name, || full.audit());
    wait_for("its losses are told", || {
        let told = audit().1["agents"][0]["gaps"].as_array().map_or(0, Vec::len);
        told > 0
    });
    let Subject { agent, load, log, .. } = full;
    all_answered(name, &load.stop());
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let result = ended.json();
    let lost = result["lost"]["spool_full"].as_u64().unwrap();
    let sum = result["recorded"].as_u64().unwrap() + lost;
    assert_eq!(result["requests"], sum, "{result}");
    let ended = audited(&log);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let gaps = &ended.json()["agents"][0]["gaps"];
    assert_eq!(gaps, &serde_json::json!([{ "requests": lost, "reason": "spool_full" }]));
}

/// Whoever comes next delivers what was kept; what Kafka had not acknowledged of the
/// rest is all that may be missing.
fn left_by_killed(log: &TestLog, spool: &TempDir, upstream: &Nginx) {
    let next = capture(log, upstream, spool.path(), &[]);
    let count = || std::fs::read_dir(spool.path()).unwrap().count();
    wait_for("what was left is drained", || count() == 1);
    let ended = next.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(count(), 0);
    let audit = audited(log).json();
    let agents = audit["agents"].as_array().unwrap();
    let first = agents.iter().find(|agent| agent["ended"] == "unknown").unwrap();
    assert_eq!(agents.len(), 2, "{audit}");
    // The records of five seconds and a bit.
    let missing = audit["missing"].as_u64().unwrap();
    println!("killed: {missing} records were not acknowledged, {} are there", first["records"]);
    assert!(missing < 12 * 130, "{audit}");
    assert!(first["records"].as_u64().unwrap() > 300, "{audit}");
    assert_eq!(audit["duplicates"], 0, "{audit}");
    in_order(log);
}

/// Nothing is missing at all: what Kafka had not acknowledged was kept too.
fn left_by_stopped(log: &TestLog, spool: &TempDir, upstream: &Nginx, requests: usize) {
    let next = capture(log, upstream, spool.path(), &[]);
    let count = || std::fs::read_dir(spool.path()).unwrap().count();
    wait_for("what was left is drained", || count() == 1);
    assert_eq!(next.stop().code, Some(0));
    let ended = audited(log);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let audit = ended.json();
    let agents = audit["agents"].as_array().unwrap();
    assert!(agents.iter().all(|agent| agent["ended"] == "clean"), "{audit}");
    let seen: u64 = agents.iter().map(|agent| agent["requests"].as_u64().unwrap()).sum();
    assert_eq!(seen, requests as u64, "{audit}");
}

/// Forbids, or allows again, that the agent writes.
fn forbid(secured: &Secured, change: &[&str], topic: &str) {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kafka");
    let done = Command::new(script)
        .args(["tool", "AclCommand", "--bootstrap-server", &secured.anybody().broker])
        .args(change)
        .args(["--deny-principal", "User:scram-user", "--operation", "Write", "--topic", topic])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_permission_that_is_withdrawn_costs_nothing_if_it_comes_back() {
    let secured = Secured::broker();
    let topic = "open-withdrawn";
    let upstream = Nginx::start("location / { return 200 ok; }");
    let spool = tempfile::tempdir().unwrap();
    let agent = Umbra::new("capture")
        .flag("listen", "127.0.0.1:0")
        .flag("upstream", format!("http://{}", upstream.address))
        .flag("spool", spool.path().to_str().unwrap())
        .flag("admin", "127.0.0.1:0")
        .flag("mark-every", "500ms")
        .flag("output", "json");
    let agent = secured.scram("scram-user-secret").enter(agent, "log", topic).start();
    let load = Load::start("withdrawn", agent.listen(), 4, 100);
    let metric = |name: &str| agent.metric(name);
    wait_for("it records", || metric("umbra_capture_recorded_total") > 50.0);
    forbid(secured, &["--add"], topic);
    wait_for("records are kept in the spool", || metric("umbra_capture_spool_records") > 300.0);
    forbid(secured, &["--remove", "--force"], topic);
    wait_for("the spool is drained", || metric("umbra_capture_spool_records") == 0.0);
    let calls = load.stop();
    all_answered("withdrawn", &calls);
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let result = ended.json();
    assert_eq!(result["lost"], serde_json::json!({}), "{}", ended.stderr);
    assert_eq!(result["recorded"], calls.len(), "{result}");
    let log = TestLog::Kafka(format!("kafka://{}/{topic}", secured.anybody().broker));
    let ended = audited(&log);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert_eq!(in_order(&log), calls.len());
}
