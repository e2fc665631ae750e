//! Clients of HTTP/2: over HTTP/2 and over HTTP/1 to the upstream.

use std::{future::poll_fn, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Request, Response};
use umbra_record::pb::{Completeness, Failure, Version};

use super::server::{Http2Server, Turn, echo, gate};
use crate::agent::{
    harness::{Agent, Server, noise, until},
    http2::{call, receive, request, with_builder, with_client},
};

const CODES: [Reason; 5] = [
    Reason::INTERNAL_ERROR,
    Reason::CANCEL,
    Reason::ENHANCE_YOUR_CALM,
    Reason::INADEQUATE_SECURITY,
    Reason::HTTP_1_1_REQUIRED,
];

#[test]
fn a_request_is_passed_on_in_http2() {
    let server = echo();
    let agent = server.agent(|_| {});
    with_client(&agent, async |sender| {
        let mut request = request("POST", "/p?q");
        for (name, value) in [("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")] {
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let whole = call(&sender, request, b"body".to_vec()).await.unwrap();
        assert_eq!((whole.head.status().as_u16(), &whole.body[..]), (200, &b"body"[..]));
    });
    let seen = server.request("/p");
    assert_eq!(seen.uri, "http://test/p?q");
    let cookies: Vec<_> = seen.headers.get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    assert_eq!(seen.headers["via"], "2.0 umbra");
    assert_eq!(seen.headers["te"], "trailers");
    let ended = agent.end();
    assert_eq!(ended.request("/p").version(), Version::Http2);
    assert_eq!(ended.response_to("/p").version(), Version::Http2);
    server.all_ended();
}

#[test]
fn codes_of_the_upstream_reach_the_client() {
    let server = Http2Server::start(async |mut turn: Turn| {
        let code = CODES[turn.path[2..].parse::<usize>().unwrap()];
        if turn.path.starts_with("/a") {
            return turn.reset(code);
        }
        let mut stream = turn.respond.send_response(Response::new(()), false).unwrap();
        stream.send_data("half".into(), false).unwrap();
        // Once the client has it.
        turn.body.data().await.unwrap().unwrap();
        stream.send_reset(code);
    });
    let agent = server.agent(|_| {});
    with_client(&agent, async |sender| {
        for (n, code) in CODES.into_iter().enumerate() {
            let failed = call(&sender, request("GET", &format!("/a{n}")), Vec::new()).await;
            let failed = failed.unwrap_err();
            assert_eq!((failed.is_reset(), failed.reason()), (true, Some(code)));

            let mut sender = sender.clone().ready().await.unwrap();
            let request = request("POST", &format!("/b{n}"));
            let (response, mut stream) = sender.send_request(request, false).unwrap();
            let mut body = response.await.unwrap().into_body();
            assert_eq!(body.data().await.unwrap().unwrap(), "half");
            stream.send_data("go".into(), false).unwrap();
            let failed = body.data().await.unwrap().unwrap_err();
            assert_eq!((failed.is_reset(), failed.reason()), (true, Some(code)));
        }
    });
    assert_eq!(server.sessions(), 1);
    let ended = agent.end();
    for n in 0..CODES.len() {
        let before = ended.response_to(&format!("/a{n}"));
        assert_eq!((before.status, before.failure()), (0, Failure::Reset));
        let amid = ended.response_to(&format!("/b{n}"));
        assert_eq!((amid.status, amid.failure()), (200, Failure::Reset));
        assert_eq!(amid.completeness(), Completeness::Aborted);
    }
}

#[test]
fn codes_of_the_client_reach_the_upstream() {
    let (told, mut codes) = tokio::sync::mpsc::unbounded_channel();
    let server = Http2Server::start(move |mut turn: Turn| {
        let told = told.clone();
        async move {
            let code = poll_fn(|cx| turn.respond.poll_reset(cx)).await.unwrap();
            told.send(code).unwrap();
        }
    });
    let agent = server.agent(|_| {});
    with_client(&agent, async |sender| {
        for (n, code) in CODES.into_iter().enumerate() {
            let path = format!("/{n}");
            let mut sender = sender.clone().ready().await.unwrap();
            let (_response, mut stream) =
                sender.send_request(request("POST", &path), false).unwrap();
            stream.send_data("some".into(), false).unwrap();
            while server.requests(&path).is_empty() {
                tokio::task::yield_now().await;
            }
            stream.send_reset(code);
            assert_eq!(codes.recv().await.unwrap(), code);
        }
    });
    agent.end();
}

#[test]
fn messages_go_to_and_fro_and_trailers_come_last() {
    let server = Http2Server::start(async |mut turn: Turn| {
        let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let mut stream = turn.respond.send_response(head, false).unwrap();
        while let Some(data) = turn.body.data().await {
            let data = data.unwrap();
            turn.body.flow_control().release_capacity(data.len()).unwrap();
            stream.send_data(data, false).unwrap();
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
    });
    let agent = server.agent(|_| {});
    with_client(&agent, async |sender| {
        let mut sender = sender.ready().await.unwrap();
        let (response, mut stream) = sender.send_request(request("POST", "/g"), false).unwrap();
        let mut answer = response.await.unwrap().into_body();
        for n in 0..50 {
            let message = Bytes::from(format!("message {n}"));
            stream.send_data(message.clone(), false).unwrap();
            assert_eq!(answer.data().await.unwrap().unwrap(), message);
        }
        stream.send_data(Bytes::new(), true).unwrap();
        assert!(answer.data().await.is_none());
        let trailers = answer.trailers().await.unwrap().unwrap();
        assert_eq!(trailers["grpc-status"], "0");
    });
    let ended = agent.end();
    assert_eq!(ended.request("/g").completeness(), Completeness::Complete);
    assert_eq!(ended.response_to("/g").trailers[0].name, "grpc-status");
}

#[test]
fn an_answer_of_one_frame_stays_one() {
    // What gRPC calls trailers-only.
    let server = Http2Server::start(async |mut turn: Turn| {
        let head = Response::builder().header("grpc-status", "5").body(()).unwrap();
        turn.answer(head, "").await;
    });
    let agent = server.agent(|_| {});
    with_client(&agent, async |sender| {
        let mut sender = sender.ready().await.unwrap();
        let (response, _) = sender.send_request(request("GET", "/e"), true).unwrap();
        let (head, body) = response.await.unwrap().into_parts();
        assert_eq!(head.headers["grpc-status"], "5");
        assert!(body.is_end_stream());
    });
    agent.end();
}

#[test]
fn twenty_mebibytes_pass_both_ways_at_once() {
    let server = echo_as_it_comes();
    let agent = server.agent(|_| {});
    let body = noise(20 << 20);
    with_client(&agent, async |sender| {
        let whole = call(&sender, request("POST", "/b"), body.clone()).await.unwrap();
        assert!(whole.body == body);
    });
    agent.end();
}

fn echo_as_it_comes() -> Http2Server {
    Http2Server::start(async |mut turn: Turn| {
        let mut stream = turn.respond.send_response(Response::new(()), false).unwrap();
        while let Some(Ok(data)) = turn.body.data().await {
            let _ = turn.body.flow_control().release_capacity(data.len());
            turn.send(&mut stream, data).await;
        }
        let _ = stream.send_data(Bytes::new(), true);
    })
}

#[test]
fn a_stream_that_is_not_read_holds_no_more_than_its_windows() {
    const BODY: usize = 32 << 20;
    let server = Http2Server::start(async |mut turn: Turn| match &turn.path[..] {
        "/slow" => turn.ok(vec![7; BODY]).await,
        _ => turn.ok("quick").await,
    });
    let agent = server.agent(|_| {});
    // Room for the others beside the one that is not read.
    let mut builder = h2::client::Builder::new();
    builder.initial_connection_window_size(1 << 20);
    with_builder(agent.address, &builder, async |sender| {
        let mut slow = sender.clone().ready().await.unwrap();
        let (response, _) = slow.send_request(request("GET", "/slow"), true).unwrap();
        let response = response.await.unwrap();
        let sent = || server.seen.sent.load(Ordering::SeqCst);
        let mut before = usize::MAX;
        while before != sent() {
            before = sent();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        // The client's window, what the agent has in hand, and the agent's window.
        assert!(sent() < 2 << 20, "{} bytes were sent", sent());
        // The others of both connections go on.
        for _ in 0..3 {
            let quick = call(&sender, request("GET", "/quick"), Vec::new()).await.unwrap();
            assert_eq!(quick.body, b"quick");
        }
        assert_eq!(receive(response).await.unwrap().body.len(), BODY);
    });
    assert_eq!(server.sessions(), 1);
    agent.end();
}

#[test]
fn a_session_that_went_away_is_no_matter_to_its_clients() {
    let (open, gate) = gate();
    let server = Http2Server::start(move |mut turn: Turn| {
        let gate = gate.clone();
        async move {
            if turn.path == "/held" {
                turn.go_away();
                gate.notified().await;
            }
            let (body, _) = turn.read().await;
            turn.ok(body).await;
        }
    });
    let agent = server.agent(|_| {});
    with_client(&agent, async |sender| {
        let held = call(&sender, request("POST", "/held"), b"held".to_vec());
        let others = async {
            while server.requests("/held").is_empty() {
                tokio::task::yield_now().await;
            }
            for n in 0..20 {
                let request = request("POST", &format!("/{n}"));
                let whole = call(&sender, request, b"other".to_vec()).await.unwrap();
                assert_eq!(whole.body, b"other");
            }
            open();
        };
        let (held, ()) = tokio::join!(held, others);
        assert_eq!(held.unwrap().body, b"held");
    });
    assert_eq!(server.sessions(), 2);
    agent.end();
}

#[test]
fn a_request_is_said_to_an_http1_upstream() {
    let upstream = Server::start(|client, server| {
        while let Some(request) = client.request(server) {
            assert_eq!(request.body, b"body");
            client.send("HTTP/1.1 200 Fine\r\nX-Case: 1\r\nConnection: x-hop\r\nX-Hop: 1\r\n");
            client.send("Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n");
        }
    });
    let agent = Agent::start(upstream.address, |config| config.threads = 1);
    with_client(&agent, async |sender| {
        for _ in 0..3 {
            let mut request = request("POST", "/p?q");
            for (name, value) in [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")] {
                request.headers_mut().append(name, value.parse().unwrap());
            }
            request.headers_mut().insert("content-length", "4".parse().unwrap());
            let whole = call(&sender, request, b"body".to_vec()).await.unwrap();
            assert_eq!(whole.body, b"ok");
            let names: Vec<_> = whole.head.headers().keys().map(|name| name.as_str()).collect();
            assert_eq!(names, ["x-case"]);
            assert_eq!(whole.trailers.unwrap()["x-sum"], "1");
        }
    });
    // The connection was used again.
    assert_eq!(upstream.connections(), 1);
    let head = upstream.heads().remove(0);
    assert_eq!(
        head,
        "POST /p?q HTTP/1.1\r\nhost: test\r\ncookie: a=1; b=2\r\nx: y\r\ncontent-length: 4\r\n\
         x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\nvia: 2.0 umbra\r\n\r\n"
    );
    let ended = agent.end();
    assert_eq!(ended.responses().len(), 3);
}

#[test]
fn answers_of_http1_that_end_in_every_way() {
    let upstream = Server::start(|client, server| {
        while let Some(request) = client.request(server) {
            match &request.path[..] {
                "/close" => {
                    client.send("HTTP/1.0 200 OK\r\n\r\nuntil the end");
                    return;
                }
                "/cut" => {
                    client.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
                    return;
                }
                "/none" => client.send("HTTP/1.1 204 No Content\r\n\r\n"),
                "/switch" => client.send("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"),
                _ => client.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"),
            }
        }
    });
    let agent = Agent::start(upstream.address, |config| config.threads = 1);
    with_client(&agent, async |sender| {
        let get = async |path: &str| call(&sender, request("GET", path), Vec::new()).await;
        assert_eq!(get("/close").await.unwrap().body, b"until the end");
        assert_eq!(get("/cut").await.unwrap_err().reason(), Some(Reason::INTERNAL_ERROR));
        assert_eq!(get("/none").await.unwrap().head.status(), 204);
        assert_eq!(get("/switch").await.unwrap().head.status(), 502);
        assert_eq!(get("/fine").await.unwrap().body, b"fine");
    });
    let ended = agent.end();
    assert_eq!(ended.response_to("/cut").completeness(), Completeness::Aborted);
    assert_eq!(ended.response_to("/switch").failure(), Failure::Garbled);
}

#[test]
fn a_closed_connection_of_the_pool_is_replaced_unseen() {
    let upstream = Server::start(|client, server| {
        // One answer a connection, although it promises more; a second request on it
        // is read and not answered.
        client.request(server);
        client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        client.request(server);
    });
    let agent = Agent::start(upstream.address, |config| config.threads = 1);
    with_client(&agent, async |sender| {
        for n in 0..4 {
            let request = request("GET", &format!("/{n}"));
            assert_eq!(call(&sender, request, Vec::new()).await.unwrap().body, b"ok");
        }
        // What must not be sent twice is not.
        let post = call(&sender, request("POST", "/post"), b"x".to_vec()).await.unwrap();
        assert_eq!(post.head.status(), 502);
    });
    let posts = upstream.heads().iter().filter(|head| head.starts_with("POST")).count();
    assert_eq!(posts, 1);
    agent.end();
}

#[test]
fn what_would_smuggle_never_reaches_the_upstream() {
    let upstream = Server::echo();
    let agent = Agent::start(upstream.address, |config| config.threads = 1);
    with_client(&agent, async |sender| {
        let refused = async |request: Request<()>| match call(&sender, request, Vec::new()).await {
            Ok(whole) => assert!(whole.head.status().is_client_error(), "{whole:?}"),
            Err(error) => assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR)),
        };
        let with = |name: &'static str, value: &'static str| {
            let mut request = request("GET", "/x");
            request.headers_mut().append(name, value.parse().unwrap());
            request
        };
        refused(with("host", "other")).await;
        refused(with("content-length", "5")).await;
        let mut twice = with("content-length", "0");
        twice.headers_mut().append("content-length", "0".parse().unwrap());
        refused(twice).await;
        let user = Request::builder().uri("http://user@test/x").body(()).unwrap();
        refused(user).await;
        let fine = call(&sender, request("GET", "/fine"), Vec::new()).await.unwrap();
        assert_eq!(fine.head.status(), 200);
    });
    until("only one came", || upstream.heads().len() == 1);
    agent.end();
}
