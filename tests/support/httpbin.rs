//! Real httpbin under gunicorn, from the virtual environment `scripts/test` makes.

use std::{net::SocketAddr, path::PathBuf, process::Command};

use super::process::Service;

/// A running httpbin, with its access log.
pub(crate) struct Httpbin {
    service: Service,
    pub(crate) address: SocketAddr,
}

impl Httpbin {
    #[track_caller]
    pub(crate) fn start() -> Self {
        let mut command = Command::new(venv().join("bin/gunicorn"));
        command.args([
            "--no-control-socket",
            "--access-logfile",
            "-",
            "--threads",
            "8",
            "-b",
            "127.0.0.1:0",
            "httpbin:app",
        ]);
        let (service, address) = Service::start(command, |output| {
            // gunicorn answers once a worker has booted.
            output.contains("Booting worker").then_some(())?;
            let after = output.split("Listening at: http://").nth(1)?;
            after.split_whitespace().next()?.parse().ok()
        });
        Self { service, address }
    }

    /// Lines of its access log that contain `text`.
    pub(crate) fn logged(&self, text: &str) -> usize {
        self.service.output().lines().filter(|line| line.contains(text)).count()
    }
}

/// Where `scripts/test` installs what comes from PyPI.
pub(crate) fn venv() -> PathBuf {
    std::env::var_os("UMBRA_TEST_VENV").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.cache/venv"),
        PathBuf::from,
    )
}
