//! What was sealed at capture: opened by its identity, in the request sent, and gone with
//! its data key. On both logs, from `umbra keys new` to `umbra keys erase`.

use std::path::Path;

use crate::support::{
    client::Client,
    logs::TestLog,
    nginx::Nginx,
    process::{Ended, Umbra},
    shadow::{Manner, Shadow},
};

const REQUEST: &str = "POST /p?pin=4711-4711&a=b HTTP/1.1\r\nHost: shop\r\n\
    Authorization: Bearer s3cret-token\r\nCookie: sid=s3cret-session; theme=dark\r\n\
    Content-Type: application/json\r\nContent-Length: 35\r\n\r\n";
const BODY: &str = r#"{"card":"s3cret-card","n":[1,2.50]}"#;

fn new_key(file: &Path) -> String {
    let made = Umbra::new("keys new").flag("out", file.to_str().unwrap()).run();
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    made.stdout.trim().to_owned()
}

struct Scene<'a> {
    log: &'a TestLog,
    key: String,
}

impl Scene<'_> {
    fn replay(&self, job: &str, shadow: &Shadow) -> Umbra {
        Umbra::new("replay")
            .flag("log", self.log.arg())
            .flag("job", job)
            .flag("rate", "max")
            .flag("target", shadow.url())
    }

    fn with_key(&self, job: &str, shadow: &Shadow) -> Umbra {
        self.replay(job, shadow).flag("seal-key", &self.key)
    }

    /// By day. In the hour before midnight (UTC) the next day's is there already.
    fn keys(&self) -> Vec<String> {
        let listed = Umbra::new("keys list").arg(self.log.arg()).result();
        let keys = listed["keys"].as_array().unwrap();
        let mut keys: Vec<_> =
            keys.iter().map(|key| key["id"].as_str().unwrap().to_owned()).collect();
        keys.sort();
        keys
    }
}

fn refused(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code, Some(65), "{}{}", ended.stdout, ended.stderr);
    for word in words {
        assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    }
}

