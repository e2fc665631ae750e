//! What all clients of librdkafka have in common: its log lines go to `tracing`,
//! the last error is kept to be named when a call fails, and its error codes are
//! sorted by who has to act.

use std::sync::{Mutex, PoisonError};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode as Code},
    statistics::Statistics,
};

use crate::LogError;

/// The context of clients that only ask.
#[derive(Debug, Default)]
pub(super) struct Watch {
    last: Mutex<Option<(Code, String)>>,
}

impl Watch {
    /// The last error librdkafka told since it was asked before.
    pub(super) fn take_last(&self) -> Option<(Code, String)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Watch {
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
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // "All brokers are down" says less than the reason that came before it.
        if code == Code::AllBrokersDown && last.is_some() {
            return;
        }
        *last = Some((code, reason.to_owned()));
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
    sorted(code, format!("{doing} (Kafka at {brokers}): {reason}"))
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
