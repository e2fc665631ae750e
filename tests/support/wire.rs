//! Just enough HTTP/1.1 to see messages as bytes, independent of the product's
//! own codec. Knows well-formed messages only.

use std::io::{self, Read};

/// A message as it came over the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// Request or status line.
    pub(crate) start: String,
    /// Fields in order, as bytes.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    /// Without chunk framing.
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, Vec<u8>)>,
    pub(crate) chunked: bool,
}

impl Message {
    /// The first field of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_slice())
    }

    pub(crate) fn header_text(&self, name: &str) -> Option<String> {
        self.header(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Reads messages from a stream, keeping what was read too far.
pub(crate) struct Reader<R> {
    stream: R,
    buffer: Vec<u8>,
    at: usize,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self { stream, buffer: Vec::new(), at: 0 }
    }

    fn fill(&mut self) -> io::Result<bool> {
        if self.at > 0 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        let mut chunk = [0; 65536];
        let got = self.stream.read(&mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..got]);
        Ok(got > 0)
    }

    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let rest = &self.buffer[self.at..];
            if let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
                let line = rest[..end].to_vec();
                self.at += end + 2;
                return Ok(Some(line));
            }
            if !self.fill()? {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    fn exactly(&mut self, length: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let mut left = length;
        loop {
            let take = left.min(self.buffer.len() - self.at);
            into.extend_from_slice(&self.buffer[self.at..self.at + take]);
            self.at += take;
            left -= take;
            if left == 0 {
                return Ok(());
            }
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn fields(&mut self) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if line.is_empty() {
                return Ok(fields);
            }
            let colon = line.iter().position(|b| *b == b':').ok_or(io::ErrorKind::InvalidData)?;
            let name = String::from_utf8_lossy(&line[..colon]).into_owned();
            fields.push((name, line[colon + 1..].trim_ascii().to_vec()));
        }
    }

    /// The next request; `None`: the stream ended before one.
    pub(crate) fn request(&mut self) -> io::Result<Option<Message>> {
        self.message(false, false)
    }

    /// The next final answer; `bodiless`: to a HEAD request.
    pub(crate) fn response(&mut self, bodiless: bool) -> io::Result<Message> {
        loop {
            let message = self.message(true, bodiless)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if message.status() >= 200 || message.status() == 101 {
                return Ok(message);
            }
        }
    }

    /// The next answer, also an interim one.
    pub(crate) fn any_response(&mut self) -> io::Result<Message> {
        self.message(true, false)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn message(&mut self, is_response: bool, bodiless: bool) -> io::Result<Option<Message>> {
        let Some(start) = self.line()? else { return Ok(None) };
        let start = String::from_utf8_lossy(&start).into_owned();
        let mut message = Message { start, headers: self.fields()?, ..Message::default() };
        let status = if is_response { message.status() } else { 0 };
        let no_body = bodiless || (is_response && (status < 200 || matches!(status, 204 | 304)));
        if no_body {
            return Ok(Some(message));
        }
        let length = message.header_text("content-length").and_then(|v| v.parse().ok());
        message.chunked = message
            .header_text("transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        if message.chunked {
            self.chunks(&mut message)?;
        } else if let Some(length) = length {
            self.exactly(length, &mut message.body)?;
        } else if is_response {
            while self.fill()? {}
            message.body = self.buffer.split_off(self.at);
        }
        Ok(Some(message))
    }

    fn chunks(&mut self, message: &mut Message) -> io::Result<()> {
        loop {
            let line = self.line()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let size = String::from_utf8_lossy(&line);
            let size = size.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
            if size == 0 {
                message.trailers = self.fields()?;
                return Ok(());
            }
            self.exactly(size, &mut message.body)?;
            self.line()?;
        }
    }
}
