//! The progress of a replay: a bar on a terminal, nothing otherwise (the heartbeat
//! tells then).

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use umbra_replay::{Progress, Stats};

/// How often the bar is redrawn.
const EVERY: Duration = Duration::from_millis(200);

/// Draws until dropped.
pub(crate) struct Bar {
    bar: Option<ProgressBar>,
}

impl Bar {
    /// A bar if stderr is a terminal.
    pub(crate) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("{spinner} {wide_msg}");
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        Self { bar }
    }

    /// Runs `work` to its end, drawing meanwhile.
    pub(crate) async fn during<T>(&self, stats: &Stats, work: impl Future<Output = T>) -> T {
        let Some(bar) = &self.bar else { return work.await };
        tokio::pin!(work);
        let mut tick = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                done = &mut work => {
                    bar.finish_and_clear();
                    return done;
                }
                _ = tick.tick() => {
                    bar.set_message(line(&stats.progress()));
                    bar.tick();
                }
            }
        }
    }
}

/// Done of total, rate, lag, time left, and what holds it back.
pub(crate) fn line(progress: &Progress) -> String {
    let mut line = match progress.total {
        Some(total) => format!("{}/{total} records", progress.done),
        None => format!("{} records", progress.done),
    };
    line.push_str(&format!(
        "  sent {}  {:.1}/s  lag {:.1} ms",
        progress.sent,
        progress.rate,
        progress.lag.as_secs_f64() * 1e3
    ));
    if let Some(eta) = progress.eta {
        line.push_str(&format!("  {} s left", eta.as_secs()));
    }
    if let Some((target, blocked)) = &progress.held {
        line.push_str(&format!("  {target}: {}", blocked.why));
        if let Some((partition, offset)) = blocked.record {
            line.push_str(&format!(" (record {partition}/{offset}"));
            line.push_str(&format!(", {:.1} s)", blocked.since.as_secs_f64()));
        }
    }
    line
}
