//! Marks: present everywhere, exact, and bounded by what is in flight.

use std::time::Duration;

use umbra_record::pb::{Mark, record::Body};

use super::harness::{Agent, Client, Ended, Server, signal, until};

fn marks(ended: &Ended) -> impl Iterator<Item = (u32, u32, &Mark)> {
    ended.records.iter().filter_map(|(partition, record)| match &record.body {
        Some(Body::Mark(mark)) => Some((*partition, record.lane, mark)),
        _ => None,
    })
}

#[test]
fn an_idle_agent_marks_every_partition_in_every_lane() {
    let upstream = Server::echo();
    let agent = Agent::start(upstream.address, |config| {
        config.mark_every = Duration::from_millis(30);
    });
    // Three lanes, and time for their promises to move on.
    until("marks are written", || agent.written() >= 40);
    let ended = agent.end();
    for partition in 0..4 {
        // Two capture threads and the recorder.
        for lane in 0..3 {
            let of: Vec<_> = marks(&ended)
                .filter(|(p, l, _)| (*p, *l) == (partition, lane))
                .map(|(_, _, mark)| mark)
                .collect();
            assert!(of.len() >= 4, "{} marks of lane {lane} in {partition}", of.len());
            assert!(of.iter().all(|mark| mark.lanes == 3 && mark.labels["env"] == "test"));
            assert_eq!(of.iter().filter(|mark| mark.r#final).count(), 1);
            // Without requests the promise moves on with time.
            let last = of[of.len() - 2];
            assert!(last.low_ns > of[1].at_ns, "the promise stands still");
        }
    }
}

#[test]
fn totals_are_exact_for_known_traffic() {
    let upstream = Server::echo();
    let agent = Agent::start(upstream.address, |config| {
        config.mark_every = Duration::from_millis(10);
    });
    let clients: Vec<_> = (0..8)
        .map(|c| {
            let mut client = agent.connect();
            std::thread::spawn(move || {
                for n in 0..40 {
                    let size = [0, 10, 70_000][n % 3];
                    client.send(format!(
                        "POST /{c}/{n} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"
                    ));
                    client.send(vec![7; size]);
                    assert_eq!(client.answer().status, 200);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    let ended = agent.end();
    assert_eq!(ended.report.recorded, 320);
    assert_eq!((ended.requests().len(), ended.responses().len()), (320, 320));
    let partitions: std::collections::BTreeSet<_> = ended
        .records
        .iter()
        .filter(|(_, record)| matches!(record.body, Some(Body::Request(_))))
        .map(|(partition, _)| *partition)
        .collect();
    assert!(partitions.len() >= 2, "all connections went to one partition");
}

/// Marks written while a request is in flight do not promise beyond its start.
fn low_respects(request: impl Fn(&mut Client), path: &str, release: impl Fn(&mut Client)) {
    let upstream = Server::echo();
    let agent = Agent::start(upstream.address, |config| {
        config.threads = 1;
        config.mark_every = Duration::from_millis(20);
    });
    let mut client = agent.connect();
    request(&mut client);
    std::thread::park_timeout(Duration::from_millis(300));
    // Others are recorded meanwhile.
    assert_eq!(agent.connect().get("/other").status, 200);
    std::thread::park_timeout(Duration::from_millis(100));
    release(&mut client);
    assert_eq!(client.answer().status, 200);
    until("it is recorded", || agent.stats.snapshot().recorded == 2);
    std::thread::park_timeout(Duration::from_millis(100));
    let ended = agent.end();
    let request = ended.request(path);
    let (start, end) = (request.start_ns, request.start_ns + request.end_after_ns);
    assert!(end - start > 300_000_000);
    let during = marks(&ended).filter(|(_, _, mark)| (start..end).contains(&mark.at_ns)).inspect(
        |(_, lane, mark)| {
            assert!(mark.low_ns <= start, "lane {lane} promised beyond a request in flight");
        },
    );
    assert!(during.count() >= 8);
    // And goes on afterwards.
    assert!(marks(&ended).any(|(_, _, mark)| !mark.r#final && mark.low_ns > end));
}

#[test]
fn a_slow_head_holds_the_promise_back() {
    low_respects(
        |client| client.send("GET /slow HTTP/1.1\r\nHo"),
        "/slow",
        |client| client.send("st: a\r\n\r\n"),
    );
}

#[test]
fn a_slow_small_body_holds_the_promise_back() {
    low_respects(
        |client| client.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab"),
        "/slow",
        |client| client.send("cd"),
    );
}

#[test]
fn a_slow_large_body_holds_the_promise_back_in_both_lanes() {
    low_respects(
        |client| {
            client.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
            client.send([1; 99_999]);
        },
        "/slow",
        |client| client.send("x"),
    );
}

#[test]
fn an_upgrade_that_is_not_answered_yet_holds_the_promise_back() {
    let (go, wait) = signal();
    let upstream = Server::start(move |client, server| {
        client.request_head(server);
        wait();
        client.send("HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    });
    let agent = Agent::start(upstream.address, |config| {
        config.mark_every = Duration::from_millis(20);
    });
    let mut client = agent.connect();
    client.send("GET /up HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    until("it is asked", || upstream.heads().len() == 1);
    std::thread::park_timeout(Duration::from_millis(200));
    go();
    assert_eq!(client.answer().status, 101);
    drop(client);
    let ended = agent.end();
    assert!(ended.request("/up").tunnel);
}
