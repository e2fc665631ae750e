//! The keys of an agent, made before it takes its first request: what it seals with is
//! in the log's key store by then, so that whoever may can open it.

use tokio::task::JoinSet;
use umbra_capture::{KeyError, SealKeys};
use umbra_log::Log;
use umbra_record::{
    redact::{Action, HashKey},
    seal::TABLE,
};

use crate::{
    config::{Capture, home},
    exit::{Code, Failure},
};

/// Makes the keys that the rules need, and puts them into the agent's configuration.
/// What is given back puts the next days' keys into the store until it is dropped.
pub(super) async fn open(capture: &mut Capture, log: &Log) -> Result<JoinSet<()>, Failure> {
    let mut renewal = JoinSet::new();
    if capture.privacy.hashes {
        let secret = match capture.privacy.hash_key.take() {
            Some(secret) => secret,
            None => own_hash_key()?,
        };
        capture.config.privacy.hash_key = Some(HashKey::new(&secret));
    }
    if !capture.privacy.rules.does(Action::Seal) {
        return Ok(renewal);
    }
    let recipients = match capture.privacy.recipients.clone() {
        Some(recipients) => recipients,
        None => own_recipients()?,
    };
    let table = log.table(TABLE).await.map_err(|error| unkept(Failure::from(error)))?;
    let keys = SealKeys::open(&table, recipients, capture.config.agent, now_ns()).await;
    let keys = keys.map_err(|error| match error {
        KeyError::Keep(error) => unkept(Failure::from(error)),
        KeyError::Make(_) => Failure::new(Code::Bug, error.to_string()),
    })?;
    tracing::info!(
        keys = table.name(),
        recipients = ?keys.recipients(),
        "values are sealed; their keys are there, encrypted to the recipients"
    );
    capture.config.privacy.seal_keys = Some(keys.clone());
    renewal.spawn(async move { keys.renew(&table, now_ns).await });
    Ok(renewal)
}

/// Nothing may be sealed that nobody can open.
fn unkept(mut failure: Failure) -> Failure {
    failure.message = format!(
        "the key of sealed values cannot be kept with the log: {}; or choose --credentials keep, \
         hash or drop",
        failure.message
    );
    failure
}

fn own_recipients() -> Result<umbra_record::seal::wrap::Recipients, Failure> {
    let own = home::own_identity().map_err(|failure| Failure {
        message: format!(
            "{}; name those who can open sealed values by --seal-to, or choose --credentials \
             keep, hash or drop",
            failure.message
        ),
        ..failure
    })?;
    let recipients = own.value.recipients();
    if own.created {
        tracing::info!(
            identity = %own.path.display(),
            recipients = ?recipients.names(),
            "made an identity of yours: it opens what is sealed here, and is found there by a replay of the same user"
        );
    }
    Ok(recipients)
}

fn own_hash_key() -> Result<Vec<u8>, Failure> {
    let own = home::own_hash_key().map_err(|failure| Failure {
        message: format!("{}; name a file with a secret by --hash-key", failure.message),
        ..failure
    })?;
    if own.created {
        tracing::info!(
            key = %own.path.display(),
            "made a secret for hashes: equal values have equal hashes on this machine; for agents on several, give all of them one --hash-key"
        );
    }
    Ok(own.value)
}

fn now_ns() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}
