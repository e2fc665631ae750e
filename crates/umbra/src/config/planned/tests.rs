use std::collections::BTreeMap;

use super::*;
use crate::settings::{Parsed, parse};

fn settings(flags: &str) -> Vec<(String, Vec<String>)> {
    let args = format!("umbra|replay|{flags}").split('|').map(str::to_owned).collect();
    let Parsed::Run(mut settings) = parse(args, &BTreeMap::new()).unwrap() else { panic!() };
    let config = crate::config::replay(&mut settings, Duration::from_secs(1)).unwrap();
    settings.check().unwrap();
    config.settings
}

#[track_caller]
fn same(one: &str, other: &str) {
    let with = |flags: &str| settings(&format!("--target|http://a|{flags}"));
    assert_eq!(with(one), with(other));
}

#[track_caller]
fn differ(one: &str, other: &str) {
    let with = |flags: &str| settings(&format!("--target|http://a|{flags}"));
    assert_ne!(with(one), with(other));
}

#[test]
fn what_means_the_same_is_the_same() {
    same("--rate|100", "--rate|100/s");
    same("--rate|100", "--rate|6000/m");
    same("--speed|2", "--speed|2.0x");
    same("--speed|1|--order|connection|--loop|1", "--grace|1m");
    same("--stages|5m:100,1h:6000/m", "--stages|300s:100/s, 60m:100");
    same("--rate|max|--order|free", "--rate|max");
    same("--late|skip:1500ms", "--late|skip:1.5s");
    same("--from|2026-11-22T10:00:00Z", "--from|2026-11-22T11:00:00+01:00");
    same("--method|GET|--method|PUT", "--method|PUT|--method|GET");
    same("--percent|10", "--percent|10.0%");
    same("--timeout|3s|--concurrency|7", "--timeout|4s");
    // The same command line goes on, although its times would mean others now.
    same("--from|-2h|--to|-1h", "--from|-2h|--to|-1h");
}

#[test]
fn what_means_something_else_differs() {
    differ("--rate|100", "--rate|100/m");
    differ("--rate|100", "--speed|100");
    differ("--from|-2h", "--from|-3h");
    differ("--limit|10", "--limit|100");
    differ("--writes|skip", "--writes|send");
    differ("--method|GET", "--skip-method|GET");
    differ("--order|free", "--order|connection");
    differ("--job|j|--set-header|a: 1", "--job|j|--set-header|a: 2");
    differ("--target|http://b", "--target|http://c");
    differ("--http1", "--http2");
    differ("--http1", "--grace|60s");
    differ("--unseal|no", "--unseal|yes");
    differ("--sealed|omit", "--sealed|stop");
}

#[test]
fn a_target_is_the_same_however_its_options_are_said() {
    let one = settings("--target|v2=HTTP://a:80,percent=5.0|--http2|--remove-header|X-A");
    let other = settings("--target|v2=http://a:80/,http2,remove-header=x-a|--target-percent|5%");
    assert_eq!(one, other);
}

#[test]
fn secrets_are_not_stored() {
    let flags = "--target|v2=http://a,set-header=x-key:hunter2|\
        --target|v3=http://b,set-header=x-key:hunter2|--set-header|Authorization: Bearer hunter2";
    let stored = |job: &str| settings(&format!("--job|{job}|{flags}"));
    let text = format!("{:?}", stored("one"));
    assert!(!text.contains("hunter2"), "{text}");
    assert!(text.contains("set-header=authorization:scrypt-"), "{text}");
    // A fast hash can be tried, and one of few bytes computed back.
    let fast = u128::from_be_bytes(umbra_record::hash::of(b"hunter2"));
    assert!(!text.contains(&format!("{fast:032x}")), "{text}");
    // Replicas come to the same; other jobs, headers and targets to something else.
    assert_eq!(stored("one"), stored("one"));
    let tags = |stored: &[(String, Vec<String>)]| -> std::collections::BTreeSet<String> {
        let text = format!("{stored:?}");
        text.split("scrypt-").skip(1).map(|tag| tag[..32].to_owned()).collect()
    };
    let (one, other) = (tags(&stored("one")), tags(&stored("other")));
    assert_eq!((one.len(), other.len()), (4, 4), "{text}");
    assert!(one.is_disjoint(&other));
}
