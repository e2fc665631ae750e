//! What users get wrong, and what is wrong with their data: the exit code and the
//! words.

use std::net::TcpListener;

use crate::support::{
    client::{Client, get},
    logs::{TestLog, broker},
    nginx::Nginx,
    process::Umbra,
    shadow::{Manner, Shadow},
    wait_for,
};

#[track_caller]
fn fails(umbra: Umbra, code: i32, words: &[&str]) {
    let ended = umbra.run();
    assert_eq!(ended.code, Some(code), "{}\n{}", ended.stdout, ended.stderr);
    for word in words {
        assert!(ended.stderr.contains(word), "no `{word}` in:\n{}", ended.stderr);
    }
}

#[test]
fn all_problems_at_once_before_any_port_is_bound() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let umbra = Umbra::new("capture")
        .flag("listen", taken.local_addr().unwrap().to_string())
        .flag("upstream", "ftp://x")
        .flag("memory", "lots")
        .flag("percent", "101")
        .flag("path", "~(")
        .flag("no-such-flag", "1");
    let words = ["--upstream", "--memory", "--percent", "--no-such-flag", "~("];
    fails(umbra, 64, &words);
}

#[test]
fn times_and_rates_that_make_no_sense() {
    let replay = || Umbra::new("replay").flag("target", "http://127.0.0.1:1");
    fails(replay().flag("from", "2026-01-02").flag("to", "2026-01-01"), 64, &["--from"]);
    fails(replay().flag("from", "yesterday"), 64, &["--from", "yesterday"]);
    fails(replay().flag("rate", "0"), 64, &["--rate"]);
    fails(replay().flag("speed", "0"), 64, &["--speed"]);
    fails(replay().flag("speed", "-1"), 64, &["--speed"]);
    fails(replay().flag("rate", "5").flag("speed", "2"), 64, &["--rate", "--speed"]);
    fails(Umbra::new("replay"), 64, &["--target"]);
    fails(Umbra::new("replay").flag("target", "nonsense"), 64, &["--target", "nonsense"]);
}

#[test]
fn an_unknown_key_is_told_with_its_line_and_the_nearest() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("umbra.yaml");
    std::fs::write(&file, "capture:\n  listen: 127.0.0.1:0\n  upstreem: http://127.0.0.1:1\n")
        .unwrap();
    let path = file.to_str().unwrap();
    fails(Umbra::new("check").arg(path), 64, &[":3:", "upstreem", "`upstream`"]);
    fails(Umbra::new("capture").flag("config", path), 64, &[":3:", "upstreem", "`upstream`"]);
    let ended =
        Umbra::new("capture").flag("config", path).flag("upstream", "http://127.0.0.1:1").run();
    assert!(!ended.stderr.contains("is required"), "no false problems: {}", ended.stderr);
    std::fs::write(&file, "mirror: {listen: nonsense, upstream: 'ftp://x', target: zzz}\n")
        .unwrap();
    fails(Umbra::new("check").arg(path), 64, &["--listen", "--upstream", "--target", ":1)"]);
    std::fs::write(&file, "capture:\n  listen: 127.0.0.1:0\n  upstream: http://127.0.0.1:1\n")
        .unwrap();
    let good = Umbra::new("check").arg(path).run();
    assert_eq!(good.code, Some(0), "{}", good.stderr);
    fails(Umbra::new("check").arg("/no/such/file"), 66, &["/no/such/file"]);
}

#[test]
fn logs_that_are_not_there_or_are_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent");
    let target = "http://127.0.0.1:1";
    let replay = |log: &str| Umbra::new("replay").flag("log", log).flag("target", target);
    fails(replay(absent.to_str().unwrap()), 66, &["absent"]);
    fails(Umbra::new("log info").arg(absent.to_str().unwrap()), 66, &["absent"]);
    // A directory, but not a log.
    fails(replay(env!("CARGO_MANIFEST_DIR")), 66, &["is not a log"]);
    let text = dir.path().join("text.mcap");
    std::fs::write(&text, "this is not a recording, only some text that is long enough").unwrap();
    fails(Umbra::new("log info").arg(text.to_str().unwrap()), 65, &["text.mcap", "at byte 0"]);
    fails(replay("ftp://x/y"), 64, &["ftp"]);
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let log = format!("kafka://{port}/topic");
    let replay = Umbra::new("replay").flag("log", &log).flag("target", "http://127.0.0.1:1");
    fails(replay.flag("connect-timeout", "1s"), 69, &[&port.to_string()]);
    let capture =
        Umbra::new("capture").flag("listen", "127.0.0.1:0").flag("upstream", "http://127.0.0.1:1");
    fails(capture.flag("log", &log).flag("connect-timeout", "1s"), 69, &[&port.to_string()]);
    let absent = format!("kafka://{}/no-such-topic-{}", broker(), std::process::id());
    let replay = Umbra::new("replay").flag("log", &absent).flag("target", "http://127.0.0.1:1");
    fails(replay, 66, &["no-such-topic"]);
}

