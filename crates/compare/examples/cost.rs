//! Prints what comparing costs: `cargo run --release -p umbra-compare --example cost`.
//! 100,000 triples of answers with 2 KB of JSON each, half of them with differences.

use std::time::Instant;

use umbra_compare::{Answer, Body, RequestKey, Rules, Verdict, differences};
use umbra_record::pb;

const ROUNDS: u32 = 100_000;

fn main() {
    let rules = Rules::default();
    let mut verdict = Verdict::default();
    let equal = answer(0);
    let start = Instant::now();
    for id in 0..ROUNDS {
        let candidate = answer(id % 2);
        let path = format!("/users/{id}");
        let id = id.to_be_bytes();
        let request = RequestKey { id: &id, method: "GET", path: &path, again: false };
        let noise = differences(&equal, &answer(0), &rules);
        verdict.compared(&request, &differences(&equal, &candidate, &rules), Some(&noise));
    }
    let took = start.elapsed().as_secs_f64();
    let report = verdict.finish();
    let state = serde_json::to_vec(&verdict).map_or(0, |state| state.len());
    println!("{:.0} requests/s, {} findings", f64::from(ROUNDS) / took, report.findings.len());
    println!("state of {state} bytes as JSON");
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
        println!("{peak}");
    }
}

/// A list of 20 objects; `change` is in one of them.
fn answer(change: u32) -> Answer {
    let item = |at: u32| {
        let price = if at == 7 { 10 + change } else { 10 };
        format!(
            r#"{{"sku":"item-{at:04}","name":"A thing of number {at}","price":{price}.50,"stock":[1,2,3],"on":true}}"#
        )
    };
    let items: Vec<String> = (0..20).map(item).collect();
    let header = pb::Header { name: "Content-Type".into(), value: "application/json".into() };
    Answer {
        status: 200,
        headers: vec![header],
        body: Body::whole(format!(r#"{{"items":[{}]}}"#, items.join(","))),
        ..Default::default()
    }
}
