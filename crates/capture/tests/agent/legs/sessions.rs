//! How many sessions there are, and that none is left.

use std::sync::atomic::Ordering;

use h2::server::Builder;

use super::server::{Http2Server, gate};
use crate::agent::harness::until;

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
