//! What a replay would do: reads the window as the job would, sends nothing, stores
//! nothing. What only sending can tell is not foreseen: targets that are down, sends
//! that come too late, bodies whose parts are missing, or end beyond the window.

mod cut;

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use umbra_log::{Delivery, Event, Log, Start, Tail, TailOptions};
use umbra_record::{
    decode::{DecodeError, decode},
    pb::{self, record::Body},
    select::Selection,
};

use crate::{
    assembly::Id,
    clock::TimeBase,
    config::Config,
    error::ReplayError,
    pipeline::{READ_AHEAD_RECORDS, id_of, is_safe, refusal},
    plan::resolve,
    production::Production,
    report::{Gaps, rfc3339},
    run::share_of,
    seals::Seals,
    sequence::Seen,
    window::Window,
};
use cut::{Cut, Earliest, Whole};

/// Rows of a table; what is beyond is summed up in one row.
const MAX_ROWS: usize = 1000;

/// The row that sums up.
const OTHERS: &str = "(others)";

/// Most requests whose ends are waited for; what those of more have sealed is not told.
const MAX_OPEN: usize = 100_000;

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
    /// Sends that are not safe, to all targets, by method and path.
    pub writes: BTreeMap<String, u64>,
    /// Data keys of values that were sealed at capture in the selected requests.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<String, DryKey>,
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
    /// Requests that would be sent, in all passes and up to the job's limits.
    pub requests: u64,
    /// Those of them that are not safe, by method and path.
    pub writes: BTreeMap<String, u64>,
    /// Requests of one pass that would not be sent, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// How long that takes at the job's pace, without pauses between passes; absent:
    /// as long as the target takes.
    pub duration_s: Option<f64>,
    /// It is an upstream that the requests were captured in front of.
    pub production: bool,
    /// Values sealed at capture that it would be sent, in one pass.
    pub unsealed: u64,
    /// Those that would be left out of its requests.
    pub sealed_omitted: u64,
}

/// A data key of sealed values.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DryKey {
    /// Values sealed with it, in the selected requests.
    pub values: u64,
    /// Why it does not open; absent: it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<String>,
}

/// Reads what the job would read, up to what is in the log now; `None` if `stop`
/// came first.
pub async fn dry_run(
    config: &Config,
    log: &Log,
    stop: CancellationToken,
) -> Result<Option<DryRun>, ReplayError> {
    // Without a group there is nothing to leave or to commit.
    stop.run_until_cancelled(look(config, log)).await.transpose()
}

async fn look(config: &Config, log: &Log) -> Result<DryRun, ReplayError> {
    let plan = resolve(config, log, 0, 1, TimeBase::new().now()).await?;
    let mut left: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    let spans = log.spans().await?;
    for partition in &plan.partitions {
        let high = spans.iter().find(|span| span.partition == partition.partition);
        let high = high.map_or(0, |span| span.high);
        let end = partition.end.map_or(high, |end| end.min(high));
        if partition.start < end {
            left.insert(partition.partition, (partition.start, end));
        }
    }
    let mut dry = Dry::new(config, &plan)?;
    read(config, log, &left, |event| dry.on_event(event)).await?;
    // Which requests a limit leaves is known only now: they are looked at once more.
    if dry.cut() {
        read(config, log, &left, |event| dry.on_event(event)).await?;
    }
    dry.open_keys(log).await?;
    Ok(dry.result(log.name()))
}

/// Hands over everything between these offsets.
async fn read(
    config: &Config,
    log: &Log,
    spans: &BTreeMap<u32, (u64, u64)>,
    mut take: impl FnMut(&Event),
) -> Result<(), ReplayError> {
    let mut left = spans.clone();
    if left.is_empty() {
        return Ok(());
    }
    let options = TailOptions {
        group: None,
        instance: None,
        start: Start::At(
            spans.iter().map(|(partition, (start, _))| (*partition, *start)).collect(),
        ),
        read_ahead_bytes: config.read_ahead_bytes,
        read_ahead_records: READ_AHEAD_RECORDS,
    };
    let mut tail = log.tail(options).await?;
    while !left.is_empty() {
        let event = tail.next().await?;
        let beyond = match &event {
            Event::Delivery(one) | Event::SetAside(one) => {
                left.get(&one.partition).is_none_or(|(_, end)| one.offset >= *end)
            }
            _ => false,
        };
        if !beyond {
            take(&event);
        }
        for (partition, next) in passed(event) {
            if left.get(&partition).is_some_and(|(_, end)| next >= *end) {
                left.remove(&partition);
                tail.finish(partition);
            }
        }
    }
    Ok(tail.close(config.drain).await?)
}

