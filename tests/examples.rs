//! The worked examples of `deploy/examples`: each holds, on real parts, and is seen to
//! fail when what it relies on is taken out.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{httpbin::venv, pause};

/// Longest run of an example.
const LONGEST: Duration = Duration::from_secs(150);

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples").canonicalize().unwrap()
}

fn python() -> PathBuf {
    venv().join("bin/python")
}

/// Stopped when a test fails: the scripts clean up when they are told to end.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = Command::new("kill").arg(self.0.id().to_string()).status();
            let _ = self.0.wait();
        }
    }
}

/// Runs it to its end: whether it succeeded, and all that it said.
#[track_caller]
fn run(mut command: Command) -> (bool, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = File::create(dir.path().join("output")).unwrap();
    command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
    let said = || std::fs::read_to_string(dir.path().join("output")).unwrap();
    let shown = format!("{command:?}");
    let mut child = Stopped(command.spawn().unwrap_or_else(|e| panic!("{shown}: {e}")));
    let start = Instant::now();
    loop {
        if let Some(status) = child.0.try_wait().unwrap() {
            return (status.success(), said());
        }
        assert!(start.elapsed() < LONGEST, "{shown} still runs:\n{}", said());
        pause(Duration::from_millis(20));
    }
}

fn example(name: &str) -> Command {
    let other = std::env::var_os("UMBRA_TEST_BINARY");
    let mut command = Command::new(examples().join(name).join("run"));
    command.env("UMBRA", other.unwrap_or_else(|| env!("CARGO_BIN_EXE_umbra").into()));
    command.env("PYTHON", python());
    command.env("XDG_CONFIG_HOME", env!("CARGO_TARGET_TMPDIR"));
    command
}

/// The example holds; without what it relies on it fails, and at the point named.
fn holds_and_can_fail(name: &str, point: &str) {
    std::thread::scope(|scope| {
        let broken = scope.spawn(|| {
            let mut command = example(name);
            command.arg("--broken");
            run(command)
        });
        let (held, said) = run(example(name));
        println!("{said}");
        assert!(held, "{said}");
        assert!(said.contains(&format!("{name}: all of it holds")), "{said}");
        let (held, said) = broken.join().unwrap();
        assert!(!held && said.contains(&format!("does not hold: {point}")), "{said}");
    });
}

#[test]
fn a_test_cluster_works_on_productions_traffic() {
    holds_and_can_fail("test-cluster", "the test cluster has it, with -shadow before the port");
}

#[test]
fn a_new_version_is_verified_and_its_faults_are_named() {
    holds_and_can_fail("verify-version", "the exit code says so");
}

#[test]
fn collaborating_services_roll_back_what_replayed_requests_write() {
    holds_and_can_fail("rollback", "not one row of production has changed");
}

#[test]
fn a_marked_request_works_on_data_of_tests() {
    holds_and_can_fail("test-data", "the answers compare equal");
}

#[test]
fn the_middleware_in_python_does_what_it_says() {
    let mut tests = Command::new(python());
    tests.args(["-B", "-m", "unittest"]).current_dir(examples().join("middleware/python"));
    let (held, said) = run(tests);
    assert!(held && said.contains("Ran 6 tests"), "{said}");
}

#[test]
fn the_middleware_in_go_does_what_it_says() {
    // Go is no part of what Umbra needs: where there is none, this says so.
    if Command::new("go").arg("version").output().is_err() {
        println!("not checked: middleware/go, since there is no Go on this machine");
        return;
    }
    for checks in ["vet", "test"] {
        let mut go = Command::new("go");
        go.args([checks, "./..."]).current_dir(examples().join("middleware/go"));
        // The standard library is all it needs: nothing is fetched.
        go.env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=mod").env("GOPROXY", "off");
        let (held, said) = run(go);
        assert!(held, "{said}");
    }
}
