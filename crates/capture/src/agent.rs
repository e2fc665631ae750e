//! One agent from start to report: starts its threads, waits for the stop and
//! reckons up. What the threads do is in [`crate::lane`] and [`crate::recorder`].

use std::{net::TcpListener, sync::Arc};

use tokio_util::sync::CancellationToken;

use crate::{Config, Report, Stats};

/// Runs an agent on the calling thread until `stop`, then drains it.
///
/// The listening sockets are shared by `config.threads` capture threads. Requests
/// are answered by the upstream whatever becomes of the log.
pub fn run<A: umbra_log::Append>(
    _config: Config,
    _listeners: Vec<TcpListener>,
    _log: Arc<A>,
    _stats: Stats,
    _stop: CancellationToken,
) -> Report {
    Report::default()
}
