//! Opens files for strangers, confined to the roots by the kernel.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use super::ArtifactPath;
use crate::artifact::store::Shelf;
use crate::artifact::table::ROOT;

/// The folders that are served: the artifact tree, loaders that stand behind
/// it, further roots under a first path part of their own, and the store of
/// artifacts under `artifacts/`.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    artifacts: Option<PathBuf>,
    loaders: Vec<PathBuf>,
    named: Vec<(String, PathBuf)>,
    store: Option<(PathBuf, Shelf)>,
}

/// Where a file was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the artifact tree or a further root.
    Tree,
    /// In this folder of loaders.
    Loaders(PathBuf),
}

/// A file or folder that was opened for serving.
#[derive(Debug)]
pub struct OpenedFile {
    /// The open file; a folder where `is_dir`.
    pub file: File,
    /// Its length in bytes.
    pub len: u64,
    /// When it last changed.
    pub modified: SystemTime,
    /// Whether it is a folder.
    pub is_dir: bool,
}

/// How a path is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Wherever it takes.
    Anywhere,
    /// Among what the kernel has in memory (`RESOLVE_CACHED`, Linux 5.12).
    InMemory,
}

impl Look {
    const fn resolve(self) -> ResolveFlags {
        match self {
            Self::Anywhere => ResolveFlags::empty(),
            Self::InMemory => ResolveFlags::CACHED,
        }
    }
}

impl Roots {
    /// Roots of a service: the artifact tree, loader folders (searched after
    /// the tree, by file name), and further roots as (name, folder).
    #[must_use]
    pub fn new(
        artifacts: Option<PathBuf>,
        loaders: Vec<PathBuf>,
        named: Vec<(String, PathBuf)>,
    ) -> Self {
        Self {
            artifacts,
            loaders,
            named,
            store: None,
        }
    }

    /// The same with the store's trees in `folder`, below `artifacts/`.
    #[must_use]
    pub fn with_store(mut self, folder: PathBuf, shelf: Shelf) -> Self {
        self.store = Some((folder, shelf));
        self
    }

    /// What the store has at `path`, which begins below its root: the generation
    /// that the path names, or else the current one.
    fn open_stored(&self, path: &ArtifactPath, look: Look) -> io::Result<OpenedFile> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let (folder, shelf) = self.store.as_ref().ok_or_else(missing)?;
        let parts = path.split_first().and_then(|(namespace, rest)| {
            let (name, rest) = rest
                .split_first()
                .map(|(name, rest)| (name.to_owned(), rest))?;
            Some((namespace, name, rest))
        });
        let Some((namespace, name, rest)) = parts else {
            return open_beneath(folder, path, look);
        };
        let current = shelf.generation(namespace, &name).ok_or_else(missing)?;
        // A number is a generation. What is newer than the current one is not
        // written to its end.
        let named = rest.split_first().and_then(|(first, inner)| {
            let is_number = first.bytes().all(|digit| digit.is_ascii_digit());
            Some((first.parse::<u64>().ok().filter(|_| is_number)?, inner))
        });
        let (generation, inner) = match named {
            Some(named) => named,
            None => (current, rest),
        };
        if generation > current {
            return Err(missing());
        }
        let tree = folder
            .join(namespace)
            .join(name)
            .join(generation.to_string());
        open_beneath(&tree, &inner, look)
    }

    /// Opens `path`: in the named root that its first part names, else in the
    /// artifact tree, else, for a bare file name, in the loader folders. An
    /// administrator's own file so wins over a loader of the same name.
    ///
    /// Blocks: call it where blocking is allowed.
    ///
    /// # Errors
    /// `NotFound` where nothing is there or what is there is neither file nor
    /// folder; `PermissionDenied` also where a link leads out of the root.
    pub fn open(&self, path: &ArtifactPath) -> io::Result<OpenedFile> {
        self.open_from(path).map(|(_, opened)| opened)
    }

    /// What [`Roots::open`] says, where the kernel can tell without waiting for
    /// a disk; else `None`, as on kernels before 5.12. What many machines ask
    /// for needs no thread that may block.
    #[must_use]
    pub fn open_at_once(&self, path: &ArtifactPath) -> Option<io::Result<OpenedFile>> {
        match self.look_for(path, Look::InMemory) {
            Err(error) if is_unknown(&error) => None,
            found => Some(found.map(|(_, opened)| opened)),
        }
    }

    /// The same, with where it was found. Blocks.
    ///
    /// # Errors
    /// Those of [`Roots::open`].
    pub fn open_from(&self, path: &ArtifactPath) -> io::Result<(Origin, OpenedFile)> {
        self.look_for(path, Look::Anywhere)
    }

    fn look_for(&self, path: &ArtifactPath, look: Look) -> io::Result<(Origin, OpenedFile)> {
        if let Some((first, rest)) = path.split_first()
            && let Some((_, root)) = self.named.iter().find(|(name, _)| name == first)
        {
            return Ok((Origin::Tree, open_beneath(root, &rest, look)?));
        }
        if let Some((ROOT, rest)) = path
            .split_first()
            .as_ref()
            .map(|(first, rest)| (*first, rest))
        {
            match self.open_stored(rest, look) {
                Err(error) if look == Look::Anywhere || !is_unknown(&error) => {}
                found => return found.map(|opened| (Origin::Tree, opened)),
            }
        }
        let mut result = match &self.artifacts {
            Some(root) => open_beneath(root, path, look).map(|opened| (Origin::Tree, opened)),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        if !path.is_root() && !path.as_str().contains('/') {
            for loaders in &self.loaders {
                match &result {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        let origin = || Origin::Loaders(loaders.clone());
                        result = open_loader(loaders, path, look).map(|opened| (origin(), opened));
                    }
                    Ok(_) | Err(_) => break,
                }
            }
        }
        result
    }

    /// Whether `path` names a file that can be opened now. Blocks.
    #[must_use]
    pub fn has_file(&self, path: &ArtifactPath) -> bool {
        self.open(path).is_ok_and(|opened| !opened.is_dir)
    }

    /// The artifact tree's folder.
    #[must_use]
    pub fn artifacts(&self) -> Option<&Path> {
        self.artifacts.as_deref()
    }

    /// The further roots: name and folder.
    #[must_use]
    pub fn named(&self) -> &[(String, PathBuf)] {
        &self.named
    }

    /// The loader folders.
    #[must_use]
    pub fn loaders(&self) -> &[PathBuf] {
        &self.loaders
    }
}

