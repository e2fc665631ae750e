use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::settle::{End, SettleQueue, Token};

fn delivery(queue: &Arc<SettleQueue>, partition: u32, epoch: u32, offset: u64) -> Delivery {
    Delivery::new((partition, offset), 0, 1, Bytes::new(), Token::new(queue, epoch, 1))
}

fn assigned<const N: usize>(partitions: [(u32, u64); N]) -> Vec<Assigned> {
    let one = |(partition, offset)| Assigned { partition, offset, note: Bytes::new() };
    partitions.map(one).into()
}

/// What comes out, in short.
fn heard(inbox: &Inbox) -> Vec<String> {
    let mut heard = Vec::new();
    while let Some(event) = inbox.state().take() {
        heard.push(match event {
            Ok(Event::Delivery(one)) => format!("{}/{}", one.partition, one.offset),
            Ok(Event::SetAside(one)) => format!("aside {}/{}", one.partition, one.offset),
            Ok(Event::Assigned(list)) => {
                let list: Vec<_> = list.iter().map(|one| (one.partition, one.offset)).collect();
                format!("+{list:?}")
            }
            Ok(Event::Revoked(list)) => format!("-{list:?}"),
            Ok(Event::CaughtUp { partition, offset }) => format!("end {partition}/{offset}"),
            Ok(Event::Missing { partition, .. }) => format!("gap {partition}"),
            Err(error) => error.to_string(),
        });
    }
    heard
}

fn discarded(queue: &SettleQueue) -> Vec<u64> {
    let mut settled = Vec::new();
    assert!(queue.drain(&mut settled).is_empty(), "nothing was noted");
    settled.iter().filter(|one| matches!(one.end, End::Discarded)).map(|one| one.offset).collect()
}

#[test]
fn what_was_not_seen_is_taken_back_and_the_news_comes_first() {
    let (inbox, queue) = (Inbox::default(), SettleQueue::new(|| {}));
    inbox.assigned(1, assigned([(0, 5), (1, 0)]));
    for offset in 5..8 {
        inbox.deliver(1, delivery(&queue, 0, 1, offset), Turn::First);
        inbox.deliver(1, delivery(&queue, 1, 1, offset), Turn::First);
    }
    inbox.tell(1, 0, Event::CaughtUp { partition: 0, offset: 8 });
    // The user has heard of the assignment and taken 5 of partition 0.
    for _ in 0..2 {
        drop(inbox.state().take());
    }
    inbox.deliver(1, delivery(&queue, 0, 1, 5), Turn::Again);
    inbox.revoke(&[(0, 1)].into());
    assert_eq!(discarded(&queue), [6, 7, 5]);
    assert_eq!(heard(&inbox), ["-[0]", "1/5", "1/6", "1/7"]);
}

#[test]
fn partitions_that_came_and_went_unheard_are_not_mentioned() {
    let (inbox, queue) = (Inbox::default(), SettleQueue::new(|| {}));
    inbox.assigned(1, assigned([(0, 0), (1, 0)]));
    inbox.deliver(1, delivery(&queue, 0, 1, 0), Turn::First);
    inbox.revoke(&[(0, 1)].into());
    inbox.assigned(2, assigned([(0, 0)]));
    inbox.deliver(2, delivery(&queue, 0, 2, 0), Turn::First);
    assert_eq!(heard(&inbox), ["+[(1, 0)]", "+[(0, 0)]", "0/0"]);
    // Once heard of, its end is heard of, before it comes again.
    inbox.revoke(&[(0, 2)].into());
    inbox.assigned(3, assigned([(0, 0)]));
    inbox.revoke(&[(0, 3)].into());
    inbox.assigned(4, assigned([(0, 0)]));
    assert_eq!(heard(&inbox), ["-[0]", "+[(0, 0)]"]);
}

#[test]
fn a_partition_is_finished_as_long_as_it_is_assigned() {
    let (inbox, queue) = (Inbox::default(), SettleQueue::new(|| {}));
    inbox.finish(0);
    assert_eq!(inbox.newly_finished(), [0; 0], "it is not there yet");
    inbox.assigned(1, assigned([(0, 0)]));
    inbox.deliver(1, delivery(&queue, 0, 1, 0), Turn::First);
    drop(inbox.state().take());
    inbox.finish(0);
    inbox.deliver(1, delivery(&queue, 0, 1, 1), Turn::First);
    assert_eq!(discarded(&queue), [0, 1]);
    assert_eq!(inbox.newly_finished(), [0]);
    // The next assignment is another matter, also before its news were heard.
    inbox.revoke(&[(0, 1)].into());
    inbox.assigned(2, assigned([(0, 0)]));
    inbox.deliver(2, delivery(&queue, 0, 2, 1), Turn::First);
    assert_eq!(heard(&inbox), ["-[0]", "+[(0, 0)]", "0/1"]);
}

#[test]
fn an_error_is_told_once_and_the_end_for_ever() {
    let inbox = Inbox::default();
    for _ in 0..3 {
        inbox.fail(LogError::Refused("no".into()));
    }
    assert_eq!(heard(&inbox), ["no"]);
    inbox.end(LogError::Unusable("over".into()));
    assert!(matches!(inbox.state().take(), Some(Err(LogError::Unusable(_)))));
    assert!(matches!(inbox.state().take(), Some(Err(LogError::Unusable(_)))));
}
