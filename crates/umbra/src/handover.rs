//! One agent after the other on the same sockets: the new one asks the old one for its
//! listening sockets over a Unix socket and, once it can accept connections itself, tells
//! it to go. So there is no moment without a listener, and a new agent that cannot begin
//! changes nothing. Of several that ask, the first one that can begin gets them; the
//! others are told not to.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg, sockopt::socket_peercred,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, Interest},
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use umbra_capture::HandedOn;

use crate::{
    exit::{Code, Failure},
    listen::{self, Socket, SocketFile},
};

/// Most sockets that are handed on.
const MOST: usize = 64;

/// Room for their names.
const NAMES: usize = 16 << 10;

/// A process that does not answer within this is taken for none of ours.
const PATIENCE: Duration = Duration::from_secs(10);

/// A successor that has not begun within this never will.
const BEGINS_WITHIN: Duration = Duration::from_secs(300);

/// Most successors that are waited for at a time; more wait in the socket's queue.
const MOST_SUCCESSORS: usize = 16;

/// What a successor says when it is about to accept connections …
const GO: u8 = b'g';
/// … and what it is answered: it goes on with the sockets …
const YOURS: u8 = b'y';
/// … or somebody else does.
const TAKEN: u8 = b'n';

/// What the predecessor says along with the sockets.
#[derive(Debug, Serialize, Deserialize)]
struct Offer {
    pid: u32,
    /// For which `--listen` each socket is.
    sockets: Vec<String>,
}

/// The agent before this one.
#[derive(Debug)]
pub(crate) struct Predecessor {
    path: PathBuf,
    stream: UnixStream,
    sockets: Vec<Socket>,
    told: bool,
}

/// Waits for the agent after this one. To be dropped last of all: its connection is how
/// the successor knows that this process holds nothing any more.
#[derive(Debug)]
pub(crate) struct Successor {
    _work: JoinSet<()>,
    _file: Option<SocketFile>,
}

/// What this process hands on, and how it learns that it has.
pub(crate) struct Estate {
    /// Names and descriptors of the sockets.
    pub(crate) sockets: Vec<(String, OwnedFd)>,
    /// Set before `stop`.
    pub(crate) handed_on: HandedOn,
    /// Ends what only one of both can have …
    pub(crate) admin: CancellationToken,
    /// … and the agent.
    pub(crate) stop: CancellationToken,
}

impl Predecessor {
    /// Asks for the sockets of the agent that listens there; none: there is no such.
    pub(crate) async fn ask(path: &Path) -> Result<Option<Self>, Failure> {
        let failed = |what: String| {
            Failure::new(Code::Unavailable, format!("--handover {}: {what}", path.display()))
        };
        let stream = match UnixStream::connect(path).await {
            Ok(stream) => stream,
            Err(error) if is_nobody(&error) => return Ok(None),
            Err(error) => return Err(failed(error.to_string())),
        };
        let received = match timeout(PATIENCE, receive(&stream)).await {
            Ok(received) => received.map_err(|error| failed(error.to_string()))?,
            Err(_) => return Err(failed("the agent there does not answer".into())),
        };
        let (offer, descriptors) = received;
        let mut sockets = Vec::new();
        for (name, descriptor) in offer.sockets.into_iter().zip(descriptors) {
            sockets.push(Socket::handed(name, descriptor).map_err(failed)?);
        }
        tracing::info!(pid = offer.pid, sockets = sockets.len(), "taking over from another agent");
        Ok(Some(Self { path: path.to_owned(), stream, sockets, told: false }))
    }

    /// One of its sockets for this `--listen`.
    pub(crate) fn take(&mut self, of: &str) -> Option<Socket> {
        let at = self.sockets.iter().position(|socket| socket.of() == of)?;
        Some(self.sockets.remove(at))
    }

    /// Tells it to go: from now on it accepts nothing. An error: the sockets stay where
    /// they are, or somebody else has got them, and this process must not begin.
    pub(crate) async fn take_over(&mut self) -> Result<(), Failure> {
        if std::mem::replace(&mut self.told, true) {
            return Ok(());
        }
        let failed = |what: &str| {
            let what = format!("--handover {}: {what}", self.path.display());
            Err(Failure::new(Code::Unavailable, what))
        };
        // Who is gone may have left an answer.
        let said = self.stream.write_all(&[GO]).await;
        match timeout(PATIENCE, word(&self.stream)).await {
            Ok(Ok(Some(YOURS))) => Ok(()),
            Ok(Ok(Some(_))) => failed("the agent there has handed its sockets to another one"),
            Ok(ended) => {
                let error = said.and(ended.map(drop)).err();
                tracing::warn!(?error, "the agent before this one is gone already");
                Ok(())
            }
            Err(_) => failed("the agent there does not answer any more"),
        }
    }

    /// Waits until its process holds nothing any more.
    pub(crate) async fn ended(&mut self) {
        // Whatever ends the connection, it is over.
        while matches!(self.stream.read(&mut [0; 16]).await, Ok(1..)) {}
    }
}

/// Nobody listens.
fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

