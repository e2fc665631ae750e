//! A job of a thousand replicas and ten thousand partitions at one rate, in simulated
//! time: the journal, the clock, the rosters, the merge and the pacer are the real ones;
//! replicas come, leave and are killed, hear the journal late, have clocks that are off,
//! partitions end early or fall silent, and an operator steers. What comes out of it is
//! the same in each run. `--nocapture` shows it as a table.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use bytes::Bytes;
use prost::Message;
use umbra_record::pb::{self, job_entry::Entry};

use super::{tests::Dice, *};
use crate::{
    clock::Anchor,
    config::Pace,
    course::{
        LEAD, LEAD_AGAIN, Newcomer, PATIENCE, Start, answers_after, pace_of, proposes_after, start,
    },
    job::{Stored, Told},
    merge::Merge,
    pacer::Pacer,
};

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLI;
/// Where the job's time begins.
const ZERO: u64 = 1_700_000_000 * SECOND;
const RATE: f64 = 2000.0;
/// A replica looks at what it has heard this often.
const LOOK: u64 = 100 * MILLI;
/// Until a killed replica is found out.
const SESSION: u64 = 10 * SECOND;
/// Between two readers of a partition that moves while both are well.
const MOVE: u64 = 200 * MILLI;
/// Clocks of replicas are off by so much at most.
const SKEW: u64 = 5 * MILLI;
/// What an entry takes on a broker beside its own bytes, alone in its batch.
const BATCH: usize = 70;

/// What the journal says at some time, as far as a rate is concerned.
#[derive(Clone)]
struct Known {
    /// It has so many entries.
    entries: usize,
    roster: Arc<Roster>,
    clock: Option<Told<pb::ClockEpoch>>,
    steered: u32,
    paused: bool,
    pace: Option<pb::Pace>,
    members: usize,
}

struct Replica {
    name: Bytes,
    alive: bool,
    /// Its clock is ahead by so much, less `SKEW`.
    skew: u64,
    /// It hears of an entry so long after it was written.
    delay: u64,
    pacer: Pacer,
    merge: Merge,
    held: BTreeSet<u32>,
    known: Option<Known>,
    /// The epoch it follows, and when it began with it.
    follows: Option<u64>,
    heeded: u32,
    /// Since when it knows that the clock has to be moved, and whether it has told so.
    steer_seen: Option<u64>,
    proposed: bool,
    stopped: Option<u64>,
    /// When its sign of life was in the journal, and when it heard of that.
    joined: Option<u64>,
    told_ns: u64,
    wakes: u64,
    /// From when to when it had nothing to send, or no clock.
    idle: Vec<(u64, u64)>,
    idle_since: Option<u64>,
    clocked: Option<u64>,
    sends: u64,
    /// Sends that were its own.
    fair: u64,
}

#[derive(Clone)]
struct Partition {
    left: u64,
    captured: u64,
    silent_until: u64,
    /// Who held it from when on.
    holders: Vec<(u64, Option<usize>)>,
    was_silent: bool,
    done: bool,
    sends: u64,
}

/// One send, by the number it has.
struct Sent {
    replica: usize,
    number: u64,
    at: u64,
    due: u64,
}

/// What became of the job's sends, and what that cost.
#[derive(Default, Debug)]
struct Outcome {
    joins: u32,
    leaves: u32,
    kills: u32,
    silences: u32,
    ended: u32,
    sends: u64,
    /// Of one number, but when the job was steered.
    twice: u64,
    /// Nobody sent them: while their partition had no reader; while its reader had no clock
    /// yet; or nothing to send; or, like those that were sent twice, when the job was steered.
    steered: u64,
    no_owner: u64,
    no_clock: u64,
    nothing_to_send: u64,
    lost: u64,
    /// Of all sends that were due: those that were made, less those.
    error: f64,
    /// Of any second and of any ten that no steering fell into, to what was due in it.
    seconds: (f64, f64),
    tens: (f64, f64),
    latest_ns: u64,
    /// Of what was its own, for replicas; how many, for partitions that nothing happened to.
    replicas: (f64, f64),
    partitions: (f64, f64),
    kinds: BTreeMap<&'static str, usize>,
    bytes: usize,
    most_in_a_second: usize,
    superseded: usize,
    epochs: usize,
}

