//! One agent after the other on the same sockets: the new one asks the old one for its
//! listening sockets over a Unix socket and, once it accepts connections itself, tells
//! it to go. So there is no moment without a listener, and a new agent that cannot begin
//! changes nothing.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    time::Duration,
};

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

/// What the successor says once it accepts connections.
const GO: u8 = b'g';

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
        Ok(Some(Self { stream, sockets, told: false }))
    }

    /// One of its sockets for this `--listen`.
    pub(crate) fn take(&mut self, of: &str) -> Option<Socket> {
        let at = self.sockets.iter().position(|socket| socket.of() == of)?;
        Some(self.sockets.remove(at))
    }

    /// Tells it to go: from now on it accepts nothing.
    pub(crate) async fn take_over(&mut self) {
        if !std::mem::replace(&mut self.told, true)
            && let Err(error) = self.stream.write_all(&[GO]).await
        {
            tracing::warn!(%error, "the agent before this one is gone already");
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

/// Serves one successor after the other, until one says that it goes on.
async fn hand_on(listener: UnixListener, estate: Estate) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        match offer(&stream, &estate).await {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%error, "a successor did not get the sockets");
                continue;
            }
        }
        let mut stream = stream;
        let mut word = [0];
        match stream.read(&mut word).await {
            Ok(1) if word[0] == GO => {
                tracing::info!("another agent goes on with the sockets; stopping");
                estate.handed_on.set();
                drop(listener);
                estate.admin.cancel();
                estate.stop.cancel();
                // Open as long as the process: its end is the successor's sign.
                return std::future::pending::<()>().await;
            }
            _ => tracing::warn!("a successor ended before it could take over"),
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
