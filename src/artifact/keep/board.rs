//! How each artifact is, for those who tell it. Cheap to ask.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::artifact::plan::{self, AllStuck, Tries};
use crate::artifact::progress::Progress;
use crate::artifact::table::Table;
use crate::clock::Millis;
use crate::snapshot::ObjectName;

/// The board; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    entries: BTreeMap<ObjectName, Entry>,
    /// Counts changes up.
    revision: u64,
    changed: BTreeMap<ObjectName, u64>,
}

/// How one artifact is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// What is wanted: the identity of the manifest that this is about.
    pub identity: String,
    /// The fetch that goes on.
    pub fetching: Option<Progress>,
    /// Whether it waits for another fetch to end.
    pub queued: bool,
    /// What came of the tries.
    pub tries: Tries,
    /// When it is looked at again.
    pub next: Option<Millis>,
}

impl Board {
    /// How `name` is; `None` before it was looked at.
    #[must_use]
    pub fn of(&self, name: &ObjectName) -> Option<Entry> {
        self.lock().entries.get(name).cloned()
    }

    /// All there is.
    #[must_use]
    pub fn all(&self) -> BTreeMap<ObjectName, Entry> {
        self.lock().entries.clone()
    }

    /// Those whose tries fail and that are not there; `table` is what is there.
    #[must_use]
    pub fn stuck(&self, table: &Table) -> AllStuck {
        let inner = self.lock();
        let entries = inner.entries.iter();
        plan::stuck(entries.map(|(name, entry)| (name, &entry.tries)), table)
    }

    /// What changed after `revision`, and the revision now.
    #[must_use]
    pub fn changed_after(&self, revision: u64) -> (u64, Vec<ObjectName>) {
        let inner = self.lock();
        if inner.revision == revision {
            return (revision, Vec::new());
        }
        let changed = inner.changed.iter().filter(|(_, at)| **at > revision);
        let names = changed.map(|(name, _)| name.clone()).collect();
        (inner.revision, names)
    }

    /// A fetch of `name` begins.
    pub fn begin(&self, name: &ObjectName) {
        self.change(name, |entry| entry.fetching = Some(Progress::default()));
    }

    /// Changes what is said of `name`.
    pub(super) fn change(&self, name: &ObjectName, how: impl FnOnce(&mut Entry)) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let entry = inner.entries.entry(name.clone()).or_default();
        let before = entry.clone();
        how(entry);
        if *entry != before {
            inner.revision += 1;
            inner.changed.insert(name.clone(), inner.revision);
        }
    }

    /// Forgets all but `names`.
    pub(super) fn retain(&self, names: &BTreeSet<&ObjectName>) {
        let mut inner = self.lock();
        inner.entries.retain(|name, _| names.contains(name));
        inner.changed.retain(|name, _| names.contains(name));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
