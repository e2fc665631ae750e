//! `umbra check FILE`: everything that is wrong with a configuration file, for
//! every command it has settings for.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

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
    let (entries, mut problems) = file::read(&path);
    let of_command = |command: &str| entries.iter().any(|e| e.section.as_deref() == Some(command));
    let on_top = |key: &str| entries.iter().any(|e| e.section.is_none() && e.key == key);
    for command in COMMANDS {
        // At the top level the file may be about an agent, a replay, or both in one.
        let meant = of_command(command.name)
            || match command.name {
                "capture" => on_top("listen") && !on_top("target"),
                "replay" => on_top("target") && !on_top("listen"),
                "mirror" => on_top("listen") && on_top("target"),
                _ => false,
            };
        if meant {
            for found in problems_of(command.name, &path)? {
                if !problems.contains(&found) {
                    problems.push(found);
                }
            }
        }
    }
    if !problems.is_empty() {
        return Err(Failure::new(Code::Usage, problems.join("\n  ")));
    }
    output::text(&format!("{}: {} settings, no problem\n", path.display(), entries.len()))?;
    Ok(0)
}

/// What this command would say of the file.
fn problems_of(command: &str, path: &Path) -> Result<Vec<String>, Failure> {
    let mut args = vec!["umbra".to_owned()];
    args.extend(command.split(' ').map(str::to_owned));
    args.extend(["--config".to_owned(), path.to_string_lossy().into_owned()]);
    let Parsed::Run(mut settings) = settings::parse(args, &BTreeMap::new())? else {
        return Ok(Vec::new());
    };
    let run = config::run(&mut settings);
    config::output(&mut settings);
    config::log(&mut settings);
    match command {
        "capture" => drop(config::capture(&mut settings, run.drain)),
        "replay" => drop(config::replay(&mut settings, run.drain)),
        "mirror" => {
            config::capture(&mut settings, run.drain);
            config::live_replay(&mut settings, run.drain);
        }
        _ => {
            config::window(&mut settings);
            config::selection(&mut settings, "check");
        }
    }
    Ok(settings.into_problems())
}
