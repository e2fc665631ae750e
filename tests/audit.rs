//! `umbra audit`: what an agent wrote is accounted for, what is taken away is found
//! and named, and an agent's end is told from its silence.

use std::{path::PathBuf, process::Command, sync::Barrier, time::Duration};

use serde_json::Value;

use crate::support::{
    client::{Client, get},
    logs::{TestLog, broker},
    nginx::Nginx,
    pause,
    process::{Ended, Running, Umbra},
    wait_for,
};

fn agent(log: &TestLog, upstream: &Nginx, flags: &[(&str, &str)]) -> Running {
    let mut agent = Umbra::agent(log, upstream.address).flag("output", "json");
    for (name, value) in flags {
        agent = agent.flag(name, value);
    }
    agent.start()
}

fn audit(log: &TestLog) -> Ended {
    Umbra::new("audit").arg(log.arg()).flag("output", "json").run()
}

/// An audit that finds nothing missing, and its only agent.
#[track_caller]
fn clean(log: &TestLog) -> (Value, Value) {
    let ended = audit(log);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    let result = ended.json();
    assert_eq!((&result["missing"], &result["duplicates"]), (&0.into(), &0.into()), "{result}");
    assert_eq!(result["agents"].as_array().unwrap().len(), 1, "{result}");
    let agent = result["agents"][0].clone();
    (result, agent)
}

fn upstream() -> Nginx {
    Nginx::start("location / { return 200 ok; }")
}

/// Sends so many requests on each of so many connections at once.
fn load(agent: &Running, connections: usize, requests: usize, body: usize) {
    let to = agent.listen();
    let together = Barrier::new(connections);
    std::thread::scope(|scope| {
        for connection in 0..connections {
            let together = &together;
            scope.spawn(move || {
                let mut client = Client::connect(to);
                together.wait();
                for number in 0..requests {
                    let head = format!(
                        "POST /{connection}/{number} HTTP/1.1\r\nHost: h\r\nContent-Length: {body}\r\n\r\n"
                    );
                    let mut request = head.into_bytes();
                    // Bytes that do not compress.
                    let mut seed = (connection * requests + number) as u64 + 1;
                    request.extend(std::iter::repeat_with(|| random(&mut seed)).take(body));
                    assert_eq!(client.call(&request).status(), 200);
                }
            });
        }
    });
}

fn random(seed: &mut u64) -> u8 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    (*seed >> 32) as u8
}

fn wait_until_in(log: &TestLog, requests: u64) {
    wait_for("all requests are in the log", || {
        Umbra::new("log info").arg(log.arg()).result()["requests"] == requests
    });
}

fn accounts_for_a_clean_run(log: &TestLog) {
    let upstream = upstream();
    let agent = agent(log, &upstream, &[("mark-every", "500ms")]);
    load(&agent, 8, 50, 0);
    wait_until_in(log, 400);
    let (_, running) = clean(log);
    assert_eq!(running["ended"], "running", "{running}");
    let report = agent.stop().json();

    let (result, agent) = clean(log);
    assert_eq!(agent["ended"], "clean", "{agent}");
    assert_eq!((&agent["id"], &agent["gaps"]), (&report["agent"], &Value::Array(vec![])));
    assert_eq!((&agent["requests"], &agent["totals"]["recorded"]), (&400.into(), &400.into()));
    let info = Umbra::new("log info").arg(log.arg()).result();
    assert_eq!(agent["records"], info["records"], "{result}");
    // Half open windows that meet share nothing and lack nothing.
    let first = info["first"].as_str().unwrap();
    let last = info["last"].as_str().unwrap();
    let count = |flag: &str, at: &str| {
        let result = Umbra::new("audit").arg(log.arg()).flag(flag, at).result();
        result["agents"].as_array().unwrap().first().map_or(0, |a| a["requests"].as_u64().unwrap())
    };
    assert_eq!(count("to", first), 0);
    assert_eq!(count("to", last) + count("from", last), 400);
    let text = Umbra::new("audit").arg(log.arg()).run();
    assert!(text.stdout.ends_with("Every request is accounted for.\n"), "{}", text.stdout);
}

#[test]
fn accounts_for_a_clean_run_on_the_embedded_log() {
    accounts_for_a_clean_run(&TestLog::file());
}

