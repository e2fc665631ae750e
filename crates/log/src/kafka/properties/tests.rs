use super::*;

fn user(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn all_problems_are_named_and_good_properties_are_none() {
    let found = problems(&user(&[
        ("acks", "0"),
        ("compression.type", "zstd"),
        ("linger.ms", "soon"),
        ("max.poll.interval.ms", "10000"),
        ("sasl.mechanism", "PLAIN"),
        ("security.protocol", "SASL_SSL"),
        ("umbra.magic", "1"),
    ]));
    let named: Vec<&str> =
        found.iter().filter_map(|problem| problem.split([' ', ':']).next()).collect();
    assert_eq!(named, ["acks", "linger.ms", "umbra.magic"], "{found:?}");
}

#[test]
fn a_user_may_tune_but_not_break() {
    let user =
        user(&[("compression.type", "zstd"), ("batch.size", "5000000"), ("linger.ms", "50")]);
    let properties = Properties::new(&["a:1".into(), "b:2".into()], &user, None);
    let config = properties.producer(16 << 20, Limits::of(1_048_588, 16 << 20));
    let get = |key: &str| config.get(key).map(str::to_owned);
    assert_eq!(get("bootstrap.servers").as_deref(), Some("a:1,b:2"));
    assert_eq!(get("compression.type").as_deref(), Some("zstd"));
    assert_eq!(get("linger.ms").as_deref(), Some("50"));
    assert_eq!(get("batch.size").as_deref(), Some("943730"), "below what the topic takes");
    assert_eq!(get("acks").as_deref(), Some("all"));
    assert_eq!(get("queue.buffering.max.kbytes").as_deref(), Some("16384"));
    config.create_native_config().expect("librdkafka knows them all");
    properties.member("g").create_native_config().expect("librdkafka knows them all");
}

#[test]
fn fewer_requests_are_under_way_than_librdkafka_allows_unless_told() {
    let name = "max.in.flight.requests.per.connection";
    let found = |pairs: &[(&str, &str)]| {
        let properties = Properties::new(&["a:1".into()], &user(pairs), None);
        let config = properties.producer(16 << 20, Limits::of(1_048_588, 16 << 20));
        config.create_native_config().expect("librdkafka knows them all").get(name)
    };
    assert_eq!(found(&[]).as_deref(), Ok("4"));
    assert_eq!(found(&[(name, "2")]).as_deref(), Ok("2"));
    assert_eq!(found(&[("max.in.flight", "3")]).as_deref(), Ok("3"));
}

#[test]
fn limits_fit_librdkafka_whatever_the_topic_says() {
    for (topic, queue) in [(1, 1), (500, 1 << 20), (1 << 20, 1 << 10), (2_000_000_000, 1 << 40)] {
        let limits = Limits::of(topic, queue);
        assert!(limits.record <= queue && limits.record <= topic, "{limits:?}");
        let config = Properties::new(&[], &BTreeMap::new(), None).producer(queue, limits);
        config.create_native_config().expect("within its ranges");
    }
}
