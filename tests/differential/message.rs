//! Messages of HTTP/1 as bytes: taken apart, nothing normalised. Independent of the
//! product's own codec, and knows what RFC 9112 allows only.

/// Field lines in order; values without the whitespace around them.
pub(super) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// A whole message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// Request or status line.
    pub(super) start: Vec<u8>,
    pub(super) fields: Fields,
    pub(super) body: Vec<u8>,
    /// The body as it came, with its chunks.
    pub(super) framed: Vec<u8>,
    pub(super) trailers: Fields,
}

/// What is read, which decides where a body ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Request,
    /// `closed`: nothing follows what is there.
    Answer {
        to_head: bool,
        closed: bool,
    },
}

impl Message {
    /// The first message of `bytes` and its length; nothing while it is not whole.
    pub(super) fn parse(bytes: &[u8], kind: Kind) -> Result<Option<(Self, usize)>, String> {
        let Some((start, mut at)) = line(bytes, 0) else { return Ok(None) };
        let Some(fields) = fields(bytes, &mut at)? else { return Ok(None) };
        let mut message = Self { start: start.to_vec(), fields, ..Self::default() };
        let begin = at;
        match message.end(kind)? {
            End::Length(length) => {
                let Some(body) = bytes.get(at..at + length) else { return Ok(None) };
                message.body = body.to_vec();
                at += length;
            }
            End::Chunks => {
                if !message.chunks(bytes, &mut at)? {
                    return Ok(None);
                }
            }
            End::Close(false) => return Ok(None),
            End::Close(true) => {
                message.body = bytes[at..].to_vec();
                at = bytes.len();
            }
        }
        message.framed = bytes[begin..at].to_vec();
        Ok(Some((message, at)))
    }

    /// Of a request.
    pub(super) fn method(&self) -> &[u8] {
        self.start.split(|byte| *byte == b' ').next().unwrap_or_default()
    }

    /// Of a request: all between the first space and the last.
    pub(super) fn target(&self) -> &[u8] {
        let first = self.start.iter().position(|byte| *byte == b' ').unwrap_or_default();
        let last = self.start.iter().rposition(|byte| *byte == b' ').unwrap_or_default();
        self.start.get(first + 1..last).unwrap_or_default()
    }

    /// Of a request.
    pub(super) fn version(&self) -> &[u8] {
        self.start.rsplit(|byte| *byte == b' ').next().unwrap_or_default()
    }

    /// Of an answer.
    pub(super) fn status(&self) -> u16 {
        let text = String::from_utf8_lossy(&self.start);
        text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    fn end(&self, kind: Kind) -> Result<End, String> {
        let mut end = match kind {
            Kind::Request => End::Length(0),
            Kind::Answer { closed, .. } => End::Close(closed),
        };
        for (name, value) in &self.fields {
            if name.eq_ignore_ascii_case(b"transfer-encoding") {
                end = End::Chunks;
            } else if name.eq_ignore_ascii_case(b"content-length") && !matches!(end, End::Chunks) {
                let text = String::from_utf8_lossy(value);
                end = End::Length(text.parse().map_err(|_| format!("content-length: {text}"))?);
            }
        }
        if let Kind::Answer { to_head, .. } = kind
            && (to_head || matches!(self.status(), 100..=199 | 204 | 304))
        {
            end = End::Length(0);
        }
        Ok(end)
    }

    fn chunks(&mut self, bytes: &[u8], at: &mut usize) -> Result<bool, String> {
        loop {
            let Some((size, next)) = line(bytes, *at) else { return Ok(false) };
            let text = String::from_utf8_lossy(size);
            let digits = text.split(';').next().unwrap_or_default().trim_end();
            let size =
                usize::from_str_radix(digits, 16).map_err(|_| format!("chunk size: {text}"))?;
            *at = next;
            if size == 0 {
                let Some(trailers) = fields(bytes, at)? else { return Ok(false) };
                self.trailers = trailers;
                return Ok(true);
            }
            let Some(data) = bytes.get(*at..*at + size + 2) else { return Ok(false) };
            let Some(data) = data.strip_suffix(b"\r\n") else {
                return Err(format!("a chunk's end: {}", data.escape_ascii()));
            };
            self.body.extend_from_slice(data);
            *at += size + 2;
        }
    }
}

enum End {
    Length(usize),
    Chunks,
    Close(bool),
}

/// The line at `at` and where the next one begins.
fn line(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&rest[..end], at + end + 2))
}

fn fields(bytes: &[u8], at: &mut usize) -> Result<Option<Fields>, String> {
    let mut fields = Vec::new();
    loop {
        let Some((line, next)) = line(bytes, *at) else { return Ok(None) };
        *at = next;
        if line.is_empty() {
            return Ok(Some(fields));
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let Some(colon) = colon.filter(|colon| line[..*colon].iter().all(|b| is_token(*b))) else {
            return Err(format!("a field: {}", line.escape_ascii()));
        };
        let mut value = &line[colon + 1..];
        while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
            value = rest;
        }
        if value.iter().any(|byte| *byte != b'\t' && (*byte < b' ' || *byte == 0x7f)) {
            return Err(format!("a value: {}", value.escape_ascii()));
        }
        fields.push((line[..colon].to_vec(), value.to_vec()));
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
