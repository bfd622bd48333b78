use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::*;
use crate::artifact::table::HeldFile;
use crate::clock::{self, Millis};

fn name(text: &str) -> ObjectName {
    ObjectName {
        namespace: "default".to_owned(),
        name: text.to_owned(),
    }
}

/// Takes `content` in and says how it is held.
fn blob(store: &Store, content: &str) -> HeldFile {
    let partial = store.partial("test");
    fs::write(&partial, content).unwrap();
    let sha256 = scrub::digest_of(&partial, &mut |_| true).unwrap().unwrap();
    store.take_in(&partial, &sha256).unwrap();
    HeldFile {
        size: content.len() as u64,
        sha256,
        ..HeldFile::default()
    }
}

fn publish(store: &Store, artifact: &str, files: &[(&str, &str)]) -> Held {
    let files = files.iter();
    let files = files.map(|(path, content)| ((*path).to_owned(), blob(store, content)));
    let held = Held {
        identity: "i".to_owned(),
        files: files.collect(),
        made: clock::now().0,
        ..Held::default()
    };
    store.publish(&name(artifact), held).unwrap()
}

fn read(store: &Store, path: &str) -> Option<String> {
    fs::read_to_string(store.trees().join(path)).ok()
}

fn open(folder: &Path) -> Store {
    Store::open(folder).unwrap()
}

#[test]
fn a_new_generation_stands_beside_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let first = publish(&store, "a", &[("linux", "one"), ("deep/er/initrd", "two")]);
    assert_eq!((first.generation, first.bytes()), (1, 6));
    let second = publish(&store, "a", &[("linux", "three")]);
    assert_eq!(second.generation, 2);
    assert_eq!(read(&store, "default/a/1/linux").unwrap(), "one");
    assert_eq!(read(&store, "default/a/2/linux").unwrap(), "three");
    assert_ne!(first.digest, second.digest);
    drop(store);
    let store = open(folder.path());
    let held = store.shelf().table().get(&name("a")).cloned().unwrap();
    assert_eq!(held, second);
}

#[test]
fn one_process_has_it_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let error = Store::open(folder.path()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    drop(store);
    open(folder.path());
}

#[test]
fn what_was_not_written_to_its_end_is_never_served() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    publish(&store, "a", &[("linux", "one")]);
    // Killed between the tree and its index, and before the tree was whole.
    let home = store.trees().join("default/a");
    fs::create_dir_all(home.join("2")).unwrap();
    fs::write(home.join("2/linux"), "half").unwrap();
    fs::create_dir_all(home.join("3.new")).unwrap();
    drop(store);
    let store = open(folder.path());
    assert_eq!(store.shelf().generation("default", "a"), Some(1));
    let next = publish(&store, "a", &[("linux", "two")]);
    assert_eq!(next.generation, 2);
    assert_eq!(read(&store, "default/a/2/linux").unwrap(), "two");
}

#[test]
fn a_file_that_is_gone_or_short_is_wanted_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    publish(
        &store,
        "a",
        &[("linux", "one"), ("initrd", "two"), ("x", "same")],
    );
    drop(store);
    let tree = folder.path().join("trees/default/a/1");
    fs::remove_file(tree.join("linux")).unwrap();
    fs::write(tree.join("initrd"), "tw").unwrap();
    let table = read_table(folder.path()).unwrap();
    let files = &table[&name("a")].files;
    assert!(files["linux"].sha256.is_empty());
    assert!(files["initrd"].sha256.is_empty());
    assert!(!files["x"].sha256.is_empty());
}

#[test]
fn finds_what_rotted_and_takes_it_out() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let held = publish(&store, "a", &[("linux", "one"), ("initrd", "two")]);
    assert!(store.scrub(&mut |_| true).is_empty());
    // As a disk would: the same length, the same inode.
    fs::write(store.blob(&held.files["linux"].sha256), "0ne").unwrap();
    let damage = store.scrub(&mut |_| true);
    assert_eq!(damage.len(), 1);
    assert_eq!(damage[0].path, "linux");
    assert_eq!(damage[0].wanted, held.files["linux"].sha256);
    assert!(damage[0].found.is_some());
    store.discard(&damage[0]).unwrap();
    assert!(read(&store, "default/a/1/linux").is_none());
    assert!(store.blob_len(&damage[0].wanted).is_none());
    assert!(store.scrub(&mut |_| true).is_empty());
    // A restart knows it, too.
    let table = read_table(folder.path()).unwrap();
    assert!(table[&name("a")].files["linux"].sha256.is_empty());
}

fn live(grace: u64) -> Live {
    Live {
        grace,
        // Beyond any grace: what was made now is old then.
        now: Millis(clock::now().0 + 10_000),
        ..Live::default()
    }
}

#[test]
fn throws_away_what_nobody_wants_and_nothing_that_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let first = publish(&store, "a", &[("linux", "one")]);
    publish(&store, "a", &[("linux", "two")]);
    publish(&store, "a", &[("linux", "three")]);
    publish(&store, "b", &[("linux", "four")]);
    let orphan = blob(&store, "orphan");
    let sweep = |live: &Live| store.sweep(live, &mut || ()).unwrap();
    // Within the grace nothing goes.
    assert_eq!(
        sweep(&live(60_000)),
        Swept::default(),
        "made {}",
        clock::now().0
    );
    let served = Live {
        served: [(name("a"), BTreeSet::from([1]))].into(),
        blobs: BTreeSet::from([orphan.sha256.clone()]),
        ..live(1000)
    };
    sweep(&served);
    assert_eq!(read(&store, "default/a/1/linux").unwrap(), "one");
    assert!(read(&store, "default/a/2/linux").is_none());
    assert_eq!(read(&store, "default/a/3/linux").unwrap(), "three");
    assert!(store.blob_len(&orphan.sha256).is_some());
    sweep(&Live {
        forgotten: BTreeSet::from([name("b")]),
        ..live(1000)
    });
    assert!(read(&store, "default/a/1/linux").is_none());
    assert!(read(&store, "default/b/1/linux").is_none());
    assert!(store.shelf().generation("default", "b").is_none());
    assert!(store.blob_len(&first.files["linux"].sha256).is_none());
    assert!(store.blob_len(&orphan.sha256).is_none());
    assert_eq!(read(&store, "default/a/3/linux").unwrap(), "three");
}

#[test]
fn a_file_where_a_folder_is_wanted_leaves_what_was_served() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    publish(&store, "a", &[("linux", "one")]);
    let files = [("boot", "x"), ("boot/linux", "y")];
    let files = files.map(|(path, content)| (path.to_owned(), blob(&store, content)));
    let held = Held {
        files: files.into(),
        ..Held::default()
    };
    store.publish(&name("a"), held).unwrap_err();
    assert_eq!(store.shelf().generation("default", "a"), Some(1));
    assert_eq!(read(&store, "default/a/1/linux").unwrap(), "one");
}
