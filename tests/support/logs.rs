//! The two logs every promise is tested on.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use tempfile::TempDir;

/// A log of the test's own.
pub(crate) enum TestLog {
    File(TempDir),
    Kafka(String),
}

impl TestLog {
    pub(crate) fn file() -> Self {
        Self::File(tempfile::tempdir().unwrap())
    }

    /// A new topic on the real broker.
    #[track_caller]
    pub(crate) fn kafka(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let topic = format!("e2e-{name}-{}-{number}", std::process::id());
        Self::Kafka(format!("kafka://{}/{topic}", broker()))
    }

    /// For `--log`.
    pub(crate) fn arg(&self) -> String {
        match self {
            Self::File(dir) => format!("file:{}", self.path(dir).display()),
            Self::Kafka(url) => url.clone(),
        }
    }

    fn path(&self, dir: &TempDir) -> PathBuf {
        dir.path().join("log")
    }
}

/// The broker of `UMBRA_TEST_KAFKA`, which `scripts/test` starts.
#[track_caller]
pub(crate) fn broker() -> String {
    std::env::var("UMBRA_TEST_KAFKA").expect(
        "a real Apache Kafka: run the tests by scripts/test, or under `scripts/kafka run --`",
    )
}
