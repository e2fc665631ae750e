//! Two answers side by side: lines that belong together in one row, what differs in
//! them marked, long runs of equal ones folded.

use serde::Serialize;

use super::{Exchange, Side};
use crate::{VOLATILE_HEADERS, json, node::Node};

/// Equal rows shown around those that differ.
const CONTEXT: usize = 3;
/// A run of fewer equal rows is not folded.
const SHORT: usize = 3;
/// Most rows of one section.
const MAX_ROWS: usize = 400;
/// Longest line shown.
const MAX_LINE: usize = 600;
/// Largest table for aligning lines; with more they are paired by position.
const MAX_CELLS: usize = 1 << 20;
/// How far a line looks for its counterpart among those added at the same place.
const LOOK_AHEAD: usize = 8;

/// A part of two answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Section {
    /// `status`, `headers`, `body`, `trailers`.
    pub(super) title: &'static str,
    /// Something about the whole: "cut".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remark: Option<String>,
    pub(super) rows: Vec<Row>,
}

/// Two lines, or one and its absence, or a fold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    #[serde(rename = "k")]
    pub(super) kind: RowKind,
    /// The baseline's: before, what differs, after.
    #[serde(rename = "l", skip_serializing_if = "Option::is_none")]
    pub(super) left: Option<[String; 3]>,
    #[serde(rename = "r", skip_serializing_if = "Option::is_none")]
    pub(super) right: Option<[String; 3]>,
    /// How many equal rows are folded into this one.
    #[serde(rename = "n", skip_serializing_if = "is_zero")]
    pub(super) folded: usize,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RowKind {
    Same,
    Changed,
    /// Only in the baseline's.
    Missing,
    /// Only in the target's.
    Added,
    /// Differs, and is not compared.
    Quiet,
    /// Equal rows that are not shown.
    Fold,
    /// More rows than are shown.
    More,
}

/// Both answers of an exchange.
pub(super) fn sections(exchange: &Exchange) -> Vec<Section> {
    let (one, other) = (&exchange.expected, &exchange.actual);
    let mut list = vec![Section {
        title: "status",
        remark: took(one, other),
        rows: vec![row(&status(one), &status(other))],
    }];
    // Without two answers there is nothing to put side by side.
    if one.status != 0 && other.status != 0 {
        list.push(section("headers", None, fields(&one.headers, &other.headers)));
        list.push(body(one, other));
        if !one.trailers.is_empty() || !other.trailers.is_empty() {
            list.push(section("trailers", None, fields(&one.trailers, &other.trailers)));
        }
    }
    list
}

/// Told, and no difference by itself.
fn took(one: &Side, other: &Side) -> Option<String> {
    let ms = |us: u64| super::words::ms(us as f64 / 1e3);
    Some(format!("{} \u{2192} {}", ms(one.took_us?), ms(other.took_us?)))
}

fn section(title: &'static str, remark: Option<String>, rows: Vec<Row>) -> Section {
    let mut rows = fold(rows);
    if let Some(more) = rows.len().checked_sub(MAX_ROWS).filter(|more| *more > 0) {
        rows.truncate(MAX_ROWS);
        rows.push(Row { kind: RowKind::More, left: None, right: None, folded: more });
    }
    Section { title, remark, rows }
}

fn status(side: &Side) -> String {
    match (side.status, &side.failure) {
        (0, None) => "no answer".to_owned(),
        (0, Some(failure)) => failure.clone(),
        (status, None) => status.to_string(),
        (status, Some(failure)) => format!("{status}, then {failure}"),
    }
}

