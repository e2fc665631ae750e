//! Ordinary traffic: messages pass unchanged and are recorded as received.

use umbra_record::{hash, pb};

use super::harness::{Agent, Server};

#[test]
fn a_request_is_forwarded_answered_and_recorded_as_received() {
    let upstream = Server::echo();
    let agent = Agent::start(upstream.address, |_| {});
    let mut client = agent.connect();
    client.send(
        b"GET /a/b?x=1&y HTTP/1.1\r\nHOST: Example:80\r\nX-Dup: 1\r\nx-dup: \xff\xfe\r\n\
          Connection: keep-alive, x-hop\r\nX-Hop: gone\r\n\r\n",
    );
    let answer = client.answer();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"/a/b?x=1&y 0"[..]));
    let ended = agent.end();
    assert_eq!(ended.report.requests, 1);
    assert_eq!(ended.report.recorded, 1);

    let seen = &upstream.heads()[0];
    assert!(seen.starts_with("GET /a/b?x=1&y HTTP/1.1\r\nHOST: Example:80\r\nX-Dup: 1\r\n"));
    assert!(!seen.contains("X-Hop"));
    assert!(seen.contains("X-Forwarded-For: 127.0.0.1\r\n"));
    assert!(seen.contains("X-Forwarded-Proto: http\r\n"));
    assert!(seen.contains("Via: 1.1 umbra\r\n"));

    let request = ended.request("/a/b");
    assert_eq!(request.query.as_deref(), Some(&b"x=1&y"[..]));
    assert_eq!(request.authority, b"Example:80"[..]);
    assert_eq!(request.method, b"GET"[..]);
    assert_eq!(request.scheme, "http");
    assert_eq!(request.version, pb::Version::Http11 as i32);
    assert_eq!(request.body, None);
    assert_eq!(request.upstream, format!("http://{}", upstream.address));
    assert_eq!(request.labels["env"], "test");
    assert!(request.peer.starts_with("127.0.0.1:"));
    let names: Vec<_> = request.headers.iter().map(|header| &header.name[..]).collect();
    assert_eq!(names, [&b"HOST"[..], b"X-Dup", b"x-dup", b"Connection", b"X-Hop"]);
    assert_eq!(request.headers[2].value, b"\xff\xfe"[..]);

    let response = ended.response_to("/a/b");
    assert_eq!((response.status, &response.reason[..]), (200, &b"OK"[..]));
    assert_eq!(response.body.as_deref(), Some(&b"/a/b?x=1&y 0"[..]));
    assert_eq!(response.body_hash, hash::of(b"/a/b?x=1&y 0")[..]);
    assert_eq!(response.request_start_ns, request.start_ns);
    assert!(response.end_after_ns >= response.first_byte_after_ns);
    assert!(response.first_byte_after_ns >= response.head_after_ns);
}

#[test]
fn one_connection_to_the_upstream_serves_many_requests() {
    let upstream = Server::echo();
    let agent = Agent::start(upstream.address, |config| config.threads = 1);
    let mut client = agent.connect();
    for n in 0..20 {
        assert_eq!(client.get(&format!("/{n}")).status, 200);
    }
    drop(client);
    // Another client's requests use it too.
    assert_eq!(agent.connect().get("/last").status, 200);
    assert_eq!(upstream.connections(), 1);
    let ended = agent.end();
    assert_eq!(ended.report.recorded, 21);
    let first = ended.request("/0").connection;
    assert_eq!(ended.request("/19").connection, first);
    assert_eq!(ended.request("/19").number, 19);
    assert_ne!(ended.request("/last").connection, first);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Server::echo();
    let agent = Agent::start(upstream.address, |_| {});
    let mut client = agent.connect();
    let mut all = String::new();
    for n in 0..50 {
        match n % 3 {
            0 => all += &format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"),
            1 => all += &format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
            _ => {
                all += &format!(
                    "PUT /{n} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                     2\r\nab\r\n0\r\n\r\n"
                );
            }
        }
    }
    client.send(all);
    for n in 0..50 {
        let body = format!("/{n} {}", [0, 3, 2][n % 3]);
        assert_eq!(client.answer().body, body.into_bytes());
    }
    let ended = agent.end();
    assert_eq!(ended.report.recorded, 50);
    assert_eq!(ended.request("/4").body.as_deref(), Some(&b"abc"[..]));
    assert_eq!(ended.request("/5").body.as_deref(), Some(&b"ab"[..]));
    assert_eq!(ended.request("/5").body_length, 2);
}

#[test]
fn a_head_may_come_in_any_pieces() {
    let upstream = Server::echo();
    let agent = Agent::start(upstream.address, |_| {});
    let mut client = agent.connect();
    for byte in b"GET /slow HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n" {
        client.send([*byte]);
        std::thread::yield_now();
    }
    assert_eq!(client.answer().status, 200);
    assert_eq!(agent.end().requests().len(), 1);
}

