//! What all clients of librdkafka have in common: its log lines go to `tracing`,
//! the last error is kept to be named when a call fails, and its error codes are
//! sorted by who has to act.

use std::{
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
    statistics::Statistics,
};

use super::{
    refusal::{Refusal, Refused},
    token::TokenSource,
};
use crate::LogError;

/// Between questions whose answer is still on its way among the brokers.
pub(super) const STEP: Duration = Duration::from_millis(50);

/// The context of clients that only ask, and the common part of the others'.
#[derive(Debug, Default)]
pub(super) struct Watch {
    told: Mutex<Told>,
    /// Where tokens come from, if clients sign in with tokens.
    token: Option<Arc<TokenSource>>,
    /// Named where its authorization fails.
    group: Option<String>,
}

/// What librdkafka has told.
#[derive(Debug, Default)]
struct Told {
    last: Option<(Code, String)>,
    /// Why we are not let in.
    refused: Option<Refused>,
}

impl Watch {
    /// Of a client that signs in with tokens of this source.
    pub(super) fn new(token: Option<Arc<TokenSource>>) -> Self {
        Self { token, ..Self::default() }
    }

    /// Of a member of this group.
    pub(super) fn member(self, group: &str) -> Self {
        Self { group: Some(group.to_owned()), ..self }
    }

    /// The same for one more client.
    pub(super) fn another(&self) -> Self {
        Self::new(self.token.clone())
    }

    /// Lets a client that is not polled all the time take a token, if it wants one:
    /// while it waits for an answer, it cannot. It must not be reading.
    pub(super) fn sign_in(consumer: &BaseConsumer<Self>) {
        /// Log lines and errors may wait in the same queue.
        const EVENTS: usize = 64;
        if consumer.context().token.is_some() {
            for _ in 0..EVENTS {
                let _ = consumer.poll(Duration::ZERO);
            }
        }
    }

    /// A token, if there is a source of them.
    pub(super) fn token(&self) -> Option<Result<OAuthToken, String>> {
        self.token.as_ref().map(|token| token.token())
    }

    /// The last error librdkafka told since it was asked before, or why we are not
    /// let in, with what to do.
    pub(super) fn take_last(&self) -> Option<(Code, String)> {
        let mut told = self.told();
        let last = told.last.take();
        match &told.refused {
            Some(refused) if refused.lasts() => {
                let why = format!("{}; {}", refused.words, refused.why.remedy());
                Some((refused.why.code(), why))
            }
            _ => last,
        }
    }

    /// Whether a broker has told, a moment ago, that it will never let us in.
    pub(super) fn hopeless(&self) -> bool {
        self.told().refused.as_ref().is_some_and(Refused::lasts)
    }

    /// Whether this error passes while a reader runs: who signs in with tokens gets in
    /// again with the next one, and that there is none is told where they come from.
    pub(super) fn passes(&self, error: &KafkaError) -> bool {
        let signing_in = KafkaError::MessageConsumption;
        self.token.is_some()
            && [Code::Authentication, Code::SaslAuthenticationFailed]
                .into_iter()
                .any(|code| *error == signing_in(code))
    }