struct Job {
    now: u64,
    dice: Dice,
    replicas: Vec<Replica>,
    partitions: Vec<Partition>,
    stored: Stored,
    /// Bytes of the entries that are written, and when.
    written: Vec<(u64, usize)>,
    /// What could be known at some time, ascending.
    history: Vec<(u64, Known)>,
    /// Replicas, by when something is due at them.
    wakes: BinaryHeap<Reverse<(u64, usize)>>,
    /// Partitions on their way to somebody, and when they arrive.
    moving: Vec<(u64, u32)>,
    answers: Vec<(u64, usize)>,
    /// Offsets of answers that were given, and when.
    answered: Vec<(u64, u64)>,
    sends: Vec<Sent>,
    out: Outcome,
}

impl Job {
    fn new(seed: u64, replicas: usize, partitions: u32, seconds: u64) -> Self {
        let mut dice = Dice(seed);
        let enough = RATE as u64 * seconds;
        let one = |dice: &mut Dice| Partition {
            // A seventh of them end early.
            left: if dice.roll(7) == 0 { 5 + dice.roll(seconds / 8) } else { enough },
            captured: dice.roll(SECOND),
            silent_until: 0,
            holders: vec![(0, None)],
            was_silent: false,
            done: false,
            sends: 0,
        };
        let mut job = Self {
            now: ZERO,
            partitions: (0..partitions).map(|_| one(&mut dice)).collect(),
            dice,
            replicas: Vec::new(),
            stored: Stored::default(),
            written: Vec::new(),
            history: Vec::new(),
            wakes: BinaryHeap::new(),
            moving: Vec::new(),
            answers: Vec::new(),
            answered: Vec::new(),
            sends: Vec::new(),
            out: Outcome::default(),
        };
        let plan = pb::Plan {
            partitions: (0..partitions)
                .map(|partition| pb::PartitionPlan { partition, start: 0, end: Some(1 << 40) })
                .collect(),
            ..pb::Plan::default()
        };
        job.write(b"planner", "plan", Entry::Plan(plan));
        (0..replicas).for_each(|_| job.join());
        for number in 0..partitions {
            job.give(number, number as usize % replicas);
        }
        job
    }

    // --- the journal ---

    fn write(&mut self, member: &[u8], kind: &'static str, entry: Entry) {
        let entry = pb::JobEntry {
            job: "canary".to_owned(),
            at_ns: self.now,
            member: Bytes::copy_from_slice(member),
            entry: Some(entry),
        };
        let bytes = entry.encode_to_vec();
        let offset = self.written.len() as u64;
        self.stored.fold("canary", offset, &bytes);
        self.written.push((self.now, bytes.len() + BATCH));
        *self.out.kinds.entry(kind).or_default() += 1;
    }

    /// What has been written becomes known, to each after its delay.
    fn publish(&mut self) {
        let last = self.history.last().map(|(_, known)| known);
        if last.is_some_and(|known| known.entries == self.written.len()) {
            return;
        }
        let run = &self.stored.runs[&0];
        let roster = match last {
            Some(known) if known.roster.knows_all(run, "") => Arc::clone(&known.roster),
            Some(known) => Arc::new(known.roster.went_on(run, "", self.now)),
            None => Arc::new(Roster::new(run, "", self.now)),
        };
        let known = Known {
            entries: self.written.len(),
            roster,
            clock: run.clock("").cloned(),
            steered: run.steered,
            paused: run.paused,
            pace: run.pace,
            members: run.members_at(""),
        };
        // Nobody hears later than that.
        let old = self.history.partition_point(|(at, _)| at + SECOND < self.now);
        self.history.drain(..old.saturating_sub(1));
        self.history.push((self.now, known));
    }

    fn propose(&mut self, index: usize, lead: std::time::Duration, position: u64) {
        let run = &self.stored.runs[&0];
        let replica = &self.replicas[index];
        let known = replica.known.as_ref().unwrap();
        let epoch = pb::ClockEpoch {
            // The next one, as far as it has heard.
            epoch: known.clock.as_ref().map_or(0, |clock| clock.what.epoch + 1),
            t0_ns: 1,
            wall0_ns: replica.time(self.now) + lead.as_nanos() as u64,
            rate_position: position,
            steered: known.steered,
            pace: known.pace,
            ..pb::ClockEpoch::default()
        };
        if run.clock("").is_some_and(|clock| clock.what.epoch >= epoch.epoch) {
            self.out.superseded += 1;
        }
        let name = replica.name.clone();
        self.replicas[index].proposed = true;
        self.write(&name, "clock", Entry::Clock(epoch));
    }

