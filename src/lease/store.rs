//! Keeps leases on disk: one writer thread, group commit.
//!
//! Whoever has changes hands them to a [`Committer`] with a function to call
//! when they are durable. The thread takes all that has queued behind the
//! running commit and writes it in one transaction: nobody waits for company,
//! and the busier it gets the more changes share one flush of the disk.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use redb::Database;

use super::disk::{self, AnyChange, Disk, OpenTrouble, Opened, Rows, StoreError};
use super::metrics::LeaseMetrics;
use super::record::{Change, Lease};
use super::v6::{Change6, Lease6};

/// The file's name in the state folder.
pub const FILE: &str = "leases.redb";

/// Submissions that may wait. A disk that flushes in 10 ms takes 100,000 a
/// second in groups; more than this waiting means that it has stopped.
pub const QUEUE: usize = 8192;

/// Submissions that share one transaction at most. More would make the first
/// of them wait noticeably longer than the disk's flush takes.
pub const MAX_GROUP: usize = 1024;

/// Called in the writer's thread when the fate of a submission is known. It
/// must not block: everybody behind it waits.
pub type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// What a database holds, to be shared with a table.
pub type Leases = Vec<Arc<Lease>>;

/// The lease database and the thread that writes it. Dropping it writes what
/// has been submitted, then lets go of the file.
#[derive(Debug)]
pub struct LeaseStore {
    jobs: SyncSender<Job>,
    thread: Option<JoinHandle<()>>,
    leases6: Vec<Arc<Lease6>>,
}

/// Hands changes to the store; cheap to clone.
#[derive(Clone, Debug)]
pub struct Committer(SyncSender<Job>);

/// Why a submission is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// [`QUEUE`] submissions wait already. The client will ask again.
    #[error("the lease store cannot keep up")]
    Full,
    /// The store was closed, or its thread died.
    #[error("the lease store is closed")]
    Closed,
}

enum Job {
    Commit { changes: Vec<AnyChange>, done: Done },
    Close,
}

/// What the thread owns.
struct Writer {
    disk: Disk,
    /// `None` after an error: redb refuses all work after one until the file
    /// is opened anew.
    database: Option<Database>,
    /// What is on the disk, to restore a file that had to be replaced.
    rows: Rows,
    metrics: LeaseMetrics,
    failing: bool,
}

// === impl LeaseStore ===

impl LeaseStore {
    /// Opens the database at `path`, makes it when it is missing, and returns
    /// the leases in it. A damaged file is moved aside
    /// (`leases.redb.broken-<millis>`) and an empty one takes its place; the
    /// trouble says so.
    ///
    /// # Errors
    /// Another process has it ([`StoreError::Locked`]), or it can be neither
    /// opened nor replaced.
    pub fn open(
        path: &Path,
        metrics: LeaseMetrics,
    ) -> Result<(Self, Leases, Option<OpenTrouble>), StoreError> {
        Self::start(Disk::create(path), metrics)
    }

    /// Reads the leases in the database at `path`, changing nothing in them.
    ///
    /// # Errors
    /// It is missing, damaged, or another process has it open.
    pub fn read(path: &Path) -> Result<(Leases, Option<OpenTrouble>), StoreError> {
        let opened = Disk::existing(path).open()?;
        Ok(disk::leases_of(&opened.rows))
    }

    /// The IPv6 leases in the database at `path`, likewise.
    ///
    /// # Errors
    /// It is missing, damaged, or another process has it open.
    pub fn read6(path: &Path) -> Result<Vec<Arc<Lease6>>, StoreError> {
        let opened = Disk::existing(path).open()?;
        Ok(disk::leases6_of(&opened.rows))
    }