    /// Forgets what was told before.
    pub(super) fn forget(&self) {
        *self.told() = Told::default();
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Watch {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let token = self.token().unwrap_or_else(|| Err("there is no token command".to_owned()));
        token.map_err(|why| {
            // librdkafka keeps an error as a C string.
            Box::from(why.replace('\0', " "))
        })
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // A user's properties are given to every client, whether they concern it or not.
        if facility == "CONFWARN" {
            tracing::debug!(target: "librdkafka", facility, "{message}");
            return;
        }
        if facility == "FAIL"
            && let Some(why) = Refusal::of(None, message)
        {
            Refused::note(&mut self.told().refused, why, bare(message));
        }
        match level {
            // Nothing is lost by what librdkafka calls an error: it tries again.
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => {
                tracing::warn!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
        }
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
        let Some(code) = error.rdkafka_error_code() else { return };
        let mut told = self.told();
        if let Some(why) = Refusal::of(Some(code), reason) {
            Refused::note(&mut told.refused, why, reason);
        }
        // "All brokers are down" says less than the reason that came before it.
        if code == Code::AllBrokersDown && told.last.is_some() {
            return;
        }
        let mut reason = reason.to_owned();
        if let (Code::GroupAuthorizationFailed, Some(group)) = (code, &self.group) {
            reason = format!("group {group}: {reason}");
        }
        told.last = Some((code, reason));
    }
}

impl ConsumerContext for Watch {}

/// A log line without the thread's name.
fn bare(message: &str) -> &str {
    message.split_once("]: ").map_or(message, |(_, bare)| bare)
}

/// Sorts an error by who has to act; `told` is what librdkafka said besides.
pub(super) fn explain(
    doing: &str,
    brokers: &str,
    error: &KafkaError,
    told: Option<(Code, String)>,
) -> LogError {
    let code = match error {
        KafkaError::ClientConfig(_, reason, key, _) => {
            return LogError::Refused(format!("Kafka property {key}: {reason}"));
        }
        KafkaError::ClientCreation(reason) => {
            return LogError::Refused(format!("no client for Kafka at {brokers}: {reason}"));
        }
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    };
    // The call itself often only knows that time ran out.
    let (code, reason) = match (code, told) {
        (Some(code), Some((cause, reason))) if code == cause || unreachable(code) => {
            (cause, reason)
        }
        (Some(code), _) => (code, code.to_string()),
        (None, Some((cause, reason))) => (cause, reason),
        (None, None) => return LogError::Unusable(format!("{doing}: {error}")),
    };
    let remedy = remedy(code).map(|remedy| format!("; {remedy}")).unwrap_or_default();
    sorted(code, format!("{doing} (Kafka at {brokers}): {reason}{remedy}"))
}

/// What the user can do about it, where that is known and not told with the reason.
pub(super) fn remedy(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::TopicAuthorizationFailed => {
            "allow it by ACL on the topic: Describe and DescribeConfigs, Write for an agent, Read \
             for a replayer"
        }
        Code::GroupAuthorizationFailed => "allow Read on the consumer group by ACL",
        Code::ClusterAuthorizationFailed => {
            "allow Write on the topic (or IdempotentWrite on the cluster) by ACL"
        }
        _ => return None,
    })
}

/// The same for a bare code.
pub(super) fn sorted(code: Code, message: String) -> LogError {
    match code {
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
            LogError::NotFound(message)
        }
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::SSL
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::PolicyViolation
        | Code::InvalidReplicationFactor
        | Code::InvalidPartitions
        | Code::InvalidConfig
        | Code::InvalidTopic
        | Code::FencedInstanceId => LogError::Refused(message),
        Code::InvalidMessage | Code::BadMessage | Code::Fatal => LogError::Unusable(message),
        // All others pass by themselves, as far as anybody can tell.
        _ => LogError::Unreachable(message),
    }
}

fn unreachable(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::Resolve
            | Code::WaitingForCoordinator
            | Code::BrokerNotAvailable
    )
}

/// The same for a reader that is in no group: the coordinator of one does not matter.
pub(super) fn passes_alone(error: &KafkaError) -> bool {
    matches!(error, KafkaError::MessageConsumption(Code::GroupAuthorizationFailed)) || passes(error)
}

/// Whether a reader that goes on may expect it to pass by itself.
pub(super) fn passes(error: &KafkaError) -> bool {
    match error {
        KafkaError::MessageConsumption(
            Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::SSL
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::AutoOffsetReset
            | Code::OffsetOutOfRange
            | Code::FencedInstanceId
            | Code::InvalidGroupId,
        ) => false,
        KafkaError::MessageConsumption(_) => true,
        _ => false,
    }
}

/// Whether brokers answer otherwise once they have agreed: a partition is about to have
/// another leader, or the one that was asked has not heard of it yet. An error like any
/// other where the topic is not known to be there.
pub(super) fn is_unsettled(error: &KafkaError) -> bool {
    let between_leaders = matches!(
        error.rdkafka_error_code(),
        Some(Code::NotLeaderForPartition | Code::LeaderNotAvailable | Code::ReplicaNotAvailable)
    );
    between_leaders || is_unheard(error)
}

/// Whether this client, or the broker it asked, has not heard of a partition.
pub(super) fn is_unheard(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(Code::UnknownPartition | Code::UnknownTopicOrPartition | Code::UnknownTopic)
    )
}

/// The oldest offset and the end of the only partition of a topic that is there, asked
/// until the brokers have agreed about it. Blocks.
pub(super) fn watermarks(
    client: &BaseConsumer<Watch>,
    topic: &str,
    timeout: Duration,
) -> KafkaResult<(u64, u64)> {
    let deadline = Instant::now() + timeout;
    loop {
        match client.fetch_watermarks(topic, 0, timeout) {
            Ok((low, high)) => return Ok((low.max(0) as u64, high.max(0) as u64)),
            Err(error) if is_unsettled(&error) && Instant::now() < deadline => {
                #[expect(clippy::disallowed_methods, reason = "nothing tells when they have")]
                thread::sleep(STEP);
            }
            Err(error) => return Err(error),
        }
    }
}
