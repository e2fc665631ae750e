//! From what was said (`settings`) to what is ready to use: the configurations of
//! the libraries. Every bad value becomes a problem of the settings, so that all
//! are told at once; nothing is bound here, and only certificates are read.

mod capture;
mod compare;
pub(crate) mod home;
mod kafka;
mod planned;
mod privacy;
mod replay;
mod target;
mod unseal;
mod upstream;

pub(crate) use capture::{Capture, Shares, Spool, capture};
pub(crate) use compare::{Telling, judge, telling};
pub(crate) use replay::{live_replay, replay};
pub(crate) use unseal::own as own_identity_if_any;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use umbra_log::{Address, LogOptions, Schema};
use umbra_record::select::{Rules, Selection};

use crate::{
    exit::{Code, Failure},
    settings::{Settings, values},
};

/// Which log, and how to open it.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    /// Where it is.
    pub(crate) address: Address,
    /// How to open it.
    pub(crate) options: LogOptions,
}

/// The log of `--log`, or of the argument LOG.
pub(crate) fn log(settings: &mut Settings) -> Option<Log> {
    let name = if settings.text("LOG").is_some() { "LOG" } else { "log" };
    let address = settings.require(name, Address::parse);
    let mut options = LogOptions {
        schema: Some(Schema {
            name: "umbra.v1.Record".into(),
            encoding: "protobuf".into(),
            data: umbra_record::SCHEMA.to_vec(),
        }),
        ..LogOptions::default()
    };
    kafka::connection(settings, &mut options);
    if let Some(wait) = settings.read("connect-timeout", values::some_duration) {
        options.connect_timeout = wait;
    }
    log_writing(settings, &mut options);
    Some(Log { address: address?, options })
}

fn log_writing(settings: &mut Settings, options: &mut LogOptions) {
    if let Some(partitions) = settings.read("partitions", values::count) {
        options.partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
        if partitions > 10_000 {
            settings.problem("partitions", "more than 10000");
        }
    }
    if let Some(bytes) = settings.read("queue", values::size) {
        options.queue_bytes = bytes as usize;
        if bytes < 1 << 20 {
            settings.problem("queue", "less than 1MiB");
        }
    }
    if let Some(bytes) = settings.read("segment-bytes", values::size) {
        options.segment_bytes = bytes;
    }
    if let Some(age) = settings.read("segment-age", values::some_duration) {
        options.segment_age = age;
    }
    options.retain_bytes = settings.read("retain-bytes", values::size);
    options.retain_age = settings.read("retain-age", values::some_duration);
    kafka::topic(settings, options);
}

/// The selection of requests. `stage` salts the sample, so that a sample of a
/// sample is one.
pub(crate) fn selection(settings: &mut Settings, stage: &str) -> Selection {
    let min_size = settings.read("min-size", values::size);
    let max_size = settings.read("max-size", values::size);
    let texts = |name: &str| settings.texts(name).to_vec();
    let rules = Rules {
        methods: texts("method"),
        skip_methods: texts("skip-method"),
        hosts: texts("host"),
        skip_hosts: texts("skip-host"),
        paths: texts("path"),
        skip_paths: texts("skip-path"),
        headers: texts("header"),
        skip_headers: texts("skip-header"),
        content_types: texts("content-type"),
        skip_content_types: texts("skip-content-type"),
        min_size,
        max_size,
        percent: settings.text("percent").map(str::to_owned),
        percent_by: settings.text("percent-by").map(str::to_owned),
    };
    Selection::new(&rules, stage).unwrap_or_else(|problems| {
        problems.into_iter().for_each(|problem| settings.trouble(problem));
        Selection::default()
    })
}

/// What every long-running command has.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// Admin endpoints.
    pub(crate) admin: Option<Vec<SocketAddr>>,
    /// See `--ready-file`.
    pub(crate) ready_file: Option<PathBuf>,
    /// Deadline of the drain.
    pub(crate) drain: Duration,
}

/// The settings of [`Run`].
pub(crate) fn run(settings: &mut Settings) -> Run {
    Run {
        admin: settings.read("admin", values::listen),
        ready_file: settings.text("ready-file").map(PathBuf::from),
        drain: settings.read("drain", values::duration).unwrap_or(Duration::from_secs(30)),
    }
}

/// A window by capture time, half open.
pub(crate) fn window(settings: &mut Settings) -> (Option<u64>, Option<u64>) {
    let from = settings.read("from", values::instant);
    let to = settings.read("to", values::instant);
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        settings.problem("from", "is not before --to");
    }
    (from, to)
}

/// Form of results on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// One object on the last line.
    Json,
}

/// `--output`.
pub(crate) fn output(settings: &mut Settings) -> Output {
    let read = settings.read("output", |text| match text {
        "text" => Ok(Output::Text),
        "json" => Ok(Output::Json),
        _ => Err("expected text or json".into()),
    });
    read.unwrap_or(Output::Text)
}

/// Ends here if there are problems. What was read before is then all there.
pub(crate) fn all_there<T>(settings: &Settings, built: Option<T>) -> Result<T, Failure> {
    settings.check()?;
    built.ok_or_else(|| Failure::new(Code::Bug, "a setting is missing and nobody said so"))
}
