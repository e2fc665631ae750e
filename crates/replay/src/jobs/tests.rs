use prost::Message as _;
use umbra_log::{GroupProgress, GroupState};
use umbra_record::pb::{self, job_entry::Entry, job_steer::Action};

use super::{
    book::{Book, CANCELLED},
    planned_pace, steer, sums, targets,
};

fn entry(job: &str, entry: Entry) -> Vec<u8> {
    let entry = pb::JobEntry { job: job.to_owned(), entry: Some(entry), ..pb::JobEntry::default() };
    entry.encode_to_vec()
}

fn setting(name: &str, values: &[&str]) -> pb::Setting {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    pb::Setting { name: name.to_owned(), values }
}

fn plan(run: u32, rate: &str) -> Entry {
    let settings =
        vec![setting("target", &["a=http://a/", "b=http://b/"]), setting("rate", &[rate])];
    Entry::Plan(pb::Plan { run, settings, ..pb::Plan::default() })
}

fn paused(run: u32, paused: bool) -> Entry {
    Entry::Steer(pb::JobSteer { run, action: Some(Action::Paused(paused)) })
}

fn counts(sent: u64) -> pb::Counts {
    pb::Counts { read: sent, sent, ..pb::Counts::default() }
}

fn book(entries: &[Vec<u8>]) -> Book {
    let mut book = Book::default();
    entries.iter().for_each(|entry| book.fold(entry));
    book
}

#[test]
fn the_first_plan_of_the_latest_run_holds_and_the_last_steering() {
    let book = book(&[
        entry("one", plan(0, "1/s")),
        entry("one", plan(0, "2/s")),
        b"\xff not an entry".to_vec(),
        entry("other", plan(0, "3/s")),
        entry("one", paused(0, true)),
        entry("one", paused(0, false)),
        entry("one", paused(0, true)),
    ]);
    assert_eq!(book.jobs().map(|(name, _)| name).collect::<Vec<_>>(), ["one", "other"]);
    let one = book.job("one").unwrap();
    assert_eq!((planned_pace(&one.plan).as_str(), one.paused, one.steered), ("1/s", true, 3));
    assert_eq!(targets(&one.plan), ["a", "b"]);
    let other = book.job("other").unwrap();
    assert!(!other.paused && other.end.is_none());
}

#[test]
fn a_run_has_its_own_steering_and_end() {
    let end = |run| Entry::End(pb::JobEnd { run, state: CANCELLED.to_owned() });
    let book = book(&[
        entry("one", plan(0, "1/s")),
        entry("one", paused(0, true)),
        entry("one", end(0)),
        entry("one", plan(1, "5/s")),
    ]);
    let one = book.job("one").unwrap();
    assert_eq!((one.plan.run, one.paused, one.end.is_some()), (1, false, false));
    assert_eq!(book.runs("one").count(), 2);
}

#[test]
fn what_is_deleted_is_forgotten_and_late_words_about_it_too() {
    let done = pb::PartitionDone { target: "a".to_owned(), ..pb::PartitionDone::default() };
    let mut entries = vec![
        entry("one", plan(0, "1/s")),
        entry("one", Entry::Deleted(pb::JobDeleted {})),
        entry("one", Entry::Done(done)),
        entry("one", plan(0, "2/s")),
    ];
    assert_eq!(book(&entries).jobs().count(), 0);
    entries.push(entry("one", plan(1, "3/s")));
    let book = book(&entries);
    assert_eq!(planned_pace(&book.job("one").unwrap().plan), "3/s");
}

fn group(noted: &[(u32, u64)]) -> GroupState {
    let progress = |sent: u64| {
        let note = pb::PartitionNote { counts: Some(counts(sent)), ..Default::default() };
        let note = note.encode_to_vec().into();
        GroupProgress { committed: 0, settled_beyond: 0, note }
    };
    let partitions = noted.iter().map(|(number, sent)| (*number, progress(*sent))).collect();
    GroupState { partitions, members: Vec::new() }
}

#[test]
fn sums_are_of_all_partitions_whoever_read_them() {
    let done = |partition, sent| {
        let target = "a".to_owned();
        Entry::Done(pb::PartitionDone { target, run: 0, partition, counts: Some(counts(sent)) })
    };
    let left = Entry::Left(pb::TargetLeft {
        target: "a".to_owned(),
        counts: Some(counts(1000)),
        ..pb::TargetLeft::default()
    });
    let book = book(&[
        entry("one", plan(0, "1/s")),
        entry("one", done(0, 10)),
        entry("one", done(1, 20)),
        entry("one", left),
    ]);
    let run = book.job("one").unwrap();
    let noted = sums::of(run, "a", &group(&[(1, 15), (2, 7), (3, 0)]));
    assert_eq!(noted.sent, 10 + 20 + 7, "of a partition, what says more");
    assert_eq!(sums::of(run, "b", &group(&[(2, 5)])).sent, 5);
    let without = sums::of(run, "a", &GroupState::default());
    assert_eq!(without.sent, 10 + 20 + 1000, "without notes, what was told");
}

/// What an operator is shown of any journal.
pub(crate) fn sum_up(entries: &[Vec<u8>]) {
    let book = book(entries);
    for (name, run) in book.jobs() {
        let _ = (planned_pace(&run.plan), book.runs(name).count());
        run.pace.as_ref().map(steer::in_words);
        for target in targets(&run.plan).iter().map(String::as_str).chain(["", "a"]) {
            sums::of(run, target, &GroupState::default());
        }
    }
}
