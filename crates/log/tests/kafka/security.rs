//! Signing in, and being refused, at a broker with TLS, SASL, tokens and ACLs.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use umbra_log::{
    Address, Append, Entry, Event, Log, LogError, LogOptions, Mode, Tail, TailOptions,
};

use crate::broker::{DEADLINE, script, unique};

/// Far longer than anybody who knows the reason has to wait.
const PATIENCE: Duration = Duration::from_secs(60);

/// A broker with `--security`.
struct Secured {
    dir: tempfile::TempDir,
    plain: String,
}

impl Secured {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let started = Command::new(script())
            .args(["start", "--security", "--dir"])
            .arg(dir.path())
            .stderr(Stdio::inherit())
            .output()
            .expect("scripts/kafka can be run");
        assert!(started.status.success(), "scripts/kafka start failed, see above");
        let plain = String::from_utf8(started.stdout).expect("text").trim().to_owned();
        Self { dir, plain }
    }

    fn listener(&self, name: &str) -> String {
        let told = std::fs::read_to_string(self.dir.path().join("security")).expect("listeners");
        let line = told.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.expect("the listener").to_owned()
    }

    fn tls(&self, file: &str) -> String {
        self.dir.path().join("tls").join(file).display().to_string()
    }

    /// Lets these users do `operations` with what `resources` name.
    async fn allow(&self, users: &[&str], operations: &[&str], resources: &[&str]) {
        let mut command = tokio::process::Command::new(script());
        command.args(["tool", "AclCommand", "--bootstrap-server", &self.plain, "--add"]);
        command.args(resources);
        for user in users {
            command.args(["--allow-principal", &format!("User:{user}")]);
        }
        for operation in operations {
            command.args(["--operation", operation]);
        }
        let done = command.output().await.expect("scripts/kafka can be run");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn options(&self, properties: &[(&str, &str)]) -> LogOptions {
        let mut kafka: Vec<(String, String)> = vec![
            ("ssl.ca.location".into(), self.tls("ca.crt")),
            ("heartbeat.interval.ms".into(), "200".into()),
        ];
        kafka.extend(properties.iter().map(|(key, value)| ((*key).into(), (*value).into())));
        LogOptions {
            partitions: 1,
            connect_timeout: PATIENCE,
            kafka: kafka.into_iter().collect(),
            ..LogOptions::default()
        }
    }

    fn scram(&self) -> LogOptions {
        self.options(&[
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "scram-user"),
            ("sasl.password", "scram-user-secret"),
        ])
    }

    fn plain(&self) -> LogOptions {
        self.options(&[
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "plain-user"),
            ("sasl.password", "plain-user-secret"),
        ])
    }

    fn mtls(&self) -> LogOptions {
        self.options(&[
            ("security.protocol", "SSL"),
            ("ssl.certificate.location", &self.tls("client.crt")),
            ("ssl.key.location", &self.tls("client.key")),
        ])
    }

    fn token(&self, command: String) -> LogOptions {
        LogOptions { token_command: Some(command), ..self.options(&[]) }
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        let _ = Command::new(script()).args(["stop", "--dir"]).arg(self.dir.path()).status();
    }
}

fn at(broker: &str, topic: &str) -> Address {
    Address::Kafka { brokers: vec![broker.to_owned()], topic: topic.to_owned() }
}

/// Prints an unsigned token for `token-user` that lives so many seconds; each run
/// leaves a line in `runs`.
fn printing(seconds: u32, runs: &Path) -> String {
    format!(
        "echo run >> {}; e() {{ base64 -w0 | tr '+/' '-_' | tr -d '='; }}; \
         printf '%s.%s.' $(printf '{{\"alg\":\"none\"}}' | e) \
         $(printf '{{\"sub\":\"token-user\",\"exp\":%s}}' $(($(date +%s) + {seconds})) | e)",
        runs.display()
    )
}

fn runs(file: &PathBuf) -> usize {
    std::fs::read_to_string(file).unwrap_or_default().lines().count()
}

