//! A connection that notices when its client stops taking bytes, and when an
//! answer has really left.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::delivery::Outbox;

/// A byte stream to a client. A write that makes no progress for the stall
/// time ends it: hyper itself would wait for ever, with a chunk of the file in
/// memory and a place among the connections taken.
// Limit: a client that takes a byte now and then keeps its place; the number
// of places that one client has is bounded.
#[derive(Debug)]
pub(super) struct Wire<I> {
    io: I,
    outbox: Outbox,
    stall: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<I> Wire<I> {
    /// Wraps `io`; deliveries in `outbox` are reported when they have left.
    pub(super) const fn new(io: I, outbox: Outbox, stall: Duration) -> Self {
        Self {
            io,
            outbox,
            stall,
            waiting: None,
        }
    }

    /// Watches a write: progress stops the clock, waiting runs it.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let stall = self.stall;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(stall)));
        match waiting.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<I> Drop for Wire<I> {
    fn drop(&mut self) {
        self.outbox.close();
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Wire<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Wire<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        // hyper flushes when it has nothing left to write.
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.outbox.flushed();
        }
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
