//! Signing in to Kafka: TLS, client certificates, SCRAM, PLAIN and tokens; what a
//! user is told who is not let in, or may not do what the command needs.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    client::{Client, get},
    nginx::Nginx,
    pause,
    process::{Ended, Umbra},
    secured::{Door, Secured, printing},
    shadow::{Manner, Shadow},
    wait_for,
};

const SECRETS: [&str; 2] = ["scram-user-secret", "plain-user-secret"];

fn capture(door: &Door, topic: &str, upstream: &Nginx) -> Umbra {
    let umbra = Umbra::new("capture")
        .flag("listen", "127.0.0.1:0")
        .flag("admin", "127.0.0.1:0")
        .flag("partitions", "2")
        .flag("upstream", format!("http://{}", upstream.address));
    door.enter(umbra, "log", topic)
}

fn replay(door: &Door, topic: &str, shadow: &Shadow) -> Umbra {
    door.enter(Umbra::new("replay").flag("target", shadow.url()), "log", topic)
}

#[track_caller]
fn no_secret_in(text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "a secret is shown:\n{text}");
    }
}

/// Capture, log and replay; passwords are seen nowhere.
fn through(door: &Door, topic: &str) {
    let upstream = Nginx::start("location / { return 200 ok; }");
    let agent = capture(door, topic, &upstream).start();
    let mut client = Client::connect(agent.listen());
    for number in 0..20 {
        let request = format!("GET /s/{number} HTTP/1.1\r\nHost: h\r\n\r\n");
        client.call(request.as_bytes());
    }
    drop(client);
    no_secret_in(&get(agent.admin(), "/config").text());
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    no_secret_in(&ended.stderr);
    let shadow = Shadow::start(Manner::Answer(200));
    let flags = replay(door, topic, &shadow).flag("speed", "100").flag("output", "json");
    let ended = flags.run();
    assert_eq!(ended.code, Some(0), "{topic}: {}", ended.stderr);
    no_secret_in(&ended.stderr);
    assert_eq!(shadow.count(), 20, "{topic}: {}", ended.stdout);
    let audit = door.enter(Umbra::new("audit"), "", topic).flag("output", "json").run();
    assert_eq!(audit.code, Some(0), "{topic}: {}", audit.stderr);
}

#[test]
fn every_way_in_carries_a_recording() {
    let broker = Secured::broker();
    let file = broker.dir.join("password");
    std::fs::write(&file, "scram-user-secret\n").unwrap();
    let tokens = printing(3600, &broker.dir.join("tokens"));
    let json = format!("printf '{{\"access_token\":\"%s\",\"expires_in\":3600}}' \"$({tokens})\"");
    let doors = [
        ("open-tls", broker.tls_only()),
        ("open-mtls", broker.mtls()),
        ("open-scram", broker.scram(&format!("@{}", file.display()))),
        ("open-plain", broker.plain("plain-user-secret")),
        ("open-token", broker.token(&tokens)),
        ("open-json", broker.token(&json)),
    ];
    thread::scope(|scope| {
        for (topic, door) in &doors {
            scope.spawn(move || through(door, topic));
        }
    });
}

fn runs(file: &Path) -> usize {
    std::fs::read_to_string(file).unwrap_or_default().lines().count()
}

#[test]
fn tokens_that_live_for_seconds_are_renewed_while_agent_and_replayer_run() {
    let broker = Secured::broker();
    let (of_agent, of_replayer) = (broker.dir.join("agent"), broker.dir.join("replayer"));
    let topic = "open-short";
    let upstream = Nginx::start("location / { return 200 ok; }");
    let agent = capture(&broker.token(&printing(8, &of_agent)), topic, &upstream).start();
    let shadow = Shadow::start(Manner::Answer(200));
    let replayer = replay(&broker.token(&printing(8, &of_replayer)), topic, &shadow)
        .flag("live", "")
        .flag("output", "json")
        .start();
    wait_for("the replayer takes part", || {
        get(agent.listen(), "/warm-up");
        pause(Duration::from_millis(100));
        shadow.count() > 0
    });
    let begin = Instant::now();
    let mut sent = 0;
    while begin.elapsed() < Duration::from_secs(15) || runs(&of_agent) < 5 || runs(&of_replayer) < 5
    {
        get(agent.listen(), &format!("/t/{sent}"));
        sent += 1;
        pause(Duration::from_millis(100));
    }
    let arrived = || {
        let arrivals = shadow.arrivals();
        arrivals.iter().filter(|one| one.message.start.starts_with("GET /t/")).count()
    };
    wait_for("all have arrived", || arrived() >= sent);
    assert_eq!(arrived(), sent, "each once");
    for ended in [replayer.stop(), agent.stop()] {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(!ended.stderr.contains("eyJ"), "a token is shown:\n{}", ended.stderr);
    }
}

/// Ends with 69 long before the connect timeout, and says these words.
#[track_caller]
fn refused(what: &str, umbra: Umbra, words: &[&str]) {
    let begin = Instant::now();
    let Ended { code, stdout, stderr } = umbra.flag("connect-timeout", "60s").run();
    assert_eq!(code, Some(69), "{what}: {stdout}{stderr}");
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(40), "{what}: told after {took:?}: {stderr}");
    for word in words {
        assert!(stderr.contains(word), "{what}: no `{word}` in:\n{stderr}");
    }
    no_secret_in(&stderr);
}

