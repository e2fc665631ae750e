//! Whole exchanges for some of the requests that differ, so that a report can show both
//! answers side by side. Bounded in number and bytes, and fair: of all requests that
//! show a difference the same one is kept as the verdict's first example, which a hash
//! of its id decides and not when it came.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use umbra_record::{hash, id, pb};

use super::{Exchange, Side, diff};
use crate::{
    Answer, Difference, Report, Rules, difference, json, lexical_template, node,
    redaction::Redaction,
};

/// Most differences (by endpoint, field and kind) that have an exchange.
const MAX_GROUPS: usize = 2000;
/// Most text of all exchanges together, in bytes.
const MAX_BYTES: usize = 32 << 20;
/// Differences of one request that count: those told first.
const MAX_OF_ONE: usize = 50;
/// Longest text kept of a body.
const MAX_BODY: usize = 16 << 10;
/// Longest value of a header, and most headers.
const MAX_VALUE: usize = 2000;
const MAX_HEADERS: usize = 100;
/// Most exchanges, and text of them, in one report.
const MAX_REPORTED: usize = 200;
const MAX_REPORTED_BYTES: usize = 6 << 20;

/// The exchanges kept so far. What is not kept is only not shown: every difference is
/// counted by the verdict, with a note.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    groups: HashMap<u64, (Rank, Arc<Exchange>)>,
    bytes: usize,
}

/// Decides which is kept; the lowest.
type Rank = [u8; 16];

/// A request whose answers differ.
#[derive(Debug, Clone, Copy)]
pub struct Offered<'a> {
    /// Its id.
    pub id: &'a [u8],
    /// When it was captured, RFC 3339, if known.
    pub at: Option<&'a str>,
    /// As recorded.
    pub method: &'a str,
    /// As recorded, without the query.
    pub path: &'a str,
    /// As recorded, without the question mark.
    pub query: &'a str,
}

impl Samples {
    /// Keeps the request if it is the best to show one of these differences so far. The
    /// answers and the rules are those that were compared: what was redacted when the
    /// baseline's answer was recorded is taken out of both.
    pub fn offer(
        &mut self,
        request: &Offered<'_>,
        found: &[Difference],
        expected: &Answer,
        actual: &Answer,
        rules: &Rules,
    ) {
        let rank = hash::of(request.id);
        let template = lexical_template(request.path);
        let mut kept: Option<Arc<Exchange>> = None;
        for difference in found.iter().take(MAX_OF_ONE) {
            let mut key = DefaultHasher::new();
            (request.method, &template, &difference.field, difference.kind).hash(&mut key);
            let key = key.finish();
            let better = match self.groups.get(&key) {
                Some((other, _)) => rank < *other,
                None => self.groups.len() < MAX_GROUPS,
            };
            if !better {
                continue;
            }
            let exchange = kept
                .get_or_insert_with(|| Arc::new(exchange(request, expected, actual, rules)))
                .clone();
            self.keep(key, rank, exchange);
        }
    }

    /// Adds what another holds. Of two for one difference the better stays.
    pub fn merge(&mut self, other: Self) {
        for (key, (rank, exchange)) in other.groups {
            let better = match self.groups.get(&key) {
                Some((known, _)) => rank < *known,
                None => self.groups.len() < MAX_GROUPS,
            };
            if better {
                self.keep(key, rank, exchange);
            }
        }
    }

