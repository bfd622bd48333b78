//! Which machines booted once and are done, on disk before their next boot.
//! Shell.
//!
//! A machine goes by its name: one that is taken out of the manifests and put
//! back is not armed anew, for a slip of the hand must install nothing. A
//! greater `boot.generation` arms it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::files::write_whole;
use crate::snapshot::ObjectName;

/// Its file in the state folder.
pub const SPENT_FILE: &str = "once.json";

/// The greatest `boot.generation` that each machine has used up; cheap to
/// clone.
#[derive(Clone, Debug, Default)]
pub struct Spent(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    /// `None`: it is kept in memory only.
    file: Option<PathBuf>,
    generations: Arc<BTreeMap<ObjectName, i64>>,
    unsaved: bool,
    told: bool,
}

// === impl Spent ===

impl Spent {
    /// Reads the book of the state folder; a new one where there is none.
    ///
    /// # Errors
    /// A file that cannot be read: what it knew must not be guessed.
    pub fn open(state: &Path) -> io::Result<Self> {
        let file = state.join(SPENT_FILE);
        let generations = match std::fs::read(&file) {
            Ok(bytes) => read(&bytes).ok_or_else(|| {
                let what = format!(
                    "{} cannot be read; remove it, and every machine whose policy is Once boots once more",
                    file.display()
                );
                io::Error::new(io::ErrorKind::InvalidData, what)
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self(Arc::new(Mutex::new(Book {
            file: Some(file),
            generations: Arc::new(generations),
            ..Book::default()
        }))))
    }

    /// All of it.
    #[must_use]
    pub fn table(&self) -> Arc<BTreeMap<ObjectName, i64>> {
        Arc::clone(&self.book().generations)
    }

    /// Takes note that `machine` has used `generation` up. Blocks.
    pub fn note(&self, machine: &ObjectName, generation: i64) {
        let mut book = self.book();
        if book
            .generations
            .get(machine)
            .is_some_and(|known| *known >= generation)
        {
            return;
        }
        Arc::make_mut(&mut book.generations).insert(machine.clone(), generation);
        book.unsaved = true;
        book.save();
        drop(book);
        tracing::info!(machine = %machine, generation, "booted once: its disk is next");
    }

    /// Writes what could not be written before. Blocks.
    pub fn save(&self) {
        self.book().save();
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Book ===

impl Book {
    fn save(&mut self) {
        let Some(file) = self.file.as_ref().filter(|_| self.unsaved) else {
            return;
        };
        let names = self.generations.iter();
        let names: BTreeMap<String, i64> = names
            .map(|(name, generation)| (name.to_string(), *generation))
            .collect();
        let bytes = serde_json::to_vec(&names).map_err(io::Error::from);
        match bytes.and_then(|bytes| write_whole(file, 0o640, &bytes)) {
            Ok(()) => {
                self.unsaved = false;
                self.told = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut self.told, true) {
                    tracing::error!(
                        file = %file.display(), %error,
                        "who booted once cannot be kept: after a restart such machines boot again"
                    );
                }
            }
        }
    }
}

fn read(bytes: &[u8]) -> Option<BTreeMap<ObjectName, i64>> {
    let names: BTreeMap<String, i64> = serde_json::from_slice(bytes).ok()?;
    let mut generations = BTreeMap::new();
    for (name, generation) in names {
        let (namespace, name) = name.split_once('/')?;
        let name = ObjectName {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        generations.insert(name, generation);
    }
    Some(generations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outlives_a_restart_and_never_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let name = ObjectName {
            namespace: "default".to_owned(),
            name: "node-7".to_owned(),
        };
        let spent = Spent::open(folder.path()).unwrap();
        let before = spent.table();
        spent.note(&name, 3);
        assert!(!Arc::ptr_eq(&before, &spent.table()));
        spent.note(&name, 2);
        let again = Spent::open(folder.path()).unwrap();
        assert_eq!(again.table().get(&name), Some(&3));
        std::fs::write(folder.path().join(SPENT_FILE), "{").unwrap();
        let error = Spent::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("remove it"), "{error}");
    }

    #[test]
    fn a_disk_that_is_full_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let spent = Spent::open(&state).unwrap();
        let name = ObjectName {
            namespace: "default".to_owned(),
            name: "node-7".to_owned(),
        };
        spent.note(&name, 0);
        assert_eq!(spent.table().get(&name), Some(&0));
        std::fs::create_dir(&state).unwrap();
        spent.save();
        assert_eq!(Spent::open(&state).unwrap().table().get(&name), Some(&0));
    }
}
