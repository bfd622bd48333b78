//! Which loaders there are, and what they can do. Shell.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::{LoaderMetrics, MAX_LOADER, Seeded, digest};
use crate::boot::Architecture;
use crate::files::{ArtifactPath, OpenedFile, Origin, Roots};
use crate::script::AUTOEXEC_NAME;
use crate::status::LoaderRow;

/// Finds loaders; remembers what it read of each. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Loaders {
    state: Arc<Mutex<State>>,
    seeded: Arc<Seeded>,
    metrics: LoaderMetrics,
}

#[derive(Debug, Default)]
struct State {
    read: BTreeMap<String, Read>,
    rows: Vec<LoaderRow>,
}

/// What was read of a file.
#[derive(Clone, Debug)]
struct Read {
    len: u64,
    modified: SystemTime,
    digest: String,
    autoexec: bool,
}

/// What was found.
pub struct Found {
    /// The file for each architecture.
    pub files: BTreeMap<Architecture, String>,
    /// The architectures whose file runs `autoexec.ipxe`.
    pub autoexec: BTreeSet<Architecture>,
}

impl Loaders {
    /// Beside what was made of the volume.
    #[must_use]
    pub fn new(seeded: Seeded, metrics: LoaderMetrics) -> Self {
        Self {
            state: Arc::default(),
            seeded: Arc::new(seeded),
            metrics,
        }
    }

    /// Looks for the loader of each architecture. Blocks.
    #[must_use]
    pub fn find(&self, roots: &Roots) -> Found {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Found {
            files: BTreeMap::new(),
            autoexec: BTreeSet::new(),
        };
        let mut rows = Vec::new();
        for architecture in Architecture::ALL {
            for name in architecture.ipxe_files() {
                let opened = ArtifactPath::parse(name)
                    .ok()
                    .and_then(|path| roots.open_from(&path).ok())
                    .filter(|(_, opened)| !opened.is_dir);
                if let Some((origin, opened)) = opened {
                    let len = opened.len;
                    let read = state.read(name, opened);
                    if read.autoexec {
                        found.autoexec.insert(architecture);
                    }
                    found.files.insert(architecture, (*name).to_owned());
                    let (own, from) = self.words(name, &origin, &read.digest);
                    rows.push(LoaderRow {
                        architecture: architecture.to_string(),
                        file: (*name).to_owned(),
                        bytes: len,
                        sha256: read.digest,
                        from,
                        own,
                        autoexec: read.autoexec,
                    });
                    break;
                }
            }
        }
        if rows != state.rows {
            self.count(&rows);
            state.rows = rows;
        }
        found
    }

    /// What was found last.
    #[must_use]
    pub fn rows(&self) -> Vec<LoaderRow> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.rows.clone()
    }

    /// Whether a file is an administrator's own, and where it is from.
    fn words(&self, name: &str, origin: &Origin, digest: &str) -> (bool, String) {
        let folder: &Path = match origin {
            Origin::Tree => return (true, "the artifact tree".to_owned()),
            Origin::Loaders(folder) => folder,
        };
        if self.seeded.volume.as_deref() != Some(folder) {
            return (false, folder.display().to_string());
        }
        let ours = self.seeded.record.get(name).is_some_and(|it| it == digest);
        (!ours, "the volume".to_owned())
    }

    fn count(&self, rows: &[LoaderRow]) {
        let info = &self.metrics.info;
        info.reset();
        for row in rows {
            let from = if row.own { "own" } else { &row.from };
            let autoexec = if row.autoexec { "yes" } else { "no" };
            let labels = [row.architecture.as_str(), &row.file, from, autoexec];
            info.with_label_values(&labels).set(1);
        }
    }
}

impl State {
    fn read(&mut self, name: &str, opened: OpenedFile) -> Read {
        let (len, modified) = (opened.len, opened.modified);
        if let Some(seen) = self.read.get(name)
            && (seen.len, seen.modified) == (len, modified)
        {
            return seen.clone();
        }
        let mut bytes = Vec::new();
        let whole = opened.file.take(MAX_LOADER).read_to_end(&mut bytes);
        // UEFI programs are not packed: a loader that knows the name has it in its text.
        let name_in_text = AUTOEXEC_NAME.as_bytes();
        let mut places = bytes.windows(name_in_text.len());
        let read = Read {
            len,
            modified,
            digest: digest(&bytes),
            autoexec: whole.is_ok() && places.any(|at| at == name_in_text),
        };
        self.read.insert(name.to_owned(), read.clone());
        read
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::telemetry::Meter;

    use super::*;

    #[test]
    fn tells_an_old_loader_from_a_new_one_and_an_own_one_from_ours() {
        let dir = tempfile::tempdir().unwrap();
        let folder = |name: &str| -> PathBuf {
            let folder = dir.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            folder
        };
        let (tree, image, state) = (folder("tree"), folder("image"), folder("state"));
        std::fs::write(image.join("ipxe.efi"), b"MZ\0iPXE\0").unwrap();
        std::fs::write(image.join("ipxe-arm64.efi"), b"MZ\0autoexec.ipxe\0").unwrap();
        std::fs::write(tree.join("undionly.kpxe"), b"mine").unwrap();
        let metrics = LoaderMetrics::register(&Meter::default()).unwrap();
        let seeded = super::super::seed(&state, std::slice::from_ref(&image), &metrics);
        let roots = Roots::new(Some(tree), seeded.folders.clone(), Vec::new());
        let loaders = Loaders::new(seeded, metrics);
        let found = loaders.find(&roots);
        assert_eq!(found.files.len(), 3);
        assert_eq!(found.autoexec, BTreeSet::from([Architecture::Arm64Uefi]));
        let told = || -> Vec<(String, bool, String)> {
            let rows = loaders.rows().into_iter();
            rows.map(|row| (row.file, row.own, row.from)).collect()
        };
        let row = |file: &str, own, from: &str| (file.to_owned(), own, from.to_owned());
        let mut want = vec![
            row("undionly.kpxe", true, "the artifact tree"),
            row("ipxe.efi", false, "the volume"),
            row("ipxe-arm64.efi", false, "the volume"),
        ];
        assert_eq!(told(), want);
        let (bytes, sha256) = (loaders.rows()[0].bytes, loaders.rows()[0].sha256.clone());
        assert_eq!((bytes, sha256), (4, digest(b"mine")));

        // Edited while the program runs.
        std::fs::write(state.join("loaders/ipxe.efi"), b"MZ\0my own\0").unwrap();
        let _ = loaders.find(&roots);
        want[1] = row("ipxe.efi", true, "the volume");
        assert_eq!(told(), want);
    }
}
