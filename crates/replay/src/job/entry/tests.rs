//! What is told in earnest passes, what cannot be does not.

use std::collections::BTreeMap;

use umbra_record::pb::pace;

use super::*;

fn entry(entry: Entry) -> pb::JobEntry {
    pb::JobEntry { entry: Some(entry), ..Default::default() }
}

fn clock(rate_position: u64, rate: f64) -> pb::JobEntry {
    entry(Entry::Clock(pb::ClockEpoch {
        wall0_ns: u64::MAX,
        rate_position,
        pace: Some(pb::Pace { pace: Some(pace::Pace::Rate(rate)) }),
        ..Default::default()
    }))
}

#[test]
fn what_is_told_in_earnest_passes() {
    let status = BTreeMap::from([("200".into(), 7)]);
    let counts = pb::Counts { sent: 1 << 40, status, ..Default::default() };
    let done = pb::PartitionDone { counts: Some(counts), ..Default::default() };
    for entry in [clock(1 << 40, 1e6), entry(Entry::Done(done))] {
        assert_eq!(decode(&entry.encode_to_vec()[..]), Some(entry));
    }
}

#[test]
fn what_cannot_be_is_passed_over() {
    let run = entry(Entry::End(pb::JobEnd { run: u32::MAX, ..Default::default() }));
    for entry in [clock(u64::MAX, 1.0), clock(0, f64::INFINITY), clock(0, f64::NAN), run] {
        assert_eq!(decode(&entry.encode_to_vec()[..]), None);
    }
    assert_eq!(decode(&b"\xff"[..]), None);
}
