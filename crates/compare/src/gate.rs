//! `--fail-on`: conditions on a report under which a run has not given what was asked.

#[cfg(test)]
mod tests;

use std::str::FromStr;

use crate::{Judgement, Report};

/// Endpoints with fewer timed pairs say nothing about a 99th percentile.
const LEAST_PAIRS: u64 = 100;

/// Conditions, any of which fails the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Condition {
    Different,
    Unsure,
    /// Share of the compared requests.
    Failed(f64),
    /// Growth of the median, or of the 99th percentile, of an endpoint.
    Median(f64),
    P99(f64),
}

/// As the user writes it: `different`, `unsure`, `failed>1%`, `p50>+20%`, `p99>+20%`,
/// several with commas.
impl FromStr for Gate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let conditions = text.split(',').map(|part| Condition::parse(part.trim()));
        Ok(Self { conditions: conditions.collect::<Result<_, _>>()? })
    }
}

impl Gate {
    /// The conditions that hold, each as a sentence; none: the run is good.
    pub fn held(&self, report: &Report) -> Vec<String> {
        self.conditions.iter().flat_map(|condition| condition.held(report)).collect()
    }
}

impl Condition {
    fn parse(text: &str) -> Result<Self, String> {
        let percent = |text: &str| {
            let number = text.strip_suffix('%')?.parse::<f64>().ok()?;
            (number.is_finite() && number >= 0.0).then_some(number / 100.0)
        };
        let growth = |text: &str| percent(text.strip_prefix('+')?);
        let condition = match text.split_once('>').map(|(what, most)| (what.trim(), most.trim())) {
            None if text == "different" => Some(Self::Different),
            None if text == "unsure" => Some(Self::Unsure),
            Some(("failed", most)) => percent(most).map(Self::Failed),
            Some(("p50", most)) => growth(most).map(Self::Median),
            Some(("p99", most)) => growth(most).map(Self::P99),
            _ => None,
        };
        condition.ok_or_else(|| {
            format!("'{text}' is not one of different, unsure, failed>1%, p50>+20%, p99>+20%")
        })
    }

    fn held(self, report: &Report) -> Vec<String> {
        let one = |holds: bool, sentence: String| if holds { vec![sentence] } else { Vec::new() };
        match self {
            Self::Different => {
                let holds = report.verdict == Judgement::Different;
                one(holds, "the answers are different".to_owned())
            }
            Self::Unsure => {
                let sentence = match report.requests_needed {
                    Some(more) => format!("the verdict is unsure; about {more} more requests"),
                    None => "the verdict is unsure".to_owned(),
                };
                one(report.verdict == Judgement::Unsure, sentence)
            }
            Self::Failed(most) => {
                let share = report.failed as f64 / report.compared.max(1) as f64;
                let sentence = format!("{:.2} % failed, above {} %", share * 100.0, most * 100.0);
                one(share > most, sentence)
            }
            Self::Median(most) => slower(report, "median", most, |latency| {
                (latency.expected_p50_ms, latency.actual_p50_ms)
            }),
            Self::P99(most) => slower(report, "99th percentile", most, |latency| {
                (latency.expected_p99_ms, latency.actual_p99_ms)
            }),
        }
    }
}

/// A sentence for each endpoint whose time grew by more than this share.
fn slower(
    report: &Report,
    name: &str,
    most: f64,
    times: impl Fn(&crate::Latency) -> (f64, f64),
) -> Vec<String> {
    let timed = report.endpoints.iter().filter_map(|endpoint| {
        let latency = endpoint.latency.filter(|latency| latency.pairs >= LEAST_PAIRS)?;
        let (expected, actual) = times(&latency);
        (actual > expected * (1.0 + most)).then(|| {
            let percent = most * 100.0;
            format!(
                "{}: {name} {expected:.1} \u{2192} {actual:.1} ms, above +{percent} %",
                endpoint.endpoint
            )
        })
    });
    timed.collect()
}