async fn append(appender: &impl Append, payload: &[u8]) {
    let entry = Entry {
        partition: 0,
        key: b"",
        time_ns: 1_700_000_000_000_000_000,
        headers: &[],
        payload,
        weight: 1,
    };
    appender.enqueue(&entry).expect("room");
    appender.flush(DEADLINE).await.expect("durable");
}

async fn next(tail: &mut impl Tail) -> Result<Vec<u8>, LogError> {
    loop {
        let event = tokio::time::timeout(DEADLINE, tail.next()).await.expect("in time")?;
        if let Event::Delivery(one) = event {
            let payload = one.payload.to_vec();
            one.done();
            return Ok(payload);
        }
    }
}

fn member(group: &str) -> TailOptions {
    TailOptions { group: Some(group.to_owned()), ..TailOptions::default() }
}

/// Everything that a log is used for.
async fn use_it(broker: &str, options: LogOptions) {
    let topic = unique("open");
    let address = at(broker, &topic);
    let log = Log::open(&address, options, Mode::Create).await.expect("open");
    let appender = log.appender().await.expect("an appender");
    append(&appender, b"one").await;
    let journal = log.journal("jobs").await.expect("a journal");
    journal.append(b"entry").await.expect("written");
    assert_eq!(journal.read_from(0).await.expect("read").len(), 1);
    let mut tail = log.tail(member(&topic)).await.expect("a tail");
    assert_eq!(next(&mut tail).await.expect("read"), b"one");
    tail.close(DEADLINE).await.expect("closed");
    assert_eq!(log.spans().await.expect("spans")[0].high, 1);
}