#[test]
fn who_is_not_let_in_is_told_why_at_once() {
    let broker = Secured::broker();
    let ca = format!("ssl.ca.location={}", broker.tls("other-ca.crt"));
    let mut named = broker.tls_only();
    named.broker = named.broker.replace("127.0.0.1", "localhost");
    let mut bare = broker.mtls();
    bare.properties
        .retain(|one| !one.starts_with("ssl.certificate") && !one.starts_with("ssl.key"));
    let mut plaintext = broker.tls_only();
    plaintext.properties.clear();
    let cases = [
        ("a wrong password", broker.scram("wrong"), ["Authentication failed", "sasl.password"]),
        ("another CA", broker.tls_only().with(&ca), ["verify failed", "ssl.ca.location"]),
        ("another name", named, ["verify failed", "another name"]),
        ("no TLS towards TLS", plaintext, ["security.protocol", "SASL_SSL"]),
        (
            "TLS towards none",
            broker.anybody().with("security.protocol=SSL"),
            ["no TLS is spoken", "PLAINTEXT"],
        ),
        ("no certificate", bare, ["ssl.certificate.location", "ssl.key.location"]),
        ("no token", broker.token("echo no role >&2; exit 7"), ["no role", "token command"]),
    ];
    thread::scope(|scope| {
        for (what, door, words) in &cases {
            let info = door.enter(Umbra::new("log info"), "", "open-none");
            scope.spawn(move || refused(what, info, words));
        }
    });
}

#[test]
fn what_an_acl_forbids_is_named_with_what_to_allow() {
    let broker = Secured::broker();
    let user = broker.plain("env:UMBRA_TEST_PASSWORD");
    let secret = |umbra: Umbra| umbra.env("UMBRA_TEST_PASSWORD", "plain-user-secret");
    let upstream = Nginx::start("location / { return 200 ok; }");
    let shadow = Shadow::start(Manner::Answer(200));
    let agent = |topic: &str| secret(capture(&user, topic, &upstream));
    let replayer = |topic: &str| secret(replay(&user, topic, &shadow));

    // Made by somebody who may.
    let made = capture(&broker.anybody(), "seen", &upstream).start();
    get(made.listen(), "/one");
    assert_eq!(made.stop().code, Some(0));
    let made = capture(&broker.anybody(), "read", &upstream).start();
    get(made.listen(), "/one");
    assert_eq!(made.stop().code, Some(0));

    refused("an agent, no topic", agent("seen"), &["topic seen", "Describe", "ACL"]);
    broker.allow(&["plain-user"], "Describe", &["--topic", "seen", "--topic", "new"]);
    broker.allow(&["plain-user"], "DescribeConfigs", &["--topic", "seen", "--topic", "read"]);
    refused(
        "an agent, a new topic",
        agent("new"),
        &["topic new", "Create", "2 partitions", "CreateTime"],
    );
    refused("an agent", agent("seen"), &["write to the topic seen", "Write", "ACL"]);
    broker.allow(&["plain-user"], "Read", &["--topic", "read"]);
    let words = ["topic read.jobs", "1 partition", "retention.ms=-1", "ACL"];
    refused("a replayer, no journal", replayer("read"), &words);
    let journals = ["--topic", "read.", "--resource-pattern-type", "prefixed"];
    broker.allow(&["plain-user"], "All", &journals);
    refused("a replayer, no group", replayer("read"), &["group umbra.read", "Read", "ACL"]);
    let groups = ["--group", "umbra.read", "--resource-pattern-type", "prefixed"];
    broker.allow(&["plain-user"], "Read", &groups);
    let ended = replayer("read").flag("speed", "100").flag("output", "json").run();
    assert_eq!(ended.code, Some(0), "all that docs/kafka.md asks for: {}", ended.stderr);
    assert_eq!(shadow.count(), 1);
}

#[test]
fn secrets_are_masked_and_problems_are_told_without_them() {
    let printed = Umbra::new("capture")
        .flag("listen", "127.0.0.1:0")
        .flag("upstream", "http://127.0.0.1:1")
        .flag("log", "kafka://127.0.0.1:1/t")
        .flag("kafka", "sasl.password=scram-user-secret")
        .flag("print-config", "")
        .run();
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    assert!(printed.stdout.contains("sasl.password=***"), "{}", printed.stdout);
    no_secret_in(&printed.stdout);
    let problems = Umbra::new("log info")
        .arg("kafka://127.0.0.1:1/t")
        .flag("kafka", "sasl.password scram-user-secret")
        .flag("kafka", "sasl.mechanism=OAUTHBEARER")
        .flag("kafka", "ssl.ca.pem=@/no/such/file")
        .flag("kafka", "ssl.key.password=env:NO_SUCH_VARIABLE")
        .flag("kafka", "acks=0")
        .run();
    assert_eq!(problems.code, Some(64));
    for words in ["KEY=VALUE", "--kafka-token-command", "/no/such/file", "NO_SUCH_VARIABLE", "acks"]
    {
        assert!(problems.stderr.contains(words), "no `{words}` in:\n{}", problems.stderr);
    }
    no_secret_in(&problems.stderr);
}
