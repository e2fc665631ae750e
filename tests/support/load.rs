//! A steady load: keep-alive connections that send numbered requests at a fixed rate,
//! each on its schedule, and keep what became of every one.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{client::Client, pause};

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// `/LOAD/CONNECTION/NUMBER`; a new connection has a new name.
    pub(crate) path: String,
    pub(crate) at: Instant,
    /// To the end of the answer.
    pub(crate) took: Duration,
    pub(crate) answered: bool,
}

/// Runs until `stop`.
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    name: String,
    to: SocketAddr,
    start: Instant,
    /// Between two requests of one connection.
    every: Duration,
    /// A field that makes each request this much larger.
    padding: String,
    stop: AtomicBool,
    answered: AtomicUsize,
    calls: Mutex<Vec<Call>>,
}

impl Load {
    /// `rate` requests a second over so many connections. The name begins each path.
    pub(crate) fn start(name: &str, to: SocketAddr, connections: u32, rate: u32) -> Self {
        Self::padded(name, to, connections, rate, 0)
    }

    /// The same with so many bytes more in each request.
    pub(crate) fn padded(
        name: &str,
        to: SocketAddr,
        connections: u32,
        rate: u32,
        bytes: usize,
    ) -> Self {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            to,
            start: Instant::now() + Duration::from_millis(50),
            every: Duration::from_secs(1) * connections / rate,
            padding: if bytes == 0 {
                String::new()
            } else {
                // White space at the end would be no part of the field.
                format!("X-Padding: {:-<1$}\r\n", "", bytes)
            },
            stop: AtomicBool::new(false),
            answered: AtomicUsize::new(0),
            calls: Mutex::default(),
        });
        let begin = |index: u32| {
            let shared = Arc::clone(&shared);
            let first = shared.start + shared.every * index / connections;
            std::thread::spawn(move || shared.drive(index, first))
        };
        let threads = (0..connections).map(begin).collect();
        Self { shared, threads }
    }

    /// Answers so far.
    pub(crate) fn answered(&self) -> usize {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Ends it; all calls, in the order of their end.
    pub(crate) fn stop(self) -> Vec<Call> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        std::mem::take(&mut *self.shared.calls.lock().unwrap())
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// One connection after the other, each for as long as it lasts.
    fn drive(&self, index: u32, first: Instant) {
        let mut due = first;
        let mut generation = 0;
        while !self.is_over() {
            match Client::try_connect(self.to) {
                Ok(client) => {
                    self.connection(client, &format!("{index}.{generation}"), &mut due);
                    generation += 1;
                }
                Err(_) => pause(Duration::from_millis(20)),
            }
        }
    }

    fn connection(&self, mut client: Client, name: &str, due: &mut Instant) {
        // What was due while there was no connection is not made up for.
        while *due < Instant::now() {
            *due += self.every;
        }
        for number in 0.. {
            pause(due.saturating_duration_since(Instant::now()));
            *due += self.every;
            if self.is_over() {
                return;
            }
            let path = format!("/{}/{name}/{number}", self.name);
            let head = format!("GET {path} HTTP/1.1\r\nHost: shop\r\n");
            let request = format!("{head}{}\r\n", self.padding);
            let at = Instant::now();
            let answer = client.send(request.as_bytes()).and_then(|()| client.receive(false));
            let took = at.elapsed();
            let answered = answer.is_ok_and(|answer| answer.status() == 200);
            self.answered.fetch_add(usize::from(answered), Ordering::Relaxed);
            self.calls.lock().unwrap().push(Call { path, at, took, answered });
            if !answered {
                return;
            }
        }
    }
}

/// Half of the calls that began in this time took no longer.
pub(crate) fn p50(calls: &[Call], from: Instant, to: Instant) -> Duration {
    quantile(calls, from, to, 0.5)
}

/// The same for any share of them.
pub(crate) fn quantile(calls: &[Call], from: Instant, to: Instant, share: f64) -> Duration {
    let within = calls.iter().filter(|call| call.at >= from && call.at < to);
    let mut took: Vec<Duration> = within.map(|call| call.took).collect();
    took.sort_unstable();
    assert!(!took.is_empty(), "no calls in that time");
    took[((took.len() - 1) as f64 * share) as usize]
}

/// The connection and the number of a path of a load.
pub(crate) fn place(path: &str) -> Option<(&str, u64)> {
    let (connection, number) = path.rsplit_once('/')?;
    Some((connection, number.parse().ok()?))
}
