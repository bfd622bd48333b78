//! Files of our own state, written whole or not at all. Shell.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Writes `bytes` to `path` by way of a draft beside it, whose name ends with
/// `.new`: whatever happens, the old file or the new one is there, never half.
/// `mode` is that of a new file.
///
/// # Errors
/// A disk that is full or read-only; the old file stays.
pub fn write_whole(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    write_whole_with(path, mode, |file| file.write_all(bytes))
}

/// The same of what `write` writes, piece by piece.
///
/// # Errors
/// Those of `write`, and a disk that is full or read-only; the old file stays.
pub fn write_whole_with(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut draft = OsString::from(path);
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&draft)?;
    write(&mut file)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
