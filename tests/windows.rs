//! Windows are half open and exact to the nanosecond.

use crate::support::{
    client::Client,
    logs::TestLog,
    nginx::Nginx,
    process::Umbra,
    shadow::{Manner, Shadow},
};

/// With all nine digits of the fraction, so that it sorts like time.
fn in_full(at: &str) -> String {
    let (whole, fraction) = at.trim_end_matches('Z').split_once('.').unwrap_or((at, ""));
    format!("{}.{fraction:0<9}Z", whole.trim_end_matches('Z'))
}

fn exact(log: &TestLog) {
    let upstream = Nginx::start("location / { return 200 ok; }");
    let agent = Umbra::agent(log, upstream.address).start();
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(agent.listen())).collect();
    for number in 0..200_usize {
        let request = format!("GET /w/{number} HTTP/1.1\r\nHost: h\r\n\r\n");
        clients[number % 8].call(request.as_bytes());
    }
    drop(clients);
    assert_eq!(agent.stop().code, Some(0));

    let cat = Umbra::new("log cat").arg(log.arg()).flag("output", "json").run();
    let mut records: Vec<(String, String)> = cat
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|r| (in_full(r["at"].as_str().unwrap()), r["path"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(records.len(), 200);
    records.sort();
    let (from, to) = (&records[50].0, &records[150].0);
    let mut wanted: Vec<&str> =
        records.iter().filter(|r| r.0 >= *from && r.0 < *to).map(|r| r.1.as_str()).collect();
    wanted.sort_unstable();

    let shadow = Shadow::start(Manner::Answer(200));
    let result = Umbra::new("replay")
        .flag("log", log.arg())
        .flag("from", from)
        .flag("to", to)
        .flag("grace", "0")
        .flag("speed", "10")
        .flag("target", shadow.url())
        .result();
    assert_eq!(result["selected"], wanted.len(), "{result}");
    let mut arrived: Vec<String> = shadow
        .arrivals()
        .iter()
        .map(|a| a.message.start.split(' ').nth(1).unwrap().to_owned())
        .collect();
    arrived.sort_unstable();
    assert_eq!(arrived, wanted);
}

#[test]
fn exact_on_the_embedded_log() {
    exact(&TestLog::file());
}

#[test]
fn exact_on_kafka() {
    exact(&TestLog::kafka("window"));
}
