//! Data keys on their way to those who may open them: wrapped to recipients with age
//! (<https://age-encryption.org/v1>), so that `age` and its key files work with ours.

#[cfg(test)]
mod tests;

use std::{iter, str::FromStr};

use age::{
    secrecy::ExposeSecret,
    x25519::{Identity, Recipient},
};

use super::DataKey;

/// Those whose identities open a data key.
#[derive(Clone)]
pub struct Recipients(Vec<Recipient>);

/// Secret keys that open what was wrapped to their recipients.
#[derive(Clone)]
pub struct Identities(Vec<Identity>);

/// Why a data key cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    /// It is for others.
    #[error("no identity here opens it")]
    NotForUs,
    /// It is none.
    #[error("not a wrapped key: {0}")]
    Damaged(String),
}

impl Recipients {
    /// Reads recipients (`age1…`), one a line or by commas; `#` begins a comment. All
    /// that is wrong is told, in words.
    ///
    /// # Errors
    /// What is not a recipient.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        parse(text, "a recipient (age1…)").map(Self)
    }

    /// As text, one each.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// The key, encrypted to all of them.
    ///
    /// # Errors
    /// In words; there is at least one recipient after `parse`.
    pub fn wrap(&self, key: &DataKey) -> Result<Vec<u8>, WrapError> {
        let damaged = |error: String| WrapError::Damaged(error);
        let recipients = self.0.iter().map(|one| one as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(recipients)
            .map_err(|error| damaged(error.to_string()))?;
        let mut wrapped = Vec::new();
        let mut writer =
            encryptor.wrap_output(&mut wrapped).map_err(|error| damaged(error.to_string()))?;
        std::io::Write::write_all(&mut writer, key.secret())
            .and_then(|()| writer.finish().map(drop))
            .map_err(|error| damaged(error.to_string()))?;
        Ok(wrapped)
    }
}

impl std::fmt::Debug for Recipients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Identities {
    /// A new one.
    pub fn generate() -> Self {
        Self(vec![Identity::generate()])
    }

    /// Reads identities (`AGE-SECRET-KEY-1…`), one a line; `#` begins a comment.
    ///
    /// # Errors
    /// What is not an identity; never the text itself.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        parse(text, "an identity (AGE-SECRET-KEY-1…)").map(Self)
    }

    /// Those who wrap to these identities.
    pub fn recipients(&self) -> Recipients {
        Recipients(self.0.iter().map(Identity::to_public).collect())
    }

    /// The secret keys as the text of an identity file.
    pub fn to_file(&self) -> String {
        let mut text = String::new();
        for identity in &self.0 {
            text.push_str(&format!("# public key: {}\n", identity.to_public()));
            text.push_str(identity.to_string().expose_secret());
            text.push('\n');
        }
        text
    }

    /// The data key of this name.
    ///
    /// # Errors
    /// If it is for others, or damaged.
    pub fn unwrap(&self, id: &str, wrapped: &[u8]) -> Result<DataKey, WrapError> {
        let damaged = |error: String| WrapError::Damaged(error);
        let decryptor =
            age::Decryptor::new_buffered(wrapped).map_err(|error| damaged(error.to_string()))?;
        let identities = self.0.iter().map(|one| one as &dyn age::Identity);
        let reader = decryptor.decrypt(identities).map_err(|error| match error {
            age::DecryptError::NoMatchingKeys => WrapError::NotForUs,
            error => damaged(error.to_string()),
        })?;
        let mut secret = Vec::new();
        let mut bounded = std::io::Read::take(reader, 33);
        std::io::Read::read_to_end(&mut bounded, &mut secret)
            .map_err(|error| damaged(error.to_string()))?;
        let secret: [u8; 32] = secret.try_into().map_err(|_| damaged("not 32 bytes".to_owned()))?;
        Ok(DataKey::from_parts(id.to_owned(), secret))
    }
}

impl std::fmt::Debug for Identities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identities").field("of", &self.recipients()).finish()
    }
}

fn parse<T: FromStr>(text: &str, what: &str) -> Result<Vec<T>, Vec<String>> {
    let entries = text
        .lines()
        .enumerate()
        .flat_map(|(number, line)| iter::repeat(number + 1).zip(line.split(',')))
        .map(|(number, entry)| (number, entry.trim()))
        .filter(|(_, entry)| !entry.is_empty() && !entry.starts_with('#'));
    let (mut parsed, mut problems) = (Vec::new(), Vec::new());
    for (number, entry) in entries {
        match entry.parse() {
            Ok(one) => parsed.push(one),
            Err(_) => problems.push(format!("line {number}: not {what}")),
        }
    }
    if parsed.is_empty() && problems.is_empty() {
        problems.push(format!("there is not one {what} in it"));
    }
    if problems.is_empty() { Ok(parsed) } else { Err(problems) }
}
