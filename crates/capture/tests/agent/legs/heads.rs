//! What becomes of heads on their way to HTTP/2 and back.

use http::Response;
use umbra_record::pb::{Completeness, Version};

use super::server::{Http2Server, echo};

#[test]
fn requests_of_one_connection_are_streams_of_one_session() {
    let server = echo();
    let agent = server.agent(|_| {});
    let mut client = agent.connect();
    for n in 0..5 {
        let path = format!("/{n}");
        let answer = client.get(&path);
        assert_eq!((answer.status, &answer.body[..]), (200, path.as_bytes()));
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    }
    assert_eq!(server.sessions(), 1);
    let ended = agent.end();
    let (request, response) = (ended.request("/3"), ended.response_to("/3"));
    assert_eq!(request.version(), Version::Http11);
    assert_eq!((response.version(), response.status), (Version::Http2, 200));
    assert_eq!(response.body.as_deref(), Some(&b"/3"[..]));
    assert_eq!(response.completeness(), Completeness::Complete);
    server.all_ended();
}

#[test]
fn a_head_is_said_in_http2() {
    let server = echo();
    let agent = server.agent(|_| {});
    let mut client = agent.connect();
    client.send(
        "POST /h?q=1 HTTP/1.1\r\nHost: A.test:81\r\nX-One: 1\r\nx-one: 2\r\nConnection: x-hop, TE\r\n\
         X-Hop: 1\r\nTE: trailers\r\nCookie: a=1; b=2\r\nX-Forwarded-For: 10.0.0.1\r\n\
         Content-Length: 2\r\n\r\nhi",
    );
    assert_eq!(client.answer().body, b"hi");
    let seen = server.request("/h");
    assert_eq!(seen.uri, "http://A.test:81/h?q=1");
    let all = |name: &str| -> Vec<String> {
        let values = seen.headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(all("x-one"), ["1", "2"]);
    assert_eq!(all("te"), ["trailers"]);
    assert_eq!(all("cookie"), ["a=1; b=2"]);
    assert_eq!(all("x-forwarded-for"), ["10.0.0.1, 127.0.0.1"]);
    assert_eq!(all("x-forwarded-proto"), ["http"]);
    assert_eq!(all("via"), ["1.1 umbra"]);
    assert_eq!(all("content-length"), ["2"]);
    for gone in ["host", "connection", "x-hop"] {
        assert!(all(gone).is_empty(), "{gone}");
    }
    agent.end();
}

#[test]
fn what_http2_cannot_say_is_refused() {
    let server = echo();
    let agent = server.agent(|_| {});
    for target in ["/a<b", "/`"] {
        let mut client = agent.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.answer().status, 400);
        assert!(client.is_closed());
    }
    assert_eq!(agent.stats.snapshot().refused.get("target"), Some(&2));
    let ended = agent.end();
    assert_eq!((ended.report.recorded, ended.responses().len()), (2, 0));
}

#[test]
fn an_upgrade_is_not_asked_for() {
    let server = echo();
    let agent = server.agent(|_| {});
    let mut client = agent.connect();
    client.send(
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: x\r\n\r\n",
    );
    assert_eq!(client.answer().status, 200);
    assert_eq!(client.get("/next").body, b"/next");
    assert!(!server.request("/ws").headers.contains_key("upgrade"));
    assert_eq!(agent.end().report.recorded, 2);
}

#[test]
fn answers_without_a_body_have_none() {
    let server = Http2Server::start(async |mut turn| {
        let status: u16 = turn.path[1..].parse().unwrap_or(200);
        let head = Response::builder().status(status).header("etag", "x");
        let head = if turn.path == "/head" { head.header("content-length", "7") } else { head };
        turn.answer(head.body(()).unwrap(), "").await;
    });
    let agent = server.agent(|_| {});
    let mut client = agent.connect();
    let answer = client.get("/204");
    assert_eq!((answer.status, answer.header("content-length")), (204, None));
    assert_eq!(client.get("/304").status, 304);
    let empty = client.get("/200");
    assert_eq!(empty.header("content-length"), Some("0"));
    client.send("HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.answer_without_body();
    assert_eq!(
        (head.header("content-length"), head.header("transfer-encoding")),
        (Some("7"), None)
    );
    // The connection is still in step.
    assert_eq!(client.get("/200").status, 200);
    agent.end();
}

#[test]
fn an_http10_client_gets_the_body_until_the_close() {
    let server = echo();
    let agent = server.agent(|_| {});
    let mut client = agent.connect();
    client.send("GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.header("transfer-encoding"), &answer.body[..]), (None, &b"/old"[..]));
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.is_closed());
    // Without a Host of its own it got that of the upstream.
    let seen = server.request("/old");
    assert_eq!(seen.uri.authority().unwrap().as_str(), server.address.to_string());
    assert_eq!(seen.headers["via"], "1.0 umbra");
    agent.end();
}

#[test]
fn interim_answers_and_expect_pass() {
    let server = Http2Server::start(async |mut turn| {
        for status in [103, 100] {
            let interim = Response::builder().status(status).header("link", "</a>").body(());
            turn.respond.send_informational(interim.unwrap()).unwrap();
        }
        let (body, _) = turn.read().await;
        turn.ok(body).await;
    });
    let agent = server.agent(|_| {});
    let mut client = agent.connect();
    client.send("POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    let hints = client.answer();
    assert_eq!((hints.status, hints.header("link")), (103, Some("</a>")));
    assert_eq!(client.answer().status, 100);
    client.send("body");
    let answer = client.answer();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"body"[..]));
    assert_eq!(server.request("/e").headers["expect"], "100-continue");
    agent.end();
}

#[test]
fn trailers_pass_both_ways() {
    let server = Http2Server::start(async |mut turn| {
        let (body, trailers) = turn.read().await;
        let mut stream = turn.respond.send_response(Response::new(()), false).unwrap();
        turn.send(&mut stream, body.into()).await;
        stream.send_trailers(trailers.unwrap()).unwrap();
    });
    let agent = server.agent(|_| {});
    let mut client = agent.connect();
    client.send(
        "POST /t HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 9\r\n\r\n",
    );
    let answer = client.answer();
    assert_eq!((&answer.body[..], &answer.trailers[..]), (&b"abcde"[..], "x-sum: 9\r\n\r\n"));
    let ended = agent.end();
    let (request, response) = (ended.request("/t"), ended.response_to("/t"));
    assert_eq!(request.trailers[0].name, "X-Sum");
    assert_eq!(response.trailers[0].name, "x-sum");
}
