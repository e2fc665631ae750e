//! Runs the binary: `Umbra::new("capture").flag(…)`, then `run` to its end or
//! `start` and later `stop`. A process that is dropped is killed.

use std::{
    fmt::Display,
    fs::File,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{logs::TestLog, pause, wait_for};

/// Longest run of any command.
const LONGEST: Duration = Duration::from_secs(240);

/// A command to be.
pub(crate) struct Umbra {
    command: Command,
    dir: TempDir,
}

/// A running command.
pub(crate) struct Running {
    child: Child,
    dir: TempDir,
}

/// An ended command.
pub(crate) struct Ended {
    /// Exit code; `None`: killed by a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Umbra {
    pub(crate) fn new(command: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Another build of it, such as a release build, if one is given.
        let other = std::env::var_os("UMBRA_TEST_BINARY");
        let binary = other.unwrap_or_else(|| env!("CARGO_BIN_EXE_umbra").into());
        let mut umbra = Command::new(binary);
        umbra.args(command.split(' ')).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("UMBRA_") {
                umbra.env_remove(name);
            }
        }
        // An agent's spool, unless the test says where it is.
        umbra.env("XDG_STATE_HOME", dir.path());
        // One user, whose identity opens what was sealed; but what most tests look at is
        // what clients sent, so that sealing is for those that say so.
        umbra.env("XDG_CONFIG_HOME", env!("CARGO_TARGET_TMPDIR"));
        umbra.env("UMBRA_CREDENTIALS", "keep");
        umbra.stdout(File::create(dir.path().join("stdout")).unwrap());
        umbra.stderr(File::create(dir.path().join("stderr")).unwrap());
        Self { command: umbra, dir }
    }

    /// An agent in front of `upstream` that records into `log`.
    pub(crate) fn agent(log: &TestLog, upstream: impl Display) -> Self {
        Self::new("capture")
            .flag("listen", "127.0.0.1:0")
            .flag("upstream", format!("http://{upstream}"))
            .flag("log", log.arg())
    }

    /// The same, listening somewhere else.
    pub(crate) fn agent_at(log: &TestLog, upstream: impl Display, listen: &str) -> Self {
        Self::new("capture")
            .flag("listen", listen)
            .flag("upstream", format!("http://{upstream}"))
            .flag("log", log.arg())
    }

    /// Passes it a socket as systemd does, under this name.
    pub(crate) fn passed(self, socket: OwnedFd, name: &str) -> Self {
        let mut command = Command::new("/bin/sh");
        // The shell's own number becomes the command's.
        let script = r#"LISTEN_PID=$$ exec "$0" "$@" 3<&0 </dev/null"#;
        command.args(["-c", script]).arg(self.command.get_program()).args(self.command.get_args());
        for (key, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name).stdin(socket);
        command.stdout(File::create(self.dir.path().join("stdout")).unwrap());
        command.stderr(File::create(self.dir.path().join("stderr")).unwrap());
        Self { command, dir: self.dir }
    }

    pub(crate) fn arg(mut self, value: impl AsRef<str>) -> Self {
        self.command.arg(value.as_ref());
        self
    }

    /// `--name value`; an empty value: `--name` alone.
    pub(crate) fn flag(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.command.arg(format!("--{name}"));
        if !value.as_ref().is_empty() {
            self.command.arg(value.as_ref());
        }
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it and waits until it says it is ready.
    #[track_caller]
    pub(crate) fn start(mut self) -> Running {
        let ready = self.dir.path().join("ready.json");
        self.command.arg("--ready-file").arg(&ready);
        let mut running = self.spawn();
        let start = Instant::now();
        while !ready.exists() {
            if running.child.try_wait().unwrap().is_some()
                || start.elapsed() > Duration::from_secs(60)
            {
                panic!("not ready:\n{}", running.stderr());
            }
            pause(Duration::from_millis(5));
        }
        running
    }

    pub(crate) fn spawn(mut self) -> Running {
        let child = self.command.spawn().unwrap();
        Running { child, dir: self.dir }
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn run(self) -> Ended {
        self.spawn().wait()
    }

    /// Runs it to its end, which must be a success, and returns its result.
    #[track_caller]
    pub(crate) fn result(self) -> Value {
        let ended = self.flag("output", "json").run();
        assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
        ended.json()
    }
}

impl Running {
    fn ready(&self) -> Value {
        let text = std::fs::read_to_string(self.dir.path().join("ready.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Where an agent listens.
    pub(crate) fn listen(&self) -> SocketAddr {
        self.ready()["listen"][0].as_str().unwrap().parse().unwrap()
    }

    /// Where it serves its admin endpoints.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.ready()["admin"].as_str().unwrap().parse().unwrap()
    }

    /// One metric, by the beginning of its line; the sum over its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = super::client::get(self.admin(), "/metrics").text();
        let mut sum = 0.0;
        for line in text.lines().filter(|line| line.starts_with(name)) {
            sum += line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        }
        sum
    }

    /// Most bytes it ever had in memory.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// Bytes it has in memory now.
    pub(crate) fn resident_memory(&self) -> u64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, what: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
    }

    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default()
    }

    pub(crate) fn stdout(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stdout")).unwrap_or_default()
    }

    /// Bytes of memory it has now.
    pub(crate) fn resident(&self) -> usize {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// SIGTERM, then its end.
    #[track_caller]
    pub(crate) fn stop(self) -> Ended {
        self.signal("TERM");
        self.wait()
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    #[track_caller]
    pub(crate) fn wait(mut self) -> Ended {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < LONGEST, "still running:\n{}", self.stderr());
            pause(Duration::from_millis(5));
        };
        let stderr = self.stderr();
        assert!(!stderr.contains("panicked at"), "a fault of ours:\n{stderr}");
        Ended { code: status.code(), stdout: self.stdout(), stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// The object on the last line.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let last = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {last}\n{}", self.stderr))
    }
}

/// Any other program, killed when dropped, its output in a file.
pub(crate) struct Service {
    child: Child,
    output: PathBuf,
    _dir: TempDir,
}

impl Service {
    /// Starts it; `ready` looks for a sign of life in what it printed so far.
    #[track_caller]
    pub(crate) fn start<T>(mut command: Command, ready: impl Fn(&str) -> Option<T>) -> (Self, T) {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("output");
        let file = File::create(&output).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let shown = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|e| panic!("{shown}: {e}: run scripts/test"));
        let service = Self { child, output, _dir: dir };
        let mut found = None;
        wait_for(&shown, || {
            found = ready(&service.output());
            found.is_some()
        });
        (service, found.unwrap())
    }

    /// What it has printed so far.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Its workers go with it: both gunicorn and nginx pass SIGTERM on.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-s", "TERM", &pid]).status();
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline && !matches!(self.child.try_wait(), Ok(Some(_))) {
            pause(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
