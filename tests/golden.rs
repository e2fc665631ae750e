//! A recording of version 1, made by that version: every later version reads it,
//! record by record, and replays it byte by byte. It is never made anew.

use std::path::Path;

use crate::support::{
    process::Umbra,
    shadow::{Manner, Shadow},
};

fn golden(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden")
        .join(name)
        .display()
        .to_string()
}

/// A line as it was, as far as that version knew it: keys may be added since.
fn is_in(old: &serde_json::Value, new: &serde_json::Value) -> bool {
    match (old, new) {
        (serde_json::Value::Object(old), serde_json::Value::Object(new)) => {
            old.iter().all(|(key, value)| new.get(key).is_some_and(|new| is_in(value, new)))
        }
        _ => old == new,
    }
}

#[test]
fn a_recording_of_version_1_is_read() {
    let cat = Umbra::new("log cat").arg(golden("v1.mcap")).flag("output", "json").run();
    assert_eq!(cat.code, Some(0), "{}", cat.stderr);
    let known = std::fs::read_to_string(golden("v1.jsonl")).unwrap();
    assert_eq!(cat.stdout.lines().count(), known.lines().count());
    for (new, old) in cat.stdout.lines().zip(known.lines()) {
        let parse = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
        assert!(is_in(&parse(old), &parse(new)), "was {old}\nis {new}");
    }
}

#[test]
fn a_recording_of_version_1_is_replayed() {
    // A job keeps its progress beside the recording: a copy, so that none is there.
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("v1.mcap");
    std::fs::copy(golden("v1.mcap"), &copy).unwrap();
    let shadow = Shadow::start(Manner::Answer(200));
    let result = Umbra::new("replay")
        .flag("log", copy.to_str().unwrap())
        .flag("target", shadow.url())
        .flag("rate", "max")
        .result();
    assert_eq!(result["targets"]["shadow"]["answered"], 8, "{result}");
    let arrivals = shadow.arrivals();
    let find = |start: &str| {
        let found = arrivals.iter().find(|a| a.message.start.starts_with(start));
        &found.unwrap_or_else(|| panic!("{start} did not arrive")).message
    };
    let first = find("GET /first?a=1&b=%zz HTTP/1.1");
    assert_eq!(first.header("host"), Some(b"Shop.Example-shadow:8080".as_slice()));
    assert_eq!(first.header("x-latin"), Some(b"caf\xe9 \xff\x80".as_slice()));
    assert!(first.headers.contains(&("x-dUP".into(), b"two, three".to_vec())));
    let chunked = find("POST /chunked ");
    assert_eq!((chunked.body.as_slice(), chunked.chunked), (b"abc\x00\xff\xfe!".as_slice(), true));
    assert_eq!(chunked.trailers[0], ("X-Check".into(), vec![0xfe]));
    assert_eq!(find("PUT /big ").body, b"umbra ".repeat(100_000));
    find("HEAD /moved? ");
    find("OPTIONS * ");
}
