//! How what a proxy passed on differs from what it was given.

use super::{
    echo::Arrival,
    message::{Fields, Message},
    passage::Passage,
    shapes::{Legal, Script, Shape},
};

/// One way in which a proxy is not as if it were not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deviation {
    /// Both others pass it on.
    Refused,
    /// Both others refuse it, or nobody may pass it on.
    Passed,
    /// The upstream got it otherwise than it was sent: what is other, such as `+ via`.
    Request(String),
    /// Both others give the client an answer that is none.
    AnswerRefused,
    /// Both others take it for no answer.
    AnswerPassed,
    /// The client got it otherwise than the upstream sent it.
    Answer(String),
}

/// Of one proxy, by its number.
pub(super) fn deviations(shape: &Shape, passages: &[Passage; 3], proxy: usize) -> Vec<Deviation> {
    let whole = passages.each_ref().map(|passage| passage.whole().len());
    let others = || (0..passages.len()).filter(|other| *other != proxy);
    let mut found = Vec::new();
    if others().all(|other| whole[proxy] < whole[other]) {
        found.push(Deviation::Refused);
    }
    if others().all(|other| whole[proxy] > whole[other])
        || (shape.legal == Legal::No && whole[proxy] > 0)
    {
        found.push(Deviation::Passed);
    }
    found.extend(request(shape, &passages[proxy]).into_iter().map(Deviation::Request));
    if shape.script.legal {
        let all = answer(shape, &passages[proxy]);
        found.extend(all.into_iter().map(Deviation::Answer));
    } else if others().all(|other| answered(&passages[proxy]) && !answered(&passages[other])) {
        found.push(Deviation::AnswerPassed);
    } else if others().all(|other| !answered(&passages[proxy]) && answered(&passages[other])) {
        found.push(Deviation::AnswerRefused);
    }
    found
}

/// Whether the client got something that looks like the upstream's answer.
fn answered(passage: &Passage) -> bool {
    passage.answers.last().is_some_and(|answer| answer.status() < 500)
}

/// What one proxy refuses or passes on otherwise than *one* of the others: less than what
/// has to be explained, and enough for an explanation to be met, whatever the versions.
pub(super) fn leanings(shape: &Shape, passages: &[Passage; 3], proxy: usize) -> Vec<Deviation> {
    let whole = |proxy: usize| passages[proxy].whole().len();
    let answered = |proxy: usize| answered(&passages[proxy]);
    let others = || (0..passages.len()).filter(|other| *other != proxy);
    let mut found = Vec::new();
    if others().any(|other| whole(proxy) < whole(other)) {
        found.push(Deviation::Refused);
    }
    if others().any(|other| whole(proxy) > whole(other)) {
        found.push(Deviation::Passed);
    }
    if !shape.script.legal && !answered(proxy) && others().any(answered) {
        found.push(Deviation::AnswerRefused);
    }
    found
}

/// What is other in the requests that arrived, in the order in which they were sent.
fn request(shape: &Shape, passage: &Passage) -> Vec<String> {
    let sent = shape.messages();
    let mut all = Vec::new();
    for arrival in &passage.arrivals {
        if let Arrival::Garbled(what) = arrival {
            all.push(format!("garbled: {what}"));
        }
    }
    let whole = passage.whole();
    if whole.len() > sent.len() {
        all.push("more requests than were sent".to_owned());
    }
    for (sent, came) in sent.iter().zip(whole) {
        if sent.method() != came.method() {
            all.push("method".to_owned());
        }
        if sent.target() != came.target() {
            all.push("target".to_owned());
        }
        if sent.version() != came.version() {
            all.push("version".to_owned());
        }
        all.extend(other(sent, came));
    }
    all
}

/// What is other in the answers: all of a script, for each request.
fn answer(shape: &Shape, passage: &Passage) -> Vec<String> {
    let mut all = Vec::new();
    let to = shape.messages();
    let mut expected = Vec::new();
    if !shape.rest.is_empty() {
        // The upstream invites whoever asks.
        expected.extend(Script::invitation().messages(false));
    }
    for request in to.iter().take(passage.whole().len()) {
        expected.extend(shape.script.messages(request.method() == b"HEAD"));
    }
    let mut came = passage.answers.iter().peekable();
    for sent in &expected {
        let interim = sent.status() < 200;
        match came.peek() {
            Some(next) if next.status() == sent.status() => {
                let next = came.next().unwrap();
                let reason =
                    |message: &Message| message.start.get(13..).unwrap_or_default().to_vec();
                if reason(sent) != reason(next) {
                    all.push("reason".to_owned());
                }
                if sent.start.get(..8) != next.start.get(..8) {
                    all.push("version".to_owned());
                }
                all.extend(other(sent, next));
            }
            _ if interim => all.push(format!("- {}", sent.status())),
            Some(next) => {
                all.push(format!("status {} {}", sent.status(), next.status()));
                came.next();
            }
            None => all.push(format!("status {} none", sent.status())),
        }
    }
    all
}

fn other(sent: &Message, came: &Message) -> Vec<String> {
    let mut all = lines(&sent.fields, &came.fields);
    all.extend(
        lines(&sent.trailers, &came.trailers).into_iter().map(|each| format!("trailer {each}")),
    );
    if sent.body != came.body {
        all.push("body".to_owned());
    } else if sent.framed != came.framed && sent.trailers == came.trailers {
        all.push("framing".to_owned());
    }
    all
}

/// Lines that are gone (`- name`), new (`+ name`) or other than before (`~ name`).
fn lines(sent: &Fields, came: &Fields) -> Vec<String> {
    let name = |(name, _): &(Vec<u8>, Vec<u8>)| String::from_utf8_lossy(name).to_lowercase();
    let mut all = Vec::new();
    let mut left: Vec<_> = came.iter().collect();
    let mut last = None;
    for line in sent {
        if let Some(at) = left.iter().position(|other| *other == line) {
            let place = came.iter().position(|other| std::ptr::eq(other, left[at]));
            if place < last {
                all.push(format!("order of {}", name(line)));
            }
            last = place;
            left.remove(at);
        } else if let Some(at) = left.iter().position(|other| name(other) == name(line)) {
            let what = if left[at].1 == line.1 { "case of" } else { "~" };
            all.push(format!("{what} {}", name(line)));
            left.remove(at);
        } else {
            all.push(format!("- {}", name(line)));
        }
    }
    all.extend(left.into_iter().map(|line| format!("+ {}", name(line))));
    all
}
