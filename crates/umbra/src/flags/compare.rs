//! Flags of `compare`, and those it shares with `replay` and `mirror`: how answers are
//! compared, what does not count, and what is told of it.

use super::{CommandSpec, Flag, capture::SELECT, log::WHERE};

/// `umbra compare`.
pub(super) const AGAIN: CommandSpec = CommandSpec {
    name: "compare",
    about: "Judge the recorded outcomes of a job again, by other rules; nothing is sent",
    examples: "Examples:
  umbra compare umbra-log --job friday --ignore 'GET /users/{id} body.updated'
  umbra compare kafka://kafka-1:9092/requests --job friday --outcomes out.jsonl --report friday.html",
    flags: &[WHERE, OF_JOB, JUDGE],
};

/// `umbra explain`.
pub(super) const EXPLAIN: CommandSpec = CommandSpec {
    name: "explain",
    about: "Which rule decides about a request, and which rules of comparing apply to it",
    examples: "Example:
  umbra explain 'GET /users/7 Host: shop.example' --path '/users*' --ignore 'GET /users/{id} body.age'",
    flags: &[REQUEST, SELECT, JUDGE],
};

const REQUEST: &[Flag] = &[Flag::argument(
    "REQUEST",
    "REQUEST",
    "METHOD PATH, then header fields as NAME: VALUE, separated by spaces",
), Flag::value(
    "stage",
    "capture|replay",
    "Whose selection is asked about: an agent's, or a replay's; their samples (--percent) are independent",
).or("replay").under("Which requests")];

const OF_JOB: &[Flag] = &[
    Flag::value("job", "NAME", "Name of the job"),
    Flag::value(
        "outcomes",
        "FILE",
        "Its outcomes (default: the file that its first start was told to write)",
    ),
];

/// Whether, and with whose answers.
pub(super) const COMPARE: &[Flag] = &[
    Flag::switch(
        "compare",
        "Compare the shadows' answers with the baseline's, and tell whether they are the same",
    )
    .under("Compare"),
    Flag::value(
        "baseline",
        "recorded|TARGET",
        "Whose answers are right: production's, as recorded, or those of the --target of this name (the old version), which is asked beside each shadow",
    )
    .or("recorded")
    .under("Compare"),
    Flag::value(
        "noise",
        "TARGET",
        "The --target of this name is a second instance of the old version: what differs between its answers and the baseline's is noise",
    )
    .under("Compare"),
    Flag::value(
        "learn",
        "FILE",
        "The shadow is the version that gave the baseline's answers: write what differs, which is noise, to this file",
    )
    .under("Compare"),
];

/// What counts, and how it is told.
pub(super) const JUDGE: &[Flag] = &[
    Flag::value("noise-profile", "FILE", "Noise as it was learned before by --learn")
        .under("Compare"),
    Flag::value(
        "ignore",
        "[METHOD PATH] FIELD [KIND…]",
        "Differences that do not count, as findings show them, such as 'GET /users/{id} body.updated'; * stands for anything",
    )
    .many()
    .under("Compare"),
    Flag::value(
        "tolerate",
        "[METHOD PATH] FIELD HOW",
        "Values that count as equal: ~0.01 or ~1% for numbers, ~5s for times, s/REGEX/TEXT/ rewrites both before they are compared, json compares a string by what it holds",
    )
    .many()
    .under("Compare"),
    Flag::value(
        "array-key",
        "[METHOD PATH] FIELD=NAME",
        "Match the elements of this array by their member NAME instead of by place, such as items=id",
    )
    .many()
    .under("Compare"),
    Flag::value(
        "json-strings",
        "[METHOD PATH] FIELD",
        "The string at this field holds JSON, which is compared by structure",
    )
    .many()
    .under("Compare"),
    Flag::value(
        "descriptors",
        "FILE",
        "Types of gRPC's messages: a FileDescriptorSet, as protoc --include_imports --descriptor_set_out writes it",
    )
    .under("Compare"),
    Flag::value("openapi", "FILE", "Endpoints from an OpenAPI description, JSON or YAML")
        .under("Compare"),
    Flag::value(
        "endpoint",
        "METHOD PATH",
        "Requests that belong together, such as 'GET /users/{id}'; others are told apart by what looks like an id",
    )
    .many()
    .under("Compare"),
    Flag::value("alpha", "N", "Largest share of false findings among those that are confirmed")
        .or("0.01")
        .under("Compare"),
    Flag::value("share", "PERCENT", "Say 'same' only if a difference in this share of the requests would have been seen")
        .or("5%")
        .under("Compare"),
    Flag::value("confidence", "PERCENT", "… with this probability").or("95%").under("Compare"),
    Flag::value(
        "report",
        "FILE",
        "Write the report to this file; its ending says how: .html, .json, .md, .xml (JUnit) or .txt",
    )
    .many()
    .under("Compare"),
    Flag::value(
        "fail-on",
        "CONDITION,…",
        "Exit 1 if one of these holds: different, unsure, failed>1%, p50>+20%, p99>+20%",
    )
    .under("Compare"),
];
