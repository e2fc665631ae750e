//! Where the tees of one capture thread end: small records go into the log at
//! once, on the thread's own lane; what is large, or finds the log full, or comes
//! behind such a record on its connection, goes to the recorder thread, which may
//! wait.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, atomic::Ordering, mpsc::Sender},
};

use umbra_record::{fields, id::IdGenerator, marker, select::RequestView};

use crate::{
    Config, KeyBy,
    budget::{Charge, Credit},
    clock::{Clock, Moment},
    lane::{Flights, Lane},
    origin::Origin,
    record::{AnswerRecord, HeadFields, PartRecord, RequestRecord},
    recorder::{Job, Work},
};

/// Records up to this size are encoded on the capture thread.
const INLINE_MAX: usize = 64 << 10;

/// What a job costs the budget beside the bytes it carries.
const JOB_COST: usize = 1024;

/// The recording side of one capture thread.
pub(crate) struct Tap {
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    pub(crate) flights: Rc<Flights>,
    pub(crate) lane: RefCell<Lane>,
    pub(crate) credit: Rc<Credit>,
    ids: RefCell<IdGenerator>,
    recorder: Sender<Job>,
    inline_max: usize,
}

impl Tap {
    pub(crate) fn new(
        config: Arc<Config>,
        lane: Lane,
        credit: Rc<Credit>,
        recorder: Sender<Job>,
    ) -> Self {
        let inline_max = config.max_record_body.min(INLINE_MAX);
        Self {
            config,
            clock: Clock::new(),
            flights: Rc::default(),
            lane: RefCell::new(lane),
            credit,
            ids: RefCell::default(),
            recorder,
            inline_max,
        }
    }

    /// Ends the thread's recording: the lane, for its last records.
    pub(crate) fn into_lane(self) -> Lane {
        self.lane.into_inner()
    }

    pub(crate) fn now(&self) -> Moment {
        self.clock.now()
    }

    pub(crate) fn next_id(&self, start_ns: u64) -> [u8; 16] {
        self.ids.borrow_mut().next(start_ns)
    }

    /// Whether a request is to be recorded.
    pub(crate) fn selects(&self, origin: &Origin, record: &RequestRecord) -> bool {
        let selection = &self.config.selection;
        let chosen = || {
            let fields = record.fields();
            selection.decide(&view(origin, record, &fields)).is_selected()
        };
        !record.via().any(marker::is_shadow) && (selection.selects_all() || chosen())
    }

    /// Where a request's records go, if not with those of its connection.
    /// One with the same key as the `last` on the connection goes behind it.
    pub(crate) fn keyed(
        &self,
        connection: &Origin,
        last: &Arc<Origin>,
        record: &RequestRecord,
    ) -> Option<Arc<Origin>> {
        let key = match &self.config.key {
            KeyBy::Auto if record.is_http2() => Some(record.id),
            KeyBy::Auto | KeyBy::Connection => None,
            KeyBy::Request => Some(record.id),
            // The mesh's connections are few, and everybody shares them.
            KeyBy::Client if self.config.sink.is_some() => {
                self.key_of("client", &record.client).or(Some(record.id))
            }
            KeyBy::Client => self.key_of("client", connection.session.client.as_bytes()),
            KeyBy::Header(name) => {
                let fields = record.fields();
                fields::first(&fields, name).and_then(|value| self.key_of("header", value))
            }
            KeyBy::Cookie(name) => {
                let fields = record.fields();
                fields::cookie(&fields, name).and_then(|value| self.key_of("cookie", value))
            }
        };
        let key = key?;
        if last.key == key {
            return Some(Arc::clone(last));
        }
        let [.., a, b, c, d] = key;
        let partitions = self.lane.borrow().partitions();
        let partition = u32::from_be_bytes([a, b, c, d]) % partitions;
        Some(Arc::new(connection.keyed(key, partition)))
    }

    /// A key from what a client says, which it does not show.
    fn key_of(&self, kind: &str, value: &[u8]) -> Option<[u8; 16]> {
        let hash_key = self.config.privacy.hash_key.as_ref()?;
        (!value.is_empty()).then(|| hash_key.tag(kind, value))
    }

    /// Whether the body of such a request has to be looked at for secrets.
    pub(crate) fn concerns_body(&self, record: &RequestRecord) -> bool {
        record.framed && self.config.privacy.rules.concerns_body(&record.fields())
    }

