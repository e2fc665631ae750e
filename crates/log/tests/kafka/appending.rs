//! Topics and appenders: what is refused, what others read, what happens while Kafka
//! is away.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    process::Command,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    message::{Headers, OwnedMessage},
    producer::{BaseProducer, BaseRecord, Producer},
};
use umbra_log::{
    Address, Append, Appender, Entry, Event, Log, LogError, LogOptions, Mode, Rejected, Tail,
    TailOptions, kafka,
};

use crate::broker::{self, DEADLINE, Own, unique};

const TIME_NS: u64 = 1_700_000_000_123_456_789;

fn entry(partition: u32, payload: &[u8]) -> Entry<'_> {
    Entry { partition, time_ns: TIME_NS, key: b"", headers: &[], payload, weight: 1 }
}

/// What another client reads in one partition.
fn read_raw(topic: &str, partition: i32, count: usize) -> Vec<OwnedMessage> {
    let consumer: BaseConsumer =
        broker::config().set("group.id", "raw").create().expect("a client");
    let mut at = TopicPartitionList::new();
    at.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
    consumer.assign(&at).expect("assigned");
    let deadline = Instant::now() + DEADLINE;
    let mut messages = Vec::new();
    while messages.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} came", messages.len());
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            messages.push(message.expect("a message").detach());
        }
    }
    messages
}

/// Bytes that do not compress.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..count).map(next).collect()
}

#[tokio::test]
async fn other_clients_read_key_headers_time_and_value() {
    let topic = unique("others");
    let log = broker::log(&topic, 2).await;
    let appender = log.appender().await.expect("an appender");
    let id: [u8; 16] = [0, 1, 0xff, 0xfe, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, b'\n'];
    let headers: [(&str, &[u8]); 2] = [("umbra-kind", b"request"), ("umbra-id", &id)];
    let full = Entry {
        partition: 1,
        time_ns: TIME_NS,
        key: b"connection 7",
        headers: &headers,
        payload: b"GET / HTTP/1.1",
        weight: 1,
    };
    appender.enqueue(&full).expect("room");
    appender.enqueue(&Entry { time_ns: 5, ..entry(1, b"") }).expect("room");
    appender.flush(DEADLINE).await.expect("durable");
    let messages = read_raw(&topic, 1, 2);
    let first = &messages[0];
    assert_eq!(first.key(), Some(&b"connection 7"[..]));
    assert_eq!(first.payload(), Some(&b"GET / HTTP/1.1"[..]));
    assert_eq!(first.timestamp().to_millis(), Some(1_700_000_000_123));
    let read = first.headers().expect("headers");
    let read: Vec<_> = read.iter().map(|one| (one.key, one.value)).collect();
    assert_eq!(read, [("umbra-kind", Some(&b"request"[..])), ("umbra-id", Some(&id[..]))]);
    let second = &messages[1];
    assert!(second.key().is_none() && second.headers().is_none_or(|headers| headers.count() == 0));
    assert_eq!(second.payload(), Some(&b""[..]), "empty is not absent");
    // Not "now".
    assert_eq!(second.timestamp().to_millis(), Some(1));
    // A second independent client, where there is one.
    let kcat = Command::new("kcat")
        .args(["-C", "-q", "-e", "-b", broker::addresses(), "-t", &topic, "-p", "1"])
        .args(["-o", "beginning", "-c", "1", "-f", "%k|%T|%h|%s"])
        .output();
    if let Ok(output) = kcat {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            text.starts_with("connection 7|1700000000123|umbra-kind=request,umbra-id="),
            "{text}"
        );
        assert!(text.ends_with("|GET / HTTP/1.1"), "{text}");
    }
}

#[tokio::test]
async fn a_null_value_is_delivered_as_nothing() {
    let topic = unique("null");
    let log = broker::log(&topic, 1).await;
    let producer: BaseProducer = broker::config().create().expect("a client");
    let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&topic).partition(0).key(b"k");
    producer.send(record).map_err(|(error, _)| error).expect("room");
    producer.flush(DEADLINE).expect("durable");
    let mut tail = log.tail(TailOptions::default()).await.expect("a tail");
    let delivery = loop {
        let event = tokio::time::timeout(DEADLINE, tail.next()).await.expect("in time");
        if let Event::Delivery(delivery) = event.expect("no error") {
            break delivery;
        }
    };
    assert!(delivery.payload.is_empty());
    delivery.done();
}

