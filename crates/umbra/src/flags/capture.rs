//! Flags of `capture`, and those it shares with `mirror` and `replay`: where the
//! log is, which requests are meant, how to run.

use super::{CommandSpec, Flag};

/// `umbra capture`.
pub(super) const CAPTURE: CommandSpec = CommandSpec {
    name: "capture",
    about: "The agent: stands in front of a service and records its requests",
    examples: "Examples:
  umbra capture --listen 0.0.0.0:8000 --upstream http://127.0.0.1:9001
  umbra capture --listen :8000 --upstream http://httpbin:80 --log kafka://kafka-1:9092,kafka-2:9092/requests --seal-to age1…
  umbra capture --listen :8000 --sink istio --log kafka://kafka-1:9092/requests --credentials hash
  umbra capture --listen :8000 --upstream http://api:80 --path '/api/*' --skip-path /api/health --percent 10",
    flags: &[PROXY, SELECT, RECORD, PRIVACY, LOG, LOG_WRITING, RUN],
};

/// The inline proxy.
pub(super) const PROXY: &[Flag] = &[
    Flag::value(
        "listen",
        "ADDR",
        "Take requests here: HOST:PORT, :PORT, unix:PATH, or fd:NAME for a socket that systemd passes; port 0 takes a free one (see --ready-file)",
    )
    .many()
    .under("Proxy"),
    Flag::value(
        "upstream",
        "URL",
        "The service that answers: http://, https:// or h2c://HOST[:PORT], unix:PATH or unix+h2c:PATH",
    )
    .under("Proxy"),
    Flag::value(
        "upstreams",
        "RULE",
        "Other services by host and path, the first that matches wins: host=HOST,path=/PREFIX,upstream=URL; in the configuration file a list of maps",
    )
    .many()
    .under("Proxy"),
    Flag::value(
        "upstream-ca",
        "FILE",
        "Authorities (PEM) that sign the certificates of https upstreams; without it those the system trusts",
    )
    .under("Proxy"),
    Flag::value(
        "upstream-http",
        "auto|1|2",
        "HTTP version spoken to upstreams; auto: 1 in the clear, 2 for h2c, over TLS what the client speaks if the upstream does",
    )
    .or("auto")
    .under("Proxy"),
    Flag::value(
        "sink",
        "plain|envoy|istio|gateway-api|nginx",
        "Instead of --upstream: be the target of this mesh's own mirroring. Requests are answered with an empty 202, and what the mesh changed on the way is undone in the record",
    )
    .under("Proxy"),
    Flag::value(
        "sink-suffix",
        "auto|strip|keep",
        "Whether one -shadow is taken off the host that a mesh mirrors to; auto: taken off for envoy and istio",
    )
    .or("auto")
    .under("Proxy"),
    Flag::switch(
        "sink-original",
        "Put back path and host as they were before the mesh's routes rewrote them (x-envoy-original-path, x-envoy-original-host)",
    )
    .under("Proxy"),
    Flag::value(
        "tls-cert",
        "FILE",
        "Clients come over TLS: the certificate and those between it and its authority (PEM). Read again when it changes",
    )
    .under("Proxy"),
    Flag::value("tls-key", "FILE", "The certificate's private key (PEM)").under("Proxy"),
    Flag::value(
        "tls-client-ca",
        "FILE",
        "Clients must have a certificate signed by one of these authorities (PEM)",
    )
    .under("Proxy"),
    Flag::value(
        "handover",
        "PATH",
        "Take over the sockets of the agent that has the same --handover, which then drains; and hand them on to the next one",
    )
    .under("Proxy"),
    Flag::switch(
        "proxy-protocol",
        "Each connection begins with a header of the PROXY protocol, version 1 or 2, which says who the client is; without one it is closed",
    )
    .under("Proxy"),
    Flag::switch(
        "connect",
        "Pass CONNECT on to the upstream and its tunnel with it, recorded without its bytes; otherwise it gets 405",
    )
    .under("Proxy"),
    Flag::value("threads", "N", "Capture threads; auto: one a core").or("auto").under("Proxy"),
    Flag::value(
        "upstream-connect-timeout",
        "TIME",
        "Longest wait for a connection to the upstream, then 502",
    )
    .or("5s")
    .under("Proxy"),
    Flag::value("upstream-timeout", "TIME", "Longest wait for the head of an answer, then 504")
        .or("60s")
        .under("Proxy"),
    Flag::value("header-timeout", "TIME", "Longest time a client may take to send a head")
        .or("30s")
        .under("Proxy"),
    Flag::value(
        "idle-timeout",
        "TIME",
        "A client's connection without a request is closed after this",
    )
    .or("75s")
    .under("Proxy"),
    Flag::value("max-head", "SIZE", "Largest head of a message; larger ones get 431")
        .or("64KiB")
        .under("Proxy"),
    Flag::value("max-headers", "N", "Most fields in a head; more get 431").or("128").under("Proxy"),
    Flag::value(
        "max-connections",
        "N",
        "Most client connections at a time; more wait to be accepted",
    )
    .or("20000")
    .under("Proxy"),
    Flag::value(
        "max-streams",
        "N",
        "Most requests at a time on an HTTP/2 connection; more are refused, to be sent again",
    )
    .or("256")
    .under("Proxy"),
];

