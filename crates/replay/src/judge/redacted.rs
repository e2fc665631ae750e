//! Which rules of redaction the recorded messages underwent: agents write theirs into
//! their marks, so that the same is done to the answers of shadows before they are
//! compared, or shown.

use std::collections::BTreeSet;

use umbra_compare::{Answer, Body, Rules};
use umbra_record::{
    coding, fields, hash, pb,
    redact::{RedactedHead, Redaction, Secrets},
};

/// Most sets of rules that are remembered; agents that are configured alike share one.
const MAX_SETS: usize = 1000;

/// Where credentials are in an answer, or quoted from the request.
const CREDENTIALS: [&str; 5] = [
    "header:authorization",
    "header:proxy-authorization",
    "header:x-api-key",
    "header:cookie",
    "set-cookie:*",
];

/// The rules met so far.
#[derive(Debug)]
pub(super) struct Redacted {
    /// The user's, without places that were redacted.
    base: Rules,
    places: BTreeSet<String>,
    sets: BTreeSet<[u8; 16]>,
    rules: Rules,
    /// Takes out of bodies what any of the sets does.
    bodies: Redaction,
}

/// Largest content of a compressed body that is looked at.
const MAX_CONTENT: usize = 64 << 20;

impl Redacted {
    pub(super) fn new(base: &Rules) -> Self {
        Self {
            rules: base.clone(),
            base: base.clone(),
            places: BTreeSet::new(),
            sets: BTreeSet::new(),
            bodies: Redaction::default(),
        }
    }

    /// Takes the rules of one agent, a line each.
    pub(super) fn learn(&mut self, lines: &[String]) {
        let set = hash::of(lines.join("\n").as_bytes());
        if lines.is_empty() || self.sets.len() >= MAX_SETS || !self.sets.insert(set) {
            return;
        }
        for line in lines {
            let Some((place, action)) = line.rsplit_once('=') else { continue };
            match (place, action) {
                (_, "keep") => {}
                ("credentials", _) => {
                    self.places.extend(CREDENTIALS.iter().map(|place| (*place).to_owned()));
                }
                ("tokens", _) => {
                    self.places.insert(place.to_owned());
                    let names = umbra_record::redact::token_patterns();
                    self.places.extend(names.map(|name| format!("query:{name}")));
                }
                _ => {
                    self.places.insert(place.to_owned());
                }
            }
        }
        let dropped = |place: &&String| {
            place.starts_with("json:") || place.starts_with("form:") || *place == "tokens"
        };
        let lines: Vec<String> =
            self.places.iter().filter(dropped).map(|place| format!("{place}=drop")).collect();
        // Lines of a newer kind are none of these, and say nothing about bodies here.
        if let Ok(bodies) = Redaction::from_text(&lines) {
            self.bodies = bodies;
        }
        let understood = |place: &&String| self.base.clone().redacted(&[place]).is_ok();
        let places: Vec<&String> = self.places.iter().filter(understood).collect();
        if let Ok(rules) = self.base.clone().redacted(&places) {
            self.rules = rules;
        }
    }

    /// Learns what agents do that were told nothing of their own, by its name alone:
    /// their marks may still be to come.
    pub(super) fn recognise(&mut self, set: &[u8]) {
        if self.knows(set) {
            return;
        }
        let usual = ["seal", "hash", "drop"].map(|action| format!("credentials={action}"));
        if let Some(line) = usual.into_iter().find(|line| hash::of(line.as_bytes())[..] == *set) {
            self.learn(&[line]);
        }
    }

    /// Whether it is known what was taken out under this name.
    pub(super) fn knows(&self, set: &[u8]) -> bool {
        set.is_empty() || <[u8; 16]>::try_from(set).is_ok_and(|set| self.sets.contains(&set))
    }

    /// What is taken out of bodies before they are compared.
    pub(super) fn taken_out(&self) -> Redaction {
        self.bodies.clone()
    }

    /// The user's rules, and what was redacted.
    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }
}

/// An answer whose body has no more in it than a recorded one may have: whatever stood
/// in the places of the rules is gone, on every side alike, and so are the fields that
/// speak of the very bytes.
pub(super) fn strip(bodies: &Redaction, mut answer: Answer) -> Answer {
    if bodies.is_nothing() || answer.body.bytes.is_empty() || !bodies.concerns_body(&answer.headers)
    {
        return answer;
    }
    let was_whole = answer.body.is_whole();
    let mut secrets = Secrets::new(&[], None, None);
    let new = bodies.body(&answer.headers, &answer.body.bytes, MAX_CONTENT, &mut secrets);
    let (bytes, whole) = match new {
        Some(new) => (new.bytes, new.whole),
        None => {
            let codings = fields::all(&answer.headers, "content-encoding");
            match coding::decode(&answer.body.bytes, codings, MAX_CONTENT) {
                Some(decoded) => (decoded.content.into_owned(), decoded.whole),
                None => return answer,
            }
        }
    };
    let mut head = RedactedHead::unchanged(None, &answer.headers);
    head.fit(Some(bytes.len()));
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| pb::Header {
            name: name.to_vec().into(),
            value: value.to_vec().into(),
        })
        .collect();
    answer.body = match was_whole && whole {
        true => Body::whole(bytes),
        false => Body {
            length: answer.body.length.max(bytes.len() as u64 + 1),
            bytes: bytes.into(),
            hash: None,
        },
    };
    answer.headers = headers;
    answer
}
