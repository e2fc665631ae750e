//! What a bucket gives, and what fills it.

use super::*;

#[test]
fn a_burst_is_taken_and_then_the_rate() {
    let start = Instant::now();
    let mut bucket = Bucket::new(10, 5, start);
    assert_eq!((0..100).filter(|_| bucket.take(|| start)).count(), 10);
    let later = start + Duration::from_secs(1);
    assert_eq!((0..100).filter(|_| bucket.take(|| later)).count(), 5);
    let much_later = start + Duration::from_secs(1000);
    assert_eq!((0..100).filter(|_| bucket.take(|| much_later)).count(), 10);
}

#[test]
fn time_in_small_pieces_is_not_lost() {
    let start = Instant::now();
    let mut bucket = Bucket::new(10, 5, start);
    while bucket.take(|| start) {}
    let taken = (1..=1000).filter(|at| bucket.take(|| start + Duration::from_millis(*at))).count();
    assert_eq!(taken, 5);
}

#[test]
fn useful_work_fills_it_up_to_the_brim() {
    let start = Instant::now();
    let mut bucket = Bucket::new(10, 0, start);
    while bucket.take(|| start) {}
    bucket.earn(3);
    assert_eq!((0..100).filter(|_| bucket.take(|| start)).count(), 3);
    bucket.earn(1000);
    assert_eq!((0..100).filter(|_| bucket.take(|| start)).count(), 10);
}
