//! What all clients of librdkafka have in common: its log lines go to `tracing`,
//! the last error is kept to be named when a call fails, and its error codes are
//! sorted by who has to act.

use std::{
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode as Code},
    statistics::Statistics,
};

use super::token::TokenSource;
use crate::LogError;

/// How long another broker may take to answer after one has told why it does not.
const SECOND_CHANCE: Duration = Duration::from_millis(400);

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
    /// Since when it is known that waiting does not help.
    hopeless: Option<Instant>,
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

    /// The last error librdkafka told since it was asked before.
    pub(super) fn take_last(&self) -> Option<(Code, String)> {
        self.told().last.take()
    }

    /// Whether a broker has told, a moment ago, that it will never let us in.
    pub(super) fn hopeless(&self) -> bool {
        self.told().hopeless.is_some_and(|since| since.elapsed() >= SECOND_CHANCE)
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
        let definite = definite(code, reason);
        if definite {
            told.hopeless.get_or_insert_with(Instant::now);
        }
        // What follows from a refusal says less than the refusal; so does "all brokers
        // are down" after any reason.
        let better = told.last.as_ref().is_some_and(|(code, reason)| self::definite(*code, reason));
        if (better && !definite) || (code == Code::AllBrokersDown && told.last.is_some()) {
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
        (Some(code), Some((cause, reason))) if unreachable(code) => (cause, reason),
        (Some(code), _) => (code, code.to_string()),
        (None, Some((cause, reason))) => (cause, reason),
        (None, None) => return LogError::Unusable(format!("{doing}: {error}")),
    };
    let remedy = remedy(code, &reason).map(|remedy| format!("; {remedy}")).unwrap_or_default();
    sorted(code, format!("{doing} (Kafka at {brokers}): {reason}{remedy}"))
}

/// Whether the broker said that it will not let us in as we are.
fn definite(code: Code, reason: &str) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::SSL
    ) || (code == Code::BrokerTransportFailure && reason.contains("security.protocol"))
}

/// What the user can do about it, where that is known.
pub(super) fn remedy(code: Code, reason: &str) -> Option<&'static str> {
    Some(match code {
        Code::SSL if reason.contains("verify failed") => {
            "the broker's certificate is for another name, or signed by a CA that is not trusted: \
             --kafka ssl.ca.location=FILE names the CA"
        }
        Code::SSL if reason.contains("wrong version number") => {
            "no TLS is spoken there: use that listener without it (--kafka \
             security.protocol=PLAINTEXT or SASL_PLAINTEXT), or the port of another one"
        }
        Code::SSL
            if reason.contains("certificate required") || reason.contains("might be required") =>
        {
            "the broker wants a certificate of ours: --kafka ssl.certificate.location=FILE and \
             ssl.key.location=FILE"
        }
        Code::BrokerTransportFailure if reason.contains("security.protocol") => {
            "the listener speaks TLS or SASL: --kafka security.protocol=SSL, SASL_SSL or \
             SASL_PLAINTEXT, as it is configured"
        }
        Code::Authentication | Code::SaslAuthenticationFailed => {
            "the broker does not accept who we say we are: look at sasl.mechanism, sasl.username \
             and sasl.password, or --kafka-token-command"
        }
        Code::UnsupportedSASLMechanism => "choose a mechanism of this listener: sasl.mechanism",
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
