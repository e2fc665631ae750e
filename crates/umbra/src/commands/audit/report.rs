//! What the books say in the end: as an object, and for people.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    ledger::{Agent, Ended, Lane, Ledger, Place, Totals},
    runs::Run,
    track::{Track, sum},
};
use crate::settings::values::show_instant;

/// Most places told one by one for each agent, and runs for each place.
const MAX_PLACES: usize = 50;
const MAX_RUNS: usize = 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) agents: Vec<Audited>,
    pub(super) missing: u64,
    pub(super) duplicates: u64,
    /// Offsets the log lacks that no agent's sequences explain.
    pub(super) unattributed: u64,
    log_missing: u64,
    unreadable: u64,
    places: Vec<Place>,
    inexact: bool,
}

/// One agent.
#[derive(Debug)]
pub(super) struct Audited {
    pub(super) id: String,
    host: String,
    first_ns: Option<u64>,
    last_ns: Option<u64>,
    pub(super) records: u64,
    requests: u64,
    pub(super) missing: u64,
    pub(super) duplicates: u64,
    pub(super) gaps: BTreeMap<String, u64>,
    /// Losses its Marks count and its Gaps do not tell.
    pub(super) untold: BTreeMap<String, u64>,
    pub(super) ended: Ended,
    /// May still be told by a running agent.
    pub(super) pending: u64,
    /// Told to be lost, and here.
    pub(super) told_and_here: u64,
    unnumbered: u64,
    pub(super) places: Vec<Missing>,
    more_places: usize,
    totals: Option<Totals>,
}

/// Where something is missing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) lane: u32,
    /// `None`: somewhere, by the totals of the lane's Marks.
    pub(super) partition: Option<u32>,
    pub(super) count: u64,
    /// The first of the runs.
    pub(super) runs: Vec<Run>,
}

/// Closes the books.
pub(super) fn of(ledger: Ledger, now_ns: u64) -> Report {
    let whole = ledger.scope.is_all();
    let mut explained = BTreeMap::<u32, u64>::new();
    let mut agents: Vec<Audited> = Vec::new();
    for (id, agent) in ledger.agents {
        let audited = audit(&id, &agent, whole, now_ns, &mut explained);
        if audited.records > 0 || audited.missing > 0 || audited.duplicates > 0 {
            agents.push(audited);
        }
    }
    agents.sort_by(|a, b| (a.first_ns, &a.id).cmp(&(b.first_ns, &b.id)));
    let unexplained = ledger.partitions.iter().map(|(partition, holes)| {
        holes.missing.saturating_sub(explained.get(partition).copied().unwrap_or(0))
    });
    let unattributed = unexplained.fold(0, u64::saturating_add);
    let add = |sum: u64, n: u64| sum.saturating_add(n);
    Report {
        missing: agents.iter().map(|agent| agent.missing).fold(unattributed, add),
        duplicates: agents.iter().map(|agent| agent.duplicates).fold(0, add),
        agents,
        unattributed,
        log_missing: ledger.partitions.values().map(|holes| holes.missing).fold(0, add),
        unreadable: ledger.unreadable,
        places: ledger.places,
        inexact: ledger.inexact,
    }
}

/// Closes one agent's books; adds what is missing in each partition to `explained`.
/// `whole`: its whole life is in what was read.
fn audit(
    id: &[u8],
    agent: &Agent,
    whole: bool,
    now_ns: u64,
    explained: &mut BTreeMap<u32, u64>,
) -> Audited {
    let mut audited = Audited::open(id, agent, now_ns);
    for (&lane, books) in &agent.lanes {
        let mut missing = 0_u64;
        for (&(_, partition), track) in agent.tracks.range((lane, 0)..=(lane, u32::MAX)) {
            let count = audited.add_track(lane, partition, track);
            missing = missing.saturating_add(count);
            let here = explained.entry(partition).or_default();
            *here = here.saturating_add(count);
        }
        // What a running agent counts may be on its way.
        if whole && audited.ended != Ended::Running {
            missing = audited.add_totals(lane, books, missing);
        }
        audited.missing = audited.missing.saturating_add(missing);
    }
    audited
}

impl Report {
    /// The result object.
    pub(super) fn as_json(&self) -> Value {
        json!({
            "agents": self.agents.iter().map(Audited::as_json).collect::<Vec<_>>(),
            "missing": self.missing,
            "duplicates": self.duplicates,
            "unattributed": self.unattributed,
            "exact": !self.inexact,
            "log": {
                "missing": self.log_missing,
                "unreadable": self.unreadable,
                "where": self.places.iter().map(Place::as_json).collect::<Vec<_>>(),
            },
        })
    }

