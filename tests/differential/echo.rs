//! The upstream behind every proxy: keeps what it received and answers as told.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
};

use super::{
    message::{Kind, Message},
    shapes::Script,
};
use crate::support::served::Served;

/// What came over a connection.
#[derive(Debug, Clone)]
pub(super) enum Arrival {
    Whole(Message),
    /// The connection ended within a message.
    Part,
    /// What no server has to understand.
    Garbled(String),
}

/// Runs until dropped.
pub(super) struct Echo {
    served: Served,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    script: Mutex<Script>,
    arrivals: Mutex<Vec<Arrival>>,
}

impl Echo {
    pub(super) fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        Self { served: Served::start(move |stream| serve(stream, &serving)), shared }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.served.address
    }

    /// From now on each request is answered like this.
    pub(super) fn answer(&self, script: &Script) {
        *self.shared.script.lock().unwrap() = script.clone();
    }

    /// All that came since the last look.
    pub(super) fn take(&self) -> Vec<Arrival> {
        std::mem::take(&mut self.shared.arrivals.lock().unwrap())
    }
}

fn serve(mut stream: &TcpStream, shared: &Shared) {
    let mut bytes = Vec::new();
    let mut invited = false;
    loop {
        match Message::parse(&bytes, Kind::Request) {
            Err(what) => return shared.arrivals.lock().unwrap().push(Arrival::Garbled(what)),
            Ok(Some((message, length))) => {
                bytes.drain(..length);
                invited = false;
                shared.arrivals.lock().unwrap().push(Arrival::Whole(message));
                let script = shared.script.lock().unwrap().clone();
                if stream.write_all(&script.bytes).is_err() || script.close {
                    return;
                }
            }
            Ok(None) => {
                if !invited && waits(&bytes) {
                    invited = true;
                    let _ = stream.write_all(&Script::invitation().bytes);
                }
                let mut chunk = [0; 65536];
                match stream.read(&mut chunk) {
                    Ok(length @ 1..) => bytes.extend_from_slice(&chunk[..length]),
                    _ if bytes.is_empty() => return,
                    _ => return shared.arrivals.lock().unwrap().push(Arrival::Part),
                }
            }
        }
    }
}

/// A whole head that asks whether it may go on.
fn waits(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase().contains("\r\nexpect:")
}
