//! What a connection is held to beside what the `h2` crate enforces itself, and what
//! is counted of it. Sees the frames that pass; the connection asks for the verdict.
//!
//! The crate bounds what it keeps: streams, fields, CONTINUATION frames, empty and
//! small DATA frames, streams that were reset before anybody looked at them, errors
//! of streams. It stops reading while an acknowledgement cannot be written. What it
//! does not bound is the work it is made to do: frames that need no answer of an
//! upstream (SETTINGS, PING, PRIORITY, WINDOW_UPDATE, unknown ones), and requests that
//! are taken back as soon as they have been passed on.

use std::{
    cell::{Cell, RefCell},
    collections::{HashSet, VecDeque},
    rc::Rc,
    time::{Duration, Instant},
};

use ::h2::Reason;

use super::{
    calm::Bucket,
    frames::{DATA, END_STREAM, Frame, GOAWAY, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE},
};
use crate::tap::Tap;

/// Frames that cost us something and carry nothing: so many at once …
const CONTROL_BURST: u32 = 1000;
/// … and so many a second; and some for each frame of use: a client that reads an
/// answer tells how much it has read.
const CONTROL_RATE: u32 = 100;
const CONTROL_EARNED: u32 = 4;

/// Requests taken back early: so many at once and a second, and one for each that
/// was not.
const RESET_BURST: u32 = 200;
const RESET_RATE: u32 = 50;
/// A request that lived longer was not sent to be taken back.
const EARLY: Duration = Duration::from_secs(1);

/// Closing a connection throws away what the system has not delivered, as soon as the
/// client says another word. So long without a sign that an answer moves it is taken for
/// delivered …
pub(super) const ON_ITS_WAY: Duration = Duration::from_secs(5);
/// … and so little of it at once.
const LITTLE: u64 = 16 << 10;

/// Most streams remembered that have not come to us.
const MAX_UNSEEN: usize = 1024;

/// One connection's ledger.
pub(super) struct Ledger {
    tap: Rc<Tap>,
    control: RefCell<Bucket>,
    resets: RefCell<Bucket>,
    /// Streams that we have reset, whose RST_STREAM has not passed yet.
    reset: RefCell<HashSet<u32>>,
    /// Streams begun and not seen by us, in order: what is answered on them, the `h2`
    /// crate answers.
    unseen: RefCell<VecDeque<u32>>,
    last_begun: Cell<u32>,
    verdict: Cell<Option<Verdict>>,
    /// The connection's end has been counted.
    told: Cell<bool>,
    /// The client's first frame has come.
    begun: Cell<bool>,
    /// Since when the client owes the rest of a field block.
    owes: Cell<Option<Instant>>,
    /// Streams whose answer has been given to the `h2` crate to its end, which has not
    /// passed yet.
    unsent: RefCell<HashSet<u32>>,
    /// Some of a frame of ours has passed, and not all.
    inside_frame: Cell<bool>,
    /// When some of an answer has last passed, or been read by the client; and how much
    /// has passed without a pause before.
    moved: Cell<Option<(Instant, u64)>>,
}

/// Why a connection has to end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verdict {
    /// As counted.
    pub(super) why: &'static str,
    /// What the client is told.
    pub(super) code: Reason,
}

impl Ledger {
    pub(super) fn new(tap: Rc<Tap>) -> Self {
        let now = Instant::now();
        Self {
            tap,
            control: RefCell::new(Bucket::new(CONTROL_BURST, CONTROL_RATE, now)),
            resets: RefCell::new(Bucket::new(RESET_BURST, RESET_RATE, now)),
            reset: RefCell::default(),
            unseen: RefCell::default(),
            last_begun: Cell::new(0),
            verdict: Cell::new(None),
            told: Cell::new(false),
            begun: Cell::new(false),
            owes: Cell::new(Some(now)),
            unsent: RefCell::default(),
            inside_frame: Cell::new(false),
            moved: Cell::new(None),
        }
    }

