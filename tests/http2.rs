//! Real clients of HTTP/2 through the agent: curl, h2load, and gRPC both ways; what was
//! recorded of them, and its replay into shadows of the same kind.

use std::{net::SocketAddr, path::PathBuf, process::Command};

use serde_json::Value;

use crate::support::{logs::TestLog, nginx::Nginx, process::Service, process::Umbra, wait_for};

/// A gRPC server on grpcio.
struct Grpc {
    service: Service,
    address: SocketAddr,
}

fn python(mode: &str) -> Command {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let venv =
        std::env::var_os("UMBRA_TEST_VENV").map_or_else(|| root.join(".cache/venv"), PathBuf::from);
    let mut command = Command::new(venv.join("bin/python"));
    command.arg(root.join("tests/clients/grpc_peer.py")).arg(mode);
    // Loopback is not asked through a proxy.
    for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "grpc_proxy"] {
        command.env_remove(name);
    }
    command
}

impl Grpc {
    #[track_caller]
    fn start() -> Self {
        let (service, port) = Service::start(python("server"), |output| {
            output.split("listening ").nth(1)?.split_whitespace().next()?.parse::<u16>().ok()
        });
        Self { service, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    /// How often it has said this line.
    fn said(&self, line: &str) -> usize {
        self.service.output().lines().filter(|said| *said == line).count()
    }
}

fn output(mut command: Command) -> String {
    let shown = format!("{command:?}");
    let output = command.output().unwrap_or_else(|e| panic!("{shown}: {e}: run scripts/test"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}\n{text}\n{error}");
    text
}

fn requests(log: &TestLog) -> Vec<Value> {
    let cat = Umbra::new("log cat").arg(log.arg()).flag("output", "json").run();
    assert_eq!(cat.code, Some(0), "{}", cat.stderr);
    cat.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn audited(log: &TestLog) {
    let audit = Umbra::new("audit").arg(log.arg()).result();
    assert_eq!((&audit["missing"], &audit["duplicates"]), (&0.into(), &0.into()), "{audit:#}");
}

fn agent(log: &TestLog, upstream: String) -> Umbra {
    Umbra::new("capture")
        .flag("listen", "127.0.0.1:0")
        .flag("upstream", upstream)
        .flag("log", log.arg())
        .flag("output", "json")
}

#[test]
fn curl_speaks_http2_to_the_agent_and_the_request_is_replayed() {
    let log = TestLog::file();
    let upstream = Nginx::start("location / { return 200 answer; }");
    let agent = agent(&log, format!("http://{}", upstream.address)).start();
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--noproxy", "*", "--http2-prior-knowledge", "-w", " %{http_version}"])
        .args(["-d", "name=value", "-H", "x-odd: one", "--connect-to"])
        .arg(format!("shop.example:80:{}", agent.listen()))
        .arg("http://shop.example/buy?now=1");
    assert_eq!(output(curl), "answer 2");
    assert_eq!(agent.stop().code, Some(0));
    let all = requests(&log);
    let [request] = &all[..] else { panic!("{all:#?}") };
    assert_eq!(request["version"], "HTTP/2", "{request:#}");
    assert_eq!((&request["authority"], &request["path"]), (&"shop.example".into(), &"/buy".into()));
    assert_eq!((&request["query"], &request["body"]), (&"now=1".into(), &"name=value".into()));
    assert_eq!(request["response"]["status"], 200);
    audited(&log);
    // It speaks HTTP/1 alone, so that is what it gets.
    let shadow = Nginx::start("location / { return 200 answer; }");
    let result = Umbra::new("replay")
        .flag("target", format!("http://{}", shadow.address))
        .flag("rate", "max")
        .flag("log", log.arg())
        .result();
    let target = result["targets"].as_object().unwrap().values().next().unwrap();
    assert_eq!((&target["sent"], &target["status"]["200"]), (&1.into(), &1.into()), "{result:#}");
    assert_eq!(target["downgraded"], 1, "{result:#}");
}

#[test]
fn h2load_with_many_streams_loses_nothing() {
    let log = TestLog::file();
    let upstream = Nginx::start("location / { return 200 answer; }");
    let agent = agent(&log, format!("http://{}", upstream.address)).start();
    let mut h2load = Command::new("h2load");
    h2load
        .args(["-c", "4", "-m", "100", "-n", "4000"])
        .arg(format!("http://{}/load", agent.listen()));
    let told = output(h2load);
    assert!(
        told.contains("4000 total, 4000 started, 4000 done, 4000 succeeded, 0 failed"),
        "{told}"
    );
    let ended = agent.stop();
    let report = ended.json();
    assert_eq!(
        (&report["requests"], &report["recorded"]),
        (&4000.into(), &4000.into()),
        "{report:#}"
    );
    audited(&log);
}

#[test]
fn grpc_passes_in_all_its_ways_and_is_replayed() {
    let log = TestLog::file();
    let upstream = Grpc::start();
    let agent = agent(&log, format!("h2c://{}", upstream.address)).start();
    let mut client = python("client");
    client.arg(agent.listen().to_string());
    let told: Value = serde_json::from_str(output(client).trim()).unwrap();
    let expected = serde_json::json!({
        "unary": "olleh", "trailer": "5", "large": true,
        "begin": "now", "chat": true,
        "fail": ["FAILED_PRECONDITION", "not so: \u{e4}"],
        "deadline": "DEADLINE_EXCEEDED", "in time": true,
        "cancel": "CANCELLED", "unknown": "UNIMPLEMENTED",
    });
    assert_eq!(told, expected);
    // Both streams that were given up were given up there too.
    wait_for("the server learns of it", || upstream.said("hang ended") == 2);
    assert_eq!(upstream.said("unary 5 True"), 1, "the deadline arrives");
    assert_eq!(agent.stop().code, Some(0));
    audited(&log);

    let all = requests(&log);
    let of = |method: &str| -> &Value {
        let path = format!("/test.Peer/{method}");
        all.iter().find(|one| one["path"] == path.as_str()).unwrap_or_else(|| panic!("{path}"))
    };
    let trailer = |one: &Value, name: &str| -> Option<String> {
        let trailers = one["response"]["trailers"].as_array()?;
        let found = trailers.iter().find(|field| field[0] == name)?;
        Some(found[1].as_str().unwrap().to_owned())
    };
    assert_eq!(all.len(), 7, "{all:#?}");
    assert!(all.iter().all(|one| one["version"] == "HTTP/2"));
    assert_eq!(trailer(of("Unary"), "grpc-status").as_deref(), Some("0"));
    assert_eq!(trailer(of("Unary"), "x-length").as_deref(), Some("5"));
    assert_eq!(of("Chat")["complete"], of("Unary")["complete"]);
    assert_eq!(of("Chat")["response"]["status"], 200);

    // Into another server of the same kind, which gets what can be asked again.
    let shadow = Grpc::start();
    let result = Umbra::new("replay")
        .flag("target", format!("http://{}", shadow.address))
        .flag("http2", "")
        .flag("path", "~^/test.Peer/(Unary|Chat|Fail)$")
        .flag("rate", "max")
        .flag("log", log.arg())
        .result();
    let target = result["targets"].as_object().unwrap().values().next().unwrap();
    assert_eq!((&target["sent"], &target["status"]["200"]), (&4.into(), &4.into()), "{result:#}");
    assert_eq!(
        (shadow.said("unary 5 True"), shadow.said("chat 50"), shadow.said("fail")),
        (1, 1, 1)
    );
}
