//! Takes secrets out of messages before they leave the capture process: values at
//! named places are dropped, hashed with a key (equal values stay equal), or sealed.
//! Whatever is not understood where a rule could apply is cut off rather than passed.
//! Putting sealed values back is `restore`; which rules there are is the user's.

mod body;
mod events;
mod head;
mod json;
mod multipart;
mod pairs;
mod place;
mod restore;

#[cfg(test)]
mod tests;

pub use body::RedactedBody;
pub use head::RedactedHead;
pub use pairs::unescaped;
pub use restore::{Restored, restore};

use std::{collections::HashMap, fmt, sync::Arc};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{hash, pb, seal::Sealer};
use place::Place;

/// Begins what stands in place of a hashed value.
pub const HASHED: &str = "umbra-hash:";

/// Header fields that carry credentials: `--credentials` is about them.
pub const CREDENTIALS: &[&str] =
    &["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"];

/// Most values sealed in one message: each takes room beside the message, which has to
/// fit into a record. What is beyond is dropped.
pub const MAX_SEALED: usize = 256;

/// Most bytes that the sealed values of one message take, with what belongs to them.
pub const MAX_SEALED_BYTES: usize = 256 << 10;

/// What a sealed value takes beside itself and its place: nonce, tag, name of the key.
const SEALED_COST: usize = 96;

/// What becomes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It stays (credentials only).
    Keep,
    /// It is taken out.
    Drop,
    /// Its keyed hash stands there.
    Hash,
    /// It is encrypted in the record.
    Seal,
}

/// What the user typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// `--credentials seal|keep|hash|drop`.
    pub credentials: Action,
    /// `--redact PLACE=drop|hash|seal`; the first that is about a place decides, and
    /// all of them before `credentials`.
    pub redact: Vec<String>,
}

/// Rules ready to apply. The default changes nothing, at no cost. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Redaction {
    compiled: Option<Arc<Compiled>>,
}

#[derive(Debug)]
struct Compiled {
    credentials: Action,
    rules: Vec<(Place, Action)>,
    text: Vec<String>,
    id: [u8; 16],
    of: Of,
}

/// Which parts of a message there are rules for.
#[derive(Debug, Default, Clone, Copy)]
struct Of {
    cookies: bool,
    query: bool,
    form: bool,
    json: bool,
}

/// Keys hashes, so that nobody finds a value by trying all there are.
#[derive(Clone)]
pub struct HashKey(Hmac<Sha256>);

/// What taking out the secrets of one message needs, and what it leaves.
#[derive(Debug)]
pub struct Secrets<'a> {
    /// Id of the request that the message is or answers.
    pub id: &'a [u8],
    /// For values to be hashed; without it they are dropped.
    pub hash: Option<&'a HashKey>,
    /// For values to be sealed; without it they are dropped, and so is what is beyond
    /// [`MAX_SEALED`] and [`MAX_SEALED_BYTES`].
    pub sealer: Option<&'a mut Sealer>,
    /// Values sealed so far, for the record.
    pub sealed: Vec<pb::Sealed>,
    /// Values that were to be hashed or sealed and were dropped instead, for want of a
    /// key or of room.
    pub dropped: u64,
    /// How many were sealed before, in other parts of the message.
    before: usize,
    /// Bytes that all of them take.
    taken: usize,
    /// How many of them stood at each place.
    occurrences: HashMap<String, u32>,
}

/// What becomes of one value where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Edit {
    Keep,
    Remove,
    With(Vec<u8>),
}

/// Names that the preset `tokens` means, `*` standing for anything.
pub fn token_patterns() -> impl Iterator<Item = String> {
    place::token_patterns()
}

impl Action {
    /// Reads `seal`, `keep`, `hash` or `drop`.
    ///
    /// # Errors
    /// In words.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "keep" => Ok(Self::Keep),
            "drop" => Ok(Self::Drop),
            "hash" => Ok(Self::Hash),
            "seal" => Ok(Self::Seal),
            _ => Err(format!("`{text}`: expected seal, keep, hash or drop")),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::Hash => "hash",
            Self::Seal => "seal",
        })
    }
}