#[test]
fn accounts_for_a_clean_run_on_kafka() {
    accounts_for_a_clean_run(&TestLog::kafka("audit"));
}

/// The vanished and its successor are told apart.
fn names_the_end_of_a_killed_agent(log: &TestLog) {
    let upstream = upstream();
    let flags = [("mark-every", "300ms")];
    let killed = agent(log, &upstream, &flags);
    load(&killed, 4, 50, 0);
    wait_until_in(log, 200);
    killed.kill();
    let successor = agent(log, &upstream, &flags);
    get(successor.listen(), "/after");
    assert_eq!(successor.stop().code, Some(0));
    let mut result = Value::Null;
    wait_for("the killed one is silent for long enough", || {
        result = audit(log).json();
        result["agents"][0]["ended"] == "unknown"
    });
    assert_eq!(result["missing"], 0, "{result}");
    assert_eq!(result["agents"][0]["requests"], 200, "{result}");
    assert_eq!(result["agents"][1]["ended"], "clean", "{result}");
    assert_eq!(result["agents"].as_array().unwrap().len(), 2, "{result}");
}

#[test]
fn names_the_end_of_a_killed_agent_on_the_embedded_log() {
    names_the_end_of_a_killed_agent(&TestLog::file());
}

#[test]
fn names_the_end_of_a_killed_agent_on_kafka() {
    names_the_end_of_a_killed_agent(&TestLog::kafka("audit-kill"));
}

/// The segments of an embedded log, oldest first.
fn segments(log: &TestLog) -> Vec<PathBuf> {
    let dir = log.arg().trim_start_matches("file:").to_owned();
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "mcap")).collect();
    segments.sort();
    segments
}

/// An embedded log of several segments, and its agent.
fn in_segments(upstream: &Nginx) -> (TestLog, String) {
    let log = TestLog::file();
    let agent = agent(&log, upstream, &[("segment-bytes", "256KiB"), ("mark-every", "500ms")]);
    load(&agent, 4, 100, 8 << 10);
    let report = agent.stop().json();
    assert_eq!(report["lost"], serde_json::json!({}), "{report}");
    assert!(segments(&log).len() >= 5, "{:?}", segments(&log));
    (log, report["agent"].as_str().unwrap().to_owned())
}

#[test]
fn a_segment_taken_from_the_middle_is_missed() {
    let upstream = upstream();
    let (log, agent) = in_segments(&upstream);
    let (_, before) = clean(&log);
    let segments = segments(&log);
    std::fs::remove_file(&segments[segments.len() / 2]).unwrap();
    let ended = audit(&log);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let result = ended.json();
    let missing = result["missing"].as_u64().unwrap();
    assert!(missing > 0);
    let after = &result["agents"][0];
    assert_eq!((&after["id"], &after["ended"]), (&agent.clone().into(), &"clean".into()));
    // Every record that was there is there or missing.
    let records = |agent: &Value| agent["records"].as_u64().unwrap();
    assert_eq!(records(after) + missing, records(&before), "{result}");
    assert_eq!(result["log"]["missing"], missing, "{result}");
    let places = after["where"].as_array().unwrap();
    let told: u64 = places.iter().map(|place| place["missing"].as_u64().unwrap()).sum();
    assert_eq!(told, missing, "{result}");
    let text = Umbra::new("audit").arg(log.arg()).run();
    assert_eq!(text.code, Some(1));
    assert!(text.stdout.contains(&agent), "{}", text.stdout);
    let last =
        format!("Not every request is accounted for: {missing} records missing, of one agent.\n");
    assert!(text.stdout.ends_with(&last), "{}", text.stdout);
}

#[test]
fn a_damaged_segment_is_missed() {
    let upstream = upstream();
    let (log, _) = in_segments(&upstream);
    let (_, before) = clean(&log);
    let segments = segments(&log);
    let path = &segments[segments.len() / 2];
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0xA5);
    std::fs::write(path, bytes).unwrap();
    let ended = audit(&log);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let result = ended.json();
    let (missing, records) = (&result["missing"], &result["agents"][0]["records"]);
    let sum = missing.as_u64().unwrap() + records.as_u64().unwrap();
    assert_eq!(sum, before["records"].as_u64().unwrap(), "{result}");
    let reason = result["log"]["where"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("damaged"), "{reason}");
}

