//! Production's answers against the shadow's: planted faults are found and named, and
//! nothing else is.

use std::{
    collections::HashMap,
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    api::{Api, Reply},
    client::{Client, get},
    httpbin::Httpbin,
    logs::TestLog,
    pause,
    process::Umbra,
    wait_for,
    wire::{Message, Reader},
};

/// Path of a request.
fn path(request: &Message) -> &str {
    request.start.split(' ').nth(1).unwrap()
}

/// The number at the end of the path.
fn number(request: &Message) -> u64 {
    path(request).rsplit('/').next().unwrap().parse().unwrap()
}

/// Sends `GET path` for each, over several connections.
fn drive(agent: SocketAddr, paths: &[String]) {
    std::thread::scope(|scope| {
        for chunk in paths.chunks(paths.len().div_ceil(8)) {
            scope.spawn(move || {
                let mut client = Client::connect(agent);
                for path in chunk {
                    let answer = client
                        .call(format!("GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n").as_bytes());
                    assert!(answer.status() >= 200, "{path}");
                }
            });
        }
    });
}

/// A recording of these paths in front of `service`.
fn record(service: &Api, paths: &[String]) -> TestLog {
    let log = TestLog::file();
    record_into(&log, service, paths);
    log
}

fn record_into(log: &TestLog, service: &Api, paths: &[String]) {
    let agent = Umbra::agent(log, service.address).start();
    drive(agent.listen(), paths);
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

fn numbered(endpoint: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("/{endpoint}/{number}")).collect()
}

/// The finding at this endpoint and field.
fn finding<'a>(result: &'a Value, endpoint: &str, field: &str) -> Option<&'a Value> {
    let findings = result["compare"]["findings"].as_array().unwrap();
    findings.iter().find(|one| one["endpoint"] == endpoint && one["field"] == field)
}

