//! Answers made by hand, each of which looks at one thing.

use super::shapes::{Legal, Script, Shape, head};

/// All of them, each to a request of its method.
pub(super) fn by_hand() -> Vec<Shape> {
    let mut all = Vec::new();
    for (legal, method, close, script) in ANSWERS {
        let request = match *method {
            "UPGRADE" => head(
                b"GET /answer HTTP/1.1",
                b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            ),
            "TE" => head(b"GET /answer HTTP/1.1", b"TE: trailers\r\nConnection: TE\r\n"),
            "OLD" => b"GET /answer HTTP/1.0\r\nHost: svc.example\r\n\r\n".to_vec(),
            "KEPT" => b"GET /answer HTTP/1.0\r\nHost: svc.example\r\nConnection: keep-alive\r\n\r\n".to_vec(),
            method => head(format!("{method} /answer HTTP/1.1").as_bytes(), b""),
        };
        let mut shape = Shape::new(format!("answer/{}", all.len()), request, Legal::Yes);
        shape.script = Script { bytes: script.to_vec(), close: *close, legal: *legal };
        all.push(shape);
    }
    all
}

/// Whether it is one, to what, whether the connection ends behind it, its bytes.
const ANSWERS: &[(bool, &str, bool, &[u8])] = &[
    (true, "GET", false, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    (true, "GET", false, b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
    (true, "GET", false, b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"),
    (true, "GET", false, b"HTTP/1.1 200 Some Other Reason: \xe9\r\nContent-Length: 0\r\n\r\n"),
    (true, "GET", false, b"HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n"),
    (true, "GET", false, b"HTTP/1.1 204 No Content\r\n\r\n"),
    (true, "GET", false, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\nETag: \"x\"\r\n\r\n"),
    (true, "GET", false, b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"),
    (true, "GET", false, b"HTTP/1.1 301 Moved\r\nLocation: http://other.example/\r\nContent-Length: 0\r\n\r\n"),
    (true, "GET", false, b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 2\r\n\r\nno"),
    (true, "GET", false, b"HTTP/1.1 418 Teapot\r\nContent-Length: 2\r\n\r\nno"),
    (true, "GET", false, b"HTTP/1.1 500 Broken\r\nContent-Length: 2\r\n\r\nno"),
    (true, "GET", false, b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"),
    (true, "GET", false, b"HTTP/1.1 599 Odd\r\nContent-Length: 0\r\n\r\n"),
    (true, "HEAD", false, b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"),
    (true, "HEAD", false, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    (true, "HEAD", false, b"HTTP/1.1 404 No\r\n\r\n"),
    (true, "GET", false, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    (true, "GET", false, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0;x\r\n\r\n"),
    (true, "TE", false, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n"),
    (true, "GET", false, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n"),
    (true, "GET", true, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end"),
    (true, "GET", true, b"HTTP/1.1 200 OK\r\n\r\nuntil the end"),
    (true, "GET", true, b"HTTP/1.0 200 OK\r\n\r\nuntil the end"),
    (true, "GET", true, b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    (true, "GET", false, b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"),
    (true, "GET", true, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"),
    (true, "OLD", false, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    (true, "KEPT", false, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    (true, "OLD", false, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    (true, "OLD", false, b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    (true, "GET", false, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    (true, "GET", false, b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    (true, "GET", false, b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    (true, "UPGRADE", true, b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"),
    (true, "UPGRADE", false, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    (true, "UPGRADE", false, b"HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n"),
    (true, "GET", false, b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX-O: 1\r\nSet-Cookie: b=2\r\nset-cookie: c\r\nContent-Length: 0\r\n\r\n"),
    (true, "GET", false, b"HTTP/1.1 200 OK\r\nx-lower: 1\r\nX-UPPER: 2\r\nX-Empty:\r\nX-Latin: \xe9\r\nX-Spaces:  a  b \r\nContent-Length: 0\r\n\r\n"),
    (true, "GET", false, b"HTTP/1.1 200 OK\r\nConnection: x-own\r\nX-Own: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n"),
    (true, "GET", false, b"HTTP/1.1 200 OK\r\nServer: own\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nVia: 1.1 x\r\nContent-Length: 0\r\n\r\n"),
    (true, "GET", false, b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nVary: *\r\nAge: 3\r\nContent-Length: 2\r\n\r\n\x1f\x8b"),
    (true, "GET", false, b"HTTP/1.1 206 Part\r\nContent-Range: bytes 0-1/9\r\nAccept-Ranges: bytes\r\nContent-Length: 2\r\n\r\nok"),
    (true, "GET", false, b"HTTP/1.1 200 OK\r\nX-Accel-Buffering: no\r\nX-Accel-Expires: 1\r\nContent-Length: 0\r\n\r\n"),
    (false, "GET", true, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (false, "GET", true, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),
    (false, "GET", true, b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nabc"),
    (false, "GET", true, b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
    (false, "GET", true, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    (false, "GET", true, b"HTTP/1.1 200 OK\r\nX-Fold: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
    (false, "GET", true, b"HTTP/1.1 200 OK\r\nX-Space : a\r\nContent-Length: 0\r\n\r\n"),
    (false, "GET", true, b"HTTP/1.1 200 OK\r\nX-Nul: a\0b\r\nContent-Length: 0\r\n\r\n"),
    (false, "GET", true, b"HTTP/1.1 200 OK\r\nX-Lf: a\nX-Next: b\r\nContent-Length: 0\r\n\r\n"),
    (false, "GET", true, b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n"),
    (false, "GET", true, b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    (false, "GET", true, b"ICY 200 OK\r\nContent-Length: 0\r\n\r\n"),
    (false, "GET", true, b""),
    (false, "GET", true, b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
    (false, "GET", true, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"),
    (false, "GET", true, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    (false, "GET", true, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nhello\r\n0\r\n\r\n"),
];
