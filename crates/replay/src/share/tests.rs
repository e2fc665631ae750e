use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    clock::Anchor,
    config::{Pace, Stage},
    pacer::Pacer,
};

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLI;
/// Where the job's time begins.
const ZERO: u64 = 1_700_000_000 * SECOND;

/// Whose a send is, by its number and when it is due.
fn owner(roster: &Roster, number: u64, due_ns: u64) -> Option<u32> {
    let all: Vec<u32> = at(roster, due_ns);
    number.checked_rem(all.len() as u64).map(|index| all[index as usize])
}

/// Those that take a share at this time, in order of their numbers.
fn at(roster: &Roster, time_ns: u64) -> Vec<u32> {
    let turns = roster.turns(&(0..100).collect(), time_ns);
    let places: Vec<u64> = turns.ours.iter().map(|(_, place)| *place).collect();
    assert_eq!(places, (0..turns.all).collect::<Vec<u64>>());
    turns.ours.iter().map(|(partition, _)| *partition).collect()
}

#[test]
fn sends_go_round_by_number() {
    let roster = Roster::of([0, 3, 7].into(), &[], ZERO);
    let owners: Vec<u32> = (0..6).filter_map(|number| owner(&roster, number, ZERO)).collect();
    assert_eq!(owners, [0, 3, 7, 0, 3, 7]);
    assert_eq!(owner(&Roster::default(), 1, ZERO), None);
    let turns = Roster::default().turns(&[1].into(), ZERO);
    assert_eq!(turns.first_from(5), Some(5), "all of them, if nobody is known");
}

#[test]
fn a_change_holds_from_its_time_on_in_whatever_order_it_is_told() {
    let changes = [change(3, 200, false), change(9, 100, true), change(0, 300, false)];
    let roster = Roster::of([0, 3].into(), &changes, ZERO);
    assert_eq!(at(&roster, ZERO), [0, 3]);
    assert_eq!(at(&roster, ZERO + 100 * MILLI), [0, 3, 9]);
    assert_eq!(at(&roster, ZERO + 200 * MILLI), [0, 9]);
    assert_eq!(at(&roster, ZERO + 300 * MILLI), [9]);
    assert!(roster.takes(9) && !roster.takes(0));
    // The last one stays, and what is long past is forgotten.
    let gone = change(9, 400, false);
    let all = [changes.as_slice(), &[gone]].concat();
    let later = Roster::of([0, 3].into(), &all, ZERO + 120 * SECOND);
    assert_eq!(at(&later, ZERO), [9]);
    assert_eq!(later.steps.len(), 0);
}

fn change(partition: u32, ms: u64, takes: bool) -> ShareChange {
    ShareChange { partition, from_ns: ZERO + ms * MILLI, takes }
}

/// The same in the plainest way: all that take a share, after each change.
fn plainly(mut taking: BTreeSet<u32>, changes: &[ShareChange]) -> Vec<(u64, Vec<u32>)> {
    let mut changes = changes.to_vec();
    changes.sort_by_key(|change| change.from_ns);
    let mut spells = vec![(0, taking.iter().copied().collect())];
    for change in changes {
        match change.takes {
            true => taking.insert(change.partition),
            false => taking.remove(&change.partition),
        };
        if !taking.is_empty() {
            spells.push((change.from_ns, taking.iter().copied().collect()));
        }
    }
    spells
}

fn some_changes() -> impl Strategy<Value = Vec<ShareChange>> {
    let one = (0u32..6, 0u64..40, any::<bool>());
    prop::collection::vec(one.prop_map(|(one, ms, takes)| change(one, ms * 25, takes)), 0..40)
}

