//! From counts to what a person reads: classes of findings, and one word.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::{
    Example, Latency, Settings, is_hard,
    tally::{Counts, Tally},
};
use crate::{
    Kind, Rules,
    statistics::{benjamini_hochberg, enough, fisher, mcnemar},
};

/// Most findings listed.
const MAX_FINDINGS: usize = 1000;

/// What can be said about all requests so far. Serializes to the `compare` object of a
/// replay's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Requests whose answers were compared: equal and different ones.
    pub compared: u64,
    /// Without a difference that counts.
    pub equal: u64,
    /// With one, noise included.
    pub different: u64,
    /// Of the different: the candidate gave no answer, or one that broke off.
    pub failed: u64,
    /// Requests whose answers could not be compared, by reason.
    pub not_compared: BTreeMap<String, u64>,
    /// In one word.
    pub verdict: Judgement,
    /// How many more requests like these it takes to be sure, if it is unsure.
    pub requests_needed: Option<u64>,
    /// Whether there were second good answers, or a learned noise. If not, differences in values are not
    /// told from noise and at most "new".
    pub noise_measured: bool,
    /// Compared requests that had one.
    pub paired: u64,
    /// The worst first.
    pub findings: Vec<Finding>,
    /// How many more there are, less grave than those listed.
    pub findings_omitted: usize,
    /// What was compared, by endpoint.
    pub endpoints: Vec<Coverage>,
    /// Requests by the status of both answers, the most frequent first.
    #[serde(default)]
    pub statuses: Vec<StatusPair>,
}

/// Requests that were answered with these statuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusPair {
    /// Of the baseline: `200`, or what came instead, such as `refused`.
    pub expected: String,
    /// Of the candidate.
    pub actual: String,
    /// How many.
    pub requests: u64,
}

/// The verdict in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Judgement {
    /// No difference beyond noise, and enough requests to have seen one.
    Same,
    /// At least one confirmed difference.
    Different,
    /// Differences that are not confirmed, or too few requests.
    Unsure,
}

/// One way in which the answers of one endpoint differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Such as `GET /users/{id}`.
    pub endpoint: String,
    /// Such as `body.items[].price`.
    pub field: String,
    /// In which way it differs.
    pub kind: Kind,
    /// Requests in which only the candidate differs (and those where it differs and
    /// no second good answer was there).
    pub b: u64,
    /// Requests in which only the second good answer differs; without second answers,
    /// requests in which good answers differed when the noise was learned.
    pub c: u64,
    /// Requests in which both differ.
    pub both: u64,
    /// Requests of the endpoint that were compared.
    pub n: u64,
    /// How likely that is by chance.
    pub p: f64,
    /// The same, corrected for the number of fields looked at.
    pub q: f64,
    /// What to make of it.
    pub class: Class,
    /// One request that shows it.
    pub example: Option<Example>,
    /// That one and others.
    pub examples: Vec<Example>,
    /// The rule that would silence it.
    pub ignore: Option<String>,
}

/// What to make of a difference, from the worst to the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// More often than chance allows.
    Confirmed,
    /// As confirmed; the field is of another type or kind of value.
    Shape,
    /// Good answers never differ so, but it was not seen often enough to be sure; or
    /// the noise was not measured.
    New,
    /// Good answers differ so too.
    Noise,
    /// Not a difference in content.
    Note,
}

/// What was compared of one endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// Such as `GET /users/{id}`.
    pub endpoint: String,
    /// Equal and different ones.
    pub compared: u64,
    /// See [`Report::equal`].
    pub equal: u64,
    /// See [`Report::different`].
    pub different: u64,
    /// See [`Report::failed`].
    pub failed: u64,
    /// See [`Report::not_compared`].
    pub not_compared: BTreeMap<String, u64>,
    /// Compared requests that had a second good answer.
    #[serde(default)]
    pub paired: u64,
    /// How long the answers took.
    pub latency: Option<Latency>,
    /// Of streams of events.
    #[serde(default)]
    pub streams: Option<Streams>,
}

/// Times of streams of events.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Streams {
    /// Until the first byte of the body.
    pub first_byte: Latency,
    /// Between two events, on average of each answer.
    pub between_events: Option<Latency>,
}

