//! The settings of what does not leave a capturing process as it is: credentials,
//! other values, who can open them, and the secret of hashes. The keys themselves are
//! made when the log is open.

use std::path::Path;

use umbra_capture::KeyBy;
use umbra_log::Address;
use umbra_record::{
    redact::{Action, Redaction, Rules},
    seal::wrap::Recipients,
};

use super::home;
use crate::settings::Settings;

/// Largest file of recipients.
const MAX_FILE: u64 = 64 << 10;

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Privacy {
    /// What is taken out, and how.
    pub(crate) rules: Redaction,
    /// Who can open what is sealed; nobody said: this machine's user.
    pub(crate) recipients: Option<Recipients>,
    /// The secret of hashes; nobody said: this machine's user's.
    pub(crate) hash_key: Option<Vec<u8>>,
    /// Something is hashed, be it the key of a record.
    pub(crate) hashes: bool,
}

/// Reads them; `key` is what keeps records together.
pub(super) fn privacy(settings: &mut Settings, key: &KeyBy) -> Privacy {
    let rules = rules(settings);
    let recipients = recipients(settings);
    let hash_key = settings.read("hash-key", |path| home::read_hash_key(Path::new(path)));
    let on_kafka = settings
        .text("log")
        .is_some_and(|log| matches!(Address::parse(log), Ok(Address::Kafka { .. })));
    if rules.does(Action::Seal) && recipients.is_none() && on_kafka && !settings.given("seal-to") {
        settings.problem("seal-to", NOBODY);
    }
    let hashes = rules.does(Action::Hash)
        || matches!(key, KeyBy::Client | KeyBy::Header(_) | KeyBy::Cookie(_));
    Privacy { rules, recipients, hash_key, hashes }
}

/// Why a recipient is needed on Kafka, and what to do.
const NOBODY: &str = "is required with Kafka, where credentials are sealed and somebody has to be \
    able to open them: `umbra keys new --out FILE` makes an identity and prints its recipient \
    (age1…) for --seal-to; a replayer opens with --seal-key FILE. Or choose --credentials keep, \
    hash or drop";

fn rules(settings: &mut Settings) -> Redaction {
    let credentials = settings.read("credentials", Action::parse).unwrap_or(Action::Drop);
    let redact = settings.texts("redact").to_vec();
    Redaction::new(&Rules { credentials, redact }).unwrap_or_else(|problems| {
        problems.iter().for_each(|problem| settings.problem("redact", problem));
        Redaction::default()
    })
}

/// All recipients of all values together.
fn recipients(settings: &mut Settings) -> Option<Recipients> {
    let mut all = String::new();
    for value in settings.texts("seal-to").to_vec() {
        match one(&value) {
            Ok(text) => all.push_str(&text),
            Err(why) => settings.problem("seal-to", why),
        }
        all.push('\n');
    }
    Recipients::parse(&all).ok()
}

/// Recipients as text, checked. Whatever is in a file that is none is not shown: it
/// may be an identity.
fn one(value: &str) -> Result<String, String> {
    if value.starts_with("age1") {
        let check = Recipients::parse(value);
        return check.map(|_| value.to_owned()).map_err(|_| format!("`{value}`: not a recipient"));
    }
    let text = file(Path::new(value)).map_err(|error| format!("{value}: {error}"))?;
    match Recipients::parse(&text) {
        Ok(_) => Ok(text),
        Err(_) if text.contains("AGE-SECRET-KEY-") => Err(format!(
            "{value}: is an identity, which opens; its recipient (age1…) is in its comment"
        )),
        Err(problems) => Err(format!("{value}: {}", problems.join("; "))),
    }
}

fn file(path: &Path) -> std::io::Result<String> {
    if std::fs::metadata(path)?.len() > MAX_FILE {
        return Err(std::io::Error::other("larger than 64 KiB"));
    }
    std::fs::read_to_string(path)
}

/// `auto`, `connection`, `request`, `client`, `header:NAME` or `cookie:NAME`.
pub(super) fn key(text: &str) -> Result<KeyBy, String> {
    let named = |name: &str| {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        match !name.is_empty() && name.bytes().all(token) {
            true => Ok(name.to_owned()),
            false => Err(format!("`{name}` is not a name")),
        }
    };
    match text.split_once(':') {
        None if text == "auto" => Ok(KeyBy::Auto),
        None if text == "connection" => Ok(KeyBy::Connection),
        None if text == "request" => Ok(KeyBy::Request),
        None if text == "client" => Ok(KeyBy::Client),
        Some(("header", name)) => named(name).map(KeyBy::Header),
        Some(("cookie", name)) => named(name).map(KeyBy::Cookie),
        _ => Err("expected auto, connection, request, client, header:NAME or cookie:NAME".into()),
    }
}
