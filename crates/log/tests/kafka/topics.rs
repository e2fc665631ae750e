//! Topics made by others and by us, on as many brokers as there are: what one broker
//! knows at once, another learns a moment later.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::admin::{AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use umbra_log::{Address, Log, LogError, LogOptions, Mode};

use crate::broker::{self, unique};

fn brokers() -> Vec<String> {
    broker::addresses().split(',').map(str::to_owned).collect()
}

/// The topic, asked of the brokers in turn.
fn at(topic: &str, turn: usize) -> Address {
    let mut brokers = brokers();
    let first = turn % brokers.len();
    brokers.rotate_left(first);
    Address::Kafka { brokers, topic: topic.to_owned() }
}

async fn setting(topic: &str, key: &str) -> Option<String> {
    let asked = [&ResourceSpecifier::Topic(topic)];
    let told = broker::admin().describe_configs(asked, &AdminOptions::new()).await;
    let told = told.expect("an answer").remove(0).expect("known");
    told.get(key)?.value.clone()
}

#[tokio::test]
async fn settings_are_right_as_soon_as_another_client_has_made_the_topic() {
    let (admin, replicas) = (broker::admin(), brokers().len().min(3) as i32);
    for round in 0..30_u32 {
        let topic = unique("fresh");
        let retention = (3_600_000 + round).to_string();
        let kind = if round % 3 == 0 { "LogAppendTime" } else { "CreateTime" };
        let new = NewTopic::new(&topic, 2, TopicReplication::Fixed(replicas))
            .set("retention.ms", &retention)
            .set("message.timestamp.type", kind);
        let made = admin.create_topics([&new], &AdminOptions::new()).await.expect("an answer");
        made[0].as_ref().expect("made");
        // Not waiting for any broker to have heard of it.
        let wanted = broker::options(2);
        let log = Log::open(&at(&topic, round as usize), wanted, Mode::Create).await;
        match (kind, log) {
            ("CreateTime", Ok(Log::Kafka(log))) => {
                let read = Duration::from_millis(3_600_000 + u64::from(round));
                assert_eq!(log.retention(), Some(read), "round {round}");
            }
            ("LogAppendTime", Err(LogError::Refused(why))) => {
                assert!(why.contains("LogAppendTime"), "{why}");
            }
            (_, other) => panic!("round {round}, {kind}: {other:?}"),
        }
    }
}

/// On a cluster a reader may ask a broker that has not yet heard of a topic which another
/// one has just made.
#[tokio::test]
async fn a_side_log_that_a_broker_has_not_heard_of_is_asked_for_again() {
    let topic = unique("unheard");
    let log = Log::open(&at(&topic, 0), broker::options(1), Mode::Create).await.expect("a log");
    let journal = log.journal("jobs").await.expect("a journal");
    let (admin, name) = (broker::admin(), format!("{topic}.jobs"));
    admin.delete_topics(&[&name], &AdminOptions::new()).await.expect("an answer");
    let made_anew = async {
        // Long enough for a question or two; one that comes later is answered at once.
        tokio::time::sleep(Duration::from_millis(300)).await;
        broker::create_topic(&name, 1, &[("retention.ms", "-1")]).await;
    };
    let (read, ()) = tokio::join!(journal.read_from(0), made_anew);
    assert_eq!(read.expect("read"), []);
}

#[tokio::test]
async fn a_topic_of_ours_outlives_a_broker_if_there_are_three() {
    let three = brokers().len() >= 3;
    let topic = unique("ours");
    let told = BTreeMap::from([("retention.ms".to_owned(), "86400000".to_owned())]);
    let options = LogOptions { topic: told, ..broker::options(4) };
    let log = Log::open(&at(&topic, 0), options, Mode::Create).await.expect("a log");
    assert_eq!(log.spans().await.expect("spans").len(), 4);
    assert_eq!(setting(&topic, "retention.ms").await.as_deref(), Some("86400000"));
    let min_insync = if three { "2" } else { "1" };
    for name in [topic.clone(), format!("{topic}.jobs")] {
        if name != topic {
            log.journal("jobs").await.expect("a journal");
        }
        assert_eq!(setting(&name, "min.insync.replicas").await.as_deref(), Some(min_insync));
    }
    assert_eq!(setting(&format!("{topic}.jobs"), "retention.ms").await.as_deref(), Some("-1"));
}
