//! Takes an answer in as it arrives and keeps of it what an [`Answer`] needs: the
//! head, a bounded beginning of the body, length and hash of the whole, times.
//! Reads from no socket.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use umbra_record::{
    hash::{self, BodyHash},
    pb,
};

use crate::outcome::{Answer, MAX_ANSWER_BODY};

/// Collects one answer. Its clock starts when it is made.
pub(super) struct Collector {
    started: Instant,
    answer: Option<Answer>,
    /// Beginning of the body; `None` while there is no body framing.
    body: Option<BytesMut>,
    /// Only once the body is longer than what is kept of it.
    hasher: Option<Box<BodyHash>>,
}

/// The head of a final answer.
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) reason: Bytes,
    pub(super) version: pb::Version,
    pub(super) headers: Vec<pb::Header>,
    /// Whether any body framing was there, if only for a body of no bytes.
    pub(super) has_body: bool,
}

impl Collector {
    pub(super) fn start() -> Self {
        Self { started: Instant::now(), answer: None, body: None, hasher: None }
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    pub(super) fn head(&mut self, head: Head) {
        self.body = head.has_body.then(BytesMut::new);
        let now = self.started.elapsed();
        self.answer = Some(Answer {
            status: head.status,
            reason: head.reason,
            version: head.version,
            headers: head.headers,
            body: None,
            trailers: Vec::new(),
            body_length: 0,
            body_hash: None,
            complete: false,
            head_after: now,
            first_byte_after: None,
            end_after: now,
        });
    }

    pub(super) fn body(&mut self, data: &[u8]) {
        let Some(answer) = &mut self.answer else { return };
        if data.is_empty() {
            return;
        }
        if answer.first_byte_after.is_none() {
            answer.first_byte_after = Some(self.started.elapsed());
        }
        answer.body_length += data.len() as u64;
        let kept = self.body.get_or_insert_default();
        if let Some(hasher) = &mut self.hasher {
            hasher.update(data);
            return;
        }
        let room = MAX_ANSWER_BODY - kept.len();
        if data.len() > room {
            let mut hasher = Box::<BodyHash>::default();
            hasher.update(kept);
            hasher.update(data);
            self.hasher = Some(hasher);
        }
        kept.extend_from_slice(&data[..data.len().min(room)]);
    }

    pub(super) fn trailers(&mut self, trailers: Vec<pb::Header>) {
        if let Some(answer) = &mut self.answer {
            answer.trailers = trailers;
        }
    }

    /// The answer is whole: its end is now.
    pub(super) fn end(&mut self) {
        let now = self.started.elapsed();
        if let Some(answer) = &mut self.answer {
            answer.complete = true;
            answer.end_after = now;
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.complete)
    }

    /// What came, if a final head did.
    pub(super) fn finish(self) -> Option<Answer> {
        let mut answer = self.answer?;
        if !answer.complete {
            answer.end_after = self.started.elapsed();
        }
        if let Some(body) = self.body {
            let hash = self.hasher.map_or_else(|| hash::of(&body), |hasher| hasher.digest());
            answer.body_hash = Some(hash);
            answer.body = Some(body.freeze());
        }
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(has_body: bool) -> Head {
        let (reason, headers) = (Bytes::new(), Vec::new());
        Head { status: 200, reason, version: pb::Version::Http11, headers, has_body }
    }

    #[test]
    fn no_framing_is_not_an_empty_body() {
        let mut none = Collector::start();
        none.head(head(false));
        none.end();
        let none = none.finish().expect("a head came");
        assert_eq!((none.body, none.body_hash), (None, None));

        let mut empty = Collector::start();
        empty.head(head(true));
        empty.end();
        let empty = empty.finish().expect("a head came");
        assert_eq!(empty.body, Some(Bytes::new()));
        assert_eq!(empty.body_hash, Some(hash::of(b"")));
    }

    #[test]
    fn length_and_hash_are_of_the_whole_whatever_the_pieces() {
        for total in [1, MAX_ANSWER_BODY - 1, MAX_ANSWER_BODY, MAX_ANSWER_BODY + 1, 200_000] {
            let whole: Vec<u8> = (0..total).map(|i| (i * 7 % 251) as u8).collect();
            for piece in [1 + total / 3, MAX_ANSWER_BODY, total] {
                let mut collector = Collector::start();
                collector.head(head(true));
                for data in whole.chunks(piece) {
                    collector.body(data);
                }
                assert!(!collector.is_complete());
                collector.end();
                let answer = collector.finish().expect("a head came");
                assert_eq!(answer.body_length, total as u64);
                assert_eq!(answer.body_hash, Some(hash::of(&whole)));
                let kept = total.min(MAX_ANSWER_BODY);
                assert_eq!(answer.body.as_deref(), Some(&whole[..kept]));
            }
        }
    }
}