/// Opens a loader. Its folder belongs to the system, and packages link out of
/// it: Debian's `ipxe.efi` is a link to `/boot`. `name` is a bare file name.
fn open_loader(folder: &Path, name: &ArtifactPath, look: Look) -> io::Result<OpenedFile> {
    let at = folder.join(name.as_str());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = match look {
        Look::Anywhere => openat(CWD, at, flags, Mode::empty())?,
        Look::InMemory => openat2(CWD, at, flags, Mode::empty(), look.resolve())?,
    };
    let opened = opened(fd)?;
    if opened.is_dir {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(opened)
}

/// Opens `path` so that the kernel refuses whatever leads out of `root`
/// (openat2 with `RESOLVE_BENEATH`), never blocks on a FIFO and never follows
/// a magic link.
fn open_beneath(root: &Path, path: &ArtifactPath, look: Look) -> io::Result<OpenedFile> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = match look {
        Look::Anywhere => openat(CWD, root, flags, Mode::empty())?,
        Look::InMemory => openat2(CWD, root, flags, Mode::empty(), look.resolve())?,
    };
    let name = if path.is_root() { "." } else { path.as_str() };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | look.resolve();
    let fd: OwnedFd = openat2(&dir, name, flags, Mode::empty(), resolve).map_err(|errno| {
        match errno {
            // RESOLVE_BENEATH says EXDEV for a link that leads out.
            rustix::io::Errno::XDEV => io::ErrorKind::PermissionDenied.into(),
            rustix::io::Errno::NOTDIR | rustix::io::Errno::NXIO => io::ErrorKind::NotFound.into(),
            other => io::Error::from(other),
        }
    })?;
    opened(fd)
}

/// Whether an error only says that one has to wait to know.
fn is_unknown(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    // INVAL, NOSYS: the kernel does not know how to tell.
    matches!(
        errno,
        Some(rustix::io::Errno::AGAIN | rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS)
    )
}

/// What was opened, if it is a file or a folder.
fn opened(fd: OwnedFd) -> io::Result<OpenedFile> {
    let file = File::from(fd);
    let metadata = file.metadata()?;
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(OpenedFile {
        len: metadata.len(),
        modified: metadata.modified()?,
        is_dir: metadata.is_dir(),
        file,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> ArtifactPath {
        ArtifactPath::parse(name).unwrap()
    }

    #[test]
    fn opens_in_order_and_never_outside() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, loaders, isos) = (
            dir.path().join("tree"),
            dir.path().join("loaders"),
            dir.path().join("isos"),
        );
        for folder in [&tree, &loaders, &isos] {
            std::fs::create_dir(folder).unwrap();
        }
        std::fs::write(dir.path().join("secret"), "secret").unwrap();
        std::fs::write(loaders.join("ipxe.efi"), "loader").unwrap();
        std::fs::write(loaders.join("own.efi"), "loader").unwrap();
        std::fs::write(tree.join("own.efi"), "mine!").unwrap();
        std::fs::write(isos.join("a.iso"), "iso").unwrap();
        std::os::unix::fs::symlink("../secret", tree.join("out")).unwrap();
        std::os::unix::fs::symlink("own.efi", tree.join("inside")).unwrap();
        std::os::unix::fs::symlink("../secret", loaders.join("linked.efi")).unwrap();
        let roots = Roots::new(Some(tree), vec![loaders], vec![("isos".to_owned(), isos)]);
        assert_eq!(roots.open(&path("ipxe.efi")).unwrap().len, 6);
        assert_eq!(roots.open(&path("linked.efi")).unwrap().len, 6);
        assert_eq!(roots.open(&path("own.efi")).unwrap().len, 5);
        assert_eq!(roots.open(&path("inside")).unwrap().len, 5);
        assert_eq!(roots.open(&path("isos/a.iso")).unwrap().len, 3);
        assert!(roots.open(&path("isos")).unwrap().is_dir);
        assert!(roots.open(&path("")).unwrap().is_dir);
        let denied = roots.open(&path("out")).unwrap_err();
        assert_eq!(denied.kind(), io::ErrorKind::PermissionDenied);
        for missing in ["none", "x/ipxe.efi", "own.efi/x", "isos/b"] {
            let error = roots.open(&path(missing)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{missing}");
        }
        // What was just opened the kernel has in memory.
        for name in ["ipxe.efi", "linked.efi", "own.efi", "inside", "isos/a.iso"] {
            let Some(opened) = roots.open_at_once(&path(name)) else {
                continue; // a kernel before 5.12
            };
            let len = roots.open(&path(name)).unwrap().len;
            assert_eq!(opened.unwrap().len, len, "{name}");
        }
        let denied = roots.open_at_once(&path("out"));
        assert!(denied.is_none_or(|denied| denied.is_err()));
    }
}
