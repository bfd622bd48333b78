//! What the lease database has of each address, and reading all of it.
//!
//! Reading a row ([`form`]) takes longer than finding it, so every processor reads
//! some: a million leases must not hold a start up.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::{panic, thread};

use redb::{Database, Key, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError};
use serde::{Deserialize, Serialize};

use super::disk::{LEASES, LEASES6, OpenTrouble, StoreError, TroubleReason};
use super::form::{self, Form};
use super::journal::Changes;
use super::record::{Change, Lease};
use super::v6::{Change6, Lease6};

/// Rows that a reader takes at once.
const BATCH: usize = 1024;

/// Readers at most: one thread finds the rows, and does not keep more busy.
const READERS: usize = 8;

/// What the database has, to write one anew with. What can be read is the lease
/// that the table has, too: a hundred thousand lines would be 25 MB.
#[derive(Debug, Default)]
pub(super) struct Rows {
    v4: BTreeMap<u32, Arc<Lease>>,
    v6: BTreeMap<u128, Arc<Lease6>>,
    /// Rows that cannot be read, left alone.
    unread: BTreeMap<At, Box<[u8]>>,
    /// Entries of the journal that cannot be read.
    pub(super) lost: usize,
}

/// The key of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum At {
    /// An IPv4 address.
    V4(u32),
    /// An IPv6 address.
    V6(u128),
}

/// A change of either kind of lease.
#[derive(Clone, Debug)]
pub(super) enum AnyChange {
    V4(Change),
    V6(Change6),
}

/// A row to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Row {
    /// A lease.
    Lease(Arc<Lease>),
    /// The same of IPv6.
    Lease6(Arc<Lease6>),
    /// Bytes that cannot be read.
    Unread(Box<[u8]>),
}

/// A lease that a row can hold.
trait Stored: Form + Send + Sync {
    /// Its address as the key of its row.
    type Key: for<'a> Key<SelfType<'a> = Self::Key> + Into<Self::At> + Copy + Ord + Send + 'static;

    fn at(&self) -> Self::Key;
    fn subnet_mut(&mut self) -> &mut Arc<str>;
}

/// What was read of a table: leases, and rows that are none.
struct Table<L: Stored> {
    leases: BTreeMap<L::Key, Arc<L>>,
    unread: Vec<(L::Key, Box<[u8]>)>,
}

/// Rows for a reader, one behind the other, and where that of each key ends.
struct Batch<K> {
    bytes: Vec<u8>,
    ends: Vec<(K, usize)>,
}

/// What one reader made of its rows.
struct Read<L: Stored> {
    leases: Vec<(L::Key, Arc<L>)>,
    unread: Vec<(L::Key, Box<[u8]>)>,
    names: Names,
}

/// The names of Subnets so far: the leases of one share one text.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeSet<Arc<str>>);

// === impl Rows ===

impl Rows {
    /// Reads all of `database`.
    pub(super) fn read(database: &Database) -> Result<Self, redb::Error> {
        let v4 = read_table::<Lease>(database, LEASES)?;
        let v6 = read_table::<Lease6>(database, LEASES6)?;
        let unread4 = v4.unread.into_iter().map(|(at, row)| (At::V4(at), row));
        let unread6 = v6.unread.into_iter().map(|(at, row)| (At::V6(at), row));
        Ok(Self {
            v4: v4.leases,
            v6: v6.leases,
            unread: unread4.chain(unread6).collect(),
            lost: 0,
        })
    }

    /// The IPv4 leases, and what is wrong with the rows that are none.
    pub(super) fn leases(&self) -> (Vec<Arc<Lease>>, Option<OpenTrouble>) {
        let unread = self.unread.len() + self.lost;
        let trouble = (unread > 0).then(|| OpenTrouble {
            reason: TroubleReason::UnreadableRows,
            detail: format!("{unread} of {} rows", self.len()),
            moved_to: None,
        });
        (self.v4.values().cloned().collect(), trouble)
    }

    /// The IPv6 leases.
    pub(super) fn leases6(&self) -> Vec<Arc<Lease6>> {
        self.v6.values().cloned().collect()
    }

    /// Takes over what was written.
    pub(super) fn apply(&mut self, written: Changes) {
        for (at, row) in written {
            self.set(at, row);
        }
    }

