use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use bytes::Bytes;

use super::{End, SettleQueue, Settled, Token};
use crate::Delivery;

fn queue() -> (Arc<SettleQueue>, Arc<AtomicU32>) {
    let woken = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&woken);
    let queue = SettleQueue::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    (queue, woken)
}

fn delivery(queue: &Arc<SettleQueue>, offset: u64) -> Delivery {
    let token = Token::new(queue, 7, 4);
    Delivery::new((3, offset), 5, 1, Bytes::from_static(b"text"), token)
}

fn drained(queue: &SettleQueue) -> Vec<Settled> {
    let mut settled = Vec::new();
    queue.drain(&mut settled);
    settled
}

#[test]
fn each_delivery_ends_once() {
    let (queue, _) = queue();
    delivery(&queue, 0).done();
    drop(delivery(&queue, 1));
    delivery(&queue, 2).discard();
    let settled = drained(&queue);
    assert_eq!(settled.len(), 3);
    for (offset, one) in (0..).zip(&settled) {
        assert_eq!((one.partition, one.offset, one.epoch, one.freed), (3, offset, 7, Some(4)));
    }
    assert!(matches!(settled[0].end, End::Done));
    match &settled[1].end {
        End::Returned { time_ns: 5, payload } => assert_eq!(payload, "text"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(settled[2].end, End::Discarded));
    assert!(drained(&queue).is_empty());
}

#[test]
fn what_is_untouched_comes_back_as_it_was() {
    let (queue, _) = queue();
    let mut again = delivery(&queue, 0);
    again.attempt = 2;
    again.untouched();
    match &drained(&queue)[..] {
        [Settled { end: End::Untouched { time_ns: 5, attempt: 2, payload }, freed, .. }] => {
            assert_eq!((&payload[..], *freed), (&b"text"[..], Some(4)));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_uncounted_frees_its_room_once() {
    let (queue, _) = queue();
    for how in [Delivery::done, drop, Delivery::discard, Delivery::untouched] {
        let mut one = delivery(&queue, 0);
        one.uncount();
        one.uncount();
        how(one);
        let settled = drained(&queue);
        assert!(matches!(settled[0].end, End::Uncounted));
        let freed: Vec<_> = settled.iter().map(|one| one.freed).collect();
        assert_eq!(freed, [Some(4), None]);
    }
}

#[test]
fn the_last_chance_is_settled_by_dropping() {
    let (queue, _) = queue();
    let token = Token::new(&queue, 7, 4).last_chance();
    drop(Delivery::new((3, 1), 5, 2, Bytes::new(), token));
    assert!(matches!(drained(&queue)[..], [Settled { end: End::Done, .. }]));
    let token = Token::new(&queue, 7, 4).last_chance();
    Delivery::new((3, 1), 5, 2, Bytes::new(), token).untouched();
    assert!(matches!(drained(&queue)[..], [Settled { end: End::Done, .. }]));
}

#[test]
fn the_owner_is_woken_when_there_is_something_again() {
    let (queue, woken) = queue();
    delivery(&queue, 0).done();
    delivery(&queue, 1).done();
    assert_eq!(woken.load(Ordering::SeqCst), 1);
    assert_eq!(drained(&queue).len(), 2);
    delivery(&queue, 2).done();
    assert_eq!(woken.load(Ordering::SeqCst), 2);
}

#[test]
fn draining_adds_to_what_is_there() {
    let (queue, _) = queue();
    delivery(&queue, 0).done();
    let mut settled = drained(&queue);
    delivery(&queue, 1).done();
    queue.drain(&mut settled);
    assert_eq!(settled.iter().map(|one| one.offset).collect::<Vec<_>>(), [0, 1]);
}
