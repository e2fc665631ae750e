//! HTTP/2 on both sides of the agent: what only HTTP/2 can say passes, codes of resets
//! above all, and windows are kept from end to end.

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{Reason, client::Builder};
use http::{HeaderMap, Response};
use umbra_record::pb::{Completeness, Failure, Version};

use super::{
    harness::{PATIENCE, noise, until},
    http2::*,
    legs::server::{Http2Server, echo},
};

const MIB: usize = 1 << 20;

#[test]
fn a_clients_code_reaches_the_upstream() {
    let codes = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&codes);
    let server = Http2Server::start(move |mut turn| {
        let told = Arc::clone(&told);
        async move {
            let _stream = (turn.path == "/begun")
                .then(|| turn.respond.send_response(Response::new(()), false).unwrap());
            let error = turn.body.data().await.unwrap().unwrap_err();
            told.lock().unwrap().push((turn.path.clone(), error.reason().unwrap()));
        }
    });
    let agent = server.agent(|_| {});
    let mut client = Raw::connect(agent.address);
    let mut stream = 1;
    for (path, code) in [
        ("/cancel", Reason::CANCEL),
        ("/internal", Reason::INTERNAL_ERROR),
        ("/begun", Reason::CANCEL),
        ("/odd", Reason::from(0x1234)),
    ] {
        client.send(headers(stream, 0, &post(path)));
        until("it has arrived", || !server.requests(path).is_empty());
        if path == "/begun" {
            assert_eq!(client.find(HEADERS).stream, stream);
        }
        client.send(frame(RST_STREAM, 0, stream, &u32::from(code).to_be_bytes()));
        until("its code has arrived", || codes.lock().unwrap().contains(&(path.to_owned(), code)));
        stream += 2;
    }
    assert_eq!(server.sessions(), 1, "only the streams were ended");
    let ended = agent.end();
    for path in ["/cancel", "/internal", "/begun", "/odd"] {
        assert_eq!(ended.request(path).completeness(), Completeness::Aborted, "{path}");
        assert_eq!(ended.response_to(path).failure(), Failure::ClientGone, "{path}");
    }
}

#[test]
fn an_upstreams_code_reaches_the_client() {
    let server = Http2Server::start(async |mut turn| match &turn.path[..] {
        "/before" => turn.reset(Reason::INTERNAL_ERROR),
        "/calm" => turn.reset(Reason::ENHANCE_YOUR_CALM),
        _ => {
            let mut stream = turn.respond.send_response(Response::new(()), false).unwrap();
            stream.send_data("half".into(), false).unwrap();
            // What was sent must have left.
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
    });
    let agent = server.agent(|_| {});
    let mut client = Raw::connect(agent.address);
    client.send(headers(1, END_STREAM, &get("/before")));
    client.reset(1, Reason::INTERNAL_ERROR);
    client.send(headers(3, END_STREAM, &get("/calm")));
    client.reset(3, Reason::ENHANCE_YOUR_CALM);
    client.send(headers(5, END_STREAM, &get("/after")));
    assert_eq!(client.find(HEADERS).stream, 5);
    assert_eq!(client.find(DATA).payload, b"half");
    client.reset(5, Reason::INTERNAL_ERROR);
    let refused = agent.stats.snapshot().refused;
    assert!(refused.is_empty(), "no fault of the client's: {refused:?}");
    let ended = agent.end();
    for path in ["/before", "/calm", "/after"] {
        assert_eq!(ended.response_to(path).failure(), Failure::Reset, "{path}");
    }
    assert_eq!(ended.response_to("/after").body.as_deref(), Some(&b"half"[..]));
}

#[test]
fn trailers_and_authority_are_as_they_were() {
    let server = Http2Server::start(async |mut turn| {
        let (body, trailers) = turn.read().await;
        assert_eq!((body, trailers.unwrap()["x-up"].as_bytes()), (b"ping".to_vec(), &b"1"[..]));
        let mut head = Response::new(());
        head.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        let mut stream = turn.respond.send_response(head, false).unwrap();
        stream.send_data("pong".into(), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
    });
    let agent = server.agent(|_| {});
    with_client(&agent, |sender| async move {
        let mut sender = sender.ready().await.unwrap();
        let mut head = request("POST", "/grpc");
        head.headers_mut().insert("te", "trailers".parse().unwrap());
        let (response, stream) = sender.send_request(head, false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-up", "1".parse().unwrap());
        send(stream, Bytes::from_static(b"ping"), Some(trailers)).await.unwrap();
        let answer = receive(response.await.unwrap()).await.unwrap();
        assert_eq!(
            (&answer.body[..], &answer.trailers.unwrap()["grpc-status"]),
            (&b"pong"[..], &"0".parse::<http::HeaderValue>().unwrap())
        );
    });
    let seen = server.request("/grpc");
    assert_eq!(
        (seen.uri.authority().unwrap().as_str(), &seen.headers["te"]),
        ("test", &"trailers".parse::<http::HeaderValue>().unwrap())
    );
    assert_eq!(seen.headers["via"], "2.0 umbra");
    let ended = agent.end();
    assert_eq!(ended.response_to("/grpc").version(), Version::Http2);
    assert_eq!(ended.response_to("/grpc").trailers.len(), 1);
}

#[test]
fn an_answer_that_is_nothing_but_trailers_passes() {
    let server = Http2Server::start(async |mut turn| {
        let mut head = Response::new(());
        head.headers_mut().insert("grpc-status", "12".parse().unwrap());
        turn.respond.send_response(head, true).unwrap();
    });
    let agent = server.agent(|_| {});
    let mut client = Raw::connect(agent.address);
    client.send(headers(1, END_STREAM, &post("/only")));
    let head = client.find(HEADERS);
    assert_eq!((head.stream, head.flags & END_STREAM), (1, END_STREAM));
    let ended = agent.end();
    assert_eq!(ended.response_to("/only").body, None);
}

#[test]
fn a_client_that_does_not_read_holds_the_upstream_back() {
    let server = Http2Server::start(async |mut turn| turn.ok(vec![7; 16 * MIB]).await);
    let agent = server.agent(|_| {});
    let mut builder = Builder::new();
    builder.initial_window_size(64 << 10).initial_connection_window_size(64 << 10);
    let sent = || server.seen.sent.load(Ordering::SeqCst);
    with_builder(agent.address, &builder, |sender| async move {
        let mut sender = sender.ready().await.unwrap();
        let (response, _) = sender.send_request(request("GET", "/held"), true).unwrap();
        let answer = response.await.unwrap();
        // It comes to rest, far from its end.
        let mut last = (sent(), Instant::now());
        while last.1.elapsed() < Duration::from_millis(300) {
            if sent() != last.0 {
                last = (sent(), Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(last.0 < 4 * MIB, "{} bytes were sent to nobody", last.0);
        assert_eq!(receive(answer).await.unwrap().body.len(), 16 * MIB);
    });
    agent.end();
}

#[test]
fn large_bodies_pass_at_once_in_both_directions() {
    let server = echo();
    let agent = server.agent(|_| {});
    let body = noise(20 * MIB);
    let expected = body.clone();
    with_client(&agent, |sender| async move {
        let start = Instant::now();
        let answer = call(&sender, request("POST", "/large"), body).await.unwrap();
        assert!(answer.body == expected);
        assert!(start.elapsed() < PATIENCE);
    });
    let ended = agent.end();
    assert_eq!(ended.request("/large").body_length, 20 * MIB as u64);
}
