//! Opens what a name means.

use std::io::{self, Read};

use tracing::warn;

use super::netascii::to_netascii;
use super::refuse::Refusal;
use super::source::Source;
use crate::files::{ArtifactPath, OpenedFile, Roots};

/// Longest file that is translated to netascii, in bytes: it is held in memory,
/// and nothing that boots is sent so.
const NETASCII_MAX: u64 = 256 * 1024;

/// A file that was opened for a transfer.
#[derive(Debug)]
pub(super) struct Opened {
    /// Its name in log lines.
    pub(super) name: String,
    /// Its bytes.
    pub(super) source: Source,
    /// How many there are.
    pub(super) len: u64,
}

/// The first of `paths`, where the kernel can tell without a disk which that is
/// and what is in it. `None` says nothing of whether there is one.
pub(super) fn open_at_once(roots: &Roots, paths: &[ArtifactPath]) -> Option<Opened> {
    for path in paths {
        match roots.open_at_once(path)? {
            Ok(opened) if !opened.is_dir => {
                return Some(Opened {
                    name: path.to_string(),
                    source: Source::file(opened.file, opened.len),
                    len: opened.len,
                });
            }
            Err(error) if refused(path, &error) == Refusal::NotFound => {}
            Ok(_) | Err(_) => return None,
        }
    }
    None
}

/// Opens the first of `paths` that is there, and reads it where it is to be
/// translated. Where none is there, names in another case will do. Blocks.
pub(super) fn open_file(
    roots: &Roots,
    paths: &[ArtifactPath],
    translate: bool,
) -> Result<Opened, Refusal> {
    let (path, opened) = find(roots, paths)?;
    if opened.is_dir {
        return Err(Refusal::Folder);
    }
    let name = path.to_string();
    if !translate {
        let (source, len) = (Source::file(opened.file, opened.len), opened.len);
        return Ok(Opened { name, source, len });
    }
    if opened.len > NETASCII_MAX {
        return Err(Refusal::NetasciiTooLong);
    }
    let mut text = Vec::new();
    let mut file = opened.file.take(NETASCII_MAX);
    file.read_to_end(&mut text)
        .map_err(|_| Refusal::ReadFailed)?;
    Ok(Opened::text(name, &text, translate))
}

fn find(roots: &Roots, paths: &[ArtifactPath]) -> Result<(ArtifactPath, OpenedFile), Refusal> {
    let mut refusal = Refusal::NotFound;
    for path in paths {
        match roots.open(path) {
            Ok(opened) => return Ok((path.clone(), opened)),
            Err(error) => refusal = refused(path, &error),
        }
        // What is there and cannot be had is not made good by something else.
        if refusal != Refusal::NotFound {
            return Err(refusal);
        }
    }
    let other_case = paths.iter().find_map(|path| {
        let path = roots.in_any_case(path)?;
        let opened = roots.open(&path).ok()?;
        Some((path, opened))
    });
    other_case.ok_or(refusal)
}

fn refused(path: &ArtifactPath, error: &io::Error) -> Refusal {
    // No name that is too long for the file system is a file's.
    let missing = [io::ErrorKind::NotFound, io::ErrorKind::InvalidFilename];
    if missing.contains(&error.kind()) {
        return Refusal::NotFound;
    }
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Refusal::Denied;
    }
    warn!(target: "reveille::tftp", %path, %error, "file cannot be opened");
    Refusal::ReadFailed
}

// === impl Opened ===

impl Opened {
    /// Text at hand, translated where the client wants it so.
    pub(super) fn text(name: String, text: &[u8], translate: bool) -> Self {
        let bytes = if translate {
            to_netascii(text)
        } else {
            text.to_vec()
        };
        let len = bytes.len() as u64;
        let source = Source::Memory(bytes);
        Self { name, source, len }
    }
}
