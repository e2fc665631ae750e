use super::*;

fn run(first: u64, last: u64) -> LostRun {
    LostRun { first_sequence: first, last_sequence: last, requests: 1, from_ns: 5, to_ns: 9 }
}

fn at(number: u64) -> At {
    At { way: Way::Log, partition: 1, number }
}

/// Gaps with a hole at every second sequence.
fn holes(count: u64) -> Gaps {
    let mut gaps = Gaps::default();
    for n in 0..count {
        gaps.add_run("log_failed", 0, 3, run(2 * n + 1, 2 * n + 1));
    }
    gaps
}

/// Tells all of it to a log that takes so many ranges a record.
fn tell(gaps: &mut Gaps, most: usize) -> Vec<Gap> {
    let mut told = Vec::new();
    for number in 1.. {
        let Some((reason, gap)) = gaps.take() else { break };
        assert!(number < 10_000, "it never ends");
        if gap.ranges.len() > most {
            gaps.too_large(reason, gap);
        } else {
            told.push(gap.clone());
            gaps.sent(reason, gap, at(number));
            gaps.settle(1, number);
        }
    }
    assert!(gaps.are_told());
    told
}

#[test]
fn a_gap_that_is_lost_is_told_again_with_what_came_since() {
    let mut gaps = Gaps::default();
    gaps.add_run("log_failed", 0, 3, run(4, 6));
    let (reason, gap) = gaps.take().unwrap();
    gaps.sent(reason, gap, at(10));
    assert!(gaps.are_written() && !gaps.are_told());
    gaps.settle(1, 9);
    gaps.settle(0, 100);
    gaps.lost(|at| (11..=12).contains(&at.number), "log_failed");
    assert!(gaps.take().is_none(), "another entry was lost");
    gaps.add_run("log_failed", 0, 3, run(7, 7));
    gaps.lost(|at| (9..=10).contains(&at.number), "log_failed");
    let (_, again) = gaps.take().unwrap();
    assert_eq!((again.requests, again.ranges.len()), (2, 1));
    assert_eq!((again.ranges[0].first, again.ranges[0].last), (4, 7));
    gaps.sent(reason, again, at(11));
    gaps.settle(1, 11);
    assert!(gaps.are_told());
}

#[test]
fn a_gap_above_the_record_limit_is_told_in_pieces() {
    let mut gaps = holes(2000);
    gaps.add("tee_full", 3, 1, 2);
    let told = tell(&mut gaps, 300);
    assert_eq!(told.iter().map(|gap| gap.requests).sum::<u64>(), 2003);
    let mut firsts: Vec<_> =
        told.iter().flat_map(|gap| &gap.ranges).map(|range| range.first).collect();
    firsts.sort_unstable();
    assert_eq!(firsts, (0..2000).map(|n| 2 * n + 1).collect::<Vec<_>>());
}

#[test]
fn without_room_for_one_range_the_requests_are_told_all_the_same() {
    let told = tell(&mut holes(100), 0);
    assert_eq!(told.iter().map(|gap| gap.requests).sum::<u64>(), 100);
    assert!(told.iter().all(|gap| gap.ranges.is_empty()));
}

#[test]
fn what_the_broker_finds_too_large_is_told_in_pieces_too() {
    let mut gaps = holes(8);
    let (reason, gap) = gaps.take().unwrap();
    assert_eq!(gap.ranges.len(), 8);
    gaps.sent(reason, gap, at(1));
    gaps.lost(|at| at.number == 1, "too_large");
    assert_eq!(gaps.take().unwrap().1.ranges.len(), 4);
    assert_eq!(gaps.take().unwrap().1.ranges.len(), 4);
    assert!(gaps.take().is_none());
}

#[test]
fn what_is_on_its_way_is_bounded() {
    let mut gaps = Gaps::default();
    let mut number = 0;
    for n in 0..1000 {
        gaps.add_run("log_failed", 0, 3, run(2 * n + 1, 2 * n + 1));
        while let Some((reason, gap)) = gaps.take() {
            number += 1;
            gaps.sent(reason, gap, at(number));
        }
    }
    assert_eq!((gaps.sent.len(), gaps.open.len()), (MAX_SENT, 1));
    gaps.lost(|at| at.number <= number, "log_failed");
    assert!(gaps.sent.is_empty());
    let told = tell(&mut gaps, MAX_RANGES);
    assert_eq!(told.iter().map(|gap| gap.requests).sum::<u64>(), 1000);
    assert_eq!(told.iter().map(|gap| gap.ranges.len()).sum::<usize>(), 1000);
}
