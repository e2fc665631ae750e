//! An HTTP/2 server whose streams are served by a closure.

use std::{
    future::Future,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    server::{Builder, SendResponse},
};
use http::{HeaderMap, Response, request::Parts};
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc},
    task::LocalSet,
};
use tokio_util::sync::CancellationToken;

use crate::agent::harness::{Agent, until};
use umbra_capture::{Config, UpstreamHttp};

/// Runs on a thread of its own until dropped.
pub(crate) struct Http2Server {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// What happened at the server.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) requests: Mutex<Vec<Parts>>,
    /// Sessions that were accepted, and those of them that have ended.
    pub(crate) sessions: AtomicUsize,
    pub(crate) ended: AtomicUsize,
    /// Streams open now, and most of them at a time in one session.
    pub(crate) most: AtomicUsize,
    /// Bytes of bodies that were handed to the session.
    pub(crate) sent: AtomicUsize,
}

/// One request, to be answered.
pub(crate) struct Turn {
    pub(crate) path: String,
    pub(crate) body: RecvStream,
    pub(crate) respond: SendResponse<Bytes>,
    /// Counts the streams of all sessions, from 1.
    pub(crate) number: usize,
    pub(crate) seen: Arc<Seen>,
    session: mpsc::UnboundedSender<GoAway>,
}

/// How a session is to end.
enum GoAway {
    Graceful,
    Abrupt(Reason),
}

impl Http2Server {
    pub(crate) fn start<F>(serve: impl Fn(Turn) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        Self::with(Builder::new(), serve)
    }

    pub(crate) fn with<F>(builder: Builder, serve: impl Fn(Turn) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, stop) = (Arc::new(Seen::default()), CancellationToken::new());
        let (theirs, stopped) = (Arc::clone(&seen), stop.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let serving = async move {
                let listener = TcpListener::from_std(listener).unwrap();
                accept(listener, builder, Rc::new(serve), theirs).await;
            };
            LocalSet::new().block_on(&runtime.unwrap(), async {
                tokio::select! {
                    () = serving => {}
                    () = stopped.cancelled() => {}
                }
            });
        });
        Self { address, seen, stop, thread: Some(thread) }
    }

    /// An agent in front of it.
    pub(crate) fn agent(&self, change: impl FnOnce(&mut Config)) -> Agent {
        Agent::start(self.address, |config| {
            config.upstream.http = UpstreamHttp::Http2;
            config.threads = 1;
            change(config);
        })
    }

    pub(crate) fn sessions(&self) -> usize {
        self.seen.sessions.load(Ordering::SeqCst)
    }

    /// The only request with this path.
    pub(crate) fn request(&self, path: &str) -> Parts {
        let mut found = self.requests(path);
        assert_eq!(found.len(), 1, "{path} came {} times", found.len());
        found.remove(0)
    }

    pub(crate) fn requests(&self, path: &str) -> Vec<Parts> {
        let seen = self.seen.requests.lock().unwrap();
        seen.iter().filter(|parts| parts.uri.path() == path).cloned().collect()
    }

    /// The agent has closed all its sessions.
    pub(crate) fn all_ended(&self) {
        until("all sessions have ended", || {
            self.seen.ended.load(Ordering::SeqCst) == self.sessions()
        });
    }
}

impl Drop for Http2Server {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

async fn accept<F>(
    listener: TcpListener,
    builder: Builder,
    serve: Rc<impl Fn(Turn) -> F + 'static>,
    seen: Arc<Seen>,
) where
    F: Future<Output = ()> + 'static,
{
    let number = Rc::new(AtomicUsize::new(0));
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        seen.sessions.fetch_add(1, Ordering::SeqCst);
        let (builder, serve, seen) = (builder.clone(), Rc::clone(&serve), Arc::clone(&seen));
        let number = Rc::clone(&number);
        tokio::task::spawn_local(async move {
            let _ = session(socket, builder, serve, &seen, &number).await;
            seen.ended.fetch_add(1, Ordering::SeqCst);
        });
    }
}

