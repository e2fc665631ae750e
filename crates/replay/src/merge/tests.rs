use proptest::prelude::*;

use super::*;

#[test]
fn waits_for_every_partition_that_may_have_something_earlier() {
    let mut merge = Merge::default();
    merge.hold(0, 0);
    merge.hold(1, 0);
    merge.insert((50, 0, 0), 1);
    assert_eq!(merge.sure_at(10), Some(SILENT_NS));
    merge.insert((40, 1, 0), 2);
    assert_eq!(merge.sure_at(10), None);
    assert_eq!(merge.first(), Some(((40, 1, 0), 2)));
    merge.remove(&(40, 1, 0));
    assert_eq!(merge.sure_at(10), Some(SILENT_NS));
    merge.at_end(1);
    assert_eq!(merge.sure_at(10), None);
    merge.heard(1, 20);
    assert_eq!(merge.sure_at(20), Some(20 + SILENT_NS));
    assert_eq!(merge.sure_at(20 + SILENT_NS), None, "silent for long enough");
    merge.heard(1, 30 + SILENT_NS);
    merge.release(1);
    assert_eq!(merge.sure_at(30 + SILENT_NS), None);
}

proptest! {
    #[test]
    fn gives_all_in_order_of_capture(times in prop::collection::vec((0u64..1000, 0u32..4), 0..100)) {
        let mut merge = Merge::default();
        for (offset, (time, partition)) in times.iter().enumerate() {
            merge.insert((*time, *partition, offset as u64), offset as u64);
        }
        let mut got = Vec::new();
        while let Some((place, ticket)) = merge.first() {
            prop_assert_eq!(merge.remove(&place), Some(ticket));
            got.push(place.0);
        }
        let mut sorted: Vec<u64> = times.iter().map(|(time, _)| *time).collect();
        sorted.sort_unstable();
        prop_assert_eq!(got, sorted);
    }
}
