//! Streams and sessions that end before they should.

use std::time::Duration;

use h2::Reason;
use http::Response;
use umbra_record::pb::{Completeness, Failure};

use super::server::{Http2Server, gate};
use crate::agent::harness::until;

const CODES: [Reason; 5] = [
    Reason::NO_ERROR,
    Reason::INTERNAL_ERROR,
    Reason::CANCEL,
    Reason::ENHANCE_YOUR_CALM,
    Reason::HTTP_1_1_REQUIRED,
];

#[test]
fn a_stream_reset_instead_of_an_answer_is_502() {
    for code in CODES {
        let server = Http2Server::start(move |mut turn| async move { turn.reset(code) });
        let agent = server.agent(|_| {});
        assert_eq!(agent.connect().get("/r").status, 502);
        // Another request is not hurt by it, and goes over the same session.
        assert_eq!(agent.connect().get("/s").status, 502);
        assert_eq!(server.sessions(), 1);
        let ended = agent.end();
        let response = ended.response_to("/r");
        assert_eq!((response.status, response.failure()), (0, Failure::Reset));
        let told = response.failure_detail.as_str();
        assert!(told.contains(code.description()), "{told}");
    }
}

#[test]
fn a_stream_reset_in_the_middle_of_an_answer_ends_the_clients_connection() {
    for code in CODES {
        let (go, gate) = gate();
        let server = Http2Server::start(move |mut turn| {
            let gate = gate.clone();
            async move {
                let head = Response::builder().header("content-length", "10").body(()).unwrap();
                let mut stream = turn.respond.send_response(head, false).unwrap();
                stream.send_data("half".into(), false).unwrap();
                gate.notified().await;
                stream.send_reset(code);
            }
        });
        let agent = server.agent(|_| {});
        let mut client = agent.connect();
        client.send("GET /m HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = client.read_head();
        assert!(head.contains("content-length: 10\r\n"), "{head}");
        assert_eq!(client.read_exactly(4), b"half");
        go();
        assert!(client.is_closed());
        agent.end().broken_off("/m", b"half");
    }
}

#[test]
fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let server = Http2Server::start(async |mut turn| {
        let head = Response::builder().status(413).header("content-length", "3").body(()).unwrap();
        turn.answer(head, "big").await;
        // Without reading on: the library resets with NO_ERROR (RFC 9113 8.1).
    });
    let agent = server.agent(|_| {});
    let mut client = agent.connect();
    client.send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbeginning");
    let answer = client.answer();
    assert_eq!((answer.status, &answer.body[..]), (413, &b"big"[..]));
    // The rest of the request would not be read.
    client.send(vec![b'x'; 100_000]);
    assert!(client.is_closed());
    let ended = agent.end();
    assert_eq!(ended.request("/early").completeness(), Completeness::Aborted);
    let response = ended.response_to("/early");
    assert_eq!((response.status, response.completeness()), (413, Completeness::Complete));
}

#[test]
fn a_refused_stream_is_tried_once_more() {
    let server = Http2Server::start(async |mut turn| match (turn.number, &turn.path[..]) {
        (1, _) | (_, "/never") => turn.reset(Reason::REFUSED_STREAM),
        _ => {
            let (body, _) = turn.read().await;
            turn.ok(body).await;
        }
    });
    let agent = server.agent(|_| {});
    let mut client = agent.connect();
    // What has been sent of the body cannot be sent again, so it waits here.
    client.send("POST /once HTTP/1.1\r\nHost: a\r\nExpect: x\r\nContent-Length: 2\r\n\r\n");
    until("it was refused and came again", || server.requests("/once").len() == 2);
    client.send("hi");
    assert_eq!(client.answer().body, b"hi");
    assert_eq!(client.get("/never").status, 502);
    assert_eq!(server.requests("/never").len(), 2);
    let ended = agent.end();
    assert_eq!(ended.report.recorded, 2);
    assert_eq!(ended.response_to("/never").failure(), Failure::Reset);
}

#[test]
fn a_session_that_goes_away_ends_what_it_has_and_gets_nothing_new() {
    let (go, gate) = gate();
    let server = Http2Server::start(move |mut turn| {
        let gate = gate.clone();
        async move {
            if turn.path == "/first" {
                turn.go_away();
                gate.notified().await;
            }
            let path = turn.path.clone();
            turn.ok(path).await;
        }
    });
    let agent = server.agent(|_| {});
    let mut first = agent.connect();
    first.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n");
    until("the first is there", || server.requests("/first").len() == 1);
    // Some may still be sent before the GOAWAY is read: they are sent again.
    for n in 0..20 {
        let path = format!("/{n}");
        assert_eq!(agent.connect().get(&path).body, path.as_bytes());
    }
    assert_eq!(server.sessions(), 2);
    go();
    assert_eq!(first.answer().body, b"/first");
    agent.end();
    server.all_ended();
}

#[test]
fn a_session_that_breaks_off_ends_its_streams_and_is_replaced() {
    let server = Http2Server::start(async |mut turn| {
        if turn.path == "/last" {
            turn.go_away_at_once(Reason::INTERNAL_ERROR);
            std::future::pending::<()>().await;
        }
        turn.ok("fine").await;
    });
    let agent = server.agent(|_| {});
    let mut client = agent.connect();
    client.send("POST /last HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(client.answer().status, 502);
    assert_eq!(agent.connect().get("/next").body, b"fine");
    assert_eq!(server.requests("/last").len(), 1);
    assert_eq!(server.sessions(), 2);
    agent.end();
    server.all_ended();
}

#[test]
fn an_upstream_that_never_answers_is_504() {
    let server = Http2Server::start(async |turn| {
        let _held = turn;
        std::future::pending::<()>().await;
    });
    let agent = server.agent(|config| config.upstream_timeout = Duration::from_millis(200));
    assert_eq!(agent.connect().get("/t").status, 504);
    assert_eq!(agent.end().response_to("/t").failure(), Failure::Timeout);
}

#[test]
fn an_upstream_that_speaks_something_else_is_502() {
    let upstream = crate::agent::harness::Server::start(|client, _| {
        client.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        client.is_closed();
    });
    let agent = crate::agent::harness::Agent::start(upstream.address, |config| {
        config.upstream.http = umbra_capture::UpstreamHttp::Http2;
    });
    assert_eq!(agent.connect().get("/g").status, 502);
    assert_ne!(agent.end().response_to("/g").failure(), Failure::None);
}

#[test]
fn a_client_that_goes_away_ends_its_stream() {
    let (go, gate) = gate();
    let server = Http2Server::start(move |mut turn| {
        let gate = gate.clone();
        async move {
            let reset = std::future::poll_fn(|cx| turn.respond.poll_reset(cx)).await;
            assert_eq!(reset.unwrap(), Reason::CANCEL);
            gate.notify_one();
        }
    });
    let agent = server.agent(|_| {});
    let mut client = agent.connect();
    client.send("POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
    until("the request is there", || server.requests("/gone").len() == 1);
    drop(client);
    let ended = agent.end();
    assert_eq!(ended.request("/gone").completeness(), Completeness::Aborted);
    go();
}