/// How far an event brings which partition.
fn passed(event: Event) -> Vec<(u32, u64)> {
    match event {
        Event::Delivery(delivery) | Event::SetAside(delivery) => {
            let place = (delivery.partition, delivery.offset + 1);
            delivery.done();
            vec![place]
        }
        Event::Assigned(partitions) => {
            partitions.iter().map(|one| (one.partition, one.offset)).collect()
        }
        Event::CaughtUp { partition, offset } => vec![(partition, offset)],
        Event::Missing { partition, to, .. } => vec![(partition, to)],
        Event::Revoked(_) => Vec::new(),
    }
}

struct Dry<'a> {
    config: &'a Config,
    window: Window,
    seen: Seen,
    rows: Vec<Row>,
    found: DryRun,
    /// Values that were sealed, by data key.
    keys: BTreeMap<String, u64>,
    /// Requests that were written open, and which rows take them.
    open: HashMap<Id, Vec<bool>>,
    /// Everything was read once; now the cut passes are looked at.
    again: bool,
}

/// One target.
struct Row {
    share: Selection,
    production: Production,
    /// One whole pass.
    whole: Whole,
    cut: Cut,
    /// What goes in the pass that is cut.
    earliest: Earliest,
    found: DryTarget,
    /// Values that were sealed, by data key.
    sealed: BTreeMap<String, u64>,
    unseal: bool,
}

impl<'a> Dry<'a> {
    fn new(config: &'a Config, plan: &pb::Plan) -> Result<Self, ReplayError> {
        let mut rows = Vec::new();
        for target in &config.targets {
            let url = target.url.to_string();
            rows.push(Row {
                share: share_of(target)?,
                production: Production::new(&target.url),
                whole: Whole::default(),
                cut: Cut::default(),
                earliest: Earliest::default(),
                found: DryTarget { url, ..DryTarget::default() },
                sealed: BTreeMap::new(),
                unseal: target.unseal,
            });
        }
        Ok(Self {
            config,
            window: Window { from_ns: plan.from_ns, to_ns: plan.to_ns },
            seen: Seen::default(),
            rows,
            found: DryRun {
                from: plan.from_ns.map(rfc3339),
                to: plan.to_ns.map(rfc3339),
                ..DryRun::default()
            },
            keys: BTreeMap::new(),
            open: HashMap::new(),
            again: false,
        })
    }

    /// Finds out which of the data keys open.
    async fn open_keys(&mut self, log: &Log) -> Result<(), ReplayError> {
        let seals = Seals::new(log, self.config.unsealing.clone()).await?;
        for (key, values) in std::mem::take(&mut self.keys) {
            // Those that are summed up are not looked at one by one.
            let closed = match key.as_str() {
                OTHERS => Some("too many to be looked for".to_owned()),
                id => seals.why_closed(id).await?.map(|why| why.to_string()),
            };
            for row in &mut self.rows {
                let mine = row.sealed.get(&key).copied().unwrap_or(0);
                if closed.is_none() && row.unseal {
                    row.found.unsealed += mine;
                } else {
                    row.found.sealed_omitted += mine;
                }
            }
            self.found.keys.insert(key, DryKey { values, closed });
        }
        Ok(())
    }

    fn on_event(&mut self, event: &Event) {
        match event {
            Event::Delivery(delivery) | Event::SetAside(delivery) => self.on_record(delivery),
            Event::Assigned(partitions) => {
                for one in partitions {
                    self.seen.restart(one.partition, one.offset);
                }
            }
            Event::Missing { from, to, .. } if !self.again => {
                self.found.gaps.records += to.saturating_sub(*from);
            }
            Event::Missing { .. } | Event::CaughtUp { .. } | Event::Revoked(_) => {}
        }
    }

