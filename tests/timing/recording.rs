//! What is replayed: recorded once through an agent, by connections that are spread
//! evenly over the partitions.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{
    client::Client, logs::TestLog, nginx::Nginx, pause, process::Umbra, wire::Message,
};

/// Of every topic here.
pub(crate) const PARTITIONS: usize = 12;

/// A recorded log.
pub(crate) struct Recording {
    pub(crate) log: TestLog,
    /// When each request was captured, in nanoseconds of Unix time.
    pub(crate) captured: HashMap<String, u128>,
}

/// `rate` requests a second in all; `share` of `requests` for a connection by its number.
pub(crate) fn record(name: &str, rate: u32, requests: impl Fn(usize) -> usize + Sync) -> Recording {
    const CONNECTIONS: usize = 2 * PARTITIONS;
    let log = TestLog::kafka(name);
    let upstream = Nginx::start("location / { return 200 ok; }");
    // With one thread, connections take partitions in turn.
    let agent = Umbra::agent(&log, upstream.address)
        .flag("threads", "1")
        .flag("partitions", PARTITIONS.to_string())
        .start();
    let every = Duration::from_secs(1) * CONNECTIONS as u32 / rate;
    let clients: Vec<Client> = (0..CONNECTIONS).map(|_| Client::connect(agent.listen())).collect();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for (index, mut client) in clients.into_iter().enumerate() {
            let requests = &requests;
            scope.spawn(move || {
                let first = start + every * index as u32 / CONNECTIONS as u32;
                for number in 0..requests(index) {
                    let due = first + every * number as u32;
                    pause(due.saturating_duration_since(Instant::now()));
                    let request = format!("GET /{index}/{number} HTTP/1.1\r\nHost: h\r\n\r\n");
                    assert_eq!(client.call(request.as_bytes()).status(), 200);
                }
            });
        }
    });
    assert_eq!(agent.stop().code, Some(0));
    let cat = Umbra::new("log cat").arg(log.arg()).flag("output", "json").run();
    assert_eq!(cat.code, Some(0), "{}", cat.stderr);
    let captured: HashMap<String, u128> = cat
        .stdout
        .lines()
        .map(|line| {
            let record: Value = serde_json::from_str(line).unwrap();
            let at: jiff::Timestamp = record["at"].as_str().unwrap().parse().unwrap();
            let path = record["path"].as_str().unwrap().to_owned();
            (path, u128::try_from(at.as_nanosecond()).unwrap())
        })
        .collect();
    let sent: usize = (0..CONNECTIONS).map(requests).sum();
    assert_eq!(captured.len(), sent);
    Recording { log, captured }
}

/// The path of a request.
pub(crate) fn path(message: &Message) -> &str {
    message.start.split(' ').nth(1).unwrap()
}
