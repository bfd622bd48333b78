//! The names in a folder of the roots. Shell.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::Dir;

use super::{ArtifactPath, Roots};

impl Roots {
    /// The names in the folder at `path` that `fits`, one more than `most` at
    /// most. `folder` is that folder where there is one; the root has those of
    /// the further roots and of the loaders, too. Blocks.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn names(
        &self,
        path: &ArtifactPath,
        folder: Option<&File>,
        most: usize,
        fits: impl Fn(&str) -> bool,
    ) -> io::Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        if path.is_root() {
            names.extend(self.named().iter().map(|(name, _)| name.clone()));
            for loaders in self.loaders() {
                names.extend(loader_names(loaders, most));
            }
            names.retain(|name| fits(name));
        }
        if let Some(folder) = folder {
            for entry in Dir::read_from(folder)? {
                if names.len() > most {
                    break;
                }
                // Names that are not UTF-8 cannot be asked for, so they are not shown.
                if let Ok(name) = entry?.file_name().to_str()
                    && fits(name)
                {
                    names.insert(name.to_owned());
                }
            }
        }
        Ok(names)
    }

    /// What `path` names where letters count the same in either case, as they
    /// do for who wrote it on Windows; the first of several in the order of
    /// bytes. Blocks.
    #[must_use]
    pub fn in_any_case(&self, path: &ArtifactPath) -> Option<ArtifactPath> {
        let mut found = ArtifactPath::root();
        for part in path.parts() {
            found = match found.join(part) {
                Ok(exact) if self.open(&exact).is_ok() => exact,
                Ok(_) | Err(_) => self.other_case(&found, part)?,
            };
        }
        Some(found)
    }

    fn other_case(&self, folder: &ArtifactPath, part: &str) -> Option<ArtifactPath> {
        let wanted = part.to_lowercase();
        let opened = self.open(folder).ok().filter(|opened| opened.is_dir);
        let file = opened.as_ref().map(|opened| &opened.file);
        let fits = |name: &str| name.to_lowercase() == wanted;
        let names = self.names(folder, file, 1, fits).ok()?;
        names.iter().find_map(|name| folder.join(name).ok())
    }
}

/// The files of a loader folder; none where it cannot be read, as at a request.
fn loader_names(folder: &Path, most: usize) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let files = entries.flatten().filter(|entry| !entry.path().is_dir());
    files
        .filter_map(|entry| entry.file_name().into_string().ok())
        .take(most)
        .collect()
}
