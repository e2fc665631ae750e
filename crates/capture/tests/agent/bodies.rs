//! Large, slow, cut and aborted bodies.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use umbra_capture::RecordResponses;
use umbra_record::{hash, pb::Completeness};

use super::harness::{Agent, Server, noise, signal, until};

/// Answers each request with its body, and keeps it.
fn mirror() -> (Server, Arc<Mutex<Vec<Vec<u8>>>>) {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&bodies);
    let server = Server::start(move |client, server| {
        while let Some(request) = client.request(server) {
            // Kept first: the test looks as soon as it has the answer.
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
            let answer = [head.as_bytes(), &request.body].concat();
            kept.lock().unwrap().push(request.body);
            client.send(answer);
        }
    });
    (server, bodies)
}

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[test]
fn bodies_of_all_sizes_pass_and_are_recorded_equal() {
    let (upstream, bodies) = mirror();
    let agent = Agent::start(upstream.address, |config| {
        config.max_body = 64 << 20;
        config.max_record_body = 256 << 10;
    });
    let mut client = agent.connect();
    let sizes = [0, 1, 16_383, 16_384, 65_536, 65_537, 262_144, 262_145, 1 << 20, 30_000_000, 5];
    let noise = noise(30_000_000);
    for size in sizes {
        let body = &noise[..size];
        client.send(post(&format!("/{size}"), body));
        assert!(client.answer().body == body, "{size} bytes came back changed");
        assert!(bodies.lock().unwrap().last().unwrap() == body, "{size} bytes arrived changed");
    }
    let ended = agent.end();
    assert_eq!(ended.report.recorded, sizes.len() as u64);
    for size in sizes {
        let request = ended.request(&format!("/{size}"));
        assert_eq!(request.completeness(), Completeness::Complete);
        assert_eq!(request.body_length, size as u64);
        assert_eq!(request.body_hash, hash::of(&noise[..size])[..]);
        assert!(ended.body(request) == noise[..size], "{size} bytes recorded changed");
        let parts = ended.parts(&request.id);
        assert_eq!(request.parts as usize, parts.len());
        assert_eq!(parts.len(), size.saturating_sub(1) / (256 << 10));
        for (index, part) in parts.iter().enumerate() {
            assert_eq!(part.last, index + 1 == parts.len());
        }
        let response = ended.response_to(&format!("/{size}"));
        assert_eq!(response.body_hash, hash::of(&noise[..size])[..]);
        assert_eq!(response.body_length, size as u64);
        assert_eq!(response.body.as_ref().unwrap(), &noise[..size.min(64 << 10)]);
        let cut = size > 64 << 10;
        assert_eq!(response.completeness() == Completeness::Truncated, cut);
    }
}

#[test]
fn a_chunked_upload_in_small_and_large_chunks_is_recorded_equal() {
    let (upstream, bodies) = mirror();
    let agent = Agent::start(upstream.address, |_| {});
    let noise = noise(3_000_000);
    let mut sent = b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let mut rest = &noise[..];
    for size in [1, 70_000, 3, 16_384, 200_000].iter().cycle() {
        let (chunk, next) = rest.split_at((*size).min(rest.len()));
        rest = next;
        write!(sent, "{:x}\r\n", chunk.len()).unwrap();
        sent.extend_from_slice(chunk);
        sent.extend_from_slice(b"\r\n");
        if rest.is_empty() {
            break;
        }
    }
    sent.extend_from_slice(b"0\r\n\r\n");
    let mut client = agent.connect();
    client.send(sent);
    assert!(client.answer().body == noise);
    assert!(bodies.lock().unwrap()[0] == noise);
    let ended = agent.end();
    let request = ended.request("/c");
    assert!(ended.body(request) == noise);
    assert_eq!(request.body_hash, hash::of(&noise)[..]);
}

#[test]
fn beyond_max_body_a_request_is_cut_and_marked() {
    let (upstream, bodies) = mirror();
    let agent = Agent::start(upstream.address, |config| {
        config.max_body = 100_000;
        config.max_record_body = 40_000;
        config.responses = RecordResponses::Head;
    });
    let noise = noise(150_000);
    let mut client = agent.connect();
    client.send(post("/cut", &noise));
    assert!(client.answer().body == noise);
    assert!(bodies.lock().unwrap()[0] == noise);
    let ended = agent.end();
    let request = ended.request("/cut");
    assert_eq!(request.completeness(), Completeness::Truncated);
    assert!(ended.body(request) == noise[..100_000]);
    assert_eq!((request.parts, request.body_length), (2, 150_000));
    assert_eq!(request.body_hash, hash::of(&noise)[..]);
    let response = ended.response_to("/cut");
    assert_eq!(response.body.as_deref(), Some(&b""[..]));
    assert_eq!(response.body_hash, hash::of(&noise)[..]);
    assert_eq!(response.completeness(), Completeness::Truncated);
}

