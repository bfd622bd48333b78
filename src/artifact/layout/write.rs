//! Writes an archive. Shell.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use tar::{EntryType, Header};

use super::broken::Broken;
use super::document::{self, Entry};
use crate::artifact::oci::{Digest, Hasher};

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Artifacts.
    pub artifacts: usize,
    /// Blobs: each is in it once, whoever uses it.
    pub blobs: usize,
    /// Bytes of the archive.
    pub bytes: u64,
}

/// Opens a blob of the store.
pub type OpenBlob<'a> = &'a mut dyn FnMut(&Digest) -> io::Result<Box<dyn Read>>;

/// Where a blob's bytes are, until it is written.
enum Source {
    Bytes(Vec<u8>),
    Store(u64),
}

/// Writes these artifacts to `path`, whole or not at all. The same artifacts
/// make the same bytes. Blocks; `pace` is told of bytes as they are written.
///
/// # Errors
/// [`Broken`]: also where a blob of the store is not what its digest says.
pub fn export(
    entries: &[Entry],
    path: &Path,
    open: OpenBlob<'_>,
    pace: &mut dyn FnMut(u64),
) -> Result<Written, Broken> {
    let refused = |error: io::Error| Broken::Write {
        path: path.display().to_string(),
        error,
    };
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = Path::new(&draft);
    let result = File::create(draft).map_err(refused).and_then(|file| {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let written = write(entries, &mut out, open, pace)?;
        let file = out
            .into_inner()
            .map_err(|error| refused(error.into_error()))?;
        file.sync_all().map_err(refused)?;
        Ok(written)
    });
    let result = result.and_then(|written| {
        std::fs::rename(draft, path).map_err(refused)?;
        Ok(written)
    });
    if result.is_err() {
        // Half an archive is of no use; that it stays is no second failure.
        let _ = std::fs::remove_file(draft);
    }
    result
}

/// Writes these artifacts to a stream.
///
/// # Errors
/// As [`export`].
pub fn write(
    entries: &[Entry],
    out: &mut dyn Write,
    open: OpenBlob<'_>,
    pace: &mut dyn FnMut(u64),
) -> Result<Written, Broken> {
    let mut blobs: BTreeMap<Digest, Source> = BTreeMap::new();
    let mut manifests = Vec::new();
    for entry in entries {
        let manifest = document::manifest(entry)?;
        for file in &entry.files {
            blobs
                .entry(file.digest.clone())
                .or_insert(Source::Store(file.size));
        }
        blobs.insert(Digest::of(&manifest), Source::Bytes(manifest.clone()));
        manifests.push((entry.name.clone(), manifest));
    }
    blobs.insert(
        Digest::of(document::EMPTY),
        Source::Bytes(document::EMPTY.to_vec()),
    );
    let index = document::index(&manifests)?;
    let mut out = Out {
        inner: out,
        bytes: 0,
        pace,
    };
    out.small("oci-layout", document::marker())?;
    out.small("index.json", &index)?;
    let count = blobs.len();
    for (digest, source) in blobs {
        match source {
            Source::Bytes(bytes) => out.small(&blob_name(&digest), &bytes)?,
            Source::Store(size) => out.blob(&digest, size, open)?,
        }
    }
    out.all(&[0; 1024])?;
    Ok(Written {
        artifacts: entries.len(),
        blobs: count,
        bytes: out.bytes,
    })
}

pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

struct Out<'a> {
    inner: &'a mut dyn Write,
    bytes: u64,
    pace: &'a mut dyn FnMut(u64),
}

impl Out<'_> {
    fn all(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let written = self.inner.write_all(bytes);
        written.map_err(|error| Broken::Write {
            path: "the archive".to_owned(),
            error,
        })?;
        self.bytes += bytes.len() as u64;
        (self.pace)(bytes.len() as u64);
        Ok(())
    }

    fn small(&mut self, name: &str, bytes: &[u8]) -> Result<(), Broken> {
        self.header(name, bytes.len() as u64)?;
        self.all(bytes)?;
        self.padding(bytes.len() as u64)
    }

    fn header(&mut self, name: &str, size: u64) -> Result<(), Broken> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_path(name).map_err(|error| Broken::Write {
            path: name.to_owned(),
            error,
        })?;
        header.set_cksum();
        self.all(header.as_bytes())
    }

    fn padding(&mut self, size: u64) -> Result<(), Broken> {
        let padding = usize::try_from(size.next_multiple_of(512) - size).unwrap_or(0);
        self.all([0; 512].get(..padding).unwrap_or_default())
    }

    /// A blob of the store: what is wrong with it is found here, not where
    /// there is no network to fetch it again.
    fn blob(&mut self, digest: &Digest, size: u64, open: OpenBlob<'_>) -> Result<(), Broken> {
        let failed = |error| Broken::Read {
            digest: digest.to_string(),
            error,
        };
        let mut source = open(digest).map_err(failed)?;
        self.header(&blob_name(digest), size)?;
        let mut hasher = Hasher::new(digest.algorithm());
        let mut buffer = vec![0; 256 << 10];
        let mut left = size;
        loop {
            let got = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            };
            let wrong_size = |found| Broken::WrongSize {
                digest: digest.to_string(),
                expected: size,
                found,
            };
            left = left
                .checked_sub(got as u64)
                .ok_or_else(|| wrong_size(size.saturating_add(got as u64)))?;
            let bytes = buffer.get(..got).unwrap_or_default();
            hasher.update(bytes);
            self.all(bytes)?;
        }
        if left > 0 {
            return Err(Broken::WrongSize {
                digest: digest.to_string(),
                expected: size,
                found: size - left,
            });
        }
        let found = hasher.finish();
        if found != *digest {
            return Err(Broken::WrongDigest {
                name: digest.to_string(),
                found: found.to_string(),
            });
        }
        self.padding(size)
    }
}
