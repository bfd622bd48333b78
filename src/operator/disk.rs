//! The last good objects on disk, for a start without an API server. Shell.
//!
//! Secrets are never among them: the kinds that are kept hold none.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::objects::Objects;
use crate::files::write_whole;

/// Name of the file in the state folder.
const FILE: &str = "world.json";
/// The format; another one is not read.
const VERSION: u32 = 1;

/// The file.
#[derive(Debug)]
pub struct Disk(PathBuf);

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    /// The namespace that was watched; empty for all.
    namespace: String,
    objects: Vec<Box<RawValue>>,
}

// === impl Disk ===

impl Disk {
    /// The file in the folder `state`.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self(state.join(FILE))
    }

    /// The objects of the last time, if `namespace` was watched then too.
    /// `None` where there are none.
    ///
    /// # Errors
    /// A file that cannot be read; it is left for a person to look at.
    pub fn load(&self, namespace: &str) -> io::Result<Option<Objects>> {
        let file = match File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let saved: Saved = serde_json::from_reader(BufReader::new(file))?;
        let fits = saved.version == VERSION && saved.namespace == namespace;
        Ok(fits.then(|| Objects::of_kept(&saved.objects)))
    }

    /// Writes `objects`: the old file or the new one is there, never half.
    ///
    /// # Errors
    /// A disk that is full or read-only; the old file stays.
    pub fn save(&self, namespace: &str, objects: Vec<Box<RawValue>>) -> io::Result<()> {
        let saved = Saved {
            version: VERSION,
            namespace: namespace.to_owned(),
            objects,
        };
        write_whole(&self.0, 0o640, &serde_json::to_vec(&saved)?)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote_and_nothing_of_another_namespace() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path());
        assert!(disk.load("edge").unwrap().is_none());
        let object = serde_json::json!({"apiVersion": crate::api::API_VERSION, "kind": "BootProfile",
            "metadata": {"name": "disk", "namespace": "edge"}, "spec": {"local": {}}});
        let object = serde_json::value::to_raw_value(&object).unwrap();
        disk.save("edge", vec![object]).unwrap();
        let objects = disk.load("edge").unwrap().unwrap();
        assert_eq!(objects.inputs().profiles.len(), 1);
        assert!(disk.load("").unwrap().is_none());
        std::fs::write(disk.path(), "{").unwrap();
        assert!(disk.load("edge").is_err());
    }
}
