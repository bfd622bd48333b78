//! `reveille artifacts export` and `import`: what boots machines, carried to
//! where there is no network.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use super::{StoreArgs, wants};
use crate::artifact::layout::{Entry, EntryFile, export, import};
use crate::artifact::oci::{Algorithm, Digest};
use crate::artifact::progress::human;
use crate::artifact::store::{Store, blob_path, read_table};
use crate::artifact::unpack::Limits;
use crate::artifact::{Held, HeldFile, Want};
use crate::clock;
use crate::snapshot::ObjectName;

/// The notes of our archives: what the artifact was made for, and whether a
/// file was held against a digest or signature of its publisher.
const IDENTITY: &str = "dev.reveille.artifact.identity";
const VERIFIED: &str = "dev.reveille.file.verified";

#[derive(Args, Debug)]
pub(super) struct Export {
    /// Folders and files with manifests: what they need is exported.
    #[arg(required = true, value_name = "PATH")]
    manifests: Vec<PathBuf>,
    /// The archive that is written.
    #[arg(long, short = 'o', value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Args, Debug)]
pub(super) struct Import {
    /// The archive, as `reveille artifacts export` wrote it.
    file: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
}

impl Export {
    pub(super) fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let root = self.store.folder();
        let table = read_table(&root)
            .with_context(|| format!("the store {} cannot be read", root.display()))?;
        let wants = wants(&self.manifests, &table)?;
        ensure!(!wants.is_empty(), "the manifests need no artifact");
        let mut missing = Vec::new();
        let mut entries = Vec::new();
        for want in &wants {
            let held = table.get(&want.name);
            let held = held.filter(|held| held.identity == want.identity());
            let whole = held.filter(|it| it.files.values().all(|file| !file.sha256.is_empty()));
            match whole {
                Some(held) => entries.push(entry(want, held)?),
                None => missing.push(want.name.to_string()),
            }
        }
        if !missing.is_empty() {
            bail!(
                "not in the store {}, as the manifests want it: {}; `reveille artifacts pull` \
                 fetches it",
                root.display(),
                missing.join(", ")
            );
        }
        let mut open = |digest: &Digest| -> io::Result<Box<dyn Read>> {
            Ok(Box::new(File::open(blob_path(&root, digest.hex()))?))
        };
        let written = export(&entries, &self.output, &mut open, &mut |_| ())?;
        writeln!(
            out,
            "{}: {} artifacts, {} blobs, {}",
            self.output.display(),
            written.artifacts,
            written.blobs,
            human(written.bytes)
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

fn entry(want: &Want, held: &Held) -> anyhow::Result<Entry> {
    let files = held.files.iter().map(|(path, file)| {
        let digest = Digest::parse(&format!("sha256:{}", file.sha256));
        let verified = file
            .verified
            .then(|| (VERIFIED.to_owned(), "true".to_owned()));
        Ok(EntryFile {
            path: path.clone(),
            digest: digest.with_context(|| format!("{}: {path} has no digest", want.name))?,
            size: file.size,
            annotations: verified.into_iter().collect(),
        })
    });
    Ok(Entry {
        name: want.name.to_string(),
        annotations: BTreeMap::from([(IDENTITY.to_owned(), held.identity.clone())]),
        files: files.collect::<anyhow::Result<_>>()?,
    })
}

impl Import {
    pub(super) fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let root = self.store.folder();
        let store = match Store::open(&root) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => bail!(
                "a service that runs has the store {}: stop it, import, start it again",
                root.display()
            ),
            other => {
                other.with_context(|| format!("the store {} cannot be used", root.display()))?
            }
        };
        let staging = Staging::begin(&root)?;
        let imported = import(&self.file, &staging.0, &Limits::default(), &mut |_| ())
            .with_context(|| format!("{} is not imported", self.file.display()))?;
        // All of it was verified: the names are looked at before the first is
        // taken in, too.
        let mut all = Vec::new();
        for entry in &imported.entries {
            all.push((name(&entry.name)?, held(entry)?));
        }
        for (digest, path) in &imported.blobs {
            if store.blob_len(digest.hex()).is_none() {
                store
                    .take_in(path, digest.hex())
                    .with_context(|| format!("{digest} cannot be kept"))?;
            }
        }
        for (name, held) in all {
            let size = human(held.bytes());
            let held = store
                .publish(&name, held)
                .with_context(|| format!("{name} cannot be kept"))?;
            writeln!(out, "{name}: {size}, generation {}", held.generation)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The name of an artifact, safe to be a path of the store.
fn name(text: &str) -> anyhow::Result<ObjectName> {
    let part = |part: &str| {
        let known = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
        };
        (1..=253).contains(&part.len()) && !part.starts_with('.') && part.bytes().all(known)
    };
    match text.split_once('/') {
        Some((namespace, name)) if part(namespace) && part(name) => Ok(ObjectName {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }),
        Some(_) | None => bail!("`{}` is no name of an artifact", text.escape_debug()),
    }
}

fn held(entry: &Entry) -> anyhow::Result<Held> {
    let now = clock::now().0;
    let identity = entry.annotations.get(IDENTITY);
    let identity = identity
        .with_context(|| format!("{}: it does not say what it was made for", entry.name))?;
    let mut files = BTreeMap::new();
    for file in &entry.files {
        ensure!(
            file.digest.algorithm() == Algorithm::Sha256,
            "{}: {} has no SHA-256 digest",
            entry.name,
            file.path
        );
        let held = HeldFile {
            size: file.size,
            sha256: file.digest.hex().to_owned(),
            verified: file
                .annotations
                .get(VERIFIED)
                .is_some_and(|it| it == "true"),
            ..HeldFile::default()
        };
        files.insert(file.path.clone(), held);
    }
    Ok(Held {
        identity: identity.clone(),
        made: now,
        checked: now,
        files,
        ..Held::default()
    })
}

/// A folder of the store that is gone when this is.
struct Staging(PathBuf);

impl Staging {
    fn begin(root: &Path) -> anyhow::Result<Self> {
        let folder = root
            .join("partial")
            .join(format!("import-{}", std::process::id()));
        fs::create_dir_all(&folder)
            .with_context(|| format!("{} cannot be written", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What stays is swept away with other downloads that nobody finished.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_paths() {
        assert_eq!(
            name("lab/debian-12.5").unwrap().to_string(),
            "lab/debian-12.5"
        );
        for bad in [
            "", "a", "a/", "/a", "../a", "a/..", "a/b/c", "a/B", "a/b\n", ".a/b",
        ] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    /// A store with one artifact, as `artifacts pull` leaves it, and manifests
    /// that want it.
    fn pulled(root: &Path) -> (PathBuf, PathBuf) {
        let (state, manifests) = (root.join("state"), root.join("manifests"));
        fs::create_dir_all(&manifests).unwrap();
        let text = "apiVersion: reveille.dev/v1alpha1\nkind: Artifact\nmetadata: {name: debian}\n\
                    spec:\n  files:\n  - {path: linux, url: \"http://127.0.0.1:1/linux\"}\n";
        fs::write(manifests.join("a.yaml"), text).unwrap();
        let root = state.join(crate::config::ARTIFACT_STORE);
        fs::create_dir_all(&root).unwrap();
        let store = Store::open(&root).unwrap();
        let paths = [manifests.clone()];
        let wants = wants(&paths, &read_table(&root).unwrap()).unwrap();
        let want = wants.first().unwrap();
        let digest = Digest::of(b"kernel");
        let partial = store.partial("x");
        fs::write(&partial, "kernel").unwrap();
        store.take_in(&partial, digest.hex()).unwrap();
        let file = HeldFile {
            size: 6,
            sha256: digest.hex().to_owned(),
            verified: true,
            ..HeldFile::default()
        };
        let held = Held {
            identity: want.identity(),
            files: BTreeMap::from([("linux".to_owned(), file)]),
            ..Held::default()
        };
        store.publish(&want.name, held).unwrap();
        (state, manifests)
    }

    fn args(state: &Path) -> StoreArgs {
        StoreArgs {
            state: state.to_owned(),
            artifact_store: None,
        }
    }

    #[test]
    fn what_is_exported_here_is_served_there() {
        let dir = tempfile::tempdir().unwrap();
        let (state, manifests) = pulled(dir.path());
        let output = dir.path().join("boot.tar");
        let export = |output: &Path| Export {
            manifests: vec![manifests.clone()],
            output: output.to_owned(),
            store: args(&state),
        };
        let mut said = Vec::new();
        export(&output).run(&mut said).unwrap();
        assert!(
            String::from_utf8(said)
                .unwrap()
                .contains("1 artifacts, 3 blobs")
        );
        let again = dir.path().join("again.tar");
        export(&again).run(&mut Vec::new()).unwrap();
        assert_eq!(fs::read(&output).unwrap(), fs::read(&again).unwrap());
        let there = dir.path().join("there");
        let root = there.join(crate::config::ARTIFACT_STORE);
        fs::create_dir_all(&root).unwrap();
        let import = |file: &Path| Import {
            file: file.to_owned(),
            store: args(&there),
        };
        // Damaged: nothing of it is there.
        let mut bytes = fs::read(&output).unwrap();
        let at = bytes.windows(6).position(|part| part == b"kernel").unwrap();
        *bytes.get_mut(at).unwrap() = b'K';
        fs::write(&again, bytes).unwrap();
        assert!(import(&again).run(&mut Vec::new()).is_err());
        assert!(read_table(&root).unwrap().is_empty());
        import(&output).run(&mut Vec::new()).unwrap();
        let (ours, theirs) = (
            read_table(&state.join(crate::config::ARTIFACT_STORE)).unwrap(),
            read_table(&root).unwrap(),
        );
        let of = |table: &crate::artifact::Table| {
            let (name, held) = table.first_key_value().unwrap();
            (name.clone(), held.identity.clone(), held.files.clone())
        };
        assert_eq!(of(&ours), of(&theirs));
        let digest = Digest::of(b"kernel");
        assert_eq!(fs::read(blob_path(&root, digest.hex())).unwrap(), b"kernel");
        assert_eq!(fs::read_dir(root.join("partial")).unwrap().count(), 0);
    }

    #[test]
    fn what_is_not_there_is_not_exported() {
        let dir = tempfile::tempdir().unwrap();
        let (_, manifests) = pulled(dir.path());
        let empty = dir.path().join("empty");
        fs::create_dir_all(empty.join(crate::config::ARTIFACT_STORE)).unwrap();
        let export = Export {
            manifests: vec![manifests],
            output: dir.path().join("boot.tar"),
            store: args(&empty),
        };
        let error = export.run(&mut Vec::new()).unwrap_err().to_string();
        assert!(
            error.contains("default/debian; `reveille artifacts pull`"),
            "{error}"
        );
        assert!(!dir.path().join("boot.tar").exists());
    }
}
