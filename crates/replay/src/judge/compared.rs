//! The result of comparing, as it is told: one object for one shadow or several.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use umbra_compare::{Judgement, Report, Verdict, report::Exchange};

/// What comparing has come to, target by target.
#[derive(Debug, Clone)]
pub struct Compared {
    /// `recorded`, or the name of a target.
    pub baseline: String,
    /// Name of the target that measures the noise.
    pub noise: Option<String>,
    /// By name of the shadow.
    pub targets: BTreeMap<String, ComparedTarget>,
}

/// What comparing has come to for one shadow.
#[derive(Debug, Clone)]
pub struct ComparedTarget {
    /// What is to be said.
    pub report: Report,
    /// What it was made from: to be kept as a profile of noise.
    pub verdict: Verdict,
    /// Some of the examples, whole, of those that this process judged.
    pub exchanges: Vec<Exchange>,
}

impl Compared {
    /// The worst of the verdicts.
    pub fn verdict(&self) -> Judgement {
        let verdicts = || self.targets.values().map(|one| one.report.verdict);
        if verdicts().any(|one| one == Judgement::Different) {
            Judgement::Different
        } else if verdicts().any(|one| one == Judgement::Unsure) {
            Judgement::Unsure
        } else {
            Judgement::Same
        }
    }

    /// The object of the result: sums over all shadows, the findings of all, and the
    /// rest target by target.
    pub fn to_json(&self) -> Result<Value, serde_json::Error> {
        let sum = |count: fn(&Report) -> u64| {
            self.targets.values().map(|one| count(&one.report)).sum::<u64>()
        };
        let mut not_compared: BTreeMap<&str, u64> = BTreeMap::new();
        let mut findings = Vec::new();
        let mut targets = serde_json::Map::new();
        for (name, one) in &self.targets {
            for (why, count) in &one.report.not_compared {
                *not_compared.entry(why).or_default() += count;
            }
            let mut report = serde_json::to_value(&one.report)?;
            let taken = report.as_object_mut().and_then(|object| object.remove("findings"));
            for mut finding in taken.and_then(as_list).unwrap_or_default() {
                finding["target"] = json!(name);
                findings.push(finding);
            }
            targets.insert(name.clone(), report);
        }
        Ok(json!({
            "baseline": self.baseline,
            "noise": self.noise,
            "compared": sum(|report| report.compared),
            "equal": sum(|report| report.equal),
            "different": sum(|report| report.different),
            "failed": sum(|report| report.failed),
            "not_compared": not_compared,
            "verdict": self.verdict(),
            "findings": findings,
            "targets": targets,
        }))
    }
}

impl Serialize for Compared {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

fn as_list(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(list) => Some(list),
        _ => None,
    }
}
