//! How many sessions there are, and that none is left.

use std::sync::atomic::Ordering;

use h2::server::Builder;

use umbra_record::pb::Completeness;

use super::server::{Http2Server, gate};
use crate::agent::{
    harness::until,
    http2::{request, with_client},
};

#[test]
fn more_streams_than_a_session_takes_go_over_several() {
    const STREAMS: usize = 1000;
    let (open, gate) = gate();
    let mut builder = Builder::new();
    builder.max_concurrent_streams(100);
    let server = Http2Server::with(builder, move |mut turn| {
        let gate = gate.clone();
        async move {
            gate.notified().await;
            let path = turn.path.clone();
            turn.ok(path).await;
        }
    });
    let agent = server.agent(|config| config.max_connections = 2 * STREAMS);
    let mut clients: Vec<_> = (0..STREAMS).map(|_| agent.connect()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    // All at the same time.
    until("all are there", || server.seen.requests.lock().unwrap().len() == STREAMS);
    open();
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.answer().body, format!("/{n}").as_bytes());
    }
    assert!(server.seen.most.load(Ordering::SeqCst) <= 100);
    let sessions = server.sessions();
    assert!((10..=20).contains(&sessions), "{sessions} sessions");
    drop(clients);
    assert_eq!(agent.end().report.recorded, STREAMS as u64);
    server.all_ended();
}

#[test]
fn who_finds_no_room_waits_for_it() {
    let (open, gate) = gate();
    let mut builder = Builder::new();
    // Nobody is taken until the first has been.
    builder.max_concurrent_streams(0);
    let server = Http2Server::with(builder, move |mut turn| {
        let gate = gate.clone();
        async move {
            gate.notified().await;
            turn.ok("late").await;
        }
    });
    let agent = server.agent(|config| {
        config.connect_timeout = std::time::Duration::from_millis(300);
    });
    let clients: Vec<_> = (0..20)
        .map(|n| {
            let mut client = agent.connect();
            client.send(format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"));
            client
        })
        .collect();
    for mut client in clients {
        // Some are refused, since they were sent before that was known.
        assert!(matches!(client.answer().status, 502 | 504));
    }
    assert!(server.sessions() <= 3, "{} sessions", server.sessions());
    open();
    agent.end();
    server.all_ended();
}

/// A request whose client is still sending, while the upstream takes nobody, is written as
/// it stands as soon as it is time: it holds back no Mark.
#[test]
fn a_request_that_waits_for_room_is_written_as_it_stands() {
    let mut builder = Builder::new();
    builder.max_concurrent_streams(0);
    let server = Http2Server::with(builder, async |mut turn| turn.ok("never").await);
    let agent = server.agent(|config| {
        config.connect_timeout = std::time::Duration::from_secs(1);
        config.open_after = std::time::Duration::from_millis(100);
    });
    // Now it is known that there is no room.
    assert!(matches!(agent.connect().get("/first").status, 502 | 504));
    let mut client = agent.connect();
    client.send("POST /http1 HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nbeginning");
    with_client(&agent, |sender| async {
        let mut sender = sender.ready().await.unwrap();
        let (response, mut stream) = sender.send_request(request("POST", "/http2"), false).unwrap();
        stream.send_data("beginning".into(), false).unwrap();
        assert_eq!(response.await.unwrap().status(), 504);
    });
    assert_eq!(client.answer().status, 504);
    drop(client);
    let ended = agent.end();
    for path in ["/http1", "/http2"] {
        assert_eq!(ended.request(path).completeness(), Completeness::Open, "{path}");
    }
}
