//! Accepting connections from sockets that all capture threads share. Neither a
//! client's reset nor a full table of descriptors ends it, and none makes it spin.
//! Where the sockets come from is decided by whoever starts the agent.

use std::{
    future::poll_fn,
    io,
    os::unix::net::UnixListener,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    net::{TcpStream, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::{
    descriptors::{Reserve, is_shortage},
    front::Incoming,
};

/// Pause after an error that would come again at once.
const PAUSE: Duration = Duration::from_millis(50);

/// Longest pause without a descriptor: it ends when a connection does, but others
/// in the process or on the machine may give theirs back too.
const LONG_PAUSE: Duration = Duration::from_secs(1);

/// A listening socket of an agent.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    handed_on: HandedOn,
}

#[derive(Debug)]
enum Socket {
    Tcp(std::net::TcpListener),
    Unix(UnixListener),
}

/// Whether somebody else has the socket too, and goes on with it: then what waits in its
/// queue at the end is not for this agent. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct HandedOn(Arc<AtomicBool>);

/// One thread's part in accepting.
pub(crate) struct Acceptor {
    /// The same sockets, as the caller gave them and as the runtime sees them.
    sockets: Arc<Vec<Listener>>,
    listeners: Vec<Listening>,
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

enum Listening {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

/// A client's connection, and its place among the most allowed.
pub(crate) struct Accepted {
    pub(crate) incoming: Incoming,
    pub(crate) permit: OwnedSemaphorePermit,
}

impl From<std::net::TcpListener> for Listener {
    fn from(listener: std::net::TcpListener) -> Self {
        Self { socket: Socket::Tcp(listener), handed_on: HandedOn::default() }
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self { socket: Socket::Unix(listener), handed_on: HandedOn::default() }
    }
}

impl Listener {
    /// Who else has it is found there.
    #[must_use]
    pub fn shared(mut self, handed_on: HandedOn) -> Self {
        self.handed_on = handed_on;
        self
    }

    fn listening(&self) -> io::Result<Listening> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let listener = listener.try_clone()?;
                listener.set_nonblocking(true)?;
                tokio::net::TcpListener::from_std(listener).map(Listening::Tcp)
            }
            Socket::Unix(listener) => {
                let listener = listener.try_clone()?;
                listener.set_nonblocking(true)?;
                tokio::net::UnixListener::from_std(listener).map(Listening::Unix)
            }
        }
    }

    /// A connection that waits in the system's queue.
    fn accept_waiting(&self) -> io::Result<Incoming> {
        if self.handed_on.is_set() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Incoming::Tcp(TcpStream::from_std(stream)?, peer))
            }
            Socket::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Incoming::Unix(UnixStream::from_std(stream)?))
            }
        }
    }
}

impl HandedOn {
    /// From now on somebody else has it too.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether somebody has.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Listening {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Incoming>> {
        match self {
            Self::Tcp(listener) => {
                listener.poll_accept(cx).map_ok(|(stream, peer)| Incoming::Tcp(stream, peer))
            }
            Self::Unix(listener) => {
                listener.poll_accept(cx).map_ok(|(stream, _)| Incoming::Unix(stream))
            }
        }
    }
}

impl Acceptor {
    /// Must be called on the thread's runtime.
    pub(crate) fn new(sockets: Arc<Vec<Listener>>, permits: Arc<Semaphore>) -> io::Result<Self> {
        let listeners = sockets.iter().map(Listener::listening).collect::<io::Result<_>>()?;
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
        let incoming = self.sockets.iter().find_map(|socket| socket.accept_waiting().ok())?;
        Some(Accepted { incoming, permit })
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
                Poll::Ready(Ok(incoming)) => return Poll::Ready(Accepted { incoming, permit }),
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

    fn poll_listeners(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Incoming>> {
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
