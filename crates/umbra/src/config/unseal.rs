//! Who opens what was sealed at capture: the identities of `--seal-key`, or the one that
//! an agent of this user made on this machine.

use std::{fs::File, io::Read as _, path::Path};

use umbra_record::seal::wrap::Identities;
use umbra_replay::{Closed, Unsealing};

use super::home;
use crate::settings::Settings;

/// Begins an identity; anything else is the name of a file.
const IDENTITY: &str = "AGE-SECRET-KEY-";
/// Largest file that is read: some hundred identities with comments.
const MAX_FILE: u64 = 64 << 10;

/// Reads `--seal-key` and `--sealed`.
pub(super) fn unsealing(settings: &mut Settings) -> Unsealing {
    let closed = settings.read("sealed", |text| match text {
        "stop" => Ok(Closed::Stop),
        "omit" => Ok(Closed::Omit),
        _ => Err("expected stop or omit".to_owned()),
    });
    let mut texts = String::new();
    for value in settings.texts("seal-key").to_vec() {
        match identity(&value, settings.is_flag("seal-key")) {
            Ok(text) => {
                texts.push_str(&text);
                texts.push('\n');
            }
            Err(what) => settings.problem("seal-key", what),
        }
    }
    // What is wrong with one was said above.
    let given = settings.given("seal-key").then(|| Identities::parse(&texts).ok()).flatten();
    Unsealing { identities: given.or_else(own), closed: closed.unwrap_or_default() }
}

/// The text of identities; what is wrong never quotes it.
fn identity(value: &str, on_command_line: bool) -> Result<String, String> {
    // Also the text of an identity's file, which begins with a comment.
    let inline = value.contains('\n') || value.to_ascii_uppercase().contains(IDENTITY);
    let text = if inline {
        if on_command_line {
            return Err("an identity on the command line is seen by every user of this machine: \
                        name its file, or put it into UMBRA_SEAL_KEY"
                .to_owned());
        }
        value.to_owned()
    } else {
        read(Path::new(value)).map_err(|why| format!("{value}: {why}"))?
    };
    match Identities::parse(&text) {
        Ok(_) => Ok(text),
        Err(problems) if inline => Err(problems.join("; ")),
        Err(problems) => Err(format!("{value}: {}", problems.join("; "))),
    }
}

/// The identity that was made on this machine, if one was.
pub(crate) fn own() -> Option<Identities> {
    let path = home::identity_path()?;
    if !path.exists() {
        return None;
    }
    let read = read(&path).and_then(|text| Identities::parse(&text).map_err(|all| all.join("; ")));
    read.inspect_err(|why| {
        tracing::warn!(file = %path.display(), "this user's identity cannot be used: {why}");
    })
    .ok()
}

fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text));
    read.map(|_| text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
