//! In front of a service: one agent after the other on the same sockets without a failed
//! request, tunnels, and what an idle connection costs.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    client::{Client, get},
    httpbin::venv,
    logs::TestLog,
    nginx::Nginx,
    pause,
    process::{Running, Service, Umbra},
    shadow::{Manner, Shadow},
    wait_for,
};

fn upstream() -> Nginx {
    Nginx::start("location / { return 200 ok; }")
}

/// Requests without a pause: on connections that are kept as long as the answers say so,
/// and on new ones. None may fail.
struct Steady {
    to: SocketAddr,
    over: AtomicBool,
    answered: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

impl Steady {
    fn new(to: SocketAddr) -> Self {
        let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
        Self { to, over, answered, failures: Mutex::default() }
    }

    /// Runs while `work` does; how many requests were answered.
    fn during(self, work: impl FnOnce(&Self)) -> usize {
        std::thread::scope(|scope| {
            for thread in 0..6 {
                let this = &self;
                scope.spawn(move || this.drive(thread));
            }
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&self)));
            self.over.store(true, Ordering::Relaxed);
            done.unwrap();
        });
        assert_eq!(self.failures.into_inner().unwrap(), Vec::<String>::new());
        self.answered.into_inner()
    }

    fn drive(&self, thread: usize) {
        let keep = thread.is_multiple_of(2);
        let mut kept: Option<Client> = None;
        for number in 0.. {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            let close = if keep { "" } else { "Connection: close\r\n" };
            let request = format!("GET /{thread}/{number} HTTP/1.1\r\nHost: h\r\n{close}\r\n");
            match self.call(kept.take(), &request) {
                Ok((200, client)) => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    kept = client.filter(|_| keep);
                }
                Ok((status, _)) => self.fail(format!("{status} for {request}")),
                Err(error) => self.fail(format!("{error} for {request}")),
            }
            pause(Duration::from_millis(2));
        }
    }

    /// One request; the connection comes back if it may be used again.
    fn call(&self, kept: Option<Client>, request: &str) -> io::Result<(u16, Option<Client>)> {
        let mut client = match kept {
            Some(client) => client,
            None => Client::try_connect(self.to)?,
        };
        client.send(request.as_bytes())?;
        let answer = client.receive(false)?;
        let over = answer.header_text("connection").as_deref() == Some("close");
        Ok((answer.status(), (!over).then_some(client)))
    }

    fn fail(&self, what: String) {
        self.failures.lock().unwrap().push(what);
    }

    /// Waits until so many more have been answered.
    fn goes_on(&self) {
        let now = self.answered.load(Ordering::Relaxed);
        wait_for("the load goes on", || {
            self.answered.load(Ordering::Relaxed) > now + 100
                || !self.failures.lock().unwrap().is_empty()
        });
    }
}

/// Nothing is missing, nothing is there twice, and it is as many as were answered.
#[track_caller]
fn account(log: &TestLog, agents: usize, ended: &[Value], answered: usize) {
    let sum: u64 = ended.iter().map(|report| report["recorded"].as_u64().unwrap()).sum();
    assert_eq!(sum, answered as u64, "{ended:?}");
    assert!(ended.iter().all(|report| report["lost"].as_object().unwrap().is_empty()), "{ended:?}");
    let audit = Umbra::new("audit").arg(log.arg()).flag("output", "json").run();
    assert_eq!(audit.code, Some(0), "{}\n{}", audit.stdout, audit.stderr);
    let audit = audit.json();
    assert_eq!((&audit["missing"], &audit["duplicates"]), (&0.into(), &0.into()), "{audit}");
    let found = audit["agents"].as_array().unwrap();
    assert_eq!(found.len(), agents, "{audit}");
    assert!(found.iter().all(|agent| agent["ended"] == "clean"), "{audit}");
}

