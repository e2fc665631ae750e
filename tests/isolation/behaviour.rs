//! What clients do, how long it takes them, and whether that is late.

use std::{
    collections::BTreeMap,
    fmt,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use super::{
    service::{EVENTS, LARGE, POLL, Service, clock, pattern},
    subject::Subject,
};
use crate::support::client::Client;

/// Small requests on one connection.
const SMALL: usize = 1000;

/// How often a time is taken; the shortest counts.
const ROUNDS: usize = 3;

/// The service itself, without an agent.
const DIRECT: &str = "without an agent";

/// One thing clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Behaviour {
    Upload,
    Download,
    /// A thousand requests on one keep-alive connection.
    Small,
    /// An answer that takes its time: what comes on top of it.
    Poll,
    /// Server-sent events: the longest delay of one.
    Events,
}

impl Behaviour {
    pub(super) const ALL: [Self; 5] =
        [Self::Upload, Self::Download, Self::Small, Self::Poll, Self::Events];

    /// What noise may add to any time.
    fn slack(self) -> Duration {
        match self {
            Self::Upload | Self::Download | Self::Small => Duration::from_millis(500),
            Self::Poll | Self::Events => Duration::from_millis(250),
        }
    }

    /// Does it once, checks what came, and says how long it took.
    fn run(self, to: SocketAddr) -> Duration {
        match self {
            Self::Upload => upload(to, LARGE),
            Self::Download => download(to),
            Self::Small => small(to),
            Self::Poll => poll(to),
            Self::Events => events(to),
        }
    }

    /// Takes the times of all, in turns.
    pub(super) fn measure(
        self,
        service: &Service,
        off: &Subject,
        all: &[&Subject],
        figures: &mut Figures,
    ) {
        let agents = [off].into_iter().chain(all.iter().copied());
        let agents = agents.map(|one| (one.name, one.address(), Some(one)));
        let turns: Vec<_> = [(DIRECT, service.address, None)].into_iter().chain(agents).collect();
        let count = |one: Option<&Subject>| {
            one.inspect(|one| one.count(if self == Self::Small { SMALL } else { 1 }));
        };
        if matches!(self, Self::Poll | Self::Events) {
            // They only wait, so they wait together.
            std::thread::scope(|scope| {
                let begin = |(name, to, one)| {
                    count(one);
                    (name, scope.spawn(move || self.run(to)))
                };
                let running: Vec<_> = turns.into_iter().map(begin).collect();
                for (name, thread) in running {
                    figures.add(self, name, thread.join().unwrap());
                }
            });
            return;
        }
        for _ in 0..ROUNDS {
            for (name, to, one) in &turns {
                count(*one);
                figures.add(self, name, self.run(*to));
            }
        }
    }
}

/// The shortest times so far.
#[derive(Debug, Default)]
pub(super) struct Figures {
    names: Vec<&'static str>,
    times: BTreeMap<(Behaviour, &'static str), Duration>,
}

impl Figures {
    fn add(&mut self, behaviour: Behaviour, name: &'static str, took: Duration) {
        if !self.names.contains(&name) {
            self.names.push(name);
        }
        let best = self.times.entry((behaviour, name)).or_insert(took);
        *best = took.min(*best);
    }

    /// Who took longer than `ratio` times as long as `off`, and a bit.
    pub(super) fn late(&self, behaviour: Behaviour, off: &str, ratio: f64) -> Vec<&'static str> {
        let time = |name| self.times[&(behaviour, name)];
        let off = self.names.iter().find(|name| **name == off).expect("it was measured");
        let bound = time(off).mul_f64(ratio) + behaviour.slack();
        self.names.iter().copied().filter(|name| time(name) > bound).collect()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:32}", "")?;
        for behaviour in Behaviour::ALL {
            write!(f, "{:>12}", format!("{behaviour:?}"))?;
        }
        for name in &self.names {
            write!(f, "\n{name:32}")?;
            for behaviour in Behaviour::ALL {
                let took = self.times.get(&(behaviour, name)).copied().unwrap_or_default();
                write!(f, "{:>12}", format!("{:.1?}", took))?;
            }
        }
        Ok(())
    }
}

