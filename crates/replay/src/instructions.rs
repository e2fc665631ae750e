//! What the steps that every request goes through cost, on fixed inputs. As tests they
//! see that the steps do what they should; `bench/instructions.py` runs the same
//! functions under valgrind and compares how many instructions they take with
//! `bench/instructions.json`, which tells a slower step from a busy machine.

use std::{collections::BTreeSet, hint::black_box, sync::Arc};

use bytes::Bytes;
use umbra_compare::{Answer, Body, RequestKey, Rules, Verdict, differences};
use umbra_record::{
    decode::decode,
    encode::{Envelope, RequestParts},
    hash, pb,
    select::{self, RequestView, Selection},
};

use crate::{clock::Anchor, config::Pace, pacer::Pacer, share::Roster};

const NOW: u64 = 1_790_000_000_000_000_000;
const ROUNDS: usize = 200;

type Headers = Vec<(&'static [u8], &'static [u8])>;

fn headers() -> Headers {
    vec![
        (b"Host", b"shop.example:8000"),
        (b"User-Agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
        (b"Accept", b"text/html,application/xhtml+xml,application/xml;q=0.9"),
        (b"Accept-Encoding", b"gzip, deflate, br, zstd"),
        (b"Cookie", b"sid=0123456789abcdef0123456789abcdef; theme=dark"),
        (b"X-Request-Id", b"550e8400-e29b-41d4-a716-446655440000"),
        (b"Content-Type", b"application/json"),
        (b"Content-Length", b"1024"),
    ]
}

fn encoded(headers: &Headers, body: &[u8], out: &mut Vec<u8>) {
    let pieces = [&body[..512], &body[512..]];
    let request = RequestParts {
        id: [7; 16],
        start_ns: NOW,
        peer: "10.0.0.1:50000",
        scheme: "http",
        method: b"POST",
        authority: b"shop.example:8000",
        path: b"/api/v1/orders",
        query: Some(b"page=1"),
        headers,
        body: Some(&pieces),
        body_length: body.len() as u64,
        body_hash: Some(hash::of(body)),
        upstream: "http://127.0.0.1:9001",
        ..Default::default()
    };
    request.encode(out);
    Envelope { agent: [1; 16], lane: 1, key: b"0123456789", sequence: 99 }.encode(out);
}

#[inline(never)]
fn count_encode(headers: &Headers, body: &[u8], out: &mut Vec<u8>) {
    for _ in 0..ROUNDS {
        out.clear();
        encoded(black_box(headers), body, out);
    }
}

#[inline(never)]
fn count_decode(payload: &Bytes) -> usize {
    (0..ROUNDS).filter(|_| decode(black_box(payload).clone()).is_ok()).count()
}

#[inline(never)]
fn count_select(selection: &Selection, view: &RequestView<'_>) -> usize {
    (0..ROUNDS).filter(|_| selection.decide(black_box(view)).is_selected()).count()
}

#[inline(never)]
fn count_pace(pacer: &mut Pacer) -> u64 {
    let mut last = 0;
    for _ in 0..ROUNDS {
        if let Some(due) = pacer.next(0, 0, last) {
            last = due;
            pacer.took(due, 0);
        }
    }
    last
}

#[inline(never)]
fn count_compare(old: &Answer, new: &Answer, rules: &Rules, verdict: &mut Verdict) -> usize {
    let mut found = 0;
    for id in 0..ROUNDS as u32 / 10 {
        let path = format!("/users/{id}");
        let id = id.to_be_bytes();
        let request = RequestKey { id: &id, method: "GET", path: &path, again: false };
        let rules = rules.for_request("GET", &path);
        let list = differences(black_box(old), new, &rules);
        found += list.len();
        verdict.compared(&request, &list, None);
    }
    found
}

#[test]
fn encodes() {
    let (headers, body, mut out) = (headers(), vec![b'x'; 1024], Vec::with_capacity(4096));
    count_encode(&headers, &body, &mut out);
    assert!((1500..2500).contains(&out.len()), "{}", out.len());
}

#[test]
fn decodes() {
    let mut out = Vec::new();
    encoded(&headers(), &[b'x'; 1024], &mut out);
    let payload = Bytes::from(out);
    let record = decode(payload.clone()).unwrap();
    assert!(matches!(record.body, Some(pb::record::Body::Request(_))), "{record:?}");
    assert_eq!(count_decode(&payload), ROUNDS);
}

#[test]
fn selects() {
    let rules = select::Rules {
        hosts: vec!["*.example".to_owned()],
        skip_paths: vec!["/health*".to_owned()],
        percent: Some("100".to_owned()),
        ..select::Rules::default()
    };
    let selection = Selection::new(&rules, "capture").unwrap();
    let headers = headers();
    let view = RequestView {
        method: b"POST",
        authority: b"shop.example:8000",
        path: b"/api/v1/orders",
        query: None,
        headers: &headers,
        peer: "10.0.0.1:50000",
        id: &[7; 16],
        size: None,
    };
    assert_eq!(count_select(&selection, &view), ROUNDS);
}

/// A replica that holds 10 of 10,000 partitions.
#[test]
fn paces() {
    let all: BTreeSet<u32> = (0..10_000).collect();
    let mut pacer = Pacer::new(&Pace::Rate(100_000.0));
    pacer.anchor(Anchor { t0_ns: 0, wall0_ns: NOW });
    pacer.share(Arc::new(Roster::of(all, &[], NOW)), (0..10).map(|one| one * 1000).collect(), 0);
    // Ours come every 10 ms.
    assert_eq!(count_pace(&mut pacer), NOW + (ROUNDS as u64 - 1) * 10_000_000);
}

#[test]
fn compares() {
    let item = |at: u32, price: u32| {
        format!(r#"{{"sku":"item-{at:04}","name":"A thing","price":{price},"stock":[1,2,3]}}"#)
    };
    let answer = |price: u32| {
        let items: Vec<String> =
            (0..20).map(|at| item(at, if at == 7 { price } else { 10 })).collect();
        Answer {
            status: 200,
            headers: vec![pb::Header {
                name: Bytes::from_static(b"Content-Type"),
                value: Bytes::from_static(b"application/json"),
            }],
            body: Body::whole(format!(r#"{{"items":[{}]}}"#, items.join(","))),
            ..Answer::default()
        }
    };
    let found = count_compare(&answer(10), &answer(11), &Rules::default(), &mut Verdict::default());
    assert_eq!(found, ROUNDS / 10);
}
