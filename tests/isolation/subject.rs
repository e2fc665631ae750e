//! An agent in some trouble, what was asked of it, and whether its books balance.

use std::{
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::Value;

use super::{
    BESIDE_MEMORY,
    behaviour::{begin_upload, expect, upload},
    service::{LARGE, Service, pattern},
};
use crate::support::{
    logs::TestLog,
    process::{Running, Umbra},
    wait_for,
};

/// What `--memory` is if nothing is said.
const MEMORY: u64 = 128 << 20;

/// How an agent is to be started.
pub(super) struct Start {
    log: TestLog,
    flags: Vec<(&'static str, String)>,
}

/// A running agent.
pub(super) struct Subject {
    pub(super) name: &'static str,
    log: TestLog,
    memory: u64,
    agent: Running,
    asked: AtomicUsize,
}

/// Uploads that have stopped in the middle.
pub(super) struct Held(Vec<TcpStream>);

/// How much of each of them has been sent.
const HELD: usize = 150 << 10;

impl Start {
    pub(super) fn file() -> Self {
        Self { log: TestLog::file(), flags: Vec::new() }
    }

    pub(super) fn kafka(log: String) -> Self {
        Self { log: TestLog::Kafka(log), flags: Vec::new() }
    }

    pub(super) fn file_in(dir: &Path) -> Self {
        // An address is an address.
        Self { log: TestLog::Kafka(format!("file:{}", dir.display())), flags: Vec::new() }
    }

    pub(super) fn flag(mut self, name: &'static str, value: &str) -> Self {
        self.flags.push((name, value.to_owned()));
        self
    }
}

impl Subject {
    pub(super) fn start(name: &'static str, service: &Service, start: Start) -> Self {
        let Start { log, flags } = start;
        let mut agent = Umbra::agent(&log, service.address)
            .flag("partitions", "3")
            .flag("admin", "127.0.0.1:0")
            .flag("mark-every", "500ms")
            .flag("output", "json");
        let mut memory = MEMORY;
        for (flag, value) in flags {
            if let ("memory", Some(number)) = (flag, value.strip_suffix("MiB")) {
                memory = number.parse::<u64>().unwrap() << 20;
            }
            agent = agent.flag(flag, value);
        }
        let agent = agent.start();
        Self { name, log, memory, agent, asked: AtomicUsize::new(0) }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.agent.listen()
    }

    pub(super) fn metric(&self, name: &str) -> f64 {
        self.agent.metric(name)
    }

    /// So many requests more.
    pub(super) fn count(&self, requests: usize) {
        self.asked.fetch_add(requests, Ordering::Relaxed);
    }

    fn upload(&self, bytes: usize) {
        self.count(1);
        upload(self.address(), bytes);
    }

    /// Uploads until this is counted.
    pub(super) fn upload_until(&self, metric: &str) {
        wait_for(metric, || {
            self.upload(256 << 10);
            self.metric(metric) > 0.0
        });
    }

    /// Large bodies that wait in the recorder, for a log that takes nothing.
    pub(super) fn fall_behind(&self) {
        wait_for("the recorder is behind", || {
            self.upload(8 << 20);
            self.metric("umbra_capture_tee_bytes") > f64::from(16 << 20)
        });
    }

    /// Bodies that take all of the tee's memory, and keep it.
    pub(super) fn exhaust_memory(&self) -> Held {
        self.count(4);
        let held = (0..4).map(|_| begin_upload(self.address(), LARGE, HELD)).collect();
        wait_for("the memory of the tee is used up", || {
            self.metric("umbra_capture_tee_bytes") > (self.memory / 2) as f64
        });
        Held(held)
    }

    /// Its memory stayed within bounds; stopped, each request is recorded, was not to
    /// be, or is lost and told; and its log agrees.
    pub(super) fn accounted_for(self) {
        let Self { name, log, memory, agent, asked } = self;
        let most = agent.peak_memory();
        println!("{name}: at most {} MiB resident", most >> 20);
        assert!(most <= memory + BESIDE_MEMORY, "{name}: {most} bytes, of {memory}");
        wait_for("its spool is drained", || agent.metric("umbra_capture_spool_records") == 0.0);
        let ended = agent.stop();
        assert_eq!(ended.code, Some(0), "{name}: {}", ended.stderr);
        let result = ended.json();
        let lost = result["lost"].as_object().unwrap();
        let sum = |values: &[&Value]| values.iter().map(|v| v.as_u64().unwrap()).sum::<u64>();
        let told = sum(&lost.values().collect::<Vec<_>>());
        let all = sum(&[&result["recorded"], &result["not_selected"]]) + told;
        println!("{name}: {result}");
        assert_eq!(result["requests"], asked.load(Ordering::Relaxed), "{name}: {result}");
        assert_eq!(result["requests"], all, "{name}: {result}");
        let ended = Umbra::new("audit").arg(log.arg()).flag("output", "json").run();
        assert_eq!(ended.code, Some(0), "{name}: {}{}", ended.stdout, ended.stderr);
        let audit = ended.json();
        assert_eq!((&audit["missing"], &audit["duplicates"]), (&0.into(), &0.into()), "{audit}");
        let agents = audit["agents"].as_array().unwrap();
        let gaps = agents.iter().flat_map(|agent| agent["gaps"].as_array().unwrap());
        let gaps: serde_json::Map<String, Value> = gaps
            .map(|gap| (gap["reason"].as_str().unwrap().to_owned(), gap["requests"].clone()))
            .collect();
        assert_eq!(&gaps, lost, "{name}: {audit}");
    }
}

impl Held {
    /// Sends the rest of them.
    pub(super) fn finish(self) {
        use std::io::Write as _;
        for mut client in self.0 {
            client.write_all(&pattern()[HELD..]).unwrap();
            expect(&mut client, "same");
        }
    }
}
