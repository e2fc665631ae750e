//! Requests made by hand, each of which looks at one thing.

use super::{
    answers,
    message::{Kind, Message},
};

/// What a client sends, and what the upstream says to it.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// Its kind, a slash, which one it is.
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    /// Sent when the client is invited to go on.
    pub(super) rest: Vec<u8>,
    pub(super) script: Script,
    pub(super) legal: Legal,
}

/// What the RFCs say of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Legal {
    Yes,
    /// Nobody may pass it on.
    No,
    /// Made by chance: for the proxies to say.
    Unknown,
}

/// Bytes of an answer, and whether the connection ends behind them.
#[derive(Debug, Clone)]
pub(super) struct Script {
    pub(super) bytes: Vec<u8>,
    pub(super) close: bool,
    /// Whether it is an answer at all.
    pub(super) legal: bool,
}

impl Default for Script {
    fn default() -> Self {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec();
        Self { bytes, close: false, legal: true }
    }
}

impl Shape {
    pub(super) fn new(name: impl Into<String>, bytes: impl AsRef<[u8]>, legal: Legal) -> Self {
        let (name, bytes) = (name.into(), bytes.as_ref().to_vec());
        Self { name, bytes, rest: vec![], script: Script::default(), legal }
    }

    /// The requests it is made of, as far as they are any.
    pub(super) fn messages(&self) -> Vec<Message> {
        messages(&[&self.bytes[..], &self.rest].concat(), Kind::Request)
    }

    /// How many final answers a client may wait for: of several requests that are none,
    /// as many as the most lenient reader finds.
    pub(super) fn answers(&self) -> usize {
        if self.legal == Legal::No && self.name.starts_with("several") {
            let lines = self.bytes.windows(11).filter(|bytes| *bytes == b" HTTP/1.1\r\n");
            return lines.count().max(1);
        }
        self.messages().len().max(1)
    }
}

impl Script {
    /// To a client that asks before it sends a body.
    pub(super) fn invitation() -> Self {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
        Self { bytes, close: false, legal: true }
    }

    /// The answers it is made of.
    pub(super) fn messages(&self, to_head: bool) -> Vec<Message> {
        messages(&self.bytes, Kind::Answer { to_head, closed: true })
    }
}

fn messages(bytes: &[u8], kind: Kind) -> Vec<Message> {
    let (mut all, mut at) = (Vec::new(), 0);
    // An empty line before a request is none of it (RFC 9112 section 2.2).
    while bytes[at..].starts_with(b"\r\n") {
        at += 2;
    }
    while at < bytes.len() {
        let Ok(Some((message, length))) = Message::parse(&bytes[at..], kind) else { break };
        at += length;
        all.push(message);
    }
    all
}

/// All of them.
pub(super) fn by_hand() -> Vec<Shape> {
    let mut all = Vec::new();
    let mut add = |kind: &str, legal, bytes: Vec<u8>| {
        let number = all.len();
        all.push(Shape::new(format!("{kind}/{number}"), bytes, legal));
    };
    for line in TARGETS {
        add("target", Legal::Yes, head(line, b""));
    }
    for line in NO_LINES {
        add("line", Legal::No, head(line, b""));
    }
    for host in HOSTS {
        add("host", Legal::Yes, [b"GET /host HTTP/1.1\r\nHost: ", *host, b"\r\n\r\n"].concat());
    }
    for hosts in NO_HOSTS {
        add("host", Legal::No, [b"GET /host HTTP/1.1\r\n", *hosts, b"\r\n"].concat());
    }
    for fields in FIELDS {
        add("field", Legal::Yes, head(b"GET /field HTTP/1.1", fields));
    }
    for fields in NO_FIELDS {
        add("field", Legal::No, head(b"GET /field HTTP/1.1", fields));
    }
    for fields in HOPS {
        add("hop", Legal::Yes, head(b"GET /hop HTTP/1.1", fields));
    }
    for (fields, body) in BODIES {
        add("body", Legal::Yes, [head(b"POST /body HTTP/1.1", fields), body.to_vec()].concat());
    }
    for (fields, body) in NO_BODIES {
        add("framing", Legal::No, [head(b"POST /body HTTP/1.1", fields), body.to_vec()].concat());
    }
    for bytes in OLD {
        add("http10", Legal::Yes, bytes.to_vec());
    }
    for (legal, bytes) in SEVERAL {
        add("several", *legal, bytes.to_vec());
    }
    add("large", Legal::Yes, head(b"GET /large HTTP/1.1", &many(60, 100)));
    add("large", Legal::Yes, head(b"GET /large HTTP/1.1", &many(3, 7000)));
    add("large", Legal::Yes, head(&long_line(6000), b""));
    add("large", Legal::No, head(&long_line(200_000), b""));
    add("large", Legal::No, head(b"GET /large HTTP/1.1", &many(4, 70_000)));
    add("large", Legal::No, head(b"GET /large HTTP/1.1", &many(1500, 10)));
    all.extend(expecting());
    all.extend(answers::by_hand());
    all
}