    fn tell_share(&mut self, index: usize, partition: u32, from_ns: u64, takes: bool) {
        let name = self.replicas[index].name.clone();
        let share =
            pb::PartitionShare { partition, from_ns, takes, ..pb::PartitionShare::default() };
        self.write(&name, "share", Entry::Share(share));
    }

    // --- who holds what ---

    fn join(&mut self) {
        let index = self.replicas.len();
        let mut name = vec![1; 14];
        name.extend((self.dice.roll(65_536) as u16).to_be_bytes());
        name[..8].copy_from_slice(&(index as u64).to_be_bytes());
        // Whoever has heard of an answer to those who asked before has nothing to say to them.
        let run = &self.stored.runs[&0];
        let asked = run.members.values().map(|one| one.joined).max();
        let (answered, replicas, now) = (&self.answered, &self.replicas, self.now);
        self.answers.retain(|(_, one)| {
            let delay = replicas[*one].delay;
            !answered.iter().any(|(offset, at)| Some(*offset) > asked && at + delay <= now)
        });
        let sign = Entry::Sign(pb::MemberSign { joined: true, ..pb::MemberSign::default() });
        self.write(&name, "sign", sign);
        self.replicas.push(Replica {
            name: name.into(),
            alive: true,
            skew: self.dice.roll(2 * SKEW),
            delay: 10 * MILLI + self.dice.roll(150) * MILLI,
            pacer: Pacer::new(&Pace::Rate(RATE)),
            merge: Merge::default(),
            held: BTreeSet::new(),
            known: None,
            follows: None,
            heeded: 0,
            steer_seen: None,
            proposed: false,
            stopped: None,
            joined: None,
            told_ns: 0,
            wakes: 0,
            idle: Vec::new(),
            idle_since: Some(self.now),
            clocked: None,
            sends: 0,
            fair: 0,
        });
        let at = self.now + self.dice.roll(LOOK);
        self.wakes.push(Reverse((at, index)));
        // Whoever follows the clock answers, if it does not hear of an answer before.
        let first = self.partitions.iter().position(|one| !one.done).unwrap_or(0);
        let members = self.stored.runs[&0].members_at("");
        for other in 0..index {
            let replica = &self.replicas[other];
            let asked_before = self.answers.iter().any(|(_, one)| *one == other);
            if replica.alive && replica.follows.is_some() && !asked_before {
                let holds_first = replica.held.contains(&(first as u32));
                let after = answers_after(holds_first, &replica.name, members);
                let at = self.now + replica.delay + after.as_nanos() as u64;
                self.answers.push((at, other));
            }
        }
        self.answers.sort_unstable();
    }

    /// Those whose time has come answer, unless they have heard of an answer.
    fn answer(&mut self) {
        let due = self.answers.partition_point(|(at, _)| *at <= self.now);
        for (_, index) in self.answers.drain(..due).collect::<Vec<_>>() {
            let replica = &self.replicas[index];
            let heard = self.now - replica.delay;
            let run = &self.stored.runs[&0];
            let asked = run.members.values().map(|one| one.joined).max();
            let known = |(offset, at): &(u64, u64)| Some(*offset) > asked && *at <= heard;
            if !replica.alive || self.answered.iter().any(known) {
                continue;
            }
            let name = replica.name.clone();
            let sign =
                pb::MemberSign { rate_position: replica.pacer.position(), ..Default::default() };
            self.answered.push((self.written.len() as u64, self.now));
            self.write(&name, "answer", Entry::Sign(sign));
        }
    }

    fn give(&mut self, number: u32, index: usize) {
        let partition = &mut self.partitions[number as usize];
        partition.holders.push((self.now, Some(index)));
        let replica = &mut self.replicas[index];
        replica.held.insert(number);
        let time = replica.time(self.now);
        if !partition.done {
            replica.merge.hold(number, time);
        }
        replica.line_up(number, partition, self.now);
        replica.share(self.now);
        self.wake(index, self.now);
    }

