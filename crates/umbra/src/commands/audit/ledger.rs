//! Keeps the books of a log: is fed with its entries in any order and says in the
//! end, for each agent, what is there, what is not, and what was told to be lost.
//! Knows the time only from its caller; reads nothing and prints nothing.
//!
//! Memory is bounded by [`Limits`], not by the length of the log: what is kept is
//! a few numbers for each lane in each partition, and runs of missing sequences.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use umbra_record::pb::{self, record::Body};

use super::{
    report::{self, Report},
    runs::Run,
    track::Track,
};

/// Usual time between the Marks of a lane, until two were read.
const USUAL_MARK_NS: u64 = 5_000_000_000;
/// An agent that was silent for less is never called vanished: entries take some
/// time to get here.
const LEAST_SILENCE_NS: u64 = 2_000_000_000;
/// Most reasons of Gaps told one by one.
const MAX_REASONS: usize = 64;
/// Most places of the log itself told one by one.
const MAX_PLACES: usize = 100;

/// What the books may grow to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Lanes times partitions, over all agents.
    pub(super) tracks: usize,
    /// Runs of sequences, over all of them.
    pub(super) runs: usize,
}

impl Default for Limits {
    /// About 300 MiB at worst.
    fn default() -> Self {
        Self { tracks: 1 << 20, runs: 1 << 20 }
    }
}

/// Which part of a log is read.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// First instant audited.
    pub(super) from_ns: Option<u64>,
    /// First instant not audited.
    pub(super) to_ns: Option<u64>,
    /// Partitions that are not read from their first entry ever: retention, or
    /// the window, cut it off.
    pub(super) cut: BTreeSet<u32>,
    /// What was cut off by the window is older than this.
    pub(super) read_from_ns: Option<u64>,
}

/// More lanes than the books can hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// See the module.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) scope: Scope,
    limits: Limits,
    pub(super) agents: HashMap<Vec<u8>, Agent>,
    pub(super) partitions: BTreeMap<u32, Holes>,
    pub(super) places: Vec<Place>,
    pub(super) unreadable: u64,
    tracks: usize,
    runs: usize,
    /// Not everything could be kept: `missing` is at most what is said.
    pub(super) inexact: bool,
}

/// What a partition of the log itself lacks.
#[derive(Debug, Default)]
pub(super) struct Holes {
    /// Offsets, retention left aside.
    pub(super) missing: u64,
    /// The window is over here.
    over: bool,
}

/// Where the log itself is damaged.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) partition: u32,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) reason: String,
}

/// One agent's books.
#[derive(Debug, Default)]
pub(super) struct Agent {
    pub(super) tracks: BTreeMap<(u32, u32), Track>,
    pub(super) lanes: BTreeMap<u32, Lane>,
    /// How many lanes it says it has.
    pub(super) lanes_told: u32,
    pub(super) host: String,
    pub(super) first_ns: Option<u64>,
    pub(super) last_ns: Option<u64>,
    pub(super) records: u64,
    pub(super) requests: u64,
    pub(super) duplicates: u64,
    /// Entries without a number: no agent wrote them.
    pub(super) unnumbered: u64,
    pub(super) gaps: BTreeMap<String, u64>,
    newest_mark_ns: u64,
    mark_every_ns: Option<u64>,
}

/// One lane in all partitions, whatever the window.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Requests in the log.
    pub(super) held: u64,
    /// Requests its Gaps tell of, by reason.
    pub(super) told: BTreeMap<String, u64>,
    /// Its newest Mark.
    pub(super) totals: Option<Totals>,
}

/// What a lane says of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Totals {
    pub(super) at_ns: u64,
    pub(super) requests: u64,
    pub(super) recorded: u64,
    pub(super) not_selected: u64,
    pub(super) lost: BTreeMap<String, u64>,
}

/// How an agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// All its lanes said that they end.
    Clean,
    /// It marked how far it has come until just now.
    Running,
    /// It fell silent.
    Unknown,
}

impl Ledger {
    pub(super) fn new(scope: Scope, limits: Limits) -> Self {
        Self {
            scope,
            limits,
            agents: HashMap::new(),
            partitions: BTreeMap::new(),
            places: Vec::new(),
            unreadable: 0,
            tracks: 0,
            runs: 0,
            inexact: false,
        }
    }

    /// Enters an entry of the log.
    pub(super) fn record(&mut self, partition: u32, record: &pb::Record) -> Result<(), TooMany> {
        let (from_ns, to_ns) = span_of(record);
        let wanted = self.scope.covers(from_ns, to_ns);
        if !self.enter(partition, record, wanted)? {
            return Ok(());
        }
        if let Some(Body::Gap(gap)) = &record.body {
            self.tell(&record.agent, gap)?;
        }
        if let Some(Body::Mark(mark)) = &record.body {
            self.mark(partition, mark);
        }
        Ok(())
    }

