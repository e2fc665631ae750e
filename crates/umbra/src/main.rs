//! Umbra: record production HTTP once, shadow it anywhere, any time, at any rate.
//!
//! The only crate that knows flags, files and signals, and which log is used. A
//! command is: settings (layers of text) → config (ready to use) → run → result.

mod admin;
mod commands;
mod config;
mod exit;
mod flags;
mod handover;
mod heartbeat;
mod listen;
mod logging;
mod output;
mod progress;
mod ready;
mod settings;
mod signals;

use std::process::ExitCode;

use exit::{Code, Failure, Outcome};
use settings::Parsed;

/// Of librdkafka too. Each record is allocated on a capture thread and freed on the
/// producer's, which this one is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A panic is a bug of ours, whichever thread it was on; its message is printed.
    match std::panic::catch_unwind(run) {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(Failure { code, message })) => {
            if code != Code::Quiet {
                eprintln!("umbra: {message}");
            }
            ExitCode::from(code as u8)
        }
        Err(_) => ExitCode::from(Code::Bug as u8),
    }
}

fn run() -> Outcome {
    let args = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let env = std::env::vars_os()
        .map(|(k, v)| (k.to_string_lossy().into_owned(), v.to_string_lossy().into_owned()))
        .collect();
    match settings::parse(args, &env)? {
        Parsed::Print(text) => {
            output::text(&text)?;
            Ok(0)
        }
        Parsed::Run(mut settings) => {
            logging::start(&mut settings);
            if settings.on("print-config") {
                settings.check()?;
                output::text(&settings.as_yaml())?;
                return Ok(0);
            }
            commands::run(settings)
        }
    }
}
