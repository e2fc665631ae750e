//! `umbra log info`: what is in a log.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use umbra_log::{Address, Log, Mode};
use umbra_record::pb::{self, record::Body};

use super::records::{Item, Records};
use crate::{
    config::{self, Output},
    exit::Outcome,
    output,
    settings::{Settings, values},
};

/// Most hosts told one by one; the rest is summed up.
const MAX_HOSTS: usize = 200;

/// What was counted.
#[derive(Debug, Default)]
struct Info {
    records: u64,
    requests: u64,
    responses: u64,
    parts: u64,
    marks: u64,
    unreadable: u64,
    missing: u64,
    gaps: u64,
    lost: BTreeMap<String, u64>,
    bytes: u64,
    first: Option<u64>,
    last: Option<u64>,
    hosts: BTreeMap<String, u64>,
    agents: BTreeSet<String>,
    partitions: BTreeMap<u32, u64>,
}

/// Runs it.
pub(crate) async fn run(mut settings: Settings) -> Outcome {
    let form = config::output(&mut settings);
    let log = config::log(&mut settings);
    let log = config::all_there(&settings, log)?;
    let kind = match &log.address {
        Address::File(_) => "file",
        Address::Kafka { .. } => "kafka",
    };
    let log = Log::open(&log.address, log.options, Mode::Existing).await?;
    let mut info = Info::default();
    let mut records = Records::open(&log, None, false).await?;
    while let Some(item) = records.next().await? {
        info.add(item);
    }
    let spans = log.spans().await?;
    let partitions: Vec<Value> = spans
        .iter()
        .map(|span| {
            let requests = info.partitions.get(&span.partition).copied().unwrap_or(0);
            json!({ "partition": span.partition, "low": span.low, "high": span.high, "requests": requests })
        })
        .collect();
    match form {
        Output::Json => output::json(&info.as_json(kind, &partitions))?,
        Output::Text => output::text(&info.as_text(log.name(), spans.len()))?,
    }
    Ok(0)
}

impl Info {
    fn add(&mut self, item: Item) {
        match item {
            Item::Unreadable(..) => {
                self.records += 1;
                self.unreadable += 1;
            }
            Item::Missing(_, from, to, _) => self.missing += to - from,
            Item::Record(partition, size, record) => {
                self.records += 1;
                self.bytes += size as u64;
                self.agents.insert(umbra_record::id::text(&record.agent));
                self.add_record(partition, record.body);
            }
        }
    }

    fn add_record(&mut self, partition: u32, body: Option<Body>) {
        match body {
            Some(Body::Request(request)) => {
                *self.partitions.entry(partition).or_default() += 1;
                self.add_request(&request);
            }
            Some(Body::Response(_)) => self.responses += 1,
            Some(Body::Part(_)) => self.parts += 1,
            Some(Body::Mark(_)) => self.marks += 1,
            Some(Body::Gap(gap)) => {
                self.gaps += gap.requests;
                *self.lost.entry(gap.reason).or_default() += gap.requests;
            }
            None => {}
        }
    }

    fn add_request(&mut self, request: &pb::Request) {
        self.requests += 1;
        self.first = Some(self.first.map_or(request.start_ns, |t| t.min(request.start_ns)));
        self.last = Some(self.last.map_or(request.start_ns, |t| t.max(request.start_ns)));
        let host = String::from_utf8_lossy(&request.authority);
        if self.hosts.len() < MAX_HOSTS || self.hosts.contains_key(host.as_ref()) {
            *self.hosts.entry(host.into_owned()).or_default() += 1;
        } else {
            *self.hosts.entry("(others)".into()).or_default() += 1;
        }
    }

    /// Requests a second between the first and the last.
    fn rate(&self) -> f64 {
        match (self.first, self.last) {
            (Some(first), Some(last)) if last > first => {
                self.requests as f64 / ((last - first) as f64 / 1e9)
            }
            _ => 0.0,
        }
    }

    fn as_json(&self, kind: &str, partitions: &[Value]) -> Value {
        json!({
            "kind": kind,
            "records": self.records,
            "requests": self.requests,
            "responses": self.responses,
            "parts": self.parts,
            "marks": self.marks,
            "gaps": self.gaps,
            "lost": self.lost,
            "unreadable": self.unreadable,
            "missing": self.missing,
            "bytes": self.bytes,
            "first": self.first.map(values::show_instant),
            "last": self.last.map(values::show_instant),
            "rate": self.rate(),
            "hosts": self.hosts,
            "agents": self.agents,
            "partitions": partitions,
        })
    }

    fn as_text(&self, name: &str, partitions: usize) -> String {
        let mut text = format!(
            "{name}: {} requests, {} responses in {} records ({}), {partitions} partitions, {} agents\n",
            self.requests,
            self.responses,
            self.records,
            output::bytes(self.bytes),
            self.agents.len()
        );
        if let (Some(first), Some(last)) = (self.first, self.last) {
            let (first, last) = (values::show_instant(first), values::show_instant(last));
            text.push_str(&format!("from {first}\nto   {last}\nrate {:.1}/s\n", self.rate()));
        }
        let mut hosts: Vec<_> = self.hosts.iter().collect();
        hosts.sort_by(|a, b| b.1.cmp(a.1));
        for (host, requests) in hosts.into_iter().take(20) {
            text.push_str(&format!("host {host}: {requests}\n"));
        }
        for (reason, requests) in &self.lost {
            text.push_str(&format!("not recorded ({reason}): {requests}\n"));
        }
        if self.unreadable + self.missing > 0 {
            let (unreadable, missing) = (self.unreadable, self.missing);
            text.push_str(&format!("unreadable records {unreadable}, missing records {missing}\n"));
        }
        text
    }
}