    /// Enters it in the books of its agent. False: it was there before.
    fn enter(
        &mut self,
        partition: u32,
        record: &pb::Record,
        wanted: bool,
    ) -> Result<bool, TooMany> {
        let place = (record.lane, partition);
        self.open_track(&record.agent, place)?;
        let Some(agent) = self.agents.get_mut(record.agent.as_ref()) else { return Ok(false) };
        let Some(track) = agent.tracks.get_mut(&place) else { return Ok(false) };
        if record.sequence == 0 {
            agent.unnumbered += 1;
        } else {
            let runs = track.runs();
            let new = track.see(record.sequence, span_of(record).0);
            self.runs = self.runs + track.runs() - runs;
            if self.runs > self.limits.runs && track.give_up() {
                self.runs -= 1;
                self.inexact = true;
            }
            if !new {
                agent.duplicates += u64::from(wanted);
                return Ok(false);
            }
        }
        agent.enter(record, wanted);
        if let Some(Body::Mark(mark)) = &record.body {
            agent.mark(place, record.sequence, mark, &self.scope);
        }
        Ok(true)
    }

    /// Bytes that are no record.
    pub(super) fn unreadable(&mut self, partition: u32, offset: u64, reason: String) {
        self.unreadable += 1;
        self.place(Place { partition, from: offset, to: offset + 1, reason });
    }

    /// Offsets that are not there. `retention`: they were removed because of their
    /// age, which is no loss.
    pub(super) fn hole(
        &mut self,
        partition: u32,
        from: u64,
        to: u64,
        reason: String,
        retention: bool,
    ) {
        if retention {
            self.scope.cut.insert(partition);
            self.scope.read_from_ns = None;
            let tracks = self.agents.values_mut().flat_map(|agent| &mut agent.tracks);
            tracks.filter(|(at, _)| at.1 == partition).for_each(|(_, track)| track.cut_here());
            return;
        }
        let holes = self.partitions.entry(partition).or_default();
        if !holes.over {
            holes.missing = holes.missing.saturating_add(to.saturating_sub(from));
            self.place(Place { partition, from, to, reason });
        }
    }

    /// Closes the books. `now_ns`: when the log was opened.
    pub(super) fn close(self, now_ns: u64) -> Report {
        report::of(self, now_ns)
    }

    fn place(&mut self, place: Place) {
        if self.places.len() < MAX_PLACES {
            self.places.push(place);
        }
    }

    /// Makes sure that there are books for this lane of this agent.
    fn open_track(&mut self, agent: &[u8], place: (u32, u32)) -> Result<(), TooMany> {
        if self.agents.get(agent).is_some_and(|books| books.tracks.contains_key(&place)) {
            return Ok(());
        }
        self.tracks += 1;
        if self.tracks > self.limits.tracks {
            return Err(TooMany);
        }
        let track = Track::new(self.scope.cuts(place.1, agent));
        self.agents.entry(agent.to_vec()).or_default().tracks.insert(place, track);
        Ok(())
    }

    /// Enters what a Gap says about numbered entries of its agent.
    fn tell(&mut self, agent: &[u8], gap: &pb::Gap) -> Result<(), TooMany> {
        for range in gap.ranges.iter().filter(|range| range.first <= range.last) {
            let place = (range.lane, range.partition);
            self.open_track(agent, place)?;
            let Some(books) = self.agents.get_mut(agent) else { continue };
            let Some(track) = books.tracks.get_mut(&place) else { continue };
            if self.runs >= self.limits.runs {
                self.inexact = true;
                continue;
            }
            let runs = track.runs();
            track.told.add(Run { first: range.first, last: range.last, at_ns: gap.to_ns });
            self.runs = self.runs + track.runs() - runs;
        }
        Ok(())
    }

    /// What a Mark says about its partition.
    fn mark(&mut self, partition: u32, mark: &pb::Mark) {
        if self.scope.to_ns.is_some_and(|to| mark.low_ns >= to) {
            self.partitions.entry(partition).or_default().over = true;
        }
        if self.scope.from_ns.is_some_and(|from| mark.at_ns <= from) {
            // What is missing so far was written before the window.
            if let Some(holes) = self.partitions.get_mut(&partition) {
                holes.missing = 0;
            }
            self.places.retain(|place| place.partition != partition);
        }
    }
}

impl Scope {
    /// Does the time from `first` to `last` touch the window?
    fn covers(&self, first_ns: u64, last_ns: u64) -> bool {
        self.from_ns.is_none_or(|from| last_ns >= from) && self.to_ns.is_none_or(|to| first_ns < to)
    }

    /// May entries of this agent be missing at the beginning of the partition?
    fn cuts(&self, partition: u32, agent: &[u8]) -> bool {
        // An agent that began after all that was left out cannot have been in it.
        let began_later = self.read_from_ns.is_some_and(|from| start_of(agent) >= Some(from));
        self.cut.contains(&partition) && !began_later
    }

    /// All there ever was is read, and meant.
    pub(super) fn is_all(&self) -> bool {
        self.from_ns.is_none() && self.to_ns.is_none() && self.cut.is_empty()
    }
}