    fn take_away(&mut self, index: usize, numbers: &[u32], after: u64) {
        let replica = &mut self.replicas[index];
        for number in numbers {
            replica.held.remove(number);
            replica.merge.release(*number);
            let partition = &mut self.partitions[*number as usize];
            let place = (partition.captured, *number, 0);
            replica.merge.remove(&place);
            partition.holders.push((self.now, None));
            self.moving.push((self.now + after, *number));
        }
        replica.share(self.now);
    }

    fn arrive(&mut self) {
        if !self.moving.iter().any(|(at, _)| *at <= self.now) {
            return;
        }
        let moving = std::mem::take(&mut self.moving);
        let (arrived, moving): (Vec<_>, Vec<_>) =
            moving.into_iter().partition(|(at, _)| *at <= self.now);
        self.moving = moving;
        let mut least: BinaryHeap<_> = self
            .alive()
            .into_iter()
            .map(|index| Reverse((self.replicas[index].held.len(), index)))
            .collect();
        for (_, number) in arrived {
            let Reverse((n, index)) = least.pop().unwrap();
            self.give(number, index);
            least.push(Reverse((n + 1, index)));
        }
    }

    fn alive(&self) -> Vec<usize> {
        (0..self.replicas.len()).filter(|index| self.replicas[*index].alive).collect()
    }

    fn churn(&mut self) {
        let alive = self.alive();
        let index = alive[self.dice.roll(alive.len() as u64) as usize];
        let held: Vec<u32> = self.replicas[index].held.iter().copied().collect();
        match self.dice.roll(4) {
            0 => {
                self.out.kills += 1;
                self.replicas[index].alive = false;
                self.take_away(index, &held, SESSION);
            }
            1 => {
                self.out.leaves += 1;
                self.replicas[index].alive = false;
                self.take_away(index, &held, MOVE);
                let replica = &self.replicas[index];
                let (name, rate_position) = (replica.name.clone(), replica.pacer.position());
                let left = pb::TargetLeft { rate_position, to_ns: self.now, ..Default::default() };
                self.write(&name, "left", Entry::Left(left));
            }
            2 => {
                self.out.joins += 1;
                self.join();
                for _ in 0..10 {
                    let other = alive[self.dice.roll(alive.len() as u64) as usize];
                    let some = self.replicas[other].held.iter().next().copied();
                    self.take_away(other, some.as_slice(), MOVE);
                }
            }
            _ => {
                self.out.silences += 1;
                let until = self.now + (1 + self.dice.roll(20)) * SECOND;
                let some = self.dice.roll(self.partitions.len() as u64) as usize;
                self.partitions[some].silent_until = until;
                self.partitions[some].was_silent = true;
            }
        }
    }

    // --- what a replica does ---

    fn wake(&mut self, index: usize, at: u64) {
        self.replicas[index].wakes = at;
        self.wakes.push(Reverse((at, index)));
    }

    /// Hears what can be known, and does what a pipeline does on each tick.
    fn look(&mut self, index: usize) {
        let heard = self.now - self.replicas[index].delay;
        let known = self.history.partition_point(|(at, _)| *at <= heard);
        let Some((_, known)) = known.checked_sub(1).map(|last| &self.history[last]) else { return };
        let replica = &mut self.replicas[index];
        if replica.known.as_ref().is_none_or(|before| before.entries != known.entries) {
            replica.known = Some(known.clone());
            let time = replica.time(self.now);
            if known.paused && replica.stopped.is_none() {
                replica.stopped = Some(time);
            }
            replica.share(self.now);
            if let (Some(follows), Some(clock)) = (replica.follows, &known.clock)
                && follows < clock.offset
            {
                replica.adopt(&clock.clone(), time);
            }
        }
        self.keep_course(index);
        self.look_ahead(index);
    }

