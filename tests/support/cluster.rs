//! Kafka brokers of a test's own, which may be killed, frozen and started again.

use std::{
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use tempfile::TempDir;

use super::{kcat, wait_for};

/// Settings under which the death of a broker is noticed in seconds.
const QUICK: &[&str] = &[
    "broker.session.timeout.ms=4000",
    "broker.heartbeat.interval.ms=500",
    "replica.lag.time.max.ms=5000",
    "group.min.session.timeout.ms=3000",
];

/// The brokers run until it is dropped, or the test is killed: `scripts/kafka run` looks
/// after them, and ends when its input does.
pub(crate) struct Cluster {
    /// Of several brokers there are never two sets at a time.
    _alone: Option<MutexGuard<'static, ()>>,
    keeper: Child,
    /// Held open; closing it ends the brokers.
    input: Option<ChildStdin>,
    /// Of the brokers: settings, logs, process ids.
    dir: PathBuf,
    addresses: String,
    _temp: TempDir,
}

impl Cluster {
    /// So many brokers, that elect leaders within seconds.
    #[track_caller]
    pub(crate) fn start(brokers: usize, settings: &[&str]) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        // A test that failed leaves nothing behind that would matter here.
        let alone = (brokers > 1).then(|| ALONE.lock().unwrap_or_else(PoisonError::into_inner));
        let temp = tempfile::tempdir().unwrap();
        let output = temp.path().join("output");
        let mut command = Command::new(script());
        command.args(["run", "--brokers", &brokers.to_string()]);
        for setting in QUICK.iter().chain(settings) {
            command.args(["--set", setting]);
        }
        // Smaller than those of a broker in earnest: three of them share the machine.
        command.env("UMBRA_KAFKA_JAVA", "-Xmx256m").env("TMPDIR", temp.path());
        command.env_remove("UMBRA_TEST_KAFKA");
        command.args(["--", "sh", "-c", "echo \"brokers $UMBRA_TEST_KAFKA\"; exec cat"]);
        let file = std::fs::File::create(&output).unwrap();
        command.stdin(Stdio::piped()).stdout(file.try_clone().unwrap()).stderr(file);
        let mut keeper = command.spawn().unwrap();
        let input = keeper.stdin.take();
        let read = || std::fs::read_to_string(&output).unwrap_or_default();
        wait_for("the brokers run", || {
            let ended = keeper.try_wait().unwrap();
            assert!(ended.is_none(), "no brokers: {}", read());
            read().contains("brokers 127.0.0.1:")
        });
        let told = read();
        let line = told.lines().find_map(|line| line.strip_prefix("brokers "));
        let addresses = line.unwrap().to_owned();
        let inside = std::fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().path());
        let dir = inside.filter(|path| path.is_dir()).find(|path| path.join("brokers").exists());
        Self { _alone: alone, keeper, input, dir: dir.unwrap(), addresses, _temp: temp }
    }

    /// A topic of that name here, for `--log`.
    pub(crate) fn log(&self, name: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        format!("kafka://{}/{name}-{number}", self.addresses)
    }

    /// Makes a topic, as an operator would.
    #[track_caller]
    pub(crate) fn tool(&self, class: &str, args: &[&str]) -> String {
        let mut command = Command::new(script());
        command.args(["tool", class, "--bootstrap-server", &self.addresses]).args(args);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{class} {args:?}: {text}{error}");
        text
    }

    /// `kill -9` of broker `node` (from 1).
    pub(crate) fn kill(&self, node: usize) {
        self.signal(node, "KILL");
    }

    /// SIGSTOP: it holds its connections and answers nobody.
    pub(crate) fn freeze(&self, node: usize) {
        self.signal(node, "STOP");
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self, node: usize) {
        self.signal(node, "CONT");
    }

    fn signal(&self, node: usize, name: &str) {
        let pid = std::fs::read_to_string(self.dir.join(format!("broker-{node}.pid"))).unwrap();
        let status = Command::new("kill").args(["-s", name, pid.trim()]).status().unwrap();
        assert!(status.success(), "broker {node} is not there");
    }

    /// Starts the brokers that were killed, with their data; they answer afterwards.
    #[track_caller]
    pub(crate) fn restart(&self) {
        let mut command = Command::new(script());
        command.args(["start", "--dir"]).arg(&self.dir).env("UMBRA_KAFKA_JAVA", "-Xmx256m");
        // The broker inherits what is left open; it goes where its first start went.
        let output = self.dir.join("restart.log");
        let file = std::fs::File::create(&output).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let status = command.status().unwrap();
        assert!(status.success(), "{}", std::fs::read_to_string(&output).unwrap_or_default());
    }
}

/// Waits until each partition of the topic has all its replicas in sync again.
#[track_caller]
pub(crate) fn wait_until_in_sync(log: &str) {
    wait_for("all replicas are in sync", || {
        kcat::leadership(log).is_some_and(|all| {
            !all.is_empty() && all.iter().all(|one| one.leader > 0 && one.in_sync == one.replicas)
        })
    });
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // One that is frozen or dead is no reason to leave the others.
        drop(self.input.take());
        let _ = self.keeper.wait();
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kafka")
}
