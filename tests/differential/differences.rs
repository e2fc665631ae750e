//! The differences that are meant, each with its reason, as data: the test knows no
//! others, and docs/differences.md is made of it.

use super::{compare::Deviation, message::Message, shapes::Shape};

/// One of them.
pub(super) struct Difference {
    pub(super) id: &'static str,
    /// In which part of the page it stands.
    pub(super) part: Part,
    /// What the agent does.
    pub(super) what: &'static str,
    pub(super) why: &'static str,
    /// Where that is written.
    pub(super) rfc: &'static str,
    /// Whether it is what is other here.
    met: fn(&Shape, &Deviation) -> bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Request,
    Answer,
    Stricter,
    Wider,
}

impl Part {
    /// In the order of the page, each with its heading and what is said below it.
    const ALL: [(Self, &'static str, &'static str); 4] = [
        (
            Self::Request,
            "What a request becomes",
            "Everything else of a request arrives as it was sent: method, target, names and \
             values of fields with their case and order, empty and repeated ones, bytes above \
             ASCII, the body with its chunks and their extensions, trailers.",
        ),
        (
            Self::Answer,
            "What an answer becomes",
            "Everything else of an answer reaches the client as the upstream sent it: status, \
             reason, interim answers, fields, body, chunks, trailers. Nothing is added: no \
             Server, no Date, no Via.",
        ),
        (
            Self::Stricter,
            "What both others pass on and the agent does not",
            "Such a request gets 400 (of another version, 505), such an answer becomes 502, and \
             each is counted by reason.",
        ),
        (
            Self::Wider,
            "What both others refuse and the agent passes on",
            "None of it bears on where a message, a field or a target begins and ends; of what \
             does, nothing doubtful passes, whatever others do.",
        ),
    ];
}

use Part::{Answer, Request, Stricter, Wider};

