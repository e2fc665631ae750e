//! Three brokers that are killed and frozen under load, agents that are killed, and
//! what is in the log and at the shadow afterwards.
//! `UMBRA_TEST_LONG=1` freezes the brokers for a minute instead of 20 s.

mod partitions;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use prost::Message;
use serde_json::Value;
use tempfile::TempDir;
use umbra_record::pb;

use crate::support::{
    cluster::{Cluster, wait_until_in_sync},
    kcat,
    load::{self, Call, Load},
    logs::TestLog,
    nginx::Nginx,
    pause,
    process::{Ended, Running, Umbra},
    shadow::{Manner, Shadow},
    wait_for,
};

/// Of each agent's load.
const CONNECTIONS: u32 = 40;
const RATE: u32 = 250;

/// What is older was acknowledged, or is in the spool.
const UNACKNOWLEDGED: Duration = Duration::from_secs(12);

/// Agents under load, on brokers that fail.
struct Scene {
    cluster: Cluster,
    log: TestLog,
    upstream: Nginx,
    spools: TempDir,
    began: Instant,
}

/// An agent and its load.
struct Front {
    number: usize,
    agent: Running,
    load: Load,
}

impl Scene {
    fn new() -> Self {
        let cluster = Cluster::start(3, &["min.insync.replicas=2"]);
        let log = TestLog::Kafka(cluster.log("steady"));
        let upstream = Nginx::start("location / { return 200 ok; }");
        let spools = tempfile::tempdir().unwrap();
        Self { cluster, log, upstream, spools, began: Instant::now() }
    }

    fn agent(&self, number: usize, listen: &str) -> Running {
        Umbra::new("capture")
            .flag("listen", listen)
            .flag("upstream", format!("http://{}", self.upstream.address))
            .flag("log", self.log.arg())
            .flag("spool", self.spools.path().join(number.to_string()).to_str().unwrap())
            .flag("mark-every", "1s")
            .flag("connect-timeout", "60s")
            .flag("admin", "127.0.0.1:0")
            .flag("output", "json")
            .start()
    }

    fn front(&self, number: usize) -> Front {
        let agent = self.agent(number, "127.0.0.1:0");
        let load = Load::start(&number.to_string(), agent.listen(), CONNECTIONS, RATE);
        Front { number, agent, load }
    }

    fn say(&self, what: &str) {
        println!("{:6.1} s  {what}", self.began.elapsed().as_secs_f64());
    }

    fn freeze_all(&self) {
        (1..=3).for_each(|node| self.cluster.freeze(node));
    }

    fn thaw_all(&self) {
        (1..=3).for_each(|node| self.cluster.thaw(node));
    }

    fn audit(&self) -> Ended {
        Umbra::new("audit").arg(self.log.arg()).flag("output", "json").run()
    }

    /// Everything that was recorded so far is in the log, once.
    #[track_caller]
    fn nothing_missing(&self, fronts: &[Front]) {
        wait_for("the spools are drained", || {
            fronts.iter().all(|front| front.agent.metric("umbra_capture_spool_bytes") == 0.0)
        });
        let ended = self.audit();
        let result = ended.json();
        assert_eq!(ended.code, Some(0), "{result}");
        assert_eq!((&result["missing"], &result["duplicates"]), (&0.into(), &0.into()), "{result}");
    }
}

/// How long all brokers are frozen.
fn outage() -> Duration {
    let long = std::env::var_os("UMBRA_TEST_LONG").is_some();
    Duration::from_secs(if long { 60 } else { 20 })
}

/// Each broker in turn is killed, is away until the others lead, and comes back.
fn brokers_die(scene: &Scene) {
    for node in 1..=3 {
        scene.cluster.kill(node);
        scene.say(&format!("broker {node} killed"));
        wait_for("the others lead", || {
            let leaders = kcat::leadership(&scene.log.arg()).unwrap_or_default();
            !leaders.is_empty()
                && leaders.iter().all(|one| one.leader > 0 && one.leader != node as i64)
        });
        scene.say("the others lead");
        scene.cluster.restart();
        wait_until_in_sync(&scene.log.arg());
    }
    scene.say("all brokers are back");
}

/// A window over a time in which nothing reaches the brokers, replayed into a topic
/// that is written at the same time.
struct LateWindow {
    from: SystemTime,
    to: SystemTime,
    shadow: Shadow,
    replay: Running,
}

