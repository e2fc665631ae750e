//! kcat, a client of Kafka that shares nothing with the product: puts any bytes into
//! a partition, reads them back, and tells who leads and follows.

use std::process::{Command, Output};

use serde_json::Value;

/// A record as it lies in a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    /// Empty: a null value, too.
    pub(crate) value: Vec<u8>,
}

/// What is said of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leadership {
    pub(crate) partition: u32,
    /// -1: nobody leads it.
    pub(crate) leader: i64,
    pub(crate) replicas: usize,
    pub(crate) in_sync: usize,
}

/// The brokers and the topic of a `kafka://` URL.
#[track_caller]
pub(crate) fn parts(log: &str) -> (String, String) {
    let rest = log.strip_prefix("kafka://").expect("the log is on Kafka");
    let (brokers, topic) = rest.split_once('/').unwrap();
    (brokers.to_owned(), topic.to_owned())
}

fn run(log: &str, args: &[&str]) -> Output {
    let (brokers, topic) = parts(log);
    let mut command = Command::new("kcat");
    command.args(["-b", &brokers, "-t", &topic, "-q", "-m", "30"]).args(args);
    command.output().unwrap_or_else(|e| panic!("kcat: {e}: run scripts/test"))
}

#[track_caller]
fn succeed(log: &str, args: &[&str]) -> Vec<u8> {
    let output = run(log, args);
    assert!(output.status.success(), "kcat {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Appends one record with these bytes, or a null value.
#[track_caller]
pub(crate) fn produce(log: &str, partition: u32, value: Option<&[u8]>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("value");
    // A whole file is one value; a line with a key and nothing else is a null one.
    std::fs::write(&file, value.unwrap_or(b"key:\n")).unwrap();
    let (file, partition) = (file.to_str().unwrap(), partition.to_string());
    let args: &[&str] = match value {
        Some(_) => &["-P", "-p", &partition, file],
        None => &["-P", "-p", &partition, "-Z", "-K:", "-l", file],
    };
    succeed(log, args);
}

/// All records of the topic.
#[track_caller]
pub(crate) fn consume(log: &str) -> Vec<Raw> {
    let all = succeed(log, &["-C", "-o", "beginning", "-e", "-f", "%p %o %S\n%s\n"]);
    let mut records = Vec::new();
    let mut rest = all.as_slice();
    while let Some(end) = rest.iter().position(|b| *b == b'\n') {
        let head = std::str::from_utf8(&rest[..end]).unwrap();
        let numbers: Vec<i64> = head.split(' ').map(|n| n.parse().unwrap()).collect();
        let length = usize::try_from(numbers[2]).unwrap_or(0);
        rest = &rest[end + 1..];
        records.push(Raw {
            partition: numbers[0] as u32,
            offset: numbers[1] as u64,
            value: rest[..length].to_vec(),
        });
        rest = &rest[length + 1..];
    }
    records
}

/// Who leads each partition, and who has caught up; `None`: nobody answers.
pub(crate) fn leadership(log: &str) -> Option<Vec<Leadership>> {
    let (_, topic) = parts(log);
    let output = run(log, &["-L", "-J"]);
    let all: Value = serde_json::from_slice(&output.stdout).ok()?;
    let topic = all["topics"].as_array()?.iter().find(|one| one["topic"] == topic.as_str())?;
    let count = |list: &Value| list.as_array().map_or(0, Vec::len);
    let partitions = topic["partitions"].as_array()?.iter().map(|one| Leadership {
        partition: one["partition"].as_u64().unwrap_or(0) as u32,
        leader: one["leader"].as_i64().unwrap_or(-1),
        replicas: count(&one["replicas"]),
        in_sync: count(&one["isrs"]),
    });
    Some(partitions.collect())
}
