//! The body of an answer: nothing, bytes, or a part of a file read on the way.

use std::fs::File;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

use super::delivery::{Delivery, Ended, Outbox};
use super::range::Part;
use super::spans::{self, Spans};
use crate::files::read_cached;
use crate::governor::{Moved, Turn};

/// Bytes that are read at once, on a thread that may block, while few files
/// are on their way. Bigger reads cost less CPU for each byte; past 1 MiB there
/// is no gain.
pub const CHUNK: usize = 1 << 20;

/// Bytes that are taken from the page cache at once, where they are there:
/// they fit a core's own cache until they are sent, and their copy holds up
/// nobody for longer than some 30 µs.
const CACHED_CHUNK: usize = 128 << 10;

/// Bytes that are read at once while many files are on their way: a thousand
/// transfers then take 256 MiB at most.
pub const SMALL_CHUNK: usize = 256 << 10;

/// The same while there are more than [`MANY_FILES`]: four thousand take no
/// more than a thousand did.
pub const SMALLEST_CHUNK: usize = 64 << 10;

/// Files on their way up to which [`CHUNK`] is read at once.
pub const FEW_FILES: usize = 64;

/// Files on their way up to which [`SMALL_CHUNK`] is read at once.
pub const MANY_FILES: usize = 1024;

/// The files of a server that are on their way.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading(Arc<AtomicUsize>);

/// What is sent.
#[derive(Debug)]
pub(super) enum Source {
    /// No bytes.
    Nothing,
    /// Bytes that are there.
    Bytes(Bytes),
    /// Bytes that are to be read.
    File(FileSource),
}

/// A part of a file that is being sent. Holds one chunk in memory at most.
#[derive(Debug)]
pub(super) struct FileSource {
    file: Arc<File>,
    /// First byte that was not asked for yet.
    next: u64,
    /// Bytes that are still to be sent.
    left: u64,
    chunk: Option<JoinHandle<io::Result<Bytes>>>,
    reading: Reading,
}

/// A body that reports its end.
#[derive(Debug)]
pub(super) struct Body {
    source: Source,
    /// `None` once it was reported.
    delivery: Option<Delivery>,
    outbox: Outbox,
}

// === impl Reading ===

impl Reading {
    fn chunk(&self) -> usize {
        match self.0.load(Ordering::Relaxed) {
            files if files <= FEW_FILES => CHUNK,
            files if files <= MANY_FILES => SMALL_CHUNK,
            _ => SMALLEST_CHUNK,
        }
    }
}

// === impl FileSource ===

impl FileSource {
    /// Sends `part` of `file`; `None` means all of its `len` bytes.
    pub(super) fn new(file: File, len: u64, part: Option<Part>, reading: &Reading) -> Self {
        reading.0.fetch_add(1, Ordering::Relaxed);
        Self {
            file: Arc::new(file),
            next: part.map_or(0, |part| part.first),
            left: part.map_or(len, |part| part.len()),
            chunk: None,
            reading: reading.clone(),
        }
    }

    /// The next chunk: at once from the page cache, else read where blocking
    /// is allowed. What boots is mostly in the cache, and handing a small file
    /// to another thread costs more than reading it.
    ///
    /// A long part that is in the cache is not read at all where `spans` send it.
    fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
        spans: Option<&Spans>,
        meter: Option<Moved>,
    ) -> Poll<io::Result<Bytes>> {
        if let Some(spans) = spans.filter(|_| self.chunk.is_none() && self.left >= spans::LEAST) {
            let len = self.at_most(spans::MOST);
            if spans::is_cached(&self.file, self.next, len) {
                let stand_in = spans.push(&self.file, self.next, len, meter);
                return Poll::Ready(Ok(self.advance(stand_in)));
            }
        }
        if self.chunk.is_none()
            && let Some(bytes) = read_cached(&self.file, self.next, self.at_most(CACHED_CHUNK))
        {
            return Poll::Ready(Ok(self.advance(bytes.into())));
        }
        let (next, size) = (self.next, self.at_most(self.reading.chunk()));
        let chunk = self.chunk.get_or_insert_with(|| {
            let file = Arc::clone(&self.file);
            spawn_blocking(move || read_at(&file, next, size))
        });
        let read = ready!(Pin::new(chunk).poll(cx));
        self.chunk = None;
        let bytes = read.map_err(io::Error::other)??;
        Poll::Ready(Ok(self.advance(bytes)))
    }

    /// `size`, or what is left where that is less.
    fn at_most(&self, size: usize) -> usize {
        usize::try_from(self.left).map_or(size, |left| left.min(size))
    }

    const fn advance(&mut self, bytes: Bytes) -> Bytes {
        self.next += bytes.len() as u64;
        self.left -= bytes.len() as u64;
        bytes
    }
}

impl Drop for FileSource {
    fn drop(&mut self) {
        self.reading.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads up to `size` bytes at `offset`; at least one.
///
/// # Errors
/// `UnexpectedEof` where the file has none there.
fn read_at(file: &File, offset: u64, size: usize) -> io::Result<Bytes> {
    let mut buffer = Vec::with_capacity(size);
    while buffer.len() < size {
        let at = offset + buffer.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut buffer), at) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    // The allocator may have given more room than was asked for.
    buffer.truncate(size);
    if buffer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(buffer.into())
}

// === impl Source ===

impl Source {
    /// Bytes that are still to be sent.
    pub(super) const fn left(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(file) => file.left,
        }
    }
}

// === impl Body ===

impl Body {
    /// Sends `source`; at its end `delivery` is reported, by way of `outbox`.
    pub(super) const fn new(source: Source, delivery: Delivery, outbox: Outbox) -> Self {
        Self {
            source,
            delivery: Some(delivery),
            outbox,
        }
    }

    /// Ends the connection: the client must not take what it got for the file.
    fn fail(&mut self, error: io::Error) -> io::Error {
        let ended = if error.kind() == io::ErrorKind::UnexpectedEof {
            Ended::FileShrank
        } else {
            Ended::ReadFailed
        };
        self.source = Source::Nothing;
        if let Some(delivery) = self.delivery.take() {
            delivery.report(ended);
        }
        error
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        let chunk = match &mut this.source {
            source if source.left() == 0 => return Poll::Ready(None),
            Source::Nothing => return Poll::Ready(None),
            Source::Bytes(bytes) => std::mem::take(bytes),
            Source::File(file) => {
                let turn = this.delivery.as_ref().and_then(|it| it.turn.as_ref());
                let meter = turn.map(Turn::meter);
                match ready!(file.poll_chunk(cx, this.outbox.spans(), meter)) {
                    Ok(bytes) => bytes,
                    Err(error) => return Poll::Ready(Some(Err(this.fail(error)))),
                }
            }
        };
        if let Some(delivery) = &mut this.delivery {
            delivery.sent += chunk.len() as u64;
            if let Some(turn) = delivery.turn.as_ref().filter(|_| !Spans::stand(&chunk)) {
                turn.moved(chunk.len() as u64);
            }
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.source.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.source.left())
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let Some(delivery) = self.delivery.take() else {
            return;
        };
        if self.source.left() == 0 {
            self.outbox.push(delivery);
        } else {
            delivery.report(self.outbox.broken());
        }
    }
}
