//! Parts of files that leave by `sendfile(2)`: the kernel moves them from the
//! page cache to the socket, and nobody copies them.
//!
//! The head of an answer goes with the first of them: a packet of its own would
//! wake the client for two hundred bytes.
//!
//! hyper knows bytes only, and writes heads and bodies in their order. So a body
//! hands it stand-ins, slices of one region that nobody reads or writes; the
//! [`Wire`](super::wire::Wire) knows them by their address and sends the part
//! of the file that is next in the queue. hyper must not copy what it is to
//! write for that: [`door`](super::door) has it write by vectors.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::fs::sendfile;
use rustix::net::sockopt::set_tcp_cork;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use crate::files::read_cached;
use crate::governor::Moved;

/// Most bytes that one stand-in stands for: some 500 pages, after which other
/// connections have their turn.
pub(super) const MOST: usize = 2 << 20;

/// Bytes from which a part is worth it: below, the copy costs less than the
/// calls.
pub(super) const LEAST: u64 = 64 << 10;

/// How far apart the bytes lie that tell whether a part is in the page cache.
/// The kernel reads ahead as much at once.
const PROBE: usize = 128 << 10;

/// The region. Its pages are never touched, so they are never there.
static REGION: LazyLock<&'static [u8]> =
    LazyLock::new(|| Box::leak(vec![0; MOST].into_boxed_slice()));

/// The parts of one connection that are still to leave, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Spans(Arc<Mutex<VecDeque<Span>>>);

#[derive(Debug)]
struct Span {
    file: Arc<File>,
    offset: u64,
    left: usize,
    /// Told what went.
    meter: Option<Moved>,
}

/// A stream that may take parts of files.
pub(super) trait TakesFiles {
    /// Sends up to `count` bytes of `file` from `offset` on, which moves; how
    /// many it were. Most streams take none.
    fn poll_file(
        &self,
        _cx: &mut Context<'_>,
        _file: &File,
        _offset: &mut u64,
        _count: usize,
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    /// Has packets wait until they are full, or no more: for an answer that goes
    /// in several calls. The kernel keeps none for longer than 200 ms
    /// (`TCP_CORK`, tcp(7)).
    fn cork(&self, _corked: bool) {}
}

// === impl Spans ===

impl Spans {
    /// Puts a part at the end of the queue; what stands for it. `meter` is told
    /// what of it has gone: of a part of 2 MiB that may take seconds.
    pub(super) fn push(
        &self,
        file: &Arc<File>,
        offset: u64,
        len: usize,
        meter: Option<Moved>,
    ) -> Bytes {
        let stand_in = REGION.get(..len).unwrap_or(*REGION);
        let mut spans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spans.push_back(Span {
            file: Arc::clone(file),
            offset,
            left: stand_in.len(),
            meter,
        });
        Bytes::from_static(stand_in)
    }

    /// Whether bytes stand for a part of a file.
    pub(super) fn stand(bytes: &[u8]) -> bool {
        !bytes.is_empty() && REGION.as_ptr_range().contains(&bytes.as_ptr())
    }

    /// Whether no part is left.
    pub(super) fn is_empty(&self) -> bool {
        let spans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spans.is_empty()
    }

    /// Sends up to `count` bytes of the part that is next.
    ///
    /// # Errors
    /// `UnexpectedEof` where the file became shorter.
    pub(super) fn poll_send(
        &self,
        cx: &mut Context<'_>,
        stream: &impl TakesFiles,
        count: usize,
    ) -> Poll<io::Result<usize>> {
        let mut spans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(span) = spans.front_mut() else {
            return Poll::Ready(Err(io::Error::other("no part of a file is next")));
        };
        let count = count.min(span.left);
        let sent = ready!(stream.poll_file(cx, &span.file, &mut span.offset, count))?;
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        if let Some(meter) = &span.meter {
            meter.add(sent as u64);
        }
        span.left -= sent.min(span.left);
        if span.left == 0 {
            spans.pop_front();
        }
        Poll::Ready(Ok(sent))
    }
}

/// Whether `len` bytes of `file` from `offset` on are in the page cache, as far
/// as a look here and there can tell. What is not is read by a thread that may
/// wait: `sendfile` would hold up every connection of this one.
pub(super) fn is_cached(file: &File, offset: u64, len: usize) -> bool {
    let end = offset + len as u64;
    let mut probes = (offset..end).step_by(PROBE).chain([end - 1]);
    probes.all(|at| read_cached(file, at, 1).is_some())
}

// === impl TakesFiles ===

impl TakesFiles for TcpStream {
    fn poll_file(
        &self,
        cx: &mut Context<'_>,
        file: &File,
        offset: &mut u64,
        count: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_write_ready(cx))?;
            let send = || sendfile(self, file, Some(&mut *offset), count).map_err(io::Error::from);
            match self.try_io(Interest::WRITABLE, send) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn cork(&self, corked: bool) {
        // A socket that has not the option has smaller packets.
        let _ = set_tcp_cork(self, corked);
    }
}

/// The Unix socket carries no files of trees.
impl TakesFiles for UnixStream {}

/// What is to be encrypted has to be copied.
impl TakesFiles for TlsStream<TcpStream> {}
