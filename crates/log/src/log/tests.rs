use super::Address;

fn kafka(text: &str) -> (Vec<String>, String) {
    match Address::parse(text) {
        Ok(Address::Kafka { brokers, topic }) => (brokers, topic),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn paths_are_embedded_logs() {
    for (text, path) in [
        ("umbra-log", "umbra-log"),
        ("file:umbra-log", "umbra-log"),
        ("file:/var/lib/umbra", "/var/lib/umbra"),
        ("/var/lib/a:b", "/var/lib/a:b"),
        ("rec.mcap", "rec.mcap"),
    ] {
        assert_eq!(Address::parse(text), Ok(Address::File(path.into())), "{text}");
    }
}

#[test]
fn brokers_get_a_port_and_stay_in_order() {
    let (brokers, topic) = kafka("kafka://b,a:9093, [::1],[::1]:1/shop.http_1-x");
    assert_eq!(brokers, ["b:9092", "a:9093", "[::1]:9092", "[::1]:1"]);
    assert_eq!(topic, "shop.http_1-x");
    assert_eq!(kafka("kafka://a,a:9092/t").0, ["a:9092"]);
}

#[test]
fn what_is_wrong_is_said() {
    for (text, about) in [
        ("", "missing"),
        ("file:", "missing"),
        ("http://a/b", "`http`"),
        ("kafka://a:9092", "topic"),
        ("kafka://a:9092/", "topic"),
        ("kafka://a/x/y", "`x/y`"),
        ("kafka://a/..", "`..`"),
        ("kafka:///t", "broker"),
        ("kafka://a:b/t", "`b`"),
        ("kafka://a:0/t", "`0`"),
        ("kafka://::1/t", "broker"),
        ("kafka://a,,b/t", "broker"),
    ] {
        let why = Address::parse(text).expect_err(text);
        assert!(why.contains(about), "{text}: {why}");
    }
}

#[test]
fn an_address_prints_as_it_is_written() {
    for text in ["file:/x/y", "kafka://a:1,b:2/t"] {
        assert_eq!(Address::parse(text).map(|a| a.to_string()), Ok(text.to_owned()));
    }
}
