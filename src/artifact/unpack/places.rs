//! The places of the tree that is made: each is taken once.

use std::collections::BTreeMap;

use super::name::EntryName;
use super::refused::Refused;

/// What stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stands {
    File,
    Folder,
    Link,
}

/// The places that are taken.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<EntryName, Stands>);

impl Places {
    /// Takes a place, with the folders it is in.
    ///
    /// # Errors
    /// It is taken, or one of its folders is a file.
    pub(super) fn take(&mut self, to: &EntryName, stands: Stands) -> Result<(), Refused> {
        let conflict = |entry: &EntryName| Refused::Conflict {
            entry: entry.as_str().to_owned(),
        };
        let mut parent = to.parent();
        while let Some(folder) = parent.filter(|folder| !folder.is_root()) {
            match self.0.get(&folder) {
                Some(Stands::Folder) => break,
                Some(Stands::File | Stands::Link) => return Err(conflict(&folder)),
                None => {}
            }
            parent = folder.parent();
            self.0.insert(folder, Stands::Folder);
        }
        match (self.0.get(to), stands) {
            (Some(Stands::Folder), Stands::Folder) => {}
            (Some(Stands::File | Stands::Link), Stands::File | Stands::Link) => {
                return Err(Refused::Duplicate {
                    entry: to.as_str().to_owned(),
                });
            }
            (Some(_), _) => return Err(conflict(to)),
            (None, _) => {
                self.0.insert(to.clone(), stands);
            }
        }
        Ok(())
    }

    /// Leaves a place that nothing is inside of; whether it is free now.
    pub(super) fn leave(&mut self, to: &EntryName) -> bool {
        let below = self.0.range(to.join("")..).next();
        if below.is_some_and(|(below, _)| below.beneath(to).is_some()) {
            return false;
        }
        self.0.remove(to);
        true
    }

    pub(super) fn is_folder(&self, to: &EntryName) -> bool {
        self.0.get(to) == Some(&Stands::Folder)
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::Limits;
    use super::*;

    fn name(text: &str) -> EntryName {
        EntryName::parse(text.as_bytes(), Limits::default().name()).unwrap()
    }

    #[test]
    fn a_place_is_taken_once_and_its_folders_stay_folders() {
        let mut places = Places::default();
        places.take(&name("a/b"), Stands::File).unwrap();
        places.take(&name("a"), Stands::Folder).unwrap();
        let twice = places.take(&name("a/b"), Stands::Link).unwrap_err();
        assert_eq!(twice.as_str(), "duplicate-name");
        for (to, stands) in [("a/b/c", Stands::File), ("a", Stands::File)] {
            let error = places.take(&name(to), stands).unwrap_err();
            assert_eq!(error.as_str(), "file-and-folder", "{to}");
        }
        // What is not empty is not left.
        assert!(!places.leave(&name("a")));
        assert!(places.leave(&name("a/b")));
        assert!(places.is_folder(&name("a")));
        assert!(places.leave(&name("a")));
        places.take(&name("a"), Stands::File).unwrap();
    }
}
