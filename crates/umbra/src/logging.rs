//! Log lines on stderr: text on a terminal, JSON otherwise. Results never go here.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use crate::settings::Settings;

/// Starts logging as the settings say; bad values become problems of theirs.
pub(crate) fn start(settings: &mut Settings) {
    let level = settings.read("log-level", |text| match text {
        "error" | "warn" | "info" | "debug" | "trace" => Ok(text.to_owned()),
        _ => Err("expected error, warn, info, debug or trace".into()),
    });
    let terminal = std::io::stderr().is_terminal();
    let text = settings.read("log-format", |text| match text {
        "auto" => Ok(terminal),
        "text" => Ok(true),
        "json" => Ok(false),
        _ => Err("expected auto, text or json".into()),
    });
    let filter = EnvFilter::new(level.unwrap_or_else(|| "info".into()));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr);
    // A second start (only tests do that) keeps the first.
    let _ = if text.unwrap_or(terminal) {
        let colour = terminal && std::env::var_os("NO_COLOR").is_none();
        registry.with(layer.with_target(false).with_ansi(colour)).try_init()
    } else {
        registry.with(layer.json().flatten_event(true)).try_init()
    };
}
