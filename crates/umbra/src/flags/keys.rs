//! Flags of `keys`.

use super::{CommandSpec, Flag, log::WHERE};

/// `umbra keys new`.
pub(super) const NEW: CommandSpec = CommandSpec {
    name: "keys new",
    about: "Make an identity that opens sealed values, and tell its recipient",
    examples: "Examples:
  umbra keys new --out replay.key
  umbra capture --seal-to age1… --listen :8000 --upstream http://127.0.0.1:9001 --log kafka://kafka-1/requests
  umbra replay --seal-key replay.key --target http://v2:8080 --log kafka://kafka-1/requests",
    flags: &[&[Flag::value(
        "out",
        "FILE",
        "Write the identity here, readable by this user alone, and print the recipient; a file that is there stays as it is (default: print both)",
    )]],
};

/// `umbra keys list`.
pub(super) const LIST: CommandSpec = CommandSpec {
    name: "keys list",
    about: "The data keys of a log's sealed values: since when, by which agent, for whom",
    examples: "Examples:
  umbra keys list umbra-log
  umbra keys list kafka://kafka-1:9092/requests -o json",
    flags: &[WHERE],
};

/// `umbra keys erase`.
pub(super) const ERASE: CommandSpec = CommandSpec {
    name: "keys erase",
    about: "Destroy data keys: what they sealed can never be opened again",
    examples: "Examples:
  umbra keys erase umbra-log --before -30d
  umbra keys erase umbra-log --day 2026-11-22 --yes
  umbra keys erase kafka://kafka-1:9092/requests --id 2026-11-22.0123456789abcdef --yes",
    flags: &[WHERE, WHICH],
};

const WHICH: &[Flag] = &[
    Flag::value("id", "ID", "The data key of this name").many(),
    Flag::value("before", "TIME", "Those made before this time: RFC 3339, 2026-11-22, -30d"),
    Flag::value("day", "DAY", "Those of this day (UTC), such as 2026-11-22"),
    Flag::switch("yes", "Do it; without, only what would be lost is told"),
];
