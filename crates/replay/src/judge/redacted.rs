//! Which rules of redaction the recorded messages underwent: agents write theirs into
//! their marks, so that the same is done to the answers of shadows before they are
//! compared, or shown.

use std::collections::BTreeSet;

use umbra_compare::Rules;
use umbra_record::hash;

/// Most sets of rules that are remembered; agents that are configured alike share one.
const MAX_SETS: usize = 1000;

/// Where credentials are in an answer, or quoted from the request.
const CREDENTIALS: [&str; 5] = [
    "header:authorization",
    "header:proxy-authorization",
    "header:x-api-key",
    "header:cookie",
    "set-cookie:*",
];

/// The rules met so far.
#[derive(Debug)]
pub(super) struct Redacted {
    /// The user's, without places that were redacted.
    base: Rules,
    places: BTreeSet<String>,
    sets: BTreeSet<[u8; 16]>,
    rules: Rules,
}

impl Redacted {
    pub(super) fn new(base: &Rules) -> Self {
        Self {
            rules: base.clone(),
            base: base.clone(),
            places: BTreeSet::new(),
            sets: BTreeSet::new(),
        }
    }

    /// Takes the rules of one agent, a line each.
    pub(super) fn learn(&mut self, lines: &[String]) {
        let set = hash::of(lines.join("\n").as_bytes());
        if lines.is_empty() || self.sets.len() >= MAX_SETS || !self.sets.insert(set) {
            return;
        }
        for line in lines {
            let Some((place, action)) = line.rsplit_once('=') else { continue };
            match (place, action) {
                (_, "keep") => {}
                ("credentials", _) => {
                    self.places.extend(CREDENTIALS.iter().map(|place| (*place).to_owned()));
                }
                _ => {
                    self.places.insert(place.to_owned());
                }
            }
        }
        let understood = |place: &&String| self.base.clone().redacted(&[place]).is_ok();
        let places: Vec<&String> = self.places.iter().filter(understood).collect();
        if let Ok(rules) = self.base.clone().redacted(&places) {
            self.rules = rules;
        }
    }

    /// Whether it is known what was taken out under this name.
    pub(super) fn knows(&self, set: &[u8]) -> bool {
        set.is_empty() || <[u8; 16]>::try_from(set).is_ok_and(|set| self.sets.contains(&set))
    }

    /// The user's rules, and what was redacted.
    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }
}
