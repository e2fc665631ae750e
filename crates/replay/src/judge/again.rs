//! Judges the outcomes of a job anew, by other rules and without sending anything: what
//! the shadows answered is in the file of outcomes, what production answered in the log.
//!
//! Both are read once, side by side: so many outcomes at a time, and the part of the log
//! in which their answers are. Memory is bounded by that many, whatever the job's size.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::Deserialize;
use umbra_log::{Event, Log, Start, Tail, TailOptions};
use umbra_record::{
    decode::decode,
    id,
    pb::{self, record::Body},
};

use super::{At, Baseline, Case, Compare, Compared, Expected, Facts, Judge, Redacted, Side};
use crate::{
    clock::nanos,
    error::ReplayError,
    outcome::{Answer, Class, Outcome},
    plan::Planned,
    stats::Stats,
};

/// Outcomes read at a time.
const MOST_LINES: usize = 20_000;
/// Bytes of them.
const MOST_BYTES: usize = 64 << 20;
/// Production's answer is not looked for further behind its request than this.
const FURTHEST: Duration = Duration::from_secs(120);

/// What is to be judged again.
#[derive(Debug, Clone)]
pub struct Again {
    /// As the job's plan is stored.
    pub planned: Planned,
    /// Its file of outcomes.
    pub outcomes: PathBuf,
    /// By which rules; baseline and noise are those of the job.
    pub compare: Arc<Compare>,
}

/// One line of the file, as far as it is needed.
#[derive(Debug, Deserialize)]
struct Line {
    job: String,
    run: u32,
    target: String,
    id: String,
    partition: u32,
    offset: u64,
    captured: String,
    method: String,
    authority: String,
    #[serde(default)]
    sent_as: String,
    path: String,
    query: Option<String>,
    /// Older files do not say it.
    rule_set: Option<String>,
    class: String,
    answer: Option<AnswerLine>,
}

#[derive(Debug, Deserialize)]
struct AnswerLine {
    status: u16,
    headers: Vec<(String, String)>,
    body: Option<String>,
    body_hex: Option<String>,
    body_length: u64,
    body_hash: Option<String>,
    complete: bool,
    trailers: Vec<(String, String)>,
    head_after_ms: f64,
    #[serde(default)]
    end_after_ms: f64,
}

/// The outcomes of one request.
type Group = Vec<Line>;

/// Judges all outcomes of the job that are in the file.
pub async fn judge_again(again: &Again, log: &Log) -> Result<Compared, ReplayError> {
    let unreadable =
        |error: std::io::Error| ReplayError::Io(format!("{}: {error}", again.outcomes.display()));
    let mut file =
        BufReader::new(File::open(&again.outcomes).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                ReplayError::NoSuchLog(format!("{}: {error}", again.outcomes.display()))
            }
            _ => unreadable(error),
        })?);
    let mut bench = Bench::new(Arc::clone(&again.compare));
    let mut left: BTreeMap<At, Group> = BTreeMap::new();
    let mut any = false;
    loop {
        let (lines, more) = read(&mut file, &again.planned, &again.outcomes)?;
        any |= !lines.is_empty();
        for line in lines {
            left.entry((line.partition, line.offset)).or_default().push(line);
        }
        bench.judge(std::mem::take(&mut left), log, &mut left, more).await?;
        if !more {
            break;
        }
    }
    if !any {
        return Err(ReplayError::Unusable(format!(
            "{} holds no outcome of job {}, run {}",
            again.outcomes.display(),
            again.planned.job,
            again.planned.run
        )));
    }
    Ok(bench.compared())
}

/// The next outcomes of the job's passes, and whether there may be more.
fn read(
    file: &mut BufReader<File>,
    planned: &Planned,
    path: &Path,
) -> Result<(Vec<Line>, bool), ReplayError> {
    let passes = u32::try_from(planned.pass - 1).unwrap_or(u32::MAX);
    let runs = planned.run.saturating_sub(passes)..=planned.run;
    let (mut lines, mut bytes) = (Vec::new(), 0);
    let mut text = String::new();
    while lines.len() < MOST_LINES && bytes < MOST_BYTES {
        text.clear();
        let read = file
            .read_line(&mut text)
            .map_err(|error| ReplayError::Io(format!("{}: {error}", path.display())))?;
        if read == 0 {
            return Ok((lines, false));
        }
        let line: Line = match serde_json::from_str(&text) {
            Ok(line) => line,
            // The last line of a process that was killed while it wrote.
            Err(_) if !text.ends_with('\n') => return Ok((lines, false)),
            Err(error) => {
                let place = path.display();
                return Err(ReplayError::Unusable(format!("{place}: not an outcome: {error}")));
            }
        };
        if line.job == planned.job && runs.contains(&line.run) {
            bytes += read;
            lines.push(line);
        }
    }
    Ok((lines, true))
}

