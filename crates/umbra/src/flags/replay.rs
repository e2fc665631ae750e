//! Flags of `replay` and `mirror`.

use super::{
    CommandSpec, Flag,
    capture::{LOG, LOG_WRITING, PRIVACY, PROXY, RECORD, RUN, SELECT},
    compare::{COMPARE, JUDGE},
};

/// `umbra replay`.
pub(super) const REPLAY: CommandSpec = CommandSpec {
    name: "replay",
    about: "Send recorded requests to shadow clusters: live, or a window of the past",
    examples: "Examples:
  umbra replay --live --target http://v2:8080
  umbra replay --from -1h --speed 10 --target v2=http://v2:8080 --job friday
  umbra replay --from '2026-11-22 10:00' --to '2026-11-22 11:00' --rate 500/s --target http://v2:8080
  umbra replay --dry-run --target http://v2:8080",
    flags: &[WHICH, WHEN, TARGET, TARGET_TLS, SEALED, COMPARE, JUDGE, SELECT, LOG, RUN],
};

/// `umbra mirror`.
pub(super) const MIRROR: CommandSpec = CommandSpec {
    name: "mirror",
    about: "Capture and live replay in one process, through the log",
    examples: "Example:
  umbra mirror --listen :8000 --upstream http://127.0.0.1:9001 --target http://127.0.0.1:9002",
    flags: &[
        PROXY,
        TARGET,
        SEALED,
        COMPARE,
        JUDGE,
        MIRROR_WHEN,
        SELECT,
        RECORD,
        PRIVACY,
        LOG,
        LOG_WRITING,
        RUN,
    ],
};

/// Which part of the log, under which name.
const WHICH: &[Flag] = &[
    JOB,
    Flag::switch("again", "Start a new run of a job that is finished").under("Job"),
    Flag::switch("adopt", "Take the stored plan of the job although the flags differ").under("Job"),
    INSTANCE,
    Flag::switch("live", "What is recorded from now on, until stopped").under("Job"),
    Flag::value(
        "from",
        "TIME",
        "First instant, by capture time: RFC 3339, 2026-11-22 10:00, now, -2h, @UNIX",
    )
    .under("Job"),
    Flag::value("to", "TIME", "First instant not meant").under("Job"),
    Flag::value(
        "grace",
        "TIME",
        "How long to wait for late records, and for agents that went silent",
    )
    .or("60s")
    .under("Job"),
    Flag::value("limit", "N", "Stop after this many sends to each target").under("Job"),
    Flag::value("duration", "TIME", "Stop after this long").under("Job"),
    Flag::value("loop", "N", "Play the window this many times").or("1").under("Job"),
    Flag::switch("dry-run", "Say what would be sent, where and how fast; send nothing")
        .under("Job"),
    ALLOW_PRODUCTION,
];

const ALLOW_PRODUCTION: Flag = Flag::switch(
    "allow-production",
    "Send even to the upstream the requests were recorded in front of",
)
.under("Job");

const JOB: Flag = Flag::value(
    "job",
    "NAME",
    "Name of the job: the same name goes on where it stopped (default: a new name, printed)",
)
.under("Job");

const INSTANCE: Flag = Flag::value(
    "instance-id",
    "ID",
    "On Kafka: a name of this replica, the same at each start and unlike the others'. A restart within the session timeout moves no partition; one that never comes back is replaced only after it",
)
.under("Job");

/// When each request is sent.
const WHEN: &[Flag] = &[
    Flag::value("speed", "X", "Recorded timing, this many times as fast (default 1)").under("When"),
    Flag::value(
        "rate",
        "R|max",
        "So many requests a second (100, 100/s, 6000/m), or as fast as targets answer",
    )
    .under("When"),
    Flag::value(
        "stages",
        "D:R,…",
        "Rates one after the other, each ramped to, such as 5m:100,10m:500",
    )
    .under("When"),
    DELAY,
    ORDER,
    LATE,
    WRITES,
    OUTCOMES,
];

const MIRROR_WHEN: &[Flag] = &[JOB, ALLOW_PRODUCTION, DELAY, ORDER, LATE, WRITES, OUTCOMES];

