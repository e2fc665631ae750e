//! HTTP/2 from clients (RFC 9113), on the `h2` crate: the connection, its limits and
//! its end ([`server`]), and what becomes of each stream ([`exchange`]: passed on to
//! the upstream while the tees look on). What the upstream speaks is [`crate::leg`]'s
//! affair.
//!
//! On `h2` itself, because hyper hides what an intermediary has to pass on: the codes
//! of RST_STREAM, trailers nobody announced, interim answers, and when flow control
//! lets the sender go on.
//!
//! Where the RFC leaves a choice:
//! - A malformed request is answered with RST_STREAM and PROTOCOL_ERROR (8.1.1), one
//!   that is too large or cannot be served with a status (405, 414, 431, 501).
//! - `h2` ends the connection, not only the stream, for a field name in upper case or
//!   an unknown pseudo-header field, and for a broken field block.
//! - No push, no extended CONNECT, priorities are ignored.
//! - A reset reaches the other side with its code; what is left of the other
//!   direction is not waited for.
//! - Windows are opened by what the upstream has taken, never by what was read: a
//!   client sends no faster than the upstream reads, and nothing is kept for it.

mod calm;
mod client;
mod exchange;
mod frames;
mod ledger;
mod request;
mod server;
mod wire;

pub(crate) use exchange::forward;
pub(crate) use server::{Incoming, serve};

/// What a client says first (RFC 9113 section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