/// The judges, one for each shadow met.
struct Bench {
    compare: Arc<Compare>,
    stats: Stats,
    judges: BTreeMap<String, Arc<Judge>>,
    /// Rules of redaction, as marks have them.
    redacted: Vec<Vec<String>>,
    /// Which they are.
    known: Redacted,
}

impl Bench {
    fn new(compare: Arc<Compare>) -> Self {
        let known = Redacted::new(&compare.rules);
        let (stats, judges) = (Stats::new(), BTreeMap::new());
        Self { compare, stats, judges, redacted: Vec::new(), known }
    }

    fn of(&mut self, target: &str) -> Arc<Judge> {
        let judge = self.judges.entry(target.to_owned()).or_insert_with(|| {
            let stats = self.stats.judge(target);
            let judge = Judge::new(target, Arc::clone(&self.compare), stats);
            self.redacted.iter().for_each(|rules| judge.learn_redaction(rules));
            Arc::new(judge)
        });
        Arc::clone(judge)
    }

    fn compared(&self) -> Compared {
        let said = self.judges.iter().map(|(name, judge)| (name.clone(), judge.said()));
        Compared {
            baseline: self.compare.baseline.name().to_owned(),
            noise: self.compare.noise.clone(),
            targets: said.collect(),
        }
    }

    /// Judges these. What may still be joined by lines to come goes to `left`.
    async fn judge(
        &mut self,
        groups: BTreeMap<At, Group>,
        log: &Log,
        left: &mut BTreeMap<At, Group>,
        more: bool,
    ) -> Result<(), ReplayError> {
        match self.compare.baseline.clone() {
            Baseline::Recorded => {
                let answers = look(&groups, log, self, true).await?;
                for (at, group) in groups {
                    self.judge_group(at, &group, answers.get(&at));
                }
            }
            Baseline::Target(name) => {
                // What was redacted is said in the log, whatever is compared.
                look(&groups, log, self, false).await?;
                // The others of a request are told at the same time, or just after.
                for (at, group) in groups {
                    let whole = group.iter().any(|line| line.target == name) && group.len() > 1;
                    if more && !whole && left.len() < MOST_LINES {
                        left.insert(at, group);
                    } else {
                        self.judge_group(at, &group, None);
                    }
                }
            }
        }
        Ok(())
    }

    fn judge_group(&mut self, at: At, group: &[Line], recorded: Option<&pb::Response>) {
        let compare = Arc::clone(&self.compare);
        let side = |name: &str| group.iter().rfind(|line| line.target == name).map(Line::side);
        let (baseline, noise) = match &compare.baseline {
            Baseline::Recorded => (None, compare.noise.as_deref().and_then(side)),
            Baseline::Target(name) => (side(name), compare.noise.as_deref().and_then(side)),
        };
        for line in group.iter().filter(|line| !compare.is_companion(&line.target)) {
            let judge = self.of(&line.target);
            let facts = line.facts(at);
            let expected = match (&compare.baseline, recorded, &baseline) {
                (Baseline::Recorded, Some(response), _) => {
                    Expected::Recorded(Box::new(response.clone()))
                }
                (Baseline::Target(_), _, Some(side)) => Expected::Sent(Box::new(side.clone())),
                (Baseline::Recorded, ..) => {
                    judge.not_compared(&facts, "no_answer");
                    continue;
                }
                (Baseline::Target(_), ..) => {
                    judge.not_compared(&facts, "baseline_missing");
                    continue;
                }
            };
            let actual = line.side();
            judge.judge(&Case { ticket: 0, facts, expected, actual, noise: noise.clone() });
        }
    }
}

