//! Clients that are slow, wrong, or many.

use std::time::Duration;

use umbra_record::{
    pb::Failure,
    select::{Rules, Selection},
};

use super::harness::{Agent, Server, until};

#[test]
fn what_is_not_http_is_refused_counted_and_closed() {
    let upstream = Server::echo();
    let agent = Agent::start(upstream.address, |_| {});
    let cases: [(&str, u16, &str); 6] = [
        ("GET / HTTP/1.1\r\n\r\n", 400, "host_missing"),
        ("GET / HTTP/1.1\nHost: a\n\n", 400, "bare_lf"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "length_and_transfer_encoding",
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400, "space_before_colon"),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505, "version"),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405, "connect"),
    ];
    for (request, status, reason) in cases {
        let mut client = agent.connect();
        client.send(request);
        assert_eq!(client.answer().status, status, "{request:?}");
        assert!(client.is_closed());
        assert_eq!(agent.stats.snapshot().refused.get(reason), Some(&1), "{reason}");
    }
    assert_eq!(agent.connect().get("/fine").status, 200);
    assert_eq!(upstream.heads().len(), 1);
    let ended = agent.end();
    assert_eq!(ended.report.requests, 1);
}

#[test]
fn a_broken_body_is_refused_and_never_completed_upstream() {
    let upstream = Server::start(|client, server| {
        assert!(client.request(server).is_none(), "the upstream got a whole request");
    });
    let agent = Agent::start(upstream.address, |_| {});
    let mut client = agent.connect();
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    assert_eq!(client.answer().status, 400);
    let mut client = agent.connect();
    client.send("POST /y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    until("the upstream has it", || upstream.heads().len() == 1);
    client.send("-1\r\n");
    assert_eq!(client.answer().status, 400);
    let ended = agent.end();
    assert_eq!(ended.report.requests, 2);
    assert_eq!(ended.request("/y").completeness(), umbra_record::pb::Completeness::Aborted);
}

#[test]
fn slow_heads_idle_connections_and_stalled_bodies_time_out() {
    let upstream = Server::start(|client, server| {
        client.request(server);
    });
    let agent = Agent::start(upstream.address, |config| {
        config.header_timeout = Duration::from_millis(100);
        config.idle_timeout = Duration::from_millis(200);
    });
    let mut head = agent.connect();
    head.send("GET / HT");
    assert_eq!(head.answer().status, 408);
    let mut idle = agent.connect();
    assert!(idle.is_closed());
    let mut body = agent.connect();
    body.send("POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    assert_eq!(body.answer().status, 408);
    let ended = agent.end();
    assert_eq!(ended.report.requests, 1);
    assert_eq!(ended.request("/b").body.as_deref(), Some(&b"abc"[..]));
}

#[test]
fn a_client_that_has_left_a_silent_stream_is_noticed() {
    let upstream = Server::start(|client, server| {
        client.request(server);
        client.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntick\r\n");
        assert!(client.is_closed());
    });
    let agent = Agent::start(upstream.address, |config| {
        config.idle_timeout = Duration::from_millis(100);
    });
    let mut stays = agent.connect();
    stays.send("GET /stays HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut leaves = agent.connect();
    leaves.send("GET /leaves HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntick\r\n";
    stays.read_exactly(head.len());
    leaves.read_exactly(head.len());
    drop(leaves);
    until("it is noticed", || agent.stats.snapshot().connections == 1);
    drop(stays);
    until("it is noticed", || agent.stats.snapshot().connections == 0);
    let ended = agent.end();
    assert_eq!(ended.response_to("/leaves").failure(), Failure::ClientGone);
}

#[test]
fn connections_beyond_the_limit_wait_until_one_ends() {
    let upstream = Server::echo();
    let agent = Agent::start(upstream.address, |config| config.max_connections = 3);
    let mut held: Vec<_> = (0..3).map(|_| agent.connect()).collect();
    for client in &mut held {
        assert_eq!(client.get("/held").status, 200);
    }
    let mut waiting = agent.connect();
    waiting.send("GET /waiting HTTP/1.1\r\nHost: a\r\n\r\n");
    // The others go on meanwhile, the fourth is not looked at.
    for client in &mut held {
        assert_eq!(client.get("/again").status, 200);
    }
    assert_eq!(agent.stats.snapshot().requests, 6);
    assert_eq!(agent.stats.snapshot().connections, 3);
    held.pop();
    assert_eq!(waiting.answer().status, 200);
    drop(held);
    assert_eq!(agent.end().report.recorded, 7);
}

#[test]
fn only_what_is_selected_is_recorded_and_shadows_never() {
    let upstream = Server::echo();
    let rules = Rules { paths: vec!["/api*".to_owned()], ..Rules::default() };
    let selection = Selection::new(&rules, "capture").unwrap();
    let agent = Agent::start(upstream.address, |config| config.selection = selection);
    let mut client = agent.connect();
    assert_eq!(client.get("/api/1").status, 200);
    assert_eq!(client.get("/other").status, 200);
    client
        .send("GET /api/shadow HTTP/1.1\r\nHost: a\r\nVia: 1.1 x, 1.1 umbra-shadow (j; i)\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    client.send("POST /other2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.answer().body, b"/other2 3");
    assert_eq!(client.get("/api/2").status, 200);
    let ended = agent.end();
    let paths: Vec<_> = ended.requests().iter().map(|request| request.path.clone()).collect();
    assert_eq!(paths, [&b"/api/1"[..], b"/api/2"]);
    assert_eq!((ended.report.recorded, ended.report.not_selected), (2, 3));
    // The place on the connection counts all requests.
    assert_eq!(ended.request("/api/2").number, 4);
    assert_eq!(ended.responses().len(), 2);
}

#[test]
fn metrics_have_the_documented_names() {
    let upstream = Server::echo();
    let agent = Agent::start(upstream.address, |_| {});
    agent.connect().get("/");
    let mut client = agent.connect();
    client.send("nonsense\r\n\r\n");
    client.answer();
    // The answer is recorded right after the client has it.
    until("nothing is held", || agent.stats.snapshot().tee_bytes == 0);
    until("it is durable", || agent.stats.snapshot().recorded == 1);
    let mut registry = prometheus_client::registry::Registry::default();
    agent.stats.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "umbra_capture_requests_total 1\n",
        "umbra_capture_recorded_total 1\n",
        "umbra_capture_not_selected_total 0\n",
        "umbra_capture_refused_total{reason=",
        "umbra_capture_tee_bytes 0\n",
        "umbra_capture_spool_bytes 0\n",
        "umbra_capture_upstream_seconds_count 1\n",
        "umbra_capture_upstream_seconds_bucket{le=\"+Inf\"} 1\n",
        "umbra_log_append_seconds_count ",
    ] {
        assert!(text.contains(line), "no {line} in\n{text}");
    }
    assert!(!text.contains("umbra_log_append_seconds_count 0\n"), "{text}");
    agent.end();
}