proptest! {
    #[test]
    fn turns_are_those_of_counting_them_out(
        first in prop::collection::btree_set(0u32..6, 1..6),
        held in prop::collection::btree_set(0u32..6, 0..6),
        changes in some_changes(),
        lots in prop::collection::vec(0usize..40, 0..4),
        begin in 0u64..1000,
    ) {
        let mut roster = Roster::of(first.clone(), &[], ZERO);
        // However they are told in lots.
        let mut lots = lots;
        lots.push(changes.len());
        lots.sort_unstable();
        let mut from = 0;
        for to in lots {
            let to = to.min(changes.len());
            roster.hear(&changes[from..to], ZERO);
            from = to;
        }
        prop_assert_eq!(&roster, &Roster { heard: roster.heard, ..Roster::of(first.clone(), &changes, ZERO) });
        let spells = plainly(first, &changes);
        let taking = |due: u64| &spells.iter().rev().find(|(from, _)| *from <= due).unwrap().1;

        let mut pacer = Pacer::new(&Pace::Rate(100.0));
        pacer.follow(Anchor { t0_ns: 0, wall0_ns: ZERO }, 0, ZERO);
        pacer.pass_to(ZERO + begin * MILLI);
        let begin = pacer.position();
        pacer.share(Arc::new(roster), held.clone(), ZERO);
        let expected = (begin..begin + 200).map(|number| (number, ZERO + number * 10 * MILLI)).filter(|(number, due)| {
            let taking = taking(*due);
            held.contains(&taking[(*number % taking.len() as u64) as usize])
        });
        for (number, due) in expected {
            prop_assert_eq!(pacer.due(0, 0), Some(due));
            pacer.took(due, 0);
            prop_assert_eq!(pacer.position(), number + 1);
        }
    }
}

/// Numbers that look random and are the same in each run.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// A replica, as far as a rate is concerned.
struct Replica {
    alive: bool,
    pacer: Pacer,
    held: BTreeSet<u32>,
    roster: Arc<Roster>,
    /// It has heard of so many changes.
    heard: usize,
    /// What it told last holds then.
    told_ns: u64,
}

/// A job of many replicas at one rate, in simulated time.
struct Job {
    now: u64,
    dice: Dice,
    pace: Pace,
    partitions: u32,
    /// Requests left, by partition.
    left: Vec<u64>,
    done: BTreeSet<u32>,
    replicas: Vec<Replica>,
    /// When each change can be heard of, and the change.
    changes: Vec<(u64, ShareChange)>,
    /// Partitions on their way to a replica, and when they arrive.
    moving: Vec<(u64, u32)>,
    sends: Vec<(u64, usize)>,
    /// Times in which partitions belong to nobody.
    moves: Vec<(u64, u64)>,
}

impl Job {
    fn new(seed: u64, pace: Pace, replicas: usize, left: Vec<u64>) -> Self {
        let mut job = Self {
            now: ZERO,
            dice: Dice(seed),
            pace,
            partitions: left.len() as u32,
            left,
            done: BTreeSet::new(),
            replicas: Vec::new(),
            changes: Vec::new(),
            moving: Vec::new(),
            sends: Vec::new(),
            moves: Vec::new(),
        };
        (0..replicas).for_each(|_| job.add());
        for partition in 0..job.partitions {
            let replica = partition as usize % replicas;
            job.replicas[replica].held.insert(partition);
        }
        (0..replicas).for_each(|index| job.share(index));
        job
    }

    fn add(&mut self) {
        let mut pacer = Pacer::new(&self.pace);
        pacer.anchor(Anchor { t0_ns: 0, wall0_ns: ZERO });
        pacer.pass_to(self.now);
        let (held, roster) = (BTreeSet::new(), Arc::default());
        let (heard, told_ns) = (0, 0);
        self.replicas.push(Replica { alive: true, pacer, held, roster, heard, told_ns });
    }

    fn share(&mut self, index: usize) {
        let first = (0..self.partitions).collect();
        let replica = &mut self.replicas[index];
        let changes: Vec<ShareChange> =
            self.changes[..replica.heard].iter().map(|(_, change)| *change).collect();
        let roster = Arc::new(Roster::of(first, &changes, self.now));
        replica.pacer.share(Arc::clone(&roster), replica.held.clone(), self.now);
        replica.roster = roster;
    }

    fn tell(&mut self, partition: u32, from_ns: u64, takes: bool) {
        let heard = self.now + self.dice.roll(300) * MILLI;
        // The journal has one order.
        let heard = self.changes.last().map_or(heard, |(last, _)| heard.max(*last));
        self.changes.push((heard, ShareChange { partition, from_ns, takes }));
    }

    /// The partitions of a replica go to others, after so long.
    fn give_away(&mut self, index: usize, partitions: &[u32], after: u64) {
        for partition in partitions {
            self.replicas[index].held.remove(partition);
            self.moving.push((self.now + after, *partition));
        }
        self.moves.push((self.now, self.now + after));
        self.share(index);
    }

    fn alive(&self) -> Vec<usize> {
        (0..self.replicas.len()).filter(|index| self.replicas[*index].alive).collect()
    }

