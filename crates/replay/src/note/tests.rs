use super::*;

const AGENT: [u8; 16] = [7; 16];

fn counts(sent: u64, ok: u64) -> pb::Counts {
    let status = [("200".to_owned(), ok)].into_iter().filter(|(_, n)| *n > 0).collect();
    pb::Counts { read: sent, selected: sent, sent, answered: ok, status, ..Default::default() }
}

fn decoded(note: &Bytes) -> pb::PartitionNote {
    pb::PartitionNote::decode(&note[..]).unwrap()
}

#[test]
fn counts_of_every_reader_add_up_each_once() {
    let mut first = Ledger::default();
    first.settled(40);
    first.settled(30);
    let note = first.note(&counts(5, 4)).unwrap();
    assert_eq!(first.note(&counts(5, 4)), None, "nothing new");
    let mut second = Ledger::default();
    second.inherit(&note, &counts(0, 0));
    assert_eq!(second.inherited().sent, 5);
    let note = second.note(&counts(2, 2)).unwrap();
    assert_eq!(decoded(&note).counts, Some(counts(7, 6)));
    assert_eq!(decoded(&note).captured_ns, 40);
    // Back at the first, whose own five are in the note.
    first.inherit(&note, &counts(5, 4));
    assert_eq!(first.inherited(), &counts(2, 2));
    let note = first.note(&counts(6, 5)).unwrap();
    assert_eq!(decoded(&note).counts, Some(counts(8, 7)));
}

#[test]
fn a_lane_is_told_as_far_as_all_is_settled_and_unbroken() {
    let mut ledger = Ledger::default();
    for (offset, sequence) in [(10, 5), (11, 6), (12, 7), (13, 9), (14, 10), (15, 11)] {
        ledger.meet(offset, AGENT, 2, sequence);
    }
    let told = |ledger: &mut Ledger, n| {
        let note = decoded(&ledger.note(&counts(n, n)).unwrap());
        note.lanes.iter().map(|lane| (lane.first, lane.sequence)).collect::<Vec<_>>()
    };
    assert_eq!(told(&mut ledger, 1), []);
    ledger.settled_to(12);
    assert_eq!(told(&mut ledger, 2), [(5, 6)]);
    ledger.settled_to(15);
    assert_eq!(told(&mut ledger, 3), [(9, 10)], "8 may still come for the first time");
    ledger.meet(16, AGENT, 2, 12);
    ledger.hand_over();
    ledger.settled_to(100);
    assert_eq!(told(&mut ledger, 5), [(9, 10)], "a successor meets the others");
    let note = ledger.note(&counts(4, 4)).unwrap();
    assert_eq!(Ledger::default().inherit(&note, &counts(0, 0)), [((AGENT, 2), 9, 10)]);
}

#[test]
fn a_note_is_never_too_long_and_keeps_the_newest_lanes() {
    let mut ledger = Ledger::default();
    for lane in 0..3000 {
        ledger.meet(u64::from(lane), AGENT, lane, 1_000_000 + u64::from(lane));
    }
    ledger.settled_to(3000);
    let note = ledger.note(&counts(3000, 3000)).unwrap();
    assert!(note.len() <= MAX_NOTE && note.len() > MAX_NOTE - 64, "{}", note.len());
    assert_eq!(decoded(&note).lanes[0].lane, 2999);
    assert!(ledger.lanes.len() <= MOST_LANES);
}

#[test]
fn what_cannot_be_read_is_no_note() {
    let mut ledger = Ledger::default();
    assert_eq!(ledger.inherit(b"\xff\xff", &counts(3, 3)), []);
    assert_eq!(ledger.inherited(), &pb::Counts::default());
}
