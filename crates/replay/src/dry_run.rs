//! What a replay would do: reads the window as the job would, sends nothing, stores
//! nothing.

use std::collections::BTreeMap;

use serde::Serialize;
use umbra_log::{Delivery, Event, Log, Start, Tail, TailOptions};
use umbra_record::{
    decode::{DecodeError, decode},
    pb::{self, record::Body},
};

use crate::{
    clock::TimeBase,
    config::{Config, Pace},
    error::ReplayError,
    pacer::Profile,
    pipeline::{READ_AHEAD_RECORDS, refusal},
    plan::resolve,
    production::Production,
    report::{Gaps, rfc3339},
    run::share_of,
    sequence::Seen,
    window::Window,
};

/// Rows of a table; what is beyond is summed up in one row.
const MAX_ROWS: usize = 1000;

/// The row that sums up.
const OTHERS: &str = "(others)";

/// What a replay would do.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DryRun {
    /// The log.
    pub log: String,
    /// First instant of the window, RFC 3339.
    pub from: Option<String>,
    /// First instant after it.
    pub to: Option<String>,
    /// Requests of the window.
    pub read: u64,
    /// Those that the rules select.
    pub selected: u64,
    /// Requests met outside the window.
    pub outside: u64,
    /// Records that were in the log twice.
    pub duplicates: u64,
    /// What capture could not record.
    pub gaps: Gaps,
    /// Records that cannot be read.
    pub dead: u64,
    /// When the first selected request was captured.
    pub first: Option<String>,
    /// When the last one was.
    pub last: Option<String>,
    /// Between them.
    pub span_s: f64,
    /// Bytes of the selected requests' bodies.
    pub body_bytes: u64,
    /// Selected requests by recorded host.
    pub hosts: BTreeMap<String, u64>,
    /// Those that are not safe, by method and path.
    pub writes: BTreeMap<String, u64>,
    /// Target by target.
    pub targets: BTreeMap<String, DryTarget>,
    #[serde(skip)]
    span: Option<(u64, u64)>,
}

/// What one target would get.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DryTarget {
    /// As given.
    pub url: String,
    /// Requests that would be sent.
    pub requests: u64,
    /// Requests that would not, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// How long that takes at the job's pace; absent: as long as the target takes.
    pub duration_s: Option<f64>,
    /// It is an upstream that the requests were captured in front of.
    pub production: bool,
}

/// Reads what the job would read, up to what is in the log now.
pub async fn dry_run(config: &Config, log: &Log) -> Result<DryRun, ReplayError> {
    let plan = resolve(config, log, 0, 1, TimeBase::new().now()).await?;
    let spans = log.spans().await?;
    let mut left: BTreeMap<u32, u64> = BTreeMap::new();
    let mut start = BTreeMap::new();
    for partition in &plan.partitions {
        let high = spans.iter().find(|span| span.partition == partition.partition);
        let high = high.map_or(0, |span| span.high);
        let end = partition.end.map_or(high, |end| end.min(high));
        start.insert(partition.partition, partition.start);
        if partition.start < end {
            left.insert(partition.partition, end);
        }
    }
    let mut dry = Dry::new(config, &plan)?;
    if !left.is_empty() {
        let options = TailOptions {
            group: None,
            start: Start::At(start),
            read_ahead_bytes: config.read_ahead_bytes,
            read_ahead_records: READ_AHEAD_RECORDS,
        };
        let mut tail = log.tail(options).await?;
        while !left.is_empty() {
            let passed = dry.on_event(tail.next().await?, &left);
            for (partition, next) in passed {
                if left.get(&partition).is_some_and(|end| next >= *end) {
                    left.remove(&partition);
                    tail.finish(partition);
                }
            }
        }
        tail.close(config.drain).await?;
    }
    Ok(dry.result(config, log.name()))
}

struct Dry<'a> {
    config: &'a Config,
    window: Window,
    seen: Seen,
    shares: Vec<(umbra_record::select::Selection, Production)>,
    found: DryRun,
}

impl<'a> Dry<'a> {
    fn new(config: &'a Config, plan: &pb::Plan) -> Result<Self, ReplayError> {
        let mut found = DryRun {
            from: plan.from_ns.map(rfc3339),
            to: plan.to_ns.map(rfc3339),
            ..DryRun::default()
        };
        let mut shares = Vec::new();
        for target in &config.targets {
            let url = target.url.to_string();
            found.targets.insert(target.name.clone(), DryTarget { url, ..DryTarget::default() });
            shares.push((share_of(target)?, Production::new(&target.url)));
        }
        Ok(Self {
            config,
            window: Window { from_ns: plan.from_ns, to_ns: plan.to_ns },
            seen: Seen::default(),
            shares,
            found,
        })
    }

