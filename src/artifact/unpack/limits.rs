//! What an archive may cost.

use super::name::NameLimits;
use super::refused::Refused;

/// Bounds of one unpacking. An archive is a stranger's program for our disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all files that are written. Default 64 GiB: twice the largest
    /// installation image that is known.
    pub bytes: u64,
    /// Bytes of one file. Default 32 GiB.
    pub file_bytes: u64,
    /// Entries, wanted or not. Default 200,000: a full system has half of it,
    /// and their names take 20 MiB of memory meanwhile.
    pub entries: u64,
    /// Bytes of all names and link targets. Default 32 MiB.
    pub names: u64,
    /// Bytes of one path. Default 1024, as much as is served.
    pub path: usize,
    /// Parts of one path. Default 64.
    pub depth: usize,
    /// How much larger than the archive its content may be, once it is more
    /// than 64 MiB. Default 500; a bomb has thousands.
    pub ratio: u64,
    /// Memory of the decompressor, in bytes. Default 128 MiB: what `xz -9` and
    /// `zstd --ultra` need; `zstd --long=31` asks for 2 GiB.
    pub memory: u64,
    /// Bytes of one file after which its data is put on disk at once; 0 leaves
    /// that to the kernel. Default 8 MiB, so that a commit of a lease never
    /// waits for more than this.
    pub sync_step: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 64 << 30,
            file_bytes: 32 << 30,
            entries: 200_000,
            names: 32 << 20,
            path: 1024,
            depth: 64,
            ratio: 500,
            memory: 128 << 20,
            sync_step: 8 << 20,
        }
    }
}

/// Content below this is never a bomb.
const RATIO_FLOOR: u64 = 64 << 20;

impl Limits {
    /// Those of one name.
    #[must_use]
    pub const fn name(&self) -> NameLimits {
        NameLimits {
            bytes: self.path,
            depth: self.depth,
        }
    }

    /// Whether `output` bytes out of `input` compressed ones are too many.
    #[must_use]
    pub const fn is_bomb(&self, input: u64, output: u64) -> bool {
        output > RATIO_FLOOR && output / self.ratio > input
    }
}

/// What was spent of the [`Limits`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// Bytes written.
    pub bytes: u64,
    /// Entries seen.
    pub entries: u64,
    /// Bytes of names kept.
    pub names: u64,
}

impl Spent {
    /// One more entry, with so many bytes of names.
    ///
    /// # Errors
    /// [`Refused::TooManyEntries`], [`Refused::TooManyNames`].
    pub fn entry(&mut self, names: usize, limits: &Limits) -> Result<(), Refused> {
        self.entries = self.entries.saturating_add(1);
        if self.entries > limits.entries {
            return Err(Refused::TooManyEntries {
                limit: limits.entries,
            });
        }
        let names = u64::try_from(names).unwrap_or(u64::MAX);
        self.names = self.names.saturating_add(names);
        if self.names > limits.names {
            return Err(Refused::TooManyNames {
                limit: limits.names,
            });
        }
        Ok(())
    }

    /// `more` bytes for a file that has `file` bytes with them.
    ///
    /// # Errors
    /// [`Refused::FileTooLarge`], [`Refused::TooLarge`].
    pub fn bytes(
        &mut self,
        entry: &str,
        more: u64,
        file: u64,
        limits: &Limits,
    ) -> Result<(), Refused> {
        if file > limits.file_bytes {
            return Err(Refused::FileTooLarge {
                entry: entry.to_owned(),
                limit: limits.file_bytes,
            });
        }
        self.bytes = self.bytes.saturating_add(more);
        if self.bytes > limits.bytes {
            return Err(Refused::TooLarge {
                limit: limits.bytes,
            });
        }
        Ok(())
    }
}
