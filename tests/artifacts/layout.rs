//! Archives for places without a network.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use reveille::artifact::layout::{Broken, Entry, EntryFile, Imported, document, export, import};
use reveille::artifact::oci::Digest;
use reveille::artifact::unpack::Limits;

use super::evil::tar_of;
use super::support::{has, run};

/// A store in memory.
#[derive(Default)]
struct Store(BTreeMap<Digest, Vec<u8>>);

impl Store {
    fn file(&mut self, path: &str, bytes: &[u8]) -> EntryFile {
        let digest = Digest::of(bytes);
        self.0.insert(digest.clone(), bytes.to_vec());
        EntryFile {
            path: path.to_owned(),
            digest,
            size: bytes.len() as u64,
            annotations: BTreeMap::new(),
        }
    }

    fn export(&self, entries: &[Entry], to: &Path) -> Result<Vec<u8>, Broken> {
        let mut open = |digest: &Digest| -> io::Result<Box<dyn Read>> {
            let bytes = self.0.get(digest).cloned().ok_or(io::ErrorKind::NotFound)?;
            Ok(Box::new(io::Cursor::new(bytes)))
        };
        export(entries, to, &mut open, &mut |_| ())?;
        Ok(fs::read(to).unwrap())
    }
}

fn two() -> (Store, Vec<Entry>) {
    let mut store = Store::default();
    let annotations = BTreeMap::from([("dev.reveille.identity".to_owned(), "abc".to_owned())]);
    let entries = vec![
        Entry {
            name: "lab/debian".to_owned(),
            annotations,
            files: vec![
                store.file("linux", b"kernel"),
                store.file("dir/initrd.gz", &[9; 9000]),
            ],
        },
        Entry {
            name: "lab/copy".to_owned(),
            files: vec![store.file("linux", b"kernel"), store.file("empty", b"")],
            ..Entry::default()
        },
    ];
    (store, entries)
}

fn read(bytes: &[u8]) -> Result<(Imported, tempfile::TempDir), Broken> {
    let dir = tempfile::tempdir().unwrap();
    let archive: PathBuf = dir.path().join("a.tar");
    fs::write(&archive, bytes).unwrap();
    let staging = dir.path().join("staging");
    fs::create_dir(&staging).unwrap();
    let imported = import(&archive, &staging, &Limits::default(), &mut |_| ())?;
    Ok((imported, dir))
}

