//! The log on a real Kafka.

#[path = "kafka/broker.rs"]
mod broker;
#[path = "kafka/appending.rs"]
mod appending;
#[path = "kafka/reading.rs"]
mod reading;
