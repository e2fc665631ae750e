//! Production's answers against the shadow's: planted faults are found and named, and
//! nothing else is.

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::{
    api::{Api, Reply},
    client::Client,
    logs::TestLog,
    process::Umbra,
    wire::Message,
};

/// Path of a request.
fn path(request: &Message) -> &str {
    request.start.split(' ').nth(1).unwrap()
}

/// The number at the end of the path.
fn number(request: &Message) -> u64 {
    path(request).rsplit('/').next().unwrap().parse().unwrap()
}

/// Sends `GET path` for each, over several connections.
fn drive(agent: SocketAddr, paths: &[String]) {
    std::thread::scope(|scope| {
        for chunk in paths.chunks(paths.len().div_ceil(8)) {
            scope.spawn(move || {
                let mut client = Client::connect(agent);
                for path in chunk {
                    let answer =
                        client.call(format!("GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n").as_bytes());
                    assert!(answer.status() >= 200, "{path}");
                }
            });
        }
    });
}

/// A recording of these paths in front of `service`.
fn record(service: &Api, paths: &[String]) -> TestLog {
    let log = TestLog::file();
    record_into(&log, service, paths);
    log
}

fn record_into(log: &TestLog, service: &Api, paths: &[String]) {
    let agent = Umbra::agent(log, service.address).start();
    drive(agent.listen(), paths);
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

fn numbered(endpoint: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("/{endpoint}/{number}")).collect()
}

/// The finding at this endpoint and field.
fn finding<'a>(result: &'a Value, endpoint: &str, field: &str) -> Option<&'a Value> {
    let findings = result["compare"]["findings"].as_array().unwrap();
    findings.iter().find(|one| one["endpoint"] == endpoint && one["field"] == field)
}

#[test]
fn recorded_answers_are_compared_with_the_shadows() {
    let users = |email: &str| {
        let email = email.to_owned();
        move |request: &Message| Reply::json(format!(r#"{{"id":{}{email}}}"#, number(request)))
    };
    let v1 = Api::start(users(r#","email":"a@example.com""#));
    let v2 = Api::start(users(""));
    let log = record(&v1, &numbered("users", 200));

    let replay = |target: &Api, job: &str| {
        Umbra::new("replay")
            .flag("log", log.arg())
            .flag("target", target.url())
            .flag("rate", "max")
            .flag("job", job)
            .flag("compare", "")
            .flag("fail-on", "different")
    };
    let same = replay(&v1, "same").flag("allow-production", "").result();
    assert_eq!(same["compare"]["verdict"], "same", "{same}");
    assert_eq!(same["compare"]["compared"], 200, "{same}");
    assert_eq!(same["compare"]["equal"], 200, "{same}");

    let ended = replay(&v2, "different").flag("output", "json").run();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("the answers are different"), "{}", ended.stderr);
    let different = ended.json();
    assert_eq!(different["compare"]["verdict"], "different", "{different}");
    let found = finding(&different, "GET /users/{id}", "body.email").unwrap();
    assert_eq!(found["kind"], "missing");
    assert_eq!(found["class"], "confirmed");
    assert_eq!(found["b"], 200);
}
