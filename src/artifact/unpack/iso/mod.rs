//! Reads ISO 9660 images with Rock Ridge or Joliet names. `volume`, `record`
//! and `rock_ridge` are core; this file is the shell that walks an image.
//!
//! It is our own: by their own pages, the crates that read these images lack
//! bounds, large files, or a release (`docs/decisions.md`); none was run.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

mod bytes;
pub mod record;
pub mod rock_ridge;
pub mod volume;

use self::record::Record;
use self::rock_ridge::Extra;
use self::volume::{Descriptor, SECTOR, Volume};
use super::Visit;
use super::decode;
use super::limits::Limits;
use super::plan::Kind;
use super::refused::{Refused, Special};

/// Sectors that are searched for descriptors.
const MAX_DESCRIPTORS: u64 = 64;
/// Bytes of one folder: 200,000 records of 80 bytes.
const MAX_FOLDER: u32 = 16 << 20;
/// Bytes of all folders.
const MAX_FOLDERS: u64 = 256 << 20;
/// Fields of one record that stand elsewhere.
const MAX_CONTINUED: usize = 32;
/// Bytes of one such field.
const MAX_FIELD: u32 = 64 << 10;

/// How names are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    RockRidge { skip: usize },
    Joliet,
    Plain,
}

/// An image that is open.
pub(super) struct Image<'a> {
    file: &'a File,
    volume: Volume,
    names: Names,
    /// What a missing file may be explained with.
    pub(super) note: &'static str,
}

/// A folder that is still to be read.
struct Pending {
    path: Vec<u8>,
    block: u64,
    size: u32,
}

impl<'a> Image<'a> {
    /// Finds the best tree of the image: Rock Ridge, Joliet, plain.
    pub(super) fn open(file: &'a File) -> Result<Self, Refused> {
        let (mut primary, mut joliet, mut udf) = (None, None, false);
        let mut ended = false;
        for sector in volume::FIRST..volume::FIRST + MAX_DESCRIPTORS {
            let mut bytes = [0; SECTOR];
            if file
                .read_exact_at(&mut bytes, sector * SECTOR as u64)
                .is_err()
            {
                break;
            }
            udf |= volume::is_udf(&bytes);
            match Descriptor::read(&bytes) {
                Some(_) if ended => {}
                Some(Descriptor::Primary(volume)) => {
                    primary.get_or_insert(volume);
                }
                Some(Descriptor::Joliet(volume)) => joliet = Some(volume),
                Some(Descriptor::Other) => {}
                // Those of UDF follow the end.
                Some(Descriptor::End) => ended = true,
                None if ended && !matches!(bytes.get(1..4), Some(b"BEA" | b"NSR" | b"TEA")) => {
                    break;
                }
                None => {}
            }
        }
        let Some(primary) = primary else {
            return Err(Self::not_an_image(file));
        };
        let mut image = Self {
            file,
            volume: primary,
            names: Names::Plain,
            note: if udf {
                "the image holds a UDF file system too, which is not read"
            } else {
                ""
            },
        };
        if let Some(skip) = image.rock_ridge()? {
            image.names = Names::RockRidge { skip };
        } else if let Some(volume) = joliet {
            image.volume = volume;
            image.names = Names::Joliet;
        }
        Ok(image)
    }

    fn not_an_image(file: &File) -> Refused {
        let mut head = [0; 512];
        let got = file.read_at(&mut head, 0).unwrap_or(0);
        Refused::WrongFormat {
            format: "an ISO 9660 image",
            looks: super::format::looks(head.get(..got).unwrap_or_default()),
        }
    }

    /// How Rock Ridge fields are found; `None` where there are none.
    fn rock_ridge(&self) -> Result<Option<usize>, Refused> {
        let root = &self.volume.root;
        let data = self.folder(root.block, root.size)?;
        let records = record::records(&data, SECTOR).map_err(Refused::damaged)?;
        let Some(dot) = records.first() else {
            return Ok(None);
        };
        let Some(skip) = rock_ridge::skip_of_root(&dot.system_use) else {
            return Ok(None);
        };
        let has_mode = self.extra(&dot.system_use)?.mode.is_some();
        Ok(has_mode.then_some(skip))
    }

    /// Shows each entry to `visit`, a folder before what is in it.
    pub(super) fn walk(&self, limits: &Limits, visit: &mut dyn Visit) -> Result<(), Refused> {
        let root = &self.volume.root;
        let mut seen = BTreeSet::from([root.block]);
        let mut pending = vec![Pending {
            path: Vec::new(),
            block: root.block,
            size: root.size,
        }];
        let mut read = 0_u64;
        while let Some(folder) = pending.pop() {
            read += u64::from(folder.size);
            if read > MAX_FOLDERS {
                return Err(Refused::damaged("its folders are too large"));
            }
            let data = self.folder(folder.block, folder.size)?;
            let records = record::records(&data, SECTOR).map_err(Refused::damaged)?;
            let mut parts: Vec<(u64, u32)> = Vec::new();
            for record in records.into_iter().filter(|record| !record.is_dot()) {
                parts.push((record.block, record.size));
                if record.more {
                    continue;
                }
                let parts = std::mem::take(&mut parts);
                let Some(child) = self.entry(&folder.path, &record, parts, limits, visit)? else {
                    continue;
                };
                if !seen.insert(child.block) {
                    return Err(Refused::damaged("a folder is in two places"));
                }
                pending.push(child);
            }
        }
        Ok(())
    }

