//! `umbra check FILE`: everything that is wrong with a configuration file, for
//! every command it has settings for.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{
    config,
    exit::{Code, Failure, Outcome},
    flags::COMMANDS,
    output,
    settings::{self, Parsed, Settings, file},
};

/// Runs it.
pub(crate) fn run(mut settings: Settings) -> Outcome {
    let path = settings.require("FILE", |text| Ok(PathBuf::from(text)));
    let path = config::all_there(&settings, path)?;
    if !path.exists() {
        return Err(Failure::new(Code::NoInput, format!("{}: no such file", path.display())));
    }
    let entries = file::read(&path).map_err(|problems| told(&problems))?;
    let mut problems = Vec::new();
    for command in ["capture", "replay"] {
        let spec = COMMANDS.iter().find(|c| c.name == command);
        // A command that nothing in the file is about needs no complete settings.
        let meant = entries.iter().any(|e| e.section.as_deref() == Some(command))
            || entries.iter().any(|e| {
                let only_here = matches!(
                    (command, e.key.as_str()),
                    ("capture", "listen" | "upstream") | ("replay", "target")
                );
                e.section.is_none() && only_here && spec.is_some()
            });
        if meant && let Err(failure) = check_command(command, &path) {
            problems.push(failure.message);
        }
    }
    if !problems.is_empty() {
        return Err(Failure::new(Code::Usage, problems.join("\n")));
    }
    output::text(&format!("{}: {} settings, no problem\n", path.display(), entries.len()))?;
    Ok(0)
}

fn check_command(command: &str, path: &std::path::Path) -> Result<(), Failure> {
    let args = ["umbra", command, "--config", &path.to_string_lossy()];
    let Parsed::Run(mut settings) =
        settings::parse(args.map(str::to_owned).to_vec(), &BTreeMap::new())?
    else {
        return Ok(());
    };
    let run = config::run(&mut settings);
    config::log(&mut settings);
    match command {
        "capture" => drop(config::capture(&mut settings, run.drain)),
        _ => drop(config::replay(&mut settings, run.drain)),
    }
    settings.check()
}

fn told(problems: &[String]) -> Failure {
    Failure::new(Code::Usage, problems.join("\n  "))
}
