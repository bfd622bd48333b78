//! Keeps leases on disk: one writer thread, group commit.
//!
//! Whoever has changes hands them to a [`Committer`] with a function to call
//! when they are durable. The thread takes all that has queued behind the
//! running commit and writes it in one transaction: the busier it gets the more
//! changes share one flush of the disk, and only then a commit waits a moment for
//! company. What it writes is an entry of the [journal](super::journal); the tables follow.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use redb::Database;

use super::disk::{self, Disk, OpenTrouble, Opened, StoreError, Writing};
use super::journal::{AT_REST, Changes, Chores, Journal};
use super::metrics::LeaseMetrics;
use super::record::{Change, Lease};
use super::rows::{AnyChange, Rows};
use super::v6::{Change6, Lease6};

/// The file's name in the state folder.
pub const FILE: &str = "leases.redb";

/// Submissions that may wait. A disk that flushes in 10 ms takes 100,000 a
/// second in groups; more than this waiting means that it has stopped.
pub const QUEUE: usize = 8192;

/// Submissions that share one transaction at most. More would make the first
/// of them wait noticeably longer than the disk's flush takes.
pub const MAX_GROUP: usize = 1024;

/// Submissions that may wait before the writer counts as behind, and how many
/// more for each millisecond that the disk flushes: a slow disk takes them in
/// larger groups.
const ROOM: usize = 64;
const ROOM_PER_MILLI: usize = 10;

/// Submissions that a commit had where many come, and how long the next one
/// waits for more: what a commit costs whatever is in it is then a small part.
const BUSY: usize = 8;
const GATHER: Duration = Duration::from_micros(300);

/// After so long without a submission the tables catch up with the journal, a
/// part each time.
const REST: Duration = Duration::from_millis(100);

/// Called in the writer's thread when the fate of a submission is known. It
/// must not block: everybody behind it waits.
pub type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// What a database holds, to be shared with a table.
pub type Leases = Vec<Arc<Lease>>;

/// The same of IPv6.
pub type Leases6 = Vec<Arc<Lease6>>;

/// The lease database and the thread that writes it. Dropping it writes what
/// has been submitted, then lets go of the file.
#[derive(Debug)]
pub struct LeaseStore {
    committer: Committer,
    thread: Option<JoinHandle<()>>,
    leases6: Leases6,
}

/// Hands changes to the store; cheap to clone.
#[derive(Clone, Debug)]
pub struct Committer {
    jobs: SyncSender<Job>,
    pace: Arc<Pace>,
}

/// How much waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backlog {
    /// Nothing, or little.
    Little,
    /// No more than the time of a flush explains.
    Some,
    /// More is promised than the writer keeps up with: everybody's ACK gets later.
    TooMuch,
}

/// How the writer gets on.
#[derive(Debug, Default)]
struct Pace {
    /// Submissions that are not durable yet.
    waiting: AtomicUsize,
    /// What a commit takes when nothing holds it up, in microseconds: the flush.
    flush: AtomicU64,
}

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
    journal: Journal,
    metrics: LeaseMetrics,
    pace: Arc<Pace>,
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

    /// Reads the leases in the database at `path`, of IPv4 and of IPv6, changing
    /// nothing in them.
    ///
    /// # Errors
    /// It is missing, damaged, or another process has it open.
    pub fn read(path: &Path) -> Result<(Leases, Leases6, Option<OpenTrouble>), StoreError> {
        let rows = Disk::existing(path).open()?.rows;
        let (leases, trouble) = rows.leases();
        Ok((leases, rows.leases6(), trouble))
    }

    fn start(
        disk: Disk,
        metrics: LeaseMetrics,
    ) -> Result<(Self, Leases, Option<OpenTrouble>), StoreError> {
        let Opened {
            database,
            rows,
            journal,
            trouble,
        } = disk.open_or_replace()?;
        let (leases, unreadable) = rows.leases();
        let leases6 = rows.leases6();
        let pace = Arc::default();
        let writer = Writer {
            disk,
            database: Some(database),
            rows,
            journal,
            metrics,
            pace: Arc::clone(&pace),
            failing: false,
        };
        let (jobs, queue) = mpsc::sync_channel(QUEUE);
        let thread = thread::Builder::new()
            .name("lease-writer".to_owned())
            .spawn(move || writer.run(&queue))
            .map_err(|error| StoreError::Write(redb::Error::Io(error).into()))?;
        let store = Self {
            committer: Committer { jobs, pace },
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
        self.committer.clone()
    }

    /// Writes what has been submitted and lets go of the file. Blocks until
    /// then. What is submitted later is refused.
    pub fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            // Either fails only when the thread died, which it said itself.
            let _ = self.committer.jobs.send(Job::Close);
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
        // Counted first: the writer may be done with it before this goes on.
        self.pace.waiting.fetch_add(1, Ordering::Relaxed);
        self.jobs.try_send(job).map_err(|error| {
            self.pace.waiting.fetch_sub(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => NotTaken::Full,
                TrySendError::Disconnected(_) => NotTaken::Closed,
            }
        })
    }

    /// How much waits for the disk.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let waiting = self.pace.waiting.load(Ordering::Relaxed);
        let room = self.pace.room();
        match waiting {
            _ if waiting > room => Backlog::TooMuch,
            _ if waiting > room / 4 => Backlog::Some,
            _ => Backlog::Little,
        }
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
        self.pace.waiting.fetch_add(1, Ordering::Relaxed);
        self.jobs
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