async fn refused(address: &Address, options: LogOptions, mode: Mode) -> String {
    let began = Instant::now();
    let error = Log::open(address, options, mode).await.expect_err("refused");
    assert!(began.elapsed() < PATIENCE / 2, "told after {:?}: {error}", began.elapsed());
    match error {
        LogError::Refused(message) | LogError::Unreachable(message) => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_ways_in_and_all_refusals() {
    let broker = Secured::start();
    let users = ["scram-user", "plain-user", "tls-user", "token-user"];
    let open = ["--topic", "open", "--group", "open", "--resource-pattern-type", "prefixed"];
    broker.allow(&users, &["All"], &open).await;
    let [sasl, mtls, ssl, oauth] =
        ["SASL", "MTLS", "SSL", "OAUTH"].map(|name| broker.listener(name));
    let tokens = broker.dir.path().join("runs");
    tokio::join!(
        use_it(&sasl, broker.scram()),
        use_it(&sasl, broker.plain()),
        use_it(&mtls, broker.mtls()),
        use_it(&ssl, broker.options(&[("security.protocol", "SSL")])),
        use_it(&oauth, broker.token(printing(3600, &tokens))),
    );
    tokio::join!(not_let_in(&broker), short_lived(&broker));
    forbidden(&broker).await;
}

/// Tokens that live for seconds are renewed while a log is in use.
async fn short_lived(broker: &Secured) {
    let file = broker.dir.path().join("short");
    let address = at(&broker.listener("OAUTH"), &unique("open"));
    let options = broker.token(printing(4, &file));
    let log = Log::open(&address, options, Mode::Create).await.expect("open");
    let appender = log.appender().await.expect("an appender");
    let mut tail = log.tail(member(&unique("open"))).await.expect("a tail");
    let began = Instant::now();
    let mut number = 0_u32;
    // Three lives of a token, whatever the clock does.
    while runs(&file) < 5 || began.elapsed() < Duration::from_secs(12) {
        append(&appender, &number.to_be_bytes()).await;
        assert_eq!(next(&mut tail).await.expect("read"), number.to_be_bytes());
        number += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(began.elapsed() < PATIENCE);
    }
    // A client that asks now and then still gets in.
    assert_eq!(log.spans().await.expect("spans")[0].high, u64::from(number));
    assert!(appender.losses().is_empty());
    tail.close(DEADLINE).await.expect("closed");
}

/// Who is not let in is told why, and what to do.
async fn not_let_in(broker: &Secured) {
    let [sasl, mtls, ssl, oauth] =
        ["SASL", "MTLS", "SSL", "OAUTH"].map(|name| broker.listener(name));
    let named = ssl.replace("127.0.0.1", "localhost");
    let with = |options: LogOptions, key: &str, value: &str| {
        let mut options = options;
        options.kafka.insert(key.to_owned(), value.to_owned());
        options
    };
    let tls = |pairs: &[(&str, &str)]| {
        let mut all = vec![("security.protocol", "SSL")];
        all.extend(pairs);
        broker.options(&all)
    };
    let other = broker.tls("other-ca.crt");
    let failing = "echo no such role >&2; echo secret-token; exit 7".to_owned();
    let cases = [
        (
            "a wrong password",
            &sasl,
            with(broker.scram(), "sasl.password", "wrong"),
            "sasl.password",
        ),
        ("a wrong user", &sasl, with(broker.plain(), "sasl.username", "nobody"), "sasl.username"),
        (
            "another mechanism",
            &sasl,
            with(broker.plain(), "sasl.mechanism", "SCRAM-SHA-256"),
            "sasl.mechanism",
        ),
        ("another CA", &ssl, tls(&[("ssl.ca.location", &other)]), "ssl.ca.location"),
        ("another name", &named, tls(&[]), "another name"),
        ("no TLS", &ssl, broker.options(&[]), "security.protocol"),
        ("no SASL", &sasl, tls(&[]), "security.protocol"),
        ("TLS where none is", &broker.plain, tls(&[]), "no TLS is spoken"),
        ("no certificate", &mtls, tls(&[]), "ssl.certificate.location"),
        ("no token", &oauth, broker.token(failing), "no such role"),
        (
            "no valid token",
            &oauth,
            broker.token(r#"echo '{"access_token":"abc","expires_in":60}'"#.into()),
            "--kafka-token-command",
        ),
    ];
    let all = cases.map(|(what, listener, options, words)| async move {
        let message = refused(&at(listener, "open-none"), options, Mode::Existing).await;
        println!("{what}: {message}");
        assert!(message.contains(words), "{what}: {message}");
        assert!(!message.contains("secret-token") && !message.contains("user-secret"), "{message}");
    });
    futures_util::future::join_all(all).await;
}

/// What an ACL forbids is named, with what to allow.
async fn forbidden(broker: &Secured) {
    let sasl = broker.listener("SASL");
    let (topic, none) = (unique("half"), unique("none"));
    Log::open(&at(&broker.plain, &topic), broker.options(&[]), Mode::Create).await.expect("made");
    let told = |message: &str, words: &[&str]| {
        println!("{message}");
        for word in words {
            assert!(message.contains(word), "`{word}` is missing: {message}");
        }
    };
    let message = refused(&at(&sasl, &topic), broker.scram(), Mode::Existing).await;
    told(&message, &[&topic, "Describe", "ACL"]);
    let described = ["--topic", &topic, "--topic", &none];
    broker.allow(&["scram-user"], &["Describe"], &described).await;
    let message = refused(&at(&sasl, &none), broker.scram(), Mode::Create).await;
    told(&message, &[&none, "Create", "1 partition", "CreateTime"]);

    let log = Log::open(&at(&sasl, &topic), broker.scram(), Mode::Existing).await.expect("seen");
    let mut tail = log.tail(member("a-group")).await.expect("a tail");
    let Err(LogError::Refused(message)) = next(&mut tail).await else { panic!("not refused") };
    told(&message, &["group a-group", "Read", "ACL"]);
    drop(tail);
    let mut tail = log.tail(TailOptions::default()).await.expect("a tail");
    let Err(LogError::Refused(message)) = next(&mut tail).await else { panic!("not refused") };
    told(&message, &[&topic, "Read", "ACL"]);
    drop(tail);
    let Err(LogError::Refused(message)) = log.journal("jobs").await else { panic!("not refused") };
    told(&message, &[&format!("{topic}.jobs"), "ACL"]);
    // Settings that are told make sure that asking writes nothing.
    broker.allow(&["scram-user"], &["DescribeConfigs"], &["--topic", &topic]).await;
    let message = refused(&at(&sasl, &topic), broker.scram(), Mode::Create).await;
    told(&message, &[&topic, "Write", "ACL"]);
}
