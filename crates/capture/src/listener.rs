//! Accepting connections from sockets that all capture threads share. Neither a
//! client's reset nor a full table of descriptors ends it, and none makes it spin.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::descriptors::{Reserve, is_shortage};

/// Pause after an error that would come again at once.
const PAUSE: Duration = Duration::from_millis(50);

/// Longest pause without a descriptor: it ends when a connection does, but others
/// in the process or on the machine may give theirs back too.
const LONG_PAUSE: Duration = Duration::from_secs(1);

/// One thread's part in accepting.
pub(crate) struct Acceptor {
    /// The same sockets, as the caller gave them and as the runtime sees them.
    sockets: Arc<Vec<std::net::TcpListener>>,
    listeners: Vec<TcpListener>,
    /// Which listener is asked first next time.
    turn: usize,
    /// Bounds the connections of all threads.
    permits: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
    waiting: Option<Permit>,
    pause: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

type Permit =
    Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, tokio::sync::AcquireError>> + Send>>;

/// A client's connection, and its place among the most allowed.
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) permit: OwnedSemaphorePermit,
}

impl Acceptor {
    /// Must be called on the thread's runtime.
    pub(crate) fn new(
        sockets: Arc<Vec<std::net::TcpListener>>,
        permits: Arc<Semaphore>,
    ) -> io::Result<Self> {
        let listeners = sockets
            .iter()
            .map(|listener| {
                let listener = listener.try_clone()?;
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener)
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { sockets, listeners, turn: 0, permits, permit: None, waiting: None, pause: None })
    }

    /// The next connection that `reserve` has room for. Cancel-safe.
    pub(crate) async fn accept(&mut self, reserve: &Reserve) -> Accepted {
        poll_fn(|cx| self.poll(cx, reserve)).await
    }

    /// A connection that is already waiting to be accepted. Asks the system, which
    /// may know of more than the runtime does.
    pub(crate) fn accept_waiting(&mut self) -> Option<Accepted> {
        let permit = match self.permit.take() {
            Some(permit) => permit,
            None => Arc::clone(&self.permits).try_acquire_owned().ok()?,
        };
        let (stream, peer) = self.sockets.iter().find_map(|socket| socket.accept().ok())?;
        stream.set_nonblocking(true).ok()?;
        Some(Accepted { stream: TcpStream::from_std(stream).ok()?, peer, permit })
    }

    fn poll(&mut self, cx: &mut Context<'_>, reserve: &Reserve) -> Poll<Accepted> {
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            // First the permit and the room: a connection that finds no place stays
            // in the system's queue.
            let permit = match self.permit.take() {
                Some(permit) => permit,
                None => std::task::ready!(self.poll_permit(cx)),
            };
            let polled = match reserve.make_room() {
                Ok(()) => self.poll_listeners(cx),
                Err(error) => Poll::Ready(Err(error)),
            };
            match polled {
                Poll::Ready(Ok((stream, peer))) => {
                    return Poll::Ready(Accepted { stream, peer, permit });
                }
                Poll::Ready(Err(error)) => {
                    self.permit = Some(permit);
                    self.pause_after(&error, reserve);
                }
                Poll::Pending => {
                    self.permit = Some(permit);
                    return Poll::Pending;
                }
            }
        }
    }

    fn poll_permit(&mut self, cx: &mut Context<'_>) -> Poll<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            self.waiting = None;
            return Poll::Ready(permit);
        }
        let permits = &self.permits;
        let waiting =
            self.waiting.get_or_insert_with(|| Box::pin(Arc::clone(permits).acquire_owned()));
        let permit = std::task::ready!(waiting.as_mut().poll(cx));
        self.waiting = None;
        match permit {
            Ok(permit) => Poll::Ready(permit),
            // Nobody closes the semaphore.
            Err(_) => Poll::Pending,
        }
    }

    fn poll_listeners(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        for _ in 0..self.listeners.len() {
            let at = self.turn % self.listeners.len();
            self.turn = at + 1;
            if let Poll::Ready(result) = self.listeners[at].poll_accept(cx) {
                return Poll::Ready(result);
            }
        }
        Poll::Pending
    }

    fn pause_after(&mut self, error: &io::Error, reserve: &Reserve) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
        if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
            return;
        }
        let descriptors = Arc::clone(reserve.shared());
        self.pause = Some(if is_shortage(error) {
            descriptors.ran_out(error);
            reserve.give_up_margin();
            Box::pin(async move { descriptors.freed(LONG_PAUSE).await })
        } else {
            descriptors.cannot_accept(error, "cannot accept connections for a moment");
            Box::pin(tokio::time::sleep(PAUSE))
        });
    }
}
