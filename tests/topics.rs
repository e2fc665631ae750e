//! The topic of a log: made as the flags say, warned of where it may cost records.

use crate::support::{
    client::get,
    logs::TestLog,
    nginx::Nginx,
    process::Umbra,
    shadow::{Manner, Shadow},
};

#[test]
fn a_topic_is_made_as_told_and_what_may_cost_records_is_warned_of() {
    let log = TestLog::kafka("topic");
    let upstream = Nginx::start("location / { return 200 ok; }");
    let agent = |flags: &[(&str, &str)]| {
        let agent = Umbra::agent(&log, upstream.address);
        flags.iter().fold(agent, |agent, (name, value)| agent.flag(name, value))
    };
    let refused = agent(&[("replicas", "99")]).run();
    assert_eq!(refused.code, Some(69), "{}", refused.stderr);
    for words in ["99 replicas", "--replicas", "CreateTime"] {
        assert!(refused.stderr.contains(words), "no `{words}` in:\n{}", refused.stderr);
    }
    let made = [("partitions", "2"), ("replicas", "1"), ("retain-age", "1h")];
    let more = [("retain-bytes", "64MiB"), ("topic", "max.message.bytes=300000")];
    let running = agent(&[&made[..], &more].concat()).start();
    get(running.listen(), "/one");
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let created = ["2 partitions, 1 replica", "retention.ms=3600000", "retention.bytes=33554432"];
    let warned = ["one replica", "retention.ms keeps records for 3600s only"];
    for words in created.iter().chain(&warned).chain(&["max.message.bytes=300000"]) {
        assert!(ended.stderr.contains(words), "no `{words}` in:\n{}", ended.stderr);
    }

    // It is there now, and stays as it is.
    let running = agent(&[("retain-age", "5d"), ("replicas", "3")]).start();
    let ended = running.stop();
    for words in ["used as it is", "1 replicas instead of 3", "3600s instead of 432000s"] {
        assert!(ended.stderr.contains(words), "no `{words}` in:\n{}", ended.stderr);
    }
    let shadow = Shadow::start(Manner::Answer(200));
    let replay = |from: &str| {
        let replay = Umbra::new("replay").flag("log", log.arg()).flag("from", from);
        replay.flag("speed", "100").flag("target", shadow.url()).flag("grace", "0").run()
    };
    let far = replay("-2h");
    assert_eq!(far.code, Some(0), "{}", far.stderr);
    assert!(far.stderr.contains("keeps records for 3600s only"), "{}", far.stderr);
    let near = replay("-10m");
    assert!(!near.stderr.contains("keeps records"), "{}", near.stderr);
    assert_eq!(shadow.count(), 2);
}
