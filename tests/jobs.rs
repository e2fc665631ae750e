//! `umbra jobs`: what is seen of a job while it runs, after it died and when it is
//! done; and an operator who steers it.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;

use crate::support::{
    client::Client,
    jobs::job,
    logs::TestLog,
    nginx::Nginx,
    pause,
    process::{Ended, Umbra},
    shadow::{Manner, Shadow},
    wait_for,
};

/// Recorded before each test.
const REQUESTS: u64 = 600;

fn record(log: &TestLog) {
    let upstream = Nginx::start("location / { return 200 ok; }");
    let agent = Umbra::agent(log, upstream.address).start();
    let mut clients: Vec<Client> = (0..24).map(|_| Client::connect(agent.listen())).collect();
    for number in 0..REQUESTS as usize {
        let request = format!("GET /j/{number} HTTP/1.1\r\nHost: h\r\n\r\n");
        clients[number % 24].call(request.as_bytes());
    }
    drop(clients);
    assert_eq!(agent.stop().code, Some(0));
}

/// A replay whose death Kafka notices as soon as it may.
fn replay(log: &TestLog, name: &str, rate: &str, shadow: &Shadow) -> Umbra {
    Umbra::new("replay")
        .flag("log", log.arg())
        .flag("kafka", "session.timeout.ms=6000")
        .flag("kafka", "heartbeat.interval.ms=300")
        .flag("job", name)
        .flag("rate", rate)
        .flag("target", shadow.url())
        .flag("output", "json")
}

fn steer(log: &TestLog, words: &[&str]) -> Ended {
    let mut command = Umbra::new("jobs").arg(log.arg());
    for word in words {
        command = command.arg(word);
    }
    command.run()
}

/// Steers with success, and returns how it went.
#[track_caller]
fn steered(log: &TestLog, words: &[&str]) -> String {
    let mut command = Umbra::new("jobs").arg(log.arg());
    for word in words {
        command = command.arg(word);
    }
    command.result()["result"].as_str().unwrap().to_owned()
}

fn lag(job: &Value) -> u64 {
    let rows = job["partitions"].as_array().unwrap();
    rows.iter().map(|row| row["lag"].as_u64().unwrap()).sum()
}

/// Running, abandoned, done, deleted.
fn from_start_to_end(log: &TestLog) {
    record(log);
    let shadow = Shadow::start(Manner::Answer(200));
    assert_eq!(Umbra::new("jobs").arg(log.arg()).result()["jobs"], serde_json::json!([]));
    let none = steer(log, &["pause", "friday"]);
    assert_eq!(none.code, Some(66), "{}", none.stderr);

    let first = replay(log, "friday", "100/s", &shadow).start();
    wait_for("it is sending", || shadow.count() > 50);
    let seen = job(log, "friday");
    assert_eq!(seen["state"], "running", "{seen}");
    assert_eq!(seen["pace"], "100/s");
    assert_eq!(seen["plan"]["mode"], "window");
    assert_eq!(seen["plan"]["settings"]["rate"], serde_json::json!(["100/s"]));
    let members = seen["members"].as_array().unwrap();
    assert_eq!(members.len(), 1, "{seen}");
    assert_eq!(members[0]["partitions"].as_array().unwrap().len(), 12, "{seen}");
    assert_eq!(seen["partitions"].as_array().unwrap().len(), 12, "{seen}");
    assert!(lag(&seen) > 0, "{seen}");
    let behind = seen["partitions"].as_array().unwrap().iter().find(|row| row["lag"] != 0);
    assert!(behind.unwrap()["lag_s"].as_f64().is_some(), "{seen}");
    let text = steer(log, &[]);
    assert!(text.stdout.contains("friday") && text.stdout.contains("running"), "{}", text.stdout);

    let other = steer(log, &["pause", "saturday"]);
    assert_eq!(other.code, Some(66), "{}", other.stderr);
    assert!(other.stderr.contains("friday"), "{}", other.stderr);
    let held = steer(log, &["delete", "friday"]);
    assert_eq!(held.code, Some(64), "{}", held.stderr);
    assert!(held.stderr.contains("cancel"), "{}", held.stderr);

    first.kill();
    wait_for("nobody runs it any more", || job(log, "friday")["state"] == "abandoned");
    let ended = replay(log, "friday", "max", &shadow).flag("adopt", "").run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let seen = job(log, "friday");
    assert_eq!((seen["state"].as_str(), lag(&seen)), (Some("done"), 0), "{seen}");
    let late = steer(log, &["pause", "friday"]);
    assert_eq!(late.code, Some(64), "{}", late.stderr);
    assert!(late.stderr.contains("is done"), "{}", late.stderr);

    assert_eq!(steered(log, &["delete", "friday"]), "followed");
    assert_eq!(job(log, "friday"), Value::Null);
    let before = shadow.count();
    let anew = replay(log, "friday", "max", &shadow).run();
    assert_eq!(anew.code, Some(0), "{}", anew.stderr);
    assert_eq!((shadow.count() - before) as u64, REQUESTS, "the same name begins anew");
}

#[test]
fn from_start_to_end_on_the_embedded_log() {
    from_start_to_end(&TestLog::file());
}

#[test]
fn from_start_to_end_on_kafka() {
    from_start_to_end(&TestLog::kafka("jobs"));
}

