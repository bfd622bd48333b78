//! Takes bytes to the volume, hashes them on the way, and syncs in small
//! steps: one big sync at the end would hold up the lease database, which may
//! be on the same volume. Blocks.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest as _, Sha256, Sha512};
use tokio::sync::mpsc;

use crate::artifact::identity::hex;

/// Bytes between two syncs: a disk of 100 MB/s is busy for a twelfth of a
/// second.
const SYNC_EVERY: u64 = 8 << 20;
/// Bytes that are read at once.
const STEP: usize = 1 << 20;

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Sink {
    file: File,
    sha256: Sha256,
    sha512: Option<Sha512>,
    len: u64,
    unsynced: u64,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) len: u64,
    pub(super) sha256: String,
    pub(super) sha512: Option<String>,
}

impl Sink {
    /// Opens `path`, to go on at its end where `resume`, else anew: then what was
    /// there is gone for good when this returns. What is there is read for its
    /// digest.
    ///
    /// # Errors
    /// The volume fails.
    pub(super) fn open(path: &Path, resume: bool, sha512: bool) -> io::Result<Self> {
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(!resume)
            .open(path)?;
        let mut sink = Self {
            file: file.try_clone()?,
            sha256: Sha256::new(),
            sha512: sha512.then(Sha512::new),
            len: 0,
            unsynced: 0,
        };
        if resume {
            let mut buffer = vec![0; STEP];
            loop {
                let read = file.read(&mut buffer)?;
                let bytes = buffer.get(..read).unwrap_or_default();
                if bytes.is_empty() {
                    break;
                }
                sink.hash(bytes);
            }
        } else {
            file.sync_all()?;
        }
        sink.file.seek(SeekFrom::Start(sink.len))?;
        Ok(sink)
    }

    /// Bytes that are there.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    fn hash(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(hash) = &mut self.sha512 {
            hash.update(bytes);
        }
        self.len += bytes.len() as u64;
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// The volume fails.
    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hash(bytes);
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= SYNC_EVERY {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    /// Adds all that comes, until the sender is gone.
    ///
    /// # Errors
    /// The volume fails.
    pub(super) fn drain(mut self, queue: &mut mpsc::Receiver<Bytes>) -> io::Result<Self> {
        while let Some(bytes) = queue.blocking_recv() {
            self.push(&bytes)?;
        }
        Ok(self)
    }

    /// Ends it: all is on the disk.
    ///
    /// # Errors
    /// The volume fails.
    pub(super) fn finish(self) -> io::Result<Written> {
        self.file.sync_all()?;
        Ok(Written {
            len: self.len,
            sha256: hex(&self.sha256.finalize()),
            sha512: self.sha512.map(|hash| hex(&hash.finalize())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_on_where_it_was_with_the_same_digest() {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole");
        let parts = folder.path().join("parts");
        let content: Vec<u8> = (0..=250).cycle().take(3_000_000).collect();
        let mut sink = Sink::open(&whole, false, true).unwrap();
        sink.push(&content).unwrap();
        let want = sink.finish().unwrap();
        let mut sink = Sink::open(&parts, false, true).unwrap();
        sink.push(&content[..1_234_567]).unwrap();
        drop(sink);
        let mut sink = Sink::open(&parts, true, true).unwrap();
        assert_eq!(sink.len(), 1_234_567);
        sink.push(&content[1_234_567..]).unwrap();
        assert_eq!(sink.finish().unwrap(), want);
        assert_eq!(std::fs::read(&parts).unwrap(), content);
        // Anew.
        let sink = Sink::open(&parts, false, false).unwrap();
        assert_eq!(sink.finish().unwrap().len, 0);
    }
}
