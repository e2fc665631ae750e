use super::*;

fn entry(job: &str, entry: Entry) -> Vec<u8> {
    pb::JobEntry { job: job.to_owned(), entry: Some(entry), ..Default::default() }.encode_to_vec()
}

fn folded(entries: &[Vec<u8>]) -> Stored {
    let mut stored = Stored::default();
    for (offset, entry) in entries.iter().enumerate() {
        stored.fold("job", offset as u64, entry);
    }
    stored
}

fn plan(run: u32, from: u64) -> Entry {
    Entry::Plan(pb::Plan { run, from_ns: Some(from), ..Default::default() })
}

fn epoch(target: &str, epoch: u32, t0_ns: u64) -> Entry {
    Entry::Clock(pb::ClockEpoch { target: target.to_owned(), epoch, t0_ns, ..Default::default() })
}

#[test]
fn the_first_entry_of_a_kind_wins() {
    let entries = [
        entry("other", plan(0, 9)),
        entry("job", plan(0, 1)),
        entry("job", plan(0, 2)),
        b"not an entry \xff".to_vec(),
        entry("job", epoch("", 0, 5)),
        entry("job", epoch("", 0, 6)),
        entry("job", epoch("b", 0, 7)),
        entry("job", Entry::End(pb::JobEnd { run: 0, state: DONE.to_owned() })),
        entry("job", Entry::End(pb::JobEnd { run: 0, state: "cancelled".to_owned() })),
    ];
    let stored = folded(&entries);
    let (number, run, plan) = stored.latest().unwrap();
    assert_eq!((number, plan.from_ns), (0, Some(1)));
    assert_eq!(run.epochs[&(String::new(), 0)].t0_ns, 5);
    assert_eq!(run.end.as_deref(), Some(DONE));
    assert_eq!(run.next_epoch(""), 1);
    assert_eq!(run.next_epoch("b"), 1);
    assert_eq!(run.next_epoch("c"), 0);
}

#[test]
fn the_latest_run_counts() {
    let entries = [entry("job", plan(1, 2)), entry("job", plan(0, 1))];
    let stored = folded(&entries);
    assert_eq!(stored.latest().unwrap().0, 1);
}

#[test]
fn sends_are_those_of_finished_partitions_and_of_whoever_left() {
    let counts = |sent| Some(pb::Counts { sent, ..Default::default() });
    let done = |partition, sent| {
        Entry::Done(pb::PartitionDone {
            target: "a".to_owned(),
            partition,
            counts: counts(sent),
            ..Default::default()
        })
    };
    let left = |sent| {
        Entry::Left(pb::TargetLeft {
            target: "a".to_owned(),
            counts: counts(sent),
            from_ns: 1,
            to_ns: 3,
            ..Default::default()
        })
    };
    let planned = folded(&[entry("job", plan(0, 1))]);
    assert!(!planned.runs[&0].has_begun());
    let entries = [
        entry("job", done(0, 7)),
        entry("job", done(0, 7)),
        entry("job", done(1, 2)),
        entry("job", left(4)),
        entry("job", left(5)),
    ];
    let run = &folded(&entries).runs[&0];
    assert!(run.has_begun());
    assert_eq!(run.sent["a"], 18);
    assert_eq!(run.spans["a"], [(1, 3), (1, 3)]);
}
