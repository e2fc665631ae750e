//! The inline proxy: a client's connection, its requests one after the other,
//! each forwarded to the upstream while the tees look on. Everything here is the
//! live path; the tees never make it wait.

mod absorb;
mod answer;
mod connection;
mod course;
mod exchange;
mod io;
mod over_leg;
pub(crate) mod progress;
mod receive;
mod tunnel;
mod upload;
pub(crate) mod watchdog;

use std::{
    cell::Cell,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use umbra_record::marker;

use crate::{
    descriptors::Reserve,
    drain::Stop,
    front::Client,
    h1::Limits,
    h2,
    origin::{Origin, Session},
    sink,
    stream::Stream,
    tap::Tap,
    upstream::{Backend, Fault, Link, Offer, Routes},
};
pub(crate) use answer::MAX_INTERIM;
pub(crate) use io::{Buffers, SMALL, Unsent, read, room, try_write_both};

/// Without a descriptor, a connection is tried again this often at least: one of
/// the pool may have become idle.
const RETRY: Duration = Duration::from_millis(10);

/// What the connections of one capture thread share.
pub(crate) struct Proxy {
    pub(crate) tap: Rc<Tap>,
    pub(crate) stop: Rc<Stop>,
    pub(crate) routes: Routes,
    pub(crate) reserve: Rc<Reserve>,
    buffers: Buffers,
    limits: Limits,
    /// Makes connection ids unique within the agent.
    thread: u16,
    connections: Cell<u64>,
    /// Connections are dealt to partitions in turn, each thread from a start of
    /// its own.
    next_partition: Cell<u32>,
}

/// A connection to an upstream, ready for a request.
pub(crate) enum Connected {
    New(Link),
    /// One that was used before.
    Idle(Link),
    /// A new one on which HTTP/2 is to be spoken.
    Http2(Link),
}

impl Proxy {
    pub(crate) fn new(tap: Rc<Tap>, stop: Rc<Stop>, reserve: Rc<Reserve>, thread: u16) -> Self {
        let config = &tap.config;
        let seed = tap.next_id(tap.now().wall_ns);
        Self {
            routes: Routes::new(config),
            buffers: Buffers::default(),
            limits: Limits { max_head: config.max_head, max_headers: config.max_headers },
            thread,
            connections: Cell::new(0),
            next_partition: Cell::new(u32::from_be_bytes([seed[12], seed[13], seed[14], seed[15]])),
            tap,
            stop,
            reserve,
        }
    }

    /// Serves a client's connection until it ends.
    pub(crate) async fn serve(self: Rc<Self>, client: Client) {
        let Client { stream, session, buffered, http2 } = client;
        let origin = Arc::new(self.origin(session));
        if http2 {
            return self.serve_http2(stream, buffered, origin).await;
        }
        let connection = connection::Connection::new(&self, Arc::clone(&origin), buffered);
        if let Some((stream, buffered)) = connection.serve(stream).await {
            self.serve_http2(stream, buffered, origin).await;
        }
    }

    /// Serves a connection on which HTTP/2 is spoken; `buffered` has been read of it.
    async fn serve_http2(self: &Rc<Self>, stream: Stream, buffered: BytesMut, origin: Arc<Origin>) {
        // On the heap: a connection of HTTP/1 does not pay for it.
        match &self.tap.config.sink {
            None => {
                let forward = |incoming| h2::forward(self, incoming);
                Box::pin(h2::serve(self, stream, buffered, origin, forward)).await;
            }
            Some(sink) => {
                let absorb = |incoming| sink::absorb(self, sink, incoming);
                Box::pin(h2::serve(self, stream, buffered, origin, absorb)).await;
            }
        }
    }

    /// Counts a message that is refused.
    pub(crate) fn refuse(&self, reason: &'static str) {
        self.tap.lane.borrow().stats().refuse(reason);
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// A connection for a request whose client speaks what `offer` says. While there is
    /// no descriptor for one, the next that is free is waited for, or the next
    /// connection that is idle, as long as connecting may take.
    pub(crate) async fn connect(
        &self,
        backend: &Backend,
        offer: Offer,
        sure: bool,
    ) -> Result<Connected, Fault> {
        let give_up = Instant::now() + self.tap.config.connect_timeout;
        let descriptors = self.reserve.shared();
        let mut waiting = None;
        loop {
            let counted = self.reserve.upstream();
            let fault = match backend.dialer.connect(offer).await {
                Ok((stream, false)) => return Ok(Connected::New(Link::new(stream, counted))),
                Ok((stream, true)) => return Ok(Connected::Http2(Link::new(stream, counted))),
                Err(fault) => fault,
            };
            let Some(error) = fault.is_shortage().filter(|_| Instant::now() < give_up) else {
                return Err(fault);
            };
            descriptors.ran_out(error);
            waiting.get_or_insert_with(|| descriptors.wait());
            drop(counted);
            // One that is idle, but leads elsewhere, is of less use than its descriptor.
            self.routes.close_elsewhere(backend);
            descriptors.freed(RETRY).await;
            if let Some(idle) = backend.pool.take(sure) {
                return Ok(Connected::Idle(idle));
            }
        }
    }

    fn origin(&self, session: Session) -> Origin {
        let number = self.connections.get() + 1;
        self.connections.set(number);
        let connection = u64::from(self.thread) << 48 | number;
        let mut key = [0; 16];
        let lane = self.tap.lane.borrow();
        // The random end of the agent's id, then the connection.
        key[..8].copy_from_slice(&lane.agent()[8..]);
        key[8..].copy_from_slice(&connection.to_be_bytes());
        let turn = self.next_partition.get();
        self.next_partition.set(turn.wrapping_add(1));
        Origin::new(connection, key, turn % lane.partitions(), Arc::new(session))
    }

    fn via() -> &'static [u8] {
        marker::VIA_CAPTURE.as_bytes()
    }
}
