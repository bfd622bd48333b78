use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{Builder, StorageBackend};

use super::*;
use crate::boot::MacAddress;
use crate::clock::Millis;
use crate::lease::disk::TroubleReason;
use crate::lease::rows::{At, Row};
use crate::lease::{LeaseKey, LeaseState};
use crate::telemetry::Meter;

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let (store, leases, trouble) = LeaseStore::open(&path, metrics()).unwrap();
    assert_eq!((leases, trouble), (vec![], None));
    store.committer().commit(vec![put(1), put(2)]).unwrap();
    store
        .committer()
        .commit(vec![Change::Remove(at(1)), put(3)])
        .unwrap();
    store.close();
    let (_store, leases, trouble) = LeaseStore::open(&path, metrics()).unwrap();
    assert_eq!(leases, shared([lease(2), lease(3)]));
    assert_eq!(trouble, None);
}

#[test]
fn dropping_the_store_writes_what_was_submitted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let (store, ..) = LeaseStore::open(&path, metrics()).unwrap();
    for n in 0..200 {
        store
            .committer()
            .submit(vec![put(n)], Box::new(|_| {}))
            .unwrap();
    }
    drop(store);
    assert_eq!(LeaseStore::read(&path).unwrap().0.len(), 200);
}

#[test]
fn offers_and_expiries_do_not_touch_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = metrics();
    let (store, ..) = LeaseStore::open(&folder.path().join(FILE), metrics.clone()).unwrap();
    let in_state = |state| Change::put(Lease { state, ..lease(1) });
    let changes = vec![in_state(LeaseState::Offered), in_state(LeaseState::Expired)];
    store.committer().commit(changes).unwrap();
    assert_eq!(metrics.commits.get(), 0);
}

#[test]
fn answers_come_in_the_order_of_submission_and_share_commits() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = metrics();
    let (store, ..) = LeaseStore::open(&folder.path().join(FILE), metrics.clone()).unwrap();
    let (sender, receiver) = mpsc::channel();
    for n in 0..250u8 {
        let sender = sender.clone();
        let done: Done = Box::new(move |result| sender.send((n, result.is_ok())).unwrap());
        store.committer().submit(vec![put(n)], done).unwrap();
    }
    store.close();
    drop(sender);
    let answers: Vec<_> = receiver.iter().collect();
    assert_eq!(answers, (0..250).map(|n| (n, true)).collect::<Vec<_>>());
    assert!(metrics.commits.get() < 250, "{}", metrics.commits.get());
}

#[test]
fn the_last_change_of_an_address_in_a_group_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let (store, ..) = LeaseStore::open(&path, metrics()).unwrap();
    let changes = vec![
        put(1),
        Change::Remove(at(1)),
        put(2),
        Change::Remove(at(3)),
        put(3),
    ];
    store.committer().commit(changes).unwrap();
    store.close();
    let (leases, ..) = LeaseStore::read(&path).unwrap();
    assert_eq!(leases, shared([lease(2), lease(3)]));
}

#[test]
fn a_second_process_is_told_who_has_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let _first = LeaseStore::open(&path, metrics()).unwrap();
    let second = LeaseStore::open(&path, metrics()).unwrap_err();
    assert!(matches!(&second, StoreError::Locked(locked) if *locked == path));
    assert!(second.to_string().contains(FILE), "{second}");
    assert!(matches!(
        LeaseStore::read(&path),
        Err(StoreError::Locked(_))
    ));
}

#[test]
fn a_missing_folder_or_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not-there").join(FILE);
    assert!(matches!(
        LeaseStore::open(&path, metrics()),
        Err(StoreError::Missing(_))
    ));
    assert!(matches!(
        LeaseStore::read(&folder.path().join(FILE)),
        Err(StoreError::Missing(_))
    ));
}

