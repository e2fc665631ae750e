//! Where an agent's listening sockets come from: bound here, passed by systemd, or
//! handed on by the agent before this one. What is done with their connections is the
//! library's business.

use std::{
    fmt,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{FileTypeExt as _, MetadataExt as _},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use listenfd::ListenFd;
use rustix::net::AddressFamily;
use umbra_capture::{HandedOn, Listener};

use crate::{
    exit::{Code, Failure},
    settings::values,
};

/// Connections that may wait to be accepted; the system has a limit of its own
/// (net.core.somaxconn). While an agent is replaced they wait here.
const BACKLOG: i32 = 4096;

/// One `--listen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listen {
    /// A port, at all addresses the name has: the first that can be bound is taken.
    Tcp(Vec<SocketAddr>),
    /// A Unix socket.
    Unix(PathBuf),
    /// What systemd passes under this name, or as this descriptor.
    Passed(String),
}

/// A bound socket.
#[derive(Debug)]
pub(crate) struct Socket {
    /// Which `--listen` it is for.
    of: String,
    kind: Kind,
    /// Bound by somebody else who keeps it.
    passed: bool,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The file of a Unix socket; removed when this is dropped, unless somebody else has
/// the socket by then.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: u64,
    handed_on: HandedOn,
}

/// The sockets passed by whoever started the process (sd_listen_fds(3)).
pub(crate) struct Passed {
    sockets: ListenFd,
    names: Vec<String>,
}

impl Listen {
    /// `HOST:PORT`, `:PORT`, `unix:PATH`, `fd:NAME` or `fd:NUMBER`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("it names no socket".into()),
                path => Ok(Self::Unix(path.into())),
            };
        }
        match text.strip_prefix("fd:") {
            Some("") => Err("it names no descriptor".into()),
            Some(name) => Ok(Self::Passed(name.to_owned())),
            None => values::listen(text).map(Self::Tcp),
        }
    }

    /// Binds it, or takes what was passed for it.
    pub(crate) fn bind(&self, passed: &mut Passed) -> Result<Vec<Socket>, Failure> {
        let failed = |what: &dyn fmt::Display| {
            Failure::new(Code::Unavailable, format!("--listen {self}: {what}"))
        };
        let one = |kind| Ok(vec![Socket { of: self.to_string(), kind, passed: false }]);
        match self {
            Self::Tcp(addresses) => {
                let bound = TcpListener::bind(addresses.as_slice());
                one(Kind::Tcp(bound.map_err(|error| failed(&error))?))
            }
            Self::Unix(path) => one(Kind::Unix(bind_unix(path).map_err(|what| failed(&what))?)),
            Self::Passed(name) => {
                let taken = passed.take(name).map_err(|what| failed(&what))?;
                let socket = |kind| Socket { of: self.to_string(), kind, passed: true };
                Ok(taken.into_iter().map(socket).collect())
            }
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addresses) => match addresses.as_slice() {
                [] => Ok(()),
                [first, ..] => first.fmt(f),
            },
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Passed(name) => write!(f, "fd:{name}"),
        }
    }
}

/// Binds a Unix socket. A file left behind by a process that is gone is taken over.
pub(crate) fn bind_unix(path: &Path) -> Result<UnixListener, String> {
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err("there is a file that is no socket".into());
        }
        if UnixStream::connect(path).is_ok() {
            return Err("another process listens there".into());
        }
        std::fs::remove_file(path).map_err(|error| error.to_string())?;
    }
    UnixListener::bind(path).map_err(|error| error.to_string())
}

impl Socket {
    /// A descriptor that was handed on for this `--listen`.
    pub(crate) fn handed(of: String, descriptor: OwnedFd) -> Result<Self, String> {
        let address = rustix::net::getsockname(&descriptor).map_err(|error| error.to_string())?;
        let kind = match address.address_family() {
            AddressFamily::UNIX => Kind::Unix(descriptor.into()),
            AddressFamily::INET | AddressFamily::INET6 => Kind::Tcp(descriptor.into()),
            _ => return Err("it is neither TCP nor a Unix socket".into()),
        };
        Ok(Self { of, kind, passed: false })
    }

    /// Which `--listen` it is for.
    pub(crate) fn of(&self) -> &str {
        &self.of
    }

    /// Where it listens, for people.
    pub(crate) fn shown(&self) -> String {
        match &self.kind {
            Kind::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| self.of.clone(), |at| at.to_string())
            }
            Kind::Unix(listener) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|at| at.as_pathname());
                path.map_or_else(|| self.of.clone(), |path| format!("unix:{}", path.display()))
            }
        }
    }

    /// Its file, if it was made by one of us.
    pub(crate) fn file(&self, handed_on: &HandedOn) -> Option<SocketFile> {
        let path = self.of.strip_prefix("unix:").filter(|_| !self.passed)?;
        SocketFile::of(Path::new(path), handed_on)
    }

    /// For the library, which is told whether somebody else has it too.
    pub(crate) fn listener(self, handed_on: &HandedOn) -> Listener {
        // A longer queue only makes things better.
        let _ = rustix::net::listen(&self, BACKLOG);
        let shared = if self.passed { HandedOn::default() } else { handed_on.clone() };
        if self.passed {
            // Whoever passed it keeps it for the next process.
            shared.set();
        }
        match self.kind {
            Kind::Tcp(listener) => Listener::from(listener).shared(shared),
            Kind::Unix(listener) => Listener::from(listener).shared(shared),
        }
    }

    /// Another descriptor of it.
    pub(crate) fn descriptor(&self) -> std::io::Result<OwnedFd> {
        self.as_fd().try_clone_to_owned()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Tcp(listener) => listener.as_fd(),
            Kind::Unix(listener) => listener.as_fd(),
        }
    }
}

impl SocketFile {
    pub(crate) fn of(path: &Path, handed_on: &HandedOn) -> Option<Self> {
        let inode = std::fs::symlink_metadata(path).ok()?.ino();
        Some(Self { path: path.to_owned(), inode, handed_on: handed_on.clone() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|now| now.ino() == self.inode);
        if ours && !self.handed_on.is_set() {
            // Left behind, it would be taken over by the next one.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Passed {
    /// To be called once, before anything else uses the environment: what was passed is
    /// for this process, not for those it starts.
    pub(crate) fn from_env() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names = names.split(':').map(str::to_owned).collect();
        Self { sockets: ListenFd::from_env(), names }
    }

    fn take(&mut self, name: &str) -> Result<Vec<Kind>, String> {
        if self.sockets.len() == 0 {
            return Err("no socket was passed to this process (LISTEN_FDS)".into());
        }
        let number = name.parse::<usize>().ok().and_then(|number| number.checked_sub(3));
        let meant: Vec<usize> = (0..self.sockets.len())
            .filter(|&index| {
                number.map_or_else(
                    || self.names.get(index).is_some_and(|known| known == name),
                    |number| number == index,
                )
            })
            .collect();
        if meant.is_empty() {
            let known = self.names.join(", ");
            return Err(format!("no such socket was passed to this process, but {known}"));
        }
        let mut taken = Vec::new();
        for index in meant {
            let found = match self.sockets.take_unix_listener(index) {
                Ok(listener) => Ok(listener.map(Kind::Unix)),
                Err(_) => self.sockets.take_tcp_listener(index).map(|found| found.map(Kind::Tcp)),
            };
            match found {
                Ok(Some(kind)) => taken.push(kind),
                Ok(None) => return Err("it is asked for twice".into()),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests;
