//! The tee of a connection's answers, one after the other. An answer over budget
//! is cut and marked; its length and hash stay those of the whole.

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use http::HeaderMap;
use umbra_record::pb::{Completeness, Failure};

use super::{
    RequestTee,
    body::{BodyCopy, Copied},
};
use crate::{
    RecordResponses,
    clock::Moment,
    h1::{BodyKind, Fields, ResponseHead},
    origin::Origin,
    record::{AnswerRecord, Http2Answer, owned_trailers},
    tap::Tap,
};

/// Keeps the answer at hand. Belongs to one connection.
pub(crate) struct AnswerTee {
    tap: Rc<Tap>,
    origin: Arc<Origin>,
    record: AnswerRecord,
    copy: BodyCopy,
    /// Of the request.
    start: Moment,
    /// When what is looked at was read, if that is known.
    read_at: Option<Moment>,
    active: bool,
    ended: bool,
}

impl AnswerTee {
    pub(crate) fn new(tap: Rc<Tap>, origin: Arc<Origin>) -> Self {
        Self {
            copy: BodyCopy::new(tap.credit.charge()),
            start: tap.now(),
            tap,
            origin,
            record: AnswerRecord::default(),
            read_at: None,
            active: false,
            ended: false,
        }
    }

    /// Where the next head is to be parsed into.
    pub(crate) fn head_mut(&mut self) -> &mut ResponseHead {
        &mut self.record.head
    }

    /// The memory of heads, of no other use between two answers.
    pub(crate) fn head_bytes(&mut self) -> &mut Vec<u8> {
        &mut self.record.bytes
    }

    /// The head of the answer at hand, to be read with the bytes it was parsed
    /// from.
    pub(crate) fn head(&self) -> &ResponseHead {
        &self.record.head
    }

    /// Expects the answer to the request at hand, if it is to be recorded.
    pub(crate) fn begin(&mut self, request: &RequestTee) {
        self.active = self.tap.config.responses != RecordResponses::Off && request.is_recording();
        self.ended = false;
        self.read_at = None;
        self.start = request.start();
        if !Arc::ptr_eq(&self.origin, request.origin()) {
            self.origin = Arc::clone(request.origin());
        }
        let record = &mut self.record;
        record.id = request.id();
        record.number = request.number();
        record.start_ns = self.start.wall_ns;
        record.bytes.clear();
        record.http2 = None;
        record.trailers.clear();
        record.first_byte_after_ns = 0;
        record.failure = Failure::None;
        record.failure_detail.clear();
        self.copy.start(0);
    }

    /// The final head has come; it was parsed from `bytes`. Until more is read no other
    /// time is taken.
    pub(crate) fn head_read(&mut self, bytes: &[u8]) {
        let now = self.head_came();
        self.read_at = Some(now);
        if self.active {
            self.record.bytes.extend_from_slice(bytes);
            self.record.framed = self.record.head.body() != BodyKind::None;
            self.begin_body(now);
        }
    }

    /// The final head has come over HTTP/2.
    pub(crate) fn head_http2(&mut self, head: Http2Answer) {
        let now = self.head_came();
        if self.active {
            self.record.framed = head.has_body;
            self.record.http2 = Some(Arc::new(head));
            self.begin_body(now);
        }
    }

    /// More is read.
    pub(crate) fn reads_on(&mut self) {
        self.read_at = None;
    }

    /// When what is looked at was read; else the time it is.
    pub(crate) fn read_at(&self) -> Moment {
        self.read_at.unwrap_or_else(|| self.tap.now())
    }

    fn head_came(&self) -> Moment {
        let now = self.tap.now();
        let upstream = now.at.saturating_duration_since(self.start.at);
        self.tap.lane.borrow().stats().upstream.observe(upstream);
        now
    }

    fn begin_body(&mut self, now: Moment) {
        let config = &self.tap.config;
        self.record.head_after_ns = self.start.until(now);
        self.copy.start(match config.responses {
            RecordResponses::Full => config.max_response_body.min(config.max_record_body as u64),
            RecordResponses::Off | RecordResponses::Head => 0,
        });
    }

    /// Takes the next body bytes; `shared` are the same, if they can be shared.
    pub(crate) fn data(&mut self, frame: &[u8], shared: Option<Bytes>) {
        if !self.active {
            return;
        }
        if self.copy.length() == 0 {
            self.record.first_byte_after_ns = self.start.until(self.read_at());
        }
        if self.copy.add(frame, shared) == Copied::OverBudget {
            self.copy.cut_here();
        }
    }

    /// Takes the trailer section.
    pub(crate) fn trailers(&mut self, fields: Fields<'_>) {
        if self.active {
            let owned = fields.map(|(name, value)| (name.to_vec(), value.to_vec()));
            self.record.trailers.extend(owned);
        }
    }

    /// The same of an HTTP/2 answer.
    pub(crate) fn trailers_http2(&mut self, fields: &HeaderMap) {
        if self.active {
            self.record.trailers.extend(owned_trailers(fields));
        }
    }

    /// All of the answer has been received.
    pub(crate) fn ended(&mut self) {
        self.ended = true;
        if self.active {
            self.record.end_after_ns = self.start.until(self.read_at());
        }
    }

    /// There will be no answer, or no more of it. The first failure counts.
    pub(crate) fn fail(&mut self, failure: Failure, detail: impl std::fmt::Display) {
        if self.active && self.record.failure == Failure::None {
            self.record.failure = failure;
            self.record.failure_detail = detail.to_string();
        }
    }

    /// There is no answer of the upstream to speak of: the request was refused.
    pub(crate) fn discard(&mut self) {
        self.active = false;
        self.copy.clear();
    }

    /// Gives the answer away. The request must have been given away before.
    pub(crate) fn emit(&mut self) {
        if !std::mem::take(&mut self.active) {
            return;
        }
        let record = &mut self.record;
        if !self.ended {
            record.end_after_ns = self.start.until(self.tap.now());
            if record.failure == Failure::None {
                record.failure = Failure::ClientGone;
            }
        }
        record.length = self.copy.length();
        record.hash = record.framed.then(|| self.copy.digest());
        record.completeness = match (self.ended, self.copy.is_cut()) {
            (false, _) => Completeness::Aborted,
            (true, true) => Completeness::Truncated,
            (true, false) => Completeness::Complete,
        };
        std::mem::swap(&mut record.body, &mut self.copy.body);
        let charge = self.copy.charge.take();
        self.tap.answer(&self.origin, record, charge);
        std::mem::swap(&mut record.body, &mut self.copy.body);
        self.copy.clear();
    }
}

impl Drop for AnswerTee {
    fn drop(&mut self) {
        self.emit();
    }
}
