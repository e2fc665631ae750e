//! Sends each request with the version it was recorded with. Whether a target speaks
//! HTTP/2 is asked before the first request that needs it, on a connection of its own:
//! production may have spoken it to clients where a shadow stands behind something that
//! does not, and a request is never what finds out.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Mutex,
    time::timeout,
};

use super::{
    Fault, Reused, Sent,
    connect::{Connector, Stream},
    http1::Http1,
    http2::Http2,
    rewrite::Shadow,
};
use crate::outcome::Class;

/// An answer holds for so long; targets are replaced by other versions.
const HOLDS: Duration = Duration::from_secs(60);

/// The connection preface with an empty SETTINGS frame (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Head of a frame.
const HEAD: usize = 9;
/// SETTINGS, in the fourth byte.
const SETTINGS: u8 = 4;

/// Both versions to one target.
pub(super) struct Recorded {
    pub(super) http1: Http1,
    pub(super) http2: Http2,
    /// Offers both.
    asking: Connector,
    patience: Duration,
    /// Whether it speaks HTTP/2, and when it said so.
    spoken: Mutex<Option<(bool, Instant)>>,
}

impl Recorded {
    pub(super) fn new(http1: Http1, http2: Http2, asking: Connector, patience: Duration) -> Self {
        Self { http1, http2, asking, patience, spoken: Mutex::new(None) }
    }

    /// Whether a connection can be made now.
    pub(super) async fn probe(&self) -> bool {
        self.asking.connect().await.is_ok()
    }

    /// Sends a request that was recorded as HTTP/2; tells whether it went as HTTP/1.1
    /// instead.
    pub(super) async fn send_http2(
        &self,
        shadow: &Shadow<'_>,
        reused: &mut Reused,
    ) -> (Sent, bool) {
        let began = Instant::now();
        match self.speaks_http2().await {
            Ok(true) => {
                let sent = self.http2.send(shadow).await;
                // Whoever is there now may be another.
                if !sent.written && sent.fault.is_some() {
                    *self.spoken.lock().await = None;
                }
                (sent, false)
            }
            Ok(false) => (self.http1.send(shadow, reused).await, true),
            Err(fault) => (Sent::not_connected(fault, began), false),
        }
    }

    async fn speaks_http2(&self) -> Result<bool, Fault> {
        // One asks for all who wait.
        let mut spoken = self.spoken.lock().await;
        if let Some((speaks, at)) = *spoken
            && (speaks || at.elapsed() < HOLDS)
        {
            return Ok(speaks);
        }
        let speaks = match self.asking.connect().await? {
            stream @ Stream::Tls(_) => stream.is_http2(),
            stream @ Stream::Plain(_) => match timeout(self.patience, ask(stream)).await {
                Ok(speaks) => speaks,
                Err(_) => {
                    let why = format!("no answer to an HTTP/2 preface within {:?}", self.patience);
                    return Err(Fault::new(Class::Timeout, why));
                }
            },
        };
        if !speaks && spoken.is_none() {
            tracing::warn!(
                target = self.asking.place(),
                "requests recorded as HTTP/2 are sent with HTTP/1.1: the target speaks no HTTP/2"
            );
        }
        *spoken = Some((speaks, Instant::now()));
        Ok(speaks)
    }
}

/// A server that speaks HTTP/2 begins with its settings, whatever we have to say (RFC
/// 9113 section 3.4); others close, or answer in HTTP/1.
async fn ask(mut stream: Stream) -> bool {
    if stream.write_all(PREFACE).await.is_err() || stream.flush().await.is_err() {
        return false;
    }
    let mut head = [0; HEAD];
    stream.read_exact(&mut head).await.is_ok() && head[3] == SETTINGS && head[5..] == [0; 4]
}
