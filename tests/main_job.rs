//! The main job: what clients sent through an agent arrives at the shadow, byte
//! for byte, once, in order.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::support::{
    client::{Client, get},
    logs::TestLog,
    nginx::Nginx,
    process::{Running, Umbra},
    shadow::{Manner, Shadow},
    wait_for,
    wire::Message,
};

const CONNECTIONS: usize = 50;
const REQUESTS: usize = 10_000;

/// One request of the mix: its bytes, and what must arrive of it.
struct Sent {
    bytes: Vec<u8>,
    expected: Message,
}

/// The `number`th request of a connection. Sizes and shapes follow from the
/// numbers, so that a failure can be repeated.
fn mixed(connection: usize, number: usize) -> Sent {
    let serial = connection * (REQUESTS / CONNECTIONS) + number;
    let methods = ["GET", "HEAD", "POST", "POST", "PUT", "DELETE", "OPTIONS"];
    let mut method = methods[serial % methods.len()];
    let (mut length, mut chunked) = match serial % 10 {
        0..=3 => (None, false),
        4 => (Some(0), false),
        5..=7 => (Some(1024), false),
        8 => (Some(700), true),
        _ => (Some(100_000), true),
    };
    if serial.is_multiple_of(97) {
        (method, length, chunked) = ("POST", Some(1 << 20), serial.is_multiple_of(2));
    }
    if connection % 25 == 7 && number == 100 {
        (method, length, chunked) = ("POST", Some(30 << 20), connection.is_multiple_of(2));
    }
    if length.is_some() && matches!(method, "GET" | "HEAD" | "OPTIONS" | "DELETE") {
        method = "POST";
    }
    let path = format!("/mixed/{serial}/a%20b//c;p=1/%E4?x=1&y=%zz&&=&n={number}");
    let mut headers: Vec<(String, Vec<u8>)> = vec![
        ("Host".into(), b"Shop.Example:8080".to_vec()),
        ("X-Serial".into(), serial.to_string().into_bytes()),
        ("x-cOnnection".into(), connection.to_string().into_bytes()),
        ("X-Dup".into(), b"one".to_vec()),
        ("Accept".into(), b"*/*".to_vec()),
        ("X-Dup".into(), b"two, three".to_vec()),
        ("X-Latin".into(), vec![b'c', b'a', b'f', 0xe9, b' ', 0xff, 0x80]),
        ("X-Empty".into(), Vec::new()),
    ];
    let body: Vec<u8> = (0..length.unwrap_or(0)).map(|i| (i * 31 + serial) as u8).collect();
    let mut trailers = Vec::new();
    if chunked {
        headers.push(("Transfer-Encoding".into(), b"chunked".to_vec()));
        trailers =
            vec![("X-Check".to_owned(), vec![b's', 0xfe]), ("X-Check".to_owned(), b"2".to_vec())];
    } else if length.is_some() {
        headers.push(("Content-Length".into(), body.len().to_string().into_bytes()));
    }
    let start = format!("{method} {path} HTTP/1.1");
    let mut bytes = format!("{start}\r\n").into_bytes();
    let field = |bytes: &mut Vec<u8>, (name, value): &(String, Vec<u8>)| {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    };
    headers.iter().for_each(|header| field(&mut bytes, header));
    bytes.extend_from_slice(b"\r\n");
    if chunked {
        for chunk in body.chunks(9_999) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n");
        trailers.iter().for_each(|trailer| field(&mut bytes, trailer));
        bytes.extend_from_slice(b"\r\n");
    } else {
        bytes.extend_from_slice(&body);
    }
    Sent { bytes, expected: Message { start, headers, body, trailers, chunked } }
}

/// What the shadow must see of a message: the host marked, the marker left out.
fn as_shadowed(mut message: Message) -> Message {
    for (name, value) in &mut message.headers {
        if name == "Host" {
            *value = b"Shop.Example-shadow:8080".to_vec();
        }
    }
    message
}

fn without_marker(mut message: Message) -> Message {
    let marker = |(name, value): &(String, Vec<u8>)| {
        name.eq_ignore_ascii_case("via") && value.windows(12).any(|w| w == b"umbra-shadow")
    };
    assert_eq!(message.headers.iter().filter(|h| marker(h)).count(), 1, "{message:?}");
    message.headers.retain(|header| !marker(header));
    message
}