fn sealed(log: &TestLog) {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let (recipient, stranger) = (new_key(&file("ours")), new_key(&file("theirs")));
    assert_ne!(recipient, stranger);
    let upstream = Nginx::start("location / { return 200 ok; }");
    let agent = Umbra::agent(log, upstream.address)
        .flag("credentials", "seal")
        .flag("seal-to", &recipient)
        .flag("redact", "query:pin=seal")
        .flag("redact", "json:card=seal")
        .start();
    let mut client = Client::connect(agent.listen());
    for _ in 0..3 {
        client.call(format!("{REQUEST}{BODY}").as_bytes());
    }
    drop(client);
    assert_eq!(agent.stop().code, Some(0));
    let cat = Umbra::new("log cat").arg(log.arg()).flag("output", "json").run();
    assert!(cat.stdout.contains("umbra-sealed") && !cat.stdout.contains("s3cret"));

    let scene = Scene { log, key: file("ours").to_str().unwrap().to_owned() };
    let keys = scene.keys();
    assert!((1..=2).contains(&keys.len()), "{keys:?}");
    let shadow = Shadow::start(Manner::Answer(200));
    let dry = scene.with_key("dry", &shadow).flag("dry-run", "").result();
    assert_eq!(dry["targets"]["shadow"]["unsealed"], 12, "{dry}");

    // Whoever cannot open them sends nothing.
    let theirs = file("theirs");
    let wrong = scene.replay("wrong", &shadow).flag("seal-key", theirs.to_str().unwrap()).run();
    refused(&wrong, &[&keys[0], &recipient, "--seal-key"]);
    assert_eq!(shadow.count(), 0);

    let outcomes = file("outcomes");
    let told = outcomes.to_str().unwrap();
    let result = scene.with_key("right", &shadow).flag("outcomes", told).result();
    assert_eq!(result["targets"]["shadow"]["unsealed"], 12, "{result}");
    let told = std::fs::read_to_string(&outcomes).unwrap();
    assert!(told.lines().count() == 3 && !told.contains("s3cret"), "{told}");
    let arrivals = shadow.arrivals();
    assert_eq!(arrivals.len(), 3);
    for arrival in &arrivals {
        let message = &arrival.message;
        assert!(message.start.contains("/p?pin=4711-4711&a=b "), "{}", message.start);
        assert_eq!(message.header_text("authorization").unwrap(), "Bearer s3cret-token");
        assert_eq!(message.header_text("cookie").unwrap(), "sid=s3cret-session; theme=dark");
        assert_eq!(message.header_text("content-length").unwrap(), "35");
        assert_eq!(message.text(), BODY);
    }

    // Without: a target that is not to have them, and a replay that goes on.
    let target = format!("{},unseal=no", shadow.url());
    let to_none = Umbra::new("replay").flag("log", log.arg()).flag("rate", "max");
    let result = to_none.flag("target", target).result();
    assert_eq!(result["targets"]["shadow"]["sealed_omitted"], 12, "{result}");
    let last = shadow.arrivals().pop().unwrap().message;
    assert!(last.start.contains("/p?a=b ") && last.header("authorization").is_none());
    assert_eq!(last.text(), r#"{"n":[1,2.50]}"#);
    assert_eq!(last.header_text("content-length").unwrap(), "14");

    let erase = || Umbra::new("keys erase").arg(log.arg()).flag("id", &keys[0]);
    let asked = erase().run();
    assert_eq!(asked.code, Some(64), "{}", asked.stderr);
    assert!(asked.stderr.contains("--yes") && asked.stderr.contains(&keys[0]));
    assert_eq!(scene.keys(), keys, "nothing was erased");
    assert_eq!(erase().flag("yes", "").result()["erased"][0], keys[0].as_str());
    assert_eq!(scene.keys(), keys[1..]);
    refused(&scene.with_key("gone", &shadow).run(), &[&keys[0], "erased"]);
    assert_eq!(shadow.count(), 6);
    let result = scene.with_key("gone-2", &shadow).flag("sealed", "omit").result();
    assert_eq!(result["targets"]["shadow"]["sealed_omitted"], 12, "{result}");
}

#[test]
fn values_come_back_with_their_key_on_the_embedded_log() {
    sealed(&TestLog::file());
}

#[test]
fn values_come_back_with_their_key_on_kafka() {
    sealed(&TestLog::kafka("sealed"));
}

#[test]
fn on_one_machine_nothing_needs_to_be_said() {
    let (log, home) = (TestLog::file(), tempfile::tempdir().unwrap());
    let upstream = Nginx::start("location / { return 200 ok; }");
    let shadow = Shadow::start(Manner::Answer(200));
    let mirror = Umbra::new("mirror")
        .env("XDG_CONFIG_HOME", home.path().to_str().unwrap())
        .env("UMBRA_CREDENTIALS", "seal")
        .flag("listen", "127.0.0.1:0")
        .flag("upstream", format!("http://{}", upstream.address))
        .flag("log", log.arg())
        .flag("target", shadow.url())
        .start();
    Client::connect(mirror.listen()).call(format!("{REQUEST}{BODY}").as_bytes());
    crate::support::wait_for("the shadow's request", || shadow.count() == 1);
    let ended = mirror.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let message = shadow.arrivals().pop().unwrap().message;
    assert_eq!(message.header_text("authorization").unwrap(), "Bearer s3cret-token");
    assert!(!ended.stderr.contains("s3cret"));
}

#[test]
fn a_sink_seals_what_a_mesh_mirrors_to_it() {
    let log = TestLog::file();
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("ours");
    let recipient = new_key(&key);
    let sink = Umbra::new("capture")
        .flag("listen", "127.0.0.1:0")
        .flag("sink", "envoy")
        .flag("log", log.arg())
        .flag("output", "json")
        .flag("credentials", "seal")
        .flag("seal-to", &recipient)
        .flag("redact", "query:pin=seal")
        .flag("redact", "json:card=seal")
        .start();
    // As Envoy mirrors it.
    let mirrored = REQUEST.replace(
        "Host: shop\r\n",
        "host: shop-shadow\r\nx-envoy-internal: true\r\n\
        x-envoy-original-path: /old?pin=4711-4711\r\nx-forwarded-for: 203.0.113.7,10.0.0.1\r\n",
    );
    let answer = Client::connect(sink.listen()).call(format!("{mirrored}{BODY}").as_bytes());
    assert_eq!(answer.status(), 202);
    let ended = sink.stop();
    assert_eq!((ended.code, &ended.json()["recorded"]), (Some(0), &1.into()), "{}", ended.stderr);
    let cat = Umbra::new("log cat").arg(log.arg()).flag("output", "json").run();
    assert!(cat.stdout.contains("umbra-sealed"), "{}", cat.stdout);
    for secret in ["s3cret", "4711-4711"] {
        assert!(!cat.stdout.contains(secret), "{}", cat.stdout);
    }

    let shadow = Shadow::start(Manner::Answer(200));
    let scene = Scene { log: &log, key: key.to_str().unwrap().to_owned() };
    let result = scene.with_key("mirrored", &shadow).result();
    assert_eq!(result["targets"]["shadow"]["unsealed"], 4, "{result}");
    let message = shadow.arrivals().pop().unwrap().message;
    assert!(message.start.contains("/p?pin=4711-4711&a=b "), "{}", message.start);
    assert_eq!(message.header_text("host").unwrap(), "shop-shadow");
    assert_eq!(message.header_text("authorization").unwrap(), "Bearer s3cret-token");
    assert_eq!(message.header_text("cookie").unwrap(), "sid=s3cret-session; theme=dark");
    assert_eq!(message.text(), BODY);
}
