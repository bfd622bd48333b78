//! The last good objects on disk, for a start without an API server. Shell.
//!
//! Secrets are never among them: the kinds that are kept hold none.

use std::fs::File;
use std::io::{self, BufReader, Write as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::objects::Objects;
use crate::api::ObjectRef;
use crate::files::write_whole_with;

/// Name of the file in the state folder.
const FILE: &str = "world.json";
/// The format; another one is not read.
const VERSION: u32 = 1;
/// Objects that are made text at once.
const PART: usize = 256;

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

/// Some of the objects, one after the other, as they are kept.
#[derive(Debug, Default)]
pub struct Part {
    text: Vec<u8>,
    /// The last of them; `None` where there was none left.
    last: Option<ObjectRef>,
}

// === impl Part ===

impl Part {
    /// Those behind `after`, no more than are written in a moment.
    ///
    /// # Errors
    /// None in practice: every object can be written as JSON.
    pub fn of(objects: &Objects, after: Option<&ObjectRef>) -> io::Result<Self> {
        let mut part = Self::default();
        for (object, kept) in objects.to_keep(after).take(PART) {
            if part.last.is_some() {
                part.text.push(b',');
            }
            serde_json::to_writer(&mut part.text, &kept)?;
            part.last = Some(object.clone());
        }
        Ok(part)
    }
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

    /// Writes the objects of `namespace`: the old file is there or the new one,
    /// never half. `part` has those behind an object, some of them at a time:
    /// the text of ten thousand is megabytes, and nobody may wait for a disk.
    ///
    /// # Errors
    /// A disk that is full or read-only; the old file stays.
    pub fn save(
        &self,
        namespace: &str,
        mut part: impl FnMut(Option<&ObjectRef>) -> io::Result<Part>,
    ) -> io::Result<()> {
        write_whole_with(&self.0, 0o640, |file| {
            let namespace = serde_json::to_string(namespace)?;
            write!(
                file,
                r#"{{"version":{VERSION},"namespace":{namespace},"objects":["#
            )?;
            let mut after = None;
            loop {
                let Part { text, last } = part(after.as_ref())?;
                let Some(last) = last else { break };
                if after.replace(last).is_some() {
                    file.write_all(b",")?;
                }
                file.write_all(&text)?;
            }
            file.write_all(b"]}")
        })
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
        for n in 0..PART {
            let mac = format!("02:00:00:00:{:02x}:{:02x}", n / 256, n % 256);
            let machine = serde_json::json!({"metadata": {"name": format!("n{n}"), "namespace": "edge"},
                "spec": {"interfaces": [{"mac": mac}]}});
            objects.apply(Kind::Machine, serde_json::from_value(machine).unwrap());
        }
        let part = |after: Option<&ObjectRef>| Part::of(&objects, after);
        disk.save("edge", part).unwrap();
        let objects = disk.load("edge").unwrap().unwrap();
        assert_eq!(objects.inputs().profiles.len(), 1);
        assert_eq!(objects.inputs().machines.len(), PART);
        assert!(disk.load("").unwrap().is_none());
        std::fs::write(disk.path(), "{").unwrap();
        assert!(disk.load("edge").is_err());
    }
}
