//! The ready file: where a process listens, for whoever started it on port 0.

use std::{net::SocketAddr, path::Path};

use serde::Serialize;

use crate::exit::{Code, Failure};

/// Contents of the file.
#[derive(Debug, Serialize)]
pub(crate) struct Ready {
    /// Addresses that take requests, `unix:PATH` for a Unix socket.
    pub(crate) listen: Vec<String>,
    /// Address of the admin endpoints.
    pub(crate) admin: Option<SocketAddr>,
    /// Process id.
    pub(crate) pid: u32,
}

/// Writes it, whole or not at all.
pub(crate) fn write(path: Option<&Path>, ready: &Ready) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let disk = |e: std::io::Error| {
        Failure::new(Code::Disk, format!("--ready-file {}: {e}", path.display()))
    };
    let text = serde_json::to_string(ready).map_err(|e| disk(e.into()))?;
    let new = path.with_extension("new");
    std::fs::write(&new, text + "\n").map_err(disk)?;
    std::fs::rename(&new, path).map_err(disk)
}