    /// Takes an event; says how far it brings which partition.
    fn on_event(&mut self, event: Event, ends: &BTreeMap<u32, u64>) -> Vec<(u32, u64)> {
        match event {
            Event::Delivery(delivery) | Event::SetAside(delivery) => {
                let (partition, offset) = (delivery.partition, delivery.offset);
                if ends.get(&partition).is_some_and(|end| offset < *end) {
                    self.on_record(&delivery);
                }
                delivery.done();
                vec![(partition, offset + 1)]
            }
            Event::Assigned(partitions) => {
                for (partition, offset) in &partitions {
                    self.seen.restart(*partition, *offset);
                }
                partitions
            }
            Event::CaughtUp { partition, offset } => vec![(partition, offset)],
            Event::Missing { partition, from, to, .. } => {
                self.found.gaps.records += to.saturating_sub(from);
                vec![(partition, to)]
            }
            Event::Revoked(_) => Vec::new(),
        }
    }

    fn on_record(&mut self, delivery: &Delivery) {
        let record = match decode(delivery.payload.clone()) {
            Ok(record) => record,
            Err(DecodeError::UnknownKind(_)) => return,
            Err(_) => {
                self.found.dead += 1;
                return;
            }
        };
        let mut agent = [0; 16];
        agent.copy_from_slice(&record.agent[..16]);
        let place = (delivery.partition, delivery.offset);
        if !self.seen.is_new(agent, record.lane, place, record.sequence) {
            self.found.duplicates += 1;
            return;
        }
        match record.body {
            Some(Body::Request(request)) if self.window.contains(request.start_ns) => {
                self.on_request(&request);
            }
            Some(Body::Request(_)) => self.found.outside += 1,
            Some(Body::Gap(gap)) if self.window.touches(gap.from_ns, gap.to_ns) => {
                self.found.gaps.requests += gap.requests;
            }
            _ => {}
        }
    }

    fn on_request(&mut self, request: &pb::Request) {
        let found = &mut self.found;
        found.read += 1;
        if !self.config.selection.decide(&request.into()).is_selected() {
            return;
        }
        found.selected += 1;
        found.body_bytes += request.body_length;
        let (first, last) = found.span.unwrap_or((u64::MAX, 0));
        found.span = Some((first.min(request.start_ns), last.max(request.start_ns)));
        count(&mut found.hosts, &String::from_utf8_lossy(&request.authority));
        if !crate::pipeline::is_safe(&request.method) {
            let method = String::from_utf8_lossy(&request.method);
            let path = String::from_utf8_lossy(&request.path);
            count(&mut found.writes, &format!("{method} {path}"));
        }
        for (target, (share, production)) in self.config.targets.iter().zip(&mut self.shares) {
            let Some(row) = found.targets.get_mut(&target.name) else { continue };
            row.production |= production.is_hit(&request.upstream);
            match refusal(request, self.config.writes, share) {
                None => row.requests += 1,
                Some(why) => count(&mut row.skipped, why.label()),
            }
        }
    }

    fn result(self, config: &Config, log: &str) -> DryRun {
        let mut found = self.found;
        log.clone_into(&mut found.log);
        let (first, last) = found.span.unwrap_or_default();
        if found.span.is_some() {
            found.first = Some(rfc3339(first));
            found.last = Some(rfc3339(last));
        }
        found.span_s = (last - first) as f64 / 1e9;
        for target in found.targets.values_mut() {
            target.duration_s = duration(&config.pace, found.span_s, target.requests);
        }
        found
    }
}

/// How long so many requests take, from the first due to the last.
fn duration(pace: &Pace, span_s: f64, requests: u64) -> Option<f64> {
    let last = requests.saturating_sub(1);
    let timed = |profile: Profile| profile.time_of(last).map(|ns| ns as f64 / 1e9);
    match pace {
        Pace::Recorded { speed } => Some(span_s / speed),
        Pace::Arrival { .. } => Some(span_s),
        Pace::Rate(rate) => timed(Profile::constant(*rate)),
        Pace::Stages(stages) => timed(Profile::stages(stages)),
        Pace::Max => None,
    }
}

fn count(table: &mut BTreeMap<String, u64>, row: &str) {
    if let Some(n) = table.get_mut(row) {
        *n += 1;
    } else {
        let row = if table.len() < MAX_ROWS { row } else { OTHERS };
        *table.entry(row.to_owned()).or_default() += 1;
    }
}