pub(super) fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_nodelay(true).unwrap();
    // Longer than anything may take, and short enough to tell who hangs.
    let patience = Some(Duration::from_secs(30));
    stream.set_read_timeout(patience).unwrap();
    stream.set_write_timeout(patience).unwrap();
    stream
}

/// Sends the first bytes of the pattern; the service compares them.
pub(super) fn upload(to: SocketAddr, length: usize) -> Duration {
    let start = Instant::now();
    let mut client = begin_upload(to, length, length);
    expect(&mut client, "same");
    start.elapsed()
}

/// Sends only so many bytes of the body.
pub(super) fn begin_upload(to: SocketAddr, length: usize, sent: usize) -> TcpStream {
    let mut client = connect(to);
    let head = format!("POST /upload HTTP/1.1\r\nHost: shop\r\nContent-Length: {length}\r\n\r\n");
    client.write_all(head.as_bytes()).unwrap();
    client.write_all(&pattern()[..sent]).unwrap();
    client
}

/// Reads a small answer with this body.
pub(super) fn expect(client: &mut TcpStream, body: &str) {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while !answer.windows(4).any(|four| four == b"\r\n\r\n") || !answer.ends_with(body.as_bytes()) {
        let n = client.read(&mut piece).unwrap();
        answer.extend_from_slice(&piece[..n]);
        assert!(n > 0 && answer.len() < 4096, "{:?}", String::from_utf8_lossy(&answer));
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{:?}", String::from_utf8_lossy(&answer));
}

fn download(to: SocketAddr) -> Duration {
    let start = Instant::now();
    let mut client = connect(to);
    client.write_all(b"GET /download HTTP/1.1\r\nHost: shop\r\n\r\n").unwrap();
    let mut buffer = vec![0; 256 << 10];
    let mut filled = 0;
    let head = loop {
        filled += client.read(&mut buffer[filled..]).unwrap();
        if let Some(end) = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let mut at = filled - head;
    assert!(buffer[head..filled] == pattern()[..at], "other bytes at the beginning");
    while at < LARGE {
        let n = client.read(&mut buffer).unwrap();
        assert!(n > 0, "it ends at {at}");
        assert!(buffer[..n] == pattern()[at..at + n], "other bytes behind {at}");
        at += n;
    }
    start.elapsed()
}

fn small(to: SocketAddr) -> Duration {
    let mut client = Client::connect(to);
    let start = Instant::now();
    for number in 0..SMALL {
        let request = format!("GET /small/{number} HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\n\r\n");
        assert_eq!(client.call(request.as_bytes()).text(), "ok");
    }
    start.elapsed()
}

fn poll(to: SocketAddr) -> Duration {
    let start = Instant::now();
    let mut client = connect(to);
    client.write_all(b"GET /poll HTTP/1.1\r\nHost: shop\r\n\r\n").unwrap();
    expect(&mut client, "at last");
    start.elapsed().saturating_sub(POLL)
}

fn events(to: SocketAddr) -> Duration {
    let mut client = connect(to);
    client.write_all(b"GET /events HTTP/1.1\r\nHost: shop\r\n\r\n").unwrap();
    let (mut text, mut seen, mut longest) = (String::new(), 0, 0);
    let mut piece = [0; 4096];
    while !text.ends_with("\r\n0\r\n\r\n") {
        let n = client.read(&mut piece).unwrap();
        assert!(n > 0, "it ends early: {text}");
        text.push_str(std::str::from_utf8(&piece[..n]).unwrap());
        let now = clock();
        let whole = text.matches("\n\n\r\n").count();
        for event in text.split("data: ").skip(1 + seen).take(whole - seen) {
            let sent: u64 = event.split('\n').next().unwrap().parse().unwrap();
            longest = longest.max(now.saturating_sub(sent));
        }
        seen = whole;
    }
    assert_eq!(seen, EVENTS, "{text}");
    Duration::from_nanos(longest)
}