#[test]
fn a_file_that_is_no_database_is_moved_aside() {
    for content in [
        &b"these are not the leases you are looking for"[..],
        &[0; 8192],
        b"redb\x1a\x0a\xa9\x0d\x0a",
        &[0xff; 40_000],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        fs::write(&path, content).unwrap();
        let (store, leases, trouble) = LeaseStore::open(&path, metrics()).unwrap();
        assert_eq!(leases, vec![]);
        let aside = trouble.unwrap().moved_to.unwrap();
        assert!(aside.to_string_lossy().contains("leases.redb.broken-"));
        assert_eq!(fs::read(aside).unwrap(), content);
        store.committer().commit(vec![put(1)]).unwrap();
    }
}

/// Every kind of damage ends in leases or in a named trouble, never in a panic
/// or in a service that does not start.
#[test]
fn a_damaged_database_is_opened_or_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let (store, ..) = LeaseStore::open(&path, metrics()).unwrap();
    store
        .committer()
        .commit((0..250).map(put).collect())
        .unwrap();
    store.close();
    let whole = fs::read(&path).unwrap();
    let hurt = |damage: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        let path = folder.path().join("hurt.redb");
        fs::write(&path, &bytes).unwrap();
        let (store, leases, trouble) = LeaseStore::open(&path, metrics()).unwrap();
        assert!(leases.len() == 250 || trouble.is_some());
        store.committer().commit(vec![put(251)]).unwrap();
    };
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        hurt(&|bytes| bytes.truncate(at + 1));
        hurt(&|bytes| bytes[at..].iter_mut().take(600).for_each(|b| *b = !*b));
    }
}

#[test]
fn a_database_of_a_newer_version_is_kept_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    transaction
        .open_table(meta)
        .unwrap()
        .insert("schema", 99)
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    let (_store, _, trouble) = LeaseStore::open(&path, metrics()).unwrap();
    assert_eq!(trouble.unwrap().reason, TroubleReason::NewerSchema);
}

#[test]
fn a_database_of_the_version_before_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    let mut meta = transaction.open_table(meta).unwrap();
    meta.insert("schema", 1).unwrap();
    drop(meta);
    // It has lines of JSON.
    let mut leases = transaction.open_table(disk::LEASES).unwrap();
    for n in [1, 2] {
        let line = serde_json::to_vec(&lease(n)).unwrap();
        leases.insert(u32::from(at(n)), &*line).unwrap();
    }
    drop(leases);
    transaction.commit().unwrap();
    drop(database);
    let (store, leases, trouble) = LeaseStore::open(&path, metrics()).unwrap();
    assert_eq!((leases, trouble), (shared([lease(1), lease(2)]), None));
    store.committer().commit(vec![put(3)]).unwrap();
    store.close();
    let (_store, leases, trouble) = LeaseStore::open(&path, metrics()).unwrap();
    assert_eq!(leases, shared([lease(1), lease(2), lease(3)]));
    assert_eq!(trouble, None);
}

#[test]
fn rows_that_cannot_be_read_cost_only_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let (store, ..) = LeaseStore::open(&path, metrics()).unwrap();
    store.committer().commit(vec![put(1), put(2)]).unwrap();
    store.close();
    let database = Database::open(&path).unwrap();
    let row = [(At::V4(at(1).into()), Some(Row::Unread(b"{}"[..].into())))];
    let writing = Writing {
        entry: None,
        rows: &row.into_iter().collect(),
        forget: &[],
    };
    disk::write(&database, writing).unwrap();
    drop(database);
    let (_store, leases, trouble) = LeaseStore::open(&path, metrics()).unwrap();
    assert_eq!(leases, shared([lease(2)]));
    let trouble = trouble.unwrap();
    assert_eq!(trouble.reason, TroubleReason::UnreadableRows);
    assert_eq!(trouble.detail, "1 of 2 rows");
}

