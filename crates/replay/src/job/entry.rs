//! Entries of the journal as they are read: whoever may write there may write anything,
//! and what cannot be is passed over like an entry of another version. So nobody who
//! reckons with what an entry says has to think of overflows.

use bytes::Buf;
use prost::Message as _;
use umbra_record::pb::{self, job_entry::Entry};

/// More than can be in a log, or can be sent: a million a second for nine years.
const MOST: u64 = 1 << 48;

/// Rates and speeds the other way round are as much too small.
const FASTEST: f64 = 1e9;

/// An entry, unless it does not decode or says what cannot be.
pub(crate) fn decode(bytes: impl Buf) -> Option<pb::JobEntry> {
    let entry = pb::JobEntry::decode(bytes).ok()?;
    entry.entry.as_ref().is_none_or(can_be).then_some(entry)
}

/// What was noted with the progress of a partition, unless it cannot be.
pub(crate) fn decode_note(bytes: impl Buf) -> Option<pb::PartitionNote> {
    let note = pb::PartitionNote::decode(bytes).ok()?;
    let lanes = note.lanes.iter().all(|lane| lane.sequence <= MOST && lane.first <= MOST);
    (lanes && counts(note.counts.as_ref())).then_some(note)
}

fn can_be(entry: &Entry) -> bool {
    let (run, fits) = match entry {
        Entry::Plan(plan) => (plan.run, plan.partitions.iter().all(partition)),
        Entry::Clock(clock) => {
            let numbers = clock.epoch < u32::MAX && clock.rate_position <= MOST;
            (clock.run, numbers && pace(clock.pace.as_ref()))
        }
        Entry::Done(done) => (done.run, counts(done.counts.as_ref())),
        Entry::End(end) => (end.run, true),
        Entry::Left(left) => (left.run, counts(left.counts.as_ref()) && left.rate_position <= MOST),
        Entry::Steer(steer) => (steer.run, action(steer)),
        Entry::Share(share) => (share.run, true),
        Entry::Sign(sign) => (sign.run, sign.rate_position <= MOST),
        Entry::Deleted(_) => (0, true),
    };
    run < u32::MAX && fits
}

fn partition(planned: &pb::PartitionPlan) -> bool {
    planned.start <= MOST && planned.end.unwrap_or(0) <= MOST
}

fn counts(counts: Option<&pb::Counts>) -> bool {
    counts.is_none_or(|counts| {
        let by_name = [&counts.failed, &counts.skipped, &counts.status];
        [counts.read, counts.selected, counts.sent, counts.answered, counts.dead]
            .iter()
            .chain(by_name.into_iter().flat_map(|counts| counts.values()))
            .all(|n| *n <= MOST)
    })
}

fn action(steer: &pb::JobSteer) -> bool {
    match &steer.action {
        Some(pb::job_steer::Action::Pace(told)) => pace(Some(told)),
        Some(pb::job_steer::Action::Paused(_)) | None => true,
    }
}

fn pace(told: Option<&pb::Pace>) -> bool {
    match told.and_then(|told| told.pace) {
        Some(pb::pace::Pace::Speed(factor) | pb::pace::Pace::Rate(factor)) => {
            (FASTEST.recip()..=FASTEST).contains(&factor)
        }
        Some(pb::pace::Pace::Max(_)) | None => true,
    }
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
