//! The commands. Each reads its settings whole (so that all problems are told),
//! then opens the log, then binds, then runs.

mod audit;
mod capture;
mod check;
mod compare;
mod compared;
mod explain;
mod jobs;
mod keys;
mod log_cat;
mod log_info;
mod mirror;
mod privacy;
mod records;
mod replay;
pub(crate) mod report;

use std::future::Future;

use crate::{
    exit::{Code, Failure, Outcome},
    flags, output,
    settings::Settings,
};

/// Runs the command that was chosen.
pub(crate) fn run(settings: Settings) -> Outcome {
    match settings.command.name {
        "audit" => block_on(1, audit::run(settings)),
        "capture" => block_on(2, capture::run(settings)),
        "replay" => block_on(0, replay::run(settings)),
        "mirror" => block_on(0, mirror::run(settings)),
        "log info" => block_on(1, log_info::run(settings)),
        "log cat" => block_on(1, log_cat::run(settings, false)),
        "log tail" => block_on(1, log_cat::run(settings, true)),
        "jobs" => block_on(2, jobs::run(settings)),
        "keys new" => keys::new(settings),
        "keys list" => block_on(1, keys::list(settings)),
        "keys erase" => block_on(1, keys::erase(settings)),
        "check" => check::run(settings),
        "completions" => completions(settings),
        "compare" => block_on(2, compare::run(settings)),
        "explain" => explain::run(settings),
        "report" => report::run(settings),
        "version" => version(settings),
        other => Err(Failure::new(Code::Bug, format!("`{other}` is not wired"))),
    }
}

/// Runs a command on a runtime with so many threads; 0: one a core.
fn block_on(threads: usize, command: impl Future<Output = Outcome>) -> Outcome {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if threads > 0 {
        builder.worker_threads(threads);
    }
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Code::Bug, format!("cannot start threads: {e}")))?;
    let outcome = runtime.block_on(command);
    // Whatever a deadline left behind must not hold the process.
    runtime.shutdown_background();
    outcome
}

fn completions(mut settings: Settings) -> Outcome {
    let shell = settings.require("SHELL", |text| {
        text.parse::<clap_complete::Shell>()
            .map_err(|_| "expected bash, elvish, fish, powershell or zsh".to_owned())
    });
    let shell = crate::config::all_there(&settings, shell)?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut flags::command_line(), "umbra", &mut script);
    output::text(&String::from_utf8_lossy(&script))?;
    Ok(0)
}

fn version(mut settings: Settings) -> Outcome {
    let form = crate::config::output(&mut settings);
    settings.check()?;
    match form {
        crate::config::Output::Text => {
            output::text(concat!("umbra ", env!("CARGO_PKG_VERSION"), "\n"))?;
        }
        crate::config::Output::Json => {
            output::json(&serde_json::json!({ "version": env!("CARGO_PKG_VERSION") }))?;
        }
    }
    Ok(0)
}
