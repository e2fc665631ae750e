use super::*;

fn runs(of: &[(u64, u64)]) -> Runs {
    let mut runs = Runs::default();
    of.iter().for_each(|&(first, last)| runs.add(Run { first, last, at_ns: first }));
    runs
}

fn pairs(runs: impl IntoIterator<Item = Run>) -> Vec<(u64, u64)> {
    runs.into_iter().map(|run| (run.first, run.last)).collect()
}

#[test]
fn neighbours_and_overlaps_become_one_run() {
    let mut set = runs(&[(10, 12), (20, 22), (14, 15)]);
    assert_eq!(pairs(set.iter()), [(10, 12), (14, 15), (20, 22)]);
    set.add(Run { first: 13, last: 13, at_ns: 99 });
    assert_eq!(pairs(set.iter()), [(10, 15), (20, 22)]);
    set.add(Run { first: 5, last: 40, at_ns: 99 });
    assert_eq!(set.iter().collect::<Vec<_>>(), [Run { first: 5, last: 40, at_ns: 10 }]);
}

#[test]
fn taking_a_number_out_splits_its_run() {
    let mut set = runs(&[(1, 5)]);
    assert!(set.take(3) && !set.take(3));
    assert!(set.take(1) && set.take(5));
    assert!(!set.take(6) && !set.take(0));
    assert_eq!(pairs(set.iter()), [(2, 2), (4, 4)]);
}

#[test]
fn difference_agrees_with_counting_one_by_one() {
    // All pairs of small sets, against the slow way.
    let sets: Vec<Vec<u64>> =
        (0..128_u64).map(|bits| (1..8).filter(|n| bits >> (n - 1) & 1 == 1).collect()).collect();
    for (left, right) in sets.iter().flat_map(|l| sets.iter().map(move |r| (l, r))) {
        let of = |numbers: &[u64]| runs(&numbers.iter().map(|&n| (n, n)).collect::<Vec<_>>());
        let got = of(left).without(&of(right), 2, 6);
        let got: Vec<u64> = got.into_iter().flat_map(|run| run.first..=run.last).collect();
        let want: Vec<u64> =
            left.iter().copied().filter(|n| (2..=6).contains(n) && !right.contains(n)).collect();
        assert_eq!(got, want, "{left:?} without {right:?}");
    }
}

#[test]
fn the_ends_of_numbers_are_safe() {
    let mut set = runs(&[(u64::MAX - 2, u64::MAX), (u64::MAX, u64::MAX), (0, 0)]);
    assert_eq!(pairs(set.iter()), [(0, 0), (u64::MAX - 2, u64::MAX - 1)]);
    assert!(set.take(u64::MAX - 1) && !set.take(u64::MAX) && set.take(0));
    set.add(Run { first: 0, last: u64::MAX, at_ns: 0 });
    assert_eq!(pairs(set.iter()), [(0, u64::MAX - 1)]);
    assert_eq!(set.iter().next().map(Run::count), Some(u64::MAX));
    assert!(set.without(&runs(&[(0, u64::MAX)]), 0, u64::MAX).is_empty());
}
