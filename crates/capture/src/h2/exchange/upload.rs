//! A request's body on its way from client to upstream.

use std::cell::{Cell, RefCell};

use ::h2::RecvStream;

use super::super::client::Gone;
use crate::{
    leg::{self, Sending},
    proxy::progress::{Progress, Waits},
    tee::{RequestTee, SHARED_FRAME},
};

/// One body in passing.
pub(super) struct Upload<'a> {
    pub(super) body: &'a mut RecvStream,
    pub(super) sending: &'a mut Sending,
    pub(super) tee: &'a RefCell<RequestTee>,
    pub(super) progress: &'a Progress,
    /// Whether the answer has begun.
    pub(super) begun: &'a Cell<bool>,
    pub(super) is_grpc: bool,
}

/// How it ended.
#[derive(Clone, Copy)]
pub(super) enum Uploaded {
    /// All of it has been passed on.
    Whole,
    /// The client went away in the middle.
    Gone(Gone),
    /// The client's trailers are refused.
    Malformed(&'static str),
    /// The upstream takes no more.
    UpstreamGone,
}

impl Upload<'_> {
    pub(super) async fn run(mut self) -> Uploaded {
        match self.data().await {
            Ok(()) => self.end().await.unwrap_or_else(|end| end),
            Err(end) => end,
        }
    }

    async fn data(&mut self) -> Result<(), Uploaded> {
        loop {
            let streams = self.begun.get() || self.is_grpc;
            self.progress.upload(Some(if streams { Waits::Stream } else { Waits::Client }));
            let data = match self.body.data().await {
                Some(Ok(data)) => data,
                Some(Err(error)) => return Err(Uploaded::Gone(Gone::of(&error))),
                None => return Ok(()),
            };
            let len = data.len();
            {
                let mut tee = self.tee.borrow_mut();
                let shared = (len >= SHARED_FRAME && tee.wants_frames()).then(|| data.clone());
                tee.data(&data, shared);
            }
            if len > 0 {
                self.progress.upload(Some(Waits::Upstream));
                self.sending.data(data).await.map_err(|_| Uploaded::UpstreamGone)?;
            }
            // The client may send as much again. It cannot be more than it has sent.
            let _ = self.body.flow_control().release_capacity(len);
        }
    }

    async fn end(&mut self) -> Result<Uploaded, Uploaded> {
        let trailers = self.body.trailers().await;
        let trailers = trailers.map_err(|error| Uploaded::Gone(Gone::of(&error)))?;
        if let Some(trailers) = &trailers {
            leg::check_trailers(trailers)
                .map_err(|malformed| Uploaded::Malformed(malformed.reason))?;
            self.tee.borrow_mut().trailers_http2(trailers);
        }
        self.tee.borrow_mut().ended();
        self.progress.upload(Some(Waits::Upstream));
        let sent = self.sending.finish(trailers.as_ref()).await;
        Ok(sent.map_or(Uploaded::UpstreamGone, |()| Uploaded::Whole))
    }
}
