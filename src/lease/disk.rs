//! The lease database on disk: opening it whatever state it is in, reading
//! it, and one transaction.
//!
//! Four tables. `meta` has the row `schema`; `leases` has the address as a
//! number and what [`super::form`] makes of the lease; `leases6` the same of
//! IPv6; [`super::journal`] what these two do not have yet.

use std::any::Any;
use std::borrow::Borrow;
use std::fs::File;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs, io};

use redb::{Builder, Database, DatabaseError, Durability, Key, ReadableDatabase as _};
use redb::{StorageError, TableDefinition, WriteTransaction};

use super::journal::{self, Changes, JOURNAL, Journal};
use super::rows::{At, Row, Rows};
use crate::clock;

/// The version of the tables below.
const SCHEMA: u64 = 2;
/// The one before, whose rows are lines of JSON only.
const LINES: u64 = 1;
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(super) const LEASES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("leases");

pub(super) const LEASES6: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("leases6");

/// Memory for pages, in bytes. The table is in memory already, and the kernel
/// keeps the file; the default of 1 GiB would be for nothing.
const CACHE: usize = 2 << 20;

/// How a database is opened.
type Opener = Box<dyn Fn(&Path) -> Result<Database, DatabaseError> + Send>;

/// Why leases cannot be read or kept.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the database open.
    #[error("the lease database {} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// There is none.
    #[error("there is no lease database {}", .0.display())]
    Missing(PathBuf),
    /// It cannot be opened, and not because of what is in it.
    #[error("the lease database {} cannot be opened", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: Arc<redb::Error>,
    },
    /// What is in it cannot be used.
    #[error("the lease database {} is unusable: {detail}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The kind of damage.
        reason: TroubleReason,
        /// The damage in the database's words.
        detail: String,
    },
    /// A transaction failed: disk full, read-only, gone.
    #[error("leases cannot be written")]
    Write(#[source] Arc<redb::Error>),
    /// The database panicked in a transaction.
    #[error("the lease database panicked: {0}")]
    Panicked(String),
    /// The store was closed.
    #[error("the lease store is closed")]
    Closed,
}

/// What was wrong with a database that is in use now all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTrouble {
    /// The kind of damage.
    pub reason: TroubleReason,
    /// The damage in the database's words.
    pub detail: String,
    /// Where the old file is now; `None` when it is still in use.
    pub moved_to: Option<PathBuf>,
}

/// Kinds of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TroubleReason {
    /// The file is damaged or is no database.
    Damaged,
    /// The database panicked while it opened the file.
    Panicked,
    /// A newer version of this program wrote it.
    NewerSchema,
    /// Some rows cannot be read; they are left alone, the rest is in use.
    UnreadableRows,
}

/// What one transaction does.
#[derive(Clone, Copy)]
pub(super) struct Writing<'a> {
    /// An entry of the journal.
    pub(super) entry: Option<(u64, &'a Changes)>,
    /// Rows of the tables.
    pub(super) rows: &'a Changes,
    /// Entries that go.
    pub(super) forget: &'a [u64],
}

/// A place where a database is.
pub(super) struct Disk {
    path: PathBuf,
    open: Opener,
}

/// A database that was opened, with all that is in it.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) rows: Rows,
    pub(super) journal: Journal,
    pub(super) trouble: Option<OpenTrouble>,
}

// === impl StoreError ===

impl StoreError {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Locked(_) => "locked",
            Self::Missing(_) => "missing",
            Self::Open { .. } => "open-failed",
            Self::Broken { .. } => "broken",
            Self::Write(_) => "write-failed",
            Self::Panicked(_) => "panicked",
            Self::Closed => "closed",
        }
    }

    /// Wraps what went wrong in a transaction.
    pub(super) fn write(cause: impl Into<redb::Error>) -> Self {
        Self::Write(Arc::new(cause.into()))
    }

    /// Wraps what went wrong before it came to one.
    pub(super) fn encode(cause: postcard::Error) -> Self {
        Self::write(redb::Error::Io(io::Error::other(cause)))
    }
}

// === impl TroubleReason ===

