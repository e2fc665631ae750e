//! More clients than there are descriptors for: whoever is accepted is served, the
//! others wait outside.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::harness::{Agent, Client, Server, until};

const UPSTREAM: &str = "UMBRA_TEST_UPSTREAM";
const LISTENING: &str = "listening on ";
const DESCRIPTORS: u64 = 200;
const CLIENTS: usize = 260;
/// A good part of what two descriptors each would allow.
const AT_ONCE: usize = 60;
const AGAIN: usize = 30;

fn limit_files(to: Option<u64>) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = to.or(maximum);
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

/// A test in a process of its own, as the limit is one of the process.
fn alone(test: &str, upstream: Option<&Server>) -> Child {
    Command::new("/proc/self/exe")
        .args(["--exact", &format!("agent::descriptors::{test}"), "--ignored", "--nocapture"])
        .envs(upstream.map(|upstream| (UPSTREAM, upstream.address.to_string())))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn every_client_that_is_accepted_gets_its_answer() {
    limit_files(None);
    let released = Arc::new(AtomicBool::new(false));
    let release = Arc::clone(&released);
    let upstream = Server::start(move |client, server| {
        while client.request(server).is_some() {
            until("answers are given", || released.load(Ordering::SeqCst));
            client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let mut child = alone("alone_with_few_descriptors", Some(&upstream));
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let address = loop {
        let mut line = String::new();
        assert!(output.read_line(&mut line).unwrap() > 0, "the agent did not start");
        if let Some((_, address)) = line.split_once(LISTENING) {
            break address.trim().parse().unwrap();
        }
    };
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let mut client = Client::connect(address);
            client.send(format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"));
            client
        })
        .collect();
    // All of these are accepted and have an upstream connection each.
    until("many are served at once", || upstream.heads().len() >= AT_ONCE);
    assert!(upstream.heads().len() < DESCRIPTORS as usize / 2);
    release.store(true, Ordering::SeqCst);
    for client in &mut clients[..AGAIN] {
        assert_eq!(client.answer().status, 200);
    }
    for client in &mut clients[..AGAIN] {
        assert_eq!(client.get("/again").status, 200);
    }
    // Each that leaves makes room for another one.
    for (n, mut client) in clients.into_iter().enumerate() {
        if n >= AGAIN {
            assert_eq!(client.answer().status, 200, "client {n}");
        }
    }
    drop(child.stdin.take());
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "a part of another test, which needs a process of its own"]
fn alone_with_few_descriptors() {
    let upstream = std::env::var(UPSTREAM).unwrap().parse().unwrap();
    limit_files(Some(DESCRIPTORS));
    let agent = Agent::start(upstream, |_| {});
    println!("{LISTENING}{}", agent.address);
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    limit_files(None);
    let ended = agent.end();
    assert_eq!(ended.report.recorded, (CLIENTS + AGAIN) as u64);
    assert!(ended.responses().iter().all(|response| response.status == 200));
}

#[test]
fn a_request_waits_for_a_descriptor_that_others_have_taken() {
    let output = alone("alone_while_none_is_left", None).wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "a part of another test, which needs a process of its own"]
fn alone_while_none_is_left() {
    let upstream = Server::start(|client, server| {
        client.request(server);
        client.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    });
    let agent = Agent::start(upstream.address, |config| config.threads = 1);
    // The answer's end closes the connection to the upstream, not the client's.
    let mut clients = [agent.connect(), agent.connect()];
    for client in &mut clients {
        client.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\n");
        assert_eq!(client.answer().status, 200);
    }
    limit_files(Some(3));
    for client in &mut clients {
        client.send("Host: a\r\n\r\n");
    }
    std::thread::park_timeout(Duration::from_millis(300));
    assert_eq!(upstream.connections(), 2);
    limit_files(None);
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
    assert_eq!(agent.end().responses().len(), 4);
}