// === impl Pace ===

impl Pace {
    /// How many may wait without anybody being late.
    fn room(&self) -> usize {
        let flush = usize::try_from(self.flush.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        ROOM.saturating_add(flush.saturating_mul(ROOM_PER_MILLI) / 1000)
    }

    /// Learns from a commit: at once from a quick one, slowly from one that took
    /// longer, which others on this host may have held up.
    fn took(&self, commit: Duration) {
        let took = u64::try_from(commit.as_micros()).unwrap_or(u64::MAX);
        let flush = self.flush.load(Ordering::Relaxed);
        let flush = match flush {
            0 => took,
            flush => took.min(flush + took.saturating_sub(flush) / 64),
        };
        self.flush.store(flush, Ordering::Relaxed);
    }
}

// === impl Writer ===

impl Writer {
    fn run(mut self, queue: &Receiver<Job>) {
        let mut last = 0;
        loop {
            let first = match self.next(queue) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    self.rest();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if last >= BUSY {
                thread::sleep(GATHER);
            }
            let mut group = Vec::with_capacity(last);
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
            last = group.len();
            self.pace.waiting.fetch_sub(last, Ordering::Relaxed);
            for (_, done) in group {
                done(result.clone());
            }
            if closing {
                break;
            }
        }
        while self.is_behind() {
            self.rest();
        }
        refuse_rest(queue);
    }

    fn next(&self, queue: &Receiver<Job>) -> Result<Job, RecvTimeoutError> {
        if self.is_behind() {
            queue.recv_timeout(REST)
        } else {
            queue.recv().map_err(Into::into)
        }
    }

    /// Whether the tables have something to catch up with, and can.
    fn is_behind(&self) -> bool {
        self.database.is_some() && !self.journal.is_empty()
    }

    /// Has the tables catch up by a part. What it fails at is not lost, and the
    /// next commit opens the file anew.
    fn rest(&mut self) {
        let attempt = AssertUnwindSafe(|| self.try_rest());
        let result = guarded(attempt);
        if result.is_err() {
            self.metrics.errors.inc();
        }
        self.log_spell(&result);
    }

    fn try_rest(&mut self) -> Result<(), StoreError> {
        let Some(database) = self.database.take() else {
            return Ok(());
        };
        let chores = self.journal.rest(AT_REST);
        self.write(&database, None, &chores)?;
        self.database = Some(database);
        Ok(())
    }

    fn write(
        &self,
        database: &Database,
        entry: Option<(u64, &Changes)>,
        chores: &Chores,
    ) -> Result<(), StoreError> {
        let rows = chores.fold.iter().map(|at| (*at, self.rows.get(*at)));
        let (rows, forget) = (&rows.collect(), &*chores.forget);
        if entry.is_none() && chores.is_empty() {
            return Ok(());
        }
        disk::write(
            database,
            Writing {
                entry,
                rows,
                forget,
            },
        )
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
        let result = guarded(AssertUnwindSafe(|| self.try_commit(&durable)));
        if result.is_ok() {
            self.pace.took(begun.elapsed());
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
        let rows: Changes = durable.iter().map(|change| change.row()).collect();
        // Stays taken when the write fails: the next commit opens it anew.
        let database = match self.database.take() {
            Some(database) => database,
            None => self.reopen()?,
        };
        let (number, chores) = self.journal.append(&rows);
        self.write(&database, Some((number, &rows)), &chores)?;
        self.database = Some(database);
        self.rows.apply(rows);
        Ok(())
    }

    /// Opens the file after an error and writes whatever it lacks: it may be
    /// another one than before.
    fn reopen(&mut self) -> Result<Database, StoreError> {
        let Opened {
            database,
            rows,
            journal,
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
        self.journal = journal;
        let repair = self.rows.repair(&rows);
        if !repair.is_empty() {
            let (number, chores) = self.journal.append(&repair);
            self.write(&database, Some((number, &repair)), &chores)?;
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

/// Turns a panic of the database into an error.
fn guarded(
    attempt: AssertUnwindSafe<impl FnOnce() -> Result<(), StoreError>>,
) -> Result<(), StoreError> {
    catch_unwind(attempt).unwrap_or_else(|panic| {
        let text = disk::panic_text(panic.as_ref());
        Err(StoreError::Panicked(text))
    })
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