    fn start(
        disk: Disk,
        metrics: LeaseMetrics,
    ) -> Result<(Self, Leases, Option<OpenTrouble>), StoreError> {
        let Opened {
            database,
            rows,
            trouble,
        } = disk.open_or_replace()?;
        let (leases, unreadable) = disk::leases_of(&rows);
        let leases6 = disk::leases6_of(&rows);
        let writer = Writer {
            disk,
            database: Some(database),
            rows,
            metrics,
            failing: false,
        };
        let (jobs, queue) = mpsc::sync_channel(QUEUE);
        let thread = thread::Builder::new()
            .name("lease-writer".to_owned())
            .spawn(move || writer.run(&queue))
            .map_err(|error| StoreError::Write(redb::Error::Io(error).into()))?;
        let store = Self {
            jobs,
            thread: Some(thread),
            leases6,
        };
        Ok((store, leases, trouble.or(unreadable)))
    }

    /// The IPv6 leases that were in the database when it was opened.
    #[must_use]
    pub fn leases6(&self) -> &[Arc<Lease6>] {
        &self.leases6
    }

    /// A handle to submit changes with.
    #[must_use]
    pub fn committer(&self) -> Committer {
        Committer(self.jobs.clone())
    }

    /// Writes what has been submitted and lets go of the file. Blocks until
    /// then. What is submitted later is refused.
    pub fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            // Either fails only when the thread died, which it said itself.
            let _ = self.jobs.send(Job::Close);
            let _ = thread.join();
        }
    }
}

impl Drop for LeaseStore {
    fn drop(&mut self) {
        self.end();
    }
}

// === impl Committer ===

impl Committer {
    /// Takes `changes` to be made durable and calls `done` when they are, or
    /// with the error when they are not: then nothing that rests on them may
    /// be promised. Never blocks. Submissions are written and answered in
    /// their order; those without a durable change are answered in it, too.
    ///
    /// # Errors
    /// [`NotTaken`]; `done` is not called then.
    pub fn submit(&self, changes: Vec<Change>, done: Done) -> Result<(), NotTaken> {
        self.queue(changes.into_iter().map(AnyChange::V4).collect(), done)
    }

    /// The same of IPv6 leases.
    ///
    /// # Errors
    /// [`NotTaken`]; `done` is not called then.
    pub fn submit6(&self, changes: Vec<Change6>, done: Done) -> Result<(), NotTaken> {
        self.queue(changes.into_iter().map(AnyChange::V6).collect(), done)
    }

    fn queue(&self, changes: Vec<AnyChange>, done: Done) -> Result<(), NotTaken> {
        let job = Job::Commit { changes, done };
        self.0.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => NotTaken::Full,
            TrySendError::Disconnected(_) => NotTaken::Closed,
        })
    }

    /// Makes `changes` durable and waits for it. For the command line; blocks.
    ///
    /// # Errors
    /// They are not on the disk.
    pub fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        self.wait(changes.into_iter().map(AnyChange::V4).collect())
    }

    /// The same of IPv6 leases.
    ///
    /// # Errors
    /// They are not on the disk.
    pub fn commit6(&self, changes: Vec<Change6>) -> Result<(), StoreError> {
        self.wait(changes.into_iter().map(AnyChange::V6).collect())
    }

    fn wait(&self, changes: Vec<AnyChange>) -> Result<(), StoreError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let done: Done = Box::new(move |result| {
            // Nobody listens only when the caller panicked.
            let _ = sender.send(result);
        });
        self.0
            .send(Job::Commit { changes, done })
            .map_err(|_| StoreError::Closed)?;
        receiver.recv().map_err(|_| StoreError::Closed)?
    }
}

// === impl NotTaken ===

impl NotTaken {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "lease-store-full",
            Self::Closed => "lease-store-closed",
        }
    }
}

// === impl Writer ===

