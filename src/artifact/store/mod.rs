//! The store: blobs by their digest, and trees of links to them. Shell.
//!
//! ```text
//! blobs/sha256/aa/aa…            the bytes, verified
//! partial/KEY, KEY.json          a download that is not at its end
//! trees/NAMESPACE/NAME/3/PATH    a generation: hard links to blobs
//! trees/NAMESPACE/NAME/index.json    which generation is served
//! ```
//!
//! A generation is written beside, synced, and made visible by the rename of
//! `index.json`: whenever the power goes, the old tree or the new one is there.
//! Everything here blocks.

mod scrub;
mod sweep;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

pub use self::scrub::{Damage, Pace};
pub use self::sweep::{Live, Swept};
use super::identity::hex;
use super::table::{Held, Table};
use crate::files::write_whole;
use crate::snapshot::ObjectName;

/// The name of the file that says which generation is served.
const INDEX: &str = "index.json";
/// The format of it; another one is not read.
const VERSION: u32 = 1;
/// What the name of a tree ends with that is not written to its end.
const DRAFT: &str = ".new";

/// The store. One process has it at a time.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    shelf: Shelf,
    /// Held as long as the store is: the kernel lets go of it with the process.
    _lock: File,
}

/// What is there, for those who serve it and for those who write it; cheap to
/// clone, and to ask.
#[derive(Clone, Debug, Default)]
pub struct Shelf(Arc<Mutex<Arc<Table>>>);

#[derive(Serialize, Deserialize)]
struct Index {
    version: u32,
    #[serde(flatten)]
    held: Held,
}

// === impl Shelf ===

impl Shelf {
    /// What is there now.
    #[must_use]
    pub fn table(&self) -> Arc<Table> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The generation of `name` that is served; `None` where it is not there.
    #[must_use]
    pub fn generation(&self, namespace: &str, name: &str) -> Option<u64> {
        // A lookup by parts would need a key of parts; trees are opened seldom.
        let name = ObjectName {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        self.table().get(&name).map(|held| held.generation)
    }

    fn change(&self, how: impl FnOnce(&mut Table)) {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&shared);
        how(&mut table);
        if **shared != table {
            *shared = Arc::new(table);
        }
    }
}

// === impl Store ===

