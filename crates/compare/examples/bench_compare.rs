//! Prints what comparing costs: `cargo run --release -p umbra-compare --example
//! bench_compare`. 100,000 pairs of answers with 2 KB of JSON each, for several ways in
//! which they are equal or not, and then what an enemy's stream can make the state be.

use std::{hint::black_box, time::Instant};

use umbra_compare::{Answer, Body, Difference, Kind, RequestKey, Rules, Verdict, differences};
use umbra_record::pb;

const ROUNDS: u32 = 100_000;

fn main() {
    let old = answer(0, false);
    println!("{} bytes of JSON, {ROUNDS} comparisons each", old.body.bytes.len());
    let cases = [
        ("the same bytes", answer(0, false), ""),
        ("members in another order", answer(0, true), ""),
        ("one value in 20 elements differs", answer(1, false), ""),
        ("the same, tolerated", answer(1, false), "body.items[].price ~5"),
        ("the same, ignored on one endpoint", answer(1, false), "GET /users/{id} body"),
    ];
    for (name, new, rule) in cases {
        let rules = if rule.is_empty() { vec![] } else { vec![rule] };
        let rules = Rules::new(&rules).unwrap_or_default();
        run(name, &old, &new, &rules);
    }
    hostile();
    println!("{}", peak());
}

/// Without a second good answer: with one it is twice as much.
fn run(name: &str, old: &Answer, new: &Answer, rules: &Rules) {
    let start = Instant::now();
    for _ in 0..ROUNDS {
        black_box(differences(black_box(old), black_box(new), rules));
    }
    let compared = start.elapsed().as_secs_f64();
    let mut verdict = Verdict::default();
    let start = Instant::now();
    for id in 0..ROUNDS {
        let path = format!("/users/{id}");
        let id = id.to_be_bytes();
        let request = RequestKey { id: &id, method: "GET", path: &path, again: false };
        let rules = rules.for_request("GET", &path);
        verdict.compared(&request, &differences(old, new, &rules), None);
        verdict.answered(&request, old, new, &rules);
    }
    let counted = start.elapsed().as_secs_f64();
    println!(
        "{name}: {:.0}/s ({:.2} µs), with its verdict {:.0}/s; state {} bytes packed",
        f64::from(ROUNDS) / compared,
        compared * 1e6 / f64::from(ROUNDS),
        f64::from(ROUNDS) / counted,
        verdict.to_bytes().len()
    );
}

/// Every request a new path, every answer new keys with long names.
fn hostile() {
    let mut verdict = Verdict::default();
    let start = Instant::now();
    for id in 0..ROUNDS {
        let list: Vec<Difference> = (0..10)
            .map(|at| {
                let field = format!("body.k{}{}", id * 10 + at, "x".repeat(150));
                Difference::new(field, Kind::Value, "1 \u{2192} 2".repeat(30))
            })
            .collect();
        let path = format!("/a{}z/b{}z/c{id}z", id % 97, id % 1009);
        let id = id.to_be_bytes();
        let request = RequestKey { id: &id, method: "GET", path: &path, again: true };
        verdict.compared(&request, &list, None);
    }
    let report = verdict.finish();
    println!(
        "hostile stream: {:.0}/s; {} endpoints, {} fields; state {} bytes packed",
        f64::from(ROUNDS) / start.elapsed().as_secs_f64(),
        report.endpoints.len(),
        report.findings.len() + report.findings_omitted,
        verdict.to_bytes().len()
    );
}

/// Most memory this process has had.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    format!("peak of memory: {}", line.trim_start_matches("VmHWM:").trim())
}

/// A list of 20 objects; `change` is in one of them.
fn answer(change: u32, turned: bool) -> Answer {
    let item = |at: u32| {
        let price = if at == 7 { 10 + change } else { 10 };
        let (sku, rest) = (
            format!(r#""sku":"item-{at:04}""#),
            format!(
                r#""name":"A thing of number {at}","price":{price}.50,"stock":[1,2,3],"on":true"#
            ),
        );
        if turned { format!("{{{rest},{sku}}}") } else { format!("{{{sku},{rest}}}") }
    };
    let items: Vec<String> = (0..20).map(item).collect();
    let header = |name: &str, value: &str| pb::Header {
        name: name.to_owned().into(),
        value: value.to_owned().into(),
    };
    Answer {
        status: 200,
        headers: vec![
            header("Content-Type", "application/json"),
            header("Date", &format!("Sun, 22 Nov 2026 10:00:0{change} GMT")),
            header("Cache-Control", "no-store, private"),
        ],
        body: Body::whole(format!(r#"{{"items":[{}]}}"#, items.join(","))),
        ..Default::default()
    }
}