/// Finds out what was taken out of these requests, and production's answers to them, if
/// those are wanted.
async fn look(
    groups: &BTreeMap<At, Group>,
    log: &Log,
    bench: &mut Bench,
    wants_answers: bool,
) -> Result<HashMap<At, pb::Response>, ReplayError> {
    let mut wanted: HashMap<String, At> = HashMap::new();
    let mut spans: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    let mut unknown: HashSet<Option<Vec<u8>>> = HashSet::new();
    for (at, line) in groups.iter().filter_map(|(at, group)| Some((at, group.first()?))) {
        if wants_answers {
            wanted.insert(line.id.clone(), *at);
        }
        unknown.insert(line.rule_set.as_deref().map(unhex));
        let span = spans.entry(at.0).or_insert((at.1, at.1));
        *span = (span.0.min(at.1), span.1.max(at.1));
    }
    let mut found = HashMap::new();
    unknown.retain(|set| !bench.knows(set.as_deref()));
    if spans.is_empty() || (wanted.is_empty() && unknown.is_empty()) {
        return Ok(found);
    }
    let starts = spans.iter().map(|(partition, (first, _))| (*partition, *first)).collect();
    let mut tail =
        log.tail(TailOptions { start: Start::At(starts), ..TailOptions::default() }).await?;
    // When the last of these requests was captured, once it has been met.
    let mut last: BTreeMap<u32, u64> = BTreeMap::new();
    while !spans.is_empty() && (found.len() < wanted.len() || !unknown.is_empty()) {
        let done = match tail.next().await? {
            Event::Delivery(delivery) => {
                let (partition, offset, time) =
                    (delivery.partition, delivery.offset, delivery.time_ns);
                if let Ok(record) = decode(delivery.payload.clone()) {
                    match record.body {
                        Some(Body::Response(response)) => {
                            if let Some(at) = wanted.get(&id::text(&response.id)) {
                                found.insert(*at, response);
                            }
                        }
                        Some(Body::Mark(mark)) => {
                            bench.learn(&mark);
                            unknown.retain(|set| !bench.knows(set.as_deref()));
                        }
                        _ => {}
                    }
                }
                delivery.done();
                let Some((_, end)) = spans.get(&partition) else { continue };
                if offset == *end {
                    last.insert(partition, time);
                }
                let furthest = last.get(&partition).map(|at| at.saturating_add(nanos(FURTHEST)));
                furthest.is_some_and(|furthest| time > furthest).then_some(partition)
            }
            Event::CaughtUp { partition, .. } => Some(partition),
            Event::Assigned(partitions) => {
                for one in &partitions {
                    if !spans.contains_key(&one.partition) {
                        tail.finish(one.partition);
                    }
                }
                None
            }
            _ => None,
        };
        if let Some(partition) = done {
            spans.remove(&partition);
            tail.finish(partition);
        }
    }
    tail.close(Duration::from_secs(10)).await?;
    Ok(found)
}

impl Bench {
    /// Whether it is known what was taken out under this name. Where none is told, any
    /// rules are taken for all there are.
    fn knows(&mut self, set: Option<&[u8]>) -> bool {
        match set {
            Some(set) => {
                self.known.recognise(set);
                self.known.knows(set)
            }
            None => !self.redacted.is_empty(),
        }
    }

    fn learn(&mut self, mark: &pb::Mark) {
        if !mark.rules.is_empty() && !self.redacted.contains(&mark.rules) {
            self.known.learn(&mark.rules);
            self.redacted.push(mark.rules.clone());
            self.judges.values().for_each(|judge| judge.learn_redaction(&mark.rules));
        }
    }
}

impl Line {
    fn facts(&self, at: At) -> Facts {
        let start = self.captured.parse::<jiff::Timestamp>();
        Facts {
            id: id::parse(&self.id).map(|id| id.to_vec()).unwrap_or_default().into(),
            at,
            method: self.method.clone(),
            path: self.path.clone(),
            query: self.query.clone().unwrap_or_default(),
            start_ns: start.map_or(0, |at| u64::try_from(at.as_nanosecond()).unwrap_or(0)),
            rule_set: self.rule_set.as_deref().map(unhex).unwrap_or_default().into(),
            again: false,
            authority: self.authority.clone().into_bytes().into(),
        }
    }

    fn side(&self) -> Side {
        let class = Class::ALL.into_iter().find(|class| class.label() == self.class);
        let answer = self.answer.as_ref().map(AnswerLine::answer);
        let latency = answer.as_ref().map(|answer| answer.end_after).unwrap_or_default();
        Side {
            authority: self.sent_as.clone().into_bytes().into(),
            outcome: Outcome {
                class: class.unwrap_or(Class::Garbled),
                detail: String::new(),
                written: true,
                whole: true,
                connect: None,
                latency,
                answer,
                restored: umbra_record::redact::Restored::default(),
                downgraded: false,
            },
        }
    }
}

impl AnswerLine {
    fn answer(&self) -> Answer {
        let fields = |pairs: &[(String, String)]| {
            let field = |(name, value): &(String, String)| pb::Header {
                name: name.clone().into_bytes().into(),
                value: value.clone().into_bytes().into(),
            };
            pairs.iter().map(field).collect()
        };
        let millis = |ms: f64| Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default();
        let body = match (&self.body, &self.body_hex) {
            (Some(text), _) => Some(text.clone().into_bytes().into()),
            (None, Some(hex)) => Some(unhex(hex).into()),
            (None, None) => None,
        };
        Answer {
            status: self.status,
            reason: bytes::Bytes::new(),
            version: pb::Version::Http11,
            headers: fields(&self.headers),
            body,
            trailers: fields(&self.trailers),
            body_length: self.body_length,
            body_hash: self.body_hash.as_deref().and_then(|hex| unhex(hex).try_into().ok()),
            complete: self.complete,
            head_after: millis(self.head_after_ms),
            first_byte_after: None,
            end_after: millis(self.end_after_ms.max(self.head_after_ms)),
        }
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    digits.map_while(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
