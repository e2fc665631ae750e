use super::*;

fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn topic(replicas: usize, min_insync: usize, hours: Option<u64>) -> Topic {
    Topic {
        partitions: 12,
        max_message_bytes: 1 << 20,
        retention: hours.map(|hours| Duration::from_secs(hours * 3600)),
        replicas,
        min_insync,
        told: true,
    }
}

#[test]
fn what_may_cost_records_is_told_with_a_remedy() {
    assert_eq!(topic(3, 2, Some(168)).concern(), None);
    assert_eq!(topic(5, 3, None).concern(), None);
    for (topic, words) in [
        (topic(1, 1, None), "--replicas 3"),
        (topic(3, 1, None), "set it to 2"),
        (topic(2, 2, None), "set it to 1"),
        (topic(3, 2, Some(1)), "raise it"),
    ] {
        let concern = topic.concern().expect(words);
        assert!(concern.contains(words), "{concern}");
    }
}

#[test]
fn a_new_topic_outlives_a_broker_unless_the_user_wants_otherwise() {
    let wanted = |replicas, pairs: &[(&str, &str)]| Wanted {
        partitions: 1,
        replicas,
        settings: settings(pairs),
    };
    let three = wanted(None, &[]);
    assert_eq!(three.settings(3)["min.insync.replicas"], "2");
    assert!(!three.settings(1).contains_key("min.insync.replicas"));
    assert!(!wanted(Some(2), &[]).settings(3).contains_key("min.insync.replicas"));
    let own = wanted(None, &[("min.insync.replicas", "1"), ("retention.ms", "-1")]);
    assert_eq!(
        own.words(5),
        "1 partition, 3 replicas, cleanup.policy=delete, message.timestamp.type=CreateTime, \
         min.insync.replicas=1, retention.ms=-1"
    );
}

#[test]
fn where_an_existing_topic_differs_is_told() {
    let wanted = Wanted {
        partitions: 6,
        replicas: Some(3),
        settings: settings(&[("min.insync.replicas", "2"), ("retention.ms", "3600000")]),
    };
    assert_eq!(topic(3, 2, Some(1)).differs(&wanted), None, "partitions may be added later");
    let told = topic(1, 1, None).differs(&wanted).expect("it differs");
    for words in ["1 replicas instead of 3", "min.insync.replicas=1", "no limit instead of 3600s"] {
        assert!(told.contains(words), "{told}");
    }
}
