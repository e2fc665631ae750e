//! Flags of `log` and of the small commands.

use super::{CommandSpec, Flag, capture::SELECT};

pub(super) const WHERE: &[Flag] = &[
    Flag::argument(
        "LOG",
        "LOG",
        "file:DIR, a plain path (a directory or one recording), or kafka://BROKER[,BROKER]/TOPIC",
    )
    .or("file:umbra-log"),
    Flag::value(
        "kafka",
        "KEY=VALUE",
        "Any librdkafka property, except those Umbra owns; KEY=@FILE and KEY=env:NAME read the value from there",
    )
    .many()
    .secret(),
    Flag::value(
        "kafka-token-command",
        "COMMAND",
        "Sign in to Kafka with the token this shell command prints (OAUTHBEARER): a JWT, or JSON with access_token and expires_in",
    )
    .secret(),
    Flag::value(
        "connect-timeout",
        "TIME",
        "Longest wait for the brokers at the start, then exit 69",
    )
    .or("10s"),
];

const SPAN: &[Flag] = &[
    Flag::value(
        "from",
        "TIME",
        "First instant, by capture time: RFC 3339, 2026-11-22 10:00, now, -2h, @UNIX",
    ),
    Flag::value("to", "TIME", "First instant not meant"),
];

const LIMIT: &[Flag] = &[Flag::value("limit", "N", "Stop after this many requests")];

/// `umbra log info`.
pub(super) const INFO: CommandSpec = CommandSpec {
    name: "log info",
    about: "Span, counts, hosts, rates and losses of a log",
    examples: "Example:
  umbra log info umbra-log -o json",
    flags: &[WHERE],
};

/// `umbra log cat`.
pub(super) const CAT: CommandSpec = CommandSpec {
    name: "log cat",
    about: "The requests of a log with their answers: text, or a JSON object a line",
    examples: "Example:
  umbra log cat umbra-log --path '/api/*' --from -10m -o json",
    flags: &[WHERE, SPAN, LIMIT, SELECT],
};

/// `umbra log tail`.
pub(super) const TAIL: CommandSpec = CommandSpec {
    name: "log tail",
    about: "The same, of what is appended from now on",
    examples: "Example:
  umbra log tail umbra-log",
    flags: &[WHERE, SPAN, LIMIT, SELECT],
};

/// `umbra audit`.
pub(super) const AUDIT: CommandSpec = CommandSpec {
    name: "audit",
    about: "Is every request accounted for? Exit code 1 if records are missing that no loss told in the log explains",
    examples: "Examples:
  umbra audit umbra-log
  umbra audit kafka://kafka-1:9092/requests --from -1h -o json",
    flags: &[WHERE, SPAN],
};

/// `umbra check`.
pub(super) const CHECK: CommandSpec = CommandSpec {
    name: "check",
    about: "Check a configuration file: all problems, with their lines",
    examples: "Example:
  umbra check umbra.yaml",
    flags: &[&[Flag::argument("FILE", "FILE", "The YAML file to check")]],
};

/// `umbra completions`.
pub(super) const COMPLETIONS: CommandSpec = CommandSpec {
    name: "completions",
    about: "Print completions for a shell",
    examples: "Example:
  umbra completions bash > /etc/bash_completion.d/umbra",
    flags: &[&[Flag::argument("SHELL", "SHELL", "bash, elvish, fish, powershell or zsh")]],
};

/// `umbra version`.
pub(super) const VERSION: CommandSpec =
    CommandSpec { name: "version", about: "Print the version", examples: "", flags: &[] };
