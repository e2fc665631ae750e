//! A shadow that answers so slowly that nothing is read for longer than Kafka lets a
//! member of a group be silent.

use std::{collections::BTreeMap, time::Duration};

use crate::support::{
    client::Client,
    logs::TestLog,
    nginx::Nginx,
    process::Umbra,
    shadow::{Manner, Shadow},
};

const REQUESTS: usize = 4;

/// Two of them fill what is read ahead.
const BODY: usize = 600_000;

/// Longest silence of a member, and shortest time the broker gives it.
const POLL_WITHIN: &str = "6000";

/// The slow ones take half as much again.
const SLOW: Duration = Duration::from_secs(9);

#[test]
fn a_slow_shadow_costs_no_membership() {
    let log = TestLog::kafka("slow");
    let upstream = Nginx::start("location / { return 200 ok; }");
    let agent = Umbra::agent(&log, upstream.address).flag("partitions", "2").start();
    let mut clients: Vec<Client> = (0..2).map(|_| Client::connect(agent.listen())).collect();
    for number in 0..REQUESTS {
        let head =
            format!("POST /slow/{number} HTTP/1.1\r\nHost: h\r\nContent-Length: {BODY}\r\n\r\n");
        let request = [head.into_bytes(), vec![b'x'; BODY]].concat();
        assert_eq!(clients[number % 2].call(&request).status(), 200);
    }
    drop(clients);
    assert_eq!(agent.stop().code, Some(0));

    let shadow = Shadow::start(Manner::Slow(SLOW));
    // Full with the first of them: the reader is paused until they are answered.
    let ended = Umbra::new("replay")
        .flag("log", log.arg())
        .flag("rate", "max")
        .flag("concurrency", "2")
        .flag("read-ahead", "1MiB")
        .flag("kafka", format!("session.timeout.ms={POLL_WITHIN}"))
        .flag("kafka", format!("max.poll.interval.ms={POLL_WITHIN}"))
        .flag("target", shadow.url())
        .flag("output", "json")
        .run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    // What librdkafka says when it leaves the group for that reason.
    assert!(!ended.stderr.contains("MAXPOLL"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("max.poll.interval.ms"), "{}", ended.stderr);
    let result = ended.json();
    assert_eq!(result["targets"]["shadow"]["answered"], REQUESTS, "{result}");
    let mut arrived: BTreeMap<String, usize> = BTreeMap::new();
    for arrival in shadow.arrivals() {
        assert_eq!(arrival.message.header("x-umbra-attempt"), None, "{}", arrival.message.start);
        *arrived.entry(arrival.message.start).or_default() += 1;
    }
    assert_eq!(arrived.len(), REQUESTS, "{arrived:?}");
    assert!(arrived.values().all(|n| *n == 1), "{arrived:?}");
}
