//! Order between requests of one connection, or of one key of their own: the next may
//! go when the one before is settled. A pure table; who is due and who sends is decided elsewhere.

use std::collections::VecDeque;

use umbra_record::pb;

use crate::table::Table;

#[cfg(test)]
mod tests;

/// A request on its way through a pipeline.
pub(crate) type Ticket = u64;

/// What keeps requests in order. A connection as it was captured: unique over all
/// agents. Or, where their records have a key of their own, that key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Connection {
    /// Who captured it, or the key.
    pub agent: [u8; 16],
    pub id: u64,
}

/// The place of a connection's number where there is none: agents count from 1 in each
/// of at most 65535 threads.
const KEYED: u64 = u64::MAX;

impl Connection {
    /// The line of a request, and its place there; none for one that nobody waits for.
    pub(crate) fn of(agent: [u8; 16], key: &[u8], request: &pb::Request) -> Option<(Self, u64)> {
        let own: Option<[u8; 16]> = key.try_into().ok();
        let own = own
            .filter(|key| key[..8] != agent[8..] || key[8..] != request.connection.to_be_bytes());
        match own {
            // A key for each request.
            Some(key) if key[..] == request.id[..] => None,
            // A key's requests may come over many connections, whose numbers say nothing.
            Some(key) => Some((Self { agent: key, id: KEYED }, request.start_ns)),
            // Requests of an HTTP/2 connection ran beside each other: they have no order.
            None if request.version >= pb::Version::Http2 as i32 => None,
            None => Some((Self { agent, id: request.connection }, request.number)),
        }
    }
}

/// A line that takes too much loses its order once the same request has held it up for
/// so long. One that moves is only long.
const HELD_UP_NS: u64 = 1_000_000_000;

/// Who waits for whom.
#[derive(Debug)]
pub(crate) struct OrderTable {
    lines: Table<Connection, Line>,
    /// Lines of more bytes or requests than these: they fill the read-ahead and may
    /// stop everybody. With the first request of each, and since when it holds the
    /// line up.
    crowded: Table<Connection, Option<(Ticket, u64)>>,
    max_bytes: usize,
    max_requests: usize,
}

/// The requests of one connection that are not settled, in their order.
#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Place>,
    bytes: usize,
    lost: bool,
}

impl Line {
    /// A request alone holds nobody up.
    fn is_crowded(&self, max_bytes: usize, max_requests: usize) -> bool {
        self.waiting.len() > 1 && (self.bytes > max_bytes || self.waiting.len() > max_requests)
    }
}

#[derive(Debug, Clone, Copy)]
struct Place {
    number: u64,
    ticket: Ticket,
    bytes: usize,
}

impl OrderTable {
    pub(crate) fn new(max_bytes: usize, max_requests: usize) -> Self {
        Self { lines: Table::default(), crowded: Table::default(), max_bytes, max_requests }
    }

    /// Takes a place in the connection's line, by its number there.
    pub(crate) fn enter(&mut self, at: Connection, number: u64, ticket: Ticket) {
        let line = self.lines.entry(at).or_default();
        // Requests come in order but for those the log has out of order: look for
        // the place from the end.
        let place = line.waiting.iter().rposition(|place| place.number <= number);
        let index = place.map_or(0, |before| before + 1);
        line.waiting.insert(index, Place { number, ticket, bytes: 0 });
    }

    /// A request of the line holds so many bytes more.
    pub(crate) fn grew(&mut self, at: Connection, ticket: Ticket, bytes: usize) {
        let Some(line) = self.lines.get_mut(&at) else { return };
        if let Some(place) = line.waiting.iter_mut().rev().find(|place| place.ticket == ticket) {
            place.bytes += bytes;
            line.bytes += bytes;
        }
        if line.is_crowded(self.max_bytes, self.max_requests) {
            self.crowded.entry(at).or_default();
        }
    }

    /// Crowded lines that one request holds up for too long: they lose their order now.
    /// `is_slow` says whether it is a request that makes those behind it wait; one that is
    /// not due yet does not.
    pub(crate) fn held_up(
        &mut self,
        now_ns: u64,
        is_slow: impl Fn(Ticket) -> bool,
    ) -> Vec<Connection> {
        let (lines, mut lost) = (&mut self.lines, Vec::new());
        self.crowded.retain(|at, first| {
            let Some(line) = lines.get_mut(at) else { return false };
            if line.lost || !line.is_crowded(self.max_bytes, self.max_requests) {
                return false;
            }
            let ticket = line.waiting[0].ticket;
            match *first {
                _ if !is_slow(ticket) => *first = None,
                Some((same, since)) if same == ticket => {
                    if now_ns.saturating_sub(since) < HELD_UP_NS {
                        return true;
                    }
                    line.lost = true;
                    lost.push(*at);
                    return false;
                }
                _ => *first = Some((ticket, now_ns)),
            }
            true
        });
        lost
    }

    /// Whether the request may go as far as order is concerned.
    pub(crate) fn may_go(&self, at: Connection, ticket: Ticket) -> bool {
        self.lines.get(&at).is_none_or(|line| {
            line.lost || line.waiting.front().is_none_or(|place| place.ticket == ticket)
        })
    }

    /// The request is settled, or was never to go. Whoever may go now is returned.
    pub(crate) fn leave(&mut self, at: Connection, ticket: Ticket) -> Option<Ticket> {
        let line = self.lines.get_mut(&at)?;
        let index = line.waiting.iter().position(|place| place.ticket == ticket)?;
        let place = line.waiting.remove(index)?;
        line.bytes -= place.bytes;
        if line.waiting.is_empty() {
            // A connection that lost its order has it again once its line is empty.
            self.lines.remove(&at);
            return None;
        }
        (index == 0).then(|| line.waiting[0].ticket)
    }

    /// Who is first in line.
    pub(crate) fn first(&self, at: Connection) -> Option<Ticket> {
        self.lines.get(&at)?.waiting.front().map(|place| place.ticket)
    }

    /// Gives the order of a connection up. `false`: it had none.
    pub(crate) fn lose(&mut self, at: Connection) -> bool {
        self.lines.get_mut(&at).is_some_and(|line| !std::mem::replace(&mut line.lost, true))
    }

    /// Everybody in the line, first to last.
    pub(crate) fn line(&self, at: Connection) -> Vec<Ticket> {
        let line = self.lines.get(&at);
        line.map(|line| line.waiting.iter().map(|place| place.ticket).collect()).unwrap_or_default()
    }
}
