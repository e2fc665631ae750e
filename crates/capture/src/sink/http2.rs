//! A request to a mirror sink that comes over HTTP/2: taken in and answered as over
//! HTTP/1, see [`crate::proxy::absorb`].

use std::{
    future::{Future as _, poll_fn},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Instant,
};

use ::h2::{Reason, RecvStream, server::SendResponse};
use bytes::Bytes;
use http::HeaderValue;

use umbra_record::authority::{SUFFIX, strip_suffix};

use super::{Restored, Sink, Suffix, View, profile::Change};
use crate::{
    h1::{Limits, Malformed},
    h2::Incoming,
    leg,
    proxy::{Proxy, watchdog::Watchdog},
    record::{HeadFields, Http2Request},
    tee::{RequestTee, SHARED_FRAME},
};

/// One stream that is taken in.
struct Absorbing<'a> {
    proxy: &'a Proxy,
    body: RecvStream,
    respond: SendResponse<Bytes>,
    request: RequestTee,
    watchdog: Watchdog,
    answered: bool,
}

/// Why a stream ended before its end.
enum Broken {
    /// The mirroring proxy is gone or has taken the request back.
    Gone,
    /// It sends nothing for too long.
    Silent,
}

/// Takes a request in. Says `false`, whatever becomes of it: a mesh takes its mirrored
/// requests back when its clients do, which is no attack of the mesh.
pub(crate) async fn absorb(proxy: &Rc<Proxy>, sink: &Sink, incoming: Incoming) -> bool {
    let Incoming { head, body, respond, start, flight, number, origin, .. } = incoming;
    let whole = !head.has_body;
    let fields = HeadFields::Http2(&head.fields);
    let view = View { authority: &head.authority, fields: &fields };
    let restored = sink.restore(view);
    let mut request = RequestTee::new(Rc::clone(&proxy.tap), origin);
    request.mirrored(&head.authority, &restored, sink.client(view));
    let head = if restored.is_nothing() { head } else { Arc::new(before(&head, restored)) };
    request.begin_http2(start, number, head, Some(flight));
    let watchdog = Watchdog::new();
    let mut stream = Absorbing { proxy, body, respond, request, watchdog, answered: false };
    let ended = if whole { Ok(()) } else { stream.take_body().await };
    if ended.is_ok() {
        stream.request.ended();
    }
    // In the queue before it is answered: what was accepted is recorded or counted.
    stream.request.emit();
    match ended {
        Ok(()) => stream.accept(),
        Err(Broken::Gone) => {}
        Err(Broken::Silent) => stream.respond.send_reset(Reason::CANCEL),
    }
    false
}

/// What is checked of every request. A host that only the mesh's suffix makes invalid is
/// none.
pub(crate) fn check(
    sink: Option<&Sink>,
    head: &mut Http2Request,
    end: bool,
    limits: &Limits,
) -> Result<(), Malformed> {
    let strips = sink.is_some_and(|sink| sink.suffix == Suffix::Strip);
    let Some(bare) = strip_suffix(&head.authority, SUFFIX).filter(|_| strips) else {
        return leg::check(head, end, limits);
    };
    let received = std::mem::replace(&mut head.authority, bare);
    let checked = leg::check(head, end, limits);
    head.authority = received;
    checked
}

/// The head as it was before the mesh got it.
fn before(head: &Http2Request, restored: Restored) -> Http2Request {
    let kept = head.fields.iter().enumerate().filter_map(|(index, (name, value))| {
        let value = match restored.of(index) {
            Some(Change::Drop) => return None,
            Some(Change::Value(value)) => HeaderValue::from_bytes(value).ok()?,
            None => value.clone(),
        };
        Some((name.clone(), value))
    });
    let fields = kept.collect();
    let (path, query) = match &restored.target {
        None => (head.path.clone(), head.query.clone()),
        Some(target) => match memchr::memchr(b'?', target) {
            None => (target.clone(), None),
            Some(mark) => (target[..mark].to_vec(), Some(target[mark + 1..].to_vec())),
        },
    };
    Http2Request {
        method: head.method.clone(),
        scheme: head.scheme.clone(),
        authority: restored.authority.unwrap_or_else(|| head.authority.clone()),
        path,
        query,
        fields,
        has_body: head.has_body,
    }
}

impl Absorbing<'_> {
    /// Reads the body to its end, whatever becomes of it.
    async fn take_body(&mut self) -> Result<(), Broken> {
        self.request.hold();
        while let Some(data) = self.next().await? {
            let shared =
                (data.len() >= SHARED_FRAME && self.request.wants_frames()).then(|| data.clone());
            self.request.data(&data, shared);
            // The window stays open: the mesh never waits for what becomes of it.
            let _ = self.body.flow_control().release_capacity(data.len());
            if self.request.has_given_up() {
                self.accept();
            }
        }
        let trailers = self.body.trailers().await.map_err(|_| Broken::Gone)?;
        if let Some(trailers) = trailers {
            self.request.trailers_http2(&trailers);
        }
        Ok(())
    }

    /// The next piece of the body. Meanwhile a request that goes on for long is written
    /// as it stands.
    async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        let deadline = Instant::now() + self.proxy.tap.config.idle_timeout;
        let Self { body, request, watchdog, .. } = self;
        let mut data = pin!(body.data());
        poll_fn(|cx| {
            if let Poll::Ready(data) = data.as_mut().poll(cx) {
                return Poll::Ready(data.transpose().map_err(|_| Broken::Gone));
            }
            loop {
                let next = request.open_at().map_or(deadline, |at| at.min(deadline));
                std::task::ready!(watchdog.poll_until(cx, next));
                if Instant::now() >= deadline {
                    return Poll::Ready(Err(Broken::Silent));
                }
                request.write_open();
            }
        })
        .await
    }

    /// The answer; early, it is complete all the same.
    fn accept(&mut self) {
        if !std::mem::replace(&mut self.answered, true) {
            let mut answer = http::Response::new(());
            *answer.status_mut() = http::StatusCode::ACCEPTED;
            // Who has taken the request back needs none.
            let _ = self.respond.send_response(answer, true);
        }
    }
}
