//! Writes a report of a made-up shop whose new version has a dozen faults:
//! `cargo run -p umbra-compare --example sample_report -- report.html` (or `.json`,
//! `.md`, `.xml`, `.txt`; several at once).

#![allow(missing_docs)]

mod shop;

use std::{error::Error, fs, path::PathBuf};

use umbra_compare::report::Format;

fn main() -> Result<(), Box<dyn Error>> {
    let document = shop::document();
    for path in std::env::args_os().skip(1).map(PathBuf::from) {
        fs::write(&path, document.render(Format::of(&path)?))?;
        println!("{}", path.display());
    }
    Ok(())
}
