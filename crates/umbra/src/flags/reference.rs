//! Keeps `docs/reference.md` equal to the tables. To write it anew:
//! `UMBRA_REGENERATE=1 cargo test -p umbra reference`.

use std::{fmt::Write, path::Path};

use super::{COMMANDS, CommandSpec};

/// What is not in the tables.
const REST: &str = include_str!("reference_rest.md");

fn page() -> String {
    let mut page = String::from(
        "# Reference\n\nGenerated from the definitions of the flags. Every flag can also be said in a \
         configuration file (`--config`, the keys are the flags' names, at the top level or below a \
         command's name) and as `UMBRA_NAME` in the environment (a list in brackets for a flag that may \
         be repeated): defaults < file < environment < flags.\n",
    );
    for command in COMMANDS {
        describe(&mut page, command);
    }
    page.push('\n');
    page.push_str(REST);
    page
}

fn describe(page: &mut String, command: &CommandSpec) {
    let arguments: String = command
        .all_flags()
        .filter(|flag| flag.positional)
        .map(|flag| format!(" {}", flag.value.unwrap_or_default()))
        .collect();
    writeln!(page, "\n## umbra {}{arguments}\n\n{}.\n", command.name, command.about).unwrap();
    if !command.examples.is_empty() {
        let examples: Vec<_> = command.examples.lines().skip(1).map(str::trim_start).collect();
        writeln!(page, "```sh\n{}\n```\n", examples.join("\n")).unwrap();
    }
    page.push_str("| flag | meaning |\n|---|---|\n");
    for flag in command.all_flags() {
        let value = flag.value.map_or(String::new(), |value| format!(" {value}"));
        let name = if flag.positional { String::new() } else { format!("--{}", flag.name) };
        let shown = format!("{name}{value}").trim().replace('|', "\\|");
        let mut meaning = flag.help.replace('|', "\\|");
        if flag.repeat {
            meaning.push_str(" (repeatable)");
        }
        if let Some(default) = flag.default {
            write!(meaning, " [default: `{default}`]").unwrap();
        }
        writeln!(page, "| `{shown}` | {meaning} |").unwrap();
    }
}

#[test]
fn reference_page_equals_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference.md");
    let fresh = page();
    if std::env::var_os("UMBRA_REGENERATE").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == fresh, "run UMBRA_REGENERATE=1 cargo test -p umbra reference, and commit");
}