#[test]
fn a_disk_that_fails_is_an_error_until_it_heals() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let broken = Arc::new(AtomicBool::new(false));
    let metrics = metrics();
    let (store, ..) = LeaseStore::start(faulty(&path, &broken), metrics.clone()).unwrap();
    let committer = store.committer();
    committer.commit(vec![put(1)]).unwrap();

    broken.store(true, Ordering::Relaxed);
    for n in 2..5 {
        let error = committer.commit(vec![put(n)]).unwrap_err();
        assert!(
            matches!(error.as_str(), "write-failed" | "open-failed"),
            "{error:?}"
        );
    }
    assert_eq!(metrics.errors.get(), 3);

    broken.store(false, Ordering::Relaxed);
    committer.commit(vec![put(9)]).unwrap();
    store.close();
    let (leases, ..) = LeaseStore::read(&path).unwrap();
    assert_eq!(leases, shared([lease(1), lease(9)]));
}

#[test]
fn leases_outlive_a_file_that_breaks_while_the_disk_fails() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let broken = Arc::new(AtomicBool::new(false));
    let (store, ..) = LeaseStore::start(faulty(&path, &broken), metrics()).unwrap();
    let committer = store.committer();
    committer.commit(vec![put(1), put(2)]).unwrap();
    broken.store(true, Ordering::Relaxed);
    committer.commit(vec![put(3)]).unwrap_err();
    fs::write(&path, b"nothing of it is left").unwrap();
    broken.store(false, Ordering::Relaxed);
    committer.commit(vec![put(4)]).unwrap();
    store.close();
    let (leases, ..) = LeaseStore::read(&path).unwrap();
    assert_eq!(leases, shared([lease(1), lease(2), lease(4)]));
}

#[test]
fn the_writer_is_behind_when_more_waits_than_a_flush_explains() {
    let pace = Pace::default();
    pace.took(Duration::from_millis(2));
    assert_eq!(pace.room(), ROOM + 2 * ROOM_PER_MILLI);
    // One that was held up says little, a disk that is slow says it again.
    pace.took(Duration::from_millis(66));
    assert_eq!(pace.room(), ROOM + 3 * ROOM_PER_MILLI);
    (0..1000).for_each(|_| pace.took(Duration::from_millis(50)));
    assert!(pace.room() > ROOM + 49 * ROOM_PER_MILLI);
    let (jobs, _queue) = mpsc::sync_channel(QUEUE);
    let committer = Committer {
        jobs,
        pace: Arc::new(pace),
    };
    assert_eq!(committer.backlog(), Backlog::Little);
    while committer.backlog() != Backlog::TooMuch {
        committer.submit(vec![put(1)], Box::new(drop)).unwrap();
    }
}

#[test]
fn a_closed_store_takes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (store, ..) = LeaseStore::open(&folder.path().join(FILE), metrics()).unwrap();
    let committer = store.committer();
    store.close();
    let refused = committer.submit(vec![put(1)], Box::new(|_| {}));
    assert_eq!(refused, Err(NotTaken::Closed));
    assert!(matches!(
        committer.commit(vec![put(1)]),
        Err(StoreError::Closed)
    ));
}

#[test]
fn a_queue_that_is_full_refuses_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (store, ..) = LeaseStore::open(&folder.path().join(FILE), metrics()).unwrap();
    let committer = store.committer();
    let (gate, wait) = mpsc::channel::<()>();
    let hold: Done = Box::new(move |_| wait.recv().unwrap());
    committer.submit(vec![put(0)], hold).unwrap();
    let refused =
        (0..QUEUE + MAX_GROUP + 1).find_map(|_| committer.submit(vec![], Box::new(|_| {})).err());
    assert_eq!(refused, Some(NotTaken::Full));
    gate.send(()).unwrap();
    store.close();
}

