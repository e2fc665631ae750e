//! A shadow that keeps every request it gets, byte for byte, in the order in which
//! they were complete, and answers as told.

use std::{
    collections::HashMap,
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    pause,
    wire::{Message, Reader},
};

/// What it does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Answer(u16),
    /// Answers after this time.
    Slow(Duration),
    /// Closes the connection with a reset instead.
    Reset,
    /// Sends what is not HTTP.
    Garbage,
}

/// One request, and when it was complete.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    pub(crate) message: Message,
}

/// Runs until dropped.
pub(crate) struct Shadow {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    arrivals: Mutex<Vec<Arrival>>,
    manner: Manner,
    stop: AtomicBool,
    open: Mutex<HashMap<SocketAddr, TcpStream>>,
}

impl Shadow {
    pub(crate) fn start(manner: Manner) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), manner)
    }

    /// On an address where one was before.
    pub(crate) fn start_at(address: SocketAddr, manner: Manner) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            arrivals: Mutex::default(),
            manner,
            stop: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let accepting = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || accept(&listener, &shared))
        };
        Self { address, shared, accepting: Some(accepting) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn count(&self) -> usize {
        self.shared.arrivals.lock().unwrap().len()
    }

    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.shared.arrivals.lock().unwrap().clone()
    }

    /// Ends it; all that arrived.
    pub(crate) fn end(self) -> Vec<Arrival> {
        let shared = Arc::clone(&self.shared);
        drop(self);
        std::mem::take(&mut shared.arrivals.lock().unwrap())
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for stream in self.shared.open.lock().unwrap().values() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let Ok(peer) = stream.peer_addr() else { continue };
        shared.open.lock().unwrap().insert(peer, stream.try_clone().unwrap());
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            serve(&stream, &shared);
            // The last handle: dropping it closes, or resets, the connection.
            shared.open.lock().unwrap().remove(&peer);
        });
    }
}

fn serve(mut stream: &TcpStream, shared: &Shared) {
    let _ = stream.set_nodelay(true);
    let mut reader = Reader::new(stream.try_clone().unwrap());
    while let Ok(Some(message)) = reader.request() {
        let head = message.start.starts_with("HEAD ");
        shared.arrivals.lock().unwrap().push(Arrival { at: Instant::now(), message });
        let status = match shared.manner {
            Manner::Answer(status) => status,
            Manner::Slow(time) => {
                pause(time);
                200
            }
            Manner::Reset => {
                let linger = Some(Duration::ZERO);
                let _ = socket2::SockRef::from(stream).set_linger(linger);
                return;
            }
            Manner::Garbage => {
                let _ = stream.write_all(b"\x16\x03\x01 this is not HTTP\r\n\r\n");
                return;
            }
        };
        let body = if head { "" } else { "ok" };
        let answer = format!("HTTP/1.1 {status} Some Reason\r\nContent-Length: 2\r\n\r\n{body}");
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