/// A request line and a head with these lines behind Host.
pub(super) fn head(line: &[u8], fields: &[u8]) -> Vec<u8> {
    [line, b"\r\nHost: svc.example\r\n", fields, b"\r\n"].concat()
}

fn many(count: usize, size: usize) -> Vec<u8> {
    let value = "v".repeat(size);
    (0..count).flat_map(|each| format!("X-Many-{each}: {value}\r\n").into_bytes()).collect()
}

fn long_line(size: usize) -> Vec<u8> {
    format!("GET /{} HTTP/1.1", "p".repeat(size)).into_bytes()
}

/// Request lines that are to arrive as they are.
const TARGETS: &[&[u8]] = &[
    b"GET / HTTP/1.1",
    b"HEAD / HTTP/1.1",
    b"POST /no-body HTTP/1.1",
    b"PUT / HTTP/1.1",
    b"DELETE /item HTTP/1.1",
    b"PATCH /item HTTP/1.1",
    b"OPTIONS /item HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"TRACE /item HTTP/1.1",
    b"PROPFIND /dav HTTP/1.1",
    b"REPORT /dav HTTP/1.1",
    b"M-SEARCH /dav HTTP/1.1",
    b"PURGE /cache HTTP/1.1",
    b"QUERY /search HTTP/1.1",
    b"X_OWN /own HTTP/1.1",
    b"get /lower HTTP/1.1",
    b"GET //double//slash HTTP/1.1",
    b"GET /a/./b/../c HTTP/1.1",
    b"GET /a/%2e%2E/b HTTP/1.1",
    b"GET /a%2Fb%2fc HTTP/1.1",
    b"GET /a%5Cb HTTP/1.1",
    b"GET /%7Euser/%E4%F6 HTTP/1.1",
    b"GET /%41%62 HTTP/1.1",
    b"GET /space%20plus+ HTTP/1.1",
    b"GET /;p=1;q/x;y HTTP/1.1",
    b"GET /!$&'()*+,;=:@-._~ HTTP/1.1",
    b"GET /? HTTP/1.1",
    b"GET /?? HTTP/1.1",
    b"GET /q?a=1&a=2&&=&b HTTP/1.1",
    b"GET /q?a=/x?y=z:@ HTTP/1.1",
    b"GET /q?a=%00%0d%0a HTTP/1.1",
    b"GET /q?%zz%1 HTTP/1.1",
    b"GET /q?a[]=1&b{}=2|3 HTTP/1.1",
    b"GET /q?a=\"b\"<c>`d`^e\\f HTTP/1.1",
    b"GET /caf\xc3\xa9?q=\xc3\xa9 HTTP/1.1",
    b"GET /latin\xe9 HTTP/1.1",
    b"GET /latin\xe9/%zz HTTP/1.1",
    b"GET /back\\slash HTTP/1.1",
    b"GET /percent% HTTP/1.1",
    b"GET http://svc.example/absolute?x=1 HTTP/1.1",
    b"GET HTTP://svc.example/upper HTTP/1.1",
    b"GET http://other.example:81/other HTTP/1.1",
    b"GET http://svc.example HTTP/1.1",
    b"GET http://svc.example?x=1 HTTP/1.1",
    b"GET http://[::1]:8000/address HTTP/1.1",
    b"OPTIONS http://svc.example HTTP/1.1",
    b"GET https://svc.example/other-scheme HTTP/1.1",
    b"GET /http://svc.example/inner HTTP/1.1",
];

