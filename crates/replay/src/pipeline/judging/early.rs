//! Answers that came before their requests: a bounded number of them is kept.

use std::collections::{HashMap, VecDeque};

use umbra_record::pb;

use crate::assembly::Id;

/// Answers kept that came before their request.
const MAX_EARLY: usize = 1024;
/// Their bytes.
const MAX_EARLY_BYTES: usize = 8 << 20;

/// Answers that came before their requests, oldest first.
#[derive(Default)]
pub(super) struct Early {
    answers: HashMap<Id, pb::Response>,
    order: VecDeque<(Id, usize)>,
    bytes: usize,
}

impl Early {
    pub(super) fn keep(&mut self, id: Id, answer: pb::Response, bytes: usize) {
        if self.answers.insert(id, answer).is_none() {
            self.order.push_back((id, bytes));
            self.bytes += bytes;
        }
        while self.order.len() > MAX_EARLY || self.bytes > MAX_EARLY_BYTES {
            let Some((oldest, bytes)) = self.order.pop_front() else { break };
            self.bytes -= bytes;
            self.answers.remove(&oldest);
        }
    }

    pub(super) fn take(&mut self, id: &Id) -> Option<pb::Response> {
        self.answers.remove(id)
    }
}
