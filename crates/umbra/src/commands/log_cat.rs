//! `umbra log cat` and `tail`: the requests of a log with their answers.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use umbra_log::{Log, Mode};
use umbra_record::{
    json,
    pb::{self, record::Body},
    select::{RequestView, Selection},
};

use super::records::{Item, Records};
use crate::{
    config::{self, Output},
    exit::{Failure, Outcome},
    output,
    settings::{Settings, values},
    signals,
};

/// Most requests held back for their answer; beyond it the oldest is printed
/// without.
const MAX_WAITING: usize = 4096;

/// Most bytes of bodies held back with them.
const MAX_HELD: usize = 256 << 20;

/// What to print.
struct Wanted {
    from: Option<u64>,
    to: Option<u64>,
    limit: u64,
    selection: Selection,
    form: Output,
    answers: bool,
}

/// Runs it; `follow`: what is appended from now on, until a signal.
pub(crate) async fn run(mut settings: Settings, follow: bool) -> Outcome {
    let form = config::output(&mut settings);
    let log = config::log(&mut settings);
    let (from, to) = config::window(&mut settings);
    let limit = settings.read("limit", values::count).unwrap_or(u64::MAX);
    let selection = config::selection(&mut settings, "cat");
    let log = config::all_there(&settings, log)?;
    let log = Log::open(&log.address, log.options, Mode::Existing).await?;
    let stop = CancellationToken::new();
    let signals = signals::watch(stop.clone())?;
    let wanted = Wanted { from, to, limit, selection, form, answers: !follow };
    let mut printer = Printer::new(wanted);
    let mut records = Records::open(&log, from, follow).await?;
    loop {
        let item = tokio::select! {
            () = stop.cancelled() => break,
            item = records.next() => item?,
        };
        let Some(item) = item else { break };
        printer.take(item)?;
        if printer.printed >= printer.wanted.limit {
            break;
        }
    }
    printer.rest()?;
    signals.abort();
    Ok(0)
}

/// A request that waits for its answer or the rest of its body.
struct Waiting {
    record: pb::Record,
    response: Option<pb::Response>,
    parts: BTreeMap<u32, Bytes>,
    /// No part is to come.
    whole: bool,
}

/// Joins parts and answers to requests, within bounds.
struct Printer {
    wanted: Wanted,
    order: VecDeque<Bytes>,
    waiting: HashMap<Bytes, Waiting>,
    held: usize,
    printed: u64,
}

impl Printer {
    fn new(wanted: Wanted) -> Self {
        Self { wanted, order: VecDeque::new(), waiting: HashMap::new(), held: 0, printed: 0 }
    }

    fn take(&mut self, item: Item) -> Result<(), Failure> {
        match item {
            Item::Record(_, _, record) => self.take_record(*record)?,
            Item::Unreadable(partition, offset, why) => {
                tracing::warn!(partition, offset, why, "a record cannot be read");
            }
            Item::Missing(partition, from, to, why) => {
                tracing::warn!(partition, from, to, why, "records are missing");
            }
        }
        while self.order.len() > MAX_WAITING || self.held > MAX_HELD {
            self.print_oldest()?;
        }
        Ok(())
    }

    fn take_record(&mut self, record: pb::Record) -> Result<(), Failure> {
        let id = match &record.body {
            Some(Body::Request(request)) if self.is_wanted(request) => {
                let id = request.id.clone();
                let open = request.completeness() == pb::Completeness::Open;
                let whole = request.parts == 0 && !open;
                self.held += request.body.as_ref().map_or(0, Bytes::len);
                self.order.push_back(id.clone());
                let waiting = Waiting { record, response: None, parts: BTreeMap::new(), whole };
                self.waiting.insert(id.clone(), waiting);
                id
            }
            Some(Body::Response(response)) => {
                let Some(waiting) = self.waiting.get_mut(&response.id) else { return Ok(()) };
                waiting.response = Some(response.clone());
                response.id.clone()
            }
            Some(Body::Part(part)) => {
                let Some(waiting) = self.waiting.get_mut(&part.id) else { return Ok(()) };
                waiting.whole |= part.last || part.aborted;
                if waiting.parts.insert(part.index, part.data.clone()).is_none() {
                    self.held += part.data.len();
                }
                part.id.clone()
            }
            _ => return Ok(()),
        };
        let ready = self.waiting.get(&id).is_some_and(|waiting| {
            waiting.whole && (waiting.response.is_some() || !self.wanted.answers)
        });
        if ready { self.print(&id) } else { Ok(()) }
    }

    fn is_wanted(&self, request: &pb::Request) -> bool {
        self.wanted.from.is_none_or(|from| request.start_ns >= from)
            && self.wanted.to.is_none_or(|to| request.start_ns < to)
            && self.wanted.selection.decide(&RequestView::from(request)).is_selected()
    }

    fn print_oldest(&mut self) -> Result<(), Failure> {
        match self.order.pop_front() {
            Some(id) => self.print(&id),
            None => {
                self.held = 0;
                Ok(())
            }
        }
    }

    fn print(&mut self, id: &Bytes) -> Result<(), Failure> {
        // What was printed before its turn leaves its id behind in `order`.
        let Some(mut waiting) = self.waiting.remove(id) else { return Ok(()) };
        while self.order.front().is_some_and(|first| !self.waiting.contains_key(first)) {
            self.order.pop_front();
        }
        let Some(Body::Request(request)) = &mut waiting.record.body else { return Ok(()) };
        let held = request.body.as_ref().map_or(0, Bytes::len)
            + waiting.parts.values().map(Bytes::len).sum::<usize>();
        self.held = self.held.saturating_sub(held);
        if self.printed >= self.wanted.limit {
            return Ok(());
        }
        self.printed += 1;
        if !waiting.parts.is_empty() {
            let mut body = request.body.take().unwrap_or_default().to_vec();
            waiting.parts.values().for_each(|part| body.extend_from_slice(part));
            request.body = Some(body.into());
        }
        match self.wanted.form {
            Output::Text => output::text(&line(request, waiting.response.as_ref())),
            Output::Json => match json::render(&waiting.record, waiting.response.as_ref()) {
                Some(object) => output::json(&object),
                None => Ok(()),
            },
        }
    }

    fn rest(&mut self) -> Result<(), Failure> {
        while !self.order.is_empty() {
            self.print_oldest()?;
        }
        Ok(())
    }
}

/// `2026-11-22T10:00:00.1Z GET host/path 200 12.3 ms`.
fn line(request: &pb::Request, response: Option<&pb::Response>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).escape_debug().to_string();
    let mut line = format!(
        "{} {} {}{}",
        values::show_instant(request.start_ns),
        text(&request.method),
        text(&request.authority),
        text(&request.path)
    );
    if let Some(query) = &request.query {
        line.push_str(&format!("?{}", text(query)));
    }
    if request.body_length > 0 {
        line.push_str(&format!(" ({})", output::bytes(request.body_length)));
    }
    if let Some(response) = response {
        let ms = response.end_after_ns as f64 / 1e6;
        line.push_str(&format!(" {} {ms:.1} ms", response.status));
    }
    line.push('\n');
    line
}
