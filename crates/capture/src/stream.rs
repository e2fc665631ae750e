//! A connection, whatever carries it: TCP, a Unix socket, or TLS over TCP. A
//! connection is served by one task, so both of its directions can be used at the same
//! time through a shared reference.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    io::IoSlice,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::BytesMut;
use socket2::SockRef;
use tokio::{
    io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsStream;
use tokio_util::io::poll_read_buf;

/// A connection.
#[derive(Debug)]
pub(crate) struct Stream {
    carrier: RefCell<Carrier>,
    /// Something that was written waits in the session for the socket.
    unflushed: Cell<bool>,
}

#[derive(Debug)]
enum Carrier {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::new(Carrier::Tcp(stream))
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self::new(Carrier::Unix(stream))
    }
}

impl From<TlsStream<TcpStream>> for Stream {
    fn from(session: TlsStream<TcpStream>) -> Self {
        Self::new(Carrier::Tls(Box::new(session)))
    }
}

impl Stream {
    fn new(carrier: Carrier) -> Self {
        Self { carrier: RefCell::new(carrier), unflushed: Cell::new(false) }
    }

    /// Reads once into the buffer's spare room. 0: the peer will send nothing more.
    pub(crate) async fn read(&self, buf: &mut BytesMut) -> io::Result<usize> {
        poll_fn(|cx| {
            self.poll_unflushed(cx)?;
            match &mut *self.carrier.borrow_mut() {
                Carrier::Tcp(stream) => poll_read_buf(Pin::new(stream), cx, buf),
                Carrier::Unix(stream) => poll_read_buf(Pin::new(stream), cx, buf),
                Carrier::Tls(session) => poll_read_buf(Pin::new(session), cx, buf),
            }
        })
        .await
    }