impl TroubleReason {
    /// Its name in log lines, conditions and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Panicked => "panicked",
            Self::NewerSchema => "newer-schema",
            Self::UnreadableRows => "unreadable-rows",
        }
    }
}

// === impl Disk ===

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, open: _ } = self;
        f.debug_struct("Disk").field("path", path).finish()
    }
}

impl Disk {
    /// The database file at `path`, made when it is missing.
    pub(super) fn create(path: &Path) -> Self {
        let open = |path: &Path| {
            if !path.exists() {
                create_whole(path)?;
            }
            builder().create(path)
        };
        Self::with_opener(path, Box::new(open))
    }

    /// The database file at `path`, which must be there.
    pub(super) fn existing(path: &Path) -> Self {
        Self::with_opener(path, Box::new(|path| builder().open(path)))
    }

    /// As `open` opens it: for tests whose disk fails on demand.
    pub(super) fn with_opener(path: &Path, open: Opener) -> Self {
        Self {
            path: path.to_owned(),
            open,
        }
    }

    /// Opens the database; moves it aside and starts an empty one when what is
    /// in it cannot be used. Leases that are lost this way come back with the
    /// renewals; a service that does not start helps nobody.
    pub(super) fn open_or_replace(&self) -> Result<Opened, StoreError> {
        let error = match self.open() {
            Ok(opened) => return Ok(opened),
            Err(error) => error,
        };
        let StoreError::Broken { reason, detail, .. } = &error else {
            return Err(error);
        };
        let aside = beside(&self.path, &format!("broken-{}", clock::now().0));
        // Where it cannot be moved the first error is the one to cure.
        fs::rename(&self.path, &aside).map_err(|_| error.clone())?;
        let opened = self.open()?;
        Ok(Opened {
            trouble: Some(OpenTrouble {
                reason: *reason,
                detail: detail.clone(),
                moved_to: Some(aside),
            }),
            ..opened
        })
    }

    /// Opens the database and reads all of it.
    ///
    /// Under `catch_unwind`, because redb panics on some damage that a full
    /// disk leaves behind (its issue 620).
    pub(super) fn open(&self) -> Result<Opened, StoreError> {
        let attempt = || {
            let database = (self.open)(&self.path).map_err(|error| self.classify(error))?;
            let (rows, journal) = self.read(&database)?;
            sync_folder(&self.path).map_err(|error| self.classify(error.into()))?;
            Ok(Opened {
                database,
                rows,
                journal,
                trouble: None,
            })
        };
        catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|panic| {
            let detail = panic_text(panic.as_ref());
            Err(self.broken(TroubleReason::Panicked, detail))
        })
    }

    fn read(&self, database: &Database) -> Result<(Rows, Journal), StoreError> {
        let damaged = |error: redb::Error| self.broken(TroubleReason::Damaged, error.to_string());
        let found = schema(database).map_err(damaged)?;
        let read = match found {
            Some(SCHEMA | LINES) => {
                let mut rows = Rows::read(database).map_err(damaged)?;
                let journal = Journal::read(database, &mut rows).map_err(damaged)?;
                (rows, journal)
            }
            None => Default::default(),
            Some(other) => {
                let detail = format!("schema {other}, this version knows {SCHEMA}");
                return Err(self.broken(TroubleReason::NewerSchema, detail));
            }
        };
        if found != Some(SCHEMA) {
            set_schema(database).map_err(StoreError::write)?;
        }
        Ok(read)
    }

    fn broken(&self, reason: TroubleReason, detail: String) -> StoreError {
        StoreError::Broken {
            path: self.path.clone(),
            reason,
            detail,
        }
    }

    /// Tells a file that is broken from a file that cannot be reached.
    fn classify(&self, error: DatabaseError) -> StoreError {
        let path = self.path.clone();
        if matches!(
            error,
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch
        ) {
            return StoreError::Locked(path);
        }
        let DatabaseError::Storage(StorageError::Io(cause)) = error else {
            return self.broken(TroubleReason::Damaged, error.to_string());
        };
        if cause.kind() == ErrorKind::NotFound {
            return StoreError::Missing(path);
        }
        if is_about_content(&cause) {
            return self.broken(TroubleReason::Damaged, cause.to_string());
        }
        let cause = Arc::new(redb::Error::Io(cause));
        StoreError::Open { path, cause }
    }
}