    fn settle_moves(&mut self) {
        let (arrived, moving) =
            self.moving.iter().copied().partition(|(at, _): &(u64, u32)| *at <= self.now);
        self.moving = moving;
        for (_, partition) in arrived {
            let alive = self.alive();
            let least = alive.iter().min_by_key(|index| self.replicas[**index].held.len());
            let index = *least.unwrap();
            self.replicas[index].held.insert(partition);
            self.share(index);
        }
    }

    fn step(&mut self) {
        self.now += 25 * MILLI;
        self.settle_moves();
        for index in self.alive() {
            let known = self.changes.partition_point(|(heard, _)| *heard <= self.now);
            if self.replicas[index].heard != known {
                self.replicas[index].heard = known;
                self.share(index);
            }
            self.send(index);
            self.look_ahead(index);
        }
    }

    fn send(&mut self, index: usize) {
        loop {
            let replica = &mut self.replicas[index];
            let held = replica.held.iter().max_by_key(|partition| self.left[**partition as usize]);
            let Some(partition) = held.copied().filter(|one| self.left[*one as usize] > 0) else {
                return replica.pacer.pass_to(self.now);
            };
            // What is read ahead has always arrived.
            let Some(due) = replica.pacer.next(0, 0, self.now) else { return };
            if due > self.now {
                return;
            }
            replica.pacer.took(due, 0);
            self.sends.push((due, index));
            self.left[partition as usize] -= 1;
            if self.left[partition as usize] == 0 {
                self.done.insert(partition);
                self.tell(partition, self.now + HEARD_NS, false);
            }
        }
    }

    /// As a pipeline does.
    fn look_ahead(&mut self, index: usize) {
        let replica = &self.replicas[index];
        let left: u64 = replica.held.iter().map(|one| self.left[*one as usize]).sum();
        if replica.told_ns > self.now || left > 200 {
            return;
        }
        if !replica.held.iter().any(|number| replica.roster.takes(*number)) {
            let held: Vec<u32> = replica.held.iter().copied().collect();
            let open = held.into_iter().filter(|one| self.left[*one as usize] > 0);
            for partition in open.collect::<Vec<_>>() {
                self.replicas[index].told_ns = self.now + 2 * HEARD_NS;
                self.tell(partition, self.now + HEARD_NS, true);
            }
            return;
        }
        let Some(last) = replica.pacer.due_after(left, self.now + AHEAD_NS) else { return };
        if let Some((ours, from)) = replica.roster.ahead(&replica.held, last, self.now) {
            self.replicas[index].told_ns = from + HEARD_NS;
            ours.into_iter().for_each(|partition| self.tell(partition, from, false));
        }
    }

    fn run(&mut self, seconds: u64) {
        let until = self.now + seconds * SECOND;
        while self.now < until && self.left.iter().any(|left| *left > 0) {
            self.step();
        }
    }

    /// Each span of five seconds: how many sends were due in it, and whether
    /// partitions belonged to nobody meanwhile.
    fn spans(&self) -> Vec<(u64, usize, bool)> {
        let mut dues: Vec<u64> = self.sends.iter().map(|(due, _)| *due).collect();
        dues.sort_unstable();
        let before = |time: u64| dues.partition_point(|due| *due < time);
        let mut spans = Vec::new();
        let mut from = ZERO;
        while from + 5 * SECOND <= self.now {
            let to = from + 5 * SECOND;
            let disturbed = self.moves.iter().any(|(begin, end)| *begin < to && *end > from);
            spans.push((from, before(to) - before(from), disturbed));
            from += 250 * MILLI;
        }
        spans
    }
}