    /// The same for people; the last line says it all.
    pub(super) fn as_text(&self) -> String {
        let mut text = String::new();
        self.agents.iter().for_each(|agent| agent.tell(&mut text));
        for place in &self.places {
            let Place { partition, from, to, reason } = place;
            let last = to.saturating_sub(1);
            text.push_str(&format!(
                "the log itself: partition {partition}, offsets {from}–{last} cannot be read: {reason}\n"
            ));
        }
        if self.inexact {
            text.push_str(
                "There are more holes than could be kept apart: missing is at most this.\n",
            );
        }
        text.push_str(&self.sentence());
        text
    }

    fn sentence(&self) -> String {
        if self.missing > 0 {
            let agents = self.agents.iter().filter(|agent| agent.missing > 0).count();
            let whose = match agents {
                0 => "of agents unknown".to_owned(),
                1 => "of one agent".to_owned(),
                more => format!("of {more} agents"),
            };
            return format!(
                "Not every request is accounted for: {} missing, {whose}.\n",
                records(self.missing)
            );
        }
        if self.agents.is_empty() {
            return "There is nothing to audit: no agent wrote here.\n".to_owned();
        }
        let mut text = "Every request is accounted for".to_owned();
        let told = self.agents.iter().flat_map(|agent| agent.gaps.values()).copied();
        let told = told.fold(0, u64::saturating_add);
        if told > 0 {
            text.push_str(&format!("; {told} could not be recorded, as told above"));
        }
        let silent = self.agents.iter().filter(|agent| agent.ended == Ended::Unknown).count();
        if silent > 0 {
            let who = if silent == 1 { "one agent".to_owned() } else { format!("{silent} agents") };
            text.push_str(&format!(
                "; what {who} lost after the last record, if anything, is unknown"
            ));
        }
        text + ".\n"
    }
}

impl Audited {
    /// What is known without its lanes.
    fn open(id: &[u8], agent: &Agent, now_ns: u64) -> Self {
        let told_and_here = agent.tracks.values().map(Track::told_and_here);
        let totals = agent.lanes.values().filter_map(|lane| lane.totals.as_ref());
        Self {
            id: umbra_record::id::text(id),
            host: agent.host.clone(),
            first_ns: agent.first_ns,
            last_ns: agent.last_ns,
            records: agent.records,
            requests: agent.requests,
            missing: 0,
            duplicates: agent.duplicates,
            gaps: agent.gaps.clone(),
            untold: BTreeMap::new(),
            ended: agent.ended(now_ns),
            pending: 0,
            told_and_here: told_and_here.fold(0, u64::saturating_add),
            unnumbered: agent.unnumbered,
            places: Vec::new(),
            more_places: 0,
            totals: Totals::sum(totals),
        }
    }

    /// Adds what a lane misses in a partition; returns how much.
    fn add_track(&mut self, lane: u32, partition: u32, track: &Track) -> u64 {
        let (runs, open) = track.missing(self.ended == Ended::Running);
        let count = sum(&runs).saturating_add(track.given_up);
        self.pending = self.pending.saturating_add(open);
        if count > 0 {
            self.add_place(lane, Some(partition), count, &runs);
        }
        count
    }

    /// Compares a lane that misses so many records with the totals in its Marks;
    /// returns how many it misses then.
    fn add_totals(&mut self, lane: u32, books: &Lane, missing: u64) -> u64 {
        for (reason, lost) in books.untold() {
            let sum = self.untold.entry(reason.to_owned()).or_default();
            *sum = sum.saturating_add(lost);
        }
        let short = books.short();
        if short > missing {
            self.add_place(lane, None, short - missing, &[]);
        }
        short.max(missing)
    }

    fn add_place(&mut self, lane: u32, partition: Option<u32>, count: u64, runs: &[Run]) {
        if self.places.len() < MAX_PLACES {
            let runs = runs.iter().copied().take(MAX_RUNS).collect();
            self.places.push(Missing { lane, partition, count, runs });
        } else {
            self.more_places += 1;
        }
    }

    fn as_json(&self) -> Value {
        let told = |of: &BTreeMap<String, u64>| -> Vec<Value> {
            of.iter().map(|(reason, n)| json!({ "requests": n, "reason": reason })).collect()
        };
        json!({
            "id": self.id,
            "host": self.host,
            "first": self.first_ns.map(show_instant),
            "last": self.last_ns.map(show_instant),
            "records": self.records,
            "requests": self.requests,
            "missing": self.missing,
            "duplicates": self.duplicates,
            "gaps": told(&self.gaps),
            "untold": told(&self.untold),
            "ended": self.ended.word(),
            "pending": self.pending,
            "told_and_here": self.told_and_here,
            "unnumbered": self.unnumbered,
            "where": self.places.iter().map(Missing::as_json).collect::<Vec<_>>(),
            "where_more": self.more_places,
            "totals": self.totals.as_ref().map(Totals::as_json),
        })
    }

