//! Clients of HTTP/2 that want to be expensive (RFC 9113 section 10.5), and any bytes:
//! their connection ends, what they cost stays bounded, and the others are served.

use std::time::{Duration, Instant};

use h2::Reason;

use super::{
    fuzz::Random,
    harness::{Agent, Server, until},
    http2::*,
};

fn start() -> Agent {
    Agent::start(Server::echo().address, |_| {})
}

/// Sends `piece` again and again: the connection ends before `most` bytes are taken.
/// Gives the code it ends with, if that was still to be read.
#[track_caller]
fn flood(client: &mut Raw, most: usize, mut piece: impl FnMut() -> Vec<u8>) -> Option<Reason> {
    client.stream.set_nonblocking(false).unwrap();
    let mut reader = Raw { stream: client.stream.try_clone().unwrap() };
    // What is answered is read: a client that does not is stopped by that alone.
    let reading = std::thread::spawn(move || {
        let mut code = None;
        while let Some(frame) = reader.next() {
            if frame.kind == GOAWAY {
                code = Some(frame.code());
            }
        }
        code
    });
    let mut sent = 0;
    loop {
        let piece = piece();
        if !client.try_send(&piece) {
            break;
        }
        sent += piece.len();
        assert!(sent < most, "{sent} bytes of it were taken");
    }
    reading.join().unwrap()
}

#[track_caller]
fn ends_with(agent: Agent, reason: &str, code: Option<Reason>) {
    assert!(matches!(code, None | Some(Reason::ENHANCE_YOUR_CALM)), "{code:?}");
    until("it is counted", || agent.stats.snapshot().refused.contains_key(reason));
    Raw::connect(agent.address).lives(1);
    agent.end();
}

#[test]
fn pings_without_end() {
    let agent = start();
    let mut client = Raw::connect(agent.address);
    let many = frame(PING, 0, 0, &[0; 8]).repeat(100);
    let code = flood(&mut client, 8 << 20, || many.clone());
    ends_with(agent, "http2_control_flood", code);
}

#[test]
fn settings_without_end() {
    let agent = start();
    let mut client = Raw::connect(agent.address);
    let many = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1]).repeat(100);
    let code = flood(&mut client, 8 << 20, || many.clone());
    ends_with(agent, "http2_control_flood", code);
}

#[test]
fn priorities_window_updates_and_unknown_frames_without_end() {
    for piece in [
        frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1]),
        frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        frame(0xfa, 0, 0, &[]),
    ] {
        let agent = start();
        let mut client = Raw::connect(agent.address);
        let many = piece.repeat(100);
        let code = flood(&mut client, 8 << 20, || many.clone());
        ends_with(agent, "http2_control_flood", code);
    }
}

#[test]
fn empty_data_without_end() {
    let agent = start();
    let mut client = Raw::connect(agent.address);
    client.send(headers(1, 0, &post("/empty")));
    let many = frame(DATA, 0, 1, &[]).repeat(10);
    let code = flood(&mut client, 8 << 20, || many.clone());
    ends_with(agent, "http2_flood", code);
}

#[test]
fn continuations_without_end() {
    let agent = start();
    let mut client = Raw::connect(agent.address);
    client.send(frame(HEADERS, END_STREAM, 1, &block(&get("/x"))));
    let more = frame(CONTINUATION, 0, 1, &block(&[("x", &"y".repeat(1000))]));
    let code = flood(&mut client, 8 << 20, || more.clone());
    ends_with(agent, "http2_flood", code);
}

#[test]
fn empty_continuations_without_end() {
    let agent = start();
    let mut client = Raw::connect(agent.address);
    client.send(frame(HEADERS, END_STREAM, 1, &block(&get("/x"))));
    let more = frame(CONTINUATION, 0, 1, &[]).repeat(20);
    let code = flood(&mut client, 8 << 20, || more.clone());
    ends_with(agent, "http2_flood", code);
}

#[test]
fn requests_taken_back_at_once_without_end() {
    let agent = start();
    let mut client = Raw::connect(agent.address);
    let mut stream = 1;
    let code = flood(&mut client, 64 << 20, || {
        let mut bytes = Vec::new();
        for _ in 0..50 {
            bytes.extend(headers(stream, END_STREAM, &get("/rapid")));
            bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            stream += 2;
        }
        bytes
    });
    assert!(matches!(code, None | Some(Reason::ENHANCE_YOUR_CALM)), "{code:?}");
    until("it is counted", || {
        let refused = agent.stats.snapshot().refused;
        ["http2_reset_flood", "http2_flood", "http2_control_flood"]
            .iter()
            .any(|r| refused.contains_key(*r))
    });
    let requests = agent.stats.snapshot().requests;
    assert!(requests < 2_000, "{requests} requests were begun");
    Raw::connect(agent.address).lives(1);
    agent.end();
}

#[test]
fn malformed_requests_without_end() {
    let agent = start();
    let mut client = Raw::connect(agent.address);
    let mut stream = 1;
    let code = flood(&mut client, 64 << 20, || {
        let mut bytes = Vec::new();
        for _ in 0..50 {
            bytes.extend(headers(stream, END_STREAM, &[(":method", "GET")]));
            stream += 2;
        }
        bytes
    });
    ends_with(agent, "http2_flood", code);
}

