//! Quantiles, intervals, signs.

use super::*;
use crate::verdict::tally::Sign;

const MS: u64 = 1_000_000;

fn near(one: f64, other: f64) -> bool {
    (one - other).abs() <= 0.05 * other.abs() + 1e-9
}

#[test]
fn quantiles_within_five_percent() {
    let mut times = Latencies::default();
    for ms in 1..=1000 {
        times.count(ms * MS, ms * MS + 50 * MS, Sign::Add);
    }
    let told = times.summary(true).unwrap();
    assert!(near(told.expected_p50_ms, 500.0) && near(told.expected_p99_ms, 990.0), "{told:?}");
    assert!(near(told.actual_p50_ms, 550.0) && near(told.actual_p99_ms, 1040.0), "{told:?}");
    assert!(near(told.difference_ms, 50.0), "{told:?}");
    assert!(told.difference_low_ms <= told.difference_ms);
    assert!(told.difference_high_ms >= told.difference_ms);
}

#[test]
fn a_pair_is_slower_only_beyond_the_margin() {
    let mut times = Latencies::default();
    times.count(100 * MS, 105 * MS, Sign::Add);
    times.count(100 * MS, 120 * MS, Sign::Add);
    times.count(120 * MS, 100 * MS, Sign::Add);
    times.count(1000, 500_000, Sign::Add);
    assert_eq!((times.pairs, times.slower, times.faster), (4, 1, 1));
}

#[test]
fn parts_add_up_and_ends_hold() {
    let (mut one, mut other, mut all) =
        (Latencies::default(), Latencies::default(), Latencies::default());
    for ns in [0, 1, 999, 1000, 123_456_789, u64::MAX] {
        one.count(ns, 1, Sign::Add);
        other.count(1, ns, Sign::Add);
        all.count(ns, 1, Sign::Add);
        all.count(1, ns, Sign::Add);
    }
    one.merge(other);
    assert_eq!(one.summary(false), all.summary(false));
    assert_eq!(Latencies::default().summary(false), None);
}

#[test]
fn the_interval_holds_the_median() {
    // Of 100 runs the true median, 0, is missed in about 5.
    let mut missed = 0;
    let mut state = 9u64;
    for _ in 0..100 {
        let mut times = Latencies::default();
        for _ in 0..101 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            times.count(50 * MS, (state >> 33) % (100 * MS), Sign::Add);
        }
        let told = times.summary(true).unwrap();
        missed += u32::from(told.difference_low_ms > 0.0 || told.difference_high_ms < 0.0);
    }
    assert!(missed <= 12, "{missed}");
}
