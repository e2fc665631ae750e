//! Whether we may write to a topic, asked without writing anything: a broker looks
//! at permissions first and at sizes then, so a record above the topic's limit is
//! refused for one or the other. An agent that may not write says so when it starts,
//! not when it has something to lose.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::DeliveryResult,
    producer::{BaseProducer, BaseRecord, Producer, ProducerContext, PurgeConfig},
};
use tokio::task::spawn_blocking;

use super::{admin::Admin, client::Watch, topic::Topic};
use crate::LogError;

/// Topics with a higher limit are not asked: that would cost too much.
const LARGEST: usize = 16 << 20;
/// How far above the limit.
const BEYOND: usize = 1 << 10;
/// Longest wait for the answer. Without one, the agent finds out by writing.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// Fails only if it is known that we may not write.
pub(super) async fn may_write(
    admin: &Arc<Admin>,
    name: &str,
    topic: &Topic,
) -> Result<(), LogError> {
    // A guessed limit could be below the real one, and the record taken.
    if !topic.told || topic.max_message_bytes > LARGEST {
        return Ok(());
    }
    let size = topic.max_message_bytes + BEYOND;
    let (admin, name) = (Arc::clone(admin), name.to_owned());
    let asked = spawn_blocking(move || ask(&admin, &name, size));
    asked.await.map_err(|stopped| LogError::Unreachable(format!("asking to write: {stopped}")))?
}

fn ask(admin: &Admin, name: &str, size: usize) -> Result<(), LogError> {
    let doing = format!("asking whether we may write to the topic {name}");
    let mut config = admin.properties().client();
    config
        .set("acks", "1")
        .set("linger.ms", "0")
        .set("compression.type", "none")
        .set("message.timeout.ms", PATIENCE.as_millis().to_string())
        .set("message.max.bytes", (size + BEYOND).to_string());
    let probe = Probe { watch: admin.properties().watch(), answer: Mutex::default() };
    let producer: BaseProducer<Probe> =
        config.create_with_context(probe).map_err(|error| admin.explain(&doing, &error))?;
    let payload = vec![0_u8; size];
    let record: BaseRecord<'_, (), [u8]> = BaseRecord::to(name).partition(0).payload(&payload);
    if let Err((error, _)) = producer.send(record) {
        tracing::debug!(%error, "{doing}");
        return Ok(());
    }
    let deadline = Instant::now() + PATIENCE;
    let answer = loop {
        producer.poll(POLL);
        if let Some(answer) = producer.context().answer() {
            break answer;
        }
        if Instant::now() >= deadline {
            producer.purge(PurgeConfig::default().queue().inflight());
            return Ok(());
        }
    };
    match answer {
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => {
            Err(LogError::Refused(format!(
                "we may not write to the topic {name} (Kafka at {}): {answer}; allow Write on the \
                 topic by ACL",
                admin.properties().brokers()
            )))
        }
        _ => Ok(()),
    }
}

struct Probe {
    watch: Watch,
    answer: Mutex<Option<Code>>,
}

impl Probe {
    fn answer(&self) -> Option<Code> {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Probe {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(
        &self,
        config: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.watch.generate_oauth_token(config)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.watch.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.watch.error(error, reason);
    }
}

impl ProducerContext for Probe {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let code = match result {
            Err((error, _)) => error.rdkafka_error_code().unwrap_or(Code::Unknown),
            Ok(message) => {
                tracing::warn!(
                    partition = message.partition(),
                    offset = message.offset(),
                    "a record above the topic's limit was taken: readers will set it aside"
                );
                Code::NoError
            }
        };
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(code);
    }
}