/// Replicas come, go and die; partitions run out.
#[test]
fn fifty_replicas_make_up_one_rate_while_they_come_and_go() {
    for seed in 1..=3 {
        let mut dice = Dice(seed);
        let left: Vec<u64> = (0..200).map(|_| 60 + dice.roll(400)).collect();
        let mut job = Job::new(seed, Pace::Rate(400.0), 50, left);
        for round in 0..8 {
            job.run(12);
            let alive = job.alive();
            let index = alive[job.dice.roll(alive.len() as u64) as usize];
            let held: Vec<u32> = job.replicas[index].held.iter().copied().collect();
            match round % 3 {
                0 => {
                    // Killed: found out after the session timeout.
                    job.replicas[index].alive = false;
                    job.give_away(index, &held, 6 * SECOND);
                }
                1 => {
                    job.add();
                    let some: Vec<u32> = held.into_iter().take(2).collect();
                    job.give_away(index, &some, 200 * MILLI);
                }
                _ => {
                    job.replicas[index].alive = false;
                    job.give_away(index, &held, 300 * MILLI);
                }
            }
        }
        job.run(600);
        assert_eq!(job.left.iter().sum::<u64>(), 0, "seed {seed}: everything is sent");
        // While no partition is without its replica, and most have something left.
        let last = job.sends.iter().map(|(due, _)| *due).max().unwrap();
        let mut judged = 0;
        for (from, sends, disturbed) in job.spans() {
            let at = (from - ZERO) as f64 / 1e9;
            assert!(sends <= 2040, "seed {seed}: {sends} sends in 5 s at {at}");
            if !disturbed && from + 10 * SECOND < last {
                judged += 1;
                assert!(sends >= 1960, "seed {seed}: {sends} sends in 5 s at {at}");
            }
        }
        assert!(judged > 100, "{judged}");
    }
}

#[test]
fn what_others_have_sent_does_not_become_ours() {
    let roster = Arc::new(Roster::of((0..10).collect(), &[], ZERO));
    let mut pacer = Pacer::new(&Pace::Rate(10.0));
    pacer.follow(Anchor { t0_ns: 0, wall0_ns: ZERO }, 0, ZERO);
    pacer.share(Arc::clone(&roster), [0].into(), ZERO);
    pacer.took(ZERO, 0);
    // Partition 5 had its turn at half a second, and comes here after that.
    pacer.share(Arc::clone(&roster), [0, 5].into(), ZERO + 700 * MILLI);
    assert_eq!(pacer.due(0, 0), Some(ZERO + SECOND));
    // What is ours and late stays ours.
    pacer.share(roster, [0, 5].into(), ZERO + 1200 * MILLI);
    assert_eq!(pacer.due(0, 0), Some(ZERO + SECOND));
}

#[test]
fn each_replica_gets_the_share_of_its_partitions() {
    let mut job = Job::new(9, Pace::Rate(1200.0), 12, vec![u64::MAX / 200; 100]);
    job.run(20);
    let mut counts = [0u64; 12];
    job.sends.iter().for_each(|(_, index)| counts[*index] += 1);
    for (index, count) in counts.iter().enumerate() {
        let fair = 20.0 * 1200.0 * job.replicas[index].held.len() as f64 / 100.0;
        assert!((*count as f64 - fair).abs() <= fair * 0.01 + 2.0, "{index}: {count} of {fair}");
    }
    // Evenly spread too: no two are due at once.
    let mut dues: Vec<u64> = job.sends.iter().map(|(due, _)| *due).collect();
    dues.sort_unstable();
    dues.dedup();
    assert_eq!(dues.len(), job.sends.len());
}

#[test]
fn stages_are_those_of_the_job() {
    let stages = vec![
        Stage { duration: std::time::Duration::from_secs(10), rate: 1000.0 },
        Stage { duration: std::time::Duration::from_secs(10), rate: 1000.0 },
    ];
    let mut job = Job::new(5, Pace::Stages(stages), 7, vec![u64::MAX / 200; 40]);
    job.run(20);
    // 0 to 1000 in 10 s: 5000; then 10 s at 1000.
    let sends = job.sends.iter().filter(|(due, _)| *due < ZERO + 20 * SECOND).count();
    assert!((14_980..=15_020).contains(&sends), "{sends}");
    let half = job.sends.iter().filter(|(due, _)| *due < ZERO + 10 * SECOND).count();
    assert!((4_990..=5_010).contains(&half), "{half}");
}

#[test]
fn who_takes_over_does_not_catch_up() {
    let mut job = Job::new(3, Pace::Rate(400.0), 4, vec![u64::MAX / 200; 12]);
    job.run(10);
    job.replicas[1].alive = false;
    let held: Vec<u32> = job.replicas[1].held.iter().copied().collect();
    job.give_away(1, &held, 10 * SECOND);
    job.run(20);
    for (from, sends, _) in job.spans() {
        assert!(sends <= 2005, "{sends} at {}", (from - ZERO) as f64 / 1e9);
    }
    let lost = 30 * 400 - job.sends.len();
    assert!((990..=1010).contains(&lost), "{lost}: a quarter for 10 s");
}
