//! Flags of `report`.

use super::{CommandSpec, Flag};

/// `umbra report`.
pub(super) const REPORT: CommandSpec = CommandSpec {
    name: "report",
    about: "Render the report of a comparison: as text here, or into files",
    examples: "Examples:
  umbra report run.json
  umbra report run.json run.html
  umbra report run.json comment.md junit.xml",
    flags: &[&[
        Flag::argument("FILE", "FILE", "The report as `umbra replay --report FILE.json` wrote it"),
        Flag::argument(
            "OUT",
            "OUT",
            "Write it to this file, by the ending of its name: .html (one page, opens without a network), .md (for a pull request), .xml (JUnit, for CI), .txt or .json; several may be given. Without: text on stdout",
        )
        .many(),
    ]],
};
