//! Form, order and uniqueness of ids.

use std::collections::HashSet;

use super::*;

const NOW: u64 = 1_790_000_000_123_456_789;

#[test]
fn an_id_is_a_uuid_of_version_7_with_its_time() {
    let id = uuid::Uuid::from_bytes(IdGenerator::new().next(NOW));
    assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
    let (seconds, nanoseconds) = id.get_timestamp().unwrap().to_unix();
    assert_eq!((seconds, nanoseconds / 1_000_000), (1_790_000_000, 123));
}

#[test]
fn ids_increase_also_when_the_clock_goes_back() {
    let mut ids = IdGenerator::new();
    let mut before = ids.next(NOW);
    for step in 0..100_000u64 {
        let id = ids.next(NOW + (step % 7) * 300_000 - (step % 3) * 1_000_000);
        assert!(id > before);
        before = id;
    }
}

#[test]
fn an_exhausted_counter_borrows_from_the_next_millisecond() {
    let mut ids = IdGenerator::new();
    ids.next(NOW);
    ids.counter = u32::MAX - 1;
    let (one, two, three) = (ids.next(NOW), ids.next(NOW), ids.next(NOW));
    assert!(one < two && two < three);
}

#[test]
fn generators_are_independent() {
    let mut generators: Vec<IdGenerator> = (0..8).map(|_| IdGenerator::new()).collect();
    let ids: HashSet<_> =
        (0..80_000).map(|at| generators[at % 8].next(NOW + at as u64 * 100)).collect();
    assert_eq!(ids.len(), 80_000);
}

#[test]
fn equal_seeds_give_equal_ids() {
    let ids = |a, b| {
        let mut ids = IdGenerator::with_seed(a, b);
        (0..10).map(|_| ids.next(NOW)).collect::<Vec<_>>()
    };
    assert_eq!(ids(1, 2), ids(1, 2));
    assert_ne!(ids(1, 2), ids(1, 4));
    assert_ne!(ids(1, 2), ids(2, 2));
}

#[test]
fn text_and_back() {
    let id = IdGenerator::new().next(NOW);
    let shown = text(&id);
    assert_eq!(shown.len(), 36);
    assert_eq!(parse(&shown), Some(id));
    assert_eq!(parse(&shown.to_uppercase()), Some(id));
    assert_eq!(parse("nonsense"), None);
    assert_eq!(text(&[0xab, 1]), "ab01");
}
