//! Arbitrary bytes on the listener and from the upstream: the agent lives on and
//! its books balance. `UMBRA_TEST_LONG=1` throws a hundred times as many, others each
//! time.

use std::io::{Read, Write};

use super::harness::{Agent, Client, Server};

/// A generator that repeats itself.
pub(crate) struct Random(pub(crate) u64);

/// What a generator begins with, and how often it is asked: so often usually.
fn course(seed: u64, rounds: usize) -> (Random, usize) {
    let Some(_) = std::env::var_os("UMBRA_TEST_LONG") else { return (Random(seed), rounds) };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = seed ^ now.as_nanos() as u64;
    println!("seed {seed:#x}");
    (Random(seed), rounds * 100)
}

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(crate) fn bytes(&mut self, limit: usize) -> Vec<u8> {
        (0..self.below(limit)).map(|_| self.next() as u8).collect()
    }
}

const REQUESTS: [&[u8]; 6] = [
    b"GET /a?b=c HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n",
    b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"GET http://h/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
];

const ANSWERS: [&[u8]; 5] = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
    b"HTTP/1.0 404 Not Found\r\n\r\nuntil close",
    b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nxyz",
];

fn mutate(random: &mut Random, message: &[u8]) -> Vec<u8> {
    let mut bytes = message.to_vec();
    for _ in 0..random.below(4) {
        let at = random.below(bytes.len().max(1));
        match random.below(5) {
            _ if bytes.is_empty() => {}
            0 => bytes[at] = random.next() as u8,
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, *b"\r\n\0: ;,\t0".get(random.below(9)).unwrap()),
            3 => bytes.truncate(at),
            _ => {
                let again = bytes[at..].to_vec();
                bytes.extend_from_slice(&again);
            }
        }
    }
    bytes
}

/// Sends bytes in pieces and reads until the end, whatever it is.
fn throw(agent: &Agent, random: &mut Random, bytes: &[u8]) {
    let mut client = Client::connect(agent.address).stream;
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, next) = rest.split_at(1 + random.below(rest.len()));
        rest = next;
        // The agent may have had enough.
        if client.write_all(piece).is_err() {
            break;
        }
    }
    if random.below(4) == 0 {
        return;
    }
    let _ = client.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    if !answer.is_empty() {
        assert!(answer.starts_with(b"HTTP/1.1 "), "{:?}", String::from_utf8_lossy(&answer));
    }
}

#[test]
fn any_bytes_on_the_listener() {
    let upstream = Server::echo();
    let agent = Agent::start(upstream.address, |_| {});
    let (mut random, rounds) = course(0x5eed_1234_5678_9abc, 600);
    for round in 0..rounds {
        let bytes = if round % 5 == 0 {
            random.bytes(3000)
        } else {
            let count = 1 + random.below(3);
            let pick = |random: &mut Random| REQUESTS[random.below(REQUESTS.len())];
            (0..count)
                .flat_map(|_| {
                    let m = pick(&mut random);
                    mutate(&mut random, m)
                })
                .collect()
        };
        throw(&agent, &mut random, &bytes);
        if round % 100 == 0 {
            assert_eq!(agent.connect().get("/alive").status, 200);
        }
    }
    assert_eq!(agent.connect().get("/alive").status, 200);
    let ended = agent.end();
    assert_eq!(ended.report.recorded, ended.report.requests);
    assert_eq!(ended.requests().len() as u64, ended.report.requests);
}

#[test]
fn any_bytes_from_the_upstream() {
    let seed = std::sync::Mutex::new(course(0xfeed_1234_5678_9abc, 0).0);
    let upstream = Server::start(move |client, server| {
        // What waits for more of a broken answer is not kept waiting.
        let patience = Some(std::time::Duration::from_millis(30));
        client.stream.set_read_timeout(patience).unwrap();
        while client.request(server).is_some() {
            let answer = {
                let mut random = seed.lock().unwrap();
                let answer = ANSWERS[random.below(ANSWERS.len())];
                if random.below(4) == 0 { random.bytes(500) } else { mutate(&mut random, answer) }
            };
            if client.stream.write_all(&answer).is_err() || answer.len() % 2 == 0 {
                return;
            }
        }
    });
    let agent = Agent::start(upstream.address, |config| {
        config.upstream_timeout = std::time::Duration::from_millis(30);
    });
    let (mut random, rounds) = course(0xabcd_ef01_2345_6789, 400);
    for round in 0..rounds {
        throw(&agent, &mut random, REQUESTS[round % REQUESTS.len()]);
    }
    let ended = agent.end();
    assert_eq!(ended.report.recorded, ended.report.requests);
    assert_eq!(ended.responses().len() as u64, ended.report.requests);
}