#[test]
fn recorded_answers_are_compared_with_the_shadows() {
    let users = |email: &str| {
        let email = email.to_owned();
        move |request: &Message| Reply::json(format!(r#"{{"id":{}{email}}}"#, number(request)))
    };
    let v1 = Api::start(users(r#","email":"a@example.com""#));
    let v2 = Api::start(users(""));
    let log = record(&v1, &numbered("users", 200));

    let replay = |target: &Api, job: &str| {
        Umbra::new("replay")
            .flag("log", log.arg())
            .flag("target", target.url())
            .flag("rate", "max")
            .flag("job", job)
            .flag("compare", "")
            .flag("fail-on", "different")
    };
    let same = replay(&v1, "same").flag("allow-production", "").result();
    assert_eq!(same["compare"]["verdict"], "same", "{same}");
    assert_eq!(same["compare"]["compared"], 200, "{same}");
    assert_eq!(same["compare"]["equal"], 200, "{same}");

    let ended = replay(&v2, "different").flag("output", "json").run();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("the answers are different"), "{}", ended.stderr);
    let different = ended.json();
    assert_eq!(different["compare"]["verdict"], "different", "{different}");
    let found = finding(&different, "GET /users/{id}", "body.email").unwrap();
    assert_eq!(found["kind"], "missing");
    assert_eq!(found["class"], "confirmed");
    assert_eq!(found["b"], 200);
}

/// An instance of the shop. What is random in its answers differs from that of another
/// instance and from answer to answer, and is the same in each run of a test.
fn instance(number: u64, v2: bool) -> Api {
    let asked = Mutex::new(HashMap::<String, u64>::new());
    Api::start(move |request| {
        // Replays beside each other are told apart by a field.
        let run = request.header_text("x-run").unwrap_or_default();
        let what = format!("{number} {run} {}", path(request));
        let times = *asked.lock().unwrap().entry(what.clone()).and_modify(|n| *n += 1).or_default();
        shop(request, v2, Dice::of(&format!("{what} {times}")))
    })
}

struct Dice(u64);

impl Dice {
    fn of(seed: &str) -> Self {
        Self(seed.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn uuid(&mut self) -> String {
        let (a, b) = (self.roll(), self.roll());
        let (a, b) = (format!("{a:016x}"), format!("{b:016x}"));
        format!("{}-{}-4{}-a{}-{}", &a[..8], &a[8..12], &a[13..16], &b[1..4], &b[4..16])
    }
}

/// Bytes in gzip's framing, not compressed.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    let length = u16::try_from(bytes.len()).unwrap();
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend_from_slice(bytes);
    out.extend((!crc).to_le_bytes());
    out.extend(u32::from(length).to_le_bytes());
    out
}

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// The example service: volatile where services are. `v2`: with a fault at each endpoint.
fn shop(request: &Message, v2: bool, mut dice: Dice) -> Reply {
    let n = number(request);
    let endpoint = path(request).split('/').nth(1).unwrap();
    let json = |v1: String, with_fault: String| Reply::json(if v2 { with_fault } else { v1 });
    match endpoint {
        "missing" => json(format!(r#"{{"id":{n},"email":"a@b.c"}}"#), format!(r#"{{"id":{n}}}"#)),
        "added" => json(format!(r#"{{"id":{n}}}"#), format!(r#"{{"id":{n},"debug":true}}"#)),
        "type" => json(format!(r#"{{"count":{n}}}"#), format!(r#"{{"count":"{n}"}}"#)),
        "value" => {
            // Any two answers of one version differ in 30 % of the requests; of the new
            // one's, one in ten is wrong.
            let noisy = dice.roll() % 1000 < 163;
            let off = v2 && dice.roll().is_multiple_of(10);
            let price = if noisy {
                dice.roll() % 1000
            } else if off {
                n + 1
            } else {
                n
            };
            Reply::json(format!(r#"{{"price":{price}}}"#))
        }
        "error" if v2 && n.is_multiple_of(100) => {
            Reply::new(500, &[("Content-Type", "text/plain")], "oops")
        }
        "error" => Reply::json(format!(r#"{{"ok":{n}}}"#)),
        "header" if v2 => Reply::json("{}"),
        "header" => Reply::new(200, &[JSON, ("X-Api-Version", "7")], "{}"),
        "cookie" => {
            let flags = if v2 { "HttpOnly" } else { "HttpOnly; Secure" };
            Reply::new(200, &[JSON, ("Set-Cookie", &format!("sid={n}; Path=/; {flags}"))], "{}")
        }
        "order" => {
            json(format!(r#"{{"tags":["a","b",{n}]}}"#), format!(r#"{{"tags":["b","a",{n}]}}"#))
        }
        "cut" => json(format!(r#"{{"a":{n},"b":[1,2,3]}}"#), format!(r#"{{"a":{n},"b":[1,"#)),
        "charset" => {
            let charset = if v2 { "iso-8859-1" } else { "utf-8" };
            Reply::new(200, &[("Content-Type", &format!("text/plain; charset={charset}"))], "hello")
        }
        "gzip" if v2 => Reply::json(format!(r#"{{"n":{n}}}"#)),
        "gzip" => Reply::new(
            200,
            &[JSON, ("Content-Encoding", "gzip")],
            gzip(format!(r#"{{"n":{n}}}"#).as_bytes()),
        ),
        "redirect" => {
            let to = if v2 { format!("/new/{n}") } else { format!("/old/{n}") };
            Reply::new(302, &[("Location", &to)], "")
        }
        "slow" => {
            let time = if v2 { Duration::from_millis(50) } else { Duration::ZERO };
            Reply::json(format!(r#"{{"n":{n}}}"#)).after(time)
        }
        "uuid" => {
            let trace = if v2 { String::new() } else { dice.uuid() };
            Reply::json(format!(r#"{{"n":{n},"trace":"{trace}"}}"#))
        }
        // Nothing is wrong with it, but hardly two answers are equal.
        _ => Reply::new(
            200,
            &[JSON, ("Date", &format!("{}", dice.roll())), ("X-Request-Id", &dice.uuid())],
            format!(
                r#"{{"n":{n},"at":{},"id":"{}","roll":{},"rare":{}}}"#,
                dice.roll() % 1_000_000,
                dice.uuid(),
                dice.roll() % 6,
                u8::from(dice.roll().is_multiple_of(50))
            ),
        ),
    }
}

/// A replay of everything, as fast as it goes, with the answers compared.
fn comparing(log: &TestLog, target: &str) -> Umbra {
    Umbra::new("replay")
        .flag("log", log.arg())
        .flag("target", target)
        .flag("rate", "max")
        .flag("concurrency", "16")
        .flag("allow-production", "")
        .flag("compare", "")
}

#[test]
fn planted_faults_are_found_and_named_and_nothing_else_is() {
    let small = [
        "missing", "added", "type", "header", "cookie", "order", "cut", "charset", "gzip",
        "redirect", "slow", "uuid", "volatile",
    ];
    let mut paths: Vec<String> = small.iter().flat_map(|one| numbered(one, 120)).collect();
    paths.extend(numbered("error", 1200));
    paths.extend(numbered("value", 1000));
    let (v1, second, third) = (instance(1, false), instance(2, false), instance(3, false));
    let v2 = instance(4, true);
    let log = record(&v1, &paths);

    let dir = tempfile::tempdir().unwrap();
    let report = |ending: &str| dir.path().join(format!("report.{ending}"));
    let mut replay = comparing(&log, &format!("v2={}", v2.url()))
        .flag("target", format!("old={}", second.url()))
        .flag("target", format!("twin={}", third.url()))
        .flag("baseline", "old")
        .flag("noise", "twin")
        .flag("fail-on", "different,failed>50%,p99>+1000000%")
        .flag("output", "json");
    for ending in ["html", "json", "md", "xml", "txt"] {
        replay = replay.flag("report", report(ending).display().to_string());
    }
    let ended = replay.run();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let result = ended.json();
    let compare = &result["compare"];
    assert_eq!(compare["compared"], paths.len(), "{compare}");
    assert_eq!(compare["verdict"], "different");
    for target in ["v2", "old", "twin"] {
        assert_eq!(result["targets"][target]["sent"], paths.len(), "{target}");
    }

    let expected = [
        ("missing", "body.email", "missing"),
        ("added", "body.debug", "added"),
        ("type", "body.count", "type"),
        ("value", "body.price", "value"),
        ("error", "status", "value"),
        ("header", "header:x-api-version", "missing"),
        ("cookie", "set-cookie:sid;secure", "missing"),
        ("order", "body.tags", "order"),
        ("charset", "header:content-type", "value"),
        ("redirect", "header:location", "value"),
        ("slow", "latency", "slower"),
        ("uuid", "body.trace", "shape"),
    ];
    let findings = compare["findings"].as_array().unwrap();
    let counts = |one: &Value| matches!(one["class"].as_str(), Some("confirmed" | "shape"));
    let text = serde_json::to_string_pretty(findings).unwrap();
    for (endpoint, field, kind) in expected {
        let endpoint = format!("GET /{endpoint}/{{id}}");
        let found = findings.iter().any(|one| {
            counts(one)
                && one["endpoint"] == endpoint.as_str()
                && one["field"] == field
                && one["kind"] == kind
        });
        assert!(found, "{endpoint} {field} {kind} in {text}");
    }
    let at = |endpoint: &str| {
        let endpoint = format!("GET /{endpoint}/{{id}}");
        let of = |one: &&Value| one["endpoint"] == endpoint.as_str();
        findings.iter().filter(of).cloned().collect::<Vec<Value>>()
    };
    assert!(at("cut").iter().any(counts), "{text}");
    // Gzip that was dropped is noted, and no difference in content.
    assert!(!at("gzip").iter().any(counts), "{text}");
    assert!(at("gzip").iter().any(|one| one["class"] == "note"), "{text}");
    assert!(!at("volatile").iter().any(counts), "{text}");
    let latency = &compare["targets"]["v2"]["endpoints"][0]["latency"];
    assert_eq!(latency["same_load"], true, "{latency}");

    assert!(ended.stderr.contains("the answers are different"), "{}", ended.stderr);
    for ending in ["html", "json", "md", "xml", "txt"] {
        let text = std::fs::read_to_string(report(ending)).unwrap();
        assert!(text.contains("/missing/{id}"), "{ending}");
    }
}

/// Refuses connections for a moment after every so many requests.
fn refusing(every: usize) -> (SocketAddr, impl Drop) {
    struct Stop(Arc<AtomicBool>, Option<JoinHandle<()>>, SocketAddr);
    impl Drop for Stop {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
            let _ = TcpStream::connect(self.2);
            let _ = self.1.take().unwrap().join();
        }
    }
    let mut listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = std::thread::spawn(move || {
        let mut served = 0;
        while !stopped.load(Ordering::SeqCst) {
            let Ok((mut stream, _)) = listener.accept() else { continue };
            let mut reader = Reader::new(stream.try_clone().unwrap());
            if let Ok(Some(request)) = reader.request() {
                let body = format!("{{\"n\":{}}}", number(&request));
                let fields = "Content-Type: application/json\r\nConnection: close\r\n";
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
                );
                served += 1;
            }
            drop(stream);
            if served == every {
                served = 0;
                drop(listener);
                pause(Duration::from_millis(20));
                listener = TcpListener::bind(address).unwrap();
            }
        }
    });
    (address, Stop(stop, Some(thread), address))
}

#[test]
fn refused_connections_are_a_difference_unless_the_target_is_down() {
    let old = Api::start(|request| Reply::json(format!(r#"{{"n":{}}}"#, number(request))));
    let log = record(&old, &numbered("n", 600));
    let (address, _server) = refusing(50);
    let result =
        comparing(&log, &format!("http://{address}")).flag("target-connect-timeout", "2s").result();
    let compare = &result["compare"];
    assert_eq!(result["targets"]["shadow"]["sent"], 600, "{result}");
    assert_eq!(compare["verdict"], "different", "{compare}");
    let found = finding(&result, "GET /n/{id}", "failure").unwrap();
    assert_eq!((&found["class"], &found["kind"]), (&"confirmed".into(), &"added".into()));
    assert!(compare["failed"].as_u64().unwrap() >= 8, "{compare}");
}

#[test]
fn the_same_version_is_never_found_different() {
    let (v1, second, third) = (instance(1, false), instance(2, false), instance(3, false));
    let mut paths = numbered("volatile", 500);
    paths.extend(numbered("value", 300));
    paths.extend(numbered("uuid", 200));
    let log = record(&v1, &paths);
    let (log, v1, second, third) = (&log, &v1, &second, &third);
    std::thread::scope(|scope| {
        for first in 0..4 {
            scope.spawn(move || {
                for run in (first..20).step_by(4) {
                    let result = comparing(log, &format!("v2={}", v1.url()))
                        .flag("set-header", format!("x-run: {run}"))
                        .flag("target", format!("old={}", second.url()))
                        .flag("target", format!("twin={}", third.url()))
                        .flag("baseline", "old")
                        .flag("noise", "twin")
                        .flag("ignore", "latency")
                        .result();
                    let compare = &result["compare"];
                    assert_eq!(compare["compared"], 1000, "{compare}");
                    let findings = compare["findings"].as_array().unwrap();
                    let wrong =
                        |one: &&Value| matches!(one["class"].as_str(), Some("confirmed" | "shape"));
                    assert_eq!(findings.iter().find(wrong), None, "{compare}");
                }
            });
        }
    });
}

#[test]
fn noise_is_learned_and_used_and_answers_are_judged_again_by_other_rules() {
    let v1 = Httpbin::start();
    let v2 = Httpbin::start();
    let log = TestLog::file();
    let agent = Umbra::agent(&log, v1.address).start();
    let mut paths = Vec::new();
    for number in 0..60 {
        paths.extend([format!("/uuid?n={number}"), format!("/anything/a?n={number}")]);
        paths.extend([format!("/cookies/set?n={number}"), "/xml".to_owned()]);
    }
    drive(agent.listen(), &paths);
    assert_eq!(agent.stop().code, Some(0));
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).display().to_string();

    let replay = |job: &str| {
        comparing(&log, &format!("v2=http://{}", v2.address))
            .flag("job", job)
            .flag("share", "10%")
            .flag("outcomes", file(job))
    };
    // Volatile fields are not told from changes, and no finding is confirmed.
    let learned = replay("learn").flag("learn", file("profile")).result();
    assert_eq!(learned["compare"]["verdict"], "unsure", "{}", learned["compare"]);
    assert_eq!(finding(&learned, "GET /uuid", "body.uuid").unwrap()["class"], "new");
    let result = replay("profile").flag("noise-profile", file("profile")).result();
    assert_eq!(result["compare"]["verdict"], "same", "{}", result["compare"]);
    assert_eq!(result["compare"]["compared"], paths.len());

    let again = || Umbra::new("compare").arg(log.arg()).flag("job", "learn");
    let same = again().flag("share", "10%").flag("ignore", "body.uuid").result();
    assert_eq!(same["verdict"], "same", "{same}");
    assert_eq!(same["compared"], paths.len(), "{same}");
    let ended = again().flag("fail-on", "unsure").run();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
}

#[test]
fn a_log_without_answers_is_refused_with_the_remedy() {
    let v1 = instance(1, false);
    let log = TestLog::file();
    let agent = Umbra::agent(&log, v1.address).flag("responses", "off").start();
    drive(agent.listen(), &numbered("volatile", 20));
    assert_eq!(agent.stop().code, Some(0));
    let before = v1.answered();
    let ended = comparing(&log, &v1.url()).run();
    assert_eq!(ended.code, Some(65), "{}", ended.stderr);
    assert!(ended.stderr.contains("--baseline TARGET"), "{}", ended.stderr);
    assert_eq!(v1.answered(), before, "nothing is sent");
}

#[test]
fn two_replicas_add_up_to_one_verdict() {
    let v1 = instance(1, false);
    let v2 = instance(4, true);
    let log = TestLog::kafka("compare");
    let mut paths = numbered("missing", 400);
    paths.extend(numbered("volatile", 400));
    record_into(&log, &v1, &paths);
    let replica = || {
        comparing(&log, &format!("v2={}", v2.url()))
            .flag("job", "two")
            .flag("output", "json")
            .spawn()
    };
    let (one, other) = (replica(), replica());
    let (one, other) = (one.wait(), other.wait());
    let sent = |ended: &crate::support::process::Ended| {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let result = ended.json();
        let compare = &result["compare"];
        assert_eq!(compare["compared"], paths.len(), "{compare}");
        let found = finding(&result, "GET /missing/{id}", "body.email").unwrap();
        assert_eq!(found["b"], 400, "{compare}");
        result["targets"]["v2"]["sent"].as_u64().unwrap()
    };
    assert_eq!(sent(&one) + sent(&other), paths.len() as u64);
}

#[test]
fn a_live_comparison_is_seen_while_it_runs() {
    let v1 = instance(1, false);
    let v2 = instance(4, true);
    let log = TestLog::file();
    let agent = Umbra::agent(&log, v1.address).start();
    let replay = Umbra::new("replay")
        .flag("log", log.arg())
        .flag("live", "")
        .flag("target", format!("v2={}", v2.url()))
        .flag("admin", "127.0.0.1:0")
        .flag("compare", "")
        .flag("output", "json")
        .start();
    let compared = || replay.metric("umbra_compare_total{");
    wait_for("answers are compared", || {
        drive(agent.listen(), &numbered("missing", 20));
        compared() >= 100.0
    });
    wait_for("the verdict is in the metrics", || {
        drive(agent.listen(), &numbered("missing", 20));
        replay.metric("umbra_compare_verdict{") == 2.0
            && replay.metric("umbra_compare_findings{") >= 1.0
    });
    let page = get(replay.admin(), "/report");
    assert!(page.text().contains("/missing/{id}"), "{}", page.text());
    let report = get(replay.admin(), "/report.json").text();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["targets"][0]["compare"]["verdict"], "different", "{report}");
    assert_eq!(agent.stop().code, Some(0));
    let ended = replay.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.json()["compare"]["verdict"], "different");
}

#[test]
fn a_mirror_compares_too() {
    let v1 = instance(1, false);
    let v2 = instance(4, true);
    let log = TestLog::file();
    let mirror = Umbra::new("mirror")
        .flag("listen", "127.0.0.1:0")
        .flag("upstream", v1.url())
        .flag("target", v2.url())
        .flag("log", log.arg())
        .flag("compare", "")
        .flag("fail-on", "different")
        .flag("output", "json")
        .start();
    drive(mirror.listen(), &numbered("missing", 100));
    let ended = mirror.stop();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let result = ended.json();
    let compare = &result["replay"]["compare"];
    assert_eq!(compare["verdict"], "different", "{compare}");
    assert_eq!(compare["compared"], 100, "{compare}");

    let off = Umbra::new("mirror")
        .flag("listen", "127.0.0.1:0")
        .flag("upstream", v1.url())
        .flag("target", v2.url())
        .flag("compare", "")
        .flag("responses", "off")
        .run();
    assert_eq!(off.code, Some(64), "{}", off.stderr);
}

#[test]
fn flags_that_cannot_be_meant_are_refused_and_rules_are_explained() {
    let refused = |umbra: Umbra, words: &str| {
        let ended = umbra.run();
        assert_eq!(ended.code, Some(64), "{}", ended.stderr);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    };
    let replay = || Umbra::new("replay").flag("target", "v2=http://127.0.0.1:9");
    refused(replay().flag("fail-on", "different"), "needs --compare");
    let comparing = || replay().flag("compare", "");
    refused(comparing().flag("baseline", "v1"), "there is no --target v1=URL");
    refused(comparing().flag("baseline", "v2"), "no target is left");
    refused(comparing().flag("fail-on", "slow"), "fail-on");
    refused(comparing().flag("report", "report.doc"), "report");
    refused(comparing().flag("ignore", "nowhere"), "not a field");

    let explained = Umbra::new("explain")
        .arg("GET /users/7?x=1 Host: shop")
        .flag("skip-host", "shop")
        .flag("ignore", "GET /users/{id} body.age")
        .flag("ignore", "GET /other header:x")
        .result();
    assert_eq!(explained["selected"], false, "{explained}");
    assert!(explained["why"].as_str().unwrap().contains("skip-host"), "{explained}");
    assert_eq!(explained["endpoint"], "GET /users/{id}");
    assert_eq!(explained["rules"], serde_json::json!(["GET /users/{id} body.age"]));
}
