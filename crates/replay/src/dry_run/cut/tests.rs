use super::*;
use crate::config::Stage;

#[test]
fn a_rate_sends_what_is_due_before_the_end() {
    let second = Duration::from_secs(1);
    assert_eq!(sends_within(&Profile::constant(10.0), second), 10);
    assert_eq!(sends_within(&Profile::constant(0.5), second), 1);
    let stages = [Stage { duration: second, rate: 100.0 }, Stage { duration: second, rate: 0.0 }];
    assert_eq!(sends_within(&Profile::stages(&stages), Duration::MAX), 100);
}

#[test]
fn recorded_time_is_cut_at_the_end_of_the_duration() {
    let seconds = Duration::from_secs;
    let second = 1_000_000_000;
    // 0, 1, … 9 s: what is due at 5 s is not sent any more.
    assert_eq!(recorded(seconds(5), 1.0, 0, 9 * second), (0, 5 * second));
    assert_eq!(recorded(seconds(5), 1.5, 0, 9 * second), (0, 7 * second + second / 2));
    assert_eq!(recorded(seconds(20), 1.0, 100, 9 * second), (2, 2 * second + 100));
    assert_eq!(recorded(seconds(9), 1.0, 0, 9 * second), (0, 9 * second));
    assert_eq!(recorded(seconds(9), 1.0, 0, 0), (u64::MAX, u64::MAX));
}

#[test]
fn the_earliest_are_kept_whatever_their_order() {
    let cut = Cut { passes: 0, rest: Some((3, 100)), first_ns: 1 };
    let mut earliest = Earliest::new(&cut);
    for at in [50, 7, 99, 100, 1, 120, 8] {
        earliest.take((at, 0, at), (at == 7).then(|| "PUT /".to_owned()));
    }
    let found = earliest.result();
    assert_eq!((found.requests, found.span), (3, Some((1, 8))));
    assert_eq!(found.writes["PUT /"], 1);
}