impl Report {
    pub(super) fn new(
        settings: &Settings,
        endpoints: &[(String, &Tally)],
        learned: &Learned<'_>,
        statuses: &BTreeMap<String, BTreeMap<String, u64>>,
    ) -> Self {
        let mut findings: Vec<Finding> =
            endpoints.iter().flat_map(|(name, tally)| findings_of(name, tally, learned)).collect();
        if settings.same_load {
            let timed = endpoints.iter().filter(|(_, tally)| tally.latencies.pairs > 0);
            findings.extend(timed.map(|(name, tally)| slower(name, tally)));
        }
        classify(settings, &mut findings, endpoints, learned);
        // What only good answers do is counted for the test and not worth a line; nor are
        // times that chance explains.
        findings.retain(|finding| match finding.kind {
            Kind::Slower => finding.q <= settings.alpha,
            _ => finding.b + finding.both > 0,
        });
        let rank = |f: &Finding| (f.class, f.q, std::cmp::Reverse(f.b));
        findings.sort_by(|one, other| {
            rank(one).partial_cmp(&rank(other)).unwrap_or(std::cmp::Ordering::Equal)
        });

        let sum = |count: fn(&Tally) -> u64| endpoints.iter().map(|(_, tally)| count(tally)).sum();
        let mut not_compared = BTreeMap::new();
        for (reason, count) in endpoints.iter().flat_map(|(_, tally)| &tally.not_compared) {
            *not_compared.entry(reason.clone()).or_default() += count;
        }
        let (equal, different): (u64, u64) =
            (sum(|tally| tally.equal), sum(|tally| tally.different));
        let compared = equal + different;
        let (verdict, requests_needed) = judge(settings, &findings, compared);
        let findings_omitted = findings.len().saturating_sub(MAX_FINDINGS);
        findings.truncate(MAX_FINDINGS);
        Self {
            compared,
            equal,
            different,
            failed: sum(|tally| tally.failed),
            not_compared,
            verdict,
            requests_needed,
            noise_measured: sum(|tally| tally.paired) > 0 || !learned.is_empty(),
            paired: sum(|tally| tally.paired),
            findings,
            findings_omitted,
            endpoints: endpoints
                .iter()
                .map(|(name, tally)| coverage(settings, name, tally))
                .collect(),
            statuses: pairs_of(statuses),
        }
    }
}

fn pairs_of(statuses: &BTreeMap<String, BTreeMap<String, u64>>) -> Vec<StatusPair> {
    let pairs = statuses.iter().flat_map(|(expected, all)| {
        all.iter().map(|(actual, requests)| StatusPair {
            expected: expected.clone(),
            actual: actual.clone(),
            requests: *requests,
        })
    });
    let mut pairs: Vec<StatusPair> = pairs.collect();
    pairs.sort_by_key(|pair| std::cmp::Reverse(pair.requests));
    pairs
}

/// Noise counted before, by endpoint.
pub(super) type Learned<'a> = BTreeMap<String, &'a Tally>;

fn findings_of<'a>(
    endpoint: &'a str,
    tally: &'a Tally,
    learned: &'a Learned<'_>,
) -> impl Iterator<Item = Finding> + 'a {
    let noise = learned.get(endpoint).copied().filter(|_| tally.paired == 0);
    tally.counts().map(move |(field, kind, counts)| {
        let finding = finding(endpoint, tally, (field, kind, counts));
        match noise {
            None => finding,
            Some(noise) => against(noise, finding),
        }
    })
}

/// The finding as judged by noise that was counted before.
fn against(noise: &Tally, finding: Finding) -> Finding {
    let counts = noise.fields.get(&finding.field).and_then(|kinds| kinds.get(&finding.kind));
    let c = counts.map_or(0, |counts| counts.alone + counts.b + counts.both);
    let p = fisher(finding.b, finding.n, c, noise.equal + noise.different);
    Finding { c, p, ..finding }
}

fn finding(endpoint: &str, tally: &Tally, (field, kind, counts): (&str, Kind, &Counts)) -> Finding {
    // Where there were second answers, only requests with one are evidence of what noise
    // could explain.
    let evidence = match tally.paired > 0 && !is_hard(field, kind) {
        true => counts.b,
        false => counts.b + counts.alone,
    };
    let examples: Vec<Example> = counts.examples.iter().map(Example::unranked).collect();
    Finding {
        endpoint: endpoint.to_owned(),
        field: field.to_owned(),
        kind,
        b: counts.b + counts.alone,
        c: counts.c,
        both: counts.both,
        n: tally.equal + tally.different,
        p: mcnemar(evidence, counts.c),
        q: 1.0,
        class: Class::Noise,
        example: examples.first().cloned(),
        examples,
        ignore: Rules::silencing(endpoint, field, kind),
    }
}

