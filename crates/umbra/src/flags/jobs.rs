//! Flags of `jobs`.

use super::{CommandSpec, Flag, log::WHERE};

/// `umbra jobs`.
pub(super) const JOBS: CommandSpec = CommandSpec {
    name: "jobs",
    about: "Replay jobs of a log: plan, state, progress, lag, members, sums; steer them",
    examples: "Examples:
  umbra jobs kafka://kafka-1:9092/requests
  umbra jobs umbra-log -o json
  umbra jobs umbra-log show friday
  umbra jobs umbra-log pause friday
  umbra jobs umbra-log rate friday 100/s
  umbra jobs umbra-log cancel friday
  umbra jobs umbra-log delete friday",
    flags: &[WHERE, STEER],
};

const STEER: &[Flag] = &[
    Flag::argument(
        "ACTION",
        "ACTION",
        "list (default), show, pause, resume, rate, cancel or delete",
    ),
    Flag::argument("NAME", "NAME", "Name of the job"),
    Flag::argument(
        "PACE",
        "R|max|Xx",
        "For rate: so many requests a second (100, 100/s, 6000/m), as fast as targets answer (max), or recorded timing this many times as fast (2x)",
    ),
    Flag::value("timeout", "TIME", "Longest wait until those who run the job are seen to follow")
        .or("10s"),
];