/// What a replica that was killed had sent is in the sums.
fn sums_survive(log: &TestLog) {
    record(log);
    let shadow = Shadow::start(Manner::Answer(200));
    let first = replay(log, "sums", "200/s", &shadow).start();
    wait_for("it is in the middle", || shadow.count() as u64 > REQUESTS / 2);
    first.kill();
    let sent = shadow.count() as u64;
    let told = || job(log, "sums")["sums"]["sent"].as_u64().unwrap();
    let of_dead = told();
    // A commit interval and what was in flight, generously.
    assert!(of_dead <= sent && of_dead + 120 >= sent, "{of_dead} of {sent} are told");
    let ended = replay(log, "sums", "200/s", &shadow).run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let seen = job(log, "sums");
    let sums = &seen["sums"];
    for what in ["read", "sent", "answered"] {
        let sum = sums[what].as_u64().unwrap();
        // Nothing is missing; what was sent again just around the kill may count twice.
        assert!((REQUESTS..=REQUESTS + 10).contains(&sum), "{what}: {seen}");
        assert!(sum > of_dead + (REQUESTS - sent) / 2, "{what}: {seen}");
    }
    assert_eq!(sums["status"]["200"], sums["answered"], "{seen}");
}

#[test]
fn sums_survive_on_the_embedded_log() {
    sums_survive(&TestLog::file());
}

#[test]
fn sums_survive_on_kafka() {
    sums_survive(&TestLog::kafka("sums"));
}

/// Nothing arrives for a while.
fn is_silent(shadow: &Shadow) -> bool {
    let before = shadow.count();
    pause(Duration::from_millis(600));
    shadow.count() == before
}

/// Pause, resume, another pace, the end.
fn steering(log: &TestLog) {
    record(log);
    let shadow = Shadow::start(Manner::Answer(200));
    let running = replay(log, "steered", "30/s", &shadow).start();
    wait_for("it is sending", || shadow.count() > 15);
    steered(log, &["pause", "steered"]);
    wait_for("it pauses", || is_silent(&shadow));
    assert_eq!(job(log, "steered")["state"], "paused");
    assert_eq!(steered(log, &["pause", "steered"]), "already");
    let before = shadow.count();
    assert_eq!(steered(log, &["resume", "steered"]), "followed");
    wait_for("it goes on", || shadow.count() > before + 10);
    assert_eq!(job(log, "steered")["state"], "running");

    assert_eq!(steered(log, &["rate", "steered", "150/s"]), "followed");
    // At the old pace these take two seconds.
    wait_for("it is faster", || {
        let arrivals = shadow.arrivals();
        arrivals.windows(60).any(|some| some[59].at - some[0].at < Duration::from_secs(1))
    });
    assert_eq!(steered(log, &["rate", "steered", "5/s"]), "followed");
    assert_eq!(job(log, "steered")["pace"], "5/s");
    assert_eq!(steered(log, &["cancel", "steered"]), "followed");
    let ended = running.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let sent = shadow.count() as u64;
    assert!(sent < REQUESTS, "cancelled too late");
    assert_eq!(job(log, "steered")["state"], "cancelled");
    let late = steer(log, &["resume", "steered"]);
    assert_eq!(late.code, Some(64), "{}", late.stderr);
    let again = replay(log, "steered", "30/s", &shadow).run();
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(shadow.count() as u64, sent, "what was cancelled sends nothing");
}

#[test]
fn steering_on_the_embedded_log() {
    steering(&TestLog::file());
}

#[test]
fn steering_on_kafka() {
    steering(&TestLog::kafka("steering"));
}

#[test]
fn replicas_are_listed_with_what_they_hold() {
    let log = TestLog::kafka("members");
    record(&log);
    let shadow = Shadow::start(Manner::Answer(200));
    let replicas = [(), ()].map(|()| replay(&log, "both", "20/s", &shadow).start());
    let held = || -> Vec<Vec<u64>> {
        let seen = job(&log, "both");
        let members = seen["members"].as_array().cloned().unwrap_or_default();
        let held = members.iter().map(|member| {
            let list = member["partitions"].as_array().unwrap();
            list.iter().map(|one| one.as_u64().unwrap()).collect()
        });
        held.collect()
    };
    wait_for("two hold six each", || {
        let held = held();
        let all: BTreeSet<u64> = held.iter().flatten().copied().collect();
        held.len() == 2 && held.iter().all(|one| one.len() == 6) && all.len() == 12
    });
    let refused = steer(&log, &["delete", "both"]);
    assert_eq!(refused.code, Some(64), "{}", refused.stderr);
    assert!(refused.stderr.contains("2 processes"), "{}", refused.stderr);
    for replica in replicas {
        assert_eq!(replica.stop().code, Some(75));
    }
    wait_for("they have left", || held().is_empty());
    assert_eq!(steered(&log, &["delete", "both"]), "followed");
}

#[test]
fn what_cannot_be_meant_is_told_at_once() {
    for words in [
        &["stop", "x"][..],
        &["pause"],
        &["rate", "x"],
        &["rate", "x", "fast"],
        &["rate", "x", "0x"],
        &["pause", "x", "2x"],
    ] {
        let ended = steer(&TestLog::file(), words);
        assert_eq!(ended.code, Some(64), "{words:?}: {}", ended.stderr);
    }
    let gone = steer(&TestLog::file(), &[]);
    assert_eq!(gone.code, Some(66), "{}", gone.stderr);
}