/// One agent after the other, each started while the one before serves.
fn hand_over(log: &TestLog) {
    let (upstream, dir) = (upstream(), tempfile::tempdir().unwrap());
    let path = dir.path().join("handover");
    let start = || {
        Umbra::agent(log, upstream.address)
            .flag("handover", path.to_str().unwrap())
            .flag("admin", "127.0.0.1:0")
            .flag("credentials", "keep")
            .flag("output", "json")
            .start()
    };
    let mut agent = start();
    let address = agent.listen();
    let mut ended = Vec::new();
    let answered = Steady::new(address).during(|load| {
        load.goes_on();
        for _ in 0..3 {
            let successor = start();
            let before = std::mem::replace(&mut agent, successor);
            assert_eq!(agent.listen(), address);
            load.goes_on();
            ended.push(finished(before));
        }
    });
    ended.push(stopped(agent));
    account(log, 4, &ended, answered);
    assert!(!path.exists(), "the last one takes its socket with it");
}

fn finished(agent: Running) -> Value {
    let ended = agent.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.json()
}

fn stopped(agent: Running) -> Value {
    agent.signal("TERM");
    finished(agent)
}

#[test]
fn an_agent_takes_over_from_another_one_embedded_log() {
    hand_over(&TestLog::file());
}

#[test]
fn an_agent_takes_over_from_another_one_kafka() {
    hand_over(&TestLog::kafka("handover"));
}

/// As systemd does it: somebody else has the socket, and passes it to one process after
/// the other, each of which is told to end before the next one begins.
#[test]
fn a_socket_is_passed_to_one_agent_after_the_other() {
    let (upstream, log) = (upstream(), TestLog::file());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let start = |listen: &str| {
        Umbra::agent_at(&log, upstream.address, listen)
            .flag("output", "json")
            .passed(OwnedFd::from(listener.try_clone().unwrap()), "web")
            .start()
    };
    let (mut ended, mut last) = (Vec::new(), None);
    let answered = Steady::new(address).during(|load| {
        for listen in ["fd:web", "fd:3", "fd:web", "fd:web"] {
            if let Some(before) = last.take() {
                // What comes now waits in the socket's queue for the next one.
                ended.push(stopped(before));
            }
            let agent = start(listen);
            assert_eq!(agent.listen(), address);
            load.goes_on();
            last = Some(agent);
        }
    });
    ended.extend(last.map(stopped));
    account(&log, 4, &ended, answered);
    drop(listener);
}

#[test]
fn sockets_that_cannot_be_had_are_told() {
    let (log, upstream) = (TestLog::file(), Shadow::start(Manner::Answer(200)));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, "not a socket").unwrap();
    let unix = format!("unix:{}", path.display());
    for (listen, what) in [("fd:web", "LISTEN_FDS"), (unix.as_str(), "no socket")] {
        let ended = Umbra::agent_at(&log, upstream.address(), listen).run();
        assert_eq!(ended.code, Some(69), "{}", ended.stderr);
        assert!(ended.stderr.contains(what), "{}", ended.stderr);
    }
    let ended = Umbra::agent(&log, upstream.address())
        .flag("tls-cert", "/does/not/exist.crt")
        .flag("tls-key", path.to_str().unwrap())
        .flag("upstream-ca", path.to_str().unwrap())
        .flag("upstreams", "host=a,upstream=ftp://b")
        .run();
    assert_eq!(ended.code, Some(64), "{}", ended.stderr);
    for word in ["exist.crt", "no usable private key", "--upstream-ca", "--upstreams"] {
        assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    }
}

#[test]
fn the_table_of_upstreams_stands_in_the_configuration_file() {
    let log = TestLog::file();
    let [rest, api] = [Shadow::start(Manner::Answer(200)), Shadow::start(Manner::Answer(201))];
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("umbra.yaml");
    let table = format!(
        "capture:\n  upstreams:\n    - host: '*.example.com'\n      path: /api\n      upstream: {}\n",
        api.url()
    );
    std::fs::write(&file, table).unwrap();
    let agent = Umbra::agent(&log, rest.address()).flag("config", file.to_str().unwrap()).start();
    let mut client = Client::connect(agent.listen());
    let mut ask = |host: &str, path: &str| {
        client.call(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).status()
    };
    assert_eq!(ask("a.example.com", "/api/1"), 201);
    assert_eq!(ask("a.example.com", "/"), 200);
    assert_eq!(ask("example.com", "/api/1"), 200);
    agent.stop();
}