#[tokio::test]
async fn brokers_that_do_not_answer_are_named() {
    // One that refuses, and one that accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = silent.local_addr().expect("bound").to_string();
    let refusing = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("bound").to_string()
    };
    for broker in [silent, refusing] {
        let address = Address::Kafka { brokers: vec![broker.clone()], topic: "t".into() };
        let connect_timeout = Duration::from_millis(1500);
        let options = LogOptions { connect_timeout, ..LogOptions::default() };
        let started = Instant::now();
        match Log::open(&address, options, Mode::Create).await {
            Err(LogError::Unreachable(why)) => assert!(why.contains(&broker), "{why}"),
            other => panic!("{other:?}"),
        }
        assert!(started.elapsed() >= connect_timeout / 2, "it was given up early");
        assert!(started.elapsed() < DEADLINE, "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn topics_that_break_a_promise_are_refused() {
    for (setting, value) in [
        ("message.timestamp.type", "LogAppendTime"),
        ("cleanup.policy", "compact"),
        ("cleanup.policy", "compact,delete"),
    ] {
        let topic = unique("refused");
        broker::create_topic(&topic, 1, &[(setting, value)]).await;
        for mode in [Mode::Create, Mode::Existing] {
            match Log::open(&broker::address(&topic), broker::options(1), mode).await {
                Err(LogError::Refused(why)) => {
                    assert!(
                        why.contains(&topic) && why.contains(&format!("{setting}={value}")),
                        "{why}"
                    );
                }
                other => panic!("{setting}={value}: {other:?}"),
            }
        }
    }
    // A side log must keep everything, in one order.
    let topic = unique("side");
    let log = broker::log(&topic, 1).await;
    broker::create_topic(&format!("{topic}.jobs"), 1, &[("retention.ms", "60000")]).await;
    broker::create_topic(&format!("{topic}.dead"), 2, &[("retention.ms", "-1")]).await;
    for (suffix, word) in [("jobs", "retention.ms"), ("dead", "2 partitions")] {
        match log.journal(suffix).await {
            Err(LogError::Refused(why)) => assert!(why.contains(word), "{why}"),
            other => panic!("{suffix}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn properties_that_are_ours_or_unknown_are_refused_with_all_reasons() {
    let options = broker::with(1, &[("acks", "1"), ("no.such.thing", "1"), ("linger.ms", "2")]);
    match Log::open(&broker::address("t"), options, Mode::Create).await {
        Err(LogError::Refused(why)) => {
            assert!(why.contains("acks") && why.contains("no.such.thing"), "{why}");
            assert!(!why.contains("linger"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    assert!(kafka::owned("group.id").is_some() && kafka::owned("linger.ms").is_none());
}

#[tokio::test]
async fn a_topic_is_made_once_however_many_want_it() {
    let topic = unique("race");
    let (one, two) = tokio::join!(broker::log(&topic, 5), broker::log(&topic, 5));
    assert_eq!(one.spans().await.expect("spans").len(), 5);
    assert_eq!(two.spans().await.expect("spans").len(), 5);
    let asked = ResourceSpecifier::Topic(&topic);
    let told = broker::admin().describe_configs([&asked], &AdminOptions::new()).await;
    let told = &told.expect("an answer")[0];
    let told = told.as_ref().expect("settings").entry_map();
    assert_eq!(told["message.timestamp.type"].value.as_deref(), Some("CreateTime"));
    assert_eq!(told["cleanup.policy"].value.as_deref(), Some("delete"));
}

#[tokio::test]
async fn a_topic_is_made_as_told_or_not_at_all() {
    let topic = unique("told");
    let settings = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    };
    let address = broker::address(&topic);
    for (options, word) in [
        (LogOptions { replicas: Some(99), ..broker::options(2) }, "99 replicas"),
        (LogOptions { topic: settings(&[("no.such", "1")]), ..broker::options(2) }, &*topic),
    ] {
        match Log::open(&address, options, Mode::Create).await {
            Err(LogError::Refused(why)) => assert!(why.contains(word), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    let brokers = [broker::addresses().to_owned()];
    let told = settings(&[("retention.ms", "3600000")]);
    let options = LogOptions { replicas: Some(1), topic: told, ..broker::options(2) };
    let log = kafka::KafkaLog::open(&brokers, &topic, options, Mode::Create).await.expect("a log");
    assert_eq!(log.retention(), Some(Duration::from_secs(3600)));
}

#[tokio::test]
async fn batches_stay_below_what_the_topic_takes() {
    let topic = unique("limit");
    broker::create_topic(&topic, 1, &[("max.message.bytes", "100000")]).await;
    let log = broker::log(&topic, 1).await;
    let appender = log.appender().await.expect("an appender");
    let noise = noise(100_000);
    let limit = match appender.enqueue(&entry(0, &noise[..95_000])) {
        Err(Rejected::TooLarge { size: 95_000, limit }) => limit,
        other => panic!("{other:?}"),
    };
    assert!((85_000..=90_000).contains(&limit), "{limit}");
    // Sizes that fill batches in all ways, queued faster than they are sent.
    for round in 0..40 {
        for size in [limit, 1, 30_000, 44_000 + round * 100, 60_000] {
            appender.enqueue(&entry(0, &noise[..size])).expect("room");
        }
    }
    appender.flush(DEADLINE).await.expect("durable");
    assert_eq!(appender.losses(), []);
    assert_eq!(log.spans().await.expect("spans")[0].high, 200);
}

async fn lower_limit(topic: &str, max_message_bytes: &str) {
    lower_limit_at(&broker::admin(), topic, max_message_bytes).await;
}

async fn lower_limit_at(
    admin: &AdminClient<DefaultClientContext>,
    topic: &str,
    max_message_bytes: &str,
) {
    let lower = AlterConfig::new(ResourceSpecifier::Topic(topic))
        .set("max.message.bytes", max_message_bytes);
    let done = admin.alter_configs([&lower], &AdminOptions::new()).await;
    done.expect("altered")[0].as_ref().expect("altered");
}

#[tokio::test]
async fn what_is_refused_for_its_neighbours_is_sent_again_on_its_own() {
    let topic = unique("neighbours");
    // Batches wait long enough for all that is enqueued below to be one.
    let options = broker::with(1, &[("linger.ms", "300"), ("compression.type", "none")]);
    let log = Log::open(&broker::address(&topic), options, Mode::Create).await.expect("a log");
    let appender = log.appender().await.expect("an appender");
    lower_limit(&topic, "10000").await;
    let noise = noise(20_000);
    // The new limit may take a moment to be heeded.
    let deadline = Instant::now() + DEADLINE;
    loop {
        appender.enqueue(&entry(0, &noise)).expect("room");
        appender.flush(DEADLINE).await.expect("durable, or told");
        if !appender.losses().is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "the limit is not heeded");
    }
    let before = log.spans().await.expect("spans")[0].high as usize;
    // Far more than the batch may have; only the twentieth is too large by itself.
    let headers: [(&str, &[u8]); 1] = [("umbra-kind", b"request")];
    let mut large = 0;
    for n in 0..60_u8 {
        let size = if n == 20 { 20_000 } else { 1_000 };
        let payload = [&[n][..], &noise[..size - 1]].concat();
        let one = Entry { key: &[7, n], headers: &headers, weight: 5, ..entry(0, &payload) };
        let position = appender.enqueue(&one).expect("room");
        large = if n == 20 { position.number } else { large };
    }
    appender.flush(DEADLINE).await.expect("durable, or told");
    let losses = appender.losses();
    let told: Vec<_> = losses.iter().map(|one| (one.first, one.last, one.weight)).collect();
    assert_eq!(told, [(large, large, 5)], "{losses:?}");
    let read = read_raw(&topic, 0, before + 59).split_off(before);
    let kept: Vec<u8> = (0..60).filter(|n| *n != 20).collect();
    assert_eq!(read.iter().map(|one| one.payload().unwrap()[0]).collect::<Vec<_>>(), kept);
    for one in &read {
        assert_eq!(one.key(), Some(&[7, one.payload().unwrap()[0]][..]));
        assert_eq!(one.timestamp().to_millis(), Some(1_700_000_000_123));
        assert_eq!(one.headers().expect("headers").get(0).value, Some(&b"request"[..]));
        assert_eq!(one.payload().unwrap().len(), 1_000);
    }
    assert_eq!(log.spans().await.expect("spans")[0].high as usize, before + 59, "nothing is twice");
}

#[tokio::test]
async fn what_is_sent_again_waits_for_room_and_is_complete() {
    let topic = unique("room");
    let log = {
        let options = broker::with(1, &[("linger.ms", "50"), ("compression.type", "none")]);
        let options = LogOptions { queue_bytes: 2 << 20, ..options };
        Log::open(&broker::address(&topic), options, Mode::Create).await.expect("a log")
    };
    let appender = log.appender().await.expect("an appender");
    lower_limit(&topic, "20000").await;
    let noise = noise(40_000);
    // Each batch that is refused is a round trip for each of its records.
    let deadline = Instant::now() + 4 * DEADLINE;
    let (mut accepted, mut lost, mut refused) = (0, 0, 0);
    // The appender reads the limit again before long.
    let mut known = false;
    // More than both queues hold, some of it in vain.
    while accepted < 2_500 {
        assert!(Instant::now() < deadline, "{accepted} accepted");
        let vain = accepted % 100 == 99 && !known;
        match appender.enqueue(&entry(0, &noise[..if vain { 40_000 } else { 2_000 }])) {
            Ok(position) => {
                accepted = position.number;
                refused += u64::from(vain);
            }
            Err(Rejected::Full) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(Rejected::TooLarge { .. }) if vain => known = true,
            Err(other) => panic!("{other}"),
        }
        assert!(appender.durable(0) <= accepted);
    }
    // What was refused as a batch goes one by one.
    appender.flush(4 * DEADLINE).await.expect("durable, or told");
    lost += appender.losses().iter().map(|loss| loss.weight).sum::<u64>();
    assert_eq!(appender.durable(0), accepted);
    assert_eq!(log.spans().await.expect("spans")[0].high, accepted - lost);
    // All but those sent before the new limit was heeded, and none of the others.
    assert!(lost <= refused && lost >= refused / 2, "{lost} of {refused}");
}

#[tokio::test]
async fn what_the_broker_refuses_is_told_as_a_loss() {
    let topic = unique("lowered");
    let log = broker::log(&topic, 1).await;
    let appender = log.appender().await.expect("an appender");
    appender.enqueue(&entry(0, b"before")).expect("room");
    appender.flush(DEADLINE).await.expect("durable");
    lower_limit(&topic, "1000").await;
    let noise = noise(5000);
    // The new limit may take a moment to be heeded.
    let deadline = Instant::now() + DEADLINE;
    let loss = loop {
        let large = Entry { weight: 3, ..entry(0, &noise) };
        let position = appender.enqueue(&large).expect("room");
        appender.flush(DEADLINE).await.expect("durable, or told");
        assert!(appender.durable(0) >= position.number);
        let losses = appender.losses();
        if let [loss] = &losses[..] {
            assert_eq!((loss.first, loss.last), (position.number, position.number));
            break loss.clone();
        }
        assert!(losses.is_empty() && Instant::now() < deadline, "{losses:?}");
    };
    assert_eq!((loss.partition, loss.weight, loss.reason), (0, 3, "too_large"));
    appender.enqueue(&entry(0, b"after")).expect("it goes on");
    appender.flush(DEADLINE).await.expect("durable");
    assert_eq!(appender.losses(), []);
}

#[tokio::test]
async fn while_kafka_is_away_nothing_waits_and_nothing_is_lost() {
    let own = Own::start();
    let address = own.address("away");
    let options = LogOptions { queue_bytes: 1 << 20, ..broker::options(2) };
    let log = Log::open(&address, options, Mode::Create).await.expect("a log");
    let appender = log.appender().await.expect("an appender");
    appender.enqueue(&entry(0, b"first")).expect("room");
    appender.flush(DEADLINE).await.expect("durable");
    let group = TailOptions { group: Some("g".into()), ..TailOptions::default() };
    let mut tail = log.tail(group.clone()).await.expect("a tail");
    let mut dropped = log.tail(TailOptions::default()).await.expect("a tail");
    for tail in [&mut tail, &mut dropped] {
        loop {
            let event = tokio::time::timeout(DEADLINE, tail.next()).await.expect("in time");
            if let Event::Delivery(delivery) = event.expect("no error") {
                break delivery.done();
            }
        }
    }
    let shared = shared_appender(&own).await;
    own.freeze();
    two_producers_give_back_what_both_have(&shared).await;
    let payload = noise(10_000);
    let (mut accepted, started) = (0, Instant::now());
    loop {
        match appender.enqueue(&entry(1, &payload)) {
            Ok(position) => accepted = position.number,
            Err(Rejected::Full) => break,
            Err(other) => panic!("{other}"),
        }
        assert!(accepted < 1000, "the queue has no bound");
    }
    // A frozen broker answers after minutes, if at all.
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(accepted >= 90, "{accepted} of 1 MiB");
    match appender.flush(Duration::from_millis(300)).await {
        Err(LogError::Deadline(why)) => assert!(why.contains(own.addresses()), "{why}"),
        other => panic!("{other:?}"),
    }
    let started = Instant::now();
    drop(dropped);
    assert!(started.elapsed() < Duration::from_secs(1), "a drop waits for the brokers");
    match tail.close(Duration::from_millis(500)).await {
        Err(LogError::Deadline(_)) => {}
        other => panic!("{other:?}"),
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    own.thaw();
    appender.flush(DEADLINE).await.expect("durable");
    assert_eq!(appender.losses(), []);
    let spans = log.spans().await.expect("spans");
    assert_eq!((spans[0].high, spans[1].high), (1, accepted));
}

/// Of two producers, each with a record that is durable.
async fn shared_appender(own: &Own) -> Appender {
    let options = LogOptions { producers: 2, ..broker::options(2) };
    let log = Log::open(&own.address("shared"), options, Mode::Create).await.expect("a log");
    let appender = log.appender().await.expect("an appender");
    appender.enqueue(&entry(0, b"first")).expect("room");
    appender.enqueue(&entry(1, b"first")).expect("room");
    appender.flush(DEADLINE).await.expect("durable");
    assert_eq!([appender.durable(0), appender.durable(1)], [1, 1]);
    appender
}

async fn two_producers_give_back_what_both_have(appender: &Appender) {
    for _ in 0..10 {
        appender.enqueue(&entry(0, b"even")).expect("room");
        appender.enqueue(&entry(1, b"odd")).expect("room");
    }
    match appender.flush(Duration::from_millis(300)).await {
        Err(LogError::Deadline(why)) => assert!(why.starts_with("20 records"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert!(appender.waiting() >= Duration::from_millis(300), "{:?}", appender.waiting());
    let returned = appender.take_back(Duration::from_secs(6));
    let positions: Vec<_> =
        returned.iter().map(|one| (one.position.partition, one.position.number)).collect();
    let all: Vec<_> = (0..2).flat_map(|at| (2..=11).map(move |number| (at, number))).collect();
    assert_eq!(positions, all);
    let full = appender.enqueue(&entry(1, b"late")).expect_err("nothing is taken any more");
    assert_eq!(full, Rejected::Full);
}

#[tokio::test]
async fn what_waits_to_be_sent_again_is_given_back_while_kafka_stands_still() {
    let own = Own::start();
    let settings = [("linger.ms", "100"), ("compression.type", "none")];
    let options = LogOptions { queue_bytes: 16 << 20, ..broker::with(1, &settings) };
    let log = Log::open(&own.address("back"), options, Mode::Create).await.expect("a log");
    let appender = log.appender().await.expect("an appender");
    let mut admin = broker::config();
    let admin = admin.set("bootstrap.servers", own.addresses()).create().expect("an admin client");
    lower_limit_at(&admin, "back", "10000").await;
    let noise = noise(20_000);
    let deadline = Instant::now() + DEADLINE;
    while appender.losses().is_empty() {
        appender.enqueue(&entry(0, &noise)).expect("room");
        appender.flush(DEADLINE).await.expect("durable, or told");
        assert!(Instant::now() < deadline, "the limit is not heeded");
    }
    // Refused in batches, far more than the second producer takes at a time.
    let before = appender.durable(0);
    let mut last = before;
    while last < before + 4_000 {
        last = appender.enqueue(&entry(0, &noise[..2_000])).expect("room").number;
    }
    while appender.durable(0) < before + 50 {
        assert!(Instant::now() < deadline, "none is sent again");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    own.freeze();
    let durable = appender.durable(0);
    assert!(durable < last, "all were sent again before the broker stood still");
    let began = Instant::now();
    let returned = appender.take_back(Duration::from_secs(6));
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    let numbers: BTreeSet<u64> = returned.iter().map(|one| one.position.number).collect();
    own.thaw();
    assert_eq!(appender.losses(), []);
    // What came to the broker and what came back are all there is.
    let missing = (durable + 1..=last).filter(|number| !numbers.contains(number)).count() as u64;
    assert_eq!(numbers.last(), Some(&last));
    assert!(log.spans().await.expect("spans")[0].high >= durable - 1 + missing, "{missing}");
    assert!(numbers.len() > 1_000, "{} of {}", numbers.len(), last - durable);
}
