//! A journal and notes that anybody may have written: nobody who reckons with them
//! stumbles. `UMBRA_TEST_LONG=1` tries a hundred times as much, from another seed each
//! time.

use std::{collections::BTreeSet, sync::Arc};

use proptest::{
    collection, option,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, RngSeed},
};
use umbra_record::pb::{job_steer, pace};

use super::*;
use crate::{
    clock::Anchor,
    course::pace_of,
    job::Stored,
    jobs,
    note::Ledger,
    pacer::Pacer,
    plan::{Planned, Standing},
    share::Roster,
};

fn cases(usual: u32) -> Config {
    match std::env::var_os("UMBRA_TEST_LONG") {
        Some(_) => Config::with_cases(usual * 100),
        None => Config { rng_seed: RngSeed::Fixed(9), ..Config::with_cases(usual) },
    }
}

fn number() -> impl Strategy<Value = u64> {
    let edges = [0, 1, 2, 7, MOST - 1, MOST, MOST + 1, 1 << 63, u64::MAX - 1, u64::MAX];
    prop_oneof![3 => select(edges.to_vec()), 1 => any::<u64>()]
}

fn small() -> impl Strategy<Value = u32> {
    select(vec![0, 0, 1, 1, 2, 3, u32::MAX - 1, u32::MAX])
}

fn factor() -> impl Strategy<Value = f64> {
    let edges = [0.0, -1.0, 1.0, 2.5, 1e-9, 1e9, 1e300, 1e-300, f64::NAN, f64::INFINITY];
    prop_oneof![4 => select(edges.to_vec()), 1 => any::<f64>()]
}

fn target() -> impl Strategy<Value = String> {
    select(vec![String::new(), "a".to_owned(), "b".to_owned()])
}

fn counts() -> impl Strategy<Value = pb::Counts> {
    let map = || collection::btree_map(target(), number(), 0..3);
    let numbers = (number(), number(), number(), number(), number());
    (numbers, map(), map(), map()).prop_map(|(numbers, failed, skipped, status)| {
        let (read, selected, sent, answered, dead) = numbers;
        pb::Counts { read, selected, sent, answered, dead, failed, skipped, status }
    })
}

fn paces() -> impl Strategy<Value = pb::Pace> {
    let pace = prop_oneof![
        factor().prop_map(pace::Pace::Speed),
        factor().prop_map(pace::Pace::Rate),
        any::<bool>().prop_map(pace::Pace::Max),
    ];
    option::of(pace).prop_map(|pace| pb::Pace { pace })
}

fn plans() -> impl Strategy<Value = Entry> {
    let partition = (0..4u32, number(), option::of(number()))
        .prop_map(|(partition, start, end)| pb::PartitionPlan { partition, start, end });
    let setting = (
        select(vec!["pass", "outcomes", "target", "speed", "rate", "stages"]),
        collection::vec(select(vec!["", "0", "18446744073709551615", "a=http://a", "x"]), 0..3),
    );
    let setting = setting.prop_map(|(name, values)| pb::Setting {
        name: name.to_owned(),
        values: values.into_iter().map(str::to_owned).collect(),
    });
    let times = (option::of(number()), option::of(number()), number());
    let lists = (collection::vec(partition, 0..4), collection::vec(setting, 0..4));
    (small(), times, lists, any::<bool>()).prop_map(|(run, times, lists, live)| {
        let (from_ns, to_ns, grace_ns) = times;
        let (partitions, settings) = lists;
        Entry::Plan(pb::Plan { run, from_ns, to_ns, partitions, live, settings, grace_ns })
    })
}

