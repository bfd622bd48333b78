//! Where the bytes of a transfer come from.
//!
//! What the page cache has is read as it is needed; the rest is read ahead in
//! chunks, off the threads that serve packets. What a transfer holds is bounded
//! by [`CHUNK`] and the window, not by the file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tokio::task::{JoinHandle, spawn_blocking};

use super::transfer::{Block, Blocks};
use super::wire;
use crate::files::read_cached;

/// Bytes read at once of a disk: some ninety blocks of 1468. A transfer holds
/// at most a window and two of them.
const CHUNK: u64 = 128 * 1024;

/// Bytes read at once where they are in memory already: a thousand machines
/// that load one loader hold some 20 MiB of it.
const CACHED_CHUNK: u64 = 16 * 1024;

/// The content of one transfer.
#[derive(Debug)]
pub(super) enum Source {
    /// Bytes at hand.
    Memory(Vec<u8>),
    /// A file.
    File(ReadAhead),
}

/// A file that is read from its begin to its end.
#[derive(Debug)]
pub(super) struct ReadAhead {
    file: Arc<File>,
    /// The length that the client was told.
    len: u64,
    /// Where the bytes at hand begin.
    first: u64,
    /// The bytes at hand.
    held: Vec<u8>,
    /// The bytes behind them, being read.
    next: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

// === impl Source ===

impl Source {
    pub(super) fn file(file: File, len: u64) -> Self {
        Self::File(ReadAhead {
            file: Arc::new(file),
            len,
            first: 0,
            held: Vec::new(),
            next: None,
        })
    }

    /// Writes `blocks` as DATA packets into `packets`, one behind the other.
    /// What lies before the first block is forgotten.
    ///
    /// # Errors
    /// `UnexpectedEof` where the file became shorter.
    pub(super) async fn packets(
        &mut self,
        blocks: &Blocks,
        packets: &mut Vec<u8>,
    ) -> io::Result<()> {
        if let Self::File(file) = self {
            file.load(blocks.start(), blocks.end()).await?;
        }
        packets.clear();
        for block in blocks.iter() {
            packets.extend(wire::data_header(block.number));
            self.copy(&block, packets)?;
        }
        Ok(())
    }

    fn copy(&self, block: &Block, packets: &mut Vec<u8>) -> io::Result<()> {
        let (mut from, mut left) = (block.offset, usize::from(block.len));
        while left > 0 {
            let part = match self {
                Self::Memory(bytes) => behind(bytes, from),
                Self::File(file) => file.behind(from),
            };
            let part = part.filter(|part| !part.is_empty());
            let part = part.ok_or(io::ErrorKind::UnexpectedEof)?;
            let part = part.get(..left).unwrap_or(part);
            packets.extend(part);
            left -= part.len();
            from += part.len() as u64;
        }
        Ok(())
    }
}

// === impl ReadAhead ===

impl ReadAhead {
    /// Brings the bytes from `start` to `end` to hand. Where they have to come
    /// from a disk, those behind them are read meanwhile.
    async fn load(&mut self, start: u64, end: u64) -> io::Result<()> {
        if self.loaded() >= end {
            return Ok(());
        }
        self.forget(start);
        while self.loaded() < end {
            let cached = match self.next {
                Some(_) => None,
                None => read_cached(&self.file, self.loaded(), self.at_most(CACHED_CHUNK)),
            };
            if let Some(bytes) = cached {
                self.held.extend(bytes);
                continue;
            }
            let reading = self.next.take().or_else(|| self.read_next());
            let reading = reading.ok_or(io::ErrorKind::UnexpectedEof)?;
            self.held.extend(reading.await.map_err(io::Error::other)??);
            self.next = self.read_next();
        }
        Ok(())
    }

    /// Lets go what lies before `start`.
    fn forget(&mut self, start: u64) {
        let gone = usize::try_from(start.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let gone = gone.min(self.held.len());
        self.held.drain(..gone);
        self.first += gone as u64;
    }

    /// Where the bytes at hand end.
    const fn loaded(&self) -> u64 {
        self.first + self.held.len() as u64
    }

    /// `size`, or what is left behind the bytes at hand where that is less.
    fn at_most(&self, size: u64) -> usize {
        let left = self.len.saturating_sub(self.loaded());
        usize::try_from(size.min(left)).unwrap_or(usize::MAX)
    }

    /// Starts to read the chunk behind the bytes at hand; `None` at the end.
    fn read_next(&self) -> Option<JoinHandle<io::Result<Vec<u8>>>> {
        let (from, len) = (self.loaded(), self.at_most(CHUNK));
        let file = Arc::clone(&self.file);
        (len > 0).then(|| {
            spawn_blocking(move || {
                let mut chunk = vec![0; len];
                file.read_exact_at(&mut chunk, from)?;
                Ok(chunk)
            })
        })
    }

    /// The bytes at hand from `from` on.
    fn behind(&self, from: u64) -> Option<&[u8]> {
        behind(&self.held, from.checked_sub(self.first)?)
    }
}

fn behind(bytes: &[u8], from: u64) -> Option<&[u8]> {
    bytes.get(usize::try_from(from).ok()?..)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;
    use crate::tftp::transfer::{Limits, Step, Transfer};
    use crate::tftp::wire::{Options, Packet};

    /// Reads a source to its end, as a client with a window would.
    async fn read_all(source: &mut Source, len: u64) -> io::Result<Vec<u8>> {
        let options = Options {
            blksize: Some(1000),
            windowsize: Some(32),
            ..Options::default()
        };
        let now = Duration::ZERO;
        let (mut transfer, _) = Transfer::start(&options, &Limits::default(), len, now);
        let mut step = transfer.on_packet(now, &wire::ack(0));
        let (mut all, mut packets) = (Vec::new(), Vec::new());
        while let Step::Blocks(blocks) = step {
            source.packets(&blocks, &mut packets).await?;
            let mut last = 0;
            for packet in packets.chunks(1004) {
                let Ok(Packet::Data { block, content }) = Packet::decode(packet) else {
                    panic!("no data")
                };
                all.extend(content);
                last = block;
            }
            step = transfer.on_packet(now, &wire::ack(last));
        }
        Ok(all)
    }

    fn file(len: usize) -> (File, Vec<u8>) {
        let content: Vec<u8> = (0..=252).cycle().take(len).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        (file, content)
    }

    #[tokio::test]
    async fn reads_a_file_across_its_chunks() {
        for len in [0, 1, 1000, 131_072, 131_073, 700_123] {
            let (file, content) = file(len);
            let mut source = Source::file(file, len as u64);
            let read = read_all(&mut source, len as u64).await.unwrap();
            assert!(read == content, "{len}");
            let mut source = Source::Memory(content.clone());
            let read = read_all(&mut source, len as u64).await.unwrap();
            assert!(read == content, "{len}");
        }
    }

    #[tokio::test]
    async fn holds_a_window_and_a_chunk_only() {
        let (file, content) = file(2_000_000);
        let mut source = Source::file(file, 2_000_000);
        let read = read_all(&mut source, 2_000_000).await.unwrap();
        assert_eq!(read.len(), content.len());
        let Source::File(ahead) = source else {
            panic!("a file")
        };
        let most = 32_000 + CACHED_CHUNK;
        assert!(ahead.held.capacity() as u64 <= 2 * most);
    }

    #[tokio::test]
    async fn notices_a_file_that_became_shorter() {
        let (file, _) = file(400_000);
        file.set_len(200_000).unwrap();
        let mut source = Source::file(file, 400_000);
        let error = read_all(&mut source, 400_000).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
