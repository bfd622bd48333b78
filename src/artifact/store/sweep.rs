//! Throws away what nobody wants any more, and never what is served.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{DRAFT, INDEX, Store, folders, remove_tree, sync_folder};
use crate::clock::Millis;
use crate::snapshot::ObjectName;

/// What is in use, and how long what is not may stay.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Generations that the current snapshot serves, beside the newest.
    pub served: BTreeMap<ObjectName, BTreeSet<u64>>,
    /// Artifacts that nobody wants any more, for as long as the grace.
    pub forgotten: BTreeSet<ObjectName>,
    /// Blobs that are wanted, whether or not a tree has them yet.
    pub blobs: BTreeSet<String>,
    /// Whether something is being fetched: its blobs are in no tree yet.
    pub is_busy: bool,
    /// Milliseconds that a replaced tree and an unused blob stay.
    pub grace: u64,
    /// The time now.
    pub now: Millis,
}

/// What was thrown away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Trees.
    pub trees: u64,
    /// Blobs and ends of downloads.
    pub files: u64,
    /// Bytes of those.
    pub bytes: u64,
}

impl Store {
    /// Throws away what `live` leaves no use for. `pace` is called now and then
    /// and may take its time.
    ///
    /// # Errors
    /// A volume that cannot be read or written to; what is left is for the next time.
    pub fn sweep(&self, live: &Live, pace: &mut dyn FnMut()) -> io::Result<Swept> {
        let mut swept = Swept::default();
        let table = self.shelf.table();
        for (namespace, folder) in folders(&self.trees())? {
            for (name, home) in folders(&folder)? {
                let name = ObjectName {
                    namespace: namespace.clone(),
                    name,
                };
                if live.forgotten.contains(&name) && !live.served.contains_key(&name) {
                    self.forget(&name, &home)?;
                    swept.trees += 1;
                    continue;
                }
                let Some(held) = table.get(&name) else {
                    continue;
                };
                let is_old = live.now.since(Millis(held.made)) >= live.grace;
                let served = live.served.get(&name);
                for (number, tree) in folders(&home)? {
                    let generation: Option<u64> = number.parse().ok();
                    let is_draft = number.ends_with(DRAFT);
                    let is_used = generation.is_some_and(|number| {
                        number >= held.generation
                            || served.is_some_and(|served| served.contains(&number))
                    });
                    if (is_draft && !live.is_busy) || (generation.is_some() && !is_used && is_old) {
                        remove_tree(&tree)?;
                        swept.trees += 1;
                        pace();
                    }
                }
            }
        }
        if !live.is_busy {
            self.sweep_blobs(live, &mut swept, pace)?;
            self.sweep_partial(live, &mut swept)?;
        }
        Ok(swept)
    }

    /// Its index goes first: what is without one was never there.
    fn forget(&self, name: &ObjectName, home: &Path) -> io::Result<()> {
        match fs::remove_file(home.join(INDEX)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        sync_folder(home)?;
        self.shelf.change(|all| drop(all.remove(name)));
        remove_tree(home)
    }

    /// A blob in no tree has one link: its own name.
    fn sweep_blobs(
        &self,
        live: &Live,
        swept: &mut Swept,
        pace: &mut dyn FnMut(),
    ) -> io::Result<()> {
        for (_, folder) in folders(&self.root.join("blobs/sha256"))? {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                let name = entry.file_name();
                let is_wanted = name.to_str().is_some_and(|name| live.blobs.contains(name));
                if metadata.nlink() == 1 && !is_wanted && is_past(&metadata, live) {
                    fs::remove_file(entry.path())?;
                    swept.files += 1;
                    swept.bytes += metadata.len();
                    pace();
                }
            }
        }
        Ok(())
    }

    fn sweep_partial(&self, live: &Live, swept: &mut Swept) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join("partial"))? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if !is_past(&metadata, live) {
                continue;
            }
            if metadata.is_dir() {
                remove_tree(&entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
                swept.bytes += metadata.len();
            }
            swept.files += 1;
        }
        Ok(())
    }
}

/// Whether its last change (also that of its links) is longer ago than the grace.
fn is_past(metadata: &fs::Metadata, live: &Live) -> bool {
    let changed = u64::try_from(metadata.ctime()).unwrap_or_default();
    live.now.since(Millis::from_secs(changed.saturating_add(1))) >= live.grace
}