    /// One file or folder; tells of a folder to go into.
    fn entry(
        &self,
        folder: &[u8],
        record: &Record,
        parts: Vec<(u64, u32)>,
        limits: &Limits,
        visit: &mut dyn Visit,
    ) -> Result<Option<Pending>, Refused> {
        let extra = match self.names {
            Names::RockRidge { skip } => {
                self.extra(record.system_use.get(skip..).unwrap_or_default())?
            }
            Names::Joliet | Names::Plain => Extra::default(),
        };
        if extra.moved {
            return Ok(None);
        }
        let mut path = folder.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend(match (self.names, &extra.name) {
            (Names::RockRidge { .. }, Some(name)) => name.clone(),
            (Names::Joliet, _) => record.joliet_name(),
            (Names::RockRidge { .. } | Names::Plain, _) => record.plain_name(),
        });
        if path.len() > limits.path.saturating_mul(2) {
            return Err(Refused::damaged("its folders go too deep"));
        }
        if record.folder || extra.child.is_some() {
            visit.entry(&path, Kind::Folder, &mut io::empty())?;
            return self.child(path, record, &extra).map(Some);
        }
        let kind = match &extra.link {
            Some(link) => Kind::Symlink(link),
            None => kind(record, &extra),
        };
        let mut data = Extents {
            file: self.file,
            parts: parts.into_iter(),
            block: u64::from(self.volume.block),
            at: 0,
            left: 0,
        };
        visit.entry(&path, kind, &mut data)?;
        Ok(None)
    }

    /// The folder behind a record; its size is in its own first record where
    /// it was moved.
    fn child(&self, path: Vec<u8>, record: &Record, extra: &Extra) -> Result<Pending, Refused> {
        let Some(block) = extra.child else {
            return Ok(Pending {
                path,
                block: record.block,
                size: record.size,
            });
        };
        let data = self.bytes(block, 0, SECTOR)?;
        let records = record::records(&data, SECTOR).map_err(Refused::damaged)?;
        let size = records.first().map(|dot| dot.size);
        Ok(Pending {
            path,
            block,
            size: size.ok_or_else(|| Refused::damaged("a moved folder is not there"))?,
        })
    }

    fn folder(&self, block: u64, size: u32) -> Result<Vec<u8>, Refused> {
        if size > MAX_FOLDER {
            return Err(Refused::damaged(format!("a folder of {size} bytes")));
        }
        self.bytes(block, 0, size as usize)
    }

    /// What Rock Ridge says in `field` and where it goes on.
    fn extra(&self, field: &[u8]) -> Result<Extra, Refused> {
        let mut extra = Extra::default();
        let mut next = extra.read(field);
        for _ in 0..MAX_CONTINUED {
            let Some(at) = next else {
                return Ok(extra);
            };
            if at.length > MAX_FIELD {
                break;
            }
            let bytes = self.bytes(at.block, u64::from(at.offset), at.length as usize)?;
            next = extra.read(&bytes);
        }
        Err(Refused::damaged("the fields of a file do not end"))
    }

    fn bytes(&self, block: u64, offset: u64, length: usize) -> Result<Vec<u8>, Refused> {
        let at = block
            .saturating_mul(u64::from(self.volume.block))
            .saturating_add(offset);
        let mut bytes = vec![0; length];
        self.file
            .read_exact_at(&mut bytes, at)
            .map_err(|error| decode::refusal(error, &Limits::default()))?;
        Ok(bytes)
    }
}

fn kind(record: &Record, extra: &Extra) -> Kind<'static> {
    if extra.packed {
        return Kind::Unsupported("a file that is compressed in the image");
    }
    if record.interleaved {
        return Kind::Unsupported("an interleaved file");
    }
    match extra.mode.map(|mode| mode & 0o170_000) {
        Some(0o020_000 | 0o060_000) => Kind::Special(Special::Device),
        Some(0o010_000) => Kind::Special(Special::Fifo),
        Some(0o140_000) => Kind::Special(Special::Socket),
        // Without a mode, and of whatever kind else: it has bytes.
        Some(_) | None => Kind::File,
    }
}

/// The bytes of one file, in its parts.
struct Extents<'a> {
    file: &'a File,
    parts: std::vec::IntoIter<(u64, u32)>,
    block: u64,
    at: u64,
    left: u64,
}

impl Read for Extents<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.left == 0 {
            let Some((block, size)) = self.parts.next() else {
                return Ok(0);
            };
            self.at = block.saturating_mul(self.block);
            self.left = u64::from(size);
        }
        let room = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let room = buffer.get_mut(..room).unwrap_or_default();
        let got = self.file.read_at(room, self.at)?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at = self.at.saturating_add(got as u64);
        self.left -= got as u64;
        Ok(got)
    }
}
