//! The agent as the target of a real mesh's own mirroring: what it records of a
//! request that Envoy or nginx mirrors equals what an inline agent records of the same
//! request straight from the client, less the differences that docs/mesh.md lists.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{
    api::{Api, Reply},
    client::Client,
    envoy::{self, Envoy, Speaks, cluster, listener},
    logs::TestLog,
    nginx::Nginx,
    process::{Running, Umbra},
    shadow::{Manner, Shadow},
    wait_for,
    wire::Message,
};

/// Requests of all shapes, each with a path of its own: after the method and the path
/// come the rest of the request line, the head and the body.
const SHAPES: &[(&str, &str, &str)] = &[
    ("GET", "/plain", " HTTP/1.1\r\nHost: svc.example:8000\r\nUser-Agent: test\r\n\r\n"),
    ("GET", "/query?a=1&a=2&%20=%zz&&=", " HTTP/1.1\r\nHost: svc.example\r\n\r\n"),
    ("GET", "/a%2Fb/%7Euser/;x=1", " HTTP/1.1\r\nHost: svc.example\r\n\r\n"),
    ("GET", "/names", " HTTP/1.1\r\nHost: svc.example\r\nX-Mixed-Case: Value\r\nx-empty:\r\n\r\n"),
    (
        "GET",
        "/repeated",
        " HTTP/1.1\r\nHost: svc.example\r\nx-many: 1\r\nx-other: 2\r\nx-many: 3\r\nX-Many: a, b\r\n\r\n",
    ),
    ("GET", "/cookies", " HTTP/1.1\r\nHost: svc.example\r\nCookie: a=1; b=2\r\n\r\n"),
    (
        "GET",
        "/traced",
        " HTTP/1.1\r\nHost: svc.example\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
         tracestate: a=b\r\nx-b3-traceid: 463ac35c9f6413ad\r\nx-b3-spanid: a2fb4a1d1a96d312\r\nx-b3-sampled: 1\r\n\r\n",
    ),
    (
        "GET",
        "/known",
        " HTTP/1.1\r\nHost: svc.example\r\nX-Request-Id: 7c6a0e5e-8f6b-4d35-9f0e-7d6cbd0e2a11\r\nX-Forwarded-For: 203.0.113.7, 198.51.100.2\r\nX-Forwarded-Proto: https\r\n\r\n",
    ),
    ("HEAD", "/head", " HTTP/1.1\r\nHost: svc.example\r\n\r\n"),
    ("DELETE", "/item/7", " HTTP/1.1\r\nHost: svc.example\r\nIf-Match: \"x\"\r\n\r\n"),
    ("GET", "/suffix", " HTTP/1.1\r\nHost: is-a-shadow.example:81\r\n\r\n"),
    ("GET", "/really-a-shadow", " HTTP/1.1\r\nHost: orders-shadow\r\n\r\n"),
    ("GET", "/address", " HTTP/1.1\r\nHost: 127.0.0.1:9\r\n\r\n"),
    ("GET", "/address6", " HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n"),
    (
        "POST",
        "/length",
        " HTTP/1.1\r\nHost: svc.example\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"a\":[1,2,3]}",
    ),
    ("POST", "/empty", " HTTP/1.1\r\nHost: svc.example\r\nContent-Length: 0\r\n\r\n"),
    (
        "PUT",
        "/chunked",
        " HTTP/1.1\r\nHost: svc.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    ),
    (
        "POST",
        "/trailers",
        " HTTP/1.1\r\nHost: svc.example\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 7\r\nx-more: 8\r\n\r\n",
    ),
    (
        "POST",
        "/expects",
        " HTTP/1.1\r\nHost: svc.example\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
    ),
    (
        "GET",
        "/hops",
        " HTTP/1.1\r\nHost: svc.example\r\nConnection: keep-alive, x-own\r\nKeep-Alive: timeout=5\r\nx-own: 1\r\nTE: trailers\r\n\r\n",
    ),
];

/// Who mirrors, and how: what docs/mesh.md says it changes for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hop {
    Envoy1,
    Envoy2,
    Nginx,
}

