//! What librdkafka calls back while it is polled: it is only noted here, and acted
//! upon by the loop that polls.

use std::{
    collections::VecDeque,
    error::Error,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode as Code},
    statistics::Statistics,
    types::RDKafkaRespErr,
};

use crate::kafka::client::Watch;

/// The context of a consumer.
pub(super) struct Group {
    watch: Watch,
    rebalances: Mutex<VecDeque<Rebalance>>,
    /// Nobody acts upon notes any more: answer at once.
    leaving: AtomicBool,
}

/// librdkafka waits until it is answered by an (un)assignment.
#[derive(Debug)]
pub(super) enum Rebalance {
    Assign(Vec<u32>),
    /// `lost`: somebody else may have them already.
    Revoke {
        partitions: Vec<u32>,
        lost: bool,
    },
}

impl Group {
    pub(super) fn new(watch: Watch) -> Self {
        Self { watch, rebalances: Mutex::default(), leaving: AtomicBool::new(false) }
    }

    /// What was called back and not yet acted upon.
    pub(super) fn rebalances(&self) -> MutexGuard<'_, VecDeque<Rebalance>> {
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on rebalances are answered here.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    pub(super) fn take_last(&self) -> Option<(Code, String)> {
        self.watch.take_last()
    }

    /// Whether this error passes because of how we sign in.
    pub(super) fn passes(&self, error: &KafkaError) -> bool {
        self.watch.passes(error)
    }
}

impl ClientContext for Group {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.watch.generate_oauth_token(config)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.watch.log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        self.watch.stats(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.watch.error(error, reason);
    }
}

impl ConsumerContext for Group {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let assigned = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.leaving.load(Ordering::Relaxed) {
            // librdkafka takes an assignment for none while it closes.
            let answer = if assigned {
                consumer.incremental_assign(list)
            } else {
                consumer.incremental_unassign(list)
            };
            if let Err(error) = answer {
                tracing::debug!(%error, "a rebalance while leaving");
            }
            return;
        }
        let partitions =
            list.elements().iter().filter_map(|one| u32::try_from(one.partition()).ok()).collect();
        self.rebalances().push_back(if assigned {
            Rebalance::Assign(partitions)
        } else {
            Rebalance::Revoke { partitions, lost: consumer.assignment_lost() }
        });
    }
}
