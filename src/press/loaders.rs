//! Which loaders there are, and what they can do. Shell.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::time::SystemTime;

use crate::boot::Architecture;
use crate::files::{ArtifactPath, OpenedFile, Roots};
use crate::script::AUTOEXEC_NAME;

/// Most of a loader that is searched; the largest iPXE is a megabyte or two.
const MAX_SEARCH: u64 = 8 << 20;

/// Finds loaders; remembers what it read of each.
#[derive(Debug, Default)]
pub(super) struct Loaders {
    read: BTreeMap<String, (u64, SystemTime, bool)>,
}

/// What was found.
pub(super) struct Found {
    /// The file for each architecture.
    pub(super) files: BTreeMap<Architecture, String>,
    /// The architectures whose file runs `autoexec.ipxe`.
    pub(super) autoexec: BTreeSet<Architecture>,
}

impl Loaders {
    /// Looks for the loader of each architecture. Blocks.
    pub(super) fn find(&mut self, roots: &Roots) -> Found {
        let mut found = Found {
            files: BTreeMap::new(),
            autoexec: BTreeSet::new(),
        };
        for architecture in Architecture::ALL {
            for name in architecture.ipxe_files() {
                let opened = ArtifactPath::parse(name)
                    .ok()
                    .and_then(|path| roots.open(&path).ok())
                    .filter(|opened| !opened.is_dir);
                if let Some(opened) = opened {
                    if self.runs_autoexec(name, opened) {
                        found.autoexec.insert(architecture);
                    }
                    found.files.insert(architecture, (*name).to_owned());
                    break;
                }
            }
        }
        found
    }

    fn runs_autoexec(&mut self, name: &str, opened: OpenedFile) -> bool {
        let (len, modified) = (opened.len, opened.modified);
        if let Some((seen_len, seen_modified, answer)) = self.read.get(name)
            && (*seen_len, *seen_modified) == (len, modified)
        {
            return *answer;
        }
        let mut bytes = Vec::new();
        let read = opened.file.take(MAX_SEARCH).read_to_end(&mut bytes);
        // UEFI programs are not packed: a loader that knows the name has it in its text.
        let name_in_text = AUTOEXEC_NAME.as_bytes();
        let mut places = bytes.windows(name_in_text.len());
        let answer = read.is_ok() && places.any(|at| at == name_in_text);
        self.read.insert(name.to_owned(), (len, modified, answer));
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_an_old_loader_from_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let loaders = dir.path().to_owned();
        std::fs::write(loaders.join("ipxe.efi"), b"MZ\0iPXE\0").unwrap();
        std::fs::write(loaders.join("ipxe-arm64.efi"), b"MZ\0autoexec.ipxe\0").unwrap();
        let roots = Roots::new(None, vec![loaders], Vec::new());
        let found = Loaders::default().find(&roots);
        assert_eq!(found.files.len(), 2);
        assert_eq!(found.autoexec, BTreeSet::from([Architecture::Arm64Uefi]));
    }
}
