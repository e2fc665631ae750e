//! The log on a real Kafka.

#[path = "kafka/appending.rs"]
mod appending;
#[path = "kafka/broker.rs"]
mod broker;
#[path = "kafka/members.rs"]
mod members;
#[path = "kafka/reading.rs"]
mod reading;
#[path = "kafka/security.rs"]
mod security;
#[path = "kafka/tables.rs"]
mod tables;
#[path = "kafka/topics.rs"]
mod topics;

mod conformance {
    use crate::broker::{self, unique};

    struct Kafka {
        prefix: String,
    }

    impl umbra_log::conformance::Subject for Kafka {
        fn address(&self, name: &str) -> umbra_log::Address {
            broker::address(&format!("{}-{name}", self.prefix))
        }

        fn options(&self) -> umbra_log::LogOptions {
            // With two producers wherever there is more than one partition.
            umbra_log::LogOptions { producers: 2, ..broker::options(12) }
        }
    }

    umbra_log::conformance_suite!(Kafka { prefix: unique("promise") });
}