fn unix(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap();
    format!("@{}.{:09}", since.as_secs(), since.subsec_nanos())
}

impl LateWindow {
    fn start(scene: &Scene, from: SystemTime, to: SystemTime) -> Self {
        let shadow = Shadow::start(Manner::Answer(200));
        let replay = Umbra::new("replay")
            .flag("log", scene.log.arg())
            .flag("job", "window")
            .flag("from", unix(from))
            .flag("to", unix(to))
            .flag("grace", "3m")
            .flag("rate", "max")
            .flag("target", shadow.url())
            .flag("output", "json")
            .start();
        Self { from, to, shadow, replay }
    }

    /// Exactly the window's requests, each once.
    fn check(self, recorded: &[Recorded]) {
        let ended = self.replay.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let result = ended.json();
        let inside = |one: &&Recorded| one.at >= nanos(self.from) && one.at < nanos(self.to);
        let mut wanted: Vec<&str> =
            recorded.iter().filter(inside).map(|one| one.path.as_str()).collect();
        wanted.sort_unstable();
        let arrivals = self.shadow.end();
        let mut arrived: Vec<String> = arrivals.iter().map(|a| path(&a.message.start)).collect();
        arrived.sort_unstable();
        println!("the window of requests that were late: {} requests", wanted.len());
        assert!(wanted.len() > 1000, "{}", wanted.len());
        assert_eq!(arrived.len(), wanted.len(), "{result}");
        assert!(arrived == wanted, "not the window's requests, each once: {result}");
        assert_eq!(result["agents_missing"], serde_json::json!([]), "{result}");
    }
}

fn nanos(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).unwrap().as_nanos()
}

fn path(start: &str) -> String {
    start.split(' ').nth(1).unwrap().to_owned()
}

/// All brokers are frozen under load; then one of them alone.
fn brokers_freeze(scene: &Scene, fronts: &[Front]) -> LateWindow {
    let now = SystemTime::now();
    let whole = outage();
    // It begins before the outage and ends in it.
    let window = LateWindow::start(scene, now, now + whole * 3 / 4);
    pause(Duration::from_secs(2));
    scene.freeze_all();
    scene.say("all brokers frozen");
    pause(whole);
    let spooled = |front: &Front| front.agent.metric("umbra_capture_spool_bytes");
    for front in fronts {
        assert!(spooled(front) > 0.0, "nothing is spooled:\n{}", front.agent.stderr());
    }
    scene.thaw_all();
    scene.say("all brokers go on");
    scene.nothing_missing(fronts);
    scene.say("the spools are drained, nothing is missing");

    let url = scene.log.arg();
    let leaders = kcat::leadership(&url).unwrap();
    let node = leaders[0].leader;
    scene.cluster.freeze(node as usize);
    wait_for("leadership moves away from a frozen broker", || {
        let now = kcat::leadership(&url).unwrap_or_default();
        !now.is_empty() && now.iter().all(|one| one.leader > 0 && one.leader != node)
    });
    scene.say(&format!("broker {node} alone was frozen; the others lead"));
    pause(Duration::from_secs(3));
    scene.cluster.thaw(node as usize);
    wait_until_in_sync(&url);
    window
}

/// When an agent was killed, and how many requests were not durable then.
struct Killed {
    load: usize,
    at: Instant,
    unacknowledged: usize,
}

/// `kill -9`.
fn kill_agent(front: &Front) -> Killed {
    let metric = |name: &str| front.agent.metric(name);
    let recorded = metric("umbra_capture_recorded_total");
    let unacknowledged = metric("umbra_capture_requests_total") - recorded;
    front.agent.signal("KILL");
    // Some more came in since it was asked.
    let unacknowledged = unacknowledged as usize + RATE as usize / 2;
    Killed { load: front.number, at: Instant::now(), unacknowledged }
}