/// By name without case, several of a name in their order.
fn fields(one: &[(String, String)], other: &[(String, String)]) -> Vec<Row> {
    let mut left_over: Vec<Option<&(String, String)>> = other.iter().map(Some).collect();
    let line = |(name, value): &(String, String)| format!("{name}: {value}");
    let quiet = |name: &str, rows: Row| {
        let name = name.to_ascii_lowercase();
        let volatile = VOLATILE_HEADERS.iter().any(|known| match known.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == **known,
        });
        let hop = crate::difference::NOT_COMPARED.contains(&name.as_str());
        let differs = rows.kind != RowKind::Same;
        let passed = hop || (volatile && rows.kind == RowKind::Changed);
        Row { kind: if differs && passed { RowKind::Quiet } else { rows.kind }, ..rows }
    };
    let mut rows = Vec::new();
    for field in one {
        let twin = left_over
            .iter_mut()
            .find(|other| other.is_some_and(|other| other.0.eq_ignore_ascii_case(&field.0)));
        let found = match twin.and_then(Option::take) {
            Some(other) if other.1 == field.1 => same(&line(field)),
            Some(other) => row(&line(field), &line(other)),
            None => missing(&line(field)),
        };
        rows.push(quiet(&field.0, found));
    }
    let left_over = left_over.into_iter().flatten();
    rows.extend(left_over.map(|field| quiet(&field.0, added(&line(field)))));
    rows
}

fn body(one: &Side, other: &Side) -> Section {
    let cut = (one.cut || other.cut).then(|| "only the beginning was kept".to_owned());
    let (Some(left), Some(right)) = (&one.body, &other.body) else {
        let tell = |side: &Side| match &side.body {
            Some(text) if text.is_empty() => "empty".to_owned(),
            Some(_) => format!("{} bytes of text", side.length),
            None if side.withheld => "not shown: it may hold what was redacted".to_owned(),
            None => format!("{} bytes, not text", side.length),
        };
        return section("body", cut, vec![row(&tell(one), &tell(other))]);
    };
    let (left, right) = match (json::parse(left.as_bytes()), json::parse(right.as_bytes())) {
        (Some(one), Some(other)) => (pretty(&one, None), pretty(&other, Some(&one))),
        _ => (lines(left), lines(right)),
    };
    if left.is_empty() && right.is_empty() {
        return section("body", cut, vec![same("empty")]);
    }
    section("body", cut, align(&left, &right))
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// JSON with a member a line. Members that `order` has too come in its order: that of
/// members means nothing.
pub(super) fn pretty(node: &Node<'_>, order: Option<&Node<'_>>) -> Vec<String> {
    let mut out = vec![String::new()];
    write(node, order, 0, &mut out);
    out
}

fn write<'a>(node: &Node<'a>, order: Option<&Node<'a>>, depth: usize, out: &mut Vec<String>) {
    let line = |out: &mut Vec<String>, depth: usize| out.push("  ".repeat(depth));
    let put = |out: &mut Vec<String>, text: &str| {
        if let Some(last) = out.last_mut() {
            last.push_str(text);
        }
    };
    match node {
        Node::Null => put(out, "null"),
        Node::Bool(value) => put(out, if *value { "true" } else { "false" }),
        Node::Number(text) => put(out, text),
        Node::Text(text) => put(out, &quoted(text)),
        Node::List(items) if items.is_empty() => put(out, "[]"),
        Node::Map(members) if members.is_empty() => put(out, "{}"),
        Node::List(items) => {
            put(out, "[");
            for (at, item) in items.iter().enumerate() {
                line(out, depth + 1);
                let order = match order {
                    Some(Node::List(others)) => others.get(at),
                    _ => None,
                };
                write(item, order, depth + 1, out);
                put(out, if at + 1 < items.len() { "," } else { "" });
            }
            line(out, depth);
            put(out, "]");
        }
        Node::Map(members) => {
            put(out, "{");
            let members = in_order(members, order);
            for (at, (name, value, order)) in members.iter().enumerate() {
                line(out, depth + 1);
                put(out, &format!("{}: ", quoted(name)));
                write(value, *order, depth + 1, out);
                put(out, if at + 1 < members.len() { "," } else { "" });
            }
            line(out, depth);
            put(out, "}");
        }
        // JSON has no others.
        _ => put(out, "?"),
    }
}

