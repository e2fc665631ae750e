//! Secrets that are sent through an agent are in nothing it leaves behind.

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
    assert_eq!(keys.len(), 1, "one key, of today");
    assert!(keys[0].value.windows(9).any(|at| at == b"age-encry"));
}
