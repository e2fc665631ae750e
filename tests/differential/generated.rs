//! Requests made by chance, the same ones in each run.

use super::shapes::{Legal, Shape};

/// A generator of numbers (SplitMix64): as good as needed, and always the same.
struct Chance(u64);

impl Chance {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.number() % bound as u64) as usize
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

const METHODS: &[&str] = &["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "PROPFIND"];
const PIECES: &[&str] = &[
    "a",
    "B9",
    "-",
    "_",
    "~",
    ".",
    "..",
    ";v=1",
    "%20",
    "%2F",
    "%c3%a9",
    "+",
    "@",
    ":",
    "!$",
    "(x)",
    "*",
    "",
    "%25",
    "long-segment-of-a-path",
    "'",
    ",",
];
const NAMES: &[&str] =
    &["X-A", "x-b", "X-A", "Accept", "Cookie", "x_c", "X.D", "Cache-Control", "Referer", "X-Id"];
const VALUES: &[&[u8]] = &[
    b"",
    b"1",
    b"a, b",
    b"a=1; b=\"2\"",
    b" padded\t",
    b"\xe9\xff",
    b"*/*;q=0.1",
    b"x  y",
    b"(c)",
    b"http://a/?b=c",
    b"===",
    b"{\"a\":[1]}",
    b"\t",
    b"no-cache",
];
const BODY: &[u8] = b"The quick brown fox\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\0\xff jumps over it.";

/// A request that is one by any reading: where its lines and its body are.
struct Parts {
    line: Vec<u8>,
    fields: Vec<Vec<u8>>,
    body: Vec<u8>,
}

impl Parts {
    fn make(chance: &mut Chance) -> Self {
        let mut target = String::new();
        for _ in 0..1 + chance.below(5) {
            target.push('/');
            target.push_str(chance.one(PIECES));
        }
        for mark in ["?", "&", "="].iter().take(chance.below(4)) {
            target.push_str(mark);
            target.push_str(chance.one(PIECES));
        }
        let method = chance.one(METHODS);
        let line = format!("{method} {target} HTTP/1.1").into_bytes();
        let mut fields = Vec::new();
        for _ in 0..chance.below(8) {
            fields.push([chance.one(NAMES).as_bytes(), b": ", chance.one(VALUES)].concat());
        }
        fields.insert(chance.below(fields.len() + 1), b"Host: svc.example".to_vec());
        let mut parts = Self { line, fields, body: Vec::new() };
        parts.with_body(chance);
        parts
    }

    fn with_body(&mut self, chance: &mut Chance) {
        let mut data = &BODY[..chance.below(BODY.len())];
        match chance.below(3) {
            0 => {}
            1 => {
                let length = format!("Content-Length: {}", data.len()).into_bytes();
                self.add(chance, length);
                self.body = data.to_vec();
            }
            _ => {
                self.add(chance, b"Transfer-Encoding: chunked".to_vec());
                while !data.is_empty() {
                    let chunk = data.split_off(..1 + chance.below(data.len())).unwrap();
                    let extension = chance.one(&["", "", ";x", ";x=y", ";x=\"y;z\""]);
                    let size = format!("{:x}{extension}\r\n", chunk.len());
                    self.body.extend_from_slice(size.as_bytes());
                    self.body.extend_from_slice(chunk);
                    self.body.extend_from_slice(b"\r\n");
                }
                let end = chance.one(&["0\r\n\r\n", "0\r\nX-Sum: 1\r\n\r\n", "000;e\r\n\r\n"]);
                self.body.extend_from_slice(end.as_bytes());
            }
        }
    }

    fn add(&mut self, chance: &mut Chance, field: Vec<u8>) {
        self.fields.insert(chance.below(self.fields.len() + 1), field);
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [&self.line[..], b"\r\n"].concat();
        for field in &self.fields {
            bytes.extend_from_slice(field);
            bytes.extend_from_slice(b"\r\n");
        }
        [&bytes[..], b"\r\n", &self.body].concat()
    }
}

/// Requests that are to arrive as they are.
pub(super) fn proper(count: usize) -> Vec<Shape> {
    let mut chance = Chance(1);
    let parts = (0..count).map(|_| Parts::make(&mut chance));
    let name = |number| format!("proper/{number}");
    parts.enumerate().map(|(n, parts)| Shape::new(name(n), parts.bytes(), Legal::Yes)).collect()
}

/// Requests like these with one thing wrong.
pub(super) fn spoilt(count: usize) -> Vec<Shape> {
    let mut chance = Chance(2);
    (0..count)
        .map(|number| {
            let bytes = spoil(Parts::make(&mut chance), &mut chance, number);
            Shape::new(format!("spoilt/{number}"), bytes, Legal::No)
        })
        .collect()
}

fn spoil(mut parts: Parts, chance: &mut Chance, number: usize) -> Vec<u8> {
    let at = chance.below(parts.fields.len());
    let framing = [
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "Content-Length: 3\r\ncontent-length: 4",
        "Content-Length: 3\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
    ];
    match number % 8 {
        0 => {
            let both = chance.one(&framing);
            parts.add(chance, both.as_bytes().to_vec());
        }
        1 => {
            let byte = chance.one(&[&b"\0"[..], b"\x01", b"\x0b", b"\x1f", b"\x7f", b"\r"]);
            parts.fields[at].extend_from_slice(byte);
            parts.fields[at].push(b'x');
        }
        2 => {
            let fold = chance.one(&[&b"\r\n folded"[..], b"\r\n\tfolded", b"\r\n "]);
            parts.fields[at].extend_from_slice(fold);
        }
        3 => {
            let colon = parts.fields[at].iter().position(|byte| *byte == b':').unwrap();
            let byte = chance.one(&[&b" "[..], b"\t", b"\0", b"(", b"\xe9", b"/"]);
            parts.fields[at].splice(colon..colon, byte.to_vec());
        }
        4 => parts.fields.retain(|field| !field.starts_with(b"Host")),
        5 => parts.fields.push(b"host: other.example".to_vec()),
        6 => {
            let line = chance.one(&[&b" "[..], b"\t", b"\0", b"\x7f", b"\r"]);
            parts.line.splice(4..4, line.to_vec());
        }
        _ => {
            // A body of chunks whose first line is none.
            let size = chance.one(&["g", "-1", "1 1", ";", "0x2", "1\n", "ffffffffffffffff1"]);
            parts.fields = vec![b"Host: a".to_vec(), b"Transfer-Encoding: chunked".to_vec()];
            parts.body = format!("{size}\r\nx\r\n0\r\n\r\n").into_bytes();
        }
    }
    parts.bytes()
}

/// Requests without a body, one byte of whose head became another.
pub(super) fn flipped(count: usize) -> Vec<Shape> {
    let mut chance = Chance(3);
    let mut all = Vec::new();
    while all.len() < count {
        let mut parts = Parts::make(&mut chance);
        if !parts.body.is_empty() || parts.bytes().windows(8).any(|w| w == b"Content-") {
            continue;
        }
        parts.fields.push(b"X-Last: 1".to_vec());
        let mut bytes = parts.bytes();
        // The end of the head stays, or everybody would wait for it.
        let at = chance.below(bytes.len() - 6);
        bytes[at] = *chance
            .one(&[b"\0", b"\n", b"\r", b" ", b":", b"\t", b"\x80", b"A", b"/", b"\""])
            .first()
            .unwrap();
        all.push(Shape::new(format!("flipped/{}", all.len()), bytes, Legal::Unknown));
    }
    all
}