    fn tell(&self, text: &mut String) {
        let on = if self.host.is_empty() { String::new() } else { format!(" on {}", self.host) };
        let ended = match self.ended {
            Ended::Clean => "ended cleanly",
            Ended::Running => "is running",
            Ended::Unknown => "fell silent: how it ended is unknown",
        };
        text.push_str(&format!("agent {}{on}, {ended}\n", self.id));
        if let (Some(first), Some(last)) = (self.first_ns, self.last_ns) {
            text.push_str(&format!("  from {} to {}\n", show_instant(first), show_instant(last)));
        }
        text.push_str(&format!("  {} with {} requests", records(self.records), self.requests));
        text.push_str(&format!(", {} missing, {} twice\n", self.missing, self.duplicates));
        for (reason, requests) in &self.gaps {
            text.push_str(&format!("  told as not recorded ({reason}): {requests} requests\n"));
        }
        for (reason, requests) in &self.untold {
            text.push_str(&format!(
                "  counted as not recorded ({reason}) by its marks, and not told: {requests} requests\n"
            ));
        }
        self.places.iter().for_each(|place| place.tell(text));
        if self.more_places > 0 {
            text.push_str(&format!("  and in {} more places\n", self.more_places));
        }
        if self.pending > 0 {
            text.push_str(&format!(
                "  {} not there yet: it is running and may tell of them\n",
                records(self.pending)
            ));
        }
        if self.told_and_here > 0 {
            text.push_str(&format!(
                "  {} here although told to be lost\n",
                records(self.told_and_here)
            ));
        }
        if self.unnumbered > 0 {
            text.push_str(&format!(
                "  {} without a number cannot be checked\n",
                records(self.unnumbered)
            ));
        }
    }
}

impl Missing {
    fn as_json(&self) -> Value {
        let runs = self.runs.iter();
        json!({
            "lane": self.lane,
            "partition": self.partition,
            "missing": self.count,
            "ranges": runs.clone().map(|run| json!([run.first, run.last])).collect::<Vec<_>>(),
            "before": self.runs.first().map(|run| show_instant(run.at_ns)),
        })
    }

    fn tell(&self, text: &mut String) {
        let Self { lane, partition, count, runs } = self;
        let Some(partition) = partition else {
            text.push_str(&format!(
                "  missing: {count} requests of lane {lane}, which its marks count as recorded\n"
            ));
            return;
        };
        let shown: Vec<String> = runs
            .iter()
            .map(|run| match run.first == run.last {
                true => run.first.to_string(),
                false => format!("{}–{}", run.first, run.last),
            })
            .collect();
        text.push_str(&format!(
            "  missing: {} of lane {lane} in partition {partition}",
            records(*count)
        ));
        if let Some(first) = runs.first() {
            let shown = shown.join(", ");
            text.push_str(&format!(
                ", sequence {shown}, the first before {}",
                show_instant(first.at_ns)
            ));
        }
        text.push('\n');
    }
}

impl Place {
    fn as_json(&self) -> Value {
        json!({ "partition": self.partition, "from": self.from, "to": self.to, "reason": self.reason })
    }
}

impl Totals {
    /// Of an agent, from those of its lanes.
    fn sum<'a>(lanes: impl Iterator<Item = &'a Self>) -> Option<Self> {
        lanes.fold(None, |sum, lane| {
            let mut sum: Self = sum.unwrap_or_default();
            sum.at_ns = sum.at_ns.max(lane.at_ns);
            sum.requests = sum.requests.saturating_add(lane.requests);
            sum.recorded = sum.recorded.saturating_add(lane.recorded);
            sum.not_selected = sum.not_selected.saturating_add(lane.not_selected);
            for (reason, n) in &lane.lost {
                let lost = sum.lost.entry(reason.clone()).or_default();
                *lost = lost.saturating_add(*n);
            }
            Some(sum)
        })
    }

    fn as_json(&self) -> Value {
        json!({
            "at": show_instant(self.at_ns),
            "requests": self.requests,
            "recorded": self.recorded,
            "not_selected": self.not_selected,
            "lost": self.lost,
        })
    }
}

impl Ended {
    fn word(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Running => "running",
            Self::Unknown => "unknown",
        }
    }
}

/// So many records, in words.
fn records(count: u64) -> String {
    if count == 1 { "1 record".to_owned() } else { format!("{count} records") }
}
