//! HTTP/2 requests and answers in passing, and what is recorded of them.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{Reason, client};
use http::{HeaderMap, Request};
use umbra_record::pb::{Completeness, Failure, Version};

use super::{
    harness::{Agent, Server, noise, signal, until},
    http2::*,
};

/// Fields of a record as text.
fn fields(headers: &[umbra_record::pb::Header]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    headers.iter().map(|field| (text(&field.name), text(&field.value))).collect()
}

#[test]
fn a_request_is_passed_on_and_recorded_as_received() {
    let upstream = Server::start(|client, server| {
        while client.request(server).is_some() {
            client.send("HTTP/1.1 201 Made\r\nContent-Length: 4\r\nX-Answer: yes\r\n\r\nbody");
        }
    });
    let agent = Agent::start(upstream.address, |_| {});
    with_client(&agent, |sender| async move {
        let request = Request::builder()
            .method("PUT")
            .uri("http://shop.example:8080/a/b?c=d&e")
            .header("x-one", "1")
            .header("x-two", "2")
            .header("x-one", "3")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(())
            .unwrap();
        let answer = call(&sender, request, b"hello".to_vec()).await.unwrap();
        assert_eq!(answer.head.status(), 201);
        assert_eq!(answer.head.headers()["x-answer"], "yes");
        assert_eq!(answer.body, b"body");
    });
    let ended = agent.end();
    let request = ended.request("/a/b");
    assert_eq!(request.version(), Version::Http2);
    assert_eq!(
        (&request.method[..], &request.authority[..]),
        (&b"PUT"[..], &b"shop.example:8080"[..])
    );
    assert_eq!((&request.scheme[..], request.query.as_deref()), ("http", Some(&b"c=d&e"[..])));
    assert_eq!(request.body.as_deref(), Some(&b"hello"[..]));
    assert_eq!(request.completeness(), Completeness::Complete);
    let seen = fields(&request.headers);
    let of = |name: &str| -> Vec<&str> {
        seen.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect()
    };
    assert_eq!(
        (of("x-one"), of("x-two"), of("cookie")),
        (vec!["1", "3"], vec!["2"], vec!["a=1", "b=2"])
    );
    assert_eq!(of("via"), Vec::<&str>::new(), "what the agent adds is not recorded");
    let response = ended.response_to("/a/b");
    assert_eq!((response.status, response.body.as_deref()), (201, Some(&b"body"[..])));

    let head = &upstream.heads()[0];
    assert!(head.starts_with("PUT /a/b?c=d&e HTTP/1.1\r\n"), "{head}");
    for line in [
        "host: shop.example:8080",
        "cookie: a=1; b=2",
        "via: 2.0 umbra",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
    ] {
        assert!(head.to_ascii_lowercase().contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
    }
}

#[test]
fn many_streams_at_a_time_are_numbered_and_recorded() {
    let agent = Agent::start(Server::echo().address, |_| {});
    with_client(&agent, |sender| async move {
        let sender = &sender;
        let calls = (0..200).map(|n| async move {
            let path = format!("/n/{n}");
            let body = vec![b'x'; n * 7];
            let answer = call(sender, request("POST", &path), body).await.unwrap();
            assert_eq!(answer.body, format!("{path} {}", n * 7).into_bytes());
        });
        futures_util::future::join_all(calls).await;
    });
    let ended = agent.end();
    assert_eq!(ended.report.recorded, 200);
    let mut numbers: Vec<u64> = ended.requests().iter().map(|request| request.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..200).collect::<Vec<_>>());
    let partitions: std::collections::BTreeSet<u32> =
        ended.records.iter().map(|(p, _)| *p).collect();
    assert_eq!(partitions.len(), 4, "requests of HTTP/2 are dealt to all partitions");
    for n in 0..200 {
        assert_eq!(ended.response_to(&format!("/n/{n}")).status, 200);
    }
}