/// Request lines that are none (RFC 9112 section 3).
const NO_LINES: &[&[u8]] = &[
    b"GET  / HTTP/1.1",
    b"GET /  HTTP/1.1",
    b" GET / HTTP/1.1",
    b"GET\t/ HTTP/1.1",
    b"GET /a b HTTP/1.1",
    b"GET /a\tb HTTP/1.1",
    b"GET / HTTP/1.1 ",
    b"GET HTTP/1.1",
    b"GET /",
    b"GET",
    b"GET relative HTTP/1.1",
    b"GET * HTTP/1.1",
    b"GET svc.example:80 HTTP/1.1",
    b"GET ftp://svc.example/ HTTP/1.1",
    b"GET http:///empty HTTP/1.1",
    b"GET http://user@svc.example/ HTTP/1.1",
    b"GET /a#fragment HTTP/1.1",
    b"GET /nul\0 HTTP/1.1",
    b"GET /del\x7f HTTP/1.1",
    b"GET / HTTP/1.2",
    b"GET / HTTP/2.0",
    b"GET / HTTP/0.9",
    b"GET / HTTP/1.10",
    b"GET / HTTP/1",
    b"GET / http/1.1",
    b"GET / HTTPS/1.1",
    b"GET / HTTP /1.1",
    b"G(T / HTTP/1.1",
    b"G\xc3\x89T / HTTP/1.1",
    b"\"GET\" / HTTP/1.1",
    b"GET: / HTTP/1.1",
    b"GET / HTTP/1.1\r",
    b"GET /\rx HTTP/1.1",
    b"CONNECT svc.example:443 HTTP/1.1",
    b"CONNECT / HTTP/1.1",
];

const HOSTS: &[&[u8]] = &[
    b"svc.example",
    b"svc.example:8000",
    b"SVC.Example",
    b"svc.example.",
    b"svc.example:",
    b"localhost",
    b"127.0.0.1:9",
    b"[::1]",
    b"[2001:db8::1]:8000",
    b"under_score.example",
    b"xn--caf-dma.example",
    b"a~b!c.example",
    b"%41.example",
    b"  svc.example\t ",
    b"",
];

/// Host: exactly one, and a valid one (RFC 9112 section 3.2).
const NO_HOSTS: &[&[u8]] = &[
    b"",
    b"Host: a.example\r\nHost: b.example\r\n",
    b"Host: a.example\r\nHost: a.example\r\n",
    b"Host: a.example, b.example\r\n",
    b"Host: a.example b.example\r\n",
    b"Host: a.example/path\r\n",
    b"Host: user@a.example\r\n",
    b"Host: a.example:port\r\n",
    b"Host: http://a.example\r\n",
    b"Host: a\\b\r\n",
    b"Host: a.example#x\r\n",
    b"Host: a.example?x\r\n",
    b"Host: [::1\r\n",
    b"Host: a<b>\r\n",
    b"Host : a.example\r\n",
];