#[test]
fn properties_that_umbra_owns_are_refused() {
    let capture =
        Umbra::new("capture").flag("listen", "127.0.0.1:0").flag("upstream", "http://127.0.0.1:1");
    fails(capture.flag("kafka", "enable.idempotence=false"), 64, &["enable.idempotence"]);
}

#[test]
fn malformed_requests_get_an_answer_and_the_agent_lives_on() {
    let upstream = Nginx::start("location / { return 200 ok; }");
    let log = TestLog::file();
    let agent = Umbra::agent(&log, upstream.address).start();
    let bad: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS on a plain port\r\n\r\n",
    ];
    for bytes in bad {
        let answer = Client::connect(agent.listen()).call(bytes);
        assert_eq!(answer.status(), 400, "{}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(get(agent.listen(), "/still-there").status(), 200);
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn a_mirror_does_not_hit_its_own_upstream_by_accident() {
    let mirror = Umbra::new("mirror")
        .flag("listen", "127.0.0.1:0")
        .flag("upstream", "http://127.0.0.1:9")
        .flag("target", "http://127.0.0.1:9/v2");
    fails(mirror, 64, &["--target", "--allow-production"]);
}

#[test]
fn whoever_reads_the_result_may_stop_reading() {
    let log = TestLog::file();
    let upstream = Nginx::start("location / { return 200 ok; }");
    let agent = Umbra::agent(&log, upstream.address).start();
    let binary = env!("CARGO_BIN_EXE_umbra");
    let tail = format!("{binary} log tail {} 2>/dev/null | head -n 1", log.arg());
    let mut tail = std::process::Command::new("sh")
        .args(["-c", &tail])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the command ends with its reader", || {
        get(agent.listen(), "/again");
        tail.try_wait().unwrap().is_some()
    });
    agent.stop();
}

#[test]
fn production_is_not_hit_by_accident() {
    let upstream = Shadow::start(Manner::Answer(200));
    let log = TestLog::file();
    let agent = Umbra::new("capture")
        .flag("listen", "127.0.0.1:0")
        .flag("upstream", upstream.url())
        .flag("log", log.arg())
        .start();
    get(agent.listen(), "/once");
    agent.stop();
    let replay = || {
        Umbra::new("replay")
            .flag("log", log.arg())
            .flag("target", upstream.url())
            .flag("rate", "max")
    };
    fails(replay(), 64, &["--allow-production"]);
    assert_eq!(upstream.count(), 1);
    let allowed = replay().flag("allow-production", "").result();
    assert_eq!(allowed["targets"]["shadow"]["answered"], 1);
    assert_eq!(upstream.count(), 2);
}

#[test]
fn the_settings_that_hold_are_shown_with_their_source() {
    let shown = Umbra::new("replay")
        .env("UMBRA_SPEED", "2")
        .env("UMBRA_KAFKA", "sasl.password=hunter2")
        .flag("target", "http://127.0.0.1:1,set-header=X: hunter2")
        .flag("set-header", "Authorization: hunter2")
        .flag("print-config", "")
        .run();
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert!(shown.stdout.contains("speed: \"2\"  # UMBRA_SPEED"), "{}", shown.stdout);
    assert!(shown.stdout.contains("grace: \"60s\"  # default"), "{}", shown.stdout);
    assert!(!shown.stdout.contains("hunter2"), "{}", shown.stdout);
    let bad = Umbra::new("replay").env("UMBRA_SPEED", "-2").flag("target", "http://127.0.0.1:1");
    fails(bad, 64, &["--speed (UMBRA_SPEED)"]);
}
