//! Requests of one thread that have begun and are neither recorded nor given to
//! the recorder: the oldest of them bounds what a Mark may promise.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc};

/// All flights of a thread.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    open: RefCell<BTreeSet<(u64, u64)>>,
    last: std::cell::Cell<u64>,
}

/// One request in flight, until dropped.
#[derive(Debug)]
pub(crate) struct Flight {
    flights: Rc<Flights>,
    key: (u64, u64),
}

impl Flights {
    pub(crate) fn begin(self: &Rc<Self>, start_ns: u64) -> Flight {
        let number = self.last.get() + 1;
        self.last.set(number);
        let key = (start_ns, number);
        self.open.borrow_mut().insert(key);
        Flight { flights: Rc::clone(self), key }
    }

    /// Start of the oldest.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.open.borrow().first().map(|key| key.0)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.open.borrow_mut().remove(&self.key);
    }
}