const FIELDS: &[&[u8]] = &[
    b"User-Agent: test/1 (a; b) c\r\n",
    b"x-lower: 1\r\nX-UPPER: 2\r\nX-miXed: 3\r\n",
    b"X-Empty:\r\nX-Blank:   \t \r\n",
    b"X-No-Space:value\r\nX-Tab:\tvalue\t\r\nX-Spaces:    value   \r\n",
    b"X-Inner: a  b\tc   d\r\n",
    b"X-Many: 1\r\nX-Other: o\r\nX-Many: 2\r\nx-many: 3\r\n",
    b"X-List: a, b,c ,, d\r\n",
    b"X-Quoted: \"a, b\" , \"c\\\"d\"\r\n",
    b"X-Colon: a:b: c\r\n",
    b"X-Latin: caf\xe9\r\n",
    b"X-Utf8: caf\xc3\xa9 \xf0\x9f\x99\x82\r\n",
    b"X-Bytes: \x80\xff\r\n",
    b"X-Symbols: !#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\r\n",
    b"!#$%&'*+-.^_`|~09az: token\r\n",
    b"x_under_score: 1\r\n",
    b"x.dot: 1\r\n",
    b"1: digit\r\n",
    b"Cookie: a=1; b=2\r\nCookie: c=3\r\n",
    b"Cookie: a=\"quoted\"; =x; ;; b\r\n",
    b"Authorization: Basic dXNlcjpwYXNz\r\nProxy-Authorization: Basic eA==\r\n",
    b"Accept: */*;q=0.1, text/html\r\nAccept-Encoding: gzip, br;q=0\r\nAccept-Language: de\r\n",
    b"If-None-Match: W/\"a\", \"b\"\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
    b"Range: bytes=0-1, -5\r\nIf-Range: \"x\"\r\n",
    b"Referer: http://other.example/?q=\r\nOrigin: null\r\n",
    b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nWarning: 199 - \"x\"\r\n",
    b"Max-Forwards: 0\r\n",
    b"Cache-Control: no-cache\r\nPragma: no-cache\r\n",
    b"Forwarded: for=192.0.2.1;proto=http\r\n",
    b"X-Forwarded-For: 203.0.113.7, 198.51.100.2\r\n",
    b"X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-For: 198.51.100.2\r\n",
    b"X-Forwarded-For:\r\n",
    b"X-Forwarded-Proto: https\r\n",
    b"X-Forwarded-Host: outer.example\r\nX-Forwarded-Port: 443\r\nX-Real-IP: 203.0.113.7\r\n",
    b"Via: 1.0 outer, 1.1 inner (comment)\r\n",
    b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=b\r\n",
    b"X-Request-Id: 7c6a0e5e-8f6b-4d35-9f0e-7d6cbd0e2a11\r\n",
    b"Content-Type: text/plain\r\nContent-Encoding: identity\r\nContent-Language: en\r\n",
    b"Content-Length: 0\r\n",
    b"Priority: u=1, i\r\nSec-Fetch-Mode: cors\r\nDNT: 1\r\n",
    b"Accept-Encoding:\r\nAccept:\r\n",
    b"Host-Name: not-host\r\nHosts: no\r\n",
    b"Content-Lengths: 5\r\nTransfer-Encodings: chunked\r\n",
];

/// RFC 9112 section 5, RFC 9110 section 5.5.
const NO_FIELDS: &[&[u8]] = &[
    b"X-Space : 1\r\n",
    b"X-Tab\t: 1\r\n",
    b"X Inner: 1\r\n",
    b"X-Fold: a\r\n b\r\n",
    b"X-Fold: a\r\n\tb\r\n",
    b"X-Fold: a\r\n \r\n",
    b" X-Leading: 1\r\n",
    b"no-colon\r\n",
    b": no-name\r\n",
    b"X-Nul: a\0b\r\n",
    b"X-Cr: a\rb\r\n",
    b"X-Lf: a\nX-Next: b\r\n",
    b"X-Vt: a\x0bb\r\n",
    b"X-Esc: \x1b[31m\r\n",
    b"X-Del: a\x7fb\r\n",
    b"X\0Nul: 1\r\n",
    b"X(Paren): 1\r\n",
    b"X\"Quote: 1\r\n",
    b"X/Slash: 1\r\n",
    b"X@At: 1\r\n",
    b"X{Brace}: 1\r\n",
    b"X\xe9: 1\r\n",
    b"\x0bContent-Length: 5\r\n",
    b"X-Bare: 1\n",
    b"X-Cr-Only: 1\rX-Next: 2\r\n",
    b"\r X-Late: 1\r\n",
];