    fn keep_course(&mut self, index: usize) {
        let replica = &mut self.replicas[index];
        let time = replica.time(self.now);
        let known = replica.known.clone().unwrap();
        let run = &self.stored.runs[&0];
        if replica.joined.is_none() {
            let mine = &run.members[&(String::new(), replica.name.clone())];
            replica.joined = (self.written[mine.joined as usize].0 + replica.delay <= self.now)
                .then_some(self.now);
        }
        if known.paused || replica.merge.first().is_none() {
            return;
        }
        if replica.follows.is_none() {
            let Some(joined) = replica.joined else { return };
            let waited = std::time::Duration::from_nanos(self.now - joined);
            let me = Newcomer { member: &replica.name, holds_all: false, waited, late: true };
            // What is in the journal, less what it cannot have heard.
            let start = match &known.clock {
                None => Start::First,
                Some(_) => start(run, "", me),
            };
            match (start, &known.clock) {
                (Start::First, _) if !replica.proposed => {
                    let after = proposes_after(&replica.name, known.members).as_nanos() as u64;
                    if self.now >= *replica.steer_seen.get_or_insert(self.now) + after {
                        self.propose(index, LEAD, 0);
                    }
                }
                (Start::Follow, Some(clock)) => replica.adopt(&clock.clone(), time),
                (Start::GoOn, _) if waited > PATIENCE && !replica.proposed => {
                    let position = run.position("");
                    self.propose(index, LEAD, position);
                }
                _ => {}
            }
        } else if replica.heeded < known.steered {
            let since = *replica.steer_seen.get_or_insert(self.now);
            let after = proposes_after(&replica.name, known.members).as_nanos() as u64;
            if self.now >= since + after && !replica.proposed {
                let wall0 = time + LEAD_AGAIN.as_nanos() as u64;
                let (_, position) = replica.pacer.stands(replica.stopped.unwrap_or(wall0));
                self.propose(index, LEAD_AGAIN, position);
            }
        }
    }

    fn send(&mut self, index: usize) {
        let replica = &mut self.replicas[index];
        if !replica.alive || replica.follows.is_none() || replica.stopped.is_some() {
            return;
        }
        loop {
            let time = replica.time(self.now);
            let Some(((captured, number, arrived), ticket)) = replica.merge.first() else {
                replica.idle_since.get_or_insert(self.now);
                return;
            };
            if let Some(sure) = replica.merge.sure_at(time) {
                let at = self.now + (sure - time);
                return self.wake(index, at);
            }
            if let Some(since) = replica.idle_since.take() {
                replica.idle.push((since, self.now));
            }
            let Some(due) = replica.pacer.next(captured, ticket, time) else { return };
            if due > time {
                let at = self.now + (due - time);
                return self.wake(index, at);
            }
            replica.pacer.took(due, ticket);
            replica.merge.remove(&(captured, number, arrived));
            let sent = replica.pacer.position() - 1;
            self.sends.push(Sent { replica: index, number: sent, at: self.now, due });
            self.out.latest_ns = self.out.latest_ns.max(time - due);
            let partition = &mut self.partitions[number as usize];
            partition.sends += 1;
            partition.left -= 1;
            partition.captured += SECOND;
            if partition.left == 0 {
                partition.done = true;
                replica.merge.release(number);
                self.out.ended += 1;
                let name = replica.name.clone();
                let counts =
                    pb::Counts { read: 9, selected: 9, sent: 9, answered: 9, ..Default::default() };
                let done = pb::PartitionDone {
                    partition: number,
                    counts: Some(counts),
                    ..Default::default()
                };
                self.write(&name, "done", Entry::Done(done));
                return self.wake(index, self.now);
            }
            replica.line_up(number, partition, self.now);
        }
    }

    /// As a pipeline does.
    fn look_ahead(&mut self, index: usize) {
        let replica = &self.replicas[index];
        let time = replica.time(self.now);
        let Some(known) = &replica.known else { return };
        if replica.follows.is_none() || replica.stopped.is_some() || replica.told_ns > time {
            return;
        }
        let open: Vec<u32> = replica
            .held
            .iter()
            .copied()
            .filter(|one| !self.partitions[*one as usize].done)
            .collect();
        if !replica.held.iter().any(|number| known.roster.takes(*number)) {
            if replica.merge.first().is_some() {
                self.replicas[index].told_ns = time + HEARD_NS + LEAD.as_nanos() as u64;
                for number in open {
                    self.tell_share(index, number, time + HEARD_NS, true);
                }
            }
            return;
        }
        let left: u64 = open.iter().map(|one| self.partitions[*one as usize].left).sum();
        if left > 100 {
            return;
        }
        let Some(last) = replica.pacer.due_after(left, time + AHEAD_NS) else { return };
        if let Some((ours, from)) = known.roster.ahead(&replica.held, last, time) {
            self.replicas[index].told_ns = from + LEAD.as_nanos() as u64;
            ours.into_iter().for_each(|number| self.tell_share(index, number, from, false));
        }
    }