    fn set(&mut self, at: At, row: Option<Row>) {
        self.unread.remove(&at);
        match (at, row) {
            (At::V4(at), Some(Row::Lease(lease))) => drop(self.v4.insert(at, lease)),
            (At::V6(at), Some(Row::Lease6(lease))) => drop(self.v6.insert(at, lease)),
            (at, row) => {
                match at {
                    At::V4(at) => drop(self.v4.remove(&at)),
                    At::V6(at) => drop(self.v6.remove(&at)),
                }
                if let Some(Row::Unread(bytes)) = row {
                    self.unread.insert(at, bytes);
                }
            }
        }
    }

    /// Takes in what the journal says of an address.
    pub(super) fn take(&mut self, at: At, row: Option<&[u8]>, names: &mut Names) {
        let row = row.map(|bytes| {
            let lease = match at {
                At::V4(at) => read_row(at, bytes, names).map(Row::Lease),
                At::V6(at) => read_row(at, bytes, names).map(Row::Lease6),
            };
            lease.unwrap_or_else(|| Row::Unread(bytes.into()))
        });
        self.set(at, row);
    }

    /// The row of an address.
    pub(super) fn get(&self, at: At) -> Option<Row> {
        let lease = match at {
            At::V4(at) => self.v4.get(&at).cloned().map(Row::Lease),
            At::V6(at) => self.v6.get(&at).cloned().map(Row::Lease6),
        };
        lease.or_else(|| self.unread.get(&at).cloned().map(Row::Unread))
    }

    /// What has to be written to a database that has `found`, so that it has
    /// these rows.
    pub(super) fn repair(&self, found: &Self) -> Changes {
        let missing = self.iter().filter(|(at, row)| !found.has(*at, row));
        let surplus = found.iter().filter(|(at, _)| !self.knows(*at));
        missing
            .map(|(at, row)| (at, Some(row)))
            .chain(surplus.map(|(at, _)| (at, None)))
            .collect()
    }

    fn len(&self) -> usize {
        self.v4.len() + self.v6.len() + self.unread.len() + self.lost
    }

    fn iter(&self) -> impl Iterator<Item = (At, Row)> {
        let v4 = self.v4.iter();
        let v6 = self.v6.iter();
        let unread = self.unread.iter();
        v4.map(|(at, lease)| (At::V4(*at), Row::Lease(Arc::clone(lease))))
            .chain(v6.map(|(at, lease)| (At::V6(*at), Row::Lease6(Arc::clone(lease)))))
            .chain(unread.map(|(at, line)| (*at, Row::Unread(line.clone()))))
    }

    fn has(&self, at: At, row: &Row) -> bool {
        match (at, row) {
            (At::V4(at), Row::Lease(lease)) => self.v4.get(&at) == Some(lease),
            (At::V6(at), Row::Lease6(lease)) => self.v6.get(&at) == Some(lease),
            (at, Row::Unread(line)) => self.unread.get(&at) == Some(line),
            (At::V4(_), Row::Lease6(_)) | (At::V6(_), Row::Lease(_)) => false,
        }
    }

    fn knows(&self, at: At) -> bool {
        let lease = match at {
            At::V4(at) => self.v4.contains_key(&at),
            At::V6(at) => self.v6.contains_key(&at),
        };
        lease || self.unread.contains_key(&at)
    }
}

// === impl AnyChange ===

impl AnyChange {
    /// Whether it must reach the disk.
    pub(super) fn is_durable(&self) -> bool {
        match self {
            Self::V4(change) => change.is_durable(),
            Self::V6(change) => change.is_durable(),
        }
    }

    /// What it makes of its row.
    pub(super) fn row(&self) -> (At, Option<Row>) {
        match self {
            Self::V4(Change::Put(lease)) => {
                (At::V4(lease.at()), Some(Row::Lease(Arc::clone(lease))))
            }
            Self::V4(Change::Remove(address)) => (At::V4((*address).into()), None),
            Self::V6(Change6::Put(lease)) => {
                (At::V6(lease.at()), Some(Row::Lease6(Arc::clone(lease))))
            }
            Self::V6(Change6::Remove(address)) => (At::V6((*address).into()), None),
        }
    }
}

// === impl Row ===

impl Row {
    /// What the database keeps of it.
    pub(super) fn bytes(&self) -> Result<Cow<'_, [u8]>, StoreError> {
        let bytes = match self {
            Self::Lease(lease) => lease.to_row(),
            Self::Lease6(lease) => lease.to_row(),
            Self::Unread(bytes) => return Ok(Cow::Borrowed(bytes)),
        };
        bytes.map(Cow::Owned).map_err(StoreError::encode)
    }
}

