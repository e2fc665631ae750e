//! What only a table on Kafka has to show: that its topic forgets, and what such a topic
//! must be.

use std::time::Duration;

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use umbra_log::LogError;

use crate::broker::{self, DEADLINE, unique};

/// Every value that the brokers still have.
fn values(topic: &str) -> Vec<Vec<u8>> {
    let consumer: BaseConsumer = broker::config()
        .set("group.id", "nobody")
        .set("enable.partition.eof", "true")
        .create()
        .expect("a consumer");
    let mut start = TopicPartitionList::new();
    start.add_partition_offset(topic, 0, Offset::Beginning).expect("a partition");
    consumer.assign(&start).expect("assigned");
    let mut values = Vec::new();
    loop {
        match consumer.poll(DEADLINE).expect("an answer in time") {
            Ok(message) => values.extend(message.payload().map(<[u8]>::to_vec)),
            Err(KafkaError::PartitionEOF(_)) => return values,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_brokers_forget_what_was_removed() {
    let topic = unique("forgets");
    let log = broker::log(&topic, 1).await;
    let table = log.table("keys").await.expect("a table");
    table.put("kept", b"kept").await.expect("put");
    table.put("gone", b"a secret").await.expect("put");
    table.remove(&["gone".to_owned()]).await.expect("removed");
    let keys = format!("{topic}.keys");
    let deadline = tokio::time::Instant::now() + 3 * DEADLINE;
    loop {
        let name = keys.clone();
        let values = tokio::task::spawn_blocking(move || values(&name)).await.expect("read");
        assert!(values.contains(&b"kept".to_vec()), "{values:?}");
        if !values.contains(&b"a secret".to_vec()) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "it is still there: {values:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(table.read_all().await.expect("read").len(), 1);
}

#[tokio::test]
async fn a_topic_that_does_not_forget_is_refused() {
    for (settings, partitions, why) in [
        ([("cleanup.policy", "delete")], 1, "cleanup.policy=delete"),
        ([("cleanup.policy", "compact")], 2, "2 partitions"),
    ] {
        let topic = unique("wrong");
        let log = broker::log(&topic, 1).await;
        broker::create_topic(&format!("{topic}.keys"), partitions, &settings).await;
        let Err(LogError::Refused(message)) = log.table("keys").await else {
            panic!("{why}: not refused")
        };
        assert!(message.contains(why), "{message}");
        let table = log.table_if_any("keys").await.expect("not looked at yet");
        assert!(matches!(table.read_all().await, Err(LogError::Refused(_))));
    }
}