    /// Waits until there is something to read, or the end.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| {
            self.poll_unflushed(cx)?;
            match &mut *self.carrier.borrow_mut() {
                Carrier::Tcp(stream) => stream.poll_read_ready(cx),
                Carrier::Unix(stream) => stream.poll_read_ready(cx),
                Carrier::Tls(session) => Pin::new(session).poll_fill_buf(cx).map_ok(|_| ()),
            }
        })
        .await
    }

    /// Writes what is taken now of the slices.
    pub(crate) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut *self.carrier.borrow_mut() {
            Carrier::Tcp(stream) => match slices {
                [one] => stream.try_write(one),
                _ => stream.try_write_vectored(slices),
            },
            Carrier::Unix(stream) => match slices {
                [one] => stream.try_write(one),
                _ => stream.try_write_vectored(slices),
            },
            Carrier::Tls(session) => {
                let mut session = Pin::new(session);
                // Whoever writes does not wait here; `writable` does.
                let mut cx = Context::from_waker(Waker::noop());
                let written = match session.as_mut().poll_write_vectored(&mut cx, slices) {
                    Poll::Ready(written) => written?,
                    Poll::Pending => {
                        self.unflushed.set(true);
                        return Err(io::ErrorKind::WouldBlock.into());
                    }
                };
                let flushed = session.poll_flush(&mut cx);
                self.unflushed.set(flushed.is_pending());
                match flushed {
                    Poll::Ready(Err(error)) => Err(error),
                    Poll::Ready(Ok(())) | Poll::Pending => Ok(written),
                }
            }
        }
    }

    /// Waits until more can be written, and all that was is on its way.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        poll_fn(|cx| match &mut *self.carrier.borrow_mut() {
            Carrier::Tcp(stream) => stream.poll_write_ready(cx),
            Carrier::Unix(stream) => stream.poll_write_ready(cx),
            Carrier::Tls(session) => {
                let flushed = Pin::new(session).poll_flush(cx);
                self.unflushed.set(flushed.is_pending());
                flushed
            }
        })
        .await
    }

    /// Whether what was written still waits for the socket.
    pub(crate) fn is_unflushed(&self) -> bool {
        self.unflushed.get()
    }

    /// Ends our direction.
    pub(crate) async fn shutdown(&self) -> io::Result<()> {
        poll_fn(|cx| match &mut *self.carrier.borrow_mut() {
            Carrier::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Carrier::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Carrier::Tls(session) => Pin::new(session).poll_shutdown(cx),
        })
        .await
    }

    /// Makes the connection end with a reset, so that the peer does not take what it
    /// has for the whole.
    pub(crate) fn reset_on_close(&self) {
        // Without it the connection ends in the ordinary way.
        let _ = self.with_socket(|socket| socket.set_linger(Some(Duration::ZERO)));
    }

    /// Whether an idle connection has nothing to say: anything that can be read now is
    /// an end, an error, or not HTTP. `sure`: the socket itself is asked, not only what
    /// the runtime knows.
    pub(crate) fn is_quiet(&self, sure: bool) -> bool {
        let quiet = match &mut *self.carrier.borrow_mut() {
            Carrier::Tcp(stream) => would_block(&stream.try_read(&mut [0])),
            Carrier::Unix(stream) => would_block(&stream.try_read(&mut [0])),
            // Tickets and updates of keys are the session's own affair.
            Carrier::Tls(session) => {
                let mut cx = Context::from_waker(Waker::noop());
                Pin::new(session).poll_fill_buf(&mut cx).is_pending()
            }
        };
        quiet && (!sure || would_block(&self.peek()))
    }

    /// Whether the peer has ended its direction, as far as the socket knows.
    pub(crate) fn is_ended(&self) -> bool {
        match self.peek() {
            Ok(n) => n == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    fn peek(&self) -> io::Result<usize> {
        let mut byte = [MaybeUninit::uninit()];
        self.with_socket(|socket| socket.peek(&mut byte))
    }

    fn with_socket<T>(&self, ask: impl FnOnce(SockRef<'_>) -> T) -> T {
        match &*self.carrier.borrow() {
            Carrier::Tcp(stream) => ask(SockRef::from(stream)),
            Carrier::Unix(stream) => ask(SockRef::from(stream)),
            Carrier::Tls(session) => ask(SockRef::from(session.get_ref().0)),
        }
    }

    /// Goes on with what waits for the socket while the peer is waited for: it may be
    /// what the peer waits for.
    fn poll_unflushed(&self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Carrier::Tls(session) = &mut *self.carrier.borrow_mut()
            && self.unflushed.get()
        {
            let flushed = Pin::new(session).poll_flush(cx);
            self.unflushed.set(flushed.is_pending());
            if let Poll::Ready(flushed) = flushed {
                flushed?;
            }
        }
        Ok(())
    }
}

impl Stream {
    /// As [`AsyncRead::poll_read`], for whoever shares the stream.
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self.carrier.borrow_mut() {
            Carrier::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Carrier::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Carrier::Tls(session) => Pin::new(session).poll_read(cx, buf),
        }
    }

    /// As [`AsyncWrite::poll_write`].
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self.carrier.borrow_mut() {
            Carrier::Tcp(stream) => Pin::new(stream).poll_write(cx, data),
            Carrier::Unix(stream) => Pin::new(stream).poll_write(cx, data),
            Carrier::Tls(session) => Pin::new(session).poll_write(cx, data),
        }
    }

    /// As [`AsyncWrite::poll_write_vectored`].
    pub(crate) fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self.carrier.borrow_mut() {
            Carrier::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Carrier::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Carrier::Tls(session) => Pin::new(session).poll_write_vectored(cx, slices),
        }
    }

    /// As [`AsyncWrite::poll_flush`].
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.carrier.borrow_mut() {
            Carrier::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Carrier::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Carrier::Tls(session) => Pin::new(session).poll_flush(cx),
        }
    }

    /// As [`AsyncWrite::poll_shutdown`].
    pub(crate) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.carrier.borrow_mut() {
            Carrier::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Carrier::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Carrier::Tls(session) => Pin::new(session).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Self::poll_read(self.get_mut(), cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Self::poll_write(self.get_mut(), cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Self::poll_write_vectored(self.get_mut(), cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_flush(self.get_mut(), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_shutdown(self.get_mut(), cx)
    }
}

fn would_block<T>(result: &io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}
