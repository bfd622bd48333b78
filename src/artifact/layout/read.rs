//! Reads an archive. Shell.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use super::broken::Broken;
use super::document::{self, Entry};
use crate::artifact::oci::{Digest, Hasher};
use crate::artifact::unpack::limits::Spent;
use crate::artifact::unpack::plan::Kind;
use crate::artifact::unpack::{Limits, Refused, Visit, walk_tar};

/// The largest document.
const MAX_DOCUMENT: u64 = 4 << 20;
/// Bytes read and written at once.
const STEP: usize = 256 << 10;

/// What was read: the artifacts, and where their blobs are.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The artifacts.
    pub entries: Vec<Entry>,
    /// Each blob that they use: its file, whose bytes were verified.
    pub blobs: BTreeMap<Digest, PathBuf>,
}

/// Reads an archive: its blobs are written into `staging`, a folder that is
/// there and empty, by their hex digest, and every digest is verified. Nothing
/// of it is to be used where this fails. Blocks; `pace` is told of bytes as
/// they are written.
///
/// # Errors
/// [`Broken`].
pub fn import(
    archive: &Path,
    staging: &Path,
    limits: &Limits,
    pace: &mut dyn FnMut(u64),
) -> Result<Imported, Broken> {
    let mut file = File::open(archive).map_err(Refused::Read)?;
    let mut reader = Reader {
        staging,
        limits,
        pace,
        spent: Spent::default(),
        marker: None,
        index: None,
        blobs: BTreeMap::new(),
        broken: None,
    };
    let walked = walk_tar(&mut file, limits, &mut reader);
    if let Some(broken) = reader.broken.take() {
        return Err(broken);
    }
    walked?;
    reader.end()
}

struct Reader<'a> {
    staging: &'a Path,
    limits: &'a Limits,
    pace: &'a mut dyn FnMut(u64),
    spent: Spent,
    marker: Option<Vec<u8>>,
    index: Option<Vec<u8>>,
    blobs: BTreeMap<Digest, (PathBuf, u64)>,
    /// What ended the reading, where it was not the archive's form.
    broken: Option<Broken>,
}

impl Visit for Reader<'_> {
    fn entry(&mut self, raw: &[u8], kind: Kind<'_>, data: &mut dyn Read) -> Result<(), Refused> {
        self.spent.entry(raw.len(), self.limits)?;
        if kind != Kind::File {
            // Folders say nothing; links are not for such archives.
            return Ok(());
        }
        let name = String::from_utf8_lossy(raw);
        let name = name.strip_prefix("./").unwrap_or(&name);
        match name {
            "oci-layout" => self.marker = Some(small(data, self.limits)?),
            "index.json" => self.index = Some(small(data, self.limits)?),
            _ => {
                let digest = name.strip_prefix("blobs/");
                let digest = digest.and_then(|rest| Digest::parse(&rest.replacen('/', ":", 1)));
                if let Some(digest) = digest
                    && let Err(broken) = self.blob(name, &digest, data)
                {
                    self.broken = Some(broken);
                    return Err(Refused::Empty);
                }
            }
        }
        Ok(())
    }
}

impl Reader<'_> {
    fn blob(&mut self, name: &str, digest: &Digest, data: &mut dyn Read) -> Result<(), Broken> {
        if self.blobs.contains_key(digest) {
            return Err(Broken::Twice(name.to_owned()));
        }
        let path = self.staging.join(digest.hex());
        let failed = |error| Broken::Write {
            path: path.display().to_string(),
            error,
        };
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(failed)?;
        let mut hasher = Hasher::new(digest.algorithm());
        let mut buffer = vec![0; STEP];
        let (mut size, mut unsynced) = (0_u64, 0_u64);
        loop {
            let got = match data.read(&mut buffer) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Refused::damaged(error.to_string()).into()),
            };
            let count = got as u64;
            size += count;
            self.spent.bytes(name, count, size, self.limits)?;
            let bytes = buffer.get(..got).unwrap_or_default();
            hasher.update(bytes);
            file.write_all(bytes).map_err(failed)?;
            unsynced += count;
            if self.limits.sync_step > 0 && unsynced >= self.limits.sync_step {
                file.sync_data().map_err(failed)?;
                unsynced = 0;
            }
            (self.pace)(count);
        }
        let found = hasher.finish();
        if found != *digest {
            return Err(Broken::WrongDigest {
                name: name.to_owned(),
                found: found.to_string(),
            });
        }
        file.sync_data().map_err(failed)?;
        self.blobs.insert(digest.clone(), (path, size));
        Ok(())
    }

    fn end(mut self) -> Result<Imported, Broken> {
        let missing = |file: &str| Broken::Document {
            file: file.to_owned(),
            what: "it is not in the archive: `reveille artifacts export` writes one".to_owned(),
        };
        let marker = self.marker.take().ok_or_else(|| missing("oci-layout"))?;
        document::read_marker(&marker)?;
        let index = self.index.take().ok_or_else(|| missing("index.json"))?;
        let mut entries = Vec::new();
        let mut used = BTreeMap::new();
        for (name, digest) in document::read_index(&index)? {
            let (path, size) = self.find(&name, &digest)?;
            if size > MAX_DOCUMENT {
                return Err(Broken::Document {
                    file: name,
                    what: format!("its manifest has {size} bytes"),
                });
            }
            let bytes = fs::read(&path).map_err(Refused::Read)?;
            let entry = document::read_manifest(&name, &bytes)?;
            for file in &entry.files {
                let (path, found) = self.find(&name, &file.digest)?;
                if found != file.size {
                    return Err(Broken::WrongSize {
                        digest: file.digest.to_string(),
                        expected: file.size,
                        found,
                    });
                }
                used.insert(file.digest.clone(), path);
            }
            entries.push(entry);
        }
        Ok(Imported {
            entries,
            blobs: used,
        })
    }

    fn find(&self, file: &str, digest: &Digest) -> Result<(PathBuf, u64), Broken> {
        self.blobs
            .get(digest)
            .cloned()
            .ok_or_else(|| Broken::Missing {
                file: file.to_owned(),
                digest: digest.to_string(),
            })
    }
}

fn small(data: &mut dyn Read, limits: &Limits) -> Result<Vec<u8>, Refused> {
    let mut bytes = Vec::new();
    data.take(MAX_DOCUMENT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Refused::damaged(error.to_string()))?;
    if bytes.len() as u64 > MAX_DOCUMENT.min(limits.file_bytes) {
        return Err(Refused::damaged("a document of more than 4 MiB"));
    }
    Ok(bytes)
}