    fn on_record(&mut self, delivery: &Delivery) {
        let record = match decode(delivery.payload.clone()) {
            Ok(record) => record,
            Err(DecodeError::UnknownKind(_)) => return,
            Err(_) => {
                self.found.dead += u64::from(!self.again);
                return;
            }
        };
        let mut agent = [0; 16];
        agent.copy_from_slice(&record.agent[..16]);
        let place = (delivery.partition, delivery.offset);
        if !self.seen.is_new(agent, record.lane, place, record.sequence) {
            self.found.duplicates += u64::from(!self.again);
            return;
        }
        match record.body {
            Some(Body::Request(request)) if self.window.contains(request.start_ns) => {
                if self.again {
                    self.on_request_again(&request, place);
                } else {
                    self.on_request(&request);
                }
            }
            Some(Body::Request(_)) => self.found.outside += u64::from(!self.again),
            Some(Body::Part(part)) if !self.again => self.on_part(&part),
            Some(Body::Gap(gap)) if self.window.touches(gap.from_ns, gap.to_ns) => {
                self.found.gaps.requests += if self.again { 0 } else { gap.requests };
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
        count(&mut found.hosts, &String::from_utf8_lossy(&request.authority), 1);
        let mut takes = Vec::with_capacity(self.rows.len());
        for row in &mut self.rows {
            row.found.production |= row.production.is_hit(&request.upstream);
            let refused = refusal(request, self.config.writes, &row.share);
            match &refused {
                None => row.whole.take(request.start_ns, write(request)),
                Some(why) => count(&mut row.found.skipped, why.label(), 1),
            }
            takes.push(refused.is_none());
        }
        self.sealed(&request.sealed, &takes);
        let is_open = request.completeness == pb::Completeness::Open as i32;
        if is_open && self.open.len() < MAX_OPEN {
            self.open.insert(id_of(&request.id), takes);
        }
    }

    /// The end of a request that was written open tells what was sealed behind its head.
    fn on_part(&mut self, part: &pb::BodyPart) {
        if !part.last && !part.aborted {
            return;
        }
        let Some(takes) = self.open.remove(&id_of(&part.id)) else { return };
        // One that was broken off is not sent.
        if part.last || part.completeness == pb::Completeness::Truncated as i32 {
            self.sealed(&part.sealed, &takes);
        }
    }

    /// Counts values of a request that these rows take.
    fn sealed(&mut self, sealed: &[pb::Sealed], takes: &[bool]) {
        for value in sealed {
            count(&mut self.keys, &value.key_id, 1);
            for (row, _) in self.rows.iter_mut().zip(takes).filter(|(_, takes)| **takes) {
                count(&mut row.sealed, &value.key_id, 1);
            }
        }
    }

    fn on_request_again(&mut self, request: &pb::Request, place: (u32, u64)) {
        if !self.config.selection.decide(&request.into()).is_selected() {
            return;
        }
        for row in &mut self.rows {
            if refusal(request, self.config.writes, &row.share).is_none() {
                row.earliest.take((request.start_ns, place.0, place.1), write(request));
            }
        }
    }

    /// Finds out what the job's limits leave; whether that takes a second look.
    fn cut(&mut self) -> bool {
        self.again = true;
        self.seen = Seen::default();
        for row in &mut self.rows {
            row.cut = Cut::new(self.config, &row.whole);
            row.earliest = Earliest::new(&row.cut);
        }
        self.rows.iter().any(|row| row.cut.is_partial())
    }

    fn result(self, log: &str) -> DryRun {
        let mut found = self.found;
        log.clone_into(&mut found.log);
        let (first, last) = found.span.unwrap_or_default();
        if found.span.is_some() {
            found.first = Some(rfc3339(first));
            found.last = Some(rfc3339(last));
        }
        found.span_s = (last - first) as f64 / 1e9;
        for (target, row) in self.config.targets.iter().zip(self.rows) {
            let mut target_found = row.found;
            let partial = row.earliest.result();
            target_found.requests = row.cut.passes * row.whole.requests + partial.requests;
            for (write, n) in &row.whole.writes {
                count(&mut target_found.writes, write, n * row.cut.passes);
            }
            for (write, n) in &partial.writes {
                count(&mut target_found.writes, write, *n);
            }
            for (write, n) in &target_found.writes {
                count(&mut found.writes, write, *n);
            }
            target_found.duration_s = row.cut.duration(&self.config.pace, &row.whole, &partial);
            found.targets.insert(target.name.clone(), target_found);
        }
        found
    }
}

/// Method and path of a request that is not safe.
fn write(request: &pb::Request) -> Option<String> {
    (!is_safe(&request.method)).then(|| {
        let method = String::from_utf8_lossy(&request.method);
        let path = String::from_utf8_lossy(&request.path);
        format!("{method} {path}")
    })
}

fn count(table: &mut BTreeMap<String, u64>, row: &str, n: u64) {
    if n == 0 {
        return;
    }
    if let Some(have) = table.get_mut(row) {
        *have += n;
    } else {
        let row = if table.len() < MAX_ROWS { row } else { OTHERS };
        *table.entry(row.to_owned()).or_default() += n;
    }
}
