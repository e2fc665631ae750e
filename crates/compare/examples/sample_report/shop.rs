//! A shop in three versions, each compared with the old one by the same requests: one
//! with planted faults, one that is as good as the old, and one of which little is
//! known. All numbers come from a seed.

use std::collections::BTreeMap;

use umbra_compare::{
    Answer, Body, Difference, RequestKey, Rules, Settings, Timing, Verdict, differences,
    report::{Document, GateResult, Offered, Samples, TargetReport, Window},
};
use umbra_record::pb;

/// The report.
pub(crate) fn document() -> Document {
    let gate = |asked: &str, target: &TargetReport| GateResult {
        asked: asked.to_owned(),
        held: asked
            .parse::<umbra_compare::Gate>()
            .map(|gate| gate.held(&target.compare))
            .unwrap_or_default(),
    };
    let mut targets = vec![
        Run { name: "v2", requests: 6000, paired: true, fault }.judge(),
        Run { name: "v2-patched", requests: 2000, paired: true, fault: |_, _, _| {} }.judge(),
        Run { name: "v3-preview", requests: 40, paired: false, fault: preview }.judge(),
    ];
    for target in &mut targets {
        target.gate = Some(gate("different,failed>1%,p99>+20%", target));
    }
    Document {
        created: Some("2026-11-22T12:30:00Z".to_owned()),
        umbra: Some("0.1.0".to_owned()),
        job: "shop-v2".to_owned(),
        run: Some(3),
        log: "kafka://kafka-1:9092/shop-requests".to_owned(),
        window: Window {
            from: Some("2026-11-22T10:00:00Z".to_owned()),
            to: Some("2026-11-22T12:00:00Z".to_owned()),
            mode: Some("speed 2".to_owned()),
        },
        noise: Some("v1-second".to_owned()),
        notes: vec!["14 requests were not recorded at capture (memory)".to_owned()],
        targets,
        ..Document::default()
    }
}

/// Good as random, from a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn happens(&mut self, probability: f64) -> bool {
        self.share() < probability
    }

    fn bytes(&mut self) -> [u8; 16] {
        let (one, other) = (self.next().to_be_bytes(), self.next().to_be_bytes());
        std::array::from_fn(|at| if at < 8 { one[at] } else { other[at - 8] })
    }

    fn uuid(&mut self) -> String {
        umbra_record::id::text(&self.bytes())
    }

    /// Milliseconds around a median, with the tail that services have.
    fn took(&mut self, median: f64) -> f64 {
        let normal: f64 = (0..12).map(|_| self.share()).sum::<f64>() - 6.0;
        let tail = if self.happens(0.02) { 3.0 } else { 1.0 };
        median * (0.35 * normal).exp() * tail
    }
}

type Fault = fn(&mut Random, &Request, &mut Answer);

/// A request as the service sees it.
struct Request {
    endpoint: usize,
    method: &'static str,
    path: String,
    query: String,
    number: u64,
}

const MEDIANS: [f64; 7] = [12.0, 18.0, 45.0, 30.0, 9.0, 80.0, 4.0];

fn request(random: &mut Random) -> Request {
    let number = random.next() % 9000 + 1000;
    // Some endpoints are asked more often than others.
    let endpoint = [0, 0, 0, 0, 1, 1, 1, 2, 3, 3, 4, 5, 5, 6][(random.next() % 14) as usize];
    let (method, path, query) = match endpoint {
        0 => ("GET", format!("/users/{number}"), String::new()),
        1 => ("GET", format!("/orders/{number}"), "expand=items".to_owned()),
        2 => ("POST", "/orders".to_owned(), String::new()),
        3 => ("GET", "/search".to_owned(), format!("q=tea&page={}", number % 7)),
        4 => ("POST", "/login".to_owned(), String::new()),
        5 => ("GET", format!("/reports/2026-11-{:02}", number % 28 + 1), String::new()),
        _ => ("GET", format!("/images/{:016x}", random.next() | 1 << 60), String::new()),
    };
    Request { endpoint, method, path, query, number }
}