impl Hop {
    /// Fields that do not pass it, or do so in a form of its own.
    fn concerns(self, name: &str) -> bool {
        match name {
            // Of one connection (RFC 9110 section 7.6.1), `x-own` because it says so.
            "connection" | "keep-alive" | "expect" | "transfer-encoding" | "x-own" => true,
            "host" => self == Self::Envoy2,
            "te" => self != Self::Envoy1,
            "trailer" | "content-length" => self == Self::Nginx,
            _ => false,
        }
    }

    /// What it adds to a request that does not have it, and a sink keeps.
    fn adds(self, name: &str) -> bool {
        self != Self::Nginx && matches!(name, "x-request-id" | "x-forwarded-proto")
    }
}

/// What has to be equal in both records, as far as the hop leaves it.
fn comparable(record: &Value, hop: Hop) -> Value {
    let lower = |fields: &Value| -> Vec<(String, Value)> {
        let lines = fields.as_array().unwrap().iter();
        lines.map(|l| (l[0].as_str().unwrap().to_ascii_lowercase(), l[1].clone())).collect()
    };
    let mut fields = lower(&record["headers"]);
    fields.retain(|(name, _)| !hop.concerns(name));
    if hop != Hop::Envoy1 {
        // Lines of one name stand together where the first of them stood; nginx puts
        // its own first.
        let mut order: Vec<_> = fields.iter().map(|(name, _)| name.clone()).collect();
        if hop == Hop::Nginx {
            order.sort();
        }
        fields.sort_by_key(|(name, _)| order.iter().position(|other| other == name));
    }
    let trailers = if hop == Hop::Nginx { vec![] } else { lower(&record["trailers"]) };
    serde_json::json!({
        "method": record["method"], "authority": record["authority"], "query": record["query"],
        "headers": fields, "body": record["body"].as_str().filter(|body| !body.is_empty()),
        "body_length": record["body_length"], "trailers": trailers,
        "complete": record["complete"], "tunnel": record["tunnel"],
    })
}

/// The records of all shapes below `below` must equal those straight from the client.
#[track_caller]
fn assert_like(direct: &Requests, mirrored: &Requests, below: &str, hop: Hop) {
    for (method, target, _) in SHAPES {
        let path = target.split('?').next().unwrap();
        let (sent, came) = (&direct[path], &mirrored[&format!("{below}{path}")]);
        let has = |record: &Value, name: &str| {
            let mut lines = record["headers"].as_array().unwrap().iter();
            lines.any(|line| line[0].as_str().unwrap().eq_ignore_ascii_case(name))
        };
        let mut came = came.clone();
        if let Some(lines) = came["headers"].as_array_mut() {
            lines.retain(|line| {
                let name = line[0].as_str().unwrap();
                has(sent, name) || !hop.adds(name)
            });
        }
        let (sent, came) = (comparable(sent, hop), comparable(&came, hop));
        assert_eq!(came, sent, "{hop:?} {method} {below}{target}");
    }
}

