//! A connection that notices when its client stops taking bytes, and when an
//! answer has really left.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::delivery::{Ended, Outbox};
use super::spans::{Spans, TakesFiles};

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
    /// Whether packets wait until they are full.
    corked: bool,
}

impl<I> Wire<I> {
    /// Wraps `io`; deliveries in `outbox` are reported when they have left.
    pub(super) const fn new(io: I, outbox: Outbox, stall: Duration) -> Self {
        Self {
            io,
            outbox,
            stall,
            waiting: None,
            corked: false,
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

impl<I: AsyncWrite + TakesFiles + Unpin> Wire<I> {
    /// Writes what comes first: bytes, or the part of a file that they stand
    /// for. `None` where they are bytes.
    fn poll_part(&mut self, cx: &mut Context<'_>, first: &[u8]) -> Option<Poll<io::Result<usize>>> {
        let spans = self.outbox.spans().filter(|_| Spans::stand(first))?;
        let sent = spans.poll_send(cx, &self.io, first.len());
        if let Poll::Ready(Err(error)) = &sent
            && error.kind() == io::ErrorKind::UnexpectedEof
        {
            self.outbox.fail(Ended::FileShrank);
        }
        Some(sent)
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

impl<I: AsyncWrite + TakesFiles + Unpin> AsyncWrite for Wire<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = match self.poll_part(cx, buf) {
            Some(part) => part,
            None => Pin::new(&mut self.io).poll_write(cx, buf),
        };
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bufs.iter().find(|buf| !buf.is_empty());
        let written = match first.and_then(|first| self.poll_part(cx, first)) {
            Some(part) => part,
            None => {
                let count = bufs.iter().take_while(|buf| !Spans::stand(buf)).count();
                let bytes = bufs.get(..count).unwrap_or(bufs);
                if bytes.len() < bufs.len() && !self.corked {
                    self.corked = true;
                    self.io.cork(true);
                }
                Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
            }
        };
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        // hyper flushes when it has nothing left to write.
        if matches!(flushed, Poll::Ready(Ok(()))) {
            if self.outbox.spans().is_some_and(|spans| !spans.is_empty()) {
                // What stood for them left as it was: hyper has copied it.
                return Poll::Ready(Err(io::Error::other("a part of a file was not sent")));
            }
            if self.corked && self.outbox.is_waiting() {
                self.corked = false;
                self.io.cork(false);
            }
            self.outbox.flushed();
        }
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
