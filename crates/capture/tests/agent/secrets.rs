//! Secrets that come by are in no record: whatever is done with them, wherever they
//! stand, however large the body; and the live requests do not wait for it.

use std::{
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use prost::Message as _;
use umbra_capture::{Config, KeyBy, KeyStore, Privacy, SealKeys};
use umbra_log::LogError;
use umbra_record::{
    hash,
    pb::{self, Completeness, record::Body},
    redact::{Action, HashKey, Redaction, Rules, restore},
    seal::{Opener, wrap::Identities},
    select::{self, Selection},
};

use super::harness::{Agent, Client, Ended, Server, until};

/// `{"password":"s3cret-gzip","n":1}`, compressed.
const GZIP: &[u8] = &[
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xab, 0x56, 0x2a, 0x48, 0x2c, 0x2e,
    0x2e, 0xcf, 0x2f, 0x4a, 0x51, 0xb2, 0x52, 0x2a, 0x36, 0x4e, 0x2e, 0x4a, 0x2d, 0xd1, 0x4d, 0xaf,
    0xca, 0x2c, 0x50, 0xd2, 0x51, 0xca, 0x53, 0xb2, 0x32, 0xac, 0x05, 0x00, 0x0d, 0xfd, 0xf6, 0x87,
    0x20, 0x00, 0x00, 0x00,
];

/// A key store in memory.
#[derive(Default)]
struct Store(Mutex<Vec<pb::DataKey>>);

impl KeyStore for Store {
    async fn put(&self, _: &str, entry: &[u8]) -> Result<(), LogError> {
        self.0.lock().unwrap().push(pb::DataKey::decode(entry).unwrap());
        Ok(())
    }
}

/// Rules with all keys, and what opens what was sealed.
fn privacy(credentials: Action, redact: &[&str]) -> (Privacy, Opener) {
    let redact = redact.iter().map(|rule| (*rule).to_owned()).collect();
    let rules = Redaction::new(&Rules { credentials, redact }).unwrap();
    let (store, identities) = (Store::default(), Identities::generate());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let opened = SealKeys::open(&store, identities.recipients(), [1; 16], 0);
    let keys = runtime.block_on(opened).unwrap();
    let mut opener = Opener::default();
    for entry in store.0.into_inner().unwrap() {
        opener.add(&identities.unwrap(&entry.id, &entry.wrapped).unwrap());
    }
    let hash_key = Some(HashKey::new(b"a secret of hashes"));
    (Privacy { rules, hash_key, seal_keys: Some(keys) }, opener)
}

const EVERYWHERE: [&str; 6] = [
    "tokens=ACTION",
    "header:x-custom=ACTION",
    "query:q=ACTION",
    "cookie:track=ACTION",
    "json:user.pin=ACTION",
    "form:pin=ACTION",
];

fn everywhere(action: Action) -> (Privacy, Opener) {
    let rules = EVERYWHERE.map(|rule| rule.replace("ACTION", &action.to_string()));
    privacy(action, &rules.each_ref().map(String::as_str))
}

/// Answers with secrets of its own.
fn upstream() -> Server {
    Server::start(|client, server| {
        while client.request(server).is_some() {
            let body = r#"{"token":"s3cret-answer","n":1}"#;
            client.send(format!(
                "HTTP/1.1 200 OK\r\nSet-Cookie: sid=s3cret-set; Path=/\r\nX-Api-Key: s3cret-key\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ));
        }
    })
}

const HEAD: &str = "Host: a\r\nAuthorization: Bearer s3cret-auth\r\nCookie: sid=s3cret-sid; track=s3cret-track\r\n\
    X-Custom: s3cret-custom\r\nReferer: http://a/?token=s3cret-referer\r\n";

fn post(client: &mut Client, path: &str, fields: &str, body: &[u8]) {
    let length = body.len();
    client.send(format!("POST {path} HTTP/1.1\r\n{HEAD}{fields}Content-Length: {length}\r\n\r\n"));
    client.send(body);
    client.answer();
}

const MULTIPART: &str = "--B\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\ns3cret-part\r\n\
    --B\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n1\r\n--B--\r\n";

fn send_all(agent: &Agent) {
    let mut client = agent.connect();
    client
        .send(format!("GET /get?q=s3cret-q&n=1&access_token=s3cret-query HTTP/1.1\r\n{HEAD}\r\n"));
    client.answer();
    let json = br#"{"user":{"pin":"s3cret-pin","n":1.50},"api_key":"s3cret-json"}"#;
    post(&mut client, "/json", "Content-Type: application/json\r\n", json);
    let form = b"pin=s3cret-form&n=1&password=s3cret-password";
    post(&mut client, "/form", "Content-Type: application/x-www-form-urlencoded\r\n", form);
    let multipart = "Content-Type: multipart/form-data; boundary=B\r\n";
    post(&mut client, "/multipart", multipart, MULTIPART.as_bytes());
    let gzip = "Content-Type: application/json\r\nContent-Encoding: gzip\r\n";
    post(&mut client, "/gzip", gzip, GZIP);
    client.send(format!(
        "POST /chunked HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\nTrailer: X-Api-Key\r\n\
         Content-Type: application/json\r\n\r\n1e\r\n{{\"token\":\"s3cret-chunk\",\"n\":1}}\r\n\
         0\r\nX-Api-Key: s3cret-trailer\r\n\r\n"
    ));
    client.answer();
}

/// No record says a secret, not even part of one.
fn assert_silent(ended: &Ended) {
    for (_, record) in &ended.records {
        let bytes = record.encode_to_vec();
        assert!(!bytes.windows(6).any(|at| at == b"s3cret"), "{record:?}");
    }
}

fn header<'a>(headers: &'a [pb::Header], name: &str) -> Option<&'a [u8]> {
    let found = headers.iter().find(|one| one.name.eq_ignore_ascii_case(name.as_bytes()));
    found.map(|one| &one.value[..])
}

fn start(upstream: &Server, privacy: &Privacy, change: impl FnOnce(&mut Config)) -> Agent {
    Agent::start(upstream.address, |config| {
        config.privacy = privacy.clone();
        change(config);
    })
}

#[test]
fn no_secret_is_in_any_record_whatever_is_done_with_it() {
    for action in [Action::Seal, Action::Hash, Action::Drop] {
        let (privacy, opener) = everywhere(action);
        let upstream = upstream();
        let agent = start(&upstream, &privacy, |_| {});
        send_all(&agent);
        let ended = agent.end();
        assert_silent(&ended);
        assert_eq!(ended.requests().len(), 6);
        for request in ended.requests() {
            assert_eq!(&request.rule_set[..], privacy.rules.rule_set());
            let body = ended.body(request);
            assert_eq!(request.completeness(), Completeness::Complete, "{request:?}");
            assert_eq!(request.body_length, body.len() as u64);
            if request.body.is_some() {
                assert_eq!(&request.body_hash[..], hash::of(&body));
            }
            if let Some(length) = header(&request.headers, "content-length") {
                assert_eq!(length, body.len().to_string().as_bytes(), "{request:?}");
            }
            assert_eq!(request.sealed.is_empty(), action != Action::Seal);
        }
        assert_eq!(header(&ended.request("/gzip").headers, "content-encoding"), None);
        let answer = ended.response_to("/get");
        let cookie = header(&answer.headers, "set-cookie");
        assert_eq!(
            cookie.is_some_and(|value| value.ends_with(b"; Path=/")),
            action != Action::Drop
        );
        for (_, record) in &ended.records {
            if let Some(Body::Mark(mark)) = &record.body {
                assert_eq!(mark.rules, privacy.rules.text());
            }
        }
        if action == Action::Seal {
            assert_restored(&ended, &opener);
        }
    }
}

/// Whoever has the key gets the request as it was.
fn assert_restored(ended: &Ended, opener: &Opener) {
    let restored = |path: &str| {
        let mut request = ended.request(path).clone();
        let mut body = request.body.is_some().then(|| vec![ended.body(&request).into()]);
        let count = restore(&mut request, &mut body, Some(opener), false).unwrap();
        assert!(count.opened >= 3 && count.omitted == 0, "{count:?}");
        assert_eq!(header(&request.headers, "authorization").unwrap(), b"Bearer s3cret-auth");
        let cookie = header(&request.headers, "cookie").unwrap();
        assert_eq!(cookie, b"sid=s3cret-sid; track=s3cret-track");
        (request, body.map(|pieces| pieces.concat()).unwrap_or_default())
    };
    let (get, _) = restored("/get");
    assert_eq!(get.query.as_deref(), Some(&b"q=s3cret-q&n=1&access_token=s3cret-query"[..]));
    let json = br#"{"user":{"pin":"s3cret-pin","n":1.50},"api_key":"s3cret-json"}"#;
    assert_eq!(restored("/json").1, json);
    assert_eq!(restored("/form").1, b"pin=s3cret-form&n=1&password=s3cret-password");
    assert_eq!(restored("/multipart").1, MULTIPART.as_bytes());
    assert_eq!(restored("/gzip").1, br#"{"password":"s3cret-gzip","n":1}"#);
    let (chunked, body) = restored("/chunked");
    assert_eq!(body, br#"{"token":"s3cret-chunk","n":1}"#);
    assert_eq!(header(&chunked.trailers, "x-api-key").unwrap(), b"s3cret-trailer");
}

#[test]
fn without_their_keys_values_are_dropped_and_counted() {
    let (mut privacy, _) = everywhere(Action::Seal);
    privacy.seal_keys = None;
    let upstream = upstream();
    let agent = start(&upstream, &privacy, |_| {});
    send_all(&agent);
    until("all is recorded", || agent.stats.snapshot().recorded == 6);
    let stats = agent.stats.clone();
    let ended = agent.end();
    assert_silent(&ended);
    assert!(stats.snapshot().redaction_dropped > 20, "{:?}", stats.snapshot());
}

/// A document of about so many bytes with secrets all over it.
fn large(bytes: usize) -> String {
    let item =
        format!(r#"{{"name":"{}","token":"s3cret-in-the-middle-of-it-all"}}"#, "n".repeat(400));
    let items = vec![item; bytes / 450];
    format!(r#"{{"items":[{}],"end":1}}"#, items.join(","))
}

#[test]
fn a_body_in_parts_and_one_that_is_cut_have_no_secrets() {
    let (privacy, _) = privacy(Action::Keep, &["json:items.*.token=hash"]);
    let upstream = upstream();
    let agent = start(&upstream, &privacy, |config| {
        config.max_record_body = 10_000;
        config.max_body = 1_000_000;
    });
    let mut client = agent.connect();
    let json = "Content-Type: application/json\r\n";
    post(&mut client, "/whole", json, large(200_000).as_bytes());
    post(&mut client, "/cut", json, large(1_500_000).as_bytes());
    post(
        &mut client,
        "/unreadable",
        "Content-Type: application/json\r\nContent-Encoding: x\r\n",
        b"s3cret",
    );
    until("all is recorded", || agent.stats.snapshot().recorded == 3);
    let stats = agent.stats.clone();
    let ended = agent.end();
    for (_, record) in &ended.records {
        if matches!(record.body, Some(Body::Part(_))) {
            let bytes = record.encode_to_vec();
            assert!(!bytes.windows(12).any(|at| at == b"s3cret-in-th"));
        }
    }
    let whole = ended.request("/whole");
    let body = ended.body(whole);
    assert!(whole.parts > 10 && body.ends_with(br#""}],"end":1}"#));
    assert_eq!(
        (whole.body_length, &whole.body_hash[..]),
        (body.len() as u64, &hash::of(&body)[..])
    );
    let cut = ended.request("/cut");
    let body = ended.body(cut);
    assert!(body.starts_with(br#"{"items":[{"name":"nnn"#) && body.len() < 1_100_000);
    assert_eq!(cut.completeness(), Completeness::Truncated);
    // Its hash would let a secret be guessed.
    assert!(cut.body_length > 1_400_000 && cut.body_hash.is_empty());
    let unreadable = ended.request("/unreadable");
    assert_eq!(unreadable.completeness(), Completeness::Truncated);
    assert_eq!(ended.body(unreadable), b"");
    assert_eq!(stats.snapshot().redaction_cut, 2);
}

#[test]
fn a_request_written_open_holds_its_body_until_all_of_it_can_be_looked_at() {
    let (privacy, opener) = privacy(Action::Seal, &["tokens=seal", "header:x-custom=seal"]);
    let upstream = upstream();
    let agent = start(&upstream, &privacy, |config| {
        config.open_after = Duration::from_millis(50);
        config.mark_every = Duration::from_millis(20);
        config.max_record_body = 1000;
    });
    let mut client = agent.connect();
    client.send(format!(
        "POST /open HTTP/1.1\r\n{HEAD}X-Api-Key: s3cret-first\r\nTransfer-Encoding: chunked\r\n\
         Content-Type: application/json\r\n\r\nb\r\n{{\"token\":\"s\r\n"
    ));
    until("it is written", || agent.stats.snapshot().accepted == 1);
    client.send("7c8\r\n3cret-");
    client.send("x".repeat(0x7c8 - 6));
    client.send("\r\n8\r\n\",\"n\":1}\r\n0\r\nX-Api-Key: s3cret-last\r\n\r\n");
    client.answer();
    let ended = agent.end();
    assert_silent(&ended);
    let request = ended.request("/open");
    assert_eq!(
        (request.completeness(), request.body.as_deref()),
        (Completeness::Open, Some(&b""[..]))
    );
    let body = ended.body(request);
    assert_eq!(body, br#"{"token":"umbra-sealed","n":1}"#);
    let parts = ended.parts(&request.id);
    let last = *parts.last().unwrap();
    assert_eq!((last.body_length, &last.body_hash[..]), (body.len() as u64, &hash::of(&body)[..]));
    // As a reader puts it together.
    let mut whole = request.clone();
    whole.trailers = last.trailers.clone();
    whole.sealed.extend(last.sealed.clone());
    let mut body = Some(vec![body.into()]);
    restore(&mut whole, &mut body, Some(&opener), false).unwrap();
    let body = body.unwrap().concat();
    assert!(body.starts_with(br#"{"token":"s3cret-xxx"#) && body.len() == 0x7c8 + 19);
    assert_eq!(header(&whole.headers, "x-api-key").unwrap(), b"s3cret-first");
    assert_eq!(header(&whole.trailers, "x-api-key").unwrap(), b"s3cret-last");
}

#[test]
fn requests_of_a_key_are_together_and_the_key_is_not_its_value() {
    let (privacy, _) = privacy(Action::Drop, &["tokens=drop"]);
    let upstream = upstream();
    let agent = start(&upstream, &privacy, |config| config.key = KeyBy::Cookie("sid".to_owned()));
    for number in 0..20 {
        let user = number % 4;
        let mut client = agent.connect();
        client.send(format!(
            "GET /{number} HTTP/1.1\r\nHost: a\r\nCookie: sid=s3cret-{user}\r\n\r\n"
        ));
        client.answer();
    }
    agent.connect().get("/none");
    let ended = agent.end();
    assert_silent(&ended);
    let place = |path: &str| {
        let id = &ended.request(path).id;
        let of = |record: &pb::Record| match &record.body {
            Some(Body::Request(request)) => request.id == *id,
            Some(Body::Response(response)) => response.id == *id,
            _ => false,
        };
        let mut places = ended.records.iter().filter(|(_, record)| of(record));
        let (partition, record) = places.next().unwrap();
        assert!(places.all(|(other, answer)| other == partition && answer.key == record.key));
        (*partition, record.key.clone())
    };
    let places: Vec<_> = (0..20).map(|number| place(&format!("/{number}"))).collect();
    for (number, found) in places.iter().enumerate() {
        assert_eq!(found.1.len(), 16);
        assert_eq!(*found, places[number % 4]);
        assert_eq!(found.1 == places[0].1, number % 4 == 0);
    }
    assert!(!places.contains(&place("/none")));
}

#[test]
fn a_body_of_unannounced_size_is_decided_at_its_end() {
    let upstream = upstream();
    let agent = Agent::start(upstream.address, |config| {
        let rules = select::Rules { min_size: Some(4), max_size: Some(8), ..Default::default() };
        config.selection = Selection::new(&rules, "capture").unwrap();
    });
    let mut client = agent.connect();
    for size in [3, 4, 8, 9, 40] {
        let body = "x".repeat(size);
        post(&mut client, &format!("/announced/{size}"), "", body.as_bytes());
        client.send(format!(
            "POST /chunked/{size} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
             {size:x}\r\n{body}\r\n0\r\n\r\n"
        ));
        client.answer();
    }
    let ended = agent.end();
    let mut paths: Vec<String> = ended
        .requests()
        .iter()
        .map(|request| String::from_utf8(request.path.to_vec()).unwrap())
        .collect();
    paths.sort();
    assert_eq!(paths, ["/announced/4", "/announced/8", "/chunked/4", "/chunked/8"]);
    assert_eq!((ended.responses().len(), ended.report.not_selected), (4, 6));
}

/// Were bodies looked at where live requests are served, each of these would wait for
/// one; so the times are compared with what one body takes.
#[test]
fn live_requests_do_not_wait_for_bodies_to_be_looked_at() {
    const BODIES: u64 = 6;
    let (privacy, _) = privacy(Action::Keep, &["json:items.*.token=hash"]);
    let upstream = Server::echo();
    let agent = start(&upstream, &privacy, |config| {
        config.threads = 1;
        config.max_body = 16 << 20;
        config.memory = 256 << 20;
    });
    // Secrets everywhere: they are sent faster than they are looked at.
    let item = r#"{"token":"s3cret-in-the-middle"}"#;
    let items = vec![item; (10 << 20) / item.len()];
    let body = format!(r#"{{"items":[{}]}}"#, items.join(","));
    let p50 = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let mut small = agent.connect();
    let mut get = || {
        let start = Instant::now();
        small.get("/small");
        start.elapsed()
    };
    let quiet = p50((0..200).map(|_| get()).collect());
    let mut client = agent.connect();
    let mut busy = Vec::new();
    let start = Instant::now();
    for number in 0..BODIES {
        post(
            &mut client,
            &format!("/large/{number}"),
            "Content-Type: application/json\r\n",
            body.as_bytes(),
        );
    }
    let sent = start.elapsed();
    // The tee holds a body until it is looked at; the small requests hold next to nothing.
    while agent.stats.snapshot().tee_bytes >= body.len() as u64 {
        busy.push(get());
        // At no rate that would fill the tee: what follows in the lane waits there.
        #[expect(clippy::disallowed_methods, reason = "a rate, not a wait")]
        thread::sleep(Duration::from_millis(1));
        assert!(start.elapsed() < super::harness::PATIENCE * 3, "never recorded");
    }
    let each = start.elapsed() / BODIES as u32;
    let gets = busy.len() as u64;
    let (slowest, busy) = (busy.iter().max().copied(), p50(busy));
    let ratio = busy.as_secs_f64() / quiet.as_secs_f64();
    println!(
        "p50 {quiet:?} alone, {busy:?} beside bodies that take {each:?} each: ratio {ratio:.2} \
         (slowest {slowest:?}, {gets} requests, bodies sent in {sent:?})"
    );
    assert!(busy < each / 4, "{busy:?} of {each:?}");
    let ended = agent.end();
    assert_eq!(ended.lost("tee_full"), 0);
    assert_eq!(ended.requests().len() as u64, 200 + gets + BODIES, "all are recorded");
}