#[test]
fn heads_above_the_limits_are_431_and_far_above_the_end() {
    let agent = Agent::start(Server::echo().address, |config| {
        config.max_head = 8 << 10;
        config.max_headers = 20;
    });
    let mut client = Raw::connect(agent.address);
    let value = "v".repeat(9 << 10);
    let mut fields = get("/large");
    fields.push(("x", &value));
    client.send(headers(1, END_STREAM, &fields));
    let answer = client.find(HEADERS);
    assert_eq!((answer.stream, answer.flags & END_STREAM), (1, END_STREAM));
    let names: Vec<String> = (0..21).map(|n| format!("x{n}")).collect();
    let mut fields = get("/many");
    fields.extend(names.iter().map(|name| (name.as_str(), "y")));
    client.send(headers(3, END_STREAM, &fields));
    assert_eq!(client.find(HEADERS).stream, 3);
    until("both are counted", || agent.stats.snapshot().refused.values().sum::<u64>() == 2);
    client.lives(5);
    let value = "v".repeat(16_000);
    client.send(frame(HEADERS, END_STREAM, 7, &block(&get("/huge"))));
    for _ in 0..8 {
        client.try_send(frame(CONTINUATION, 0, 7, &block(&[("x", &value)])));
    }
    client.gone(Reason::ENHANCE_YOUR_CALM);
    assert_eq!(agent.end().report.requests, 1);
}

#[test]
fn a_head_in_small_bites_has_to_be_whole_in_time() {
    let agent = Agent::start(Server::echo().address, |config| {
        config.header_timeout = Duration::from_millis(200);
    });
    let mut slow = Raw::connect(agent.address);
    slow.lives(1);
    let start = Instant::now();
    slow.send(frame(HEADERS, END_STREAM, 3, &block(&get("/slow"))));
    let mut rest = frame(CONTINUATION, END_HEADERS, 3, &[0; 10_000]).into_iter();
    while slow.try_send([rest.next().unwrap()]) && start.elapsed() < Duration::from_secs(10) {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert!(start.elapsed() < Duration::from_secs(10));
    until("it is counted", || agent.stats.snapshot().refused.contains_key("header_timeout"));
    // So is a connection that says nothing but the preface.
    let mut silent = Raw::silent(agent.address);
    silent.send(PREFACE);
    silent.gone(Reason::NO_ERROR);
    agent.end();
}

impl Random {
    /// Something like a client's next words.
    fn words(&mut self) -> Vec<u8> {
        let stream = 1 + 2 * self.below(5) as u32;
        let flags = self.next() as u8;
        let methods = ["GET", "POST", "OPTIONS", "CONNECT", "HEAD"];
        let paths = ["/a", "/b?c", "*", "", "/", "x"];
        let names = ["content-length", "host", "te", "x", "cookie", "expect", "via", "trailer"];
        let values = ["0", "5", "test", "trailers", "", "100-continue", "a b"];
        match self.below(12) {
            0 => frame(self.next() as u8, flags, stream, &self.bytes(40)),
            1 => frame(DATA, flags & 9, stream, &self.bytes(2000)),
            2 => frame(RST_STREAM, 0, stream, &(self.below(16) as u32).to_be_bytes()),
            3 => frame(
                WINDOW_UPDATE,
                0,
                stream * self.below(2) as u32,
                &(self.next() as u32).to_be_bytes(),
            ),
            4 => {
                frame(SETTINGS, flags & 1, 0, &[0, self.below(8) as u8, 0, 0, self.next() as u8, 0])
            }
            5 => frame(PING, flags & 1, 0, &[1; 8]),
            6 => frame(CONTINUATION, flags, stream, &block(&[("x", "y")])),
            7 => frame(DATA, END_STREAM, stream, b"hello"),
            8 => frame(HEADERS, flags, stream, &self.bytes(60)),
            _ => {
                let mut fields = vec![
                    (":method", methods[self.below(5)]),
                    (":scheme", "http"),
                    (":authority", "test"),
                    (":path", paths[self.below(6)]),
                ];
                for _ in 0..self.below(3) {
                    fields.push((names[self.below(8)], values[self.below(7)]));
                }
                if self.below(8) == 0 {
                    fields.swap(0, 3);
                }
                let end = if self.below(2) == 0 { END_STREAM } else { 0 };
                headers(stream, end, &fields)
            }
        }
    }
}

#[test]
fn any_frames_behind_the_preface() {
    let agent = Agent::start(Server::echo().address, |config| {
        config.drain = Duration::from_secs(5);
    });
    let mut random = Random(0x5eed_0002_0000_0001);
    for round in 0..400 {
        let mut client = Raw::connect(agent.address);
        let mut bytes = Vec::new();
        for _ in 0..1 + random.below(12) {
            bytes.extend(random.words());
        }
        for _ in 0..random.below(3) {
            let at = random.below(bytes.len());
            bytes[at] = random.next() as u8;
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, next) = rest.split_at(1 + random.below(rest.len()));
            rest = next;
            if !client.try_send(piece) {
                break;
            }
        }
        if random.below(3) > 0 {
            let _ = client.stream.shutdown(std::net::Shutdown::Write);
            client.closed();
        }
        if round % 100 == 0 {
            Raw::connect(agent.address).lives(1);
        }
    }
    Raw::connect(agent.address).lives(1);
    let ended = agent.end();
    assert_eq!(ended.report.recorded, ended.report.requests);
    assert_eq!(ended.requests().len() as u64, ended.report.requests);
}