type Member<'n, 'a> = (&'n [u8], &'n Node<'a>, Option<&'n Node<'a>>);

fn in_order<'n, 'a>(
    members: &'n [(std::borrow::Cow<'a, [u8]>, Node<'a>)],
    order: Option<&'n Node<'a>>,
) -> Vec<Member<'n, 'a>> {
    let Some(Node::Map(others)) = order else {
        return members.iter().map(|(name, value)| (&name[..], value, None)).collect();
    };
    let places: std::collections::HashMap<&[u8], usize> =
        others.iter().enumerate().map(|(at, (name, _))| (&name[..], at)).collect();
    let mut list: Vec<(usize, Member<'n, 'a>)> = members
        .iter()
        .map(|(name, value)| match places.get(&name[..]) {
            Some(at) => (*at, (&name[..], value, Some(&others[*at].1))),
            None => (usize::MAX, (&name[..], value, None)),
        })
        .collect();
    list.sort_by_key(|(at, _)| *at);
    list.into_iter().map(|(_, member)| member).collect()
}

fn quoted(text: &[u8]) -> String {
    serde_json::Value::String(String::from_utf8_lossy(text).into_owned()).to_string()
}

/// Rows for two texts: the longest common sequence of lines is kept together.
fn align(left: &[String], right: &[String]) -> Vec<Row> {
    let key = |line: &String| line.trim_end().trim_end_matches(',').to_owned();
    let (ones, others): (Vec<String>, Vec<String>) =
        (left.iter().map(key).collect(), right.iter().map(key).collect());
    let start = ones.iter().zip(&others).take_while(|(one, other)| one == other).count();
    let ends = ones[start..].iter().rev().zip(others[start..].iter().rev());
    let end = ends.take_while(|(one, other)| one == other).count();
    let (one, other) = (&ones[start..ones.len() - end], &others[start..others.len() - end]);

    let mut rows: Vec<Row> = left[..start].iter().map(|line| same(line)).collect();
    let (mut at, mut other_at) = (start, start);
    for (next, other_next) in common(one, other) {
        let (next, other_next) = (start + next, start + other_next);
        block(&left[at..next], &right[other_at..other_next], &mut rows);
        rows.push(same(&left[next]));
        (at, other_at) = (next + 1, other_next + 1);
    }
    block(&left[at..left.len() - end], &right[other_at..right.len() - end], &mut rows);
    rows.extend(left[left.len() - end..].iter().map(|line| same(line)));
    rows
}

/// Positions of a longest common sequence; none if the table would be too large.
fn common(one: &[String], other: &[String]) -> Vec<(usize, usize)> {
    let width = other.len() + 1;
    if (one.len() + 1).saturating_mul(width) > MAX_CELLS {
        return Vec::new();
    }
    let mut longest = vec![0u32; (one.len() + 1) * width];
    for at in (0..one.len()).rev() {
        for other_at in (0..other.len()).rev() {
            longest[at * width + other_at] = if one[at] == other[other_at] {
                longest[(at + 1) * width + other_at + 1] + 1
            } else {
                longest[(at + 1) * width + other_at].max(longest[at * width + other_at + 1])
            };
        }
    }
    let (mut at, mut other_at, mut list) = (0, 0, Vec::new());
    while at < one.len() && other_at < other.len() {
        if one[at] == other[other_at] {
            list.push((at, other_at));
            (at, other_at) = (at + 1, other_at + 1);
        } else if longest[(at + 1) * width + other_at] >= longest[at * width + other_at + 1] {
            at += 1;
        } else {
            other_at += 1;
        }
    }
    list
}

/// Lines at one place of which none are equal: those alike share a row.
fn block(left: &[String], right: &[String], rows: &mut Vec<Row>) {
    let mut next = 0;
    for line in left {
        let window = &right[next..right.len().min(next + LOOK_AHEAD)];
        match window.iter().position(|other| alike(line, other)) {
            None => rows.push(missing(line)),
            Some(skip) => {
                rows.extend(window[..skip].iter().map(|other| added(other)));
                rows.push(row(line, &window[skip]));
                next += skip + 1;
            }
        }
    }
    rows.extend(right[next..].iter().map(|other| added(other)));
}

/// Whether the lines are about the same: a member of the same name, or much in common.
fn alike(one: &str, other: &str) -> bool {
    let name = |line: &str| {
        let line = line.trim_start();
        line.starts_with('"').then(|| line.find("\": ").map(|end| line[..end].to_owned())).flatten()
    };
    if let (Some(one), Some(other)) = (name(one), name(other)) {
        return one == other;
    }
    let (start, end) = shared(one, other);
    (start + end) * 3 >= one.len().max(other.len())
}

/// Bytes in common at both ends, at boundaries of characters.
fn shared(one: &str, other: &str) -> (usize, usize) {
    let pairs = one.char_indices().zip(other.chars());
    let start =
        pairs.take_while(|((_, c), d)| c == d).last().map_or(0, |((at, c), _)| at + c.len_utf8());
    let ends = one[start..].chars().rev().zip(other[start..].chars().rev());
    let end = ends.take_while(|(c, d)| c == d).map(|(c, _)| c.len_utf8()).sum();
    (start, end)
}

fn row(one: &str, other: &str) -> Row {
    if one == other {
        return same(one);
    }
    let (one, other) = (shown(one), shown(other));
    // Whether a member is the last of its object is no difference.
    let bare = |line: &str| line.strip_suffix(',').unwrap_or(line).to_owned();
    let (bare_one, bare_other) = (bare(&one), bare(&other));
    let (start, end) = shared(&bare_one, &bare_other);
    let parts = |line: &str, bare: &str| {
        let last = bare.len() - end;
        [line[..start].to_owned(), line[start..last].to_owned(), line[last..].to_owned()]
    };
    let (left, right) = (Some(parts(&one, &bare_one)), Some(parts(&other, &bare_other)));
    Row { kind: RowKind::Changed, left, right, folded: 0 }
}

fn same(line: &str) -> Row {
    let parts = Some([shown(line), String::new(), String::new()]);
    Row { kind: RowKind::Same, left: parts.clone(), right: parts, folded: 0 }
}

fn missing(line: &str) -> Row {
    Row { kind: RowKind::Missing, left: Some(marked(line)), right: None, folded: 0 }
}

fn added(line: &str) -> Row {
    Row { kind: RowKind::Added, left: None, right: Some(marked(line)), folded: 0 }
}

/// The whole line, but not its indentation.
fn marked(line: &str) -> [String; 3] {
    let line = shown(line);
    let text = line.trim_start();
    [line[..line.len() - text.len()].to_owned(), text.to_owned(), String::new()]
}

fn shown(line: &str) -> String {
    crate::difference::shorten(line, MAX_LINE)
}

/// Equal rows far from any that differ become one.
fn fold(rows: Vec<Row>) -> Vec<Row> {
    let near: Vec<bool> = {
        let mut near = vec![false; rows.len()];
        for (at, _) in rows.iter().enumerate().filter(|(_, row)| row.kind != RowKind::Same) {
            let until = (at + CONTEXT + 1).min(rows.len());
            near[at.saturating_sub(CONTEXT)..until].fill(true);
        }
        near
    };
    let mut out: Vec<Row> = Vec::new();
    let mut far: Vec<Row> = Vec::new();
    for (row, near) in rows.into_iter().zip(near) {
        if !near {
            far.push(row);
            continue;
        }
        close(&mut far, &mut out);
        out.push(row);
    }
    close(&mut far, &mut out);
    out
}

/// Ends a run of equal rows: as one row, unless it is as short as that.
fn close(far: &mut Vec<Row>, out: &mut Vec<Row>) {
    match far.len() {
        0..SHORT => out.append(far),
        folded => {
            out.push(Row { kind: RowKind::Fold, left: None, right: None, folded });
            far.clear();
        }
    }
}
