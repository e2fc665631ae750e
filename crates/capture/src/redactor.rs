//! Takes secrets out of messages on one thread, before they are encoded: heads where
//! they are, bodies on the recorder thread only, since that takes time in proportion to
//! their size. What the rules mean is in `umbra-record`.

use std::borrow::Cow;

use umbra_record::{
    coding,
    fields::{self, Fields},
    hash,
    pb::{self, Completeness},
    redact::{HashKey, RedactedBody, RedactedHead, Redaction, Secrets},
};

use crate::{
    keys::{SealKeys, Sealers},
    tee::Body,
};

/// Which values do not leave the process as they are. The default keeps all.
#[derive(Debug, Clone, Default)]
pub struct Privacy {
    /// What is taken out, and how.
    pub rules: Redaction,
    /// For values to be hashed, and for keys of records that come from a header or a
    /// cookie; without it such values are dropped.
    pub hash_key: Option<HashKey>,
    /// For values to be sealed; without them such values are dropped.
    pub seal_keys: Option<SealKeys>,
}

/// Applies the rules on one thread.
#[derive(Debug)]
pub(crate) struct Redactor {
    rules: Redaction,
    hash_key: Option<HashKey>,
    sealers: Sealers,
}

/// What a body is of.
#[derive(Clone, Copy)]
pub(crate) struct Whose<'a> {
    /// Of the request.
    pub(crate) id: &'a [u8; 16],
    pub(crate) start_ns: u64,
    pub(crate) fields: &'a dyn Fields,
    /// Most bytes that it may become when its coding is removed.
    pub(crate) limit: usize,
    /// Its head is written already, as that of a body without coding, and these were
    /// the values sealed in it.
    pub(crate) head_sealed: Option<&'a [pb::Sealed]>,
}

/// A body, and what is told of the whole.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) body: Body,
    pub(crate) length: u64,
    pub(crate) hash: Option<[u8; 16]>,
    pub(crate) completeness: Completeness,
}

/// What the header fields of a record have to fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Fit {
    /// The body as received.
    #[default]
    Received,
    /// A body without coding, whose length is not known yet.
    Decoded,
    /// A body of this length, without coding.
    Length(usize),
}

/// What taking secrets out of a body left beside it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Aside {
    pub(crate) fit: Fit,
    pub(crate) sealed: Vec<pb::Sealed>,
    /// Values that were to be sealed or hashed and had to be dropped.
    pub(crate) dropped: u64,
    /// Not all of it could be looked at.
    pub(crate) cut: bool,
}

impl Aside {
    /// All that was sealed, with what was sealed in the head.
    pub(crate) fn with<'a>(&'a self, head: &'a [pb::Sealed]) -> Cow<'a, [pb::Sealed]> {
        match (head, &self.sealed[..]) {
            (head, []) => Cow::Borrowed(head),
            ([], body) => Cow::Borrowed(body),
            (head, body) => Cow::Owned([head, body].concat()),
        }
    }
}

/// Where secrets may be beside the body.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) query: Option<&'a [u8]>,
    pub(crate) fields: &'a dyn Fields,
    pub(crate) trailers: &'a dyn Fields,
}

/// What of a message stands in its record in place of what was received.
#[derive(Debug)]
pub(crate) struct Shown<'a> {
    head: Option<RedactedHead<'a>>,
    trailers: Option<RedactedHead<'a>>,
    pub(crate) sealed: Vec<pb::Sealed>,
    pub(crate) dropped: u64,
}

impl<'a> Shown<'a> {
    pub(crate) fn query<'b>(&'b self, received: Option<&'b [u8]>) -> Option<&'b [u8]> {
        self.head.as_ref().map_or(received, |head| head.query.as_deref())
    }

    pub(crate) fn fields<'b>(&'b self, received: &'b dyn Fields) -> &'b dyn Fields {
        self.head.as_ref().map_or(received, |head| &head.headers)
    }

    pub(crate) fn trailers<'b>(&'b self, received: &'b dyn Fields) -> &'b dyn Fields {
        self.trailers.as_ref().map_or(received, |trailers| &trailers.headers)
    }
}