/// Fields of the connection (RFC 9110 section 7.6.1).
const HOPS: &[&[u8]] = &[
    b"Connection: keep-alive\r\n",
    b"Connection: close\r\n",
    b"Connection: Keep-Alive\r\nKeep-Alive: timeout=5, max=100\r\n",
    b"Keep-Alive: timeout=5\r\n",
    b"Proxy-Connection: keep-alive\r\n",
    b"Connection: x-own, X-Other\r\nX-Own: 1\r\nx-other: 2\r\nX-Kept: 3\r\n",
    b"Connection: x-own\r\nConnection: x-two\r\nX-Own: 1\r\nX-Two: 2\r\n",
    b"Connection: x-absent\r\n",
    b"Connection:\r\n",
    b"Connection: ,, x-own ,\r\nX-Own: 1\r\n",
    b"Connection: host, via, x-forwarded-for\r\nVia: 1.1 outer\r\n",
    b"Connection: cookie, authorization\r\nCookie: a=1\r\nAuthorization: x\r\n",
    b"TE: trailers\r\nConnection: TE\r\n",
    b"TE: trailers\r\n",
    b"TE: trailers, gzip;q=0.5\r\nConnection: te\r\n",
    b"TE: gzip\r\nConnection: TE\r\n",
    b"TE:\r\nConnection: TE\r\n",
    b"Trailer: x-sum\r\n",
    b"Upgrade: websocket\r\n",
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
    b"Upgrade: TLS/1.3\r\nConnection: upgrade\r\n",
];