const DELAY: Flag =
    Flag::value("delay", "TIME", "Live: send this long after capture instead of on arrival")
        .under("When");
const ORDER: Flag = Flag::value(
    "order",
    "connection|free",
    "Promise on order (default: connection with recorded timing, free with a rate)",
)
.under("When");
const LATE: Flag =
    Flag::value("late", "send|skip:TIME", "What happens to requests that cannot be sent in time")
        .or("send")
        .under("When");
const WRITES: Flag =
    Flag::value("writes", "send|skip", "Methods that are not safe (POST, PUT, PATCH, DELETE, …)")
        .or("send")
        .under("When");
const OUTCOMES: Flag = Flag::value(
    "outcomes",
    "FILE",
    "Write each send with the shadow's answer to this file, as JSON lines",
)
.under("When");

/// Where to.
const TARGET: &[Flag] = &[
    Flag::value("target", "[NAME=]URL[,OPTION=VALUE]…", "A shadow cluster; a path in the URL is a prefix. Options below may follow after commas, without target-: percent=10, shadow-host=keep, concurrency=8, …")
        .many()
        .under("Targets"),
    Flag::value("shadow-host", "HOW", "The Host sent: suffix[=-shadow], keep, target, or set:NAME").or("suffix").under("Targets"),
    Flag::value("target-percent", "N", "Share of the selected requests that is sent").or("100").under("Targets"),
    Flag::value("set-header", "NAME: VALUE", "Set this header on each request").many().secret().under("Targets"),
    Flag::value("remove-header", "NAME", "Remove this header from each request").many().under("Targets"),
    Flag::value("concurrency", "N", "Most requests in flight to a target").or("256").under("Targets"),
    Flag::value("timeout", "TIME", "Longest wait for a whole answer").or("30s").under("Targets"),
    Flag::value("target-connect-timeout", "TIME", "Longest wait for a connection to a target").or("5s").under("Targets"),
    Flag::switch("http1", "Send with HTTP/1.1, whatever was recorded (default: as recorded; HTTP/1.0 as HTTP/1.1, HTTP/2 as HTTP/1.1 to a target that speaks no other)").under("Targets"),
    Flag::switch("http2", "Send with HTTP/2, whatever was recorded: by prior knowledge on http").under("Targets"),
    Flag::value("tls-ca", "FILE", "Authorities (PEM) that may have signed an https target's certificate, instead of those the system trusts").under("Targets"),
    Flag::value("tls-server-name", "NAME", "The name an https target is asked for and has to prove, instead of its URL's host").under("Targets"),
    Flag::switch("tls-insecure", "Take any certificate of an https target").under("Targets"),
    Flag::value("unseal", "yes|no", "Whether targets are sent what was sealed at capture; no: without those values").or("yes").under("Targets"),
    Flag::value("when-down", "hold[:TIME]|skip", "While a target refuses connections: hold its requests (a window gives up after 5m), or skip them").or("hold").under("Targets"),
    Flag::value("read-ahead", "SIZE", "Bound of what is read ahead, for each target").or("64MiB").under("Targets"),
];

/// Who we are to https targets. A mirror has flags of these names for its own listener:
/// there they are said to each target, after a comma.
const TARGET_TLS: &[Flag] = &[
    Flag::value(
        "tls-cert",
        "FILE",
        "Our certificate with its chain (PEM), for https targets that ask for one",
    )
    .under("Targets"),
    Flag::value("tls-key", "FILE", "The certificate's private key (PEM)").under("Targets"),
];

/// What was sealed at capture.
const SEALED: &[Flag] = &[
    Flag::value(
        "seal-key",
        "FILE",
        "Identities (age) that open what was sealed at capture. In the environment and the configuration file also the identity itself (AGE-SECRET-KEY-1…). Default: this user's, where an agent made one",
    )
    .many()
    .secret()
    .under("Sealed values"),
    Flag::value(
        "sealed",
        "stop|omit",
        "A value that does not open: end with exit 65 and name its key, or send without it and count",
    )
    .or("stop")
    .under("Sealed values"),
];
