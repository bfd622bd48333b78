//! Reads zip archives, by their central directory. Shell.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use zip::read::{Config, ZipFileEntry};
use zip::result::ZipError;
use zip::unstable::read::ZipIterable;
use zip::{CompressionMethod, ZipReadOptions};

use super::limits::Limits;
use super::plan::Kind;
use super::refused::{Refused, Special};
use super::{Visit, decode};

/// The longest target of a symbolic link.
const MAX_LINK: u64 = 4096;

/// Shows each entry to `visit`. Nothing of the directory is kept in memory,
/// and what the entries say of themselves has to agree with it.
pub(super) fn walk(archive: &Path, limits: &Limits, visit: &mut dyn Visit) -> Result<(), Refused> {
    let refused = |error| refused(error, limits);
    let open = || {
        File::open(archive)
            .map(BufReader::new)
            .map_err(Refused::Read)
    };
    let length = std::fs::metadata(archive).map_err(Refused::Read)?.len();
    let mut bodies = open()?;
    let mut zip = ZipIterable::try_new(open()?, Config::default())
        .map_err(refused)?
        .enforce_header_consistency(true);
    if zip.len() as u64 > limits.entries {
        return Err(Refused::TooManyEntries {
            limit: limits.entries,
        });
    }
    for entry in zip.files().map_err(refused)? {
        one(entry.map_err(refused)?, &mut bodies, length, limits, visit)?;
    }
    Ok(())
}

fn one(
    entry: ZipFileEntry<'_>,
    bodies: &mut BufReader<File>,
    length: u64,
    limits: &Limits,
    visit: &mut dyn Visit,
) -> Result<(), Refused> {
    let mut name = entry.name_raw().to_vec();
    if std::str::from_utf8(&name).is_err()
        && let Ok(decoded) = entry.name()
    {
        name = decoded.as_bytes().to_vec();
    }
    if let Some(what) = unsupported(&entry) {
        return visit.entry(&name, Kind::Unsupported(what), &mut io::empty());
    }
    if entry.is_dir() {
        return visit.entry(&name, Kind::Folder, &mut io::empty());
    }
    let format = entry.unix_mode().map(|mode| mode & 0o170_000);
    let body = entry
        .with_reader(bodies, ZipReadOptions::new())
        .map_err(|error| refused(error, limits))?;
    let mut body = Bounded {
        inner: body,
        archive: length,
        output: 0,
        limits,
    };
    let mut link = Vec::new();
    let kind = match format {
        Some(0o120_000) => {
            (&mut body)
                .take(MAX_LINK)
                .read_to_end(&mut link)
                .map_err(|error| decode::refusal(error, limits))?;
            Kind::Symlink(&link)
        }
        Some(0o020_000 | 0o060_000) => Kind::Special(Special::Device),
        Some(0o010_000) => Kind::Special(Special::Fifo),
        Some(0o140_000) => Kind::Special(Special::Socket),
        Some(_) | None => Kind::File,
    };
    visit.entry(&name, kind, &mut body)
}

fn unsupported(entry: &ZipFileEntry<'_>) -> Option<&'static str> {
    if entry.encrypted() {
        return Some("an encrypted entry");
    }
    let known = [CompressionMethod::Stored, CompressionMethod::Deflated];
    (!known.contains(&entry.compression())).then_some("a compression other than deflate")
}

/// Entries may share their compressed bytes, so each is held against the whole
/// archive.
struct Bounded<'a, R> {
    inner: R,
    archive: u64,
    output: u64,
    limits: &'a Limits,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.output = self.output.saturating_add(got as u64);
        if self.limits.is_bomb(self.archive, self.output) {
            return Err(decode::bomb());
        }
        Ok(got)
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "an enum of others that grows"
)]
fn refused(error: ZipError, limits: &Limits) -> Refused {
    match error {
        ZipError::Io(error) => decode::refusal(error, limits),
        other => Refused::damaged(other.to_string()),
    }
}
