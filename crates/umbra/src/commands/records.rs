//! Reads the records of a log for the `log` commands: all partitions, without a
//! consumer group, within a window by capture time.

use std::collections::{BTreeMap, BTreeSet};

use umbra_log::{Event, Log, LogError, LogTail, Span, Start, Tail, TailOptions};
use umbra_record::{decode, pb};

/// One thing read.
pub(crate) enum Item {
    /// A record, with its partition and the bytes it takes.
    Record(u32, usize, Box<pb::Record>),
    /// Bytes that are no record: where, and why.
    Unreadable(u32, u64, String),
    /// Offsets that should be there and are not.
    Missing(u32, u64, u64, String),
}

/// A reader of a log as it is now, or of what comes from now on.
pub(crate) struct Records {
    tail: LogTail,
    /// Where each partition ended when it was opened; empty when following.
    ends: BTreeMap<u32, u64>,
    open: BTreeSet<u32>,
}

impl Records {
    /// Opens a reader. `from_ns` skips what is certainly older.
    pub(crate) async fn open(
        log: &Log,
        from_ns: Option<u64>,
        follow: bool,
    ) -> Result<Self, LogError> {
        let spans = log.spans().await?;
        let start = match (follow, from_ns) {
            (true, _) => Start::Latest,
            (false, None) => Start::Earliest,
            (false, Some(from)) => Start::At(log.offsets_for_time(from).await?),
        };
        let starts =
            if let Start::At(offsets) = &start { offsets.clone() } else { BTreeMap::new() };
        let begins = |span: &Span| starts.get(&span.partition).copied().unwrap_or(span.low);
        let open = spans.iter().filter(|s| begins(s) < s.high).map(|s| s.partition).collect();
        let ends = match follow {
            true => BTreeMap::new(),
            false => spans.iter().map(|s| (s.partition, s.high)).collect(),
        };
        let options = TailOptions {
            group: None,
            instance: None,
            start,
            read_ahead_bytes: 32 << 20,
            read_ahead_records: 16 << 10,
        };
        let tail = log.tail(options).await?;
        Ok(Self { tail, ends, open })
    }

    /// The next item; `None` at the end of what was there when it was opened.
    pub(crate) async fn next(&mut self) -> Result<Option<Item>, LogError> {
        loop {
            if !self.ends.is_empty() && self.open.is_empty() {
                return Ok(None);
            }
            match self.tail.next().await? {
                Event::Delivery(delivery) | Event::SetAside(delivery) => {
                    let (partition, offset) = (delivery.partition, delivery.offset);
                    let payload = delivery.payload.clone();
                    delivery.done();
                    self.passed(partition, offset + 1);
                    if self.ends.get(&partition).is_some_and(|end| offset >= *end) {
                        continue;
                    }
                    let size = payload.len();
                    return Ok(Some(match decode::decode(payload) {
                        Ok(record) => Item::Record(partition, size, Box::new(record)),
                        Err(error) => Item::Unreadable(partition, offset, error.to_string()),
                    }));
                }
                Event::CaughtUp { partition, offset } => self.passed(partition, offset),
                Event::Missing { partition, from, to, reason } => {
                    self.passed(partition, to);
                    return Ok(Some(Item::Missing(partition, from, to, reason)));
                }
                Event::Assigned(_) | Event::Revoked(_) => {}
            }
        }
    }

    fn passed(&mut self, partition: u32, next: u64) {
        if self.ends.get(&partition).is_some_and(|end| next >= *end) && self.open.remove(&partition)
        {
            self.tail.finish(partition);
        }
    }
}
