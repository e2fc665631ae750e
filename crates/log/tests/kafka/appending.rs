//! Appenders and topics.