#[test]
fn large_bodies_pass_both_ways_as_they_are() {
    let upstream = Server::start(|client, server| {
        while let Some(request) = client.request(server) {
            client
                .send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len()));
            client.send(&request.body);
        }
    });
    let agent = Agent::start(upstream.address, |_| {});
    let body = noise(8 << 20);
    let sent = body.clone();
    with_client(&agent, |sender| async move {
        let answer = call(&sender, request("POST", "/large"), sent.clone()).await.unwrap();
        assert!(answer.body == sent, "{} bytes came back", answer.body.len());
    });
    let ended = agent.end();
    let request = ended.request("/large");
    assert!(ended.body(request) == body);
    assert_eq!(ended.response_to("/large").body_length, body.len() as u64);
}

#[test]
fn trailers_pass_both_ways() {
    let upstream = Server::start(|client, server| {
        while let Some(request) = client.request(server) {
            assert!(
                request.trailers.to_ascii_lowercase().contains("x-sum: 5"),
                "{}",
                request.trailers
            );
            client.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: grpc-status\r\n\r\n2\r\nok\r\n0\r\ngrpc-status: 0\r\n\r\n");
        }
    });
    let agent = Agent::start(upstream.address, |_| {});
    with_client(&agent, |sender| async move {
        let mut sender = sender.ready().await.unwrap();
        let mut head = request("POST", "/trailers");
        head.headers_mut().insert("te", "trailers".parse().unwrap());
        let (response, stream) = sender.send_request(head, false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "5".parse().unwrap());
        send(stream, Bytes::from_static(b"hello"), Some(trailers)).await.unwrap();
        let answer = receive(response.await.unwrap()).await.unwrap();
        assert_eq!(answer.body, b"ok");
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
    });
    let ended = agent.end();
    assert_eq!(fields(&ended.request("/trailers").trailers), [("x-sum".into(), "5".into())]);
    assert_eq!(
        fields(&ended.response_to("/trailers").trailers),
        [("grpc-status".into(), "0".into())]
    );
}

#[test]
fn answers_without_a_body_end_with_their_head() {
    let upstream = Server::start(|client, server| {
        while let Some(request) = client.request(server) {
            client.send(match &request.path[..] {
                "/204" => "HTTP/1.1 204 No\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not\r\nETag: x\r\n\r\n",
                "/0" => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\n",
            });
        }
    });
    let agent = Agent::start(upstream.address, |_| {});
    let mut client = Raw::connect(agent.address);
    for (stream, path) in [(1, "/204"), (3, "/304"), (5, "/0"), (7, "/head")] {
        let mut fields = get(path);
        if path == "/head" {
            fields[0].1 = "HEAD";
        }
        client.send(headers(stream, END_STREAM, &fields));
        let head = client.find(HEADERS);
        assert_eq!((head.stream, head.flags & END_STREAM), (stream, END_STREAM), "{path}");
    }
    let ended = agent.end();
    assert_eq!(ended.response_to("/head").body, None);
    assert_eq!(ended.response_to("/204").body, None);
    assert_eq!(ended.response_to("/0").body.as_deref(), Some(&b""[..]));
}

