//! The two ways of a record: into the log, or into the spool while that does not take
//! it. Which of them, is decided for each record by whoever hands it over.

use std::sync::Arc;

use umbra_log::{Entry, Position, Rejected};

use super::{Kind, Losses, NotTaken, Queue, ledger::Way};
use crate::spool::Spool;

/// Where a lane hands its records: to the log, and to the spool while that does not
/// take them.
#[derive(Clone)]
pub(crate) struct Outlet {
    pub(crate) log: Arc<dyn Queue>,
    pub(crate) spool: Option<Arc<Spool>>,
    pub(crate) losses: Arc<Losses>,
}

/// Where a record was handed to, and its number there: in the log by partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    pub(super) way: Way,
    pub(super) partition: u32,
    pub(super) number: u64,
}

impl Outlet {
    /// Hands a record over, in the order of calls. While there is something in the
    /// spool that the log has not got, everything goes there.
    pub(crate) fn take(
        &self,
        entry: &Entry<'_>,
        kind: Kind,
        lane: u32,
        sequence: u64,
    ) -> Result<At, NotTaken> {
        let partition = entry.partition;
        let Some(spool) = &self.spool else {
            return match self.log.enqueue(entry) {
                Ok(Position { number, .. }) => Ok(At { way: Way::Log, partition, number }),
                Err(rejected) => Err(NotTaken::of(&rejected)),
            };
        };
        if spool.is_active() {
            self.log.fits(entry).map_err(|rejected| NotTaken::of(&rejected))?;
        } else {
            match self.log.enqueue(entry) {
                Ok(Position { number, .. }) => {
                    return Ok(At { way: Way::Log, partition, number });
                }
                Err(rejected @ Rejected::TooLarge { .. }) => return Err(NotTaken::of(&rejected)),
                Err(Rejected::Full | Rejected::Closed(_)) => {}
            }
        }
        let number = spool.push(entry, kind, lane, sequence)?;
        Ok(At { way: Way::Spool, partition, number })
    }

    /// Whether what the log has and is late with is kept at the end all the same.
    pub(super) fn is_kept(&self) -> bool {
        self.spool.as_ref().is_some_and(|spool| spool.is_holding())
    }
}
