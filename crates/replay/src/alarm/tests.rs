use std::time::Duration;

use super::*;

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn rings_at_the_time_and_not_before() {
    let time = TimeBase::new();
    let alarm = Alarm::start(time).unwrap();
    let mut bell = alarm.bell();
    for _ in 0..20 {
        let at = time.now() + 3_000_000;
        bell.set(Some(at));
        tokio::time::timeout(SOON, bell.rung()).await.unwrap();
        assert!(time.now() >= at);
    }
}

#[tokio::test]
async fn a_sooner_time_replaces_a_later_one() {
    let time = TimeBase::new();
    let alarm = Alarm::start(time).unwrap();
    let mut bell = alarm.bell();
    bell.set(Some(time.now() + 3_600_000_000_000));
    bell.set(Some(time.now() + 1_000_000));
    tokio::time::timeout(SOON, bell.rung()).await.unwrap();
}

#[tokio::test]
async fn bells_are_independent() {
    let time = TimeBase::new();
    let alarm = Alarm::start(time).unwrap();
    let (mut one, mut other) = (alarm.bell(), alarm.bell());
    one.set(Some(time.now() + 3_600_000_000_000));
    other.set(Some(time.now() + 1_000_000));
    tokio::time::timeout(SOON, other.rung()).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(20), one.rung()).await;
    assert!(early.is_err());
}

#[test]
fn dropping_it_ends_the_thread_while_it_waits() {
    let time = TimeBase::new();
    let alarm = Alarm::start(time).unwrap();
    let mut bell = alarm.bell();
    bell.set(Some(time.now() + 3_600_000_000_000));
    drop(alarm);
}