// === impl Stored ===

impl Stored for Lease {
    type Key = u32;

    fn at(&self) -> u32 {
        self.address.into()
    }

    fn subnet_mut(&mut self) -> &mut Arc<str> {
        &mut self.subnet
    }
}

impl Stored for Lease6 {
    type Key = u128;

    fn at(&self) -> u128 {
        self.address.into()
    }

    fn subnet_mut(&mut self) -> &mut Arc<str> {
        &mut self.subnet
    }
}

// === impl Batch ===

impl<K> Batch<K> {
    fn new() -> Self {
        Self {
            bytes: Vec::new(),
            ends: Vec::with_capacity(BATCH),
        }
    }

    fn push(&mut self, at: K, row: &[u8]) {
        self.bytes.extend_from_slice(row);
        self.ends.push((at, self.bytes.len()));
    }
}

// === impl Read ===

impl<L: Stored> Read<L> {
    fn new() -> Self {
        Self {
            leases: Vec::new(),
            unread: Vec::new(),
            names: Names::default(),
        }
    }

    fn take(&mut self, batch: &Batch<L::Key>) {
        let mut rest = 0;
        for (at, end) in &batch.ends {
            let row = batch.bytes.get(rest..*end).unwrap_or_default();
            rest = *end;
            match read_row::<L>(*at, row, &mut self.names) {
                Some(lease) => self.leases.push((*at, lease)),
                None => self.unread.push((*at, row.into())),
            }
        }
    }
}

// === impl Names ===

impl Names {
    fn share(&mut self, name: &mut Arc<str>) {
        match self.0.get(&**name) {
            Some(known) => *name = Arc::clone(known),
            None => drop(self.0.insert(Arc::clone(name))),
        }
    }
}

/// The lease of a row, where it can be read and is the one of its key.
fn read_row<L: Stored>(at: L::Key, row: &[u8], names: &mut Names) -> Option<Arc<L>> {
    let lease = form::read::<L>(at.into(), row);
    let mut lease = lease.filter(|lease| lease.at() == at)?;
    names.share(lease.subnet_mut());
    Some(Arc::new(lease))
}

/// Reads a table that may not be there. A panic of redb is the caller's.
fn read_table<L: Stored>(
    database: &Database,
    definition: TableDefinition<'_, L::Key, &'static [u8]>,
) -> Result<Table<L>, redb::Error> {
    let mut all = Table {
        leases: BTreeMap::new(),
        unread: Vec::new(),
    };
    let table = match database.begin_read()?.open_table(definition) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(all),
        Err(error) => return Err(error.into()),
    };
    let readers = thread::available_parallelism().map_or(1, usize::from);
    let (batches, queue) = mpsc::sync_channel(2 * READERS);
    let queue = Mutex::new(queue);
    let read: Vec<Read<L>> = thread::scope(|scope| {
        let readers: Vec<_> = (0..readers.min(READERS))
            .map(|_| scope.spawn(|| read_batches(&queue)))
            .collect();
        let mut batch = Batch::new();
        for row in table.iter()? {
            let (at, row) = row?;
            batch.push(at.value(), row.value());
            if batch.ends.len() == BATCH {
                // The readers are gone only when one panicked, which is seen below.
                let _ = batches.send(std::mem::replace(&mut batch, Batch::new()));
            }
        }
        let _ = batches.send(batch);
        drop(batches);
        let joined = readers.into_iter().map(|reader| {
            let joined = reader.join();
            joined.unwrap_or_else(|panic| panic::resume_unwind(panic))
        });
        Ok::<_, redb::Error>(joined.collect())
    })?;
    let mut leases = Vec::with_capacity(read.iter().map(|it| it.leases.len()).sum());
    for part in read {
        leases.extend(part.leases);
        all.unread.extend(part.unread);
    }
    // In one go: a tree that grows in the order of its keys stays half empty.
    all.leases = leases.into_iter().collect();
    Ok(all)
}

fn read_batches<L: Stored>(queue: &Mutex<Receiver<Batch<L::Key>>>) -> Read<L> {
    let mut read = Read::new();
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(batch) = next else {
            return read;
        };
        read.take(&batch);
    }
}
