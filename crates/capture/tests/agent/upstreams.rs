//! Upstreams that refuse, stall, break off or talk nonsense.

use std::{
    net::{TcpListener, TcpStream},
    time::Duration,
};

use umbra_record::pb::{Completeness, Failure};

use super::harness::{Agent, Server, signal, until};

/// An address nobody listens on.
fn nobody() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Closes with a reset.
fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn a_refused_connection_is_502_and_the_request_is_recorded() {
    let agent = Agent::start(nobody(), |_| {});
    let mut client = agent.connect();
    client.send("POST /r HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!(client.answer().status, 502);
    assert!(client.is_closed());
    let ended = agent.end();
    assert_eq!(ended.request("/r").body.as_deref(), Some(&b"body"[..]));
    let response = ended.response_to("/r");
    assert_eq!((response.status, response.failure()), (0, Failure::Refused));
    assert!(!response.failure_detail.is_empty());
}

#[test]
fn a_name_without_address_is_502() {
    let agent = Agent::start(nobody(), |config| {
        config.upstream.host = "does-not-exist.invalid".to_owned();
    });
    assert_eq!(agent.connect().get("/n").status, 502);
    assert_eq!(agent.end().response_to("/n").failure(), Failure::Unresolved);
}

#[test]
fn every_address_of_a_name_is_tried() {
    // On many systems localhost is ::1 first, where nobody listens.
    let upstream = Server::echo();
    let agent = Agent::start(upstream.address, |config| {
        config.upstream.host = "localhost".to_owned();
    });
    assert_eq!(agent.connect().get("/l").status, 200);
    agent.end();
}

#[test]
fn a_silent_upstream_is_504() {
    let upstream = Server::start(|client, server| {
        client.request(server);
        client.is_closed();
    });
    let agent = Agent::start(upstream.address, |config| {
        config.upstream_timeout = Duration::from_millis(150);
    });
    assert_eq!(agent.connect().get("/t").status, 504);
    assert_eq!(agent.end().response_to("/t").failure(), Failure::Timeout);
}

#[test]
fn an_upstream_that_answers_something_else_is_502() {
    let upstream = Server::start(|client, server| {
        client.request(server);
        client.send("SSH-2.0-OpenSSH_9.9\r\n");
        client.is_closed();
    });
    let agent = Agent::start(upstream.address, |_| {});
    assert_eq!(agent.connect().get("/g").status, 502);
    assert_eq!(agent.end().response_to("/g").failure(), Failure::Garbled);
}

#[test]
fn a_switch_nobody_asked_for_is_502() {
    let upstream = Server::start(|client, server| {
        client.request(server);
        client
            .send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n");
        client.is_closed();
    });
    let agent = Agent::start(upstream.address, |_| {});
    assert_eq!(agent.connect().get("/g").status, 502);
    assert_eq!(agent.end().response_to("/g").failure(), Failure::Garbled);
}

#[test]
fn bytes_behind_an_answer_are_never_taken_for_the_next_one() {
    let upstream = Server::start(|client, server| {
        // Both in one write, so that they arrive together.
        while let Some(request) = client.request(server) {
            let text = request.path;
            client.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}\
                 HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
                text.len()
            ));
        }
    });
    let agent = Agent::start(upstream.address, |config| config.threads = 1);
    let mut client = agent.connect();
    for n in 0..10 {
        let path = format!("/{n}");
        assert_eq!(client.get(&path).body, path.as_bytes());
        assert_eq!(agent.connect().get(&path).body, path.as_bytes());
    }
    assert_eq!(upstream.connections(), 20);
    agent.end();
}

#[test]
fn a_reset_in_the_middle_of_an_answer_reaches_the_client() {
    let (go, wait) = signal();
    let upstream = Server::start(move |client, server| {
        client.request(server);
        client.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        wait();
        reset(&client.stream);
    });
    let agent = Agent::start(upstream.address, |_| {});
    let mut client = agent.connect();
    client.send("GET /m HTTP/1.1\r\nHost: a\r\n\r\n");
    let half = client.read_exactly("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".len());
    assert!(half.ends_with(b"half"));
    go();
    assert!(client.is_closed());
    agent.end().broken_off("/m", b"half");
}