async fn receive(stream: &UnixStream) -> io::Result<(Offer, Vec<OwnedFd>)> {
    let mut text = vec![0; NAMES];
    let mut descriptors = Vec::new();
    let n = stream
        .async_io(Interest::READABLE, || {
            let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut text)];
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
            let received = recvmsg(stream, &mut parts, &mut control, flags)?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    descriptors.extend(rights);
                }
            }
            Ok(received.bytes)
        })
        .await?;
    let offer: Offer = serde_json::from_slice(&text[..n])
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "no agent listens there"))?;
    if offer.sockets.len() != descriptors.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not all sockets came"));
    }
    Ok((offer, descriptors))
}

impl Successor {
    /// Waits at this path for the agent after this one.
    pub(crate) fn wait(
        path: &Path,
        inherited: Option<Socket>,
        mut estate: Estate,
    ) -> Result<Self, Failure> {
        let failed = |what: String| {
            Failure::new(Code::Unavailable, format!("--handover {}: {what}", path.display()))
        };
        let io = |error: io::Error| failed(error.to_string());
        let listener = match inherited.map(|socket| socket.descriptor()) {
            Some(descriptor) => descriptor.map_err(io)?.into(),
            None => {
                let listener = listen::bind_unix(path).map_err(failed)?;
                restrict(path).map_err(io)?;
                listener
            }
        };
        let own = listener.as_fd().try_clone_to_owned().map_err(io)?;
        estate.sockets.push((name(path), own));
        listener.set_nonblocking(true).map_err(io)?;
        let listener = UnixListener::from_std(listener).map_err(io)?;
        let file = SocketFile::of(path, &estate.handed_on);
        let mut work = JoinSet::new();
        work.spawn(hand_on(listener, estate));
        Ok(Self { _work: work, _file: file })
    }
}

/// Only the same user's agents are answered.
fn restrict(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

/// The name of the handover's own socket among those handed on.
pub(crate) fn name(path: &Path) -> String {
    format!("handover:{}", path.display())
}

/// Offers the sockets to whoever asks, until one says that it goes on with them.
async fn hand_on(listener: UnixListener, estate: Estate) {
    let (taken, mut asking) = (CancellationToken::new(), FuturesUnordered::new());
    let _open = loop {
        tokio::select! {
            accepted = listener.accept(), if asking.len() < MOST_SUCCESSORS => match accepted {
                Ok((stream, _)) => asking.push(begins(stream, &estate, &taken)),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
            Some(begun) = asking.next(), if !asking.is_empty() => {
                // Nobody else may accept once it reads this.
                if let Some(stream) = begun && stream.try_write(&[YOURS]).is_ok() {
                    break stream;
                }
            }
        }
    };
    tracing::info!("another agent goes on with the sockets; stopping");
    estate.handed_on.set();
    drop(listener);
    estate.admin.cancel();
    estate.stop.cancel();
    taken.cancel();
    while asking.next().await.is_some() {}
    // Open as long as the process: its end is the successor's sign.
    std::future::pending::<()>().await;
}

/// Waits for a successor to say that it is about to begin. Any other is told that it must
/// not.
async fn begins(
    stream: UnixStream,
    estate: &Estate,
    taken: &CancellationToken,
) -> Option<UnixStream> {
    let asked = async {
        offer(&stream, estate).await?;
        word(&stream).await
    };
    tokio::select! {
        biased;
        () = taken.cancelled() => {}
        asked = timeout(BEGINS_WITHIN, asked) => match asked {
            Ok(Ok(Some(GO))) => return Some(stream),
            Ok(Ok(_)) => tracing::warn!("a successor ended before it could take over"),
            Ok(Err(error)) => tracing::warn!(%error, "a successor did not get the sockets"),
            Err(_) => tracing::warn!("a successor did not begin in time"),
        },
    }
    // Whoever is gone need not be told.
    let _ = stream.try_write(&[TAKEN]);
    None
}

/// One word of the other side; none: it has ended the connection.
async fn word(stream: &UnixStream) -> io::Result<Option<u8>> {
    let mut word = [0];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut word) {
            Ok(n) => return Ok((n > 0).then_some(word[0])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn offer(stream: &UnixStream, estate: &Estate) -> io::Result<()> {
    let peer = socket_peercred(stream)?;
    let own = rustix::process::geteuid();
    if peer.uid != own && !peer.uid.is_root() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is another user's"));
    }
    let offer = Offer {
        pid: std::process::id(),
        sockets: estate.sockets.iter().map(|(name, _)| name.clone()).collect(),
    };
    let text = serde_json::to_vec(&offer)?;
    let descriptors: Vec<_> = estate.sockets.iter().map(|(_, fd)| fd.as_fd()).collect();
    if descriptors.len() > MOST || text.len() > NAMES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many sockets"));
    }
    let sent = stream
        .async_io(Interest::WRITABLE, || {
            let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            Ok(sendmsg(stream, &[IoSlice::new(&text)], &mut control, flags)?)
        })
        .await?;
    if sent < text.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