#[test]
fn interim_answers_come_first() {
    let upstream = Server::start(|client, server| {
        while let Some(head) = client.request_head(server) {
            assert!(head.to_ascii_lowercase().contains("expect: 100-continue"), "{head}");
            client.send("HTTP/1.1 100 Continue\r\n\r\n");
            client.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
            client.read_exactly(5);
            client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let agent = Agent::start(upstream.address, |_| {});
    let mut client = Raw::connect(agent.address);
    let mut fields = post("/expect");
    fields.extend([("expect", "100-continue"), ("content-length", "5")]);
    client.send(headers(1, 0, &fields));
    for _ in 0..2 {
        let interim = client.find(HEADERS);
        assert_eq!((interim.stream, interim.flags & END_STREAM), (1, 0));
    }
    client.send(frame(DATA, END_STREAM, 1, b"hello"));
    assert_eq!(client.find(HEADERS).flags & END_STREAM, 0);
    assert_eq!(client.find(DATA).payload, b"ok");
    let ended = agent.end();
    assert_eq!(ended.request("/expect").body.as_deref(), Some(&b"hello"[..]));
    assert_eq!(ended.response_to("/expect").status, 200);
}

#[test]
fn the_body_and_the_answer_pass_at_the_same_time() {
    let upstream = Server::start(|client, server| {
        if client.request_head(server).is_some() {
            client.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for _ in 0..20 {
                // One chunk of one byte: `1\r\nx\r\n`.
                let chunk = client.read_exactly(6);
                client.send(chunk);
            }
            client.read_exactly(5);
            client.send("0\r\n\r\n");
            client.request_head(server);
        }
    });
    let agent = Agent::start(upstream.address, |_| {});
    with_client(&agent, |sender| async move {
        let mut sender = sender.ready().await.unwrap();
        let (response, mut stream) = sender.send_request(request("POST", "/talk"), false).unwrap();
        let mut answer = response.await.unwrap().into_body();
        for n in 0..20_u8 {
            stream.send_data(Bytes::from(vec![n]), false).unwrap();
            assert_eq!(answer.data().await.unwrap().unwrap(), vec![n]);
        }
        stream.send_data(Bytes::new(), true).unwrap();
        while let Some(data) = answer.data().await {
            assert_eq!(data.unwrap().len(), 0);
        }
    });
    let ended = agent.end();
    let all: Vec<u8> = (0..20).collect();
    assert_eq!(ended.request("/talk").body.as_deref(), Some(&all[..]));
    assert_eq!(ended.response_to("/talk").body.as_deref(), Some(&all[..]));
}

#[test]
fn a_client_that_takes_its_request_back_is_recorded_as_such() {
    let (gone, wait) = signal();
    let gone = Arc::new(Mutex::new(gone));
    let upstream = Server::start(move |client, server| {
        if client.request_head(server).is_some() {
            // Nothing more comes: the connection is closed.
            client.is_closed();
            gone.lock().unwrap()();
        }
    });
    let agent = Agent::start(upstream.address, |_| {});
    let mut client = Raw::connect(agent.address);
    client.send(headers(1, END_STREAM, &get("/back")));
    until("it has arrived", || !upstream.heads().is_empty());
    client.send(frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()));
    wait();
    // The same with a body of which half has come.
    client.send(headers(3, 0, &post("/half")));
    client.send(frame(DATA, 0, 3, b"half"));
    until("it has arrived", || upstream.heads().len() == 2);
    client.send(frame(RST_STREAM, 0, 3, &8_u32.to_be_bytes()));
    wait();
    // And of a client that is gone altogether.
    client.send(headers(5, 0, &post("/gone")));
    until("it has arrived", || upstream.heads().len() == 3);
    drop(client);
    wait();
    let ended = agent.end();
    assert_eq!(ended.request("/back").completeness(), Completeness::Complete);
    assert_eq!(ended.response_to("/back").failure(), Failure::ClientGone);
    assert_eq!(ended.request("/half").completeness(), Completeness::Aborted);
    assert_eq!(ended.request("/half").body.as_deref(), Some(&b"half"[..]));
    assert_eq!(ended.request("/gone").completeness(), Completeness::Aborted);
}

#[test]
fn an_upstream_that_fails_is_told_in_time() {
    let upstream = Server::start(|client, server| {
        if let Some(request) = client.request(server) {
            match &request.path[..] {
                "/garbled" => client.send("SSH-2.0\r\n\r\n"),
                "/cut" => client.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
                "/silent" => drop(client.is_closed()),
                _ => {}
            }
        }
    });
    let agent = Agent::start(upstream.address, |config| {
        config.upstream_timeout = Duration::from_millis(200);
    });
    with_client(&agent, |sender| async move {
        let get = |path| call(&sender, request("GET", path), Vec::new());
        assert_eq!(get("/garbled").await.unwrap().head.status(), 502);
        assert_eq!(get("/closed").await.unwrap().head.status(), 502);
        assert_eq!(get("/silent").await.unwrap().head.status(), 504);
        let cut = get("/cut").await.unwrap_err();
        assert!(cut.is_reset(), "{cut}");
    });
    let ended = agent.end();
    for (path, failure) in [
        ("/garbled", Failure::Garbled),
        ("/closed", Failure::Reset),
        ("/silent", Failure::Timeout),
        ("/cut", Failure::Reset),
    ] {
        assert_eq!(ended.response_to(path).failure(), failure, "{path}");
    }
}

#[test]
fn a_client_that_stops_in_the_middle_is_408() {
    let agent = Agent::start(Server::echo().address, |config| {
        config.idle_timeout = Duration::from_millis(200);
    });
    let mut client = Raw::connect(agent.address);
    client.send(headers(1, 0, &post("/stopped")));
    client.send(frame(DATA, 0, 1, b"so far"));
    let answer = client.find(HEADERS);
    assert_eq!((answer.stream, answer.flags & END_STREAM), (1, END_STREAM));
    // RFC 9113 section 8.1: the rest is not wanted.
    client.reset(1, Reason::NO_ERROR);
    // A connection without streams is idle, and told so.
    client.gone(Reason::NO_ERROR);
    until("it is counted", || agent.stats.snapshot().refused.contains_key("body_timeout"));
    let ended = agent.end();
    assert_eq!(ended.request("/stopped").completeness(), Completeness::Aborted);
}

#[test]
fn streams_in_both_directions_may_be_silent_for_long() {
    let upstream = Server::start(|client, server| {
        if client.request_head(server).is_some() {
            let chunk = client.read_exactly(6);
            client.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            client.send(chunk);
            client.read_exactly(5);
            client.send("0\r\n\r\n");
        }
    });
    let agent = Agent::start(upstream.address, |config| {
        config.idle_timeout = Duration::from_millis(400);
    });
    with_client(&agent, |sender| async move {
        let mut sender = sender.ready().await.unwrap();
        let mut head = request("POST", "/silent");
        head.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        let (response, mut stream) = sender.send_request(head, false).unwrap();
        // Before the answer, and after it has begun.
        tokio::time::sleep(Duration::from_millis(900)).await;
        stream.send_data(Bytes::from_static(b"x"), false).unwrap();
        let mut answer = response.await.unwrap().into_body();
        assert_eq!(answer.data().await.unwrap().unwrap(), "x");
        tokio::time::sleep(Duration::from_millis(900)).await;
        stream.send_data(Bytes::new(), true).unwrap();
        while let Some(data) = answer.data().await {
            data.unwrap();
        }
    });
    let ended = agent.end();
    assert_eq!(ended.request("/silent").completeness(), Completeness::Complete);
    assert_eq!(ended.response_to("/silent").completeness(), Completeness::Complete);
}

#[test]
fn an_early_answer_reaches_a_client_that_still_sends() {
    let upstream = Server::start(|client, server| {
        if client.request_head(server).is_some() {
            client.send("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let agent = Agent::start(upstream.address, |_| {});
    with_client(&agent, |sender| async move {
        let mut sender = sender.ready().await.unwrap();
        let (response, stream) = sender.send_request(request("POST", "/early"), false).unwrap();
        let body = Bytes::from(noise(4 << 20));
        let (answer, sent) = tokio::join!(response, send(stream, body, None));
        assert_eq!(answer.unwrap().status(), 413);
        // Nobody wants the rest.
        assert!(sent.is_err());
    });
    let ended = agent.end();
    assert_eq!(ended.request("/early").completeness(), Completeness::Aborted);
    assert_eq!(ended.response_to("/early").status, 413);
}

#[test]
fn a_request_over_budget_is_lost_and_passed_on() {
    let agent = Agent::start(Server::echo().address, |config| config.memory = 64 << 10);
    let body = noise(1 << 20);
    with_client(&agent, |sender| async move {
        let answer = call(&sender, request("POST", "/over"), body).await.unwrap();
        assert_eq!(answer.body, format!("/over {}", 1 << 20).into_bytes());
    });
    let ended = agent.end();
    assert_eq!((ended.report.requests, ended.lost("tee_full")), (1, 1));
}

#[test]
fn a_stream_still_open_is_written_as_it_stands() {
    let (go_on, wait) = signal();
    let upstream = Server::start(move |client, server| {
        while client.request(server).is_some() {
            wait();
            client.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let agent = Agent::start(upstream.address, |config| {
        config.open_after = Duration::from_millis(100);
    });
    with_client(&agent, |sender| async {
        let mut sender = sender.ready().await.unwrap();
        let (response, mut stream) = sender.send_request(request("POST", "/open"), false).unwrap();
        stream.send_data(Bytes::from_static(b"first"), false).unwrap();
        let before = agent.stats.snapshot().accepted;
        let start = Instant::now();
        while agent.stats.snapshot().accepted == before {
            assert!(start.elapsed() < super::harness::PATIENCE);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stream.send_data(Bytes::from_static(b" second"), true).unwrap();
        go_on();
        assert_eq!(response.await.unwrap().status(), 200);
    });
    let ended = agent.end();
    let request = ended.request("/open");
    assert_eq!(request.completeness(), Completeness::Open);
    assert_eq!(ended.body(request), b"first second");
}

#[test]
fn a_stop_lets_streams_end_and_refuses_no_request_on_its_way() {
    let (go_on, wait) = signal();
    let upstream = Server::start(move |client, server| {
        while client.request(server).is_some() {
            wait();
            client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let agent = Agent::start(upstream.address, |_| {});
    let (upstream, stop) = (&upstream, agent.stop.clone());
    with_client(&agent, |sender| async move {
        let sender = &sender;
        let running = call(sender, request("GET", "/running"), Vec::new());
        let driven = async {
            let start = Instant::now();
            while upstream.heads().is_empty() {
                assert!(start.elapsed() < super::harness::PATIENCE);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            stop.cancel();
            // The goodbye: no new streams are begun by a client that keeps to it.
            let mut late = sender.clone();
            let start = Instant::now();
            loop {
                assert!(start.elapsed() < super::harness::PATIENCE);
                match std::future::poll_fn(|cx| late.poll_ready(cx)).await {
                    Err(_) => break,
                    Ok(()) => tokio::time::sleep(Duration::from_millis(2)).await,
                }
            }
            go_on();
        };
        let (answer, ()) = tokio::join!(running, driven);
        assert_eq!(answer.unwrap().body, b"ok");
    });
    let ended = agent.end();
    assert_eq!(ended.request("/running").completeness(), Completeness::Complete);
    assert_eq!(ended.response_to("/running").status, 200);
}

#[test]
fn a_stop_ends_a_client_that_never_answers() {
    let agent = Agent::start(Server::echo().address, |_| {});
    let mut client = Raw::connect(agent.address);
    client.lives(1);
    let start = Instant::now();
    let ended = agent.end();
    assert!(start.elapsed() < Duration::from_secs(10), "the drain waited for an idle client");
    client.closed();
    assert_eq!(ended.report.recorded, 1);
}

#[test]
fn shadows_are_not_recorded_again() {
    let agent = Agent::start(Server::echo().address, |_| {});
    let mut builder = client::Builder::new();
    builder.initial_window_size(1 << 20);
    with_builder(agent.address, &builder, |sender| async move {
        let mut head = request("GET", "/shadow");
        let via = umbra_record::marker::via_shadow("job", &[1; 16]);
        head.headers_mut().insert("via", via.parse().unwrap());
        assert_eq!(call(&sender, head, Vec::new()).await.unwrap().head.status(), 200);
    });
    assert_eq!(agent.end().report.not_selected, 1);
}