#[test]
fn a_closed_pooled_connection_is_replaced_without_the_client_noticing() {
    let upstream = Server::start(|client, server| {
        // One request a connection, although it promises more.
        if let Some(request) = client.request(server) {
            let text = request.path;
            client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
        }
    });
    let agent = Agent::start(upstream.address, |config| config.threads = 1);
    let mut client = agent.connect();
    for n in 0..30 {
        // Requests that must not be sent twice as well: the closed connection is
        // known before it is used, or another one is taken.
        let path = format!("/{n}");
        if n % 2 == 0 {
            assert_eq!(client.get(&path).body, path.as_bytes());
        } else {
            // The upstream's close has arrived by now.
            until("the close arrived", || upstream.connections() == n);
            std::thread::park_timeout(Duration::from_millis(20));
            client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"));
            assert_eq!(client.answer().body, path.as_bytes());
        }
    }
    assert_eq!(upstream.connections(), 30);
    let ended = agent.end();
    assert_eq!(ended.report.recorded, 30);
    assert_eq!(ended.responses().len(), 30);
}

#[test]
fn a_request_is_repeated_only_if_nothing_came_back_and_it_may_be() {
    // Each second request on a connection is read, then the connection is closed.
    let upstream = Server::start(|client, server| {
        client.request(server);
        client.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        client.request(server);
    });
    let agent = Agent::start(upstream.address, |config| config.threads = 1);
    let mut client = agent.connect();
    assert_eq!(client.get("/1").status, 200);
    // Read and closed on the pooled connection, repeated on a new one.
    assert_eq!(client.get("/2").status, 200);
    client.send("POST /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(client.answer().status, 502);
    let seen = |path: &str| {
        upstream.heads().iter().filter(|head| head.split(' ').nth(1) == Some(path)).count()
    };
    assert_eq!((seen("/1"), seen("/2"), seen("/3")), (1, 2, 1));
    let ended = agent.end();
    // Recorded once each.
    assert_eq!(ended.requests().len(), 3);
    assert_eq!(ended.response_to("/3").failure(), Failure::Reset);
}

#[test]
fn an_early_answer_reaches_the_client_while_it_is_still_sending() {
    let upstream = Server::start(|client, server| {
        client.request_head(server);
        client.send(
            "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig",
        );
    });
    let agent = Agent::start(upstream.address, |_| {});
    let mut client = agent.connect();
    client.send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbeginning");
    let answer = client.answer();
    assert_eq!((answer.status, &answer.body[..]), (413, &b"big"[..]));
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.is_closed());
    let ended = agent.end();
    let request = ended.request("/early");
    assert_eq!(request.completeness(), Completeness::Aborted);
    assert_eq!(request.body.as_deref(), Some(&b"beginning"[..]));
    assert_eq!(ended.response_to("/early").status, 413);
}

#[test]
fn after_an_early_answer_an_upstream_that_reads_on_gets_the_rest() {
    let upstream = Server::start(|client, server| {
        client.request_head(server);
        client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(client.read_exactly(6), b"abcdef");
        while client.request(server).is_some() {
            client.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext");
        }
    });
    let agent = Agent::start(upstream.address, |_| {});
    let mut client = agent.connect();
    client.send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc");
    assert_eq!(client.answer().body, b"ok");
    client.send("def");
    assert_eq!(client.get("/next").body, b"next");
    assert_eq!(upstream.connections(), 1);
    let ended = agent.end();
    assert_eq!(ended.request("/early").body.as_deref(), Some(&b"abcdef"[..]));
    assert_eq!(ended.request("/early").completeness(), Completeness::Complete);
}

#[test]
fn answers_stream_without_waiting_for_their_end() {
    let (go, wait) = signal();
    let upstream = Server::start(move |client, server| {
        client.request(server);
        client.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..5 {
            client.send("4\r\ntick\r\n");
            wait();
        }
        client.send("0\r\n\r\n");
    });
    let agent = Agent::start(upstream.address, |config| {
        // Only the head may time out.
        config.upstream_timeout = Duration::from_millis(100);
    });
    let mut client = agent.connect();
    client.send("GET /sse HTTP/1.1\r\nHost: a\r\n\r\n");
    client.read_exactly("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".len());
    for n in 0..5 {
        assert_eq!(client.read_exactly(9), b"4\r\ntick\r\n");
        if n == 0 {
            std::thread::park_timeout(Duration::from_millis(200));
        }
        go();
    }
    assert_eq!(client.read_exactly(5), b"0\r\n\r\n");
    let ended = agent.end();
    assert_eq!(ended.response_to("/sse").body.as_deref(), Some(&b"tick".repeat(5)[..]));
}
