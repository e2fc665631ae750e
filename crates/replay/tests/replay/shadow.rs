//! A small real HTTP/1.1 server that remembers what it saw and answers as told.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use crate::recording::in_time;

/// What a request gets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reply {
    Status(u16),
    /// Answered after this long.
    After(Duration),
    /// The connection is cut after the request.
    Reset,
    /// Something that is not HTTP.
    Garbage,
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    /// Of the body, also if that was not kept.
    pub(crate) length: usize,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        let found = self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_slice())
    }
}

type Rule = dyn Fn(&Seen) -> Reply + Send + Sync;

pub(crate) struct Shadow {
    address: SocketAddr,
    rule: Arc<Rule>,
    large: usize,
    seen: Arc<Mutex<Vec<Seen>>>,
    count: watch::Sender<usize>,
    tasks: JoinSet<()>,
}

impl Shadow {
    pub(crate) async fn start(rule: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::of(rule, usize::MAX).await
    }

    async fn of(rule: impl Fn(&Seen) -> Reply + Send + Sync + 'static, large: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut shadow = Self {
            address: listener.local_addr().unwrap(),
            rule: Arc::new(rule),
            large,
            seen: Arc::default(),
            count: watch::Sender::new(0),
            tasks: JoinSet::new(),
        };
        shadow.serve(listener);
        shadow
    }

    /// Of a large body whose bytes are all the same it keeps the first.
    pub(crate) async fn forgetful() -> Self {
        Self::of(|_| Reply::Status(200), 1 << 20).await
    }

    pub(crate) async fn ok() -> Self {
        Self::start(|_| Reply::Status(200)).await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Refuses connections from now on and cuts those that are there.
    pub(crate) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }

    pub(crate) async fn start_again(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.path).collect()
    }

    /// Sorted, for when order is not the point.
    pub(crate) fn sorted_paths(&self) -> Vec<String> {
        let mut paths = self.paths();
        paths.sort_by_key(|path| (path.len(), path.clone()));
        paths
    }

    pub(crate) async fn wait_for(&self, n: usize) {
        let mut count = self.count.subscribe();
        in_time(count.wait_for(|count| *count >= n)).await.unwrap();
    }

    fn serve(&mut self, listener: TcpListener) {
        let (rule, seen, count) =
            (Arc::clone(&self.rule), Arc::clone(&self.seen), self.count.clone());
        let large = self.large;
        self.tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (rule, seen, count) = (Arc::clone(&rule), Arc::clone(&seen), count.clone());
                connections.spawn(async move {
                    let _ = connection(stream, &*rule, large, &seen, &count).await;
                });
            }
        });
    }
}

async fn connection(
    mut stream: TcpStream,
    rule: &Rule,
    large: usize,
    seen: &Mutex<Vec<Seen>>,
    count: &watch::Sender<usize>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(mut request) = read_request(&mut stream, &mut buffer).await? {
        let reply = rule(&request);
        if request.length > large && request.body.iter().all(|byte| *byte == request.body[0]) {
            request.body = vec![request.body[0]];
        }
        seen.lock().unwrap().push(request);
        count.send_modify(|count| *count += 1);
        let answer = |status: u16| format!("HTTP/1.1 {status} x\r\nContent-Length: 2\r\n\r\nok");
        match reply {
            Reply::Status(status) => stream.write_all(answer(status).as_bytes()).await?,
            Reply::After(time) => {
                tokio::time::sleep(time).await;
                stream.write_all(answer(200).as_bytes()).await?;
            }
            Reply::Reset => return stream.set_zero_linger(),
            Reply::Garbage => return stream.write_all(b"\x16\x03 not http\r\n\r\n").await,
        }
    }
    Ok(())
}

async fn read_request(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> std::io::Result<Option<Seen>> {
    let (head, mut seen, framing) = loop {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut fields);
        if let httparse::Status::Complete(head) = request.parse(buffer).unwrap() {
            let headers: Vec<(String, Vec<u8>)> = request
                .headers
                .iter()
                .map(|field| (field.name.to_owned(), field.value.to_vec()))
                .collect();
            let path = request.path.unwrap().to_owned();
            let seen = Seen { at: Instant::now(), path, headers, body: Vec::new(), length: 0 };
            let length = seen
                .header("content-length")
                .map(|value| std::str::from_utf8(value).unwrap().trim().parse::<usize>().unwrap());
            let chunked = seen.header("transfer-encoding").is_some();
            break (head, seen, (length, chunked));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    buffer.drain(..head);
    match framing {
        (_, true) => loop {
            let line = take_line(stream, buffer).await?;
            let size = usize::from_str_radix(&line, 16).unwrap();
            let data = take(stream, buffer, size).await?;
            seen.body.extend(data);
            take_line(stream, buffer).await?;
            if size == 0 {
                break;
            }
        },
        (Some(length), false) => seen.body = take(stream, buffer, length).await?,
        (None, false) => {}
    }
    seen.length = seen.body.len();
    Ok(Some(seen))
}

async fn take(stream: &mut TcpStream, buffer: &mut Vec<u8>, n: usize) -> std::io::Result<Vec<u8>> {
    while buffer.len() < n {
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(buffer.drain(..n).collect())
}

async fn take_line(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<String> {
    loop {
        if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            return Ok(String::from_utf8(line).unwrap().trim().to_owned());
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}