pub(super) const DIFFERENCES: &[Difference] = &[
    Difference {
        id: "via",
        part: Request,
        what: "`Via: 1.1 umbra` is added behind all others (`1.0` for a client that speaks it)",
        why: "Every intermediary has to; loops show by it",
        rfc: "RFC 9110 §7.6.3",
        met: |_, other| requests(other, &["+ via"]),
    },
    Difference {
        id: "forwarded-for",
        part: Request,
        what: "The client's address is appended to the last X-Forwarded-For, or is one",
        why: "The upstream sees the agent's address only; what is left of it stays as it is",
        rfc: "RFC 7239 §5.2, §7.4",
        met: |_, other| requests(other, &["+ x-forwarded-for", "~ x-forwarded-for"]),
    },
    Difference {
        id: "forwarded-proto",
        part: Request,
        what: "X-Forwarded-Proto is added where there is none",
        why: "The upstream cannot know whether the client used TLS",
        rfc: "RFC 7239 §5.4",
        met: |_, other| requests(other, &["+ x-forwarded-proto"]),
    },
    Difference {
        id: "te",
        part: Request,
        what: "Of TE only `trailers` stays, with `Connection: TE`",
        why: "Other codings would be for this connection, which has none",
        rfc: "RFC 9110 §10.1.4",
        met: |shape, other| {
            requests(other, &["- te", "~ te"])
                || sent(shape).any(|sent| has(&sent, "te"))
                    && requests(other, &["+ connection", "~ connection"])
        },
    },
    Difference {
        id: "upgrade",
        part: Request,
        what: "Upgrade passes only if Connection names it, anew and alone, and never to another HTTP (`h2c`)",
        why: "In a tunnel of HTTP/2 requests would pass unseen; without Connection it is none",
        rfc: "RFC 9110 §7.8",
        met: |shape, other| {
            requests(other, &["- upgrade"])
                || sent(shape).any(|sent| has(&sent, "upgrade"))
                    && requests(other, &["~ connection"])
        },
    },
    Difference {
        id: "connection",
        part: Request,
        what: "Connection, Keep-Alive, Proxy-Connection and the fields Connection names are taken out, but for \
               Content-Length, Host, Via, X-Forwarded-For and -Proto, which it cannot take out",
        why: "They are of the connection to the client; whoever could name the others could change framing, target or trace",
        rfc: "RFC 9110 §7.6.1",
        met: |shape, other| {
            requests(other, &["- connection", "- keep-alive", "- proxy-connection"])
                || matches!(other, Deviation::Request(what) if sent(shape).any(|sent| named(&sent, what)))
        },
    },
    Difference {
        id: "absolute-form",
        part: Request,
        what: "A target with scheme and authority becomes path and query; its authority becomes Host, and wins over it",
        why: "Servers take the absolute form of proxies only; two hops must not see two hosts",
        rfc: "RFC 9112 §3.2.1, §3.2.2",
        met: |shape, other| {
            requests(other, &["target", "~ host"])
                && sent(shape).any(|sent| !sent.target().starts_with(b"/"))
        },
    },
    Difference {
        id: "version",
        part: Request,
        what: "A request of HTTP/1.0 goes on as HTTP/1.1",
        why: "The version is that of the hop",
        rfc: "RFC 9110 §2.5",
        met: |shape, other| requests(other, &["version"]) && is_old(shape),
    },
    Difference {
        id: "host-of-http10",
        part: Request,
        what: "A request of HTTP/1.0 without Host gets that of its target, else the upstream's",
        why: "HTTP/1.1 demands one",
        rfc: "RFC 9112 §3.2, §3.3",
        met: |shape, other| requests(other, &["+ host"]) && is_old(shape),
    },
    Difference {
        id: "expect-of-http10",
        part: Request,
        what: "Expect is taken out of a request of HTTP/1.0",
        why: "Its client does not know the 100 that would come",
        rfc: "RFC 9110 §10.1.1",
        met: |shape, other| requests(other, &["- expect"]) && is_old(shape),
    },
    Difference {
        id: "chunked",
        part: Request,
        what: "`Chunked` in any case becomes `chunked`",
        why: "A server that compares letters would take the body for another request",
        rfc: "RFC 9112 §7",
        met: |_, other| requests(other, &["~ transfer-encoding"]),
    },
    Difference {
        id: "answer-connection",
        part: Answer,
        what: "Connection, Keep-Alive and the fields Connection names are taken out; `Connection: close` says that \
               the client's connection ends, `keep-alive` to HTTP/1.0 that it does not, `upgrade` belongs to 101 and 426",
        why: "They are of the connection to the upstream",
        rfc: "RFC 9110 §7.6.1, RFC 9112 §9.3, §9.6",
        met: |shape, other| {
            answers(other, &["+ connection", "- connection", "~ connection", "- keep-alive"])
                || matches!(other, Deviation::Answer(what)
                    if shape.script.messages(false).iter().any(|answer| named(answer, what)))
        },
    },
    Difference {
        id: "answer-version",
        part: Answer,
        what: "An answer of HTTP/1.0 goes on as HTTP/1.1",
        why: "The version is that of the hop",
        rfc: "RFC 9110 §2.5",
        met: |shape, other| {
            answers(other, &["version"]) && shape.script.bytes.starts_with(b"HTTP/1.0")
        },
    },
    Difference {
        id: "no-chunks-for-http10",
        part: Answer,
        what: "A client of HTTP/1.0 gets a body without chunks, which the end of the connection ends",
        why: "It does not know chunks",
        rfc: "RFC 9112 §6.1",
        met: |shape, other| answers(other, &["- transfer-encoding", "framing"]) && is_old(shape),
    },
    Difference {
        id: "no-interim-for-http10",
        part: Answer,
        what: "A client of HTTP/1.0 gets no interim answers",
        why: "It would take them for the answer",
        rfc: "RFC 9110 §15.2",
        met: |shape, other| answers(other, &["- 103"]) && is_old(shape),
    },
    Difference {
        id: "bare-lf",
        part: Stricter,
        what: "A line that ends with LF alone, in heads, chunks and trailers",
        why: "Where one hop sees the end of a line, another sees none: the ground of request smuggling",
        rfc: "RFC 9112 §2.2",
        met: |shape, other| *other == Deviation::Refused && holds_bare_lf(&shape.bytes),
    },
    Difference {
        id: "request-line",
        part: Stricter,
        what: "A request line with other whitespace than its two spaces, or without a version",
        why: "Method and target would depend on who splits the line",
        rfc: "RFC 9112 §3",
        met: |shape, other| {
            let line = shape.bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
            let spaces = line.iter().filter(|byte| byte.is_ascii_whitespace()).count();
            *other == Deviation::Refused && spaces != 2
        },
    },
    Difference {
        id: "unknown-version",
        part: Stricter,
        what: "HTTP/1.2 and above",
        why: "There is none, and what its rules would be nobody knows",
        rfc: "RFC 9110 §15.6.6",
        met: |shape, other| {
            let line = shape.bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
            let known = [&b"HTTP/1.0"[..], b"HTTP/1.1"].iter().any(|known| line.ends_with(known));
            *other == Deviation::Refused && !known
        },
    },
    Difference {
        id: "host",
        part: Stricter,
        what: "A Host that is none: with user information, a port that is no number, half an address",
        why: "It has to be refused; each hop would choose another host",
        rfc: "RFC 9112 §3.2",
        met: |shape, other| {
            *other == Deviation::Refused && sent(shape).any(|sent| has_odd_host(&sent))
        },
    },
    Difference {
        id: "chunk-line",
        part: Stricter,
        what: "Whitespace, or anything but extensions, behind the size of a chunk",
        why: "Readers that stop at different places find different sizes",
        rfc: "RFC 9112 §7.1, §7.1.1",
        met: |shape, other| *other == Deviation::Refused && has_odd_chunk(shape),
    },
    Difference {
        id: "trailers",
        part: Stricter,
        what: "Trailers that frame or route a message (Content-Length, Transfer-Encoding, Host and the like), or are \
               folded",
        why: "A hop that merges them into the head would read another message",
        rfc: "RFC 9110 §6.5.1, RFC 9112 §5.2",
        met: |shape, other| *other == Deviation::Refused && has_odd_trailer(shape),
    },
    Difference {
        id: "answer-malformed",
        part: Stricter,
        what: "Answers with LF alone, of HTTP/2.0, or a 101 that nobody asked for",
        why: "The same, on the way back: an answer must not be read in two ways",
        rfc: "RFC 9112 §2.2, §4; RFC 9110 §15.2.2",
        met: |shape, other| *other == Deviation::AnswerRefused && !shape.script.legal,
    },
    Difference {
        id: "asterisk",
        part: Wider,
        what: "`OPTIONS *`",
        why: "It asks the server as a whole",
        rfc: "RFC 9112 §3.2.4",
        met: |shape, other| *other == Deviation::Passed && shape.bytes.starts_with(b"OPTIONS * "),
    },
    Difference {
        id: "target-bytes",
        part: Wider,
        what: "A target with bytes above ASCII *and* a `%` that begins no escape",
        why: "Envoy refuses the one, nginx the other; clients send both, and what an intermediary need not \
              understand it passes on as it came",
        rfc: "RFC 9112 §3.2, RFC 3986 §2.1",
        met: |shape, other| {
            *other == Deviation::Passed && sent(shape).any(|sent| has_odd_target(&sent))
        },
    },
    Difference {
        id: "methods",
        part: Wider,
        what: "Every method that is a token, also in lower case",
        why: "Methods are for the server to know",
        rfc: "RFC 9110 §9.1",
        met: |shape, other| {
            *other == Deviation::Passed
                && sent(shape).any(|sent| !sent.method().iter().all(u8::is_ascii_uppercase))
        },
    },
];

