//! Connections accepted and served, each by a thread of its own, until dropped.

use std::{
    collections::HashMap,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

/// A listener on a free port of loopback.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    serve: Box<dyn Fn(&TcpStream) + Send + Sync>,
    stop: AtomicBool,
    open: Mutex<HashMap<SocketAddr, TcpStream>>,
}

impl Served {
    /// `serve` has a connection until it returns; its reads end when this is dropped.
    pub(crate) fn start(serve: impl Fn(&TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            serve: Box::new(serve),
            stop: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let accepting = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || accept(&listener, &shared))
        };
        Self { address, shared, accepting: Some(accepting) }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        for stream in self.shared.open.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    std::thread::scope(|scope| {
        for stream in listener.incoming() {
            if shared.stop.load(Ordering::SeqCst) {
                break;
            }
            let Ok(stream) = stream else { continue };
            let Ok(peer) = stream.peer_addr() else { continue };
            let _ = stream.set_nodelay(true);
            shared.open.lock().unwrap().insert(peer, stream.try_clone().unwrap());
            scope.spawn(move || {
                (shared.serve)(&stream);
                // The last handle: dropping it closes the connection.
                shared.open.lock().unwrap().remove(&peer);
            });
        }
        // Those that came after the first look.
        for stream in shared.open.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
}