/// Whatever the moment at which the process ends, tables and journal together say what was
/// committed; at rest the tables say it alone.
#[test]
fn the_tables_follow_the_journal_and_nothing_is_lost_on_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let mut model = BTreeMap::new();
    let mut random = 7_u32;
    let mut pick = |below: u32| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) % below
    };
    for _ in 0..40 {
        let Opened {
            database,
            mut rows,
            mut journal,
            trouble,
        } = Disk::create(&path).open_or_replace().unwrap();
        assert_eq!(trouble, None);
        let found = rows.leases().0.into_iter();
        let found: BTreeMap<_, _> = found.map(|lease| (lease.address, lease)).collect();
        assert_eq!(found, model);
        for _ in 0..pick(9) {
            let group = (0..=pick(3)).map(|_| {
                let n = u8::try_from(pick(20)).unwrap();
                let since = Millis(u64::from(pick(1 << 20)));
                let put = pick(4) != 0;
                let lease = put.then(|| Arc::new(Lease { since, ..lease(n) }));
                (at(n), lease)
            });
            let group: BTreeMap<_, _> = group.collect();
            let changes: Changes = group
                .iter()
                .map(|(at, lease)| (At::V4((*at).into()), lease.clone().map(Row::Lease)))
                .collect();
            let (number, chores) = journal.append(&changes);
            let rest = journal.rest(pick(4) as usize);
            for (entry, chores) in [(Some((number, &changes)), chores), (None, rest)] {
                let folded = chores.fold.iter().map(|at| (*at, rows.get(*at)));
                let writing = Writing {
                    entry,
                    rows: &folded.collect(),
                    forget: &chores.forget,
                };
                disk::write(&database, writing).unwrap();
                if let Some((_, changes)) = entry {
                    rows.apply(changes.clone());
                }
            }
            for (at, lease) in group {
                match lease {
                    Some(lease) => drop(model.insert(at, lease)),
                    None => drop(model.remove(&at)),
                }
            }
        }
    }
    // The store catches up as it is closed.
    LeaseStore::open(&path, metrics()).unwrap().0.close();
    let database = Database::open(&path).unwrap();
    let (leases, _) = Rows::read(&database).unwrap().leases();
    assert_eq!(leases, model.into_values().collect::<Vec<_>>());
    let journal = Journal::read(&database, &mut Rows::default()).unwrap();
    assert!(journal.is_empty());
}

/// A file on a disk that refuses to write while `broken` is set.
#[derive(Debug)]
struct Faulty {
    file: FileBackend,
    broken: Arc<AtomicBool>,
}

impl Faulty {
    fn check(&self) -> Result<(), std::io::Error> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl StorageBackend for Faulty {
    fn len(&self) -> Result<u64, std::io::Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.check()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.check()?;
        self.file.write(offset, data)
    }
}

fn faulty(path: &Path, broken: &Arc<AtomicBool>) -> Disk {
    let broken = Arc::clone(broken);
    let open = move |path: &Path| {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        Builder::new().create_with_backend(Faulty {
            file: FileBackend::new(file)?,
            broken: Arc::clone(&broken),
        })
    };
    Disk::with_opener(path, Box::new(open))
}

fn metrics() -> LeaseMetrics {
    LeaseMetrics::register(&Meter::default()).unwrap()
}

fn at(n: u8) -> Ipv4Addr {
    [10, 0, 0, n].into()
}

fn put(n: u8) -> Change {
    Change::put(lease(n))
}

fn shared<const N: usize>(leases: [Lease; N]) -> Vec<Arc<Lease>> {
    leases.map(Arc::new).into()
}

fn lease(n: u8) -> Lease {
    let mac = MacAddress::new([0x52, 0x54, 0, 0, 0, n]);
    Lease {
        address: at(n),
        key: LeaseKey::Mac(mac),
        mac: Some(mac),
        client_id: None,
        subnet: "default/lab".into(),
        hostname: Some(format!("node-{n}").into()),
        state: LeaseState::Bound,
        since: Millis::from_secs(1_800_000_000),
        expires: Millis::from_secs(1_800_004_000),
    }
}
