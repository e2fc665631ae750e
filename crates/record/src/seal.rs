//! Values that leave the capture process only encrypted, and come back only into the
//! request that a replayer with the key sends. A data key encrypts values
//! (XChaCha20-Poly1305, bound to message, place and occurrence); it is itself
//! encrypted to recipients ([`wrap`]), so that a writer holds nothing that opens what
//! others wrote, and destroying a data key erases all it sealed. Where data keys are
//! kept is decided elsewhere.

pub mod wrap;

#[cfg(test)]
mod tests;

use std::{collections::HashMap, fmt, sync::Arc};

use chacha20poly1305::{
    AeadInOut, KeyInit, XChaCha20Poly1305,
    aead::{Aead, Payload},
};

use crate::pb;

/// Name of the table of a log that keeps data keys: `pb::DataKey` by its id.
pub const TABLE: &str = "keys";

/// Stands where a value was taken out and sealed.
pub const PLACEHOLDER: &[u8] = b"umbra-sealed";

/// A key that values are sealed with.
#[derive(Clone)]
pub struct DataKey {
    id: String,
    secret: [u8; 32],
}

/// Seals values with one data key. One per thread: nonces are counted.
pub struct Sealer {
    key: Arc<DataKey>,
    cipher: XChaCha20Poly1305,
    /// Random, so that no two sealers of a key share nonces, then a count.
    nonce: [u8; 24],
    count: u64,
}

/// Opens sealed values with the data keys it was given.
#[derive(Default)]
pub struct Opener {
    keys: HashMap<String, XChaCha20Poly1305>,
}

/// Why a value stays sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The data key is not there: erased, or for another identity.
    #[error("no key `{0}`")]
    NoKey(String),
    /// It was changed, or belongs to another message or place.
    #[error("`{0}` does not open with its key")]
    Damaged(String),
}

impl DataKey {
    /// A new key of this name.
    ///
    /// # Errors
    /// If the operating system gives no randomness.
    pub fn generate(id: String) -> Result<Self, getrandom::Error> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        Ok(Self { id, secret })
    }

    /// A new key for what is captured on the day (UTC) of this moment. Its name is that
    /// day and what tells it from other keys of the day: `2026-11-22.9f86d081884c7d65`.
    ///
    /// # Errors
    /// If the operating system gives no randomness.
    pub fn for_day(at_ns: u64) -> Result<Self, getrandom::Error> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        Self::generate(format!("{}.{:016x}", day(at_ns), u64::from_be_bytes(random)))
    }

    /// A key as it was before it was wrapped.
    pub fn from_parts(id: String, secret: [u8; 32]) -> Self {
        Self { id, secret }
    }

    /// Its name, kept with each value.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Sealer {
    /// A sealer with this key.
    ///
    /// # Errors
    /// If the operating system gives no randomness.
    pub fn new(key: Arc<DataKey>) -> Result<Self, getrandom::Error> {
        let mut nonce = [0; 24];
        getrandom::fill(&mut nonce[..16])?;
        let cipher = XChaCha20Poly1305::new(key.secret().into());
        Ok(Self { key, cipher, nonce, count: 0 })
    }

    /// The key in use.
    pub fn key(&self) -> &Arc<DataKey> {
        &self.key
    }

    /// Seals the value that stands at this place of a message.
    pub fn seal(&mut self, id: &[u8], place: String, occurrence: u32, value: &[u8]) -> pb::Sealed {
        self.count += 1;
        self.nonce[16..].copy_from_slice(&self.count.to_be_bytes());
        let mut ciphertext = value.to_vec();
        self.cipher
            .encrypt_in_place(
                &self.nonce.into(),
                &bound_to(id, &place, occurrence),
                &mut ciphertext,
            )
            .expect("a value is far smaller than what the cipher can take");
        pb::Sealed {
            place,
            occurrence,
            key_id: self.key.id.clone(),
            nonce: self.nonce.to_vec().into(),
            ciphertext: ciphertext.into(),
        }
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Opener {
    /// Takes one more key.
    pub fn add(&mut self, key: &DataKey) {
        self.keys.insert(key.id.clone(), XChaCha20Poly1305::new(key.secret().into()));
    }

    /// Whether values of this key can be opened.
    pub fn has(&self, key_id: &str) -> bool {
        self.keys.contains_key(key_id)
    }

    /// The value that was sealed at its place of a message.
    pub fn open(&self, id: &[u8], sealed: &pb::Sealed) -> Result<Vec<u8>, OpenError> {
        let key =
            self.keys.get(&sealed.key_id).ok_or_else(|| OpenError::NoKey(sealed.key_id.clone()))?;
        let damaged = || OpenError::Damaged(sealed.place.clone());
        let nonce: [u8; 24] = sealed.nonce[..].try_into().map_err(|_| damaged())?;
        let aad = bound_to(id, &sealed.place, sealed.occurrence);
        let payload = Payload { msg: &sealed.ciphertext, aad: &aad };
        key.decrypt(&nonce.into(), payload).map_err(|_| damaged())
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("keys", &self.keys.len()).finish()
    }
}

/// The day (UTC) of a moment, `2026-11-22`.
fn day(at_ns: u64) -> String {
    let second = i64::try_from(at_ns / 1_000_000_000).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX);
    at.strftime("%Y-%m-%d").to_string()
}

/// What a sealed value is bound to: moved elsewhere it does not open.
fn bound_to(id: &[u8], place: &str, occurrence: u32) -> Vec<u8> {
    let mut bound = Vec::with_capacity(id.len() + place.len() + 5);
    bound.extend_from_slice(id);
    bound.extend_from_slice(place.as_bytes());
    bound.push(0);
    bound.extend_from_slice(&occurrence.to_be_bytes());
    bound
}
