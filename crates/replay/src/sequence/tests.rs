use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const AGENT: [u8; 16] = [1; 16];

#[test]
fn what_an_agent_wrote_twice_is_met_once() {
    let mut seen = Seen::default();
    assert!(seen.is_new(AGENT, 0, (0, 0), 1));
    assert!(seen.is_new(AGENT, 0, (0, 1), 2));
    assert!(!seen.is_new(AGENT, 0, (0, 2), 1));
    assert!(!seen.is_new(AGENT, 0, (0, 3), 2));
    assert!(seen.is_new(AGENT, 0, (0, 4), 3));
    assert!(seen.is_new(AGENT, 1, (0, 5), 1), "another lane");
    assert!(seen.is_new([2; 16], 0, (0, 6), 1), "another agent");
    assert!(seen.is_new(AGENT, 0, (1, 0), 1), "another partition");
}

#[test]
fn what_the_log_delivers_again_is_no_duplicate() {
    let mut seen = Seen::default();
    assert!(seen.is_new(AGENT, 0, (0, 10), 1));
    assert!(seen.is_new(AGENT, 0, (0, 10), 1));
    seen.restart(0, 8);
    assert!(seen.is_new(AGENT, 0, (0, 8), 0));
    assert!(seen.is_new(AGENT, 0, (0, 10), 1));
    assert!(!seen.is_new(AGENT, 0, (0, 11), 1));
}

proptest! {
    #[test]
    fn agrees_with_a_set(sequences in prop::collection::vec(1u64..60, 1..300)) {
        let mut seen = Seen::default();
        let mut set = BTreeSet::new();
        for (offset, sequence) in sequences.into_iter().enumerate() {
            let new = seen.is_new(AGENT, 0, (0, offset as u64), sequence);
            prop_assert_eq!(new, set.insert(sequence));
        }
    }

    #[test]
    fn memory_stays_bounded(step in 2u64..9, n in 1u64..2000) {
        let mut seen = Seen::default();
        for at in 0..n {
            seen.is_new(AGENT, 0, (0, at), 1 + at * step);
        }
        prop_assert!(seen.lanes[&(AGENT, 0, 0)].len() <= MAX_RUNS);
    }
}