    /// Partitions that were silent have something again.
    fn speak(&mut self) {
        for number in 0..self.partitions.len() {
            let partition = &self.partitions[number];
            if partition.silent_until != 0 && partition.silent_until <= self.now {
                self.partitions[number].silent_until = 0;
                let partition = self.partitions[number].clone();
                if let Some(index) = partition.holder_at(self.now) {
                    let replica = &mut self.replicas[index];
                    let time = replica.time(self.now);
                    replica.merge.heard(number as u32, time);
                    replica.line_up(number as u32, &partition, self.now);
                    self.wake(index, self.now);
                }
            }
        }
    }

    fn run_to(&mut self, until: u64) {
        while self.now < until {
            let tick = self.now + 10 * MILLI;
            while let Some(Reverse((at, index))) = self.wakes.peek().copied()
                && at <= tick
            {
                self.wakes.pop();
                self.now = self.now.max(at);
                if self.replicas[index].wakes == at {
                    self.send(index);
                }
            }
            self.now = tick;
            self.arrive();
            self.answer();
            self.publish();
            let turn = tick / (10 * MILLI) % (LOOK / (10 * MILLI));
            let turns = (LOOK / (10 * MILLI)) as usize;
            for index in (turn as usize..self.replicas.len()).step_by(turns) {
                if self.replicas[index].alive {
                    self.look(index);
                    self.send(index);
                }
            }
        }
    }
}

impl Job {
    /// Looks back at who made which sends, with all that is known in the end.
    fn judge(mut self) -> Outcome {
        let run = &self.stored.runs[&0];
        let first = (0..self.partitions.len() as u32).collect::<BTreeSet<u32>>();
        let roster = Roster::of(first.clone(), changes(run, ""), ZERO);
        let epochs: Vec<&pb::ClockEpoch> = run.epochs.values().collect();
        let end = self.now - 2 * SECOND;
        let mut made: BTreeMap<u64, u64> = BTreeMap::new();
        for send in self.sends.iter().filter(|send| send.due < end) {
            *made.entry(send.number).or_default() += 1;
            self.replicas[send.replica].sends += 1;
        }
        let mut dues = Vec::new();
        let mut out = std::mem::take(&mut self.out);
        for (index, epoch) in epochs.iter().enumerate() {
            let next = epochs.get(index + 1);
            let mut pacer = Pacer::new(&pace_of(epoch.pace.as_ref()).unwrap_or(Pace::Rate(RATE)));
            pacer.follow(Anchor::from(*epoch), epoch.rate_position, 0);
            let mut turns = roster.turns(&first, epoch.wall0_ns);
            let until = next.map_or(u64::MAX, |next| next.rate_position);
            while let Some(due) = pacer.due(0, 0).filter(|due| *due < end) {
                let number = pacer.position();
                if number >= until {
                    break;
                }
                pacer.took(due, 0);
                while turns.until_ns <= due {
                    roster.advance(&mut turns, &first);
                }
                dues.push(due);
                let owner = turns.ours[(number % turns.all) as usize].0;
                let partition = &self.partitions[owner as usize];
                let holder = partition.holder_at(due);
                holder.into_iter().for_each(|one| self.replicas[one].fair += 1);
                // It may have been due by the epoch before, or not yet by this one.
                let steered = index > 0 && due < epoch.wall0_ns + 500 * MILLI
                    || next.is_some_and(|next| due + SECOND > next.wall0_ns)
                    || number + RATE as u64 > until;
                let unheld = [due.saturating_sub(SKEW), due, due + SKEW]
                    .iter()
                    .any(|at| partition.holder_at(*at).is_none());
                let times = made.get(&number).copied().unwrap_or(0);
                let fate = match holder.map(|one| &self.replicas[one]) {
                    _ if times == 1 => continue,
                    _ if steered => &mut out.steered,
                    _ if times > 1 => &mut out.twice,
                    _ if unheld => &mut out.no_owner,
                    Some(one) if one.clocked.is_none_or(|at| at + 100 * MILLI > due) => {
                        &mut out.no_clock
                    }
                    Some(one) if one.was_idle(due) => &mut out.nothing_to_send,
                    _ => &mut out.lost,
                };
                *fate += 1;
            }
        }
        out.epochs = epochs.len();
        out.sends = self.sends.iter().filter(|send| send.due < end).count() as u64;
        out.error = out.sends as f64 / dues.len() as f64 - 1.0;
        dues.sort_unstable();
        let steers: Vec<u64> = epochs[1..].iter().map(|epoch| epoch.wall0_ns).collect();
        let mut at: Vec<u64> = self.sends.iter().map(|send| send.at).collect();
        at.sort_unstable();
        out.seconds = windows(&at, &dues, &steers, SECOND, end);
        out.tens = windows(&at, &dues, &steers, 10 * SECOND, end);
        let judged =
            self.replicas.iter().filter(|one| one.alive && one.idle.len() < 2 && one.fair > 80);
        out.replicas = least_and_most(judged.map(|one| one.sends as f64 / one.fair as f64));
        let quiet = |one: &&Partition| !one.done && !one.was_silent && one.holders.len() == 2;
        let quiet: Vec<u64> = self.partitions.iter().filter(quiet).map(|one| one.sends).collect();
        out.partitions = least_and_most(quiet.iter().map(|sends| *sends as f64));
        out.bytes = self.written.iter().map(|(_, bytes)| bytes).sum();
        let times: Vec<u64> = self.written.iter().map(|(at, _)| *at).collect();
        let within = |from: &u64| {
            times.partition_point(|at| *at < from + SECOND) - times.partition_point(|at| at < from)
        };
        out.most_in_a_second =
            times.iter().filter(|at| **at > ZERO + 5 * SECOND).map(within).max().unwrap_or(0);
        out
    }
}

