//! A job goes on where it stopped, whoever was killed.

use std::collections::BTreeMap;

use crate::support::{
    client::Client,
    logs::TestLog,
    nginx::Nginx,
    process::Umbra,
    shadow::{Manner, Shadow},
    wait_for,
};

const REQUESTS: usize = 2_000;

fn record(log: &TestLog) {
    let upstream = Nginx::start("location / { return 200 ok; }");
    let agent = Umbra::agent(log, upstream.address).start();
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(agent.listen())).collect();
    for number in 0..REQUESTS {
        let request = format!("GET /r/{number} HTTP/1.1\r\nHost: h\r\n\r\n");
        clients[number % 20].call(request.as_bytes());
    }
    drop(clients);
    assert_eq!(agent.stop().code, Some(0));
}

fn counts(shadow: &Shadow) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for arrival in shadow.arrivals() {
        let path = arrival.message.start.split(' ').nth(1).unwrap().to_owned();
        *counts.entry(path).or_default() += 1;
    }
    counts
}

/// `kill -9` in the middle, started again: nothing missing; twice at most what was
/// in flight or settled within the last commit interval.
fn killed(log: &TestLog) {
    record(log);
    let shadow = Shadow::start(Manner::Answer(200));
    let rate = 500.0;
    let command = || {
        Umbra::new("replay")
            .flag("log", log.arg())
            .flag("job", "killed")
            .flag("rate", rate.to_string())
            .flag("target", shadow.url())
            .flag("output", "json")
    };
    let first = command().start();
    wait_for("it is in the middle", || shadow.count() > REQUESTS / 3);
    first.kill();
    let before = shadow.count();
    assert!(before < REQUESTS, "killed too late: {before}");
    let ended = command().run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let counts = counts(&shadow);
    assert_eq!(counts.len(), REQUESTS, "requests are missing");
    let twice = counts.values().filter(|n| **n > 1).count();
    let marked = shadow
        .arrivals()
        .iter()
        .filter(|a| a.message.header_text("x-umbra-attempt").as_deref() == Some("2"))
        .count();
    println!(
        "killed after {before} of {REQUESTS}: {twice} sent twice, {marked} marked as attempt 2"
    );
    // 200 ms of commits and of what was under way, doubled for a slow machine.
    assert!(twice as f64 <= rate * 0.4 + 20.0, "{twice} sent twice");
    assert!(marked >= twice, "{twice} sent twice, {marked} marked");

    let again = command().run();
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(
        again.json()["targets"]["shadow"]["sent"].as_u64().unwrap_or(0),
        0,
        "{}",
        again.stdout
    );
}

#[test]
fn killed_on_the_embedded_log() {
    killed(&TestLog::file());
}

#[test]
fn killed_on_kafka() {
    killed(&TestLog::kafka("killed"));
}

/// SIGTERM: exit 75, no request twice, and other flags are refused.
fn stopped(log: &TestLog) {
    record(log);
    let shadow = Shadow::start(Manner::Answer(200));
    let command = |rate: &str| {
        Umbra::new("replay")
            .flag("log", log.arg())
            .flag("job", "stopped")
            .flag("rate", rate)
            .flag("target", shadow.url())
            .flag("output", "json")
    };
    let first = command("500").start();
    wait_for("it is in the middle", || shadow.count() > REQUESTS / 3);
    let ended = first.stop();
    assert_eq!(ended.code, Some(75), "{}", ended.stderr);
    let differs = command("800").run();
    assert_eq!(differs.code, Some(64), "{}", differs.stderr);
    assert!(
        differs.stderr.contains("rate") && differs.stderr.contains("500"),
        "{}",
        differs.stderr
    );
    let ended = command("500").run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let counts = counts(&shadow);
    assert_eq!(counts.len(), REQUESTS, "requests are missing");
    assert!(counts.values().all(|n| *n == 1), "SIGTERM causes no duplicates");
    let again = command("500").flag("again", "").run();
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(shadow.count(), 2 * REQUESTS);
}

#[test]
fn stopped_on_the_embedded_log() {
    stopped(&TestLog::file());
}

#[test]
fn stopped_on_kafka() {
    stopped(&TestLog::kafka("stopped"));
}