impl Agent {
    /// An entry that was not there before; `wanted`: it is in the window.
    fn enter(&mut self, record: &pb::Record, wanted: bool) {
        let lane = self.lanes.entry(record.lane).or_default();
        match &record.body {
            Some(Body::Request(_)) => {
                lane.held += 1;
                self.requests += u64::from(wanted);
            }
            Some(Body::Gap(gap)) => {
                tell(&mut lane.told, gap);
                if wanted {
                    tell(&mut self.gaps, gap);
                }
            }
            Some(Body::Mark(mark)) => lane.mark(mark),
            _ => {}
        }
        if wanted {
            let (from_ns, to_ns) = span_of(record);
            self.records += 1;
            self.first_ns = Some(self.first_ns.map_or(from_ns, |first| first.min(from_ns)));
            self.last_ns = Some(self.last_ns.map_or(to_ns, |last| last.max(to_ns)));
        }
    }

    fn mark(&mut self, place: (u32, u32), sequence: u64, mark: &pb::Mark, scope: &Scope) {
        self.lanes_told = self.lanes_told.max(mark.lanes);
        if self.host.is_empty() {
            self.host.clone_from(&mark.host);
        }
        self.newest_mark_ns = self.newest_mark_ns.max(mark.at_ns);
        let Some(track) = self.tracks.get_mut(&place) else { return };
        if let Some(since) = track.mark(sequence, mark.at_ns, mark.r#final)
            && since > 0
        {
            self.mark_every_ns = Some(self.mark_every_ns.map_or(since, |every| every.min(since)));
        }
        if scope.from_ns.is_some_and(|from| mark.at_ns <= from) {
            track.window_begins_after(sequence);
        }
        if scope.to_ns.is_some_and(|to| mark.low_ns >= to) {
            track.window_ends_with(sequence);
        }
    }

    /// How it ended, as seen at `now_ns`.
    pub(super) fn ended(&self, now_ns: u64) -> Ended {
        let lanes: BTreeSet<u32> =
            self.tracks.iter().filter(|(_, t)| t.seen()).map(|(at, _)| at.0).collect();
        let all_there = self.lanes_told > 0 && lanes.len() >= self.lanes_told as usize;
        if all_there && self.tracks.values().filter(|t| t.seen()).all(Track::ended) {
            return Ended::Clean;
        }
        let silence = self.mark_every_ns.unwrap_or(USUAL_MARK_NS).saturating_mul(3);
        let silence = silence.max(LEAST_SILENCE_NS);
        match self.newest_mark_ns.saturating_add(silence) > now_ns {
            true => Ended::Running,
            false => Ended::Unknown,
        }
    }
}

impl Lane {
    fn mark(&mut self, mark: &pb::Mark) {
        if self.totals.as_ref().is_some_and(|totals| totals.at_ns > mark.at_ns) {
            return;
        }
        self.totals = Some(Totals {
            at_ns: mark.at_ns,
            requests: mark.requests,
            recorded: mark.recorded,
            not_selected: mark.not_selected,
            lost: mark.lost.clone().into_iter().collect(),
        });
    }

    /// Requests its newest Mark says were recorded, and that are neither here nor
    /// told to be lost since.
    pub(super) fn short(&self) -> u64 {
        let sum = |of: &BTreeMap<String, u64>| of.values().copied().fold(0, u64::saturating_add);
        let Some(totals) = &self.totals else { return 0 };
        let told_since = sum(&self.told).saturating_sub(sum(&totals.lost));
        totals.recorded.saturating_sub(self.held).saturating_sub(told_since)
    }

    /// Losses its newest Mark counts and its Gaps do not tell, by reason.
    pub(super) fn untold(&self) -> impl Iterator<Item = (&str, u64)> {
        let lost = self.totals.iter().flat_map(|totals| &totals.lost);
        lost.filter_map(|(reason, lost)| {
            let told = self.told.get(reason).copied().unwrap_or(0);
            (*lost > told).then(|| (reason.as_str(), lost - told))
        })
    }
}

/// Adds the requests of a Gap, with a bound on how many reasons there are.
fn tell(told: &mut BTreeMap<String, u64>, gap: &pb::Gap) {
    let full = told.len() >= MAX_REASONS && !told.contains_key(&gap.reason);
    let reason = if full { "(others)" } else { gap.reason.as_str() };
    let requests = told.entry(reason.to_owned()).or_default();
    *requests = requests.saturating_add(gap.requests);
}

/// First and last capture time an entry is about.
fn span_of(record: &pb::Record) -> (u64, u64) {
    let at = match &record.body {
        Some(Body::Request(request)) => request.start_ns,
        Some(Body::Response(response)) => response.request_start_ns,
        Some(Body::Part(part)) => start_of(&part.id).unwrap_or(0),
        Some(Body::Mark(mark)) => mark.at_ns,
        Some(Body::Gap(gap)) => return (gap.from_ns, gap.to_ns.max(gap.from_ns)),
        None => 0,
    };
    (at, at)
}

/// The time in an id (UUIDv7), to the millisecond.
fn start_of(id: &[u8]) -> Option<u64> {
    let time: [u8; 6] = id.get(..6)?.try_into().ok()?;
    let ms = time.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    Some(ms.saturating_mul(1_000_000))
}

#[cfg(test)]
mod tests;