/// The least and the most sends in any window of that length, to what was due in it.
fn windows(at: &[u64], dues: &[u64], steers: &[u64], length: u64, end: u64) -> (f64, f64) {
    let count = |times: &[u64], from: u64| {
        times.partition_point(|at| *at < from + length) - times.partition_point(|at| *at < from)
    };
    let from = (0..).map(|n| dues[0] + SECOND + n * 100 * MILLI);
    let all = from.take_while(|from| from + length + SECOND < end).filter(|from| {
        !steers.iter().any(|steer| from + length + 5 * SECOND > *steer && *from < steer + SECOND)
    });
    least_and_most(all.map(|from| count(at, from) as f64 / count(dues, from) as f64))
}

fn least_and_most(all: impl Iterator<Item = f64>) -> (f64, f64) {
    all.fold((f64::MAX, f64::MIN), |(least, most), one| (least.min(one), most.max(one)))
}

impl Partition {
    fn holder_at(&self, time: u64) -> Option<usize> {
        self.holders.iter().rev().find(|(from, _)| *from <= time).and_then(|(_, holder)| *holder)
    }
}

impl Replica {
    /// Whether it had nothing to send then, by its own clock or the job's.
    fn was_idle(&self, time: u64) -> bool {
        let open = self.idle_since.map(|since| (since, u64::MAX));
        let near = |(from, to): &(u64, u64)| *from <= time + SKEW && time < to.saturating_add(SKEW);
        self.idle.iter().chain(&open).any(near)
    }

    /// The time by its own clock.
    fn time(&self, now: u64) -> u64 {
        now + self.skew - SKEW
    }

    fn share(&mut self, now: u64) {
        let time = if self.stopped.is_some() { 0 } else { self.time(now) };
        if let Some(known) = &self.known {
            self.pacer.share(Arc::clone(&known.roster), self.held.clone(), time);
        }
    }

    fn adopt(&mut self, clock: &Told<pb::ClockEpoch>, time: u64) {
        let epoch = &clock.what;
        self.pacer = Pacer::new(&pace_of(epoch.pace.as_ref()).unwrap_or(Pace::Rate(RATE)));
        self.pacer.follow(Anchor::from(epoch), epoch.rate_position, time);
        self.follows = Some(clock.offset);
        self.clocked.get_or_insert(time);
        self.heeded = epoch.steered;
        (self.stopped, self.steer_seen, self.proposed) = (None, None, false);
        self.share(time + SKEW - self.skew);
    }

    /// The next request of the partition is there.
    fn line_up(&mut self, number: u32, partition: &Partition, now: u64) {
        if partition.left > 0 && partition.silent_until == 0 {
            // Tickets tell when they have arrived.
            let time = self.time(now);
            self.merge.insert((partition.captured, number, 0), time);
        }
    }
}