impl Writer {
    fn run(mut self, queue: &Receiver<Job>) {
        while let Ok(first) = queue.recv() {
            let mut group = Vec::new();
            let mut closing = false;
            let mut next = Some(first);
            while let Some(job) = next {
                match job {
                    Job::Commit { changes, done } => group.push((changes, done)),
                    Job::Close => closing = true,
                }
                let full = closing || group.len() >= MAX_GROUP;
                next = if full { None } else { queue.try_recv().ok() };
            }
            let result = self.commit(group.iter().flat_map(|(changes, _)| changes));
            for (_, done) in group {
                done(result.clone());
            }
            if closing {
                break;
            }
        }
        refuse_rest(queue);
    }

    /// One transaction for all durable changes.
    fn commit<'a>(
        &mut self,
        changes: impl Iterator<Item = &'a AnyChange>,
    ) -> Result<(), StoreError> {
        let durable: Vec<_> = changes.filter(|change| change.is_durable()).collect();
        if durable.is_empty() {
            return Ok(());
        }
        #[expect(clippy::disallowed_methods, reason = "measures the disk")]
        let begun = Instant::now();
        let attempt = AssertUnwindSafe(|| self.try_commit(&durable));
        let result = catch_unwind(attempt).unwrap_or_else(|panic| {
            let text = disk::panic_text(panic.as_ref());
            Err(StoreError::Panicked(text))
        });
        if result.is_ok() {
            self.metrics.commits.inc();
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            self.metrics.changes.observe(durable.len() as f64);
            self.metrics.seconds.observe(begun.elapsed().as_secs_f64());
        } else {
            self.metrics.errors.inc();
        }
        self.log_spell(&result);
        result
    }

    fn try_commit(&mut self, durable: &[&AnyChange]) -> Result<(), StoreError> {
        // The last change of an address is the one that counts.
        let rows: BTreeMap<_, _> = durable.iter().map(|change| disk::row_of(change)).collect();
        // Stays taken when the write fails: the next commit opens it anew.
        let database = match self.database.take() {
            Some(database) => database,
            None => self.reopen()?,
        };
        disk::write(&database, &rows)?;
        self.database = Some(database);
        for (address, row) in rows {
            match row {
                Some(row) => self.rows.insert(address, row),
                None => self.rows.remove(&address),
            };
        }
        Ok(())
    }

    /// Opens the file after an error and writes whatever it lacks: it may be
    /// another one than before.
    fn reopen(&self) -> Result<Database, StoreError> {
        let Opened {
            database,
            rows,
            trouble,
        } = self.disk.open_or_replace()?;
        if let Some(OpenTrouble {
            reason,
            detail,
            moved_to,
        }) = trouble
        {
            let reason = reason.as_str();
            tracing::error!(reason, detail, ?moved_to, "lease database replaced");
        }
        let missing = self
            .rows
            .iter()
            .filter(|(at, row)| rows.get(at) != Some(row));
        let surplus = rows.keys().filter(|at| !self.rows.contains_key(at));
        let repair: BTreeMap<_, _> = missing
            .map(|(at, row)| (*at, Some(row.clone())))
            .chain(surplus.map(|at| (*at, None)))
            .collect();
        if !repair.is_empty() {
            disk::write(&database, &repair)?;
        }
        Ok(database)
    }

    /// Says once that writing fails, and once that it works again.
    fn log_spell(&mut self, result: &Result<(), StoreError>) {
        match result {
            Err(error) if !self.failing => {
                let reason = error.as_str();
                let cause = std::error::Error::source(error).map(ToString::to_string);
                tracing::error!(reason, %error, cause, "leases cannot be kept: no new ones are given");
            }
            Ok(()) if self.failing => tracing::info!("leases can be kept again"),
            Ok(()) | Err(_) => {}
        }
        self.failing = result.is_err();
    }
}

/// Tells those who were late that the store is closed.
fn refuse_rest(queue: &Receiver<Job>) {
    while let Ok(job) = queue.try_recv() {
        match job {
            Job::Commit { done, .. } => done(Err(StoreError::Closed)),
            Job::Close => {}
        }
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
