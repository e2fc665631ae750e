//! SIGTERM and SIGINT: the first asks to stop, the second ends at once. Wrappers
//! often signal a process and its group, so that one request comes twice: what
//! follows within a second is the same.

use std::time::Duration;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::exit::{Code, Failure};

/// Signals this close together are one request.
const SAME_REQUEST: Duration = Duration::from_secs(1);

/// Cancels `stop` at the first signal. At the second the process ends as an
/// interrupted one does. The task is the caller's to abort.
#[allow(clippy::disallowed_methods)] // The one task that must outlive every drain.
pub(crate) fn watch(stop: CancellationToken) -> Result<JoinHandle<()>, Failure> {
    let open = |kind| signal(kind).map_err(|e| Failure::new(Code::Bug, format!("signals: {e}")));
    let (mut term, mut int) = (open(SignalKind::terminate())?, open(SignalKind::interrupt())?);
    Ok(tokio::spawn(async move {
        next(&mut term, &mut int).await;
        tracing::info!("stopping; a second signal ends at once");
        stop.cancel();
        let same = tokio::time::Instant::now() + SAME_REQUEST;
        while tokio::time::timeout_at(same, next(&mut term, &mut int)).await.is_ok() {}
        next(&mut term, &mut int).await;
        tracing::warn!("second signal: ending without drain");
        std::process::exit(130);
    }))
}

async fn next(term: &mut Signal, int: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
