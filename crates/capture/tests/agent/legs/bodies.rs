//! Bodies under flow control.

use std::{
    io::{Read, Write},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use h2::server::Builder;
use http::Response;

use super::server::{Http2Server, echo, gate};
use crate::agent::harness::{noise, until};

const MIB: usize = 1 << 20;

#[test]
fn twenty_mebibytes_pass_both_ways() {
    let server = echo();
    let agent = server.agent(|_| {});
    let body = noise(20 * MIB);
    let mut client = agent.connect();
    let mut sending = client.stream.try_clone().unwrap();
    let sent = body.clone();
    let upload = std::thread::spawn(move || {
        let head = format!("POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", sent.len());
        sending.write_all(head.as_bytes()).unwrap();
        sending.write_all(&sent).unwrap();
    });
    assert!(client.answer().body == body);
    upload.join().unwrap();
    // In chunks of the client's as well.
    let mut sending = client.stream.try_clone().unwrap();
    let sent = body.clone();
    let upload = std::thread::spawn(move || {
        sending
            .write_all(b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            .unwrap();
        for chunk in sent.chunks(70_001) {
            sending.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).unwrap();
            sending.write_all(chunk).unwrap();
            sending.write_all(b"\r\n").unwrap();
        }
        sending.write_all(b"0\r\n\r\n").unwrap();
    });
    assert!(client.answer().body == body);
    upload.join().unwrap();
    agent.end();
}

#[test]
fn a_client_that_does_not_read_holds_no_more_than_the_windows() {
    const BODY: usize = 64 * MIB;
    let server = Http2Server::start(async |mut turn| turn.ok(vec![7; BODY]).await);
    let agent = server.agent(|_| {});
    let mut client = agent.connect();
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    let sent = || server.seen.sent.load(Ordering::SeqCst);
    // The sockets of this machine hold some, the stream's window the rest.
    let mut before = usize::MAX;
    until("nothing more is sent", || {
        std::thread::park_timeout(Duration::from_millis(200));
        std::mem::replace(&mut before, sent()) == sent() && sent() > 0
    });
    assert!(sent() < BODY / 2, "{} bytes were sent", sent());
    // Others are not held up by it.
    let mut other = agent.connect();
    other.send("HEAD /other HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(other.answer_without_body().status, 200);
    // And it gets all once it reads.
    let mut total = 0;
    let mut piece = vec![0; MIB];
    while total < BODY {
        let read = client.stream.read(&mut piece).unwrap();
        assert_ne!(read, 0, "the answer ended after {total} bytes");
        total += read;
    }
    drop((client, other));
    agent.end();
}

#[test]
fn an_upstream_that_never_reads_is_given_up() {
    let server = Http2Server::start(async |turn| {
        let _held = turn;
        std::future::pending::<()>().await;
    });
    let agent = server.agent(|config| config.upstream_timeout = Duration::from_millis(300));
    let mut client = agent.connect();
    let mut sending = client.stream.try_clone().unwrap();
    let upload = std::thread::spawn(move || {
        sending
            .write_all(b"POST /n HTTP/1.1\r\nHost: a\r\nContent-Length: 20971520\r\n\r\n")
            .unwrap();
        let chunk = [0; 16 << 10];
        let mut sent = 0;
        while sent < 20 * MIB && sending.write_all(&chunk).is_ok() {
            sent += chunk.len();
        }
        sent
    });
    assert_eq!(client.answer().status, 504);
    drop(client);
    assert!(upload.join().unwrap() < 20 * MIB);
    agent.end();
}

#[test]
fn answers_stream_while_the_request_does() {
    let server = Http2Server::start(async |mut turn| {
        let mut stream = turn.respond.send_response(Response::new(()), false).unwrap();
        while let Some(data) = turn.body.data().await {
            let data = data.unwrap();
            turn.body.flow_control().release_capacity(data.len()).unwrap();
            stream.send_data(data, false).unwrap();
        }
        stream.send_data("".into(), true).unwrap();
    });
    let agent = server.agent(|_| {});
    let mut client = agent.connect();
    client.send("POST /d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let head = client.read_head();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    for n in 0..5 {
        client.send(format!("4\r\npin{n}\r\n"));
        assert_eq!(client.read_exactly(9), format!("4\r\npin{n}\r\n").as_bytes());
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.read_exactly(5), b"0\r\n\r\n");
    // Both ends are in step.
    client.send("POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.answer().body, b"hi");
    agent.end();
}

#[test]
fn a_small_window_of_the_upstream_is_waited_for() {
    let (open, gate) = gate();
    let mut builder = Builder::new();
    builder.initial_window_size(1000);
    let server = Http2Server::with(builder, move |mut turn| {
        let gate = gate.clone();
        async move {
            gate.notified().await;
            let (body, _) = turn.read().await;
            turn.ok(body).await;
        }
    });
    let agent = server.agent(|_| {});
    let mut client = agent.connect();
    let body = noise(100_000);
    client.send("POST /w HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    client.send(&body);
    until("the request is there", || server.seen.requests.lock().unwrap().len() == 1);
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(50) {
        std::thread::park_timeout(Duration::from_millis(5));
    }
    open();
    assert!(client.answer().body == body);
    agent.end();
}