/// Which requests.
pub(super) const SELECT: &[Flag] = &[
    Flag::value("method", "METHOD", "Only these methods").many().under("Which requests"),
    Flag::value("host", "HOST", "Only these hosts: exact, *.example.com or a glob")
        .many()
        .under("Which requests"),
    Flag::value("path", "PATH", "Only these paths: exact, prefix /x*, glob, or ~regex")
        .many()
        .under("Which requests"),
    Flag::value(
        "header",
        "NAME[=VALUE]",
        "Only requests with this header: Name, Name=value or Name=~regex",
    )
    .many()
    .under("Which requests"),
    Flag::value("content-type", "TYPE", "Only requests with this content type: exact or a glob such as image/*")
        .many()
        .under("Which requests"),
    Flag::value("min-size", "SIZE", "Only requests with a body of at least this size")
        .under("Which requests"),
    Flag::value("max-size", "SIZE", "Only requests with a body of at most this size; one whose size is not announced is decided at its end")
        .under("Which requests"),
    Flag::value("skip-method", "METHOD", "Not these methods").many().under("Which requests"),
    Flag::value("skip-host", "HOST", "Not these hosts").many().under("Which requests"),
    Flag::value("skip-path", "PATH", "Not these paths").many().under("Which requests"),
    Flag::value("skip-header", "NAME[=VALUE]", "Not requests with this header")
        .many()
        .under("Which requests"),
    Flag::value("skip-content-type", "TYPE", "Not requests with this content type")
        .many()
        .under("Which requests"),
    Flag::value("percent", "N", "A stable sample of what is selected, in steps of 0.0001")
        .or("100")
        .under("Which requests"),
    Flag::value(
        "percent-by",
        "WHAT",
        "What is sampled as a whole: id, header:NAME, cookie:NAME or client",
    )
    .or("id")
    .under("Which requests"),
];

/// How much of a message is kept.
pub(super) const RECORD: &[Flag] = &[
    Flag::value("responses", "off|head|full", "How much of the upstream's answers is recorded").or("full").under("Record"),
    Flag::value("max-response-body", "SIZE", "Answers' bodies are kept up to this; length and hash of the whole always").or("64KiB").under("Record"),
    Flag::value("max-body", "SIZE", "Requests' bodies are kept up to this, cut and marked beyond").or("10MiB").under("Record"),
    Flag::value("memory", "SIZE", "Budget for copies on their way to the log, the queues before it and the spool included; beyond it requests are counted as lost, never slowed").or("128MiB").under("Record"),
    Flag::value("spool", "DIR", "Where records are kept while the log does not take them; auto: for Kafka, umbra/spool below $XDG_STATE_HOME or ~/.local/state; off: they wait in memory").or("auto").under("Record"),
    Flag::value("spool-max", "SIZE", "Most that is kept there; beyond it requests are counted as lost").or("10GiB").under("Record"),
    Flag::value("open-after", "TIME", "A request still being received after this is recorded as it stands, its rest later").or("30s").under("Record"),
    Flag::value("mark-every", "TIME", "How often each thread marks how far it has come").or("5s").under("Record"),
    Flag::value("key", "KEY", "What keeps requests together, in one partition and in order: auto (the connection on HTTP/1, the request on HTTP/2; of a --sink the client whom the mesh names), connection, request, client, header:NAME or cookie:NAME").or("auto").under("Record"),
    Flag::value("label", "KEY=VALUE", "Kept in each record: where it was captured").many().under("Record"),
];

