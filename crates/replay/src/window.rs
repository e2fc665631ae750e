//! The window of a job, and what agents have said about how far they have
//! delivered: how a window without a known end is found to be over, and who was
//! missing. Pure; fed with marks.

use std::collections::BTreeMap;

use umbra_record::{id, pb};

use crate::{
    report::{AgentMissing, rfc3339},
    table::Table,
};

#[cfg(test)]
mod tests;

/// Half open, by capture time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Window {
    pub from_ns: Option<u64>,
    pub to_ns: Option<u64>,
}

impl Window {
    pub(crate) fn contains(&self, time_ns: u64) -> bool {
        self.from_ns.is_none_or(|from| from <= time_ns) && self.to_ns.is_none_or(|to| time_ns < to)
    }

    /// Whether any of the time from `first` to `last`, both included, is in it.
    pub(crate) fn touches(&self, first: u64, last: u64) -> bool {
        self.from_ns.is_none_or(|from| from <= last) && self.to_ns.is_none_or(|to| first < to)
    }
}

/// What the agents of a log have delivered, as their marks say.
#[derive(Debug, Default)]
pub(crate) struct Agents {
    agents: Table<[u8; 16], Agent>,
}

#[derive(Debug, Default)]
struct Agent {
    host: String,
    /// How many it has; 0: it never said.
    lanes: u32,
    /// The latest time that anything of it speaks of.
    last_ns: u64,
    /// The last word of each (partition, lane).
    words: BTreeMap<(u32, u32), Word>,
}

/// What a lane has said in a partition.
#[derive(Debug, Default, Clone, Copy)]
struct Word {
    /// No later request starts before this; `u64::MAX` after a clean end.
    low_ns: u64,
    /// Where it was said: it holds for what comes behind it.
    offset: u64,
}

/// How far a partition has been read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stand {
    /// The next offset to be met. Lower than before in a partition that was somebody
    /// else's in the meantime, or whose progress was not committed.
    pub next: u64,
    /// Everything that is there has been read.
    pub caught_up: bool,
}

impl Agent {
    fn low(&self, partition: u32, lane: u32) -> Option<u64> {
        self.words.get(&(partition, lane)).map(|word| word.low_ns)
    }

    /// Whether a lane has said, in what has been read of the partition, that nothing
    /// from before `to` follows. What it said further on, when the partition was read
    /// that far once, says nothing of the requests before that place.
    fn said(&self, partition: u32, lane: u32, to_ns: u64, next: u64) -> bool {
        let word = self.words.get(&(partition, lane));
        word.is_some_and(|word| word.low_ns >= to_ns && word.offset < next)
    }

    /// Best word of a lane in any partition: marks go to all of them, and those of
    /// the others may lie outside of what was read.
    fn best(&self, lane: u32) -> Option<u64> {
        let words = self.words.iter().filter(|((_, at), _)| *at == lane);
        words.map(|(_, word)| word.low_ns).max()
    }

    fn lanes(&self) -> std::ops::Range<u32> {
        0..self.lanes
    }
}

impl Agents {
    /// Whether nothing of any agent has been met.
    pub(crate) fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }

    /// A record of the agent, which is about this time.
    pub(crate) fn met(&mut self, agent: [u8; 16], time_ns: u64) {
        let agent = self.agents.entry(agent).or_default();
        agent.last_ns = agent.last_ns.max(time_ns);
    }

    /// A mark of a lane, at this place.
    pub(crate) fn mark(
        &mut self,
        agent: [u8; 16],
        lane: u32,
        (partition, offset): (u32, u64),
        mark: &pb::Mark,
    ) {
        let agent = self.agents.entry(agent).or_default();
        agent.last_ns = agent.last_ns.max(mark.at_ns);
        agent.lanes = agent.lanes.max(mark.lanes).max(lane + 1);
        if agent.host.is_empty() {
            agent.host.clone_from(&mark.host);
        }
        let low_ns = if mark.r#final { u64::MAX } else { mark.low_ns };
        let word = agent.words.entry((partition, lane)).or_default();
        // The first place that says as much holds for the most.
        if low_ns > word.low_ns {
            *word = Word { low_ns, offset };
        }
    }

    /// Whether nothing that starts before `to` will come in this partition any
    /// more, behind what has been read.
    pub(crate) fn delivered(
        &self,
        (partition, stand): (u32, Stand),
        to_ns: u64,
        now: u64,
        grace_ns: u64,
    ) -> bool {
        let Stand { next, caught_up } = stand;
        if now < to_ns {
            return false;
        }
        if self.agents.is_empty() {
            return caught_up && now >= to_ns.saturating_add(grace_ns);
        }
        self.agents.values().all(|agent| {
            // Without a mark there is no word on lanes: only its silence tells.
            let said = agent.lanes > 0
                && agent.lanes().all(|lane| agent.said(partition, lane, to_ns, next));
            let silent = now.saturating_sub(agent.last_ns) >= grace_ns;
            said || (caught_up && silent)
        })
    }

    /// Whether this agent has ended or fallen silent, so that no part of a request
    /// of it will follow.
    pub(crate) fn is_gone(
        &self,
        agent: &[u8; 16],
        partition: u32,
        now: u64,
        grace_ns: u64,
    ) -> bool {
        self.agents.get(agent).is_none_or(|agent| {
            let ended = agent.lanes > 0
                && agent.lanes().all(|lane| agent.low(partition, lane) == Some(u64::MAX));
            ended || now.saturating_sub(agent.last_ns) >= grace_ns
        })
    }

    /// Agents that neither ended cleanly nor delivered up to `to`.
    pub(crate) fn missing(&self, to_ns: u64) -> Vec<AgentMissing> {
        let mut missing: Vec<AgentMissing> = self
            .agents
            .iter()
            .filter_map(|(id, agent)| {
                let words: Option<Vec<u64>> = agent.lanes().map(|lane| agent.best(lane)).collect();
                let up_to = words.and_then(|words| words.into_iter().min());
                up_to.is_none_or(|low| low < to_ns).then(|| AgentMissing {
                    agent: id::text(id),
                    host: agent.host.clone(),
                    up_to: up_to.map(rfc3339),
                })
            })
            .collect();
        missing.sort_by(|one, other| one.agent.cmp(&other.agent));
        missing
    }
}