#[test]
fn what_is_exported_is_imported_and_always_the_same_bytes() {
    let (store, mut entries) = two();
    let dir = tempfile::tempdir().unwrap();
    let first = store.export(&entries, &dir.path().join("1.tar")).unwrap();
    entries.reverse();
    for entry in &mut entries {
        entry.files.reverse();
    }
    let second = store.export(&entries, &dir.path().join("2.tar")).unwrap();
    assert_eq!(first, second, "the order of what is asked for shows");
    let (imported, _staging) = read(&first).unwrap();
    let mut found = imported.entries;
    for entry in entries.iter_mut().chain(&mut found) {
        entry.files.sort_by(|a, b| a.path.cmp(&b.path));
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(found, entries);
    for (digest, path) in &imported.blobs {
        assert_eq!(fs::read(path).unwrap(), store.0[digest]);
    }
    assert_eq!(imported.blobs.len(), 3, "each blob is there once");
    // Nothing but what the specification of OCI layouts names.
    if has("tar") {
        fs::create_dir(dir.path().join("x")).unwrap();
        run(dir.path(), "tar", &["-xf", "1.tar", "-C", "x"]);
        let index = fs::read(dir.path().join("x/index.json")).unwrap();
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        let manifest = &index["manifests"][0];
        assert_eq!(
            manifest["annotations"]["org.opencontainers.image.ref.name"],
            "lab/copy"
        );
        let digest = manifest["digest"].as_str().unwrap().replace(':', "/");
        let manifest = fs::read(dir.path().join("x/blobs").join(digest)).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let title = &manifest["layers"][0]["annotations"]["org.opencontainers.image.title"];
        assert_eq!(title, "empty");
    }
}

#[test]
fn damage_is_found_and_named() {
    let (mut store, entries) = two();
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("a.tar");
    let good = store.export(&entries, &to).unwrap();
    let verdict = |bytes: &[u8]| match read(bytes) {
        Ok(_) => "good",
        Err(error) => error.as_str(),
    };
    let change = |from: &[u8], to: &[u8]| {
        let mut bytes = good.clone();
        let at = bytes
            .windows(from.len())
            .position(|part| part == from)
            .unwrap();
        bytes
            .get_mut(at..at + to.len())
            .unwrap()
            .copy_from_slice(to);
        bytes
    };
    assert_eq!(verdict(&good), "good");
    assert_eq!(verdict(&change(b"kernel", b"Kernel")), "wrong-digest");
    assert_eq!(verdict(&change(b"1.0.0", b"2.0.0")), "document");
    assert_eq!(verdict(&change(b"lab/copy", b"lab/debi")), "good");
    assert_eq!(
        verdict(&change(
            b"reveille.artifact",
            b"somebody.artifact".get(..17).unwrap()
        )),
        "document"
    );
    for length in (0..good.len() - 1024).step_by(512) {
        assert_eq!(
            verdict(good.get(..length).unwrap()),
            "damaged",
            "{length} bytes"
        );
    }
    assert_eq!(verdict(b"<html>"), "damaged");
    assert_eq!(verdict(&tar_of(&[])), "document");
    // Without one of its blobs.
    let digest = Digest::of(b"kernel");
    let name = format!("blobs/sha256/{}", digest.hex());
    let other = name.replace("blobs/", "blobz/");
    let mut bytes = change(name.as_bytes(), other.as_bytes());
    let at = bytes.windows(6).position(|part| part == b"blobz/").unwrap();
    let header = bytes.get_mut(at..at + 512).unwrap();
    let mut fixed = tar::Header::from_byte_slice(header).clone();
    fixed.set_cksum();
    header.copy_from_slice(fixed.as_bytes());
    assert_eq!(verdict(&bytes), "blob-missing");
    // A store that is damaged is not exported, and half an archive is not left.
    store.0.insert(digest.clone(), b"colone".to_vec());
    fs::remove_file(&to).unwrap();
    assert_eq!(
        store.export(&entries, &to).unwrap_err().as_str(),
        "wrong-digest"
    );
    store.0.insert(digest.clone(), b"colonel".to_vec());
    assert_eq!(
        store.export(&entries, &to).unwrap_err().as_str(),
        "wrong-size"
    );
    store.0.remove(&digest);
    assert_eq!(
        store.export(&entries, &to).unwrap_err().as_str(),
        "read-failed"
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn names_that_lead_out_are_refused_both_ways() {
    let mut store = Store::default();
    let dir = tempfile::tempdir().unwrap();
    for path in ["../x", "/x", "a//b", "./a", "a/", "", "a\nb"] {
        let entry = Entry {
            name: "n/a".to_owned(),
            files: vec![store.file(path, b"x")],
            ..Entry::default()
        };
        let error = store
            .export(&[entry], &dir.path().join("a.tar"))
            .unwrap_err();
        assert_eq!(error.as_str(), "document", "{path}");
        let layer = serde_json::json!({
            "mediaType": "x", "digest": Digest::of(b"x").to_string(), "size": 1,
            "annotations": {"org.opencontainers.image.title": path},
        });
        let manifest = serde_json::json!({
            "schemaVersion": 2, "artifactType": document::ARTIFACT_TYPE,
            "config": layer, "layers": [layer],
        });
        let manifest = serde_json::to_vec(&manifest).unwrap();
        assert_eq!(
            document::read_manifest("n/a", &manifest)
                .unwrap_err()
                .as_str(),
            "document",
            "{path}"
        );
    }
    let twice = |name: &str| Entry {
        name: name.to_owned(),
        files: vec![],
        ..Entry::default()
    };
    let error = store
        .export(&[twice("a"), twice("a")], &dir.path().join("a.tar"))
        .unwrap_err();
    assert_eq!(error.as_str(), "twice");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// No bytes do harm in the place of a document or an archive.
    #[test]
    fn any_bytes_are_refused(noise in proptest::collection::vec(any::<u8>(), 0..300), text in "[\\[\\]{}\":, a-z0-9]{0,80}") {
        for bytes in [noise.as_slice(), text.as_bytes()] {
            let _ = document::read_index(bytes);
            let _ = document::read_manifest("a", bytes);
            let _ = document::read_marker(bytes);
            prop_assert!(read(bytes).is_err());
        }
    }

    /// Damage anywhere is found, or is where nothing is read.
    #[test]
    fn no_damage_reaches_the_files(at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let (store, entries) = two();
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = store.export(&entries, &dir.path().join("a.tar")).unwrap();
        let at = at.index(bytes.len());
        *bytes.get_mut(at).unwrap() = byte;
        if let Ok((imported, _staging)) = read(&bytes) {
            for (digest, path) in &imported.blobs {
                prop_assert_eq!(Digest::of(&fs::read(path).unwrap()), digest.clone());
            }
        }
    }
}