fn simulate(seed: u64) -> Outcome {
    let seconds = 60;
    let mut job = Job::new(seed, 1000, 10_000, seconds);
    let pace =
        |rate| pb::job_steer::Action::Pace(pb::Pace { pace: Some(pb::pace::Pace::Rate(rate)) });
    let steers = [
        (25, pb::job_steer::Action::Paused(true)),
        (28, pb::job_steer::Action::Paused(false)),
        (45, pace(RATE * 1.5)),
    ];
    for second in 0..seconds {
        for (_, action) in steers.iter().filter(|(at, _)| *at == second) {
            job.write(
                b"operator",
                "steer",
                Entry::Steer(pb::JobSteer { run: 0, action: Some(*action) }),
            );
        }
        let within = job.dice.roll(900) * MILLI;
        job.run_to(ZERO + second * SECOND + within);
        if second > 3 {
            job.churn();
            job.churn();
        }
        job.speak();
    }
    job.run_to(ZERO + seconds * SECOND);
    job.judge()
}

#[test]
fn a_thousand_replicas_make_up_one_rate_with_ten_thousand_partitions() {
    let seeds: Vec<u64> = (1..=3).collect();
    let outcomes: Vec<(u64, Outcome)> = std::thread::scope(|scope| {
        let each = seeds.iter().map(|seed| scope.spawn(move || (*seed, simulate(*seed))));
        each.collect::<Vec<_>>().into_iter().map(|one| one.join().unwrap()).collect()
    });
    println!(
        "1000 replicas, 10000 partitions, {RATE} requests/s, 60 s; journal in bytes of a broker"
    );
    for (seed, out) in &outcomes {
        println!(
            "seed {seed}: {} joined, {} left, {} killed, {} partitions silent, {} ended; {} sends",
            out.joins, out.leaves, out.kills, out.silences, out.ended, out.sends
        );
        println!(
            "  not sent once: {} while their partition had no reader, {} no clock, {} nothing to \
             send, {} steered; twice {}, lost {}",
            out.no_owner, out.no_clock, out.nothing_to_send, out.steered, out.twice, out.lost
        );
        println!(
            "  rate: {:+.2} % in all; of any second {:.4} to {:.4}, of any ten {:.4} to {:.4}; \
             latest send {} ms",
            out.error * 100.0,
            out.seconds.0,
            out.seconds.1,
            out.tens.0,
            out.tens.1,
            out.latest_ns / MILLI
        );
        println!(
            "  of their share: replicas {:.3} to {:.3}; sends of a partition: {} to {}",
            out.replicas.0, out.replicas.1, out.partitions.0, out.partitions.1
        );
        println!(
            "  journal: {:?}, {} epochs, {} proposals for nothing; {} bytes, most in a second {}",
            out.kinds, out.epochs, out.superseded, out.bytes, out.most_in_a_second
        );
    }
    for (seed, out) in &outcomes {
        assert!(out.joins > 10 && out.kills > 10 && out.leaves > 10 && out.ended > 1000, "{seed}");
        assert_eq!((out.twice, out.lost), (0, 0), "seed {seed}");
        assert!(out.steered < 1000, "seed {seed}: {} when steered", out.steered);
        // A killed replica holds a thousandth for the session timeout.
        assert!(out.no_owner < u64::from(out.kills) * 60, "seed {seed}: {}", out.no_owner);
        assert!(out.nothing_to_send < 200 && out.no_clock < 200, "seed {seed}");
        assert!(out.error.abs() < 0.015, "seed {seed}: {}", out.error);
        assert!(out.seconds.0 > 0.97 && out.seconds.1 < 1.01, "seed {seed}: {:?}", out.seconds);
        assert!(out.tens.0 > 0.985 && out.tens.1 < 1.002, "seed {seed}: {:?}", out.tens);
        assert!(out.replicas.0 > 0.97 && out.replicas.1 < 1.03, "seed {seed}: {:?}", out.replicas);
        let (least, most) = out.partitions;
        assert!(most - least < 6.0, "seed {seed}: {:?}", out.partitions);
        let of = |kind| out.kinds.get(kind).copied().unwrap_or(0);
        assert_eq!(of("done"), out.ended as usize, "seed {seed}");
        assert!(of("answer") < 50 * out.joins as usize, "seed {seed}: {:?}", out.kinds);
        assert!(of("clock") < 60, "seed {seed}: {:?}", out.kinds);
    }
}
