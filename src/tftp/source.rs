//! Where the bytes of a transfer come from.
//!
//! Files are read ahead in chunks, off the threads that serve packets; what a
//! transfer holds is bounded by [`CHUNK`] and the window, not by the file.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tokio::task::{JoinHandle, spawn_blocking};

use super::transfer::{Block, Blocks};
use super::wire;

/// Bytes read at once: some ninety blocks of 1468. A transfer holds at most a
/// window's chunks and the next one, 384 KiB by default.
const CHUNK: u64 = 128 * 1024;

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
    /// Chunks at hand, in order.
    chunks: VecDeque<Vec<u8>>,
    /// Number of the first of them.
    first: u64,
    /// The chunk behind them, being read.
    next: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

// === impl Source ===

impl Source {
    pub(super) fn file(file: File, len: u64) -> Self {
        Self::File(ReadAhead {
            file: Arc::new(file),
            len,
            chunks: VecDeque::new(),
            first: 0,
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
    /// Brings the bytes from `start` to `end` to hand and has the chunk behind
    /// them read meanwhile.
    async fn load(&mut self, start: u64, end: u64) -> io::Result<()> {
        while self.first < start / CHUNK && self.chunks.pop_front().is_some() {
            self.first += 1;
        }
        while self.loaded() < end {
            let chunk = match self.next.take().or_else(|| self.read_next()) {
                Some(reading) => reading.await.map_err(io::Error::other)??,
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            };
            self.chunks.push_back(chunk);
        }
        if self.next.is_none() && end > start {
            self.next = self.read_next();
        }
        Ok(())
    }

    /// Where the bytes at hand end.
    fn loaded(&self) -> u64 {
        let chunks = self.first + self.chunks.len() as u64;
        chunks.saturating_mul(CHUNK).min(self.len)
    }

    /// Starts to read the chunk behind those at hand; `None` at the end.
    fn read_next(&self) -> Option<JoinHandle<io::Result<Vec<u8>>>> {
        let from = self.loaded();
        let len = usize::try_from(CHUNK.min(self.len - from)).ok()?;
        let file = Arc::clone(&self.file);
        (len > 0).then(|| {
            spawn_blocking(move || {
                let mut chunk = vec![0; len];
                file.read_exact_at(&mut chunk, from)?;
                Ok(chunk)
            })
        })
    }

    /// The bytes at hand from `from` to the end of its chunk.
    fn behind(&self, from: u64) -> Option<&[u8]> {
        let index = (from / CHUNK).checked_sub(self.first)?;
        let chunk = self.chunks.get(usize::try_from(index).ok()?)?;
        behind(chunk, from % CHUNK)
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
    async fn holds_a_window_and_the_next_chunk_only() {
        let (file, content) = file(2_000_000);
        let mut source = Source::file(file, 2_000_000);
        let read = read_all(&mut source, 2_000_000).await.unwrap();
        assert_eq!(read.len(), content.len());
        let Source::File(ahead) = source else {
            panic!("a file")
        };
        assert!(ahead.chunks.len() <= 2, "{}", ahead.chunks.len());
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