#[test]
fn a_head_removed_by_retention_is_not_missed() {
    let upstream = upstream();
    let (log, _) = in_segments(&upstream);
    let (_, before) = clean(&log);
    std::fs::remove_file(&segments(&log)[0]).unwrap();
    let (_, after) = clean(&log);
    assert!(after["records"].as_u64() < before["records"].as_u64(), "{after}");
    assert_eq!(after["ended"], "clean");
}

/// Far more than the agent may keep: what it could not record, it tells.
fn overload_is_told(log: &TestLog, flags: &[(&str, &str)]) {
    let upstream = upstream();
    let agent = agent(log, &upstream, flags);
    load(&agent, 64, 60, 40 << 10);
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let report = ended.json();
    let (_, audited) = clean(log);
    println!("{report}\n{audited}");
    let lost: u64 = report["lost"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert!(lost > 0, "no overload: {report}");
    let told: u64 = audited["gaps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|gap| gap["requests"].as_u64().unwrap())
        .sum();
    assert_eq!(told, lost, "{report}\n{audited}");
    for gap in audited["gaps"].as_array().unwrap() {
        let reason = gap["reason"].as_str().unwrap();
        assert_eq!(report["lost"][reason], gap["requests"], "{report}\n{audited}");
    }
    assert_eq!(audited["ended"], "clean", "{audited}");
    assert_eq!(audited["told_and_here"], 0, "{audited}");
    assert_eq!(audited["untold"], serde_json::json!([]), "{audited}");
    assert_eq!(report["requests"], 64 * 60, "{report}");
    assert_eq!(audited["totals"]["recorded"], report["recorded"], "{audited}");
    let requests = audited["requests"].as_u64().unwrap();
    assert!(requests >= report["recorded"].as_u64().unwrap(), "{report}\n{audited}");
}

const TIGHT: &[(&str, &str)] =
    &[("queue", "1MiB"), ("memory", "1MiB"), ("spool", "off"), ("mark-every", "500ms")];

#[test]
fn overload_is_told_on_the_embedded_log() {
    overload_is_told(&TestLog::file(), TIGHT);
}

#[test]
fn overload_is_told_on_kafka() {
    overload_is_told(&TestLog::kafka("audit-overload"), TIGHT);
}

/// Sets a topic's largest batch, as an operator would.
fn limit_batches(log: &TestLog, bytes: u32) {
    let url = log.arg();
    let topic = url.rsplit('/').next().unwrap();
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kafka");
    let done = Command::new(script)
        .args(["tool", "kafka.admin.ConfigCommand", "--alter", "--entity-type", "topics"])
        .args(["--bootstrap-server", &broker(), "--entity-name", topic])
        .args(["--add-config", &format!("max.message.bytes={bytes}")])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// The log accepted them, gave them numbers, and lost them: Gaps name the numbers.
#[test]
fn records_refused_by_the_broker_are_told_by_number() {
    let log = TestLog::kafka("audit-refused");
    let upstream = upstream();
    let agent = agent(&log, &upstream, &[("mark-every", "500ms")]);
    load(&agent, 4, 25, 0);
    wait_until_in(&log, 100);
    limit_batches(&log, 20_000);
    let told = || Umbra::new("log info").arg(log.arg()).result()["gaps"].as_u64().unwrap();
    let mut sent = 100;
    // One at a time, so that what tells of a loss shares no batch with the next.
    for wanted in 1..=3 {
        wait_for("a request is refused, and told", || {
            if told() < wanted {
                load(&agent, 1, 1, 60 << 10);
                sent += 1;
            }
            pause(Duration::from_millis(700));
            told() >= wanted
        });
    }
    load(&agent, 4, 25, 0);
    sent += 100;
    let report = agent.stop().json();
    let (_, audited) = clean(&log);
    assert_eq!(report["requests"], sent, "{report}");
    let lost = report["lost"]["too_large"].as_u64().unwrap();
    assert!(lost >= 3, "{report}");
    assert_eq!(audited["gaps"][0]["requests"], lost, "{report}\n{audited}");
    assert_eq!(audited["untold"], serde_json::json!([]), "{audited}");
    assert_eq!(audited["requests"].as_u64().unwrap() + lost, sent, "{report}\n{audited}");
    assert_eq!((&audited["ended"], &audited["told_and_here"]), (&"clean".into(), &0.into()));
}
