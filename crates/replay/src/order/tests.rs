use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn connection(id: u64) -> Connection {
    Connection { agent: [1; 16], id }
}

#[test]
fn the_next_goes_when_the_one_before_has_left() {
    let mut table = OrderTable::new(1000, 100);
    let at = connection(7);
    table.enter(at, 0, 10);
    table.enter(at, 1, 11);
    assert!(table.may_go(at, 10));
    assert!(!table.may_go(at, 11));
    assert!(table.may_go(connection(8), 12));
    assert_eq!(table.leave(at, 10), Some(11));
    assert!(table.may_go(at, 11));
    assert_eq!(table.leave(at, 11), None);
    assert!(table.lines.is_empty());
}

#[test]
fn a_request_met_late_takes_its_place() {
    let mut table = OrderTable::new(1000, 100);
    let at = connection(7);
    table.enter(at, 1, 11);
    table.enter(at, 2, 12);
    table.enter(at, 0, 10);
    assert_eq!(table.line(at), [10, 11, 12]);
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn a_line_that_takes_too_much_and_is_held_up_loses_its_order_and_gets_it_back() {
    let mut table = OrderTable::new(100, 100);
    let at = connection(7);
    table.enter(at, 0, 10);
    table.grew(at, 10, 150);
    for second in 0..5 {
        assert_eq!(table.held_up(second * SECOND, |_| true), [], "one alone waits for nobody");
    }
    table.enter(at, 1, 11);
    table.grew(at, 11, 1);
    assert_eq!(table.held_up(5 * SECOND, |_| true), []);
    assert_eq!(table.held_up(6 * SECOND, |_| true), [at]);
    assert!(table.may_go(at, 11));
    table.grew(at, 11, 1);
    assert_eq!(table.held_up(9 * SECOND, |_| true), [], "told once");
    table.leave(at, 10);
    table.leave(at, 11);
    table.enter(at, 2, 12);
    table.enter(at, 3, 13);
    assert!(!table.may_go(at, 13));
}

#[test]
fn a_long_line_that_moves_or_is_not_due_keeps_its_order() {
    let mut table = OrderTable::new(1_000_000, 3);
    let at = connection(7);
    for n in 0..20 {
        table.enter(at, n, n);
        table.grew(at, n, 1);
    }
    for second in 0..5 {
        assert_eq!(table.held_up(second * SECOND, |_| false), [], "nobody waits yet");
    }
    for first in 0..10 {
        assert_eq!(table.held_up((5 + first) * SECOND, |_| true), [], "each is another");
        table.leave(at, first);
    }
    assert_eq!(table.held_up(15 * SECOND, |_| true), []);
    assert_eq!(table.held_up(16 * SECOND, |_| true), [at]);
}

#[test]
fn leaving_from_the_middle_wakes_nobody() {
    let mut table = OrderTable::new(1000, 100);
    let at = connection(7);
    for n in 0..3 {
        table.enter(at, n, n);
    }
    assert_eq!(table.leave(at, 1), None);
    assert_eq!(table.leave(at, 0), Some(2));
}

proptest! {
    /// Whatever is interleaved, each connection's requests go one at a time and in
    /// order, and all of them go.
    #[test]
    fn each_connection_goes_one_at_a_time_in_order(arrivals in prop::collection::vec(0u64..5, 1..80), picks in prop::collection::vec(any::<prop::sample::Index>(), 200)) {
        let mut table = OrderTable::new(usize::MAX, usize::MAX);
        let mut numbers = HashMap::<u64, u64>::new();
        let mut todo: Vec<(u64, u64, Ticket)> = Vec::new();
        for (ticket, id) in arrivals.iter().enumerate() {
            let number = numbers.entry(*id).or_default();
            table.enter(connection(*id), *number, ticket as u64);
            todo.push((*id, *number, ticket as u64));
            *number += 1;
        }
        let mut last = HashMap::<u64, u64>::new();
        for pick in picks.iter().cycle() {
            if todo.is_empty() {
                break;
            }
            let free: Vec<usize> = (0..todo.len())
                .filter(|i| table.may_go(connection(todo[*i].0), todo[*i].2))
                .collect();
            prop_assert!(!free.is_empty());
            let (id, number, ticket) = todo.remove(free[pick.index(free.len())]);
            prop_assert_eq!(number, last.get(&id).map_or(0, |n| n + 1));
            last.insert(id, number);
            table.leave(connection(id), ticket);
        }
        prop_assert!(table.lines.is_empty());
    }
}

#[test]
fn a_line_is_a_connections_or_a_keys() {
    let agent = *b"agent-id-of-16-b";
    let request = pb::Request {
        id: b"request-id-16-by".to_vec().into(),
        connection: 7,
        number: 3,
        start_ns: 99,
        version: pb::Version::Http11.into(),
        ..pb::Request::default()
    };
    let http2 = pb::Request { version: pb::Version::Http2.into(), ..request.clone() };
    let own = [&agent[8..], &7u64.to_be_bytes()].concat();
    let connection = Connection { agent, id: 7 };
    assert_eq!(Connection::of(agent, &own, &request), Some((connection, 3)));
    assert_eq!(Connection::of(agent, &own, &http2), None);
    // Keys of records that agents did not write say nothing.
    assert_eq!(Connection::of(agent, b"k", &request), Some((connection, 3)));
    // A key for each request, and one of a client, over whatever version.
    assert_eq!(Connection::of(agent, &request.id, &request), None);
    let client = Connection { agent: *b"hmac-of-a-client", id: u64::MAX };
    assert_eq!(Connection::of(agent, &client.agent, &request), Some((client, 99)));
    assert_eq!(Connection::of(agent, &client.agent, &http2), Some((client, 99)));
}