impl Store {
    /// Opens the store in `root`, which is made where it is missing.
    ///
    /// # Errors
    /// A volume that cannot be read; `WouldBlock` where another process has
    /// the store. A volume that cannot be written to is no error: what is there
    /// is served.
    pub fn open(root: &Path) -> io::Result<Self> {
        for folder in ["blobs/sha256", "partial", "trees"] {
            match fs::create_dir_all(root.join(folder)) {
                Err(error) if !is_read_only(&error) => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        let lock = File::open(root)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        let store = Self {
            root: root.to_owned(),
            shelf: Shelf::default(),
            _lock: lock,
        };
        let table = read_table(root)?;
        store.shelf.change(|all| *all = table);
        Ok(store)
    }

    /// What is there.
    #[must_use]
    pub fn shelf(&self) -> Shelf {
        self.shelf.clone()
    }

    /// The folder of the trees, to serve from.
    #[must_use]
    pub fn trees(&self) -> PathBuf {
        trees(&self.root)
    }

    /// The folder of the store.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the blob of this digest is, or would be.
    #[must_use]
    pub fn blob(&self, sha256: &str) -> PathBuf {
        blob_path(&self.root, sha256)
    }

    /// The length of the blob of this digest; `None` where it is not there.
    #[must_use]
    pub fn blob_len(&self, sha256: &str) -> Option<u64> {
        let metadata = fs::symlink_metadata(self.blob(sha256)).ok()?;
        metadata.is_file().then_some(metadata.len())
    }

    /// Where a download of `key` is until it is at its end.
    #[must_use]
    pub fn partial(&self, key: &str) -> PathBuf {
        self.root.join("partial").join(key)
    }

    /// Takes a file in as the blob of this digest, which the caller has made
    /// sure of. The file is synced and moved.
    ///
    /// # Errors
    /// A volume that is full or read-only.
    pub fn take_in(&self, file: &Path, sha256: &str) -> io::Result<()> {
        let blob = self.blob(sha256);
        File::open(file)?.sync_all()?;
        if let Some(folder) = blob.parent() {
            if !folder.is_dir() {
                fs::create_dir_all(folder)?;
                sync_folder(&self.root.join("blobs/sha256"))?;
            }
            fs::rename(file, &blob)?;
            sync_folder(folder)?;
        }
        Ok(())
    }

    /// Makes a generation of `held`'s files, whose blobs are there, the one that
    /// is served. Its number is the next one.
    ///
    /// # Errors
    /// A volume that is full or read-only, a blob that is missing, a file where
    /// another one needs a folder; what was served before still is.
    pub fn publish(&self, name: &ObjectName, mut held: Held) -> io::Result<Held> {
        let before = self
            .shelf
            .table()
            .get(name)
            .map_or(0, |held| held.generation);
        held.generation = before + 1;
        held.digest = tree_digest(&held);
        let home = self.home(name);
        fs::create_dir_all(&home)?;
        let tree = home.join(held.generation.to_string());
        let draft = home.join(format!("{}{DRAFT}", held.generation));
        // What a process left that was killed here was never served.
        remove_tree(&draft)?;
        remove_tree(&tree)?;
        self.lay(&draft, &held)?;
        fs::rename(&draft, &tree)?;
        for folder in home.ancestors().take(3) {
            sync_folder(folder)?;
        }
        self.write_index(name, &held)?;
        self.shelf
            .change(|all| drop(all.insert(name.clone(), held.clone())));
        Ok(held)
    }

    /// Notes that `name` is the newest there is, at `checked`.
    ///
    /// # Errors
    /// A volume that is full or read-only: it is looked again sooner then.
    pub fn checked(&self, name: &ObjectName, held: &Held) -> io::Result<()> {
        self.shelf
            .change(|all| drop(all.insert(name.clone(), held.clone())));
        self.write_index(name, held)
    }

    /// Bytes that are free on the volume, for us.
    ///
    /// # Errors
    /// A volume that is gone.
    pub fn free(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn home(&self, name: &ObjectName) -> PathBuf {
        trees(&self.root).join(&name.namespace).join(&name.name)
    }

    fn write_index(&self, name: &ObjectName, held: &Held) -> io::Result<()> {
        let index = Index {
            version: VERSION,
            held: held.clone(),
        };
        write_whole(
            &self.home(name).join(INDEX),
            0o644,
            &serde_json::to_vec(&index)?,
        )
    }

    /// Lays the files out in the new folder `draft`, down to the disk.
    fn lay(&self, draft: &Path, held: &Held) -> io::Result<()> {
        let mut folders = BTreeSet::from([draft.to_owned()]);
        fs::create_dir(draft)?;
        for (path, file) in &held.files {
            let to = draft.join(path);
            if let Some(folder) = to.parent()
                && !folders.contains(folder)
            {
                fs::create_dir_all(folder)?;
                let all = folder.ancestors().take_while(|it| *it != draft);
                folders.extend(all.map(Path::to_owned));
            }
            let blob = self.blob(&file.sha256);
            if fs::hard_link(&blob, &to).is_err() {
                // A file system without links, or with too many of this one.
                fs::copy(&blob, &to)?;
                File::open(&to)?.sync_all()?;
            }
        }
        folders.iter().try_for_each(|folder| sync_folder(folder))
    }
}

/// Whether the volume takes no writes at all.
#[must_use]
pub fn is_read_only(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
    )
}

/// Whether the volume has no room.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// What the indexes of the store in `root` say, without a lock: what a running
/// service writes meanwhile is seen or not, never half.
///
/// # Errors
/// A folder that cannot be read.
pub fn read_table(root: &Path) -> io::Result<Table> {
    let mut table = Table::new();
    for (namespace, folder) in folders(&trees(root))? {
        for (name, home) in folders(&folder)? {
            let name = ObjectName {
                namespace: namespace.clone(),
                name,
            };
            match read_index(&home) {
                Ok(Some(held)) => drop(table.insert(name, held)),
                Ok(None) => {}
                Err(error) => {
                    let file = home.join(INDEX);
                    tracing::warn!(file = %file.display(), %error, "an artifact's index cannot be read; it is fetched again");
                }
            }
        }
    }
    Ok(table)
}

/// An index, with files that are not there as it says marked for a new fetch.
fn read_index(home: &Path) -> io::Result<Option<Held>> {
    let bytes = match fs::read(home.join(INDEX)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let Index { version, mut held } = serde_json::from_slice(&bytes)?;
    if version != VERSION {
        return Ok(None);
    }
    let tree = home.join(held.generation.to_string());
    for (path, file) in &mut held.files {
        let there = fs::symlink_metadata(tree.join(path));
        if there.map_or(true, |there| !there.is_file() || there.len() != file.size) {
            file.sha256.clear();
        }
    }
    Ok(Some(held))
}

/// Where the store in `root` has the blob of this digest, or would have it.
#[must_use]
pub fn blob_path(root: &Path, sha256: &str) -> PathBuf {
    let (start, _) = sha256.split_at_checked(2).unwrap_or((sha256, ""));
    root.join("blobs/sha256").join(start).join(sha256)
}

fn trees(root: &Path) -> PathBuf {
    root.join("trees")
}

/// The folders in `folder`; none where that is not there.
fn folders(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let (true, Ok(name)) = (entry.file_type()?.is_dir(), entry.file_name().into_string()) {
            all.push((name, entry.path()));
        }
    }
    Ok(all)
}

fn remove_tree(tree: &Path) -> io::Result<()> {
    match fs::remove_dir_all(tree) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The digest of a tree: of its paths and their digests, in order.
fn tree_digest(held: &Held) -> String {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    for (path, file) in &held.files {
        hash.update(format!("{}  {path}\n", file.sha256));
    }
    format!("sha256:{}", hex(&hash.finalize()))
}
