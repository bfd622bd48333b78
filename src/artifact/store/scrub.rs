//! Finds what rotted: every byte that is served is read and compared.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::Store;
use crate::artifact::identity::hex;
use crate::snapshot::ObjectName;

/// Bytes that are read at once.
const STEP: usize = 1 << 20;

/// Called after so many bytes; it may take its time. `false` ends the work.
pub type Pace<'a> = dyn FnMut(u64) -> bool + 'a;

/// A file that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The artifact.
    pub name: ObjectName,
    /// The file's path in it.
    pub path: String,
    /// The digest that it should have.
    pub wanted: String,
    /// The one that it has; `None` where it cannot be read.
    pub found: Option<String>,
}

impl Store {
    /// Reads everything that is served and says what is damaged.
    pub fn scrub(&self, pace: &mut Pace<'_>) -> Vec<Damage> {
        let table = self.shelf.table();
        let mut known: BTreeMap<&str, Option<String>> = BTreeMap::new();
        let mut damage = Vec::new();
        for (name, held) in table.iter() {
            let tree = self.home(name).join(held.generation.to_string());
            for (path, file) in &held.files {
                if file.sha256.is_empty() {
                    continue;
                }
                let found = match known.get(file.sha256.as_str()) {
                    Some(found) => found.clone(),
                    None => match digest_of(&tree.join(path), pace) {
                        Ok(None) => return damage,
                        Ok(Some(found)) => Some(found),
                        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                        Err(error) => {
                            tracing::warn!(artifact = %name, path, %error, "a file cannot be read");
                            None
                        }
                    },
                };
                if found.as_deref() != Some(&file.sha256) {
                    damage.push(Damage {
                        name: name.clone(),
                        path: path.clone(),
                        wanted: file.sha256.clone(),
                        found: found.clone(),
                    });
                }
                known.insert(&file.sha256, found);
            }
        }
        damage
    }

    /// Takes a damaged file out of what is served, so that it is fetched anew.
    ///
    /// # Errors
    /// A volume that is read-only; it is not served any more all the same.
    pub fn discard(&self, damage: &Damage) -> io::Result<()> {
        let mut held = None;
        self.shelf.change(|all| {
            let Some(entry) = all.get_mut(&damage.name) else {
                return;
            };
            if let Some(file) = entry.files.get_mut(&damage.path) {
                file.sha256.clear();
            }
            held = Some(entry.clone());
        });
        let Some(held) = held else { return Ok(()) };
        let tree = self.home(&damage.name).join(held.generation.to_string());
        for file in [tree.join(&damage.path), self.blob(&damage.wanted)] {
            match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        self.write_index(&damage.name, &held)
    }
}

/// The digest of a file; `None` where `pace` ended the work.
///
/// # Errors
/// A file that cannot be read.
pub(in crate::artifact) fn digest_of(
    file: &Path,
    pace: &mut Pace<'_>,
) -> io::Result<Option<String>> {
    let mut file = File::open(file)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; STEP];
    loop {
        let read = file.read(&mut buffer)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(Some(hex(&hash.finalize())));
        }
        hash.update(bytes);
        if !pace(read as u64) {
            return Ok(None);
        }
    }
}