impl Redaction {
    /// Compiles rules, or tells everything that is wrong with them.
    ///
    /// # Errors
    /// A sentence for each problem.
    pub fn new(rules: &Rules) -> Result<Self, Vec<String>> {
        let (mut parsed, mut problems) = (Vec::new(), Vec::new());
        for text in &rules.redact {
            match rule(text) {
                Ok(rule) => parsed.push(rule),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        if parsed.is_empty() && rules.credentials == Action::Keep {
            return Ok(Self::default());
        }
        let mut text: Vec<String> =
            parsed.iter().map(|(place, action)| format!("{place}={action}")).collect();
        text.push(format!("credentials={}", rules.credentials));
        let id = hash::of(text.join("\n").as_bytes());
        let of = Of::from(&parsed[..]);
        let compiled = Compiled { credentials: rules.credentials, rules: parsed, text, id, of };
        Ok(Self { compiled: Some(Arc::new(compiled)) })
    }

    /// The rules as [`Redaction::text`] gave them, for whoever applies another
    /// process's rules.
    ///
    /// # Errors
    /// A sentence for each line that is none.
    pub fn from_text<S: AsRef<str>>(lines: &[S]) -> Result<Self, Vec<String>> {
        let mut rules = Rules { credentials: Action::Keep, redact: Vec::new() };
        for line in lines.iter().map(AsRef::as_ref) {
            match line.strip_prefix("credentials=") {
                Some(action) => {
                    rules.credentials = Action::parse(action).map_err(|problem| vec![problem])?;
                }
                None => rules.redact.push(line.to_owned()),
            }
        }
        Self::new(&rules)
    }

    /// Whether there is no rule at all.
    pub fn is_nothing(&self) -> bool {
        self.compiled.is_none()
    }

    /// The rules in canonical form, a line each.
    pub fn text(&self) -> &[String] {
        self.compiled.as_ref().map_or(&[], |compiled| &compiled.text)
    }

    /// Names these rules, in each record they were applied to; empty: none.
    pub fn rule_set(&self) -> &[u8] {
        self.compiled.as_ref().map_or(&[], |compiled| &compiled.id)
    }

    /// Whether any rule does this, so that its key is needed.
    pub fn does(&self, action: Action) -> bool {
        self.compiled.as_ref().is_some_and(|compiled| {
            compiled.credentials == action || compiled.rules.iter().any(|(_, one)| *one == action)
        })
    }
}

/// Reads `PLACE=drop|hash|seal`.
fn rule(text: &str) -> Result<(Place, Action), String> {
    let Some((place, action)) = text.rsplit_once('=') else {
        return Err(format!("`{text}`: expected PLACE=drop, PLACE=hash or PLACE=seal"));
    };
    let action = match action {
        "drop" => Action::Drop,
        "hash" => Action::Hash,
        "seal" => Action::Seal,
        other => return Err(format!("`{text}`: `{other}` is neither drop, hash nor seal")),
    };
    Ok((Place::parse(place)?, action))
}

impl From<&[(Place, Action)]> for Of {
    fn from(rules: &[(Place, Action)]) -> Self {
        let any = |holds: fn(&Place) -> bool| rules.iter().any(|(place, _)| holds(place));
        Self {
            cookies: any(|place| matches!(place, Place::Cookie(_))),
            query: any(|place| matches!(place, Place::Query(_) | Place::Tokens)),
            form: any(|place| matches!(place, Place::Form(_) | Place::Tokens)),
            json: any(|place| matches!(place, Place::Json(_) | Place::Tokens)),
        }
    }
}

impl Compiled {
    /// The first rule about a place decides.
    fn action(&self, is_about: impl Fn(&Place) -> bool) -> Option<Action> {
        self.rules.iter().find(|(place, _)| is_about(place)).map(|(_, action)| *action)
    }
}

impl HashKey {
    /// From any bytes that are secret.
    pub fn new(secret: &[u8]) -> Self {
        Self(Hmac::new_from_slice(secret).expect("HMAC takes keys of any length"))
    }

    /// A key of this kind for what belongs to a value, of which it shows nothing.
    pub fn tag(&self, kind: &str, value: &[u8]) -> [u8; 16] {
        let mut mac = self.0.clone();
        mac.update(b"umbra-key\0");
        mac.update(kind.as_bytes());
        mac.update(&[0]);
        mac.update(value);
        let digest = mac.finalize().into_bytes();
        std::array::from_fn(|at| digest[at])
    }

    /// What stands in place of a value: HMAC-SHA-256, cut to 128 bits.
    fn hash(&self, value: &[u8]) -> Vec<u8> {
        let mut mac = self.0.clone();
        mac.update(value);
        let digest = mac.finalize().into_bytes();
        let hex: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{HASHED}{hex}").into_bytes()
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey")
    }
}

impl<'a> Secrets<'a> {
    /// Of the request with this id, or the answer to it.
    pub fn new(id: &'a [u8], hash: Option<&'a HashKey>, sealer: Option<&'a mut Sealer>) -> Self {
        Self {
            id,
            hash,
            sealer,
            sealed: Vec::new(),
            dropped: 0,
            before: 0,
            taken: 0,
            occurrences: HashMap::new(),
        }
    }

    /// Goes on after a part of the message of which these values were sealed.
    #[must_use]
    pub fn after(mut self, sealed: &[pb::Sealed]) -> Self {
        for one in sealed {
            *self.occurrences.entry(one.place.clone()).or_default() += 1;
            self.taken += one.ciphertext.len() + one.place.len() + SEALED_COST;
        }
        self.before += sealed.len();
        self
    }

    /// Does to a value what the rule says. `place` names where it stands, and
    /// `plain` is what is hashed and sealed.
    fn edit(&mut self, action: Action, place: impl FnOnce() -> String, plain: &[u8]) -> Edit {
        let has_room = self.before + self.sealed.len() < MAX_SEALED
            && self.taken + plain.len() + SEALED_COST <= MAX_SEALED_BYTES;
        match (action, self.hash, &mut self.sealer) {
            (Action::Keep, ..) => Edit::Keep,
            (Action::Drop, ..) => Edit::Remove,
            (Action::Hash, Some(key), _) => Edit::With(key.hash(plain)),
            (Action::Seal, _, Some(sealer)) if has_room => {
                let place = place();
                self.taken += plain.len() + place.len() + SEALED_COST;
                let next = self.occurrences.entry(place.clone()).or_default();
                self.sealed.push(sealer.seal(self.id, place, *next, plain));
                *next += 1;
                Edit::With(crate::seal::PLACEHOLDER.to_vec())
            }
            // Without its key, or without room, a value must not pass.
            (Action::Hash | Action::Seal, ..) => {
                self.dropped += 1;
                Edit::Remove
            }
        }
    }
}