#[test]
fn envoys_mirror_is_recorded_like_the_clients_own_requests() {
    let api = Api::start(|_| Reply::new(200, &[], "ok"));
    let direct = Recording::inline(&api);
    let sink = Recording::sink("envoy", &[]);
    let kept = Recording::sink("envoy", &[("sink-suffix", "keep"), ("sink-original", "")]);
    let front = |name: &str, route: &str, settings: &str| {
        let settings = format!("http_protocol_options: {{enable_trailers: true}}{settings}");
        let routes = format!("[{{match: {{prefix: /}}, route: {{cluster: live, {route}}}}}]");
        listener(name, &routes, &settings)
    };
    let tracing = ", use_remote_address: true, tracing: {random_sampling: {value: 100}, provider: \
         {name: envoy.tracers.opentelemetry, typed_config: {\"@type\": \
         type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig, service_name: front, \
         grpc_service: {envoy_grpc: {cluster_name: live}}}}}";
    const OFF: &str = "disable_shadow_host_suffix_append: true";
    let envoy = Envoy::start(
        &[
            front("h1", "request_mirror_policies: [{cluster: sink1}]", ""),
            front("h2", "request_mirror_policies: [{cluster: sink2}]", ""),
            // Several mirrors of one request, without the suffix.
            front(
                "bare",
                &format!(
                    "request_mirror_policies: [{{cluster: kept1, {OFF}}}, {{cluster: sink1}}]"
                ),
                "",
            ),
            front(
                "named",
                "request_mirror_policies: [{cluster: sink2, host_rewrite_literal: mirror.example}]",
                "",
            ),
            front(
                "moved",
                &format!(
                    "prefix_rewrite: /elsewhere/, host_rewrite_literal: internal.example, \
                     append_x_forwarded_host: false, request_mirror_policies: [{{cluster: kept1, {OFF}}}]"
                ),
                "",
            ),
            front("traced", "request_mirror_policies: [{cluster: sink1}]", tracing),
        ],
        &[
            cluster("live", api.address, Speaks::Http1),
            cluster("sink1", sink.agent.listen(), Speaks::Http1),
            cluster("sink2", sink.agent.listen(), Speaks::Http2),
            cluster("kept1", kept.agent.listen(), Speaks::Http1),
        ],
    );
    direct.send("", direct.agent.listen());
    for name in ["h1", "h2", "bare"] {
        kept.send(&format!("/{name}"), envoy.address(name));
    }
    let one = |to: &str, fields: &str| {
        let request = format!("GET /{to}/one?q HTTP/1.1\r\nHost: svc.example:81\r\n{fields}\r\n");
        assert_eq!(Client::connect(envoy.address(to)).call(request.as_bytes()).status(), 200);
    };
    one("named", "");
    one("moved", "");
    const PARENT: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    one("traced", PARENT);
    let answered = "cluster.sink1.upstream_rq_202";
    wait_for("Envoy has its answers", || envoy.stat(answered) as usize > 2 * SHAPES.len());
    let direct = direct.end(SHAPES.len());
    let (sink, kept) = (sink.end(3 * SHAPES.len() + 2), kept.end(SHAPES.len() + 1));

    assert_like(&direct, &sink, "/h1", Hop::Envoy1);
    assert_like(&direct, &sink, "/h2", Hop::Envoy2);
    assert_like(&direct, &sink, "/bare", Hop::Envoy1);
    assert_like(&direct, &kept, "/bare", Hop::Envoy1);
    // What came is kept beside what was before.
    assert_eq!(sink["/h1/plain"]["received_authority"], "svc.example-shadow:8000");
    assert_eq!(sink["/h1/address6"]["received_authority"], "[::1]-shadow:8000");
    assert_eq!(sink["/h1/plain"]["version"], "HTTP/1.1");
    assert_eq!(sink["/h2/plain"]["version"], "HTTP/2");
    assert_eq!(kept["/bare/plain"]["received_authority"], Value::Null);
    // A mirror's own host cannot be undone, a route's can.
    assert_eq!(sink["/named/one"]["authority"], "mirror.example");
    assert_eq!(kept["/moved/one"]["authority"], "svc.example:81");
    assert_eq!(kept["/moved/one"]["received_authority"], "internal.example");
    assert_eq!(kept["/moved/one"]["query"], "q");
    let own = kept["/moved/one"]["headers"].to_string();
    assert!(!own.contains("x-envoy"), "{own}");
    // The trace goes on with a span of the mirror's; the edge tells who the client is (of
    // a client on the same machine, its own address).
    let traced = &sink["/traced/one"];
    let span = field(traced, "traceparent").unwrap();
    assert!(span.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{span}");
    assert!(!span.contains("b7ad6b7169203331"), "{span}");
    let client = field(traced, "x-forwarded-for").unwrap();
    assert!(client.parse::<std::net::IpAddr>().is_ok(), "{client}");
}

#[test]
fn nginx_mirrors_are_recorded_like_the_clients_own_requests() {
    let api = Api::start(|_| Reply::new(200, &[], "ok"));
    let direct = Recording::inline(&api);
    let sink = Recording::sink("nginx", &[]);
    let nginx = Nginx::start(&format!(
        "location / {{ mirror /mirror; proxy_pass http://{}; }}
         location = /mirror {{
             internal;
             proxy_pass http://{}$request_uri;
             proxy_http_version 1.1;
             proxy_set_header Connection \"\";
             proxy_set_header Host $http_host;
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
         }}",
        api.address,
        sink.agent.listen()
    ));
    direct.send("", direct.agent.listen());
    sink.send("/n", nginx.address);
    let (direct, sink) = (direct.end(SHAPES.len()), sink.end(SHAPES.len()));
    assert_like(&direct, &sink, "/n", Hop::Nginx);
}

/// A sink that cannot keep a body goes on reading it, and answers at once.
#[test]
fn an_upload_is_not_held_up_by_a_sink_that_has_no_room() {
    const SIZE: usize = 20 << 20;
    const UPLOADS: usize = 3;
    let api = Api::start(|_| Reply::new(200, &[], "ok"));
    // The body alone is several times the budget.
    let sink = Recording::sink("envoy", &[("memory", "4MiB"), ("max-body", "64MiB")]);
    let routes =
        |mirror: &str| format!("[{{match: {{prefix: /}}, route: {{cluster: live{mirror}}}}}]");
    let envoy = Envoy::start(
        &[
            listener("alone", &routes(""), ""),
            listener("h1", &routes(", request_mirror_policies: [{cluster: sink1}]"), ""),
            listener("h2", &routes(", request_mirror_policies: [{cluster: sink2}]"), ""),
        ],
        &[
            cluster("live", api.address, Speaks::Http1),
            cluster("sink1", sink.agent.listen(), Speaks::Http1),
            cluster("sink2", sink.agent.listen(), Speaks::Http2),
        ],
    );
    let body = vec![b'x'; SIZE];
    let fastest = |name: &str| {
        let to = envoy.address(name);
        let times = (0..UPLOADS).map(|_| {
            let mut client = Client::connect(to);
            let start = Instant::now();
            let head =
                format!("POST /{name} HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n");
            client.send(head.as_bytes()).unwrap();
            client.send(&body).unwrap();
            assert_eq!(client.receive(false).unwrap().status(), 200);
            start.elapsed()
        });
        times.min().unwrap()
    };
    let (alone, h1, h2) = (fastest("alone"), fastest("h1"), fastest("h2"));
    println!("20 MiB through Envoy: {alone:?}; mirrored to a full sink: {h1:?} (h1), {h2:?} (h2)");
    // A mirror that stops reading holds it up for as long as it does: seconds.
    let bound = alone * 3 + Duration::from_millis(500);
    assert!(h1 < bound && h2 < bound, "{alone:?} {h1:?} {h2:?}");
    wait_for("all are lost", || {
        sink.agent.metric("umbra_capture_lost_total{reason=\"tee_full\"}") >= 2.0 * UPLOADS as f64
    });
    let ended = sink.agent.stop().json();
    assert_eq!(ended["requests"], 2 * UPLOADS);
    assert_eq!(ended["lost"]["tee_full"], 2 * UPLOADS, "{ended}");
}

/// What a mirror that is no Envoy may do to it.
#[test]
fn a_sink_answers_when_it_has_read_the_request_and_goes_on() {
    let sink = Recording::sink("plain", &[]);
    let mut client = Client::connect(sink.agent.listen());
    let accepted = |answer: &Message| {
        assert_eq!(answer.status(), 202);
        assert_eq!(answer.header("content-length"), Some(&b"0"[..]));
        assert!(answer.body.is_empty());
    };
    // Several on one connection, also at once.
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a-shadow\r\n\r\n");
    accepted(&client.call(get("/1").as_bytes()));
    client.send(format!("{}{}", get("/2"), get("/3")).as_bytes()).unwrap();
    accepted(&client.receive(false).unwrap());
    accepted(&client.receive(false).unwrap());
    // Whoever waits for it is told to go on.
    client
        .send(b"POST /4 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        .unwrap();
    assert_eq!(client.receive_any().unwrap().status(), 100);
    client.send(b"body").unwrap();
    accepted(&client.receive(false).unwrap());
    // What a replay has sent is not recorded again.
    let shadow = "GET /5 HTTP/1.1\r\nHost: a\r\nVia: 1.1 umbra-shadow (job; 1)\r\n\r\n";
    accepted(&client.call(shadow.as_bytes()));
    // An upgrade is no tunnel here, and the last on its connection.
    let upgrade = "GET /6 HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let answer = client.call(upgrade.as_bytes());
    accepted(&answer);
    assert_eq!(answer.header("connection"), Some(&b"close"[..]));
    assert!(client.receive(false).is_err());
    let mut old = Client::connect(sink.agent.listen());
    let answer = old.call(b"HEAD /7 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!((answer.status(), answer.header("connection")), (202, Some(&b"keep-alive"[..])));
    let refused = old.call(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n");
    assert_eq!(refused.status(), 405);
    // Half of a body, and gone.
    let mut gone = Client::connect(sink.agent.listen());
    gone.send(b"POST /8 HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf").unwrap();
    drop(gone);
    let (log, report) = sink.report(8);
    assert_eq!((&report["recorded"], &report["not_selected"]), (&7.into(), &1.into()));
    let found = requests(&log);
    assert!(!found.contains_key("/5"));
    assert_eq!(found["/1"]["authority"], "a-shadow");
    assert_eq!(found["/4"]["body"], "body");
    assert_eq!(found["/6"]["tunnel"], true);
    assert_eq!((&found["/8"]["body"], &found["/8"]["complete"]), (&"half".into(), &false.into()));
    assert_eq!(found["/1"]["upstream"], "");
}

/// Whoever takes a client's requests in, and over whichever connection they come.
#[test]
fn a_clients_requests_keep_together() {
    let api = Api::start(|_| Reply::new(200, &[], "ok"));
    let sink = Recording::sink("envoy", &[("partitions", "64"), ("threads", "2")]);
    let route = "[{match: {prefix: /}, route: {cluster: live, request_mirror_policies: [{cluster: sink}]}}]";
    let envoy = Envoy::start(
        &[listener("front", route, "")],
        &[
            cluster("live", api.address, Speaks::Http1),
            cluster("sink", sink.agent.listen(), Speaks::Http1),
        ],
    );
    const CLIENTS: usize = 8;
    let mut connections: Vec<_> = (0..4).map(|_| Client::connect(envoy.address("front"))).collect();
    for round in 0..6 {
        for client in 0..CLIENTS {
            let request = format!(
                "GET /{client}/{round} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.{client}, 192.0.2.{round}\r\n\r\n"
            );
            let through = (client + round) % connections.len();
            assert_eq!(connections[through].call(request.as_bytes()).status(), 200);
        }
        // Envoy answers before the mirror has the request.
        wait_for("the sink has them", || {
            let come = sink.agent.metric("umbra_capture_requests_total");
            come >= ((round + 1) * CLIENTS) as f64
        });
    }
    let (log, _) = sink.report(6 * CLIENTS);
    // Replayed with recorded timing, each client's requests come in their order, though
    // they came over several connections of the mesh.
    let shadow = Shadow::start(Manner::Slow(Duration::from_millis(5)));
    let result = Umbra::new("replay")
        .flag("log", log.arg())
        .flag("target", shadow.url())
        .flag("speed", "1000")
        .result();
    assert_eq!(result["read"], 6 * CLIENTS);
    let mut last = vec![None; CLIENTS];
    for arrival in shadow.end() {
        let path = arrival.message.start.split(' ').nth(1).unwrap();
        let mut parts = path[1..].split('/').map(|part| part.parse::<usize>().unwrap());
        let (client, round) = (parts.next().unwrap(), parts.next().unwrap());
        assert!(last[client] < Some(round), "{client}: {round} after {:?}", last[client]);
        last[client] = Some(round);
    }
    assert_eq!(last, vec![Some(5); CLIENTS]);
}

#[test]
fn a_sink_has_no_upstream_and_an_agent_is_one_of_both() {
    let problems = |flags: &[(&str, &str)]| {
        let mut umbra = Umbra::new("capture").flag("listen", "127.0.0.1:0");
        for (name, value) in flags {
            umbra = umbra.flag(name, value);
        }
        let ended = umbra.run();
        assert_eq!(ended.code, Some(64), "{}", ended.stderr);
        ended.stderr
    };
    assert!(problems(&[]).contains("--upstream: is required, or --sink"));
    let both = problems(&[("sink", "envoy"), ("upstream", "http://127.0.0.1:1")]);
    assert!(both.contains("--sink: answers by itself"), "{both}");
    let unknown = problems(&[("sink", "linkerd"), ("sink-suffix", "no")]);
    assert!(unknown.contains("plain, envoy, istio, gateway-api, nginx"), "{unknown}");
    assert!(unknown.contains("auto, strip or keep"), "{unknown}");
    let alone = problems(&[("upstream", "http://127.0.0.1:1"), ("sink-original", "")]);
    assert!(alone.contains("with --sink only"), "{alone}");
}

#[test]
fn worked_configuration_is_taken() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/mesh");
    let envoy = envoy::validate(&dir.join("envoy/envoy.yaml"));
    assert!(envoy.status.success(), "{}", String::from_utf8_lossy(&envoy.stderr));
    let place = tempfile::tempdir().unwrap();
    let nginx = Command::new("nginx")
        .args(["-t", "-e", "stderr", "-p"])
        .arg(place.path())
        .arg("-c")
        .arg(dir.join("nginx/nginx.conf").canonicalize().unwrap())
        .output()
        .unwrap();
    assert!(nginx.status.success(), "{}", String::from_utf8_lossy(&nginx.stderr));
    // The flags of the Deployment, but for what everybody has to put there.
    let sink = std::fs::read_to_string(dir.join("istio/sink.yaml")).unwrap();
    let mut umbra = Umbra::new("capture");
    for line in sink.lines().filter_map(|line| line.strip_prefix("        - --")) {
        if !line.starts_with("seal-to") && !line.starts_with("hash-key") {
            umbra = umbra.arg(format!("--{line}"));
        }
    }
    let shown = umbra.flag("credentials", "drop").flag("print-config", "").run();
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert!(shown.stdout.contains("sink: \"istio\""), "{}", shown.stdout);
}

/// Requests by their path.
type Requests = BTreeMap<String, Value>;

fn field(record: &Value, name: &str) -> Option<String> {
    let mut lines = record["headers"].as_array().unwrap().iter();
    let line = lines.find(|line| line[0] == name)?;
    line[1].as_str().map(str::to_owned)
}

/// An agent and the log it records into.
struct Recording {
    agent: Running,
    log: TestLog,
}

impl Recording {
    fn inline(api: &Api) -> Self {
        let log = TestLog::file();
        let agent = Umbra::agent(&log, api.address)
            .flag("admin", "127.0.0.1:0")
            .flag("output", "json")
            .flag("credentials", "keep")
            .start();
        Self { agent, log }
    }

    fn sink(profile: &str, flags: &[(&str, &str)]) -> Self {
        let log = TestLog::file();
        let mut agent = Umbra::new("capture")
            .flag("listen", "127.0.0.1:0")
            .flag("admin", "127.0.0.1:0")
            .flag("output", "json")
            .flag("credentials", "keep")
            .flag("sink", profile)
            .flag("log", log.arg());
        for (name, value) in flags {
            agent = agent.flag(name, value);
        }
        Self { agent: agent.start(), log }
    }

    /// Sends all shapes there, each with its path below `below`.
    #[track_caller]
    fn send(&self, below: &str, to: SocketAddr) {
        for (method, target, rest) in SHAPES {
            let request = format!("{method} {below}{target}{rest}");
            let answer = Client::connect(to).call(request.as_bytes());
            assert_eq!(answer.status(), 200, "{request}");
        }
    }

    /// Ends the agent when it has met so many requests, all of which it must have
    /// recorded.
    #[track_caller]
    fn end(self, count: usize) -> Requests {
        let (log, _) = self.report(count);
        let found = requests(&log);
        assert_eq!(found.len(), count, "{:?}", found.keys());
        found
    }

    /// The same; its log and what it tells at its end.
    #[track_caller]
    fn report(self, count: usize) -> (TestLog, Value) {
        wait_for("all have come", || {
            self.agent.metric("umbra_capture_requests_total") >= count as f64
        });
        let ended = self.agent.stop();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let report = ended.json();
        (self.log, report)
    }
}

/// All that is recorded, by path.
#[track_caller]
fn requests(log: &TestLog) -> Requests {
    let cat = Umbra::new("log cat").arg(log.arg()).flag("output", "json").run();
    assert_eq!(cat.code, Some(0), "{}", cat.stderr);
    let records = cat.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let requests = records.filter(|each| each["kind"] == "request");
    requests.map(|each| (each["path"].as_str().unwrap().to_owned(), each)).collect()
}