/// Which values do not leave the process as they are.
pub(super) const PRIVACY: &[Flag] = &[
    Flag::value(
        "credentials",
        "seal|keep|hash|drop",
        "What becomes of authorization, proxy-authorization, cookie, set-cookie and x-api-key: sealed (encrypted in the record, and put back only into what a replayer with the key sends), kept, hashed or dropped",
    )
    .or("seal")
    .under("Privacy"),
    Flag::value(
        "redact",
        "PLACE=drop|hash|seal",
        "The same for other values: header:NAME, cookie:NAME, query:NAME, form:NAME, json:PATH (a.b.*.c, **.c), or tokens, which is what is called token, password, api_key, signature and the like in queries, forms and JSON; the first that is about a place decides, and before --credentials",
    )
    .many()
    .under("Privacy"),
    Flag::value(
        "seal-to",
        "RECIPIENT|FILE",
        "Who can open what is sealed: an age recipient (age1…, see `umbra keys new`) or a file of them; with an embedded log, if not said, an identity of this user's that is made once",
    )
    .many()
    .under("Privacy"),
    Flag::value(
        "hash-key",
        "FILE",
        "Secret of the hashes, the same for all agents whose hashes are to be comparable; if not said, one of this user's that is made once",
    )
    .under("Privacy"),
];

/// Where the log is.
pub(super) const LOG: &[Flag] = &[
    Flag::value("log", "LOG", "file:DIR, a plain path, or kafka://BROKER[,BROKER]/TOPIC")
        .or("file:umbra-log")
        .under("Log"),
    Flag::value(
        "kafka",
        "KEY=VALUE",
        "Any librdkafka property, except those Umbra owns; KEY=@FILE and KEY=env:NAME read the value from there",
    )
    .many()
    .secret()
    .under("Log"),
    Flag::value(
        "kafka-token-command",
        "COMMAND",
        "Sign in to Kafka with the token this shell command prints (OAUTHBEARER): a JWT, or JSON with access_token and expires_in",
    )
    .under("Log"),
    Flag::value(
        "connect-timeout",
        "TIME",
        "Longest wait for the brokers at the start, then exit 69",
    )
    .or("10s")
    .under("Log"),
];

/// What only a writer of the log decides.
pub(super) const LOG_WRITING: &[Flag] = &[
    Flag::value("partitions", "N", "Partitions of a topic or log that does not exist yet")
        .or("12")
        .under("Log"),
    Flag::value(
        "replicas",
        "N",
        "Kafka: replicas of a topic that does not exist yet; three, or one a broker, if not said",
    )
    .under("Log"),
    Flag::value(
        "min-insync",
        "N",
        "Kafka: replicas of a new topic that must have a record before it counts as written; 2 of 3 or more, if not said",
    )
    .under("Log"),
    Flag::value(
        "topic",
        "KEY=VALUE",
        "Kafka: any other setting of a topic that does not exist yet, such as max.message.bytes=4194304",
    )
    .many()
    .under("Log"),
    Flag::value("queue", "SIZE", "Bound of the queue before the log").or("16MiB").under("Log"),
    Flag::value("segment-bytes", "SIZE", "Embedded log: a segment is closed at this size")
        .or("128MiB")
        .under("Log"),
    Flag::value("segment-age", "TIME", "Embedded log: a segment is closed at this age")
        .or("10m")
        .under("Log"),
    Flag::value(
        "retain-bytes",
        "SIZE",
        "Oldest segments of an embedded log are removed above this; a new topic gets it as retention.bytes, shared by its partitions",
    )
    .under("Log"),
    Flag::value(
        "retain-age",
        "TIME",
        "Segments of an embedded log are removed beyond this age; a new topic gets it as retention.ms",
    )
    .under("Log"),
];

/// How to run.
pub(super) const RUN: &[Flag] = &[
    Flag::value("admin", "ADDR", "Serve /metrics, /healthz, /readyz and /config here").under("Run"),
    Flag::value("ready-file", "PATH", "Write the bound addresses here as JSON once ready")
        .under("Run"),
    Flag::value(
        "drain",
        "TIME",
        "Longest time for running work after SIGTERM or Ctrl-C; a second signal ends at once",
    )
    .or("30s")
    .under("Run"),
];