    /// Why the connection has to end, if it has.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.verdict.get()
    }

    /// The connection has to end. The first reason counts.
    pub(super) fn condemn(&self, why: &'static str, code: Reason) {
        if self.verdict.get().is_none() {
            self.verdict.set(Some(Verdict { why, code }));
            if !self.told.replace(true) {
                self.refuse(why);
            }
        }
    }

    /// Counts a message, or a connection, that is refused.
    pub(super) fn refuse(&self, why: &'static str) {
        self.tap.lane.borrow().stats().refuse(why);
    }

    /// Since when the client owes the rest of a field block, or its first frame.
    pub(super) fn owes(&self) -> Option<Instant> {
        self.owes.get()
    }

    /// We reset this stream: its RST_STREAM is nobody's fault that is not known.
    pub(super) fn resets(&self, stream: u32) {
        let mut reset = self.reset.borrow_mut();
        // Not each of them is followed by a frame that takes it out again.
        if reset.len() >= MAX_UNSEEN {
            reset.clear();
        }
        reset.insert(stream);
    }

    /// A stream has ended: by its client's reset, or otherwise.
    pub(super) fn stream_ended(&self, taken_back: bool, lived: Duration) {
        let mut resets = self.resets.borrow_mut();
        if !taken_back {
            resets.earn(1);
        } else if lived < EARLY && !resets.take(Instant::now) {
            drop(resets);
            self.condemn("http2_reset_flood", Reason::ENHANCE_YOUR_CALM);
        }
    }

    /// The answer on this stream is complete, and on its way.
    pub(super) fn answered(&self, stream: u32) {
        self.unsent.borrow_mut().insert(stream);
    }

    /// Whether the socket has taken all answers that are complete.
    pub(super) fn is_all_sent(&self) -> bool {
        self.unsent.borrow().is_empty() && !self.inside_frame.get()
    }

    /// When some of an answer was last taken by the socket, or read by the client.
    pub(super) fn moved(&self) -> Option<Instant> {
        self.moved.get().map(|(last, _)| last)
    }

    /// Until when what the socket has taken may be on its way to a client that reads
    /// slowly.
    pub(super) fn on_its_way(&self) -> Option<Instant> {
        let (last, bytes) = self.moved.get()?;
        (bytes > LITTLE).then_some(last + ON_ITS_WAY)
    }

    fn moves(&self, bytes: u32) {
        let now = Instant::now();
        let before = match self.moved.get() {
            Some((last, bytes)) if now.saturating_duration_since(last) < ON_ITS_WAY => bytes,
            _ => 0,
        };
        self.moved.set(Some((now, before + u64::from(bytes))));
    }

    /// After a write: whether it ended within a frame.
    pub(super) fn wrote(&self, inside_frame: bool) {
        self.inside_frame.set(inside_frame);
    }

    /// A frame of the client's.
    pub(super) fn received(&self, frame: Frame) {
        match frame.kind {
            WINDOW_UPDATE => self.moves(0),
            // What is left of the answer is not sent any more.
            RST_STREAM => drop(self.unsent.borrow_mut().remove(&frame.stream)),
            _ => {}
        }
        if !self.begun.replace(true) && (frame.kind, frame.flags & 1) != (SETTINGS, 0) {
            // RFC 9113 section 3.4: the preface ends with its settings.
            return self.condemn("http2_preface", Reason::PROTOCOL_ERROR);
        }
        match frame.kind {
            HEADERS => self.begun(frame.stream),
            DATA if frame.length > 0 => self.control.borrow_mut().earn(1),
            DATA if frame.flags & END_STREAM != 0 => {}
            _ => {
                let calm = self.control.borrow_mut().take(Instant::now);
                if !calm {
                    self.condemn("http2_control_flood", Reason::ENHANCE_YOUR_CALM);
                }
            }
        }
    }

    /// A stream has come to us.
    pub(super) fn seen(&self, stream: u32) {
        self.take_unseen(stream);
    }

    /// After a read: whether the client is in the middle of a field block.
    pub(super) fn inside_fields(&self, inside: bool) {
        match (inside || !self.begun.get(), self.owes.get()) {
            (true, None) => self.owes.set(Some(Instant::now())),
            (false, Some(_)) => self.owes.set(None),
            _ => {}
        }
    }

    /// A frame of ours.
    pub(super) fn sent(&self, frame: Frame) {
        let ends = match frame.kind {
            DATA | HEADERS => {
                self.moves(frame.length);
                frame.flags & END_STREAM != 0
            }
            kind => kind == RST_STREAM,
        };
        if ends {
            self.unsent.borrow_mut().remove(&frame.stream);
        }
        match frame.kind {
            DATA => self.control.borrow_mut().earn(CONTROL_EARNED),
            HEADERS => {
                self.control.borrow_mut().earn(CONTROL_EARNED);
                if self.take_unseen(frame.stream) {
                    // The one thing that the crate answers by itself: 431.
                    self.refuse("head_too_large");
                    self.resets(frame.stream);
                }
            }
            RST_STREAM => {
                self.take_unseen(frame.stream);
                let ours = self.reset.borrow_mut().remove(&frame.stream);
                // CANCEL and NO_ERROR are what is said when nobody wants the rest.
                let quiet = matches!(Reason::from(frame.code), Reason::NO_ERROR | Reason::CANCEL);
                if !ours && !quiet {
                    self.refuse(name(frame.code.into()));
                }
            }
            GOAWAY if frame.code != 0 && !self.told.replace(true) => {
                self.refuse(name(frame.code.into()));
            }
            _ => {}
        }
    }

    fn begun(&self, stream: u32) {
        if stream > self.last_begun.get() {
            self.last_begun.set(stream);
            let mut unseen = self.unseen.borrow_mut();
            if unseen.len() == MAX_UNSEEN {
                // What is ignored after a goodbye is never answered.
                unseen.pop_front();
            }
            unseen.push_back(stream);
        }
    }

    fn take_unseen(&self, stream: u32) -> bool {
        let mut unseen = self.unseen.borrow_mut();
        let at = unseen.iter().position(|unseen| *unseen == stream);
        at.is_some_and(|at| unseen.remove(at).is_some())
    }
}

/// What the `h2` crate objected to (RFC 9113 section 7).
fn name(code: Reason) -> &'static str {
    match code {
        Reason::PROTOCOL_ERROR => "http2_protocol",
        Reason::FLOW_CONTROL_ERROR => "http2_flow_control",
        Reason::STREAM_CLOSED => "http2_stream_closed",
        Reason::FRAME_SIZE_ERROR => "http2_frame_size",
        Reason::REFUSED_STREAM => "http2_too_many_streams",
        Reason::COMPRESSION_ERROR => "http2_compression",
        Reason::ENHANCE_YOUR_CALM => "http2_flood",
        _ => "http2_other",
    }
}