#[test]
fn without_answers_only_requests_are_recorded() {
    let upstream = Server::echo();
    let agent = Agent::start(upstream.address, |config| config.responses = RecordResponses::Off);
    agent.connect().get("/1");
    let ended = agent.end();
    assert_eq!((ended.requests().len(), ended.responses().len()), (1, 0));
}

#[test]
fn a_client_that_goes_away_in_the_middle_is_recorded_as_aborted() {
    let upstream = Server::start(|client, server| {
        client.request_head(server);
        assert_eq!(client.read_exactly(7), b"half of");
        assert!(client.is_closed());
    });
    let agent = Agent::start(upstream.address, |_| {});
    let mut client = agent.connect();
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf of");
    until("the upstream got it", || upstream.heads().len() == 1);
    drop(client);
    until("the agent noticed", || agent.stats.snapshot().recorded == 1);
    let ended = agent.end();
    let request = ended.request("/a");
    assert_eq!(request.completeness(), Completeness::Aborted);
    assert_eq!(request.body.as_deref(), Some(&b"half of"[..]));
    assert_eq!(request.body_length, 7);
}

#[test]
fn a_large_upload_that_is_broken_off_keeps_what_had_arrived() {
    let upstream = Server::start(|client, server| {
        client.request(server);
    });
    let agent = Agent::start(upstream.address, |config| config.max_record_body = 100_000);
    let noise = noise(400_000);
    let mut client = agent.connect();
    client.send("POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    client.send(&noise);
    until("it is held", || agent.stats.snapshot().tee_bytes >= 400_000);
    drop(client);
    until("it is recorded", || agent.stats.snapshot().recorded == 1);
    let ended = agent.end();
    let request = ended.request("/b");
    assert_eq!((request.completeness(), request.parts), (Completeness::Aborted, 3));
    assert!(ended.body(request) == noise);
}

#[test]
fn a_request_that_stays_open_is_written_as_it_stands_and_then_its_rest() {
    let (upstream, _) = mirror();
    let agent = Agent::start(upstream.address, |config| {
        config.open_after = Duration::from_millis(100);
        config.mark_every = Duration::from_millis(20);
        config.max_record_body = 50_000;
    });
    let noise = noise(220_000);
    let mut client = agent.connect();
    client.send("POST /o HTTP/1.1\r\nHost: a\r\nContent-Length: 220000\r\n\r\n");
    client.send(&noise[..70_000]);
    until("it is written", || agent.stats.snapshot().accepted == 1);
    client.send(&noise[70_000..180_000]);
    client.send(&noise[180_000..]);
    assert!(client.answer().body == noise);
    let mut other = agent.connect();
    other.get("/other");
    let ended = agent.end();
    let request = ended.request("/o");
    assert_eq!((request.completeness(), request.parts), (Completeness::Open, 0));
    assert_eq!((request.body_length, &request.body_hash[..]), (70_000, &b""[..]));
    assert!(ended.body(request) == noise);
    let parts = ended.parts(&request.id);
    let last = parts.last().unwrap();
    assert!(last.last && !last.aborted && parts[..parts.len() - 1].iter().all(|p| !p.last));
    assert_eq!((last.body_length, &last.body_hash[..]), (220_000, &hash::of(&noise)[..]));
    assert!(parts.iter().all(|part| part.data.len() <= 50_000));
}

#[test]
fn an_open_request_that_is_broken_off_is_closed_as_aborted() {
    let upstream = Server::start(|client, server| {
        client.request(server);
    });
    let agent = Agent::start(upstream.address, |config| {
        config.open_after = Duration::from_millis(50);
    });
    let mut client = agent.connect();
    client.send("POST /o HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nbegin");
    until("it is written", || agent.stats.snapshot().accepted == 1);
    client.send("more");
    drop(client);
    let ended = agent.end();
    let request = ended.request("/o");
    assert_eq!(request.completeness(), Completeness::Open);
    assert_eq!(ended.body(request), b"beginmore");
    let last = *ended.parts(&request.id).last().unwrap();
    assert!(last.aborted && !last.last);
    assert_eq!((last.completeness(), last.body_length), (Completeness::Aborted, 9));
}

#[test]
fn a_slow_reader_slows_its_upstream_and_nobody_else() {
    let (go, wait) = signal();
    let size = 40_000_000;
    let upstream = Server::start(move |client, server| {
        while let Some(request) = client.request(server) {
            let size = if request.path == "/big" { size } else { 1 };
            client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"));
            if size == 1 {
                client.send("x");
                continue;
            }
            // More than all buffers hold: blocks until the client reads.
            let _ = client.stream.write_all(&noise(size));
            wait();
        }
    });
    let agent = Agent::start(upstream.address, |config| config.threads = 1);
    let mut slow = agent.connect();
    slow.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    until("it is asked", || upstream.heads().len() == 1);
    for _ in 0..50 {
        assert_eq!(agent.connect().get("/small").body, b"x");
    }
    assert!(agent.stats.snapshot().tee_bytes < 1 << 20);
    assert!(slow.answer().body == noise(size));
    go();
    let ended = agent.end();
    assert_eq!(ended.response_to("/big").body_hash, hash::of(&noise(size))[..]);
}