impl Difference {
    pub(super) fn covers(&self, shape: &Shape, deviation: &Deviation) -> bool {
        (self.met)(shape, deviation)
    }
}

/// The tables of docs/differences.md.
pub(super) fn tables() -> String {
    let mut page = String::new();
    for (part, heading, below) in Part::ALL {
        page.push_str(&format!("## {heading}\n\n{below}\n\n"));
        page.push_str("| what the agent does | why | |\n|---|---|---|\n");
        for entry in DIFFERENCES.iter().filter(|entry| entry.part == part) {
            page.push_str(&format!("| {} | {} | {} |\n", entry.what, entry.why, entry.rfc));
        }
        page.push('\n');
    }
    page
}

fn requests(other: &Deviation, any: &[&str]) -> bool {
    matches!(other, Deviation::Request(what) if any.contains(&what.as_str()))
}

fn answers(other: &Deviation, any: &[&str]) -> bool {
    matches!(other, Deviation::Answer(what) if any.contains(&what.as_str()))
}

fn sent(shape: &Shape) -> impl Iterator<Item = Message> {
    shape.messages().into_iter()
}

fn is_old(shape: &Shape) -> bool {
    sent(shape).any(|sent| sent.version() == b"HTTP/1.0")
}

fn values(message: &Message, name: &str) -> impl Iterator<Item = String> {
    let lines = message.fields.iter();
    let found = lines.filter(move |(n, _)| n.eq_ignore_ascii_case(name.as_bytes()));
    found.map(|(_, value)| String::from_utf8_lossy(value).to_ascii_lowercase())
}

fn has(message: &Message, name: &str) -> bool {
    values(message, name).next().is_some()
}

/// Whether what is gone (`- name`) is named by Connection.
fn named(message: &Message, what: &str) -> bool {
    let Some(name) = what.strip_prefix("- ") else { return false };
    values(message, "connection").any(|value| value.split(',').any(|each| each.trim() == name))
}

fn holds_bare_lf(bytes: &[u8]) -> bool {
    (0..bytes.len()).any(|at| bytes[at] == b'\n' && (at == 0 || bytes[at - 1] != b'\r'))
}

fn has_odd_host(message: &Message) -> bool {
    values(message, "host").any(|host| {
        let port = host.rsplit_once(':').map_or("", |(_, port)| port);
        host.contains('@')
            || (host.starts_with('[') && !host.contains(']'))
            || !port.trim_end_matches(']').bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn has_odd_target(message: &Message) -> bool {
    let target = message.target();
    let is_escape = |at: usize| {
        target.get(at + 1..at + 3).is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit))
    };
    !target.is_ascii() && (0..target.len()).any(|at| target[at] == b'%' && !is_escape(at))
}

fn body(shape: &Shape) -> &[u8] {
    let end = shape.bytes.windows(4).position(|four| four == b"\r\n\r\n");
    end.map_or(&[], |end| &shape.bytes[end + 4..])
}

fn is_chunked(shape: &Shape) -> bool {
    shape.bytes.windows(17).any(|name| name.eq_ignore_ascii_case(b"transfer-encoding"))
}

/// The first line of a chunked body is more than a size and extensions.
fn has_odd_chunk(shape: &Shape) -> bool {
    let line = body(shape).split(|byte| *byte == b'\r').next().unwrap_or_default();
    let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
    is_chunked(shape) && (size.contains(&b' ') || line.contains(&0))
}

/// There are trailers, and not only proper ones.
fn has_odd_trailer(shape: &Shape) -> bool {
    is_chunked(shape) && body(shape).starts_with(b"0\r\n") && body(shape) != b"0\r\n\r\n"
}