impl Redactor {
    pub(crate) fn new(privacy: &Privacy) -> Self {
        Self {
            rules: privacy.rules.clone(),
            hash_key: privacy.hash_key.clone(),
            sealers: Sealers::new(privacy.seal_keys.clone()),
        }
    }

    /// The rules, and what they need for a message of a request that began then.
    pub(crate) fn secrets<'a>(
        &'a mut self,
        id: &'a [u8; 16],
        start_ns: u64,
    ) -> (&'a Redaction, Secrets<'a>) {
        let sealer = self.sealers.at(start_ns);
        (&self.rules, Secrets::new(id, self.hash_key.as_ref(), sealer))
    }

    pub(crate) fn rules(&self) -> &Redaction {
        &self.rules
    }

    /// Takes the secrets out of what is not the body, of which `aside` is left.
    pub(crate) fn head<'a>(
        &mut self,
        id: &[u8; 16],
        start_ns: u64,
        head: Head<'a>,
        aside: &Aside,
    ) -> Shown<'a> {
        if self.rules.is_nothing() {
            return Shown { head: None, trailers: None, sealed: Vec::new(), dropped: 0 };
        }
        let (rules, secrets) = self.secrets(id, start_ns);
        let mut secrets = secrets.after(&aside.sealed);
        let mut redacted = rules.head(head.query, head.fields, &mut secrets);
        if aside.fit != Fit::Received {
            let unchanged = || RedactedHead::unchanged(head.query, head.fields);
            redacted.get_or_insert_with(unchanged).fit(match aside.fit {
                Fit::Length(length) => Some(length),
                Fit::Received | Fit::Decoded => None,
            });
        }
        let trailers = rules.head(None, head.trailers, &mut secrets);
        let dropped = secrets.dropped + aside.dropped;
        Shown { head: redacted, trailers, sealed: secrets.sealed, dropped }
    }

    /// The trailers of a message whose head is written already, with these values
    /// sealed so far.
    pub(crate) fn trailers<'a>(
        &mut self,
        id: &[u8; 16],
        start_ns: u64,
        trailers: &'a dyn Fields,
        sealed: &[pb::Sealed],
    ) -> Shown<'a> {
        let (rules, secrets) = self.secrets(id, start_ns);
        let mut secrets = secrets.after(sealed);
        let trailers = rules.head(None, trailers, &mut secrets);
        Shown { head: None, trailers, sealed: secrets.sealed, dropped: secrets.dropped }
    }

    /// Takes the secrets out of a body. What was cut, by its sender or by a limit, is
    /// told without its hash: a secret in what is missing could be guessed by it.
    pub(crate) fn body(&mut self, whose: Whose<'_>, told: &mut Told) -> Aside {
        let mut aside = Aside::default();
        if !self.rules.concerns_body(whose.fields) {
            return aside;
        }
        let whole = told.completeness == Completeness::Complete;
        let (rules, secrets) = self.secrets(whose.id, whose.start_ns);
        let mut secrets = secrets.after(whose.head_sealed.unwrap_or_default());
        let content = told.body.contiguous();
        let new = rules.body(whose.fields, &content, whose.limit, &mut secrets);
        let new = new.or_else(|| whose.head_sealed.and_then(|_| decoded(whose, &content)));
        (aside.sealed, aside.dropped) = (secrets.sealed, secrets.dropped);
        let Some(RedactedBody { bytes, whole: looked_at }) = new else {
            if !whole {
                told.hash = None;
            }
            return aside;
        };
        aside.fit = Fit::Length(bytes.len());
        aside.cut = !looked_at;
        if whole && looked_at {
            told.length = bytes.len() as u64;
            told.hash = Some(hash::of(&bytes));
        } else {
            told.hash = None;
        }
        if whole && !looked_at {
            told.completeness = Completeness::Truncated;
        }
        told.body = Body::from(bytes);
        aside
    }
}

/// A body in which nothing was found, as its head, written already, speaks of it.
fn decoded(whose: Whose<'_>, body: &[u8]) -> Option<RedactedBody> {
    let decoded = coding::decode(body, fields::all(whose.fields, "content-encoding"), whose.limit)?;
    match decoded.content {
        Cow::Borrowed(_) => None,
        Cow::Owned(bytes) => Some(RedactedBody { bytes, whole: decoded.whole }),
    }
}