/// A good answer, with the noise of a real one.
fn good(random: &mut Random, request: &Request) -> Answer {
    let n = request.number;
    let mut headers = vec![
        ("Date", format!("Sun, 22 Nov 2026 10:{:02}:{:02} GMT", n % 60, random.next() % 60)),
        ("Server", "shop/1.8".to_owned()),
        ("X-Request-Id", random.uuid()),
        ("Cache-Control", "private, max-age=60".to_owned()),
    ];
    let json = "application/json; charset=utf-8";
    let (status, kind, body): (u16, &str, Vec<u8>) = match request.endpoint {
        0 => (200, json, user(random, n).into()),
        1 => (200, json, order(random, n).into()),
        2 => {
            (201, json, format!(r#"{{"id":{n},"state":"new","token":"{}"}}"#, random.uuid()).into())
        }
        3 => (200, json, results(random, n).into()),
        4 => {
            headers.push(("Location", "/account".to_owned()));
            headers.push((
                "Set-Cookie",
                format!("sid={:016x}; Path=/; Secure; HttpOnly; SameSite=Lax", random.next()),
            ));
            (303, "text/plain", Vec::new())
        }
        5 => (200, "text/html; charset=utf-8", page(n).into()),
        _ => (200, "image/png", [&b"\x89PNG\r\n\x1a\n"[..], &n.to_be_bytes()].concat()),
    };
    headers.push(("Content-Type", kind.to_owned()));
    headers.push(("Content-Length", body.len().to_string()));
    let header = |(name, value): (&str, String)| pb::Header {
        name: name.to_owned().into(),
        value: value.into(),
    };
    let took = (random.took(MEDIANS[request.endpoint]) * 1e6) as u64;
    Answer {
        status,
        headers: headers.into_iter().map(header).collect(),
        body: Body::whole(body),
        timing: Some(Timing { head_ns: took * 9 / 10, first_byte_ns: took * 9 / 10, end_ns: took }),
        ..Answer::default()
    }
}

fn user(random: &mut Random, n: u64) -> String {
    let seen = 1_795_000_000 + random.next() % 100_000;
    format!(
        r#"{{"id":{n},"name":"User {n}","email":"user{n}@example.com","age":{},"address":{{"street":"{} High Street","city":"Bath","zip":"BA1 {}"}},"roles":["buyer","reviewer"],"seen_at":{seen},"active":true,"balance":{}.50}}"#,
        n % 60 + 18,
        n % 200,
        n % 9,
        n % 300
    )
}

fn order(random: &mut Random, n: u64) -> String {
    // What is in stock changes between two answers.
    let stock = if random.happens(0.15) { random.next() % 90 } else { 90 };
    let items: Vec<String> = (0..n % 3 + 1)
        .map(|at| {
            format!(
                r#"{{"sku":"SKU-{}","name":"Tea no. {at}","price":{}.90,"quantity":{},"stock":{stock}}}"#,
                n + at,
                at * 3 + 4,
                at + 1
            )
        })
        .collect();
    format!(
        r#"{{"id":{n},"state":"paid","items":[{}],"total":{}.70,"session":"{}"}}"#,
        items.join(","),
        n % 90,
        random.uuid()
    )
}

fn results(random: &mut Random, n: u64) -> String {
    let mut names =
        ["green tea", "black tea", "mint tea", "chai"].map(|name| format!("\"{name}\""));
    if random.happens(0.3) {
        names.swap(1, 2);
    }
    format!(
        r#"{{"total":4,"page":{},"results":[{}],"took_ms":{}}}"#,
        n % 7,
        names.join(","),
        random.next() % 50
    )
}

fn page(n: u64) -> String {
    let rows: String = (0..30)
        .map(|row| format!("  <tr><td>{row}</td><td>{}</td></tr>\n", row * 37 % 101 + n % 5))
        .collect();
    format!(
        "<!doctype html>\n<title>Sales</title>\n<h1>Sales of day {}</h1>\n<table>\n{rows}</table>\n",
        n % 28
    )
}

fn edit(answer: &mut Answer, change: impl FnOnce(String) -> String) {
    let text = String::from_utf8_lossy(&answer.body.bytes).into_owned();
    answer.body = Body::whole(change(text));
}

fn set(answer: &mut Answer, name: &str, change: impl FnOnce(&str) -> String) {
    if let Some(header) = answer.headers.iter_mut().find(|h| h.name == name.as_bytes()) {
        header.value = change(&String::from_utf8_lossy(&header.value)).into();
    }
}

fn lose(answer: &mut Answer, name: &str) {
    answer.headers.retain(|header| header.name != name.as_bytes());
}

fn slower(answer: &mut Answer, ms: u64) {
    if let Some(timing) = &mut answer.timing {
        timing.end_ns += ms * 1_000_000;
    }
}

/// What is wrong with the new version.
fn fault(random: &mut Random, request: &Request, answer: &mut Answer) {
    set(answer, "Server", |_| "shop/2.0".to_owned());
    match request.endpoint {
        0 => {
            if random.happens(0.06) {
                let email = format!(r#""email":"user{}@example.com","#, request.number);
                edit(answer, |body| body.replace(&email, ""));
            }
            edit(answer, |body| body.replace(r#""active":true"#, r#""active":"true""#));
            if random.happens(0.002) {
                lose(answer, "Cache-Control");
            }
        }
        1 => {
            if random.happens(0.1) {
                edit(answer, |body| body.replace(".90,", ".09,"));
            }
            if random.happens(0.012) {
                answer.status = 500;
                set(answer, "Content-Type", |_| "text/plain".to_owned());
                answer.body = Body::whole("Internal Server Error\nat <OrderView> & \"render\"\n");
            }
            let session = r#""session":""#;
            edit(answer, |body| match body.split_once(session) {
                Some((start, _)) => format!("{start}{session}\"}}"),
                None => body,
            });
        }
        2 if random.happens(0.02) => {
            *answer = Answer { failure: Some("refused".to_owned()), ..Answer::default() };
        }
        3 => {
            slower(answer, 50);
            edit(answer, |body| body.replace(r#""page""#, r#""next":null,"page""#));
        }
        4 => {
            set(answer, "Set-Cookie", |value| value.replace("; HttpOnly", ""));
            set(answer, "Location", |_| "/login?next=%2Faccount".to_owned());
        }
        5 if random.happens(0.3) => {
            edit(answer, |body| body.replace("<td>7</td><td>", "<td>7</td><td>&euro;"));
        }
        _ => {}
    }
}

/// What is seen of a version that few requests have reached.
fn preview(random: &mut Random, request: &Request, answer: &mut Answer) {
    if request.endpoint == 0 && random.happens(0.3) {
        edit(answer, |body| body.replace(r#""city":"Bath""#, r#""city":"BATH""#));
    }
}

struct Run {
    name: &'static str,
    requests: u64,
    paired: bool,
    fault: Fault,
}

impl Run {
    fn judge(&self) -> TargetReport {
        let mut random = Random(7);
        let mut verdict = Verdict::new(Settings { same_load: self.paired, ..Settings::default() });
        let mut samples = Samples::default();
        let rules = Rules::default();
        let (mut answered, mut failed) = (0, BTreeMap::new());
        for _ in 0..self.requests {
            let request = request(&mut random);
            let id = random.bytes();
            let key =
                RequestKey { id: &id, method: request.method, path: &request.path, again: false };
            if random.happens(0.004) {
                verdict.not_compared(&key, "no_recorded_answer");
                continue;
            }
            let old = good(&mut random, &request);
            let second = good(&mut random, &request);
            let mut new = good(&mut random, &request);
            (self.fault)(&mut random, &request, &mut new);

            let rules = rules.for_request(request.method, &request.path);
            let found = differences(&old, &new, &rules);
            let noise: Option<Vec<Difference>> =
                self.paired.then(|| differences(&old, &second, &rules));
            verdict.compared(&key, &found, noise.as_deref());
            verdict.answered(&key, &old, &new, &rules);
            let offered = Offered {
                id: &id,
                at: Some("2026-11-22T10:20:30Z"),
                method: request.method,
                path: &request.path,
                query: &request.query,
            };
            samples.offer(&offered, &found, &old, &new, &rules);
            match new.failure {
                Some(failure) => *failed.entry(failure).or_insert(0) += 1,
                None => answered += 1,
            }
        }
        let compare = verdict.finish();
        TargetReport {
            name: self.name.to_owned(),
            url: format!("http://{}.shop.internal:8080", self.name),
            sent: answered + failed.values().sum::<u64>(),
            answered,
            failed,
            skipped: BTreeMap::new(),
            gate: None,
            exchanges: samples.exchanges(&compare),
            compare,
        }
    }
}
