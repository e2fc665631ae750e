//! Clients that share nothing with the product read the topic: kcat, and a consumer
//! in Python with the checked-in proto. Key, headers, timestamp and value are as
//! docs/format.md says.

use std::{path::PathBuf, process::Command};

use serde_json::Value;

use crate::support::{client::Client, httpbin::venv, logs::TestLog, nginx::Nginx, process::Umbra};

fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// The brokers and the topic.
fn parts(log: &TestLog) -> (String, String) {
    let url = log.arg();
    let (brokers, topic) = url.strip_prefix("kafka://").unwrap().split_once('/').unwrap();
    (brokers.to_owned(), topic.to_owned())
}

fn python(log: &TestLog) -> Vec<Value> {
    let (brokers, topic) = parts(log);
    let output = Command::new(venv().join("bin/python"))
        .arg(repository("tests/clients/read.py"))
        .args([&brokers, &topic])
        .arg(repository("crates/record/src/pb/record.fds"))
        .output()
        .unwrap_or_else(|e| panic!("python: {e}: run scripts/test"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The bytes of base64, in hex.
fn hex(base64: &Value) -> String {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut hex) = (0_u32, 0, String::new());
    for byte in base64.as_str().unwrap_or_default().bytes().filter(|byte| *byte != b'=') {
        bits = bits << 6 | digits.iter().position(|digit| *digit == byte).unwrap() as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            hex.push_str(&format!("{:02x}", bits >> count & 0xFF));
        }
    }
    hex
}

fn text(base64: &Value) -> String {
    let hex = hex(base64);
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    String::from_utf8((0..hex.len()).step_by(2).map(byte).collect()).unwrap()
}

#[test]
fn kcat_and_python_read_what_the_documentation_says() {
    let log = TestLog::kafka("clients");
    let upstream = Nginx::start("location / { return 200 answer; }");
    let agent = Umbra::agent(&log, upstream.address).flag("partitions", "3").start();
    let mut client = Client::connect(agent.listen());
    for number in 0..3 {
        let body = format!("body {number}");
        client.call(
            format!(
                "POST /read/{number}?q=1 HTTP/1.1\r\nHost: shop.example\r\nX-Odd: \u{e4}\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        );
    }
    drop(client);
    assert_eq!(agent.stop().code, Some(0));

    let all = python(&log);
    let of = |kind: &str| -> Vec<&Value> {
        all.iter().filter(|one| !one["record"][kind].is_null()).collect()
    };
    let cat = Umbra::new("log cat").arg(log.arg()).flag("output", "json").run();
    let ours: Vec<Value> =
        cat.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((of("request").len(), of("response").len(), ours.len()), (3, 3, 3), "{all:#?}");
    for (number, one) in of("request").into_iter().enumerate() {
        let request = &one["record"]["request"];
        assert_eq!(text(&request["method"]), "POST");
        assert_eq!(text(&request["path"]), format!("/read/{number}"));
        assert_eq!(text(&request["query"]), "q=1");
        assert_eq!(text(&request["body"]), format!("body {number}"));
        let headers = request["headers"].as_array().unwrap();
        let names: Vec<String> = headers.iter().map(|one| text(&one["name"])).collect();
        assert_eq!(names, ["Host", "X-Odd", "Content-Length"]);
        assert_eq!(text(&headers[1]["value"]), "\u{e4}");

        // Outside of the value.
        let id = hex(&request["id"]);
        assert_eq!(
            one["headers"]["umbra-kind"],
            "request".bytes().map(|b| format!("{b:02x}")).collect::<String>()
        );
        assert_eq!(one["headers"]["umbra-id"], id.as_str());
        assert_eq!(one["key"], hex(&one["record"]["key"]).as_str());
        assert_eq!(one["key"].as_str().unwrap().len(), 32, "16 bytes");
        assert_eq!(one["timestamp_kind"], 1, "CreateTime");
        let start_ns: u64 = request["start_ns"].as_str().unwrap().parse().unwrap();
        assert_eq!(one["timestamp"], start_ns / 1_000_000);
        assert_eq!(ours[number]["id"].as_str().unwrap().replace('-', ""), id);

        // The answer follows, in the same partition and under the same key.
        let answer = of("response")[number];
        assert_eq!(hex(&answer["record"]["response"]["id"]), id);
        assert_eq!(answer["record"]["response"]["status"], 200);
        assert_eq!(answer["headers"]["umbra-id"], id.as_str());
        assert_eq!((&answer["partition"], &answer["key"]), (&one["partition"], &one["key"]));
        assert!(answer["offset"].as_u64() > one["offset"].as_u64());
    }
    let last = of("mark").into_iter().filter(|one| one["record"]["mark"]["final"] == true);
    assert!(last.count() >= 3, "each partition ends with a Mark");

    // kcat sees the same, without decoding anything.
    let (brokers, topic) = parts(&log);
    let seen = Command::new("kcat")
        .args(["-b", &brokers, "-t", &topic, "-C", "-q", "-e", "-o", "beginning"])
        .args(["-f", "%p %o %T %K %S %h\n"])
        .output()
        .expect("kcat: run scripts/test");
    let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
    for one in of("request") {
        let begin = format!("{} {} {} 16 ", one["partition"], one["offset"], one["timestamp"]);
        let line = seen.lines().find(|line| line.starts_with(&begin));
        let line = line.unwrap_or_else(|| panic!("no line `{begin}` in\n{seen}"));
        assert!(line.contains("umbra-kind=request,umbra-id="), "{line}");
    }
}
