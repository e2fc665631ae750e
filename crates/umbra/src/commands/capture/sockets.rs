//! The listening sockets of an agent from its first moment to its last: whether another
//! agent hands them on, when that one is told to go, and who gets them afterwards.

use std::{os::fd::OwnedFd, path::PathBuf};

use tokio_util::sync::CancellationToken;
use umbra_capture::{HandedOn, Listener};
use umbra_log::{Address, Log, Mode};

use crate::{
    config::{self, Capture},
    exit::{Code, Failure},
    handover::{self, Estate, Predecessor, Successor},
    listen::{Listen, Passed, Socket, SocketFile},
};

/// To be dropped after the log: then nothing of this process is in a successor's way.
pub(crate) struct Sockets {
    handover: Option<PathBuf>,
    passed: Passed,
    predecessor: Option<Predecessor>,
    /// Of the socket at which successors ask.
    inherited: Option<Socket>,
    handed_on: HandedOn,
    estate: Vec<(String, OwnedFd)>,
    _files: Vec<SocketFile>,
    _successor: Option<Successor>,
}

/// What an agent listens on.
pub(crate) struct Bound {
    /// For people and the ready file.
    pub(crate) shown: Vec<String>,
    pub(crate) listeners: Vec<Listener>,
}

impl Sockets {
    /// Asks whether another agent has them.
    pub(crate) async fn new(capture: &Capture) -> Result<Self, Failure> {
        let passed = Passed::from_env();
        let handover = capture.handover.clone();
        let mut predecessor = match &handover {
            Some(path) => Predecessor::ask(path).await?,
            None => None,
        };
        let inherited = handover.as_deref().zip(predecessor.as_mut());
        let inherited = inherited.and_then(|(path, other)| other.take(&handover::name(path)));
        Ok(Self {
            handover,
            passed,
            predecessor,
            inherited,
            handed_on: HandedOn::default(),
            estate: Vec::new(),
            _files: Vec::new(),
            _successor: None,
        })
    }

    /// Opens the log. Only one process can write an embedded one: the agent before this
    /// one ends first, and connections wait in the sockets meanwhile.
    pub(crate) async fn open_log(
        &mut self,
        log: config::Log,
        stop: &CancellationToken,
    ) -> Result<Log, Failure> {
        if let (Some(other), Address::File(_)) = (&mut self.predecessor, &log.address) {
            other.take_over().await?;
            stop.run_until_cancelled(other.ended()).await;
        }
        Ok(Log::open(&log.address, log.options, Mode::Create).await?)
    }

    /// Takes what is handed on, and binds the rest.
    pub(crate) fn bind(&mut self, listen: &[Listen]) -> Result<Bound, Failure> {
        let mut bound = Bound { shown: Vec::new(), listeners: Vec::new() };
        for wanted in listen {
            let of = wanted.to_string();
            let handed = self.predecessor.as_mut().and_then(|other| other.take(&of));
            let sockets = match handed {
                Some(socket) => vec![socket],
                None => wanted.bind(&mut self.passed)?,
            };
            for socket in sockets {
                bound.shown.push(socket.shown());
                self._files.extend(socket.file(&self.handed_on));
                if self.handover.is_some() {
                    let descriptor = socket.descriptor().map_err(|error| {
                        Failure::new(Code::Unavailable, format!("--listen {wanted}: {error}"))
                    })?;
                    self.estate.push((of.clone(), descriptor));
                }
                bound.listeners.push(socket.listener(&self.handed_on));
            }
        }
        Ok(bound)
    }

    /// Whether there is an agent to take over from.
    pub(crate) fn takes_over(&self) -> bool {
        self.predecessor.is_some()
    }

    /// This agent is about to accept connections: the one before it goes.
    pub(crate) async fn go(&mut self) -> Result<(), Failure> {
        match &mut self.predecessor {
            Some(other) => other.take_over().await,
            None => Ok(()),
        }
    }

    /// From now on another agent may take over from this one.
    pub(crate) fn wait_for_successor(
        &mut self,
        admin: CancellationToken,
        stop: CancellationToken,
    ) -> Result<(), Failure> {
        let Some(path) = &self.handover else { return Ok(()) };
        let sockets = std::mem::take(&mut self.estate);
        let estate = Estate { sockets, handed_on: self.handed_on.clone(), admin, stop };
        self._successor = Some(Successor::wait(path, self.inherited.take(), estate)?);
        Ok(())
    }
}