/// Times as a finding: pairs in which the candidate is slower against those in which it
/// is faster.
fn slower(endpoint: &str, tally: &Tally) -> Finding {
    let times = &tally.latencies;
    let counts = Counts { b: times.slower, c: times.faster, ..Counts::default() };
    let example = times.summary(true).map(|times| {
        Example::general(format!(
            "median {:.1} \u{2192} {:.1} ms; {:+.1} ms ({:+.1} to {:+.1}) within pairs",
            times.expected_p50_ms,
            times.actual_p50_ms,
            times.difference_ms,
            times.difference_low_ms,
            times.difference_high_ms
        ))
    });
    Finding { example, ..finding(endpoint, tally, ("latency", Kind::Slower, &counts)) }
}

/// Sets q and class. Notes are no hypotheses: they neither cost nor gain anything.
fn classify(
    settings: &Settings,
    findings: &mut [Finding],
    endpoints: &[(String, &Tally)],
    learned: &Learned<'_>,
) {
    let tested: Vec<usize> =
        (0..findings.len()).filter(|at| !findings[*at].kind.is_note()).collect();
    let p: Vec<f64> = tested.iter().map(|at| findings[*at].p).collect();
    for (at, q) in tested.iter().zip(benjamini_hochberg(&p)) {
        findings[*at].q = q;
    }
    let measured: HashSet<&str> = endpoints
        .iter()
        .filter(|(name, tally)| tally.paired > 0 || learned.contains_key(name))
        .map(|(name, _)| name.as_str())
        .collect();
    for finding in findings {
        finding.class = class(settings, finding, measured.contains(finding.endpoint.as_str()));
    }
}

fn class(settings: &Settings, finding: &Finding, measured: bool) -> Class {
    if finding.kind.is_note() {
        return Class::Note;
    }
    let sure = measured || is_hard(&finding.field, finding.kind);
    if finding.q <= settings.alpha && sure {
        return match finding.kind {
            Kind::Type | Kind::Shape => Class::Shape,
            _ => Class::Confirmed,
        };
    }
    if finding.b > 0 && finding.c == 0 && finding.both == 0 { Class::New } else { Class::Noise }
}

fn judge(settings: &Settings, findings: &[Finding], compared: u64) -> (Judgement, Option<u64>) {
    let any = |class| findings.iter().any(|finding| finding.class == class);
    if any(Class::Confirmed) || any(Class::Shape) {
        return (Judgement::Different, None);
    }
    let floor = enough(settings.share, settings.confidence).saturating_sub(compared);
    let floor = (floor > 0).then_some(floor);
    if any(Class::New) {
        return (Judgement::Unsure, floor.max(until_confirmed(settings, findings)));
    }
    let verdict = if floor.is_some() { Judgement::Unsure } else { Judgement::Same };
    (verdict, floor)
}

/// Requests until the new finding that is nearest to it would be confirmed, if it goes
/// on as often as so far. `None` if more requests would not help, because what is
/// missing is a measurement of the noise.
fn until_confirmed(settings: &Settings, findings: &[Finding]) -> Option<u64> {
    let tested = findings.iter().filter(|finding| !finding.kind.is_note()).count().max(1);
    let enough = (tested as f64 / settings.alpha).log2().ceil();
    let new = findings.iter().filter(|f| f.class == Class::New && f.q > settings.alpha);
    let left = new.map(|finding| {
        let every = finding.n as f64 / finding.b as f64;
        ((enough - finding.b as f64).max(1.0) * every).ceil() as u64
    });
    left.min()
}

fn coverage(settings: &Settings, endpoint: &str, tally: &Tally) -> Coverage {
    Coverage {
        endpoint: endpoint.to_owned(),
        compared: tally.equal + tally.different,
        equal: tally.equal,
        different: tally.different,
        failed: tally.failed,
        not_compared: tally.not_compared.clone(),
        paired: tally.paired,
        latency: tally.latencies.summary(settings.same_load),
        streams: tally.first_byte.summary(settings.same_load).map(|first_byte| Streams {
            first_byte,
            between_events: tally.between.summary(settings.same_load),
        }),
    }
}