fn entries() -> impl Strategy<Value = Vec<u8>> {
    let clock = (target(), small(), small(), (number(), number(), number()), option::of(paces()));
    let clock = clock.prop_map(|(target, run, epoch, times, pace)| {
        let (t0_ns, wall0_ns, rate_position) = times;
        Entry::Clock(pb::ClockEpoch {
            target,
            run,
            epoch,
            t0_ns,
            wall0_ns,
            rate_position,
            steered: epoch,
            pace,
        })
    });
    let done = (target(), small(), 0..4u32, option::of(counts())).prop_map(
        |(target, run, partition, counts)| {
            Entry::Done(pb::PartitionDone { target, run, partition, counts })
        },
    );
    let left = (target(), small(), option::of(counts()), (number(), number(), number())).prop_map(
        |(target, run, counts, (from_ns, to_ns, rate_position))| {
            Entry::Left(pb::TargetLeft { target, run, counts, from_ns, to_ns, rate_position })
        },
    );
    let steer = (small(), option::of(paces())).prop_map(|(run, pace)| {
        let action = pace.map_or(job_steer::Action::Paused(true), job_steer::Action::Pace);
        Entry::Steer(pb::JobSteer { run, action: Some(action) })
    });
    let share = (target(), small(), 0..4u32, number(), any::<bool>()).prop_map(
        |(target, run, partition, from_ns, takes)| {
            Entry::Share(pb::PartitionShare { target, run, partition, from_ns, takes })
        },
    );
    let sign = (target(), small(), any::<bool>(), number()).prop_map(
        |(target, run, joined, rate_position)| {
            Entry::Sign(pb::MemberSign { target, run, joined, rate_position })
        },
    );
    let end = (small(), target()).prop_map(|(run, state)| Entry::End(pb::JobEnd { run, state }));
    let gone = Just(Entry::Deleted(pb::JobDeleted {}));
    let entry = prop_oneof![6 => plans(), 6 => clock, 4 => done, 4 => left, 3 => steer, 3 => share,
            3 => sign, 1 => end, 1 => gone];
    let damage = option::weighted(0.2, (any::<Index>(), any::<u8>()));
    (entry, number(), damage).prop_map(|(entry, at_ns, damage)| {
        let entry = pb::JobEntry {
            job: "job".to_owned(),
            at_ns,
            member: vec![at_ns as u8 % 3].into(),
            entry: Some(entry),
        };
        let mut bytes = entry.encode_to_vec();
        if let Some((place, byte)) = damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes
    })
}

/// Reckons with everything that is stored, as a replica does.
fn reckon(stored: &Stored, now: u64, captured: u64) {
    for run in stored.runs.values() {
        if let Some(plan) = &run.plan {
            let planned = Planned::new("job", plan, stored, Standing::Resumed);
            let _ = (planned.start(), planned.ends_are_known(), planned.used_by("a"));
        }
        for target in ["", "a", "b"] {
            let _ = (run.next_epoch(target), run.has_begun());
            let held = BTreeSet::from([0, 2]);
            let roster = Arc::new(Roster::new(run, target, now));
            roster.ahead(&held, captured, now);
            roster.went_on(run, target, captured);
            let position = run.position(target);
            roster.turns(&held, now).first_from(position);
            let told = run.clock(target).and_then(|clock| pace_of(clock.what.pace.as_ref()));
            for pace in [told, pace_of(run.pace.as_ref())].into_iter().flatten() {
                let mut pacer = Pacer::new(&pace);
                pacer.share(Arc::clone(&roster), held.clone(), now);
                if let Some(clock) = run.clock(target) {
                    pacer.follow(Anchor::from(&clock.what), position, now);
                }
                pacer.share(Arc::clone(&roster), held.clone(), now);
                pacer.next(captured, captured, now);
                let due = pacer.due(captured, now);
                pacer.took(due.unwrap_or(now), now);
                let _ = (pacer.stands(now), pacer.is_over(), pacer.due_after(20, now));
                pacer.pass_to(now);
                pacer.due(captured, now);
            }
        }
    }
    stored.latest();
}

proptest! {
    #![proptest_config(cases(600))]

    #[test]
    fn any_journal_can_be_reckoned_with(
        entries in collection::vec(entries(), 0..30),
        random in collection::vec(collection::vec(any::<u8>(), 0..40), 0..3),
        now in number(),
        captured in number(),
    ) {
        let mut stored = Stored::default();
        let all: Vec<Vec<u8>> = entries.into_iter().chain(random).collect();
        for (offset, entry) in all.iter().enumerate() {
            stored.fold("job", offset as u64, entry);
        }
        reckon(&stored, now, captured);
        jobs::sum_up(&all);
    }

    #[test]
    fn any_note_can_be_gone_on_from(
        lanes in collection::vec((0..3u32, number(), number()), 0..5),
        told in option::of(counts()),
        own in counts(),
        met in collection::vec((0..3u32, number()), 0..20),
        damage in option::weighted(0.3, (any::<Index>(), any::<u8>())),
    ) {
        let lanes = lanes.into_iter().map(|(lane, first, sequence)| pb::LaneSeen {
            agent: vec![1; 16].into(),
            lane,
            sequence,
            first,
        });
        let note = pb::PartitionNote { counts: told, captured_ns: 1, lanes: lanes.collect() };
        let mut note = note.encode_to_vec();
        if let Some((place, byte)) = damage {
            let place = place.index(note.len());
            note[place] = byte;
        }
        let mut ledger = Ledger::default();
        ledger.inherit(&note, &own);
        for (offset, (lane, sequence)) in met.into_iter().enumerate() {
            ledger.meet(offset as u64, [1; 16], lane, sequence);
        }
        ledger.settled_to(u64::MAX);
        let next = ledger.note(&own).unwrap_or_default();
        prop_assert!(next.len() <= umbra_log::MAX_NOTE);
    }
}
