//! The service in front of which agents stand: takes and gives large bodies that are
//! known byte for byte, small ones, an answer that takes its time, and events.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::support::pause;

/// A large body.
pub(super) const LARGE: usize = 20 << 20;

/// How long an answer to `/poll` takes.
pub(super) const POLL: Duration = Duration::from_secs(1);

/// Events of `/events`, and the time between two.
pub(super) const EVENTS: usize = 20;
const BETWEEN_EVENTS: Duration = Duration::from_millis(50);

/// The bytes all bodies are made of: the beginning of this.
pub(super) fn pattern() -> &'static [u8] {
    static PATTERN: OnceLock<Vec<u8>> = OnceLock::new();
    PATTERN.get_or_init(|| {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes = Vec::with_capacity(LARGE);
        while bytes.len() < LARGE {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes
    })
}

/// Nanoseconds since the first time this was asked.
pub(super) fn clock() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// While it is closed, a service reads nothing. Open to begin with.
#[derive(Debug, Default)]
pub(super) struct Gate {
    closed: Mutex<bool>,
    opens: Condvar,
}

impl Gate {
    pub(super) fn close(&self) {
        *self.closed.lock().unwrap() = true;
    }

    pub(super) fn open(&self) {
        *self.closed.lock().unwrap() = false;
        self.opens.notify_all();
    }

    fn pass(&self) {
        drop(self.opens.wait_while(self.closed.lock().unwrap(), |closed| *closed).unwrap());
    }
}

/// Runs until dropped.
pub(super) struct Service {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    gate: Arc<Gate>,
    stop: AtomicBool,
    requests: AtomicUsize,
    uploads: AtomicUsize,
}

impl Service {
    pub(super) fn start() -> Self {
        Self::gated(Arc::default())
    }

    /// One that reads only while the gate is open.
    pub(super) fn gated(gate: Arc<Gate>) -> Self {
        pattern();
        clock();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // The system would take a whole upload for a service that does not read.
        socket2::SockRef::from(&listener).set_recv_buffer_size(256 << 10).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { gate, ..Shared::default() });
        let theirs = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if theirs.stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let shared = Arc::clone(&theirs);
                // It ends with its connection, which the agent or the test closes.
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    /// Heads that have come.
    pub(super) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Uploads that have come whole, with the bytes they should have.
    pub(super) fn uploads(&self) -> usize {
        self.shared.uploads.load(Ordering::SeqCst)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.accepting.take().map(JoinHandle::join);
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 256 << 10];
    let mut filled = 0;
    loop {
        let end = loop {
            let end = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
            shared.gate.pass();
            match stream.read(&mut buffer[filled..])? {
                0 => return Ok(()),
                n => filled += n,
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.copy_within(end..filled, 0);
        filled -= end;
        shared.requests.fetch_add(1, Ordering::SeqCst);
        let path = head.split(' ').nth(1).unwrap_or_default();
        match path.split('/').nth(1).unwrap_or_default() {
            "upload" => {
                let (length, gate) = (length(&head), &shared.gate);
                let same = take_body(&mut stream, &mut buffer, &mut filled, length, gate)?;
                shared.uploads.fetch_add(usize::from(same), Ordering::SeqCst);
                answer(&mut stream, if same { b"same" } else { b"differs" })?;
            }
            "download" => answer(&mut stream, pattern())?,
            "poll" => {
                pause(POLL);
                answer(&mut stream, b"at last")?;
            }
            "events" => events(&mut stream)?,
            _ => answer(&mut stream, b"ok")?,
        }
    }
}

fn length(head: &str) -> usize {
    let lower = head.to_ascii_lowercase();
    let value = lower.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// Reads a body; says whether it is the pattern's beginning.
fn take_body(
    stream: &mut TcpStream,
    buffer: &mut [u8],
    filled: &mut usize,
    length: usize,
    gate: &Gate,
) -> io::Result<bool> {
    let (mut at, mut same) = (0, true);
    loop {
        let piece = (*filled).min(length - at);
        same &= buffer[..piece] == pattern()[at..at + piece];
        at += piece;
        buffer.copy_within(piece..*filled, 0);
        *filled -= piece;
        if at == length {
            return Ok(same);
        }
        gate.pass();
        match stream.read(buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => *filled = n,
        }
    }
}

fn answer(stream: &mut TcpStream, body: &[u8]) -> io::Result<()> {
    let mut message =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    if body.len() < 1024 {
        message.extend_from_slice(body);
        return stream.write_all(&message);
    }
    stream.write_all(&message)?;
    stream.write_all(body)
}

/// Each says when it was sent.
fn events(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    )?;
    for _ in 0..EVENTS {
        pause(BETWEEN_EVENTS);
        let event = format!("data: {}\n\n", clock());
        stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
    }
    stream.write_all(b"0\r\n\r\n")
}
