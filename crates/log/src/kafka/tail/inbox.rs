//! What the polling thread has for the user, and what the user wants of the thread.
//! Bounded by the read-ahead: the thread stops fetching, not the inbox accepting.
//!
//! Records lie here until the user takes them, so a partition that is revoked can
//! take back those he never saw.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::poller::Closing;
use crate::{Assigned, Delivery, Event, LogError};

#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    /// The assignment of each partition that the user knows of.
    seen: BTreeMap<u32, u32>,
    /// The same, also of those he was told are gone.
    last: BTreeMap<u32, u32>,
    /// Partitions the user wants no more of, in this assignment.
    finished: BTreeMap<u32, u32>,
    /// The thread was not told of these yet.
    newly_finished: Vec<u32>,
    closing: Option<Closing>,
    abandoned: bool,
    /// Nothing will come any more.
    ended: Option<LogError>,
}

/// An event with the assignment (epoch) it belongs to.
enum Item {
    Assigned {
        epoch: u32,
        partitions: Vec<Assigned>,
    },
    Revoked(Vec<u32>),
    Delivery {
        epoch: u32,
        delivery: Delivery,
        turn: Turn,
    },
    /// Anything else about one partition.
    About {
        epoch: u32,
        partition: u32,
        event: Event,
    },
    Failed(LogError),
}

/// How often a record has been offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    First,
    /// It was dropped undone.
    Again,
    /// It was dropped undone once more.
    Aside,
}

/// What the user wants.
pub(super) enum Wish {
    Close(Closing),
    Abandon,
}

impl Inbox {
    // --- the user's side ---

    /// The next event; of one user at a time.
    pub(super) async fn next(&self) -> Result<Event, LogError> {
        loop {
            if let Some(next) = self.state().take() {
                return next;
            }
            self.arrived.notified().await;
        }
    }

    pub(super) fn finish(&self, partition: u32) {
        let mut state = self.state();
        let Some(&epoch) = state.seen.get(&partition) else { return };
        if state.finished.insert(partition, epoch) != Some(epoch) {
            state.newly_finished.push(partition);
        }
        state.discard(|one| one == partition, Some(epoch));
    }

    /// The assignment in which the user met the partition last: he may still be
    /// settling what he holds of it.
    pub(super) fn assignment(&self, partition: u32) -> Option<u32> {
        self.state().last.get(&partition).copied()
    }

    pub(super) fn close(&self, closing: Closing) {
        self.state().closing = Some(closing);
    }

    pub(super) fn abandon(&self) {
        self.state().abandoned = true;
    }

    // --- the thread's side ---

    pub(super) fn wish(&self) -> Option<Wish> {
        let mut state = self.state();
        if let Some(closing) = state.closing.take() {
            return Some(Wish::Close(closing));
        }
        state.abandoned.then_some(Wish::Abandon)
    }

    pub(super) fn newly_finished(&self) -> Vec<u32> {
        std::mem::take(&mut self.state().newly_finished)
    }

    pub(super) fn deliver(&self, epoch: u32, delivery: Delivery, turn: Turn) {
        let partition = delivery.partition;
        let item = Item::Delivery { epoch, delivery, turn };
        if let Err(Item::Delivery { delivery, .. }) = self.push(partition, epoch, item) {
            delivery.discard();
        }
    }

    pub(super) fn tell(&self, epoch: u32, partition: u32, event: Event) {
        let _ = self.push(partition, epoch, Item::About { epoch, partition, event });
    }

    pub(super) fn assigned(&self, epoch: u32, partitions: Vec<Assigned>) {
        self.state().items.push_back(Item::Assigned { epoch, partitions });
        self.arrived.notify_one();
    }

    /// Told once as long as nothing else happens.
    pub(super) fn fail(&self, error: LogError) {
        let mut state = self.state();
        if matches!(state.items.back(), Some(Item::Failed(last)) if *last == error) {
            return;
        }
        state.items.push_back(Item::Failed(error));
        drop(state);
        self.arrived.notify_one();
    }

    /// Takes back what the user did not see of these partitions (with their epochs),
    /// and tells him that they are gone as the next thing he hears.
    pub(super) fn revoke(&self, partitions: &BTreeMap<u32, u32>) {
        let mut state = self.state();
        state.discard(|one| partitions.contains_key(&one), None);
        for item in &mut state.items {
            if let Item::Assigned { partitions: new, .. } = item {
                new.retain(|one| !partitions.contains_key(&one.partition));
            }
        }
        state.items.retain(
            |item| !matches!(item, Item::Assigned { partitions, .. } if partitions.is_empty()),
        );
        // Those he never heard of are not worth a word.
        let known: Vec<u32> = partitions
            .iter()
            .filter(|(partition, epoch)| state.seen.get(partition) == Some(epoch))
            .map(|(partition, _)| *partition)
            .collect();
        if !known.is_empty() {
            // Behind an earlier one that was not heard yet.
            let at = state.items.iter().take_while(|one| matches!(one, Item::Revoked(_))).count();
            state.items.insert(at, Item::Revoked(known));
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// Nothing will come any more, for this reason.
    pub(super) fn end(&self, reason: LogError) {
        self.state().ended.get_or_insert(reason);
        self.arrived.notify_one();
    }

    /// Gives the item back if the user wants no more of its partition.
    fn push(&self, partition: u32, epoch: u32, item: Item) -> Result<(), Item> {
        let mut state = self.state();
        if state.finished.get(&partition) == Some(&epoch) {
            return Err(item);
        }
        let first = state.items.is_empty();
        state.items.push_back(item);
        drop(state);
        if first {
            self.arrived.notify_one();
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self) -> Option<Result<Event, LogError>> {
        let Some(item) = self.items.pop_front() else {
            return self.ended.clone().map(Err);
        };
        Some(Ok(match item {
            Item::Assigned { epoch, partitions } => {
                self.seen.extend(partitions.iter().map(|one| (one.partition, epoch)));
                self.last.extend(partitions.iter().map(|one| (one.partition, epoch)));
                Event::Assigned(partitions)
            }
            Item::Revoked(partitions) => {
                for partition in &partitions {
                    self.seen.remove(partition);
                    self.finished.remove(partition);
                }
                Event::Revoked(partitions)
            }
            Item::Delivery { delivery, turn: Turn::Aside, .. } => Event::SetAside(delivery),
            Item::Delivery { delivery, .. } => Event::Delivery(delivery),
            Item::About { event, .. } => event,
            Item::Failed(error) => return Some(Err(error)),
        }))
    }

    /// Removes what waits of these partitions, of one epoch or any.
    fn discard(&mut self, of: impl Fn(u32) -> bool, epoch: Option<u32>) {
        let any = |one: u32| epoch.is_none_or(|epoch| epoch == one);
        for item in std::mem::take(&mut self.items) {
            match item {
                Item::Delivery { epoch, delivery, .. } if of(delivery.partition) && any(epoch) => {
                    delivery.discard();
                }
                Item::About { epoch, partition, .. } if of(partition) && any(epoch) => {}
                item => self.items.push_back(item),
            }
        }
    }
}

#[cfg(test)]
mod tests;
