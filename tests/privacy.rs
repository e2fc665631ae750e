//! Secrets that are sent through an agent are in nothing it leaves behind, and in nothing
//! that a replay leaves which puts them back.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::support::{
    api::{Api, Reply},
    client::Client,
    kcat,
    logs::TestLog,
    process::{Running, Umbra},
    wait_for,
};

const SECRET: &[u8] = b"s3cret";

fn upstream() -> Api {
    Api::start(|_| {
        let fields =
            [("Set-Cookie", "sid=s3cret-set; Path=/"), ("Content-Type", "application/json")];
        Reply::new(200, &fields, r#"{"token":"s3cret-answer","n":1}"#)
    })
}

/// Requests with secrets wherever one can stand.
fn send(agent: &Running) {
    let head = "Host: shop\r\nAuthorization: Bearer s3cret-auth\r\nCookie: sid=s3cret-sid\r\n\
        X-Api-Key: s3cret-key\r\nX-Custom: s3cret-custom\r\n";
    let mut client = Client::connect(agent.listen());
    client.call(format!("GET /get?token=s3cret-query&n=1 HTTP/1.1\r\n{head}\r\n").as_bytes());
    for (kind, body) in [
        ("application/json", r#"{"user":{"password":"s3cret-json"},"n":1}"#),
        ("application/x-www-form-urlencoded", "password=s3cret-form&n=1"),
        (
            "multipart/form-data; boundary=B",
            "--B\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\ns3cret-part\r\n--B--\r\n",
        ),
    ] {
        let length = body.len();
        let fields = format!("Content-Type: {kind}\r\nContent-Length: {length}\r\n");
        client.call(format!("POST /post HTTP/1.1\r\n{head}{fields}\r\n{body}").as_bytes());
    }
    client.call(
        format!(
            "POST /chunked HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\
             X-Custom: s3cret-trailer\r\n\r\n"
        )
        .as_bytes(),
    );
}

fn agent(log: &TestLog, upstream: &Api, action: &str) -> Umbra {
    Umbra::agent(log, upstream.address)
        .flag("credentials", action)
        .flag("redact", format!("tokens={action}"))
        .flag("redact", format!("header:x-custom={action}"))
        .flag("key", "header:Authorization")
        .flag("admin", "127.0.0.1:0")
        .flag("log-level", "trace")
        .flag("output", "json")
}

#[track_caller]
fn assert_silent(what: &str, bytes: &[u8]) {
    let found = bytes.windows(SECRET.len()).position(|at| at == SECRET);
    let around = |at: usize| &bytes[at.saturating_sub(60)..(at + 20).min(bytes.len())];
    assert!(found.is_none(), "{what}: {}", String::from_utf8_lossy(around(found.unwrap())));
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

/// Runs an agent, sends it everything, and looks at what it says and leaves.
fn silent(log: &TestLog, agent: Umbra) {
    let agent = agent.start();
    send(&agent);
    wait_for("all is recorded", || agent.metric("umbra_capture_recorded_total") >= 5.0);
    let admin = agent.admin();
    for path in ["/metrics", "/config", "/healthz"] {
        assert_silent(path, &crate::support::client::get(admin, path).body);
    }
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.json()["recorded"], 5);
    assert_silent("stderr", ended.stderr.as_bytes());
    assert_silent("stdout", ended.stdout.as_bytes());
    let shown = Umbra::new("log cat").arg(log.arg()).flag("output", "json").run();
    assert_eq!(shown.stdout.lines().count(), 5, "{}", shown.stderr);
    assert!(shown.stdout.contains("\"path\":\"/get\""), "{}", shown.stdout);
    assert_silent("umbra log cat", shown.stdout.as_bytes());
}

#[test]
fn no_secret_is_in_an_embedded_log_or_anything_else() {
    let upstream = upstream();
    std::thread::scope(|scope| {
        for action in ["seal", "hash", "drop"] {
            let upstream = &upstream;
            scope.spawn(move || {
                let log = TestLog::file();
                silent(&log, agent(&log, upstream, action));
                let TestLog::File(dir) = &log else { panic!("it is a file") };
                let files = files(dir.path());
                assert!(
                    files.iter().any(|file| file.to_string_lossy().contains(".keys/"))
                        == (action == "seal")
                );
                for file in files {
                    assert_silent(&file.to_string_lossy(), &fs::read(&file).unwrap());
                }
            });
        }
    });
}

#[test]
fn no_secret_is_in_a_topic_or_in_a_spool() {
    let log = TestLog::kafka("privacy");
    let upstream = upstream();
    let refused = agent(&log, &upstream, "seal").run();
    assert_eq!(refused.code, Some(64), "{}", refused.stderr);
    assert!(refused.stderr.contains("umbra keys new"), "{}", refused.stderr);

    // An agent on an embedded log has an identity made; others may seal to it.
    let home = tempfile::tempdir().unwrap();
    let config = home.path().to_str().unwrap();
    let own = TestLog::file();
    let first = agent(&own, &upstream, "seal").env("XDG_CONFIG_HOME", config).start().stop();
    assert!(first.stderr.contains("made an identity"), "{}", first.stderr);
    let again = agent(&own, &upstream, "seal").env("XDG_CONFIG_HOME", config).start().stop();
    assert!(!again.stderr.contains("made an identity"), "{}", again.stderr);
    let file = home.path().join("umbra/identity");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let identity = fs::read_to_string(&file).unwrap();
    let recipient = identity.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    let mistaken = agent(&log, &upstream, "seal").flag("seal-to", file.to_str().unwrap()).run();
    assert_eq!(mistaken.code, Some(64), "{}", mistaken.stderr);
    assert!(!mistaken.stderr.contains("AGE-SECRET-KEY-1"), "{}", mistaken.stderr);

    let spool = tempfile::tempdir().unwrap();
    let agent = agent(&log, &upstream, "seal")
        .flag("seal-to", recipient)
        .flag("spool", spool.path().to_str().unwrap());
    silent(&log, agent);
    let records = kcat::consume(&log.arg());
    assert!(records.len() > 10);
    for record in records {
        assert_silent("a record", &record.value);
    }
    for file in files(spool.path()) {
        assert_silent("the spool", &fs::read(&file).unwrap());
    }
    let keys = kcat::consume(&format!("{}.keys", log.arg()));
    // In the hour before midnight (UTC) the next day's is there already.
    assert!((1..=2).contains(&keys.len()), "a key a day");
    assert!(keys.iter().all(|key| key.value.windows(9).any(|at| at == b"age-encry")));
}

/// Says all it was sent, in its head and in its body, as no shadow should.
fn parrot() -> Api {
    Api::start(|request| {
        let field = |name: &str| request.header_text(name).unwrap_or_default();
        let json = serde_json::from_str::<serde_json::Value>(&request.text()).unwrap_or_default();
        let body = serde_json::json!({
            "start": request.start, "auth": field("authorization"), "cookie": field("cookie"),
            "body": request.text(), "args": {"otp": [json["otp"]]}, "json": json,
        });
        let fields = [
            ("Content-Type", "application/json"),
            ("X-Auth", &field("authorization")[..]),
            ("Location", &format!("/again?of={}", request.start.replace(' ', "+"))),
        ];
        Reply::new(200, &fields, body.to_string())
    })
}

#[test]
fn no_secret_is_in_what_a_replay_leaves() {
    let (log, home) = (TestLog::file(), tempfile::tempdir().unwrap());
    let config = home.path().to_str().unwrap();
    let upstream = upstream();
    let recorder = agent(&log, &upstream, "seal").flag("redact", "json:otp=seal");
    let recorder = recorder.env("XDG_CONFIG_HOME", config).start();
    send(&recorder);
    let head = "Host: shop\r\nAuthorization: Bearer s3cret-auth\r\n";
    let body = r#"{"password":"s3cret-json","otp":4711471}"#;
    let fields = format!("Content-Type: application/json\r\nContent-Length: {}", body.len());
    let mut client = Client::connect(recorder.listen());
    client.call(format!("POST /otp HTTP/1.1\r\n{head}{fields}\r\n\r\n{body}").as_bytes());
    // Which no HTTP/2 can say: to such a target it is a dead letter.
    client.call(format!("GET /<a> HTTP/1.1\r\n{head}\r\n").as_bytes());
    drop(client);
    assert_eq!(recorder.stop().json()["recorded"], 7);

    let parrot = parrot();
    let out = tempfile::tempdir().unwrap();
    let file = |name: &str| out.path().join(name).to_str().unwrap().to_owned();
    let replay = |job: &str, target: String| {
        Umbra::new("replay")
            .env("XDG_CONFIG_HOME", config)
            .flag("log", log.arg())
            .flag("job", job)
            .flag("rate", "max")
            .flag("target", target)
            .flag("set-header", "x-own: s3cret-own")
            .flag("log-level", "trace")
            .flag("output", "json")
    };
    let said = |what: &str, ended: &crate::support::process::Ended| {
        assert_silent(&format!("stderr of {what}"), ended.stderr.as_bytes());
        assert_silent(&format!("stdout of {what}"), ended.stdout.as_bytes());
    };
    let mut compared = replay("compared", parrot.url())
        .flag("outcomes", file("outcomes.jsonl"))
        .flag("compare", "");
    let reports = ["r.json", "r.md", "r.html", "r.xml"];
    for report in reports {
        compared = compared.flag("report", file(report));
    }
    let ended = compared.run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    said("the replay", &ended);
    let result = ended.json();
    assert!(result["targets"]["shadow"]["unsealed"].as_u64().unwrap() > 20, "{result}");
    assert!(result["compare"]["different"].as_u64().unwrap() >= 5, "{result}");
    assert_eq!(parrot.answered(), 7);
    let refused = replay("refused", format!("{},http2", parrot.url())).flag("path", "/<a>").run();
    said("the refused replay", &refused);
    assert_eq!(refused.json()["dead"], 1, "{}{}", refused.stdout, refused.stderr);

    let again = Umbra::new("compare").arg(log.arg()).flag("job", "compared");
    said("umbra compare", &again.flag("report", file("again.html")).run());
    said("umbra jobs", &Umbra::new("jobs").arg(log.arg()).flag("output", "json").run());
    for name in reports.into_iter().chain(["outcomes.jsonl", "again.html"]) {
        let bytes = fs::read(file(name)).unwrap();
        assert!(bytes.windows(12).any(|at| at == b"umbra-sealed"), "{name} shows what was sealed");
        assert_silent(name, &bytes);
        assert!(
            !bytes.windows(7).any(|at| at == b"4711471"),
            "{name} has a number that was sealed"
        );
    }
    let TestLog::File(dir) = &log else { panic!("it is a file") };
    let left = files(dir.path());
    for name in ["jobs", "dead", "verdicts"] {
        let is = |path: &PathBuf| path.to_string_lossy().contains(name);
        assert!(left.iter().any(is), "{name}: {left:?}");
    }
    for path in left {
        assert_silent(&path.to_string_lossy(), &fs::read(&path).unwrap());
    }
}
