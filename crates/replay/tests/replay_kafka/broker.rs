//! The Kafka of these tests: the one that is named, or one that ends with this
//! process, however it ends.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

struct Broker {
    addresses: String,
    /// Waits for the end of its standard input, which the kernel closes when this
    /// process is gone.
    _run: Option<Child>,
}

pub(crate) fn addresses() -> Vec<String> {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    let broker = BROKER.get_or_init(start);
    broker.addresses.split(',').map(ToOwned::to_owned).collect()
}

/// A name that no other test and no earlier run has.
pub(crate) fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{name}-{}-{}-{number}", std::process::id(), crate::recording::now())
}

fn start() -> Broker {
    let given = std::env::var("UMBRA_TEST_KAFKA").ok().filter(|given| !given.is_empty());
    if let Some(addresses) = given {
        return Broker { addresses, _run: None };
    }
    let mut run = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kafka"))
        .args(["run", "--", "sh", "-c", "echo \"$UMBRA_TEST_KAFKA\"; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("scripts/kafka can be run");
    let mut addresses = String::new();
    let told = BufReader::new(run.stdout.take().expect("piped")).read_line(&mut addresses);
    assert!(told.is_ok() && !addresses.trim().is_empty(), "scripts/kafka did not start a broker");
    Broker { addresses: addresses.trim().to_owned(), _run: Some(run) }
}
