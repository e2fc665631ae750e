//! Where requests come from, as far as their records have to know: a client's
//! connection, and the key that keeps records together and in order. What the session
//! with the client is, is found out by whoever accepted it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use crate::lane::Place;

/// What is known of a client's connection beside its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    /// `address:port`; empty for a Unix socket.
    pub(crate) peer: String,
    /// The client's address without the port, for X-Forwarded-For; empty for a Unix
    /// socket.
    pub(crate) client: String,
    /// `http` or `https`, as the client uses it.
    pub(crate) scheme: &'static str,
    /// The name the client asked for, if it uses TLS and said one.
    pub(crate) tls_server_name: String,
    /// The protocol agreed on in the TLS handshake.
    pub(crate) alpn: String,
}

/// Where requests come from: one client connection, or one key of the requests on it.
#[derive(Debug)]
pub(crate) struct Origin {
    /// Unique within the agent.
    pub(crate) connection: u64,
    /// Keeps the records together; unique among agents.
    pub(crate) key: [u8; 16],
    /// Where they go.
    pub(crate) partition: u32,
    pub(crate) session: Arc<Session>,
    /// Jobs of this origin the recorder has not finished. While there are any, all of
    /// its records go that way, to keep their order.
    pub(crate) pending: AtomicUsize,
    /// The last request that the capture thread could not record …
    pub(crate) lost_here: LastLost,
    /// … and the last one that the recorder could not. Each is set by one thread,
    /// which meets the answer before the origin's next request.
    pub(crate) lost_there: LastLost,
}

/// The number of the last request of an origin that will not be in the log: nobody
/// could use its answer.
#[derive(Debug, Default)]
pub(crate) struct LastLost(AtomicU64);

impl Session {
    /// In the clear, from nobody with an address.
    pub(crate) fn unix() -> Self {
        Self {
            peer: String::new(),
            client: String::new(),
            scheme: "http",
            tls_server_name: String::new(),
            alpn: String::new(),
        }
    }

    /// In the clear, from this socket address.
    pub(crate) fn plain(peer: std::net::SocketAddr) -> Self {
        Self {
            peer: peer.to_string(),
            client: peer.ip().to_canonical().to_string(),
            scheme: "http",
            tls_server_name: String::new(),
            alpn: String::new(),
        }
    }
}

impl Origin {
    pub(crate) fn new(
        connection: u64,
        key: [u8; 16],
        partition: u32,
        session: Arc<Session>,
    ) -> Self {
        Self {
            connection,
            key,
            partition,
            session,
            pending: AtomicUsize::new(0),
            lost_here: LastLost::default(),
            lost_there: LastLost::default(),
        }
    }

    /// The same connection under another key: its records keep an order of their own.
    pub(crate) fn keyed(&self, key: [u8; 16], partition: u32) -> Self {
        Self::new(self.connection, key, partition, Arc::clone(&self.session))
    }

    pub(crate) fn place(&self, time_ns: u64) -> Place<'_> {
        Place { partition: self.partition, key: &self.key, time_ns }
    }
}

impl LastLost {
    pub(crate) fn set(&self, number: u64) {
        self.0.store(number + 1, Ordering::Release);
    }

    pub(crate) fn is(&self, number: u64) -> bool {
        self.0.load(Ordering::Acquire) == number + 1
    }
}