/// An agent is killed under load, and once more while all brokers are frozen.
fn agents_die(scene: &Scene, fronts: &mut [Front]) -> Vec<Killed> {
    let front = &mut fronts[0];
    let listen = front.agent.listen().to_string();
    let first = kill_agent(front);
    front.agent = scene.agent(front.number, &listen);
    scene.say("an agent was killed and started again");
    let before = front.load.answered();
    wait_for("it answers again", || front.load.answered() > before + 500);

    scene.freeze_all();
    wait_for("it spools", || front.agent.metric("umbra_capture_spool_bytes") > 0.0);
    pause(Duration::from_secs(3));
    let second = kill_agent(front);
    scene.say("an agent was killed during an outage");
    pause(Duration::from_secs(1));
    scene.thaw_all();
    front.agent = scene.agent(front.number, &listen);
    let before = front.load.answered();
    wait_for("it answers again", || front.load.answered() > before + 500);
    wait_for("the spools are drained", || {
        fronts.iter().all(|front| front.agent.metric("umbra_capture_spool_bytes") == 0.0)
    });
    scene.say("the spools are drained");
    vec![first, second]
}

/// A request as it is in the log.
struct Recorded {
    at: u128,
    path: String,
}

/// All requests in the log, partition by partition in its order, each once: what was on
/// its way when an agent died may be there twice, under the same number.
fn recorded(log: &TestLog) -> Vec<Recorded> {
    let mut seen = HashSet::new();
    let mut requests = Vec::new();
    for raw in kcat::consume(&log.arg()) {
        let record = pb::Record::decode(raw.value.as_slice()).unwrap();
        if !seen.insert((record.agent, record.lane, raw.partition, record.sequence)) {
            continue;
        }
        if let Some(pb::record::Body::Request(request)) = record.body {
            let path = String::from_utf8(request.path.to_vec()).unwrap();
            requests.push(Recorded { at: u128::from(request.start_ns), path });
        }
    }
    requests
}

/// The requests of each connection are in the order in which they were sent.
#[track_caller]
fn in_order<'a>(paths: impl Iterator<Item = &'a str>) {
    let mut last: HashMap<&str, u64> = HashMap::new();
    for path in paths {
        let (connection, number) = load::place(path).unwrap();
        let before = last.insert(connection, number);
        assert!(before < Some(number), "{connection}: {number} after {before:?}");
    }
}

/// What of the answered requests is not in the log: only of agents that were killed,
/// only of their last seconds, and no more than was not durable.
fn check_missing(calls: &BTreeMap<usize, Vec<Call>>, there: &HashSet<&str>, killed: &[Killed]) {
    let mut tails = vec![0; killed.len()];
    for (load, calls) in calls {
        for call in calls.iter().filter(|c| c.answered && !there.contains(c.path.as_str())) {
            let recent = |one: &Killed| {
                one.load == *load && call.at <= one.at && call.at + UNACKNOWLEDGED > one.at
            };
            let end = killed.iter().position(recent);
            let end = end.unwrap_or_else(|| panic!("{} was answered and is missing", call.path));
            tails[end] += 1;
        }
    }
    for (missing, killed) in tails.iter().zip(killed) {
        let told = killed.unacknowledged;
        println!("killed: {missing} requests are not in the log, about {told} were not durable");
        assert!(*missing <= told, "{missing} are missing, {told} were not durable");
    }
}

/// Everything that is in the log goes to a shadow, once and in order.
fn replay_all(scene: &Scene, recorded: &[Recorded]) {
    let shadow = Shadow::start(Manner::Answer(200));
    let result = Umbra::new("replay")
        .flag("log", scene.log.arg())
        .flag("rate", "max")
        .flag("order", "connection")
        // A connection with more than half of it waiting would lose its order.
        .flag("read-ahead", "256MiB")
        .flag("target", shadow.url())
        .result();
    let arrivals: Vec<String> =
        shadow.arrivals().iter().map(|arrival| path(&arrival.message.start)).collect();
    let once: HashSet<&str> = arrivals.iter().map(String::as_str).collect();
    assert_eq!(once.len(), arrivals.len(), "twice at the shadow: {result}");
    let wanted: HashSet<&str> = recorded.iter().map(|one| one.path.as_str()).collect();
    assert!(once == wanted, "{} at the shadow, {} recorded", once.len(), wanted.len());
    assert_eq!(result["targets"]["shadow"]["order_lost"], 0, "{result}");
    in_order(arrivals.iter().map(String::as_str));
    scene.say(&format!("{} requests replayed", arrivals.len()));
}