async fn session<F>(
    socket: tokio::net::TcpStream,
    builder: Builder,
    serve: Rc<impl Fn(Turn) -> F + 'static>,
    seen: &Arc<Seen>,
    number: &AtomicUsize,
) -> Result<(), h2::Error>
where
    F: Future<Output = ()> + 'static,
{
    let mut connection = builder.handshake::<_, Bytes>(socket).await?;
    let (say, mut said) = mpsc::unbounded_channel();
    let open = Rc::new(AtomicUsize::new(0));
    loop {
        let (request, respond) = tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(accepted) => accepted?,
                None => return Ok(()),
            },
            Some(go_away) = said.recv() => {
                match go_away {
                    GoAway::Graceful => connection.graceful_shutdown(),
                    GoAway::Abrupt(reason) => connection.abrupt_shutdown(reason),
                }
                continue;
            }
        };
        let now = open.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most.fetch_max(now, Ordering::SeqCst);
        let (parts, body) = request.into_parts();
        let turn = Turn {
            path: parts.uri.path().to_owned(),
            body,
            respond,
            number: number.fetch_add(1, Ordering::SeqCst) + 1,
            seen: Arc::clone(seen),
            session: say.clone(),
        };
        seen.requests.lock().unwrap().push(parts);
        let (serve, open) = (Rc::clone(&serve), Rc::clone(&open));
        tokio::task::spawn_local(async move {
            serve(turn).await;
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

impl Turn {
    /// Reads the body to its end.
    pub(crate) async fn read(&mut self) -> (Vec<u8>, Option<HeaderMap>) {
        let mut bytes = Vec::new();
        while let Some(data) = self.body.data().await {
            let Ok(data) = data else { return (bytes, None) };
            let _ = self.body.flow_control().release_capacity(data.len());
            bytes.extend_from_slice(&data);
        }
        (bytes, self.body.trailers().await.unwrap_or(None))
    }

    /// Sends a whole answer.
    pub(crate) async fn answer(&mut self, head: Response<()>, body: impl Into<Bytes>) {
        let body = body.into();
        // The client may be gone.
        let Ok(mut stream) = self.respond.send_response(head, body.is_empty()) else { return };
        if !body.is_empty() {
            self.send(&mut stream, body).await;
            let _ = stream.send_data(Bytes::new(), true);
        }
    }

    /// Sends as the client's window allows.
    pub(crate) async fn send(&self, stream: &mut h2::SendStream<Bytes>, mut body: Bytes) {
        while !body.is_empty() {
            stream.reserve_capacity(body.len().min(64 << 10));
            let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else {
                return;
            };
            let piece = body.split_to(room.min(body.len()));
            self.seen.sent.fetch_add(piece.len(), Ordering::SeqCst);
            if stream.send_data(piece, false).is_err() {
                return;
            }
        }
    }

    pub(crate) async fn ok(&mut self, body: impl Into<Bytes>) {
        self.answer(Response::new(()), body).await;
    }

    pub(crate) fn reset(&mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }

    /// Ends the session once its streams have.
    pub(crate) fn go_away(&self) {
        let _ = self.session.send(GoAway::Graceful);
    }

    /// Ends the session and all that is in it.
    pub(crate) fn go_away_at_once(&self, reason: Reason) {
        let _ = self.session.send(GoAway::Abrupt(reason));
    }
}

/// A server that says what it was asked.
pub(crate) fn echo() -> Http2Server {
    Http2Server::start(async |mut turn| {
        let (body, _) = turn.read().await;
        let path = turn.path.clone();
        turn.ok(if body.is_empty() { path.into_bytes() } else { body }).await;
    })
}

/// A gate that streams of the server wait at until the test opens it.
pub(crate) fn gate() -> (impl Fn() + Send + Sync, Arc<Notify>) {
    let gate = Arc::new(Notify::new());
    let theirs = Arc::clone(&gate);
    (move || theirs.notify_waiters(), gate)
}
