//! The window of a job, and what agents have said about how far they have
//! delivered: how a window without a known end is found to be over, and who was
//! missing. Pure; fed with marks.

use std::collections::{BTreeMap, HashMap};

use umbra_record::{id, pb};

use crate::report::{AgentMissing, rfc3339};

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
    agents: HashMap<[u8; 16], Agent>,
}

#[derive(Debug, Default)]
struct Agent {
    host: String,
    /// How many it has; 0: it never said.
    lanes: u32,
    /// The latest time that anything of it speaks of.
    last_ns: u64,
    /// Per (partition, lane): no later request starts before this; `u64::MAX` after
    /// a clean end.
    low: BTreeMap<(u32, u32), u64>,
}

impl Agent {
    fn low(&self, partition: u32, lane: u32) -> Option<u64> {
        self.low.get(&(partition, lane)).copied()
    }

    /// Best word of a lane in any partition: marks go to all of them, and those of
    /// the others may lie outside of what was read.
    fn best(&self, lane: u32) -> Option<u64> {
        self.low.iter().filter(|((_, at), _)| *at == lane).map(|(_, low)| *low).max()
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

    pub(crate) fn mark(&mut self, agent: [u8; 16], lane: u32, partition: u32, mark: &pb::Mark) {
        let agent = self.agents.entry(agent).or_default();
        agent.last_ns = agent.last_ns.max(mark.at_ns);
        agent.lanes = agent.lanes.max(mark.lanes).max(lane + 1);
        if agent.host.is_empty() {
            agent.host.clone_from(&mark.host);
        }
        let word = if mark.r#final { u64::MAX } else { mark.low_ns };
        let low = agent.low.entry((partition, lane)).or_default();
        *low = (*low).max(word);
    }

    /// Whether nothing that starts before `to` will come in this partition any
    /// more. `caught_up`: everything that is there has been read.
    pub(crate) fn delivered(
        &self,
        partition: u32,
        to_ns: u64,
        now: u64,
        grace_ns: u64,
        caught_up: bool,
    ) -> bool {
        if now < to_ns {
            return false;
        }
        if self.agents.is_empty() {
            return caught_up && now >= to_ns.saturating_add(grace_ns);
        }
        self.agents.values().all(|agent| {
            // Without a mark there is no word on lanes: only its silence tells.
            let said = agent.lanes > 0
                && agent
                    .lanes()
                    .all(|lane| agent.low(partition, lane).is_some_and(|low| low >= to_ns));
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
