//! What counts towards the limit of a job.

use std::collections::BTreeMap;

use super::Spent;
use crate::pipeline::ends::Partition;

fn of(told: &[(u32, u64)], partitions: Vec<(u32, Partition)>) -> (u64, u64, u64) {
    let partitions: BTreeMap<u32, Partition> = partitions.into_iter().collect();
    let told: BTreeMap<u32, u64> = told.iter().copied().collect();
    let Spent { elsewhere, counted, held } = Spent::of(1000, &told, &partitions);
    (elsewhere, counted, held)
}

#[test]
fn a_finished_partition_that_is_read_again_counts_once() {
    // Its counts came with it, and the journal has them.
    let again = || Partition::inherited(true, false, 100);
    assert_eq!(of(&[(3, 100)], vec![(3, again())]), (1100, 0, 0));
    // The journal does not know of it: it counts as what is read here.
    assert_eq!(of(&[], vec![(3, again())]), (1000, 0, 100));
    // Told by this process, heard or not.
    let counted = || Partition::inherited(true, true, 100);
    assert_eq!(of(&[], vec![(3, counted())]), (1000, 100, 0));
    assert_eq!(of(&[(3, 100)], vec![(3, counted())]), (1000, 100, 0));
    // Neither read here nor counted here.
    assert_eq!(of(&[(3, 100)], vec![(3, Partition::inherited(false, false, 40))]), (1100, 0, 0));
    // Of a partition that was never met.
    assert_eq!(of(&[(3, 100), (4, 7)], vec![(3, again())]), (1107, 0, 0));
}
