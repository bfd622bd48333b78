//! The last good objects on disk, for a start without an API server. Shell.
//!
//! Secrets are never among them: the kinds that are kept hold none.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};
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

#[derive(Deserialize)]
struct Saved {
    version: u32,
    /// The namespace that was watched; empty for all.
    namespace: String,
    objects: Vec<Box<RawValue>>,
}

/// The same as it is written: one object after the other, for ten thousand of
/// them are much larger than their text.
#[derive(Serialize)]
struct Saving<'a> {
    version: u32,
    namespace: &'a str,
    #[serde(serialize_with = "one_by_one")]
    objects: &'a Objects,
}

fn one_by_one<S: Serializer>(objects: &Objects, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(objects.to_keep())
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

    /// The text that [`Disk::save`] writes.
    ///
    /// # Errors
    /// None in practice: every object can be written as JSON.
    pub fn text(namespace: &str, objects: &Objects) -> io::Result<Vec<u8>> {
        let saving = Saving {
            version: VERSION,
            namespace,
            objects,
        };
        Ok(serde_json::to_vec(&saving)?)
    }

    /// Writes `text`: the old file or the new one is there, never half.
    ///
    /// # Errors
    /// A disk that is full or read-only; the old file stays.
    pub fn save(&self, text: &[u8]) -> io::Result<()> {
        write_whole(&self.0, 0o640, text)
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
    use crate::api::Kind;

    #[test]
    fn reads_what_it_wrote_and_nothing_of_another_namespace() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path());
        assert!(disk.load("edge").unwrap().is_none());
        let object = serde_json::json!({"metadata": {"name": "disk", "namespace": "edge"},
            "spec": {"local": {}}});
        let mut objects = Objects::default();
        let object = serde_json::from_value(object).unwrap();
        objects.apply(Kind::BootProfile, object);
        let text = Disk::text("edge", &objects).unwrap();
        disk.save(&text).unwrap();
        let objects = disk.load("edge").unwrap().unwrap();
        assert_eq!(objects.inputs().profiles.len(), 1);
        assert!(disk.load("").unwrap().is_none());
        std::fs::write(disk.path(), "{").unwrap();
        assert!(disk.load("edge").is_err());
    }
}
