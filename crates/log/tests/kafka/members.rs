//! Static members: those who come back in time keep what they had.

use std::time::Duration;

use umbra_log::{Event, Log, LogError, LogTail, Mode, Tail, TailOptions};

use crate::broker::{self, DEADLINE, unique};

/// The shortest a broker allows.
const SESSION: Duration = Duration::from_secs(6);

async fn log(topic: &str) -> Log {
    let session = SESSION.as_millis().to_string();
    let options = broker::with(4, &[("session.timeout.ms", &session)]);
    Log::open(&broker::address(topic), options, Mode::Create).await.expect("a log")
}

async fn join(log: &Log, group: &str, instance: &str) -> LogTail {
    let options = TailOptions {
        group: Some(group.to_owned()),
        instance: Some(instance.to_owned()),
        ..TailOptions::default()
    };
    log.tail(options).await.expect("a tail")
}

/// What it is assigned, of so many partitions.
async fn assigned(tail: &mut LogTail, partitions: usize) -> Vec<u32> {
    let mut held = Vec::new();
    while held.len() < partitions {
        let event = tokio::time::timeout(DEADLINE, tail.next()).await.expect("in time");
        match event.expect("no error") {
            Event::Assigned(list) => held.extend(list.iter().map(|one| one.partition)),
            Event::Revoked(gone) => held.retain(|one| !gone.contains(one)),
            Event::CaughtUp { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    held.sort_unstable();
    held
}

#[tokio::test]
async fn a_static_member_that_comes_back_in_time_keeps_its_partitions() {
    let topic = unique("static");
    let log = log(&topic).await;
    let group = unique("g");
    let mut first = join(&log, &group, "one").await;
    assigned(&mut first, 4).await;
    let mut second = join(&log, &group, "two").await;
    let (_, held) = tokio::join!(
        async {
            // The first gives two of its four away.
            while !matches!(first.next().await, Ok(Event::Revoked(gone)) if gone.len() == 2) {}
        },
        assigned(&mut second, 2)
    );
    let members = log.group(&group).await.expect("a state").members;
    let mut instances: Vec<_> = members.iter().filter_map(|one| one.instance.as_deref()).collect();
    instances.sort_unstable();
    assert_eq!(instances, ["one", "two"], "{members:?}");
    second.close(DEADLINE).await.expect("closed");
    // It is still counted among the members, and comes back at once.
    let mut back = join(&log, &group, "two").await;
    let again = tokio::time::timeout(SESSION, assigned(&mut back, 2)).await;
    assert_eq!(again.expect("before the session is over"), held);
    // Nothing moved at the other one.
    let moved = tokio::time::timeout(Duration::from_millis(500), async {
        loop {
            match first.next().await.expect("no error") {
                Event::CaughtUp { .. } => {}
                other => return other,
            }
        }
    });
    let moved = moved.await;
    assert!(moved.is_err(), "{moved:?}");
    first.close(DEADLINE).await.expect("closed");
    back.close(DEADLINE).await.expect("closed");
}

#[tokio::test]
async fn a_second_member_of_the_same_instance_ends_the_first() {
    let topic = unique("fenced");
    let log = log(&topic).await;
    let group = unique("g");
    let mut first = join(&log, &group, "same").await;
    assigned(&mut first, 4).await;
    let mut second = join(&log, &group, "same").await;
    let ended = async {
        loop {
            if let Err(error) = first.next().await {
                return error;
            }
        }
    };
    let (error, held) = tokio::join!(
        async { tokio::time::timeout(DEADLINE, ended).await.expect("it is told in time") },
        assigned(&mut second, 4)
    );
    assert_eq!(held, [0, 1, 2, 3]);
    assert!(matches!(&error, LogError::Held(why) if why.contains("`same`")), "{error:?}");
    second.close(DEADLINE).await.expect("closed");
}
