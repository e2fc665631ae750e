//! An answer on its way from upstream to client: interim heads, the final head, the
//! body, trailers.

use std::{
    cell::{Cell, RefCell},
    future::{Future as _, poll_fn},
    pin::pin,
    task::Poll,
};

use bytes::Bytes;
use futures_util::poll;
use http::{HeaderMap, Response, header};

use super::super::client::{Client, Gone};
use crate::{
    leg::{Received, Receiving},
    proxy::progress::{Progress, Waits},
    record::Http2Answer,
    tee::AnswerTee,
    upstream::Fault,
};

/// Most interim answers to one request.
const MAX_INTERIM: usize = 100;

/// One answer in passing.
pub(super) struct Answer<'a> {
    pub(super) receiving: &'a mut Receiving,
    pub(super) client: &'a mut Client,
    pub(super) tee: &'a RefCell<AnswerTee>,
    pub(super) progress: &'a Progress,
    /// Whether the final head is on its way.
    pub(super) begun: &'a Cell<bool>,
    /// Asked with HEAD: the answer has no body.
    pub(super) is_head: bool,
}

/// How it ended.
pub(super) enum Answered {
    /// The client has all of it, or will.
    Whole,
    /// Nothing of a final answer has been passed on.
    None(Fault),
    /// The upstream failed in the middle of the body.
    Broken(Fault),
    Gone(Gone),
}

impl Answer<'_> {
    pub(super) async fn run(mut self) -> Answered {
        match self.pass().await {
            Ok(()) => Answered::Whole,
            Err(end) => end,
        }
    }

    async fn pass(&mut self) -> Result<(), Answered> {
        let head = self.head().await?;
        self.begun.set(true);
        self.progress.both_stream();
        // What ends with its head, or with this piece, is told so with it.
        let mut next = self.at_hand().await;
        let mut ends = is_end(&next);
        self.tee.borrow_mut().head_http2(self.record(&head, ends));
        self.client.head(head, ends).map_err(Answered::Gone)?;
        while !ends {
            let received = match next.take() {
                Some(received) => received.map_err(Answered::Broken)?,
                None => self.next().await?.map_err(Answered::Broken)?,
            };
            match received {
                Received::Data(data) => {
                    self.tee.borrow_mut().data(&data, None);
                    next = self.at_hand().await;
                    ends = is_end(&next);
                    self.data(data, ends).await?;
                }
                Received::Trailers(trailers) => return self.end(Some(trailers)),
                Received::End => return self.end(None),
                Received::Interim(_) | Received::Head(_) => {
                    return Err(Answered::Broken(Fault::Garbled("second_head")));
                }
            }
        }
        self.tee.borrow_mut().ended();
        Ok(())
    }

    /// Passes on interim heads until the final one.
    async fn head(&mut self) -> Result<Response<()>, Answered> {
        for _ in 0..=MAX_INTERIM {
            match self.next().await?.map_err(Answered::None)? {
                Received::Head(head) => return Ok(head),
                Received::Interim(head) => self.client.interim(head).map_err(Answered::Gone)?,
                _ => return Err(Answered::None(Fault::Garbled("no_head"))),
            }
            self.progress.answer(Some(Waits::Upstream));
        }
        Err(Answered::None(Fault::Garbled("too_many_interim")))
    }

    async fn data(&mut self, data: Bytes, ends: bool) -> Result<(), Answered> {
        let len = data.len();
        self.progress.answer(Some(Waits::Client));
        self.client.data(data, ends).await.map_err(Answered::Gone)?;
        self.receiving.release(len);
        self.progress.answer(Some(Waits::Stream));
        Ok(())
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Answered> {
        {
            let mut tee = self.tee.borrow_mut();
            if let Some(trailers) = &trailers {
                tee.trailers_http2(trailers);
            }
            tee.ended();
        }
        self.client.finish(trailers).map_err(Answered::Gone)
    }

    /// What has come from the upstream already.
    async fn at_hand(&mut self) -> Option<Result<Received, Fault>> {
        match poll!(pin!(self.receiving.next())) {
            Poll::Ready(next) => Some(next),
            Poll::Pending => None,
        }
    }

    /// What comes next from the upstream, unless the client leaves.
    async fn next(&mut self) -> Result<Result<Received, Fault>, Answered> {
        let mut next = pin!(self.receiving.next());
        poll_fn(|cx| match next.as_mut().poll(cx) {
            Poll::Ready(received) => Poll::Ready(Ok(received)),
            Poll::Pending => self.client.poll_gone(cx).map(|gone| Err(Answered::Gone(gone))),
        })
        .await
    }

    fn record(&self, head: &Response<()>, ends: bool) -> Http2Answer {
        let fields = head.headers().iter();
        let framed = !ends || head.headers().contains_key(header::CONTENT_LENGTH);
        let bodiless = self.is_head || matches!(head.status().as_u16(), 204 | 304);
        Http2Answer {
            status: head.status().as_u16(),
            fields: fields.map(|(name, value)| (name.clone(), value.clone())).collect(),
            has_body: framed && !bodiless,
        }
    }
}

fn is_end(next: &Option<Result<Received, Fault>>) -> bool {
    matches!(next, Some(Ok(Received::End)))
}