    /// Those that the findings give as examples, for the gravest first.
    pub fn exchanges(&self, report: &Report) -> Vec<Exchange> {
        let by_id: HashMap<&str, &Arc<Exchange>> =
            self.groups.values().map(|(_, exchange)| (exchange.id.as_str(), exchange)).collect();
        let (mut seen, mut list, mut bytes) = (HashSet::new(), Vec::new(), 0);
        for example in report.findings.iter().flat_map(|finding| &finding.examples) {
            let Some(exchange) = by_id.get(example.id.as_str()) else { continue };
            if !seen.insert(example.id.as_str()) {
                continue;
            }
            bytes += size(exchange);
            if list.len() == MAX_REPORTED || bytes > MAX_REPORTED_BYTES {
                break;
            }
            list.push(Exchange::clone(exchange));
        }
        list
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn keep(&mut self, key: u64, rank: Rank, exchange: Arc<Exchange>) {
        // One exchange may stand for several differences: then it is charged for each,
        // which errs on the safe side.
        let size = size(&exchange);
        let freed = self.groups.get(&key).map_or(0, |(_, old)| self::size(old));
        if self.bytes - freed + size > MAX_BYTES {
            return;
        }
        self.bytes = self.bytes - freed + size;
        self.groups.insert(key, (rank, exchange));
    }
}

fn size(exchange: &Exchange) -> usize {
    let fields = |list: &[(String, String)]| -> usize {
        list.iter().map(|(name, value)| name.len() + value.len() + 48).sum()
    };
    let side = |side: &Side| {
        side.body.as_ref().map_or(0, String::len) + fields(&side.headers) + fields(&side.trailers)
    };
    side(&exchange.expected) + side(&exchange.actual) + exchange.path.len() + 200
}

/// What stands where a value was taken out.
const REDACTED: &str = "(redacted)";

fn exchange(request: &Offered<'_>, expected: &Answer, actual: &Answer, rules: &Rules) -> Exchange {
    let redaction = rules.redaction().with(&expected.redacted, &actual.redacted);
    let path = match request.query {
        "" => request.path.to_owned(),
        query => format!("{}?{query}", request.path),
    };
    let path = redaction.url(path.as_bytes());
    let (one, other) = bodies(expected, actual, &redaction);
    Exchange {
        id: id::text(request.id),
        at: request.at.map(str::to_owned),
        method: difference::shorten(request.method, 40),
        path: difference::shorten(&String::from_utf8_lossy(&path), MAX_VALUE),
        expected: side(expected, one, &redaction),
        actual: side(actual, other, &redaction),
    }
}

fn side(answer: &Answer, body: Shown, redaction: &Redaction) -> Side {
    Side {
        status: answer.status,
        failure: answer.failure.clone(),
        headers: fields(&answer.headers, redaction),
        trailers: fields(&answer.trailers, redaction),
        body: body.text,
        length: answer.body.length,
        cut: body.cut,
        withheld: body.withheld,
        took_us: answer.timing.map(|timing| timing.end_ns / 1000),
    }
}

fn fields(headers: &[pb::Header], redaction: &Redaction) -> Vec<(String, String)> {
    let text = |bytes: &[u8], most| difference::shorten(&String::from_utf8_lossy(bytes), most);
    let each = headers.iter().take(MAX_HEADERS).map(|header| {
        let name = text(&header.name, 200);
        let value = match name.to_ascii_lowercase().as_str() {
            "set-cookie" => cookie(&text(&header.value, MAX_VALUE), redaction),
            lower if redaction.covers(&format!("header:{lower}")) => REDACTED.to_owned(),
            _ => text(&redaction.url(&header.value), MAX_VALUE),
        };
        (name, value)
    });
    each.collect()
}

/// A Set-Cookie line: a redacted cookie keeps its name and attributes.
fn cookie(line: &str, redaction: &Redaction) -> String {
    let (pair, attributes) = match line.find(';') {
        Some(at) => line.split_at(at),
        None => (line, ""),
    };
    let name = pair.split('=').next().unwrap_or_default().trim();
    match redaction.covers(&format!("set-cookie:{name}")) {
        true => format!("{name}={REDACTED}{attributes}"),
        false => line.to_owned(),
    }
}

/// A body as it is shown.
#[derive(Debug, Default)]
struct Shown {
    text: Option<String>,
    cut: bool,
    withheld: bool,
}

/// Both bodies. JSON has a line for each member, in the same order on both sides, so that
/// its beginnings can be compared too.
fn bodies(expected: &Answer, actual: &Answer, redaction: &Redaction) -> (Shown, Shown) {
    let contents = (difference::content(expected), difference::content(actual));
    let whole = |answer: &Answer| answer.body.is_whole();
    let tree = |content: &Option<Cow<'_, [u8]>>| {
        let mut tree = json::parse(content.as_deref()?)?.into_owned();
        redaction.json().iter().for_each(|steps| node::redact(&mut tree, steps));
        Some(tree)
    };
    let trees = (
        tree(&contents.0).filter(|_| whole(expected)),
        tree(&contents.1).filter(|_| whole(actual)),
    );
    let laid_out = |tree, order| {
        let text = diff::pretty(tree, order).join("\n");
        let cut = text.len() > MAX_BODY;
        Shown { text: text_of(text.as_bytes(), cut), cut, withheld: false }
    };
    let other = |answer: &Answer, content: Option<Cow<'_, [u8]>>| {
        if redaction.is_in_bodies() && !answer.body.bytes.is_empty() {
            return Shown { withheld: true, ..Shown::default() };
        }
        let Some(content) = content else {
            return Shown { cut: !whole(answer), ..Shown::default() };
        };
        let cut = !whole(answer) || content.len() > MAX_BODY;
        Shown { text: text_of(&content, cut), cut, withheld: false }
    };
    let one = match &trees.0 {
        Some(tree) => laid_out(tree, None),
        None => other(expected, contents.0),
    };
    let second = match &trees.1 {
        Some(tree) => laid_out(tree, trees.0.as_ref()),
        None => other(actual, contents.1),
    };
    (one, second)
}

/// The beginning, if it is text.
fn text_of(content: &[u8], cut: bool) -> Option<String> {
    let shown = &content[..content.len().min(MAX_BODY)];
    let text = match std::str::from_utf8(shown) {
        Ok(text) => text,
        // Cut within a character, or not text at all.
        Err(error) if cut && shown.len() - error.valid_up_to() < 4 => {
            std::str::from_utf8(&shown[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let binary = text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
    (!binary).then(|| text.to_owned())
}
