//! Writes the tree that a plan decided on. Shell.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::decode;
use super::limits::{Limits, Spent};
use super::name::EntryName;
use super::plan::{Act, Then};
use super::refused::Refused;
use super::{UnpackedFile, UnpackedLink, links};

/// Bytes read and written at once.
const STEP: usize = 256 << 10;
/// Files are read by all and written by nobody else; never setuid.
const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;

/// The tree that is written.
pub(super) struct Tree<'a> {
    root: &'a Path,
    limits: &'a Limits,
    pace: &'a mut dyn FnMut(u64),
    /// What was written: file, size, digest.
    files: BTreeMap<EntryName, (u64, [u8; 32])>,
    links: Vec<UnpackedLink>,
    buffer: Vec<u8>,
}

impl<'a> Tree<'a> {
    /// Begins in `root`, which is made where it is not there.
    ///
    /// # Errors
    /// [`Refused::Write`]: also where it has something in it already.
    pub(super) fn begin(
        root: &'a Path,
        limits: &'a Limits,
        pace: &'a mut dyn FnMut(u64),
    ) -> Result<Self, Refused> {
        let refused = |error| Refused::Write {
            path: root.display().to_string(),
            error,
        };
        match fs::create_dir(root) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(refused(error));
            }
            Ok(()) | Err(_) => {}
        }
        let mut inside = fs::read_dir(root).map_err(refused)?;
        if inside.next().is_some() {
            return Err(refused(io::ErrorKind::DirectoryNotEmpty.into()));
        }
        set_mode(root, FOLDER_MODE).map_err(refused)?;
        Ok(Self {
            root,
            limits,
            pace,
            files: BTreeMap::new(),
            links: Vec::new(),
            buffer: vec![0; STEP],
        })
    }

    /// Carries out what the plan says for an entry whose bytes are `data`.
    pub(super) fn act(
        &mut self,
        act: Act,
        data: &mut dyn Read,
        spent: &mut Spent,
    ) -> Result<(), Refused> {
        for gone in &act.remove {
            self.remove(gone)?;
        }
        match act.then {
            Then::Nothing => Ok(()),
            Then::Folder(name) => self.folder(&name),
            Then::File(name) => self.file(&name, data, spent),
            Then::Name { of, to } => self.name(&of, &to, spent),
        }
    }

    fn path(&self, name: &EntryName) -> PathBuf {
        self.root.join(name.as_str())
    }

    fn remove(&mut self, name: &EntryName) -> Result<(), Refused> {
        let path = self.path(name);
        let result = if self.files.remove(name).is_some() {
            fs::remove_file(path)
        } else {
            fs::remove_dir(path)
        };
        match result {
            // A file that was to be read later, a folder that others use.
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                Err(write_failed(name, error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn folder(&mut self, name: &EntryName) -> Result<(), Refused> {
        let path = self.path(name);
        if path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = name.parent().filter(|parent| !parent.is_root()) {
            self.folder(&parent)?;
        }
        fs::create_dir(&path)
            .and_then(|()| set_mode(&path, FOLDER_MODE))
            .map_err(|error| write_failed(name, error))
    }

    /// Writes one file.
    pub(super) fn file(
        &mut self,
        name: &EntryName,
        data: &mut dyn Read,
        spent: &mut Spent,
    ) -> Result<(), Refused> {
        if let Some(parent) = name.parent() {
            self.folder(&parent)?;
        }
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(self.path(name))
            .map_err(|error| write_failed(name, error))?;
        let mut digest = Sha256::new();
        let (mut size, mut unsynced) = (0_u64, 0_u64);
        loop {
            let got = fill(data, &mut self.buffer)
                .map_err(|error| decode::refusal(error, self.limits))?;
            let Some(bytes) = self.buffer.get(..got).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            let count = got as u64;
            size = size.saturating_add(count);
            spent.bytes(name.as_str(), count, size, self.limits)?;
            digest.update(bytes);
            file.write_all(bytes)
                .map_err(|error| write_failed(name, error))?;
            unsynced += count;
            if self.limits.sync_step > 0 && unsynced >= self.limits.sync_step {
                file.sync_data()
                    .map_err(|error| write_failed(name, error))?;
                unsynced = 0;
            }
            (self.pace)(count);
        }
        file.set_permissions(fs::Permissions::from_mode(FILE_MODE))
            .map_err(|error| write_failed(name, error))?;
        self.files
            .insert(name.clone(), (size, digest.finalize().into()));
        Ok(())
    }

    /// Gives a file a second name; copies it where the file system cannot.
    pub(super) fn name(
        &mut self,
        of: &EntryName,
        to: &EntryName,
        spent: &mut Spent,
    ) -> Result<(), Refused> {
        if let Some(parent) = to.parent() {
            self.folder(&parent)?;
        }
        if fs::hard_link(self.path(of), self.path(to)).is_err() {
            let mut source = File::open(self.path(of)).map_err(|error| write_failed(of, error))?;
            return self.file(to, &mut source, spent);
        }
        if let Some(known) = self.files.get(of).copied() {
            self.files.insert(to.clone(), known);
        }
        Ok(())
    }

    /// A link to a folder of the tree.
    pub(super) fn link(&mut self, at: &EntryName, folder: &EntryName) -> Result<(), Refused> {
        if let Some(parent) = at.parent() {
            self.folder(&parent)?;
        }
        let target = links::relative(at, folder);
        symlink(&target, self.path(at)).map_err(|error| write_failed(at, error))?;
        self.links.push(UnpackedLink {
            path: at.as_str().to_owned(),
            target,
        });
        Ok(())
    }

    /// What is in the tree.
    pub(super) fn end(self) -> (Vec<UnpackedFile>, Vec<UnpackedLink>) {
        let files = self.files.into_iter();
        let files = files.map(|(name, (size, sha256))| UnpackedFile {
            path: name.as_str().to_owned(),
            size,
            sha256,
        });
        (files.collect(), self.links)
    }
}

fn write_failed(name: &EntryName, error: io::Error) -> Refused {
    Refused::Write {
        path: name.as_str().to_owned(),
        error,
    }
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Reads until the buffer is full or the data ends.
fn fill(data: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
        match data.read(room) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
