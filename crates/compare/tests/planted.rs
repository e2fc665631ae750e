//! Faults planted in a made-up service: each is found, in its endpoint and field, and
//! nothing else is; and the unchanged service is never called changed. The old version
//! answers twice, so that its own noise is known.

use std::io::Write;

use umbra_compare::{
    Answer, Body, Class, Judgement, Kind, Report, RequestKey, Rules, Settings, Verdict, differences,
};
use umbra_record::pb;

/// Over three endpoints.
const REQUESTS: u32 = 3000;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn happens(&mut self, probability: f64) -> bool {
        ((self.next() >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    fn uuid(&mut self) -> String {
        umbra_record::id::text(&[self.next().to_be_bytes(), self.next().to_be_bytes()].concat())
    }
}

/// A good answer of the service, with the noise of a real one: ids and times of each
/// answer, a value that deviates now and then, a list in any order.
fn good(random: &mut Random, path: &str, number: u32) -> Answer {
    let mut headers = vec![
        ("Content-Type", "application/json; charset=utf-8".to_owned()),
        ("Date", format!("Sun, 22 Nov 2026 10:00:{:02} GMT", random.next() % 60)),
        ("X-Request-Id", random.uuid()),
        ("X-Version", "7".to_owned()),
        ("Set-Cookie", format!("sid={}; Path=/; Secure; HttpOnly", random.next())),
    ];
    // Two answers differ in 30 %.
    let price = if random.happens(0.163) { 100 + random.next() % 50 } else { 99 };
    let tags = if random.happens(0.5) { r#"["a","b"]"# } else { r#"["b","a"]"# };
    let trace = random.uuid();
    let body = match path {
        "/login" => {
            headers.push(("Location", "/home".to_owned()));
            String::new()
        }
        _ => format!(
            r#"{{"id":{number},"name":"n{number}","price":{price},"tags":{tags},"trace":"{trace}","items":[{{"sku":"s1","n":1}},{{"sku":"s2","n":2}}]}}"#
        ),
    };
    let header = |(name, value): (&str, String)| pb::Header {
        name: name.to_owned().into(),
        value: value.into(),
    };
    Answer {
        status: if path == "/login" { 302 } else { 200 },
        headers: headers.into_iter().map(header).collect(),
        body: Body::whole(body),
        ..Default::default()
    }
}

type Fault = fn(&mut Random, &mut Answer);

/// Runs the service against a candidate with one fault on one endpoint.
fn judge(seed: u64, faulty: &str, fault: Option<Fault>) -> Report {
    let mut random = Random(seed);
    let mut verdict = Verdict::new(Settings { same_load: true, ..Settings::default() });
    let rules = Rules::default();
    for number in 0..REQUESTS {
        let path = ["/login", "/items", "/users"][(random.next() % 3) as usize];
        let first = good(&mut random, path, number);
        let second = good(&mut random, path, number);
        let mut candidate = good(&mut random, path, number);
        let times =
            (20_000_000 + random.next() % 9_000_000, 20_000_000 + random.next() % 9_000_000);
        if let Some(fault) = fault.filter(|_| path == faulty) {
            fault(&mut random, &mut candidate);
        }
        let (id, rules) = (number.to_be_bytes(), rules.for_request("GET", path));
        let request = RequestKey { id: &id, method: "GET", path, again: false };
        let noise = differences(&first, &second, &rules);
        verdict.compared(&request, &differences(&first, &candidate, &rules), Some(&noise));
        let slow = candidate.timing.map_or(0, |timing| timing.end_ns);
        verdict.timed(&request, times.0, times.1 + slow, &rules);
    }
    verdict.finish()
}

fn edit(answer: &mut Answer, change: impl FnOnce(String) -> String) {
    let body = String::from_utf8(answer.body.bytes.to_vec()).expect("the service sends UTF-8");
    answer.body = Body::whole(change(body));
}

fn set(answer: &mut Answer, name: &str, value: &str) {
    let header = answer.headers.iter_mut().find(|header| header.name == name.as_bytes());
    header.expect("the service sends it").value = value.to_owned().into();
}

/// Name, endpoint, the fault, and what must be found there.
type Planted = (&'static str, &'static str, Fault, &'static [(&'static str, Kind)]);

const FAULTS: &[Planted] = &[
    (
        "field missing",
        "/users",
        |_, answer| edit(answer, |body| body.replace(r#","n":2"#, "")),
        &[("body.items[].n", Kind::Missing)],
    ),
    (
        "field added",
        "/users",
        |_, answer| edit(answer, |body| body.replacen('{', r#"{"extra":true,"#, 1)),
        &[("body.extra", Kind::Added)],
    ),
    (
        "type changed",
        "/items",
        |_, answer| edit(answer, |body| body.replace(r#""n":1"#, r#""n":"1""#)),
        &[("body.items[].n", Kind::Type)],
    ),
    (
        "value off in 10 % under 30 % noise",
        "/users",
        |random, answer| {
            if random.happens(0.1) {
                edit(answer, |body| body.replace(r#""price":"#, r#""price":7"#));
            }
        },
        &[("body.price", Kind::Value)],
    ),
    (
        "500 text/plain for 1 %",
        "/items",
        |random, answer| {
            if random.happens(0.01) {
                answer.status = 500;
                set(answer, "Content-Type", "text/plain");
                answer.body = Body::whole("Internal Server Error");
            }
        },
        &[("status", Kind::Value)],
    ),
    (
        "header lost",
        "/login",
        |_, answer| answer.headers.retain(|header| &header.name[..] != b"X-Version"),
        &[("header:x-version", Kind::Missing)],
    ),
    (
        "cookie flag lost",
        "/login",
        |_, answer| set(answer, "Set-Cookie", "sid=1; Path=/; HttpOnly"),
        &[("set-cookie:sid;secure", Kind::Missing)],
    ),
    (
        "array reordered",
        "/items",
        |_, answer| {
            edit(answer, |body| {
                body.replace(
                    r#"{"sku":"s1","n":1},{"sku":"s2","n":2}"#,
                    r#"{"sku":"s2","n":2},{"sku":"s1","n":1}"#,
                )
            });
        },
        &[("body.items", Kind::Order)],
    ),
    (
        "JSON truncated",
        "/items",
        |random, answer| {
            if random.happens(0.1) {
                edit(answer, |body| body[..body.len() - 3].to_owned());
            }
        },
        &[("body", Kind::Type)],
    ),
    (
        "charset changed",
        "/users",
        |_, answer| set(answer, "Content-Type", "application/json; charset=iso-8859-1"),
        &[("header:content-type", Kind::Value)],
    ),
    (
        "redirect target changed",
        "/login",
        |_, answer| set(answer, "Location", "/welcome"),
        &[("header:location", Kind::Value)],
    ),
    (
        "50 ms slower",
        "/users",
        |_, answer| {
            let (head_ns, first_byte_ns, end_ns) = (50_000_000, 50_000_000, 50_000_000);
            answer.timing = Some(umbra_compare::Timing { head_ns, first_byte_ns, end_ns });
        },
        &[("latency", Kind::Slower)],
    ),
    (
        "UUID becomes empty",
        "/items",
        |_, answer| {
            edit(answer, |body| {
                let start = body.find(r#""trace":""#).map_or(0, |at| at + 9);
                format!("{}{}", &body[..start], &body[start + 36..])
            });
        },
        &[("body.trace", Kind::Shape)],
    ),
    (
        "connection refused for 2 %",
        "/users",
        |random, answer| {
            if random.happens(0.02) {
                *answer = Answer { failure: Some("refused".to_owned()), ..Answer::default() };
            }
        },
        &[("failure", Kind::Added), ("status", Kind::Value)],
    ),
];

fn is_found(class: Class) -> bool {
    matches!(class, Class::Confirmed | Class::Shape)
}

#[test]
fn each_planted_fault_is_found_where_it_is() {
    for (name, path, fault, expected) in FAULTS {
        let report = judge(1, path, Some(*fault));
        assert_eq!(report.verdict, Judgement::Different, "{name}");
        let found: Vec<_> = report.findings.iter().filter(|f| is_found(f.class)).collect();
        for (field, kind) in *expected {
            let hit = found.iter().any(|f| f.field == *field && f.kind == *kind);
            assert!(hit, "{name}: {field} {kind} not in {found:#?}");
        }
        // Consequences of the same fault may be found too, but nowhere else.
        let endpoint = format!("GET {path}");
        assert!(found.iter().all(|f| f.endpoint == endpoint), "{name}: {found:#?}");
        assert!(found.iter().all(|f| f.example.is_some()), "{name}");
    }
}

#[test]
fn a_dropped_coding_is_noted_and_no_difference() {
    // The old version compresses, the new one does not any more.
    let mut verdict = Verdict::default();
    let rules = Rules::default();
    let mut random = Random(2);
    for number in 0..REQUESTS {
        let plain = good(&mut random, "/users", number);
        let mut coded = plain.clone();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&plain.body.bytes).expect("memory takes all");
        coded.body = Body::whole(encoder.finish().expect("memory takes all"));
        coded.headers.push(pb::Header { name: "Content-Encoding".into(), value: "gzip".into() });
        let id = number.to_be_bytes();
        let request = RequestKey { id: &id, method: "GET", path: "/users", again: false };
        verdict.compared(&request, &differences(&coded, &plain, &rules), Some(&[]));
    }
    let report = verdict.finish();
    assert_eq!((report.verdict, report.different), (Judgement::Same, 0));
    let note = report.findings.iter().find(|f| f.kind == Kind::Coding).expect("it is noted");
    assert_eq!((note.class, note.field.as_str()), (Class::Note, "header:content-encoding"));
}

#[test]
fn the_unchanged_service_is_never_called_changed() {
    for seed in 100..120 {
        let report = judge(seed, "", None);
        let found: Vec<_> = report.findings.iter().filter(|f| is_found(f.class)).collect();
        assert!(found.is_empty(), "seed {seed}: {found:#?}");
        assert_eq!(report.verdict, Judgement::Same, "seed {seed}");
    }
}