/// Does all of `writing` in one transaction that is on the disk when this returns.
pub(super) fn write(database: &Database, writing: Writing<'_>) -> Result<(), StoreError> {
    let mut transaction = database.begin_write().map_err(StoreError::write)?;
    transaction
        .set_durability(Durability::Immediate)
        .map_err(StoreError::write)?;
    if writing.entry.is_some() || !writing.forget.is_empty() {
        let mut journal = transaction.open_table(JOURNAL).map_err(StoreError::write)?;
        if let Some((number, changes)) = writing.entry {
            let entry = journal::entry(changes)?;
            journal.insert(number, &*entry).map_err(StoreError::write)?;
        }
        for number in writing.forget {
            journal.remove(number).map_err(StoreError::write)?;
        }
    }
    // Those of IPv6 stand behind those of IPv4.
    let v4 = writing.rows.range(..At::V6(0));
    write_rows(&transaction, LEASES, v4, |at| match at {
        At::V4(address) => Some(*address),
        At::V6(_) => None,
    })?;
    let v6 = writing.rows.range(At::V6(0)..);
    write_rows(&transaction, LEASES6, v6, |at| match at {
        At::V4(_) => None,
        At::V6(address) => Some(*address),
    })?;
    transaction.commit().map_err(StoreError::write)
}

/// Writes rows of one table, and takes out those that are `None`.
fn write_rows<'a, K>(
    transaction: &WriteTransaction,
    definition: TableDefinition<'_, K, &'static [u8]>,
    rows: impl Iterator<Item = (&'a At, &'a Option<Row>)>,
    key: impl Fn(&At) -> Option<K>,
) -> Result<(), StoreError>
where
    K: for<'k> Key<SelfType<'k> = K> + for<'k> Borrow<K::SelfType<'k>> + 'static,
{
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    let mut table = transaction
        .open_table(definition)
        .map_err(StoreError::write)?;
    for (at, row) in rows {
        let Some(key) = key(at) else { continue };
        match row {
            Some(row) => table.insert(key, &*row.bytes()?).map(drop),
            None => table.remove(key).map(drop),
        }
        .map_err(StoreError::write)?;
    }
    Ok(())
}

/// The message of a panic.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    builder
}

/// Makes an empty database under another name and gives it its own when it is
/// whole: a death on the way must not leave half a file that looks damaged.
/// By a link, which unlike a rename never replaces what another process made
/// in the meantime; by a rename where the file system has no links.
fn create_whole(path: &Path) -> Result<(), DatabaseError> {
    let draft = beside(path, &format!("new-{}", std::process::id()));
    if draft.exists() {
        fs::remove_file(&draft)?;
    }
    builder().create(&draft)?.close()?;
    match fs::hard_link(&draft, path) {
        Ok(()) => fs::remove_file(&draft)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => fs::remove_file(&draft)?,
        Err(_) => fs::rename(&draft, path)?,
    }
    Ok(())
}

/// `path` with another ending: `leases.redb.<ending>`.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// The schema version; `None` in a database that is new.
fn schema(database: &Database) -> Result<Option<u64>, redb::Error> {
    let transaction = database.begin_read()?;
    match transaction.open_table(META) {
        Ok(table) => Ok(table.get("schema")?.map(|version| version.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn set_schema(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(META)?.insert("schema", SCHEMA)?;
    transaction.open_table(LEASES)?;
    transaction.commit()?;
    Ok(())
}

/// Whether an error says that the file itself is damaged. A disk, a network
/// file system or a table of open files that is in trouble says nothing of the
/// file: moving it aside would lose every lease for a moment's weather.
fn is_about_content(error: &io::Error) -> bool {
    [
        ErrorKind::InvalidData,
        ErrorKind::InvalidInput,
        ErrorKind::UnexpectedEof,
    ]
    .contains(&error.kind())
}

/// Makes a file that was just created survive a power cut.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let synced = File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all();
    match synced {
        // Some file systems cannot sync a folder; none of them is the worse for it.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::InvalidInput | ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        synced => synced,
    }
}
