//! Files that strangers may make: confined by the kernel, whole or not there at
//! all. Shell; blocks.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, ResolveFlags, openat, openat2, renameat_with, statat,
    unlinkat,
};
use rustix::io::Errno;

use super::ArtifactPath;
use crate::clock::{self, Millis};

/// How the name of a file begins that is not whole yet; a listing does not show
/// it.
const DRAFT: &str = ".upload-";

/// The age from which a draft is one that a killed process left behind: no
/// transfer takes as long.
const STALE_MILLIS: u64 = 2 * 24 * 3600 * 1000;

/// Most entries that are counted of a folder of uploads, and how deep.
const MOST_ENTRIES: usize = 100_000;
const DEEPEST: usize = 16;

/// A file on its way to its name.
#[derive(Debug)]
pub struct Draft {
    folder: OwnedFd,
    /// Its name for now.
    draft: String,
    name: String,
    replace: bool,
    file: File,
    kept: bool,
}

impl Draft {
    /// Begins the file at `path` below `root`, whose folder has to be there.
    ///
    /// # Errors
    /// `AlreadyExists` where it is there and not to be replaced;
    /// `PermissionDenied` where a link leads out of `root`.
    pub fn begin(root: &Path, path: &ArtifactPath, replace: bool) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = path.file_name().to_owned();
        let above = path.as_str().strip_suffix(&name).unwrap_or_default();
        let above = if above.is_empty() { "." } else { above };
        let as_folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, root, as_folder, Mode::empty())?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let folder = openat2(&root, above, as_folder, Mode::empty(), resolve);
        let folder = folder.map_err(|errno| match errno {
            Errno::XDEV => io::ErrorKind::PermissionDenied.into(),
            Errno::NOTDIR => io::ErrorKind::NotFound.into(),
            other => io::Error::from(other),
        })?;
        if !replace && statat(&folder, name.as_str(), AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let draft = format!("{DRAFT}{process}-{count}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&folder, draft.as_str(), flags, Mode::from_raw_mode(0o644))?;
        Ok(Self {
            folder,
            draft,
            name,
            replace,
            file: File::from(file),
            kept: false,
        })
    }

    /// Writes on.
    ///
    /// # Errors
    /// `StorageFull` or `QuotaExceeded` where there is no room.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Gives it its name, once it is on the disk.
    ///
    /// # Errors
    /// `AlreadyExists` where another one came first.
    pub fn keep(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        let how = if self.replace {
            RenameFlags::empty()
        } else {
            RenameFlags::NOREPLACE
        };
        let (draft, name) = (self.draft.as_str(), self.name.as_str());
        renameat_with(&self.folder, draft, &self.folder, name, how)?;
        self.kept = true;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(&self.folder, ".", flags, Mode::empty())?;
        rustix::fs::fsync(folder)?;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = unlinkat(&self.folder, self.draft.as_str(), AtFlags::empty())
        {
            tracing::warn!(name = self.draft, %error, "a draft cannot be removed");
        }
    }
}

/// Bytes that the files in and below `folder` have; drafts of processes that
/// are gone are removed. What cannot be counted counts as full.
#[must_use]
pub fn bytes_below(folder: &Path) -> u64 {
    let mut left = MOST_ENTRIES;
    count(folder, DEEPEST, &mut left).unwrap_or(u64::MAX)
}

fn count(folder: &Path, depth: usize, left: &mut usize) -> Option<u64> {
    let mut bytes = 0_u64;
    for entry in fs::read_dir(folder).ok()? {
        let entry = entry.ok()?;
        *left = left.checked_sub(1)?;
        // Of a link, the link itself.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if metadata.is_dir() {
            let below = count(&entry.path(), depth.checked_sub(1)?, left)?;
            bytes = bytes.saturating_add(below);
        } else if is_stale(&entry.file_name().to_string_lossy(), &metadata) {
            let _ = fs::remove_file(entry.path());
        } else {
            bytes = bytes.saturating_add(metadata.len());
        }
    }
    Some(bytes)
}

fn is_stale(name: &str, metadata: &fs::Metadata) -> bool {
    let changed = metadata.modified().ok();
    let changed = changed.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    // One from before any clock is old, too.
    let changed = Millis::from_secs(changed.unwrap_or_default().as_secs());
    name.starts_with(DRAFT) && clock::now().since(changed) > STALE_MILLIS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> ArtifactPath {
        ArtifactPath::parse(name).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn is_there_whole_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("in")).unwrap();
        let folder = root.path().join("in");
        let begin = |replace| Draft::begin(root.path(), &path("in/a"), replace);
        let mut draft = begin(false).unwrap();
        draft.write(b"one").unwrap();
        assert!(!folder.join("a").exists());
        drop(draft);
        assert_eq!(names(&folder), [""; 0]);
        let (mut first, mut second) = (begin(false).unwrap(), begin(false).unwrap());
        first.write(b"first").unwrap();
        second.write(b"second").unwrap();
        first.keep().unwrap();
        let error = second.keep().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(folder.join("a")).unwrap(), b"first");
        assert_eq!(
            begin(false).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        let mut third = begin(true).unwrap();
        third.write(b"third").unwrap();
        third.keep().unwrap();
        assert_eq!(fs::read(folder.join("a")).unwrap(), b"third");
        assert_eq!(names(&folder), ["a"]);
        assert_eq!(bytes_below(root.path()), 5);
    }

    #[test]
    fn makes_nothing_outside_of_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        std::os::unix::fs::symlink("..", root.join("up")).unwrap();
        fs::write(root.join("file"), "").unwrap();
        for (name, kind) in [
            ("up/a", io::ErrorKind::PermissionDenied),
            ("file/a", io::ErrorKind::NotFound),
            ("none/a", io::ErrorKind::NotFound),
        ] {
            let error = Draft::begin(&root, &path(name), true).unwrap_err();
            assert_eq!(error.kind(), kind, "{name}");
        }
        assert_eq!(names(dir.path()), ["root"]);
    }

    #[test]
    fn removes_what_a_killed_process_left() {
        let root = tempfile::tempdir().unwrap();
        let old = File::create(root.path().join(".upload-1-1")).unwrap();
        old.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        fs::write(root.path().join(".upload-2-1"), "on its way").unwrap();
        assert_eq!(bytes_below(root.path()), 10);
        assert_eq!(names(root.path()), [".upload-2-1"]);
        assert_eq!(bytes_below(&root.path().join("none")), u64::MAX);
    }
}
