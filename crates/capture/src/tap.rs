//! Where the tees of one capture thread end: small records go into the log at
//! once, on the thread's own lane; what is large, or finds the log full, or comes
//! behind such a record on its connection, goes to the recorder thread, which may
//! wait.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::Sender,
    },
};

use umbra_record::{
    fields::Fields,
    id::IdGenerator,
    marker,
    select::{RequestView, Selection},
};

use crate::{
    Config,
    budget::{Charge, Credit},
    clock::{Clock, Moment},
    h1::{FieldKind, RequestHead},
    lane::{Flights, Lane, Place},
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

/// Where requests come from: one client connection.
#[derive(Debug)]
pub(crate) struct Origin {
    /// Unique within the agent.
    pub(crate) connection: u64,
    /// Keeps the connection's records together; unique among agents.
    pub(crate) key: [u8; 16],
    /// Where they go as long as the connection lives.
    pub(crate) partition: u32,
    pub(crate) peer: String,
    pub(crate) scheme: &'static str,
    /// Jobs of this connection the recorder has not finished. While there are
    /// any, all records of the connection go that way, to keep their order.
    pub(crate) pending: AtomicUsize,
    /// The last request that the capture thread could not record …
    pub(crate) lost_here: LastLost,
    /// … and the last one that the recorder could not. Each is set by one thread,
    /// which meets the answer before the connection's next request.
    pub(crate) lost_there: LastLost,
}

/// The number of the last request of a connection that will not be in the log:
/// nobody could use its answer.
#[derive(Debug, Default)]
pub(crate) struct LastLost(AtomicU64);

impl LastLost {
    pub(crate) fn set(&self, number: u64) {
        self.0.store(number + 1, Ordering::Release);
    }

    pub(crate) fn is(&self, number: u64) -> bool {
        self.0.load(Ordering::Acquire) == number + 1
    }
}

impl Origin {
    pub(crate) fn new(connection: u64, key: [u8; 16], partition: u32, peer: String) -> Self {
        Self {
            connection,
            key,
            partition,
            peer,
            scheme: "http",
            pending: AtomicUsize::new(0),
            lost_here: LastLost::default(),
            lost_there: LastLost::default(),
        }
    }

    pub(crate) fn place(&self, time_ns: u64) -> Place<'_> {
        Place { partition: self.partition, key: &self.key, time_ns }
    }
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
    pub(crate) fn selects(
        &self,
        origin: &Origin,
        id: &[u8; 16],
        bytes: &[u8],
        head: &RequestHead,
    ) -> bool {
        let places = head.field_places();
        let shadow = places
            .iter()
            .any(|field| field.kind() == FieldKind::Via && marker::is_shadow(field.value(bytes)));
        !shadow && is_selected(&self.config.selection, origin, id, bytes, head)
    }

    /// Records a request that has ended, and may take its body.
    pub(crate) fn request(&self, origin: &Arc<Origin>, record: &mut RequestRecord, charge: Charge) {
        let mut without_budget = "tee_full";
        if self.is_inline(origin, record.body.len()) {
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
        if !self.hand_over(origin, record.bytes.len(), charge, job) {
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
        let (number, start_ns, size) = (record.number, record.start_ns, record.bytes.len());
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
        let inline = self.is_inline(origin, record.body.len());
        if origin.lost_here.is(record.number) || origin.lost_there.is(record.number) {
            return;
        }
        if inline {
            let mut lane = self.lane.borrow_mut();
            match record.write(&mut lane, origin) {
                Ok(()) => return,
                Err(not) if not.later => {}
                Err(not) => return lane.stats().lose_answer(not.reason),
            }
        }
        let size = record.bytes.len();
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

fn is_selected(
    selection: &Selection,
    origin: &Origin,
    id: &[u8; 16],
    bytes: &[u8],
    head: &RequestHead,
) -> bool {
    if selection.selects_all() {
        return true;
    }
    let headers = HeadFields { bytes, fields: head.field_places() };
    let view = RequestView {
        method: head.method(bytes),
        authority: head.authority(bytes).unwrap_or_default(),
        path: head.path(bytes),
        query: head.query(bytes),
        headers: &headers as &dyn Fields,
        peer: &origin.peer,
        id,
    };
    selection.decide(&view).is_selected()
}