const WEBSOCKET_SERVER: &str = r"
import asyncio, websockets.asyncio.server as ws
async def echo(socket):
    async for message in socket:
        await socket.send(message)
async def main():
    async with ws.serve(echo, '127.0.0.1', 0) as server:
        print('port', server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()
asyncio.run(main())
";

const WEBSOCKET_CLIENT: &str = r"
import sys, websockets.sync.client as ws
with ws.connect(sys.argv[1], proxy=None) as socket:
    for message in ['hello', b'\x00\xff' * 70000, 'end']:
        socket.send(message)
        assert socket.recv() == message
    socket.ping().wait(10)
print('closed with', socket.close_code)
";

#[test]
fn websockets_pass_and_their_handshake_is_recorded() {
    let python = || Command::new(venv().join("bin/python"));
    let mut server = python();
    server.args(["-u", "-c", WEBSOCKET_SERVER]);
    let (_server, port) = Service::start(server, |output| {
        output.strip_prefix("port ")?.lines().next()?.parse::<u16>().ok()
    });
    let log = TestLog::file();
    let agent = Umbra::agent(&log, format!("127.0.0.1:{port}")).start();
    let url = format!("ws://{}/chat?room=1", agent.listen());
    let client = python().args(["-c", WEBSOCKET_CLIENT, &url]).output().unwrap();
    let told = String::from_utf8_lossy(&client.stdout).into_owned();
    assert_eq!(told.trim(), "closed with 1000", "{}", String::from_utf8_lossy(&client.stderr));
    agent.stop();
    let cat = Umbra::new("log cat").arg(log.arg()).flag("output", "json").run();
    let records: Vec<Value> =
        cat.stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let [record] = &records[..] else { panic!("{}", cat.stdout) };
    assert_eq!((&record["path"], &record["tunnel"]), (&"/chat".into(), &true.into()), "{record}");
    assert_eq!(record["response"]["status"], 101, "{record}");
    // The handshake alone: neither side's frames.
    assert_eq!(record["body"], Value::Null, "{record}");
    let shadow = Shadow::start(Manner::Answer(200));
    let result = Umbra::new("replay")
        .flag("log", log.arg())
        .flag("target", shadow.url())
        .flag("rate", "max")
        .result();
    let skipped = &result["targets"]["shadow"]["skipped"];
    assert_eq!(skipped["tunnel"], 1, "{result}");
    assert_eq!(shadow.count(), 0);
}

/// Prints what an idle connection costs an agent, and bounds it.
#[test]
fn idle_connections_cost_little() {
    let (upstream, log) = (upstream(), TestLog::file());
    let agent = Umbra::agent(&log, upstream.address)
        .flag("threads", "2")
        .flag("idle-timeout", "10m")
        .flag("max-connections", "10000")
        .flag("path", "/none")
        .start();
    let to = agent.listen();
    // Once in use, so that only what is a connection's own is added.
    (0..20).for_each(|_| assert_eq!(get(to, "/").status(), 200));
    let before = agent.resident();
    let most = most_connections();
    let mut kept: Vec<TcpStream> = Vec::with_capacity(most);
    for _ in 0..most {
        // Each has had a request, and waits for the next one.
        let mut stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let mut answer = [0; 512];
        let n = stream.read(&mut answer).unwrap();
        assert!(answer[..n].starts_with(b"HTTP/1.1 200"));
        kept.push(stream);
    }
    let each = agent.resident().saturating_sub(before) / most;
    println!("{most} idle connections: {each} bytes each");
    assert!(each < 8 << 10, "{each} bytes for each of {most} idle connections");
    drop(kept);
    agent.stop();
}

/// What this process may have open, less what other tests need, and what an agent takes
/// twice.
fn most_connections() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it cannot be raised, there are fewer.
    let _ = setrlimit(Resource::Nofile, limit);
    let open = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
    (usize::try_from(open).unwrap().saturating_sub(1000) / 2).clamp(100, 10_000)
}