    /// Records a request that has ended, and may take its body.
    pub(crate) fn request(&self, origin: &Arc<Origin>, record: &mut RequestRecord, charge: Charge) {
        let mut without_budget = "tee_full";
        let looked_at = record.body.len() > 0 && self.concerns_body(record);
        if !looked_at && self.is_inline(origin, record.body.len()) {
            record.redact_body(self.lane.borrow_mut().redactor(), 0);
            let taken = record.write(&mut self.lane.borrow_mut(), origin, &self.config, 0, None);
            match taken {
                Ok(()) => return,
                // The recorder waits for room as long as the budget lasts; this
                // thread does not.
                Err(not) if not.later => without_budget = not.reason,
                Err(not) => {
                    return self.lose(origin, record.number, record.start_ns, not.reason);
                }
            }
        }
        let body = std::mem::take(&mut record.body);
        let job = || Work::Request(Box::new(record.snapshot(body)));
        if !self.hand_over(origin, record.head_size(), charge, job) {
            self.lose(origin, record.number, record.start_ns, without_budget);
        }
    }

    /// Records a request that goes on. Says whether it was taken; if not, it has
    /// been counted as lost.
    pub(crate) fn open_request(
        &self,
        origin: &Arc<Origin>,
        record: RequestRecord,
        charge: Charge,
    ) -> bool {
        let (number, start_ns, size) = (record.number, record.start_ns, record.head_size());
        let taken = self.hand_over(origin, size, charge, || Work::Open(Box::new(record)));
        if !taken {
            self.lose(origin, number, start_ns, "tee_full");
        }
        taken
    }

    /// Counts a request that will not be in the log.
    pub(crate) fn lose(&self, origin: &Origin, number: u64, start_ns: u64, reason: &'static str) {
        origin.lost_here.set(number);
        self.lane.borrow_mut().lose(reason, start_ns);
    }

    /// Records what followed of an open request.
    pub(crate) fn part(&self, origin: &Arc<Origin>, part: PartRecord, charge: Charge) {
        // Already paid for, but for the job itself; there are few open requests.
        self.send(origin, charge, Work::Part(Box::new(part)));
    }

    /// Records an answer that has ended.
    pub(crate) fn answer(&self, origin: &Arc<Origin>, record: &mut AnswerRecord, charge: Charge) {
        let looked_at =
            record.body.len() > 0 && self.config.privacy.rules.concerns_body(&record.fields());
        let inline = !looked_at && self.is_inline(origin, record.body.len());
        if origin.lost_here.is(record.number) || origin.lost_there.is(record.number) {
            return;
        }
        if inline {
            let mut lane = self.lane.borrow_mut();
            record.redact_body(lane.redactor(), 0);
            match record.write(&mut lane, origin, &self.config) {
                Ok(()) => return,
                Err(not) if not.later => {}
                Err(not) => return lane.stats().lose_answer(not.reason),
            }
        }
        let size = record.head_size();
        let job = || Work::Answer(Box::new(record.snapshot()));
        if !self.hand_over(origin, size, charge, job) {
            self.lane.borrow().stats().lose_answer("tee_full");
        }
    }

    fn is_inline(&self, origin: &Origin, body: usize) -> bool {
        body <= self.inline_max && origin.pending.load(Ordering::Acquire) == 0
    }

    fn hand_over(
        &self,
        origin: &Arc<Origin>,
        size: usize,
        mut charge: Charge,
        work: impl FnOnce() -> Work,
    ) -> bool {
        let paid = charge.grow(size + JOB_COST);
        if paid {
            self.send(origin, charge, work());
        }
        paid
    }

    fn send(&self, origin: &Arc<Origin>, charge: Charge, work: Work) {
        origin.pending.fetch_add(1, Ordering::Relaxed);
        let job = Job { origin: Arc::clone(origin), work, charge: charge.detach() };
        // The recorder outlives the lanes; a job that comes back is from a
        // recorder that panicked.
        if let Err(back) = self.recorder.send(job) {
            back.0.origin.pending.fetch_sub(1, Ordering::Relaxed);
            if let Some(start_ns) = back.0.work.begins_request() {
                self.lane.borrow_mut().lose("recorder_gone", start_ns);
            }
        }
    }
}

fn view<'a>(
    origin: &'a Origin,
    record: &'a RequestRecord,
    headers: &'a HeadFields<'a>,
) -> RequestView<'a> {
    RequestView {
        method: record.method(),
        authority: record.authority(),
        path: record.path(),
        query: record.query(),
        headers,
        // Of a mirrored request it is the mesh that is at the other end.
        peer: match std::str::from_utf8(&record.client) {
            Ok(client) if !client.is_empty() => client,
            _ => &origin.session.peer,
        },
        id: &record.id,
        size: record.announced_size(),
    }
}