const BODIES: &[(&[u8], &[u8])] = &[
    (b"Content-Length: 5\r\n", b"hello"),
    (b"content-length: 5\r\nContent-Type: text/plain\r\n", b"he\r\no"),
    (b"Content-Length: 3\r\n", b"\0\xff\r"),
    (b"Content-Length: 0\r\n", b""),
    (b"Content-Length: 00005\r\n", b"hello"),
    (b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"),
    (b"transfer-encoding: Chunked\r\n", b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: CHUNKED\r\n", b"0005\r\nhello\r\n000\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"2\r\n\r\n\r\n0\r\n\r\n"),
    (
        b"Transfer-Encoding: chunked\r\n",
        b"1;a\r\nx\r\n1;a=b\r\ny\r\n1;a=\"b;c\\\"d\"\r\nz\r\n0;end\r\n\r\n",
    ),
    (b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n"),
    (
        b"Transfer-Encoding: chunked\r\nTrailer: X-Sum, x-more\r\n",
        b"3\r\nabc\r\n0\r\nX-Sum: 7\r\nx-more: a\r\nx-more:  b \r\n\r\n",
    ),
    (
        b"Transfer-Encoding: chunked\r\nTE: trailers\r\nConnection: TE\r\n",
        b"0\r\nX-Only: t\r\n\r\n",
    ),
    (b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 9\r\n", b"--x\r\n--x--"),
    (b"Content-Encoding: gzip\r\nContent-Length: 2\r\n", b"\x1f\x8b"),
    (b"Content-Length: 2\r\nConnection: close\r\n", b"hi"),
    (b"Content-Length: 2\r\nConnection: content-length\r\n", b"hi"),
    (b"Transfer-Encoding: chunked\r\nConnection: transfer-encoding\r\n", b"1\r\nx\r\n0\r\n\r\n"),
];

/// RFC 9112 sections 6 and 7: where a body ends must be beyond doubt.
const NO_BODIES: &[(&[u8], &[u8])] = &[
    (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"),
    (b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello!"),
    (b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"),
    (b"Content-Length: 5, 5\r\n", b"hello"),
    (b"Content-Length: 5, 6\r\n", b"hello!"),
    (b"Content-Length: +5\r\n", b"hello"),
    (b"Content-Length: -5\r\n", b"hello"),
    (b"Content-Length: 0x5\r\n", b"hello"),
    (b"Content-Length: 5 5\r\n", b"hello"),
    (b"Content-Length: 5;\r\n", b"hello"),
    (b"Content-Length: \"5\"\r\n", b"hello"),
    (b"Content-Length: five\r\n", b"hello"),
    (b"Content-Length:\r\n", b""),
    (b"Content-Length: 99999999999999999999\r\n", b"hello"),
    (b"Content-Length: 18446744073709551621\r\n", b"hello"),
    (b"Content-Length : 5\r\n", b"hello"),
    (b"Content-Length\t: 5\r\n", b"hello"),
    (b"Content-Length: 5\r\n\tx\r\n", b"hello"),
    (b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
    (b"Transfer-Encoding: chunkedx\r\n", b"0\r\n\r\n"),
    (b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    (b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"),
    (b"Transfer-Encoding: chunked, gzip\r\n", b"0\r\n\r\n"),
    (b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
    (b"Transfer-Encoding: gzip\r\n", b"0\r\n\r\n"),
    (b"Transfer-Encoding: identity\r\n", b""),
    (b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"),
    (b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
    (b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n"),
    (b"Transfer-Encoding: \"chunked\"\r\n", b"0\r\n\r\n"),
    (b"Transfer-Encoding: chunked;q=1\r\n", b"0\r\n\r\n"),
    (b"Transfer-Encoding: chun\0ked\r\n", b"0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"x\r\n\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"0x1\r\nx\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"-1\r\nx\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"+1\r\nx\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b" 1\r\nx\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"1 \r\nx\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"1 1\r\nx\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"1_0\r\nx\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"10000000000000001\r\nx\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"ffffffffffffffffff\r\nx\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"1\nx\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"1\r\nx\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"1\rx\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"1\r\nxy\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"3\r\nx\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"1;a\nb\r\nx\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"1;a=\x00\r\nx\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"1 a\r\nx\r\n0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"0\r\nContent-Length: 5\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"0\r\nHost: b.example\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"0\r\nX-Fold: a\r\n b\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"0\r\nX-Space : a\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"0\r\nX-Nul: \0\r\n\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"0\r\nX-Lf: a\n\r\n\r\n"),
];

const OLD: &[&[u8]] = &[
    b"GET /old HTTP/1.0\r\n\r\n",
    b"GET /old HTTP/1.0\r\nHost: svc.example\r\n\r\n",
    b"GET /old HTTP/1.0\r\nHost: svc.example\r\nConnection: keep-alive\r\n\r\n",
    b"HEAD /old HTTP/1.0\r\nHost: svc.example\r\n\r\n",
    b"POST /old HTTP/1.0\r\nHost: svc.example\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /old HTTP/1.0\r\nHost: svc.example\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    b"GET http://svc.example/old HTTP/1.0\r\n\r\n",
];

/// Several requests at once; of those that are none, what is behind them must not pass.
const SEVERAL: &[(Legal, &[u8])] = &[
    (
        Legal::Yes,
        b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiGET /3 HTTP/1.1\r\nHost: b\r\n\r\n",
    ),
    (
        Legal::Yes,
        b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nHEAD /2 HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    (
        Legal::Yes,
        b"GET /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 38\r\n\r\nGET /inner HTTP/1.1\r\nHost: inner.a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    (Legal::Yes, b"\r\nGET /behind-an-empty-line HTTP/1.1\r\nHost: a\r\n\r\n"),
    (
        Legal::No,
        b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /inner HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    (
        Legal::No,
        b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 35\r\n\r\nGET /inner HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    (
        Legal::No,
        b"POST /1 HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /inner HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    (
        Legal::No,
        b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nGET /inner HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    (
        Legal::No,
        b"GET /1 HTTP/1.1\r\nHost: a\r\nX: y\r\n\nGET /inner HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    (Legal::No, b"\0GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (Legal::No, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and no TLS here\r\n\r\n"),
    (Legal::No, b"GET / HTTP/1.1\nHost: a\n\n\r\n\r\n"),
    (Legal::No, b"GET /1 HTTP/1.1\rHost: a\r\r\r\n\r\n"),
];

/// Requests that ask before they send their body.
fn expecting() -> Vec<Shape> {
    let with = |number: usize, fields: &[u8], rest: &[u8], script: &[u8]| {
        let mut shape =
            Shape::new(format!("expect/{number}"), head(b"PUT /e HTTP/1.1", fields), Legal::Yes);
        shape.rest = rest.to_vec();
        if !script.is_empty() {
            shape.script.bytes = script.to_vec();
        }
        shape
    };
    const LENGTH: &[u8] = b"Expect: 100-continue\r\nContent-Length: 5\r\n";
    const CHUNKS: &[u8] = b"Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n";
    vec![
        with(0, LENGTH, b"hello", b""),
        with(1, CHUNKS, b"5\r\nhello\r\n0\r\n\r\n", b""),
        with(2, b"Expect: 100-continue\r\nContent-Length: 0\r\n", b"", b""),
    ]
}