#[test]
fn interim_answers_pass_and_so_does_expect() {
    let upstream = Server::start(|client, server| {
        let head = client.request_head(server).unwrap();
        assert!(head.contains("Expect: 100-continue\r\n"));
        client.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        client.send("HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(client.read_exactly(5), b"hello");
        client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let agent = Agent::start(upstream.address, |_| {});
    let mut client = agent.connect();
    client.send("POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let hints = client.answer();
    assert_eq!((hints.status, hints.header("link")), (103, Some("</a>")));
    assert_eq!(client.answer().status, 100);
    client.send("hello");
    assert_eq!(client.answer().body, b"ok");
    let ended = agent.end();
    assert_eq!(ended.request("/e").body.as_deref(), Some(&b"hello"[..]));
    assert_eq!(ended.response_to("/e").status, 200);
}

#[test]
fn chunks_and_trailers_pass_both_ways_unchanged() {
    let chunked = "4;ext=\"1\"\r\nWiki\r\n5\r\npedia\r\n0\r\nX-Sum: 9\r\nx-b: \r\n\r\n";
    let upstream = Server::start(move |client, server| {
        let request = client.request(server).unwrap();
        assert_eq!(request.body, b"Wikipedia");
        assert_eq!(request.trailers, "X-Sum: 9\r\nx-b: \r\n\r\n");
        client.send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"));
        client.request(server);
    });
    let agent = Agent::start(upstream.address, |_| {});
    let mut client = agent.connect();
    client.send(format!(
        "POST /t HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"
    ));
    let raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".len() + chunked.len();
    let answer = client.read_exactly(raw);
    assert!(answer.ends_with(chunked.as_bytes()), "{}", String::from_utf8_lossy(&answer));
    let ended = agent.end();
    let request = ended.request("/t");
    assert_eq!(request.body.as_deref(), Some(&b"Wikipedia"[..]));
    assert_eq!(request.body_hash, hash::of(b"Wikipedia")[..]);
    let trailers: Vec<_> =
        request.trailers.iter().map(|field| (&field.name[..], &field.value[..])).collect();
    assert_eq!(trailers, [(&b"X-Sum"[..], &b"9"[..]), (b"x-b", b"")]);
    let response = ended.response_to("/t");
    assert_eq!(response.body.as_deref(), Some(&b"Wikipedia"[..]));
    assert_eq!(response.trailers.len(), 2);
}

#[test]
fn answers_without_bodies_leave_the_connection_usable() {
    let upstream = Server::start(|client, server| {
        while let Some(request) = client.request(server) {
            client.send(match &request.path[..] {
                "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
                "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: \"a\"\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            });
        }
    });
    let agent = Agent::start(upstream.address, |_| {});
    let mut client = agent.connect();
    client.send("HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer_without_body().header("content-length"), Some("1000"));
    assert_eq!(client.get("/204").status, 204);
    assert_eq!(client.get("/304").header("etag"), Some("\"a\""));
    assert_eq!(client.get("/0").status, 200);
    let ended = agent.end();
    assert_eq!(ended.response_to("/head").body, None);
    assert_eq!(ended.response_to("/204").body, None);
    assert_eq!(ended.response_to("/304").body, None);
    assert_eq!(ended.response_to("/0").body.as_deref(), Some(&b""[..]));
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn an_answer_until_close_ends_both_connections() {
    let upstream = Server::start(|client, server| {
        client.request(server);
        client.send("HTTP/1.0 200 OK\r\n\r\nall there is");
    });
    let agent = Agent::start(upstream.address, |_| {});
    for n in 0..3 {
        let mut client = agent.connect();
        let answer = client.get(&format!("/{n}"));
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(answer.body, b"all there is");
    }
    let ended = agent.end();
    let response = ended.response_to("/2");
    assert_eq!(response.body.as_deref(), Some(&b"all there is"[..]));
    assert_eq!(response.completeness, pb::Completeness::Complete as i32);
    assert_eq!(response.version, pb::Version::Http10 as i32);
}

#[test]
fn an_old_client_gets_what_it_understands() {
    let upstream = Server::start(|client, server| {
        while let Some(request) = client.request(server) {
            assert!(request.head.starts_with("GET /old HTTP/1.1\r\n"), "{}", request.head);
            client.send("HTTP/1.1 100 Continue\r\n\r\n");
            client
                .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        }
    });
    let agent = Agent::start(upstream.address, |_| {});
    let mut client = agent.connect();
    client.send("GET /old HTTP/1.0\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.header("transfer-encoding"), None);
    assert_eq!((answer.status, &answer.body[..]), (200, &b"abc"[..]));
    let ended = agent.end();
    let request = ended.request("/old");
    assert_eq!(request.version, pb::Version::Http10 as i32);
    assert!(request.authority.is_empty());
    assert_eq!(ended.response_to("/old").body.as_deref(), Some(&b"abc"[..]));
}

#[test]
fn an_upgrade_becomes_a_tunnel_and_is_marked() {
    let upstream = Server::start(|client, server| {
        let head = client.request_head(server).unwrap();
        assert!(head.contains("Upgrade: websocket\r\n"), "{head}");
        assert!(head.contains("Connection: upgrade\r\n"), "{head}");
        client.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
             Upgrade: websocket\r\n\r\nfirst",
        );
        assert_eq!(client.read_exactly(4), b"ping");
        client.send("pong");
    });
    let agent = Agent::start(upstream.address, |_| {});
    let mut client = agent.connect();
    client.send(
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nping",
    );
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("upgrade")), (101, Some("websocket")));
    assert_eq!(client.read_exactly(9), b"firstpong");
    assert!(client.is_closed());
    drop(client);
    let ended = agent.end();
    let request = ended.request("/ws");
    assert!(request.tunnel);
    assert_eq!(request.body, None);
    assert_eq!(request.completeness, pb::Completeness::Complete as i32);
    assert_eq!(ended.response_to("/ws").status, 101);
}

#[test]
fn an_upgrade_the_upstream_declines_is_an_ordinary_request() {
    let upstream = Server::echo();
    let agent = Agent::start(upstream.address, |_| {});
    let mut client = agent.connect();
    client.send("GET /no HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    assert_eq!(client.get("/next").status, 200);
    let ended = agent.end();
    assert!(!ended.request("/no").tunnel);
    assert_eq!(ended.request("/next").number, 1);
}
