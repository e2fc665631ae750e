//! `umbra report`: a comparison's result in the form somebody wants to read. How each
//! form looks is the business of `umbra_compare::report`.

use std::{
    fs,
    io::{ErrorKind, IsTerminal},
    path::{Path, PathBuf},
};

use umbra_compare::report::{Document, Format, Terminal};

use crate::{
    config::{self, Output},
    exit::{Code, Failure, Outcome},
    output,
    settings::Settings,
};

/// Columns of text that does not go to a terminal.
const WIDTH: usize = 100;

/// Runs it.
pub(crate) fn run(mut settings: Settings) -> Outcome {
    let form = config::output(&mut settings);
    let path = settings.require("FILE", |text| Ok(PathBuf::from(text)));
    let files = settings.read_all("OUT", file);
    let path = config::all_there(&settings, path)?;
    let document = read(&path)?;
    for file in &files {
        write(&document, file)?;
    }
    match form {
        Output::Json => output::text(&document.render(Format::Json))?,
        Output::Text if files.is_empty() => output::text(&document.terminal(&terminal()))?,
        Output::Text => {}
    }
    Ok(0)
}

/// A file that a report can be written to.
pub(crate) fn file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    Format::of(&path).map(|_| path)
}

/// Writes the document, whole or not at all.
pub(crate) fn write(document: &Document, path: &Path) -> Result<(), Failure> {
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::new(Code::Disk, format!("{}: {error}", path.display()))
    };
    let format = Format::of(path).map_err(|problem| Failure::new(Code::Usage, problem))?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    fs::write(&beside, document.render(format)).and_then(|()| fs::rename(&beside, path)).map_err(
        |error| {
            let _ = fs::remove_file(&beside);
            wrong(&error)
        },
    )
}

/// How text for people is to be laid out on stdout.
pub(crate) fn terminal() -> Terminal {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return Terminal { width: WIDTH, colour: false };
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok().filter(|size| size.ws_col > 0);
    // https://no-color.org: any value but the empty one.
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    Terminal {
        width: size.map_or(WIDTH, |size| usize::from(size.ws_col)),
        colour: !refused && !dumb,
    }
}

fn read(path: &Path) -> Result<Document, Failure> {
    let text = fs::read(path).map_err(|error| {
        let code = match error.kind() {
            ErrorKind::NotFound | ErrorKind::IsADirectory => Code::NoInput,
            _ => Code::Disk,
        };
        Failure::new(code, format!("{}: {error}", path.display()))
    })?;
    let text = String::from_utf8_lossy(&text);
    Document::from_json(&text)
        .map_err(|problem| Failure::new(Code::Data, format!("{}: {problem}", path.display())))
}
