//! Message bodies (RFC 9112 6, 7): finds the data in the bytes and the end of
//! the message. The bytes themselves are left as they are, so that they can be
//! passed on unchanged, chunk framing and extensions included.

use std::ops::Range;

use super::{
    BodyKind, Field, Fields, Limits, Malformed, Window,
    fields::{self, Scan},
    is_token_byte,
};

/// Follows one message body after another. Keep one per direction of a
/// connection and `start` it for each message.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    limits: Limits,
    trailers: Vec<Field>,
    /// Body bytes so far.
    data: u64,
    /// Bytes of chunk extensions so far.
    extensions: u64,
}

/// What one call of [`BodyDecoder::decode`] found at the start of its buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Bytes checked, which may be passed on as they are. Call again with what
    /// is behind them; 0: that is not enough, read more first.
    pub len: usize,
    /// Where among them the body data is; the rest is framing.
    pub data: Range<usize>,
    /// The message ends behind them.
    pub done: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    ChunkLine,
    /// Bytes of the chunk still to come.
    ChunkData(u64),
    /// The CRLF behind a chunk's data.
    ChunkEnd,
    Trailers,
    Done,
}

/// RFC 9112 7.1.1 wants extensions bounded: those of one chunk, and of all, by
/// what the message carries besides.
const MAX_EXTENSION: usize = 1024;
const FREE_EXTENSIONS: u64 = 16 * 1024;

/// More hexadecimal digits do not fit 64 bits.
const MAX_SIZE_DIGITS: usize = 16;

impl BodyDecoder {
    /// A decoder with nothing to decode: `start` it.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self { state: State::Done, limits: *limits, trailers: Vec::new(), data: 0, extensions: 0 }
    }

    /// Begins the body of the next message, behind its head.
    pub fn start(&mut self, kind: BodyKind) {
        self.state = match kind {
            BodyKind::None | BodyKind::Length(0) => State::Done,
            BodyKind::Length(length) => State::Length(length),
            BodyKind::Chunked => State::ChunkLine,
            BodyKind::UntilClose => State::UntilClose,
        };
        self.trailers.clear();
        self.data = 0;
        self.extensions = 0;
    }

    /// Whether the message has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Body bytes so far, without framing.
    #[must_use]
    pub fn data_len(&self) -> u64 {
        self.data
    }

    /// Takes one piece of the message from the start of `buf`: data, or one
    /// element of chunk framing. Framing is taken whole: what is left over must
    /// still be there, at the start of a longer buffer, at the next call. At
    /// most `Limits::max_head` bytes are ever left over.
    ///
    /// # Errors
    /// The framing is broken; what was passed on before ends a message that is
    /// not whole, so both connections are to be closed.
    pub fn decode(&mut self, buf: &[u8]) -> Result<Step, Malformed> {
        match self.state {
            State::Done => Ok(self.step(0, 0..0)),
            State::UntilClose => Ok(self.take_data(buf.len())),
            State::Length(left) => {
                let len = clamp(buf, left);
                self.state = match left - len as u64 {
                    0 => State::Done,
                    left => State::Length(left),
                };
                Ok(self.take_data(len))
            }
            State::ChunkData(left) => {
                let len = clamp(buf, left);
                self.state = match left - len as u64 {
                    0 => State::ChunkEnd,
                    left => State::ChunkData(left),
                };
                Ok(self.take_data(len))
            }
            State::ChunkLine => self.chunk_line(buf),
            State::ChunkEnd => self.chunk_end(buf),
            State::Trailers => self.trailer_section(buf),
        }
    }

    /// The sender closed the connection.
    ///
    /// # Errors
    /// In the middle of the message (RFC 9112 8).
    pub fn eof(&mut self) -> Result<(), Malformed> {
        match self.state {
            State::Done | State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(Malformed::bad("body_incomplete")),
        }
    }

    /// The trailer fields; `buf` is the slice given to the call of `decode` that
    /// said `done`.
    #[must_use]
    pub fn trailers<'a>(&'a self, buf: &'a [u8]) -> Fields<'a> {
        Fields { buf, fields: self.trailers.iter() }
    }

    fn step(&self, len: usize, data: Range<usize>) -> Step {
        Step { len, data, done: self.is_done() }
    }

    fn take_data(&mut self, len: usize) -> Step {
        self.data = self.data.saturating_add(len as u64);
        self.step(len, 0..len)
    }

    /// `chunk-size [ chunk-ext ] CRLF`
    fn chunk_line(&mut self, buf: &[u8]) -> Result<Step, Malformed> {
        let Some(line) = ChunkLine::parse(buf)? else {
            return Ok(self.step(0, 0..0));
        };
        self.extensions += line.extension as u64;
        if self.extensions > self.data.saturating_add(FREE_EXTENSIONS) {
            return Err(Malformed::bad("chunk_extension_too_long"));
        }
        self.state = match line.size {
            0 => State::Trailers,
            size => State::ChunkData(size),
        };
        Ok(self.step(line.len, 0..0))
    }

    fn chunk_end(&mut self, buf: &[u8]) -> Result<Step, Malformed> {
        match buf {
            [b'\r', b'\n', ..] => {
                self.state = State::ChunkLine;
                Ok(self.step(2, 0..0))
            }
            [] | [b'\r'] => Ok(self.step(0, 0..0)),
            _ => Err(Malformed::bad("chunk_end")),
        }
    }

    /// RFC 9112 7.1.2: field lines and an empty line.
    fn trailer_section(&mut self, buf: &[u8]) -> Result<Step, Malformed> {
        let len = if buf.starts_with(b"\r\n") {
            2
        } else {
            let window = Window::new(buf, 0, &self.limits);
            match fields::scan(window, 0, &self.limits, &mut self.trailers)? {
                Scan::End(len) => len,
                Scan::Incomplete if window.full => {
                    return Err(Malformed::with(431, "trailers_too_large"));
                }
                Scan::Incomplete => return Ok(self.step(0, 0..0)),
            }
        };
        if self.trailers.iter().any(|field| field.kind.is_forbidden_in_trailers()) {
            return Err(Malformed::bad("trailer_field"));
        }
        self.state = State::Done;
        Ok(self.step(len, 0..0))
    }
}