fn drive(agent: SocketAddr) {
    let answered = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            let answered = Arc::clone(&answered);
            scope.spawn(move || {
                let mut client = Client::connect(agent);
                for number in 0..REQUESTS / CONNECTIONS {
                    let sent = mixed(connection, number);
                    let answer = client.call(&sent.bytes);
                    assert_eq!(answer.status(), 200, "{}", sent.expected.start);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(answered.load(Ordering::Relaxed), REQUESTS);
}

/// Each request arrived once, whole, and after those before it on its connection.
fn check_arrivals(shadow: &Shadow) {
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    let mut seen = vec![0_u32; REQUESTS];
    for arrival in shadow.arrivals() {
        let number = |name| arrival.message.header_text(name).unwrap().parse::<usize>().unwrap();
        let (serial, connection) = (number("x-serial"), number("x-connection"));
        seen[serial] += 1;
        let sent = mixed(connection, serial - connection * (REQUESTS / CONNECTIONS));
        let (got, want) = (without_marker(arrival.message), as_shadowed(sent.expected));
        assert!(got == want, "got {:?}\nwant {:?}", got.headers, want.headers);
        let before = last.insert(connection, serial);
        assert!(before < Some(serial), "connection {connection}: {serial} after {before:?}");
    }
    let wrong: Vec<_> = seen.iter().enumerate().filter(|(_, n)| **n != 1).take(10).collect();
    assert!(wrong.is_empty(), "not exactly once: {wrong:?}");
}

fn agent(log: &TestLog, upstream: &str) -> Running {
    Umbra::new("capture")
        .flag("listen", "127.0.0.1:0")
        .flag("upstream", upstream)
        .flag("log", log.arg())
        .flag("max-body", "40MiB")
        .flag("memory", "1GiB")
        .flag("queue", "512MiB")
        .flag("admin", "127.0.0.1:0")
        .start()
}

fn mixed_requests_arrive(log: &TestLog, manner: Manner) {
    let upstream = Nginx::start("location / { return 200 ok; }");
    let agent = agent(log, &format!("http://{}", upstream.address));
    drive(agent.listen());
    let report = agent.stop();
    assert_eq!(report.code, Some(0), "{}", report.stderr);

    let shadow = Shadow::start(manner);
    let result = Umbra::new("replay")
        .flag("log", log.arg())
        .flag("target", shadow.url())
        .flag("rate", "max")
        .flag("order", "connection")
        // A connection with more than half of it waiting would lose its order.
        .flag("read-ahead", "256MiB")
        .result();
    assert_eq!(result["targets"]["shadow"]["order_lost"], 0, "{result}");
    assert_eq!(result["targets"]["shadow"]["sent"], REQUESTS, "{result}");
    assert_eq!(result["targets"]["shadow"]["answered"], REQUESTS, "{result}");
    assert_eq!(result["gaps"]["requests"], 0, "{result}");
    check_arrivals(&shadow);
}

#[test]
fn mixed_requests_arrive_through_the_embedded_log() {
    mixed_requests_arrive(&TestLog::file(), Manner::Answer(200));
}

#[test]
fn mixed_requests_arrive_through_kafka() {
    mixed_requests_arrive(&TestLog::kafka("mixed"), Manner::Answer(500));
}

/// Live: what comes in goes out, while it comes in.
fn live(log: &TestLog) {
    let upstream = Nginx::start("location / { return 200 ok; }");
    let shadow = Shadow::start(Manner::Answer(404));
    let agent = agent(log, &format!("http://{}", upstream.address));
    let replay = Umbra::new("replay")
        .flag("log", log.arg())
        .flag("live", "")
        .flag("target", format!("v2={}", shadow.url()))
        .flag("admin", "127.0.0.1:0")
        .flag("output", "json")
        .start();
    // A live replay begins with what is recorded after it has joined.
    wait_for("the replay takes part", || {
        get(agent.listen(), "/warm-up");
        shadow.count() > 0
    });
    let before = shadow.count();
    for number in 0..200 {
        assert_eq!(get(agent.listen(), &format!("/live/{number}")).text(), "ok");
    }
    let live = || shadow.arrivals().iter().filter(|a| a.message.start.contains("/live/")).count();
    wait_for("all requests arrive", || live() == 200);
    assert!(before > 0);
    wait_for("metrics tell of it", || replay.metric("umbra_replay_sent_total") >= 200.0);
    let ended = replay.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    // Nothing but 404: perhaps the shadow does not know the host.
    assert!(ended.stderr.contains("--shadow-host keep"), "{}", ended.stderr);
    let result = ended.json();
    assert_eq!(result["mode"], "live");
    assert!(result["targets"]["v2"]["status"]["404"].as_u64().unwrap() >= 200, "{result}");
    let report = agent.stop();
    assert_eq!(report.code, Some(0), "{}", report.stderr);
}

#[test]
fn live_through_the_embedded_log() {
    live(&TestLog::file());
}

#[test]
fn live_through_kafka() {
    live(&TestLog::kafka("live"));
}

#[test]
fn mirror_is_both_in_one_process() {
    let upstream = Nginx::start("location / { return 200 v1; }");
    let shadow = Shadow::start(Manner::Answer(200));
    let log = TestLog::file();
    let mirror = Umbra::new("mirror")
        .flag("listen", "127.0.0.1:0")
        .flag("upstream", format!("http://{}", upstream.address))
        .flag("target", shadow.url())
        .flag("log", log.arg())
        .flag("output", "json")
        .start();
    for number in 0..50 {
        assert_eq!(get(mirror.listen(), &format!("/m/{number}")).text(), "v1");
    }
    wait_for("all requests arrive", || shadow.count() == 50);
    let ended = mirror.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let result = ended.json();
    assert_eq!(result["capture"]["recorded"], 50, "{result}");
    assert_eq!(result["replay"]["targets"]["shadow"]["answered"], 50, "{result}");
}

#[test]
fn the_log_commands_show_what_was_recorded() {
    let upstream = Nginx::start("location / { return 201 made; }");
    let log = TestLog::file();
    let agent = agent(&log, &format!("http://{}", upstream.address));
    let mut client = Client::connect(agent.listen());
    let body = vec![7_u8; 2_000_000];
    let head = format!("POST /big?q HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len());
    client.call(&[head.as_bytes(), &body].concat());
    client.call(b"GET /small HTTP/1.1\r\nHost: h\r\n\r\n");
    drop(client);
    agent.stop();

    let info = Umbra::new("log info").arg(log.arg()).result();
    assert_eq!((&info["requests"], &info["responses"]), (&2.into(), &2.into()), "{info}");
    assert_eq!(info["hosts"]["h"], 2);
    let cat = Umbra::new("log cat").arg(log.arg()).flag("output", "json").run();
    let lines: Vec<serde_json::Value> =
        cat.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let big = lines.iter().find(|l| l["path"] == "/big").unwrap();
    assert_eq!(
        (&big["query"], &big["response"]["status"]),
        (&"q".into(), &201.into()),
        "{cat}",
        cat = cat.stderr
    );
    assert_eq!(big["complete"], true);
    let text = Umbra::new("log cat").arg(log.arg()).flag("path", "/small").run().stdout;
    assert!(text.contains("GET h/small 201"), "{text}");
}

#[test]
fn a_body_above_the_limit_arrives_cut_and_marked() {
    let upstream = Nginx::start("location / { return 200 ok; }");
    let log = TestLog::file();
    let agent = Umbra::agent(&log, upstream.address).flag("max-body", "1MiB").start();
    let body: Vec<u8> = (0..3 << 20).map(|i: u32| (i * 7) as u8).collect();
    let head = format!("POST /cut HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len());
    let answer = Client::connect(agent.listen()).call(&[head.as_bytes(), &body].concat());
    assert_eq!(answer.status(), 200);
    assert_eq!(agent.stop().code, Some(0));
    let shadow = Shadow::start(Manner::Answer(200));
    let result = Umbra::new("replay").flag("log", log.arg()).flag("target", shadow.url()).result();
    assert_eq!(result["targets"]["shadow"]["answered"], 1, "{result}");
    let arrived = &shadow.arrivals()[0].message;
    assert_eq!(arrived.body, body[..1 << 20]);
    let length = body.len().to_string();
    assert_eq!(arrived.header("x-umbra-truncated"), Some(length.as_bytes()));
}
