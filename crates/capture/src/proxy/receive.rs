//! Waiting for the next request on a client's connection, and reading its head.

use std::{
    future::{Future as _, poll_fn},
    io,
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Buf as _;

use super::{
    connection::Connection,
    io::{SMALL, read},
};
use crate::{
    clock::Moment,
    h1::{MAX_EMPTY_LINES, Malformed, Parsed, parse_request},
    h2,
    lane::Flight,
    stream::Stream,
};

/// After a stop an idle connection stays open for a moment: a request that is on
/// its way is answered, with `Connection: close`, instead of being reset.
const LAST_CALL: Duration = Duration::from_millis(500);

/// What came.
pub(super) enum Received {
    /// A whole head at the start of the buffer, parsed.
    Head(Started, usize),
    /// The client is done, or gone, or silent between requests, or we are to stop.
    End,
    /// A head was begun and not finished in time.
    Slow,
    /// A head that is refused.
    Malformed(Malformed),
    /// No head of HTTP/1, but the preface of HTTP/2, at the start of the buffer.
    Http2,
}

/// When the request's first byte was read.
pub(super) struct Started {
    pub(super) at: Moment,
    pub(super) flight: Option<Flight>,
}

/// How much of the preface of HTTP/2 is there.
enum Preface {
    None,
    Begun,
    Whole,
}

/// What ended a wait for bytes.
enum Waited {
    Read(io::Result<usize>),
    TimedOut,
}

impl Connection<'_> {
    /// The next request's head; the `first` may turn out to be none of HTTP/1.
    pub(super) async fn receive(&mut self, stream: &Stream, first: bool) -> Received {
        let mut started: Option<Started> = None;
        let idle_since = Instant::now();
        let mut empty_lines = 0;
        loop {
            if started.is_none() {
                empty_lines += self.skip_empty_lines();
                if empty_lines > MAX_EMPTY_LINES {
                    return Received::Malformed(Malformed::bad("empty_lines"));
                }
            }
            // A CR alone may be half of an empty line.
            if !matches!(&self.from_client[..], [] | [b'\r']) {
                let begun = started
                    .get_or_insert_with(|| Started { at: self.proxy.tap.now(), flight: None });
                let head = self.request.get_mut().head_mut();
                match parse_request(&self.from_client, &self.proxy.limits, head) {
                    // The preface is made to be no head of HTTP/1.
                    Err(malformed) => match self.preface(first && empty_lines == 0) {
                        Preface::Whole => return Received::Http2,
                        Preface::Begun => {}
                        Preface::None => return Received::Malformed(malformed),
                    },
                    Ok(Parsed::Incomplete) if begun.flight.is_none() => {
                        // From here on others may write Marks before this request
                        // is recorded.
                        begun.flight = Some(self.proxy.tap.flights.begin(begun.at.wall_ns));
                    }
                    Ok(Parsed::Incomplete) => {}
                    Ok(Parsed::Complete { len }) => {
                        return match started {
                            Some(started) => Received::Head(started, len),
                            None => Received::End,
                        };
                    }
                }
            }
            let config = &self.proxy.tap.config;
            let waited = match &started {
                Some(begun) => {
                    let deadline = begun.at.at + config.header_timeout;
                    self.wait(stream, deadline, false).await
                }
                None => self.wait(stream, idle_since + config.idle_timeout, true).await,
            };
            match waited {
                Waited::Read(Ok(1..)) => {}
                Waited::Read(Ok(0) | Err(_)) => return Received::End,
                Waited::TimedOut if started.is_some() => return Received::Slow,
                Waited::TimedOut => return Received::End,
            }
        }
    }

    /// Whether the client speaks HTTP/2, knowing that we do (RFC 9113 section 3.3).
    fn preface(&self, may_be: bool) -> Preface {
        let so_far = &self.from_client[..];
        if !may_be {
            Preface::None
        } else if so_far.starts_with(h2::PREFACE) {
            Preface::Whole
        } else if h2::PREFACE.starts_with(so_far) {
            Preface::Begun
        } else {
            Preface::None
        }
    }

    /// RFC 9112 2.2: empty lines before a request, which some clients send after a
    /// body. They begin none, so the connection stays idle. Says how many.
    fn skip_empty_lines(&mut self) -> usize {
        let mut lines = 0;
        while self.from_client.starts_with(b"\r\n") {
            self.from_client.advance(2);
            lines += 1;
        }
        lines
    }

    /// Reads once, or until the deadline; an idle connection also until the stop.
    async fn wait(&mut self, stream: &Stream, deadline: Instant, idle: bool) -> Waited {
        if idle {
            self.rest();
        }
        let Self { proxy, from_client, watchdog, stop, .. } = self;
        let mut reading = pin!(async {
            if idle {
                stream.readable().await?;
                proxy.buffers.lend(from_client);
            }
            read(stream, from_client, SMALL).await
        });
        poll_fn(|cx| {
            if let Poll::Ready(result) = reading.as_mut().poll(cx) {
                return Poll::Ready(Waited::Read(result));
            }
            let mut deadline = deadline;
            if idle && let Poll::Ready(since) = stop.poll(cx) {
                deadline = deadline.min(since + LAST_CALL);
            }
            watchdog.poll_until(cx, deadline).map(|()| Waited::TimedOut)
        })
        .await
    }
}