fn clamp(buf: &[u8], left: u64) -> usize {
    usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()))
}

struct ChunkLine {
    size: u64,
    /// Bytes between size and CRLF.
    extension: usize,
    /// With its CRLF.
    len: usize,
}

impl ChunkLine {
    /// Nothing while the line is not whole.
    fn parse(buf: &[u8]) -> Result<Option<Self>, Malformed> {
        let digits = buf
            .iter()
            .take(MAX_SIZE_DIGITS + 1)
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        match digits {
            0 if buf.is_empty() => return Ok(None),
            0 => return Err(Malformed::bad("chunk_size")),
            1..=MAX_SIZE_DIGITS => {}
            _ => return Err(Malformed::bad("chunk_size_overflow")),
        }
        let size = buf[..digits].iter().fold(0, |sum, &digit| {
            sum << 4 | u64::from((digit as char).to_digit(16).unwrap_or_default())
        });
        let Some(extension) = extension_len(&buf[digits..])? else {
            return Ok(None);
        };
        match &buf[digits + extension..] {
            [] | [b'\r'] => Ok(None),
            [b'\r', b'\n', ..] => Ok(Some(Self { size, extension, len: digits + extension + 2 })),
            _ => Err(Malformed::bad("chunk_size")),
        }
    }
}

/// Length of `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`
/// up to the CR of its line (RFC 9112 7.1.1), or nothing while it is not whole.
fn extension_len(buf: &[u8]) -> Result<Option<usize>, Malformed> {
    const INVALID: Malformed = Malformed::bad("chunk_extension");
    let mut expects = Expects::Semicolon { after_space: false };
    for (at, &byte) in buf.iter().enumerate() {
        if byte == b'\r' {
            return if expects.may_end() { Ok(Some(at)) } else { Err(INVALID) };
        }
        if at == MAX_EXTENSION {
            return Err(Malformed::bad("chunk_extension_too_long"));
        }
        expects = expects.next(byte).ok_or(match (at, byte) {
            (_, b'\n') => Malformed::bad("bare_lf"),
            (0, _) => Malformed::bad("chunk_size"),
            _ => INVALID,
        })?;
    }
    Ok(None)
}

/// Where in a chunk extension the next byte stands.
#[derive(Clone, Copy)]
enum Expects {
    Semicolon {
        after_space: bool,
    },
    NameStart,
    Name,
    /// Whitespace behind a name: `=` or `;` follows.
    NameEnd,
    ValueStart,
    Token,
    Quoted,
    Escaped,
}

impl Expects {
    fn next(self, byte: u8) -> Option<Self> {
        let space = matches!(byte, b' ' | b'\t');
        let token = is_token_byte(byte);
        match self {
            Self::Semicolon { .. } if byte == b';' => Some(Self::NameStart),
            Self::Semicolon { .. } if space => Some(Self::Semicolon { after_space: true }),
            Self::NameStart if space => Some(self),
            Self::NameStart | Self::Name if token => Some(Self::Name),
            Self::Name | Self::NameEnd if byte == b'=' => Some(Self::ValueStart),
            Self::Name | Self::NameEnd | Self::Token if byte == b';' => Some(Self::NameStart),
            Self::Name | Self::NameEnd if space => Some(Self::NameEnd),
            Self::ValueStart if space => Some(self),
            Self::ValueStart if byte == b'"' => Some(Self::Quoted),
            Self::ValueStart | Self::Token if token => Some(Self::Token),
            Self::Token if space => Some(Self::Semicolon { after_space: true }),
            Self::Quoted if byte == b'"' => Some(Self::Semicolon { after_space: false }),
            Self::Quoted if byte == b'\\' => Some(Self::Escaped),
            Self::Quoted | Self::Escaped if byte == b'\t' || (byte >= b' ' && byte != 0x7f) => {
                Some(Self::Quoted)
            }
            _ => None,
        }
    }

    /// Whitespace at the end of the line is not part of the grammar.
    fn may_end(self) -> bool {
        matches!(self, Self::Semicolon { after_space: false } | Self::Name | Self::Token)
    }
}