/// The final word on every agent there was.
fn check_audit(scene: &Scene, killed: usize, clean: usize) {
    let count = |result: &Value, end: &str| {
        let agents = result["agents"].as_array().unwrap();
        agents.iter().filter(|agent| agent["ended"] == end).count()
    };
    let mut result = Value::Null;
    wait_for("killed agents are silent for long enough", || {
        result = scene.audit().json();
        count(&result, "running") == 0
    });
    assert_eq!((count(&result, "unknown"), count(&result, "clean")), (killed, clean), "{result}");
    // What the producer of the one that was killed during the outage had in memory lies
    // between what Kafka had acknowledged and what its spool kept.
    for agent in result["agents"].as_array().unwrap() {
        let missing = agent["missing"].as_u64().unwrap();
        assert!(missing == 0 || agent["ended"] == "unknown", "{agent}");
        // A request, its answer, and marks.
        assert!(missing < 3 * u64::from(RATE) * 8, "{agent}");
    }
    println!("of killed agents: {} missing, {} twice", result["missing"], result["duplicates"]);
}

/// A line each 30 s says how it goes.
fn check_heartbeats(agent: &Ended) {
    let lines = agent.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let beats: Vec<Value> = lines.filter(|line| line["message"] == "capture heartbeat").collect();
    assert!(beats.len() >= 2, "{}", agent.stderr);
    for beat in &beats {
        let rate = beat["rate"].as_str().unwrap().trim_end_matches("/s");
        let rate: f64 = rate.parse().unwrap();
        assert!((rate / f64::from(RATE) - 1.0).abs() < 0.2, "{beat}");
    }
    println!("heartbeats: {beats:#?}");
}

#[test]
fn brokers_and_agents_die_and_nothing_is_lost_uncounted() {
    let scene = Scene::new();
    let mut fronts: Vec<Front> = (0..2).map(|number| scene.front(number)).collect();
    wait_for("both answer", || fronts.iter().all(|front| front.load.answered() > 250));
    let quiet = Instant::now();
    pause(Duration::from_secs(5));
    let deaths = Instant::now();
    brokers_die(&scene);
    let freezes = Instant::now();
    scene.nothing_missing(&fronts);
    let window = brokers_freeze(&scene, &fronts);
    let agents = Instant::now();
    scene.nothing_missing(&fronts);
    let killed = agents_die(&scene, &mut fronts);

    let mut calls = BTreeMap::new();
    for front in fronts {
        calls.insert(front.number, front.load.stop());
        let ended = front.agent.stop();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let report = ended.json();
        assert_eq!(report["lost"], serde_json::json!({}), "{report}");
        if front.number == 1 {
            check_heartbeats(&ended);
        }
    }
    scene.say("the load has ended");
    for (load, calls) in &calls {
        let refused: Vec<&Call> = calls.iter().filter(|call| !call.answered).collect();
        let expected =
            |call: &Call| killed.iter().any(|k| k.load == *load && call.at + call.took >= k.at);
        assert!(refused.iter().all(|call| expected(call)), "{refused:?}");
        let p50 = |from, to| load::p50(calls, from, to).as_secs_f64() * 1e3;
        let p99 = |from, to| load::quantile(calls, from, to, 0.99).as_secs_f64() * 1e3;
        let before = p50(quiet, deaths);
        println!(
            "load {load}: p50 quiet {before:.3} ms; brokers killed {:.3} ms (ratio {:.2}); \
             frozen {:.3} ms (ratio {:.2}); p99 quiet {:.2}, killed {:.2}, frozen {:.2} ms",
            p50(deaths, freezes),
            p50(deaths, freezes) / before,
            p50(freezes, agents),
            p50(freezes, agents) / before,
            p99(quiet, deaths),
            p99(deaths, freezes),
            p99(freezes, agents),
        );
        // Within the noise of a machine that also runs three brokers and starts them anew.
        for during in [p50(deaths, freezes), p50(freezes, agents)] {
            assert!(during < 3.0 * before + 1.0, "{during} ms instead of {before}");
        }
    }

    check_audit(&scene, 2, 2);
    let recorded = recorded(&scene.log);
    let there: HashSet<&str> = recorded.iter().map(|one| one.path.as_str()).collect();
    in_order(recorded.iter().map(|one| one.path.as_str()));
    check_missing(&calls, &there, &killed);
    window.check(&recorded);
    scene.say("the log is checked");
    replay_all(&scene, &recorded);
}
