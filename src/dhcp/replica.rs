//! The engine's side of several replicas: what it is told of the others, and
//! what it tells them. Shell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot};

use crate::clock::Millis;
use crate::lease::{Authority, Change, Claims, Lease, LeaseState, LeaseTable, Record};
use crate::snapshot::Snapshot;

/// Pages of leases that may wait to be taken over.
pub const IMPORTS: usize = 2;
/// Changes that may wait to be mirrored. What does not fit is found when the
/// mirror is held against the table.
pub const FEED: usize = 4096;

/// For how long another replica may keep its claims before that is said, in
/// seconds.
const WAIT_SECS: u64 = 600;

/// How this replica stands at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What it may give of the pools.
    pub authority: Authority,
    /// The term for which it has yet to forget what its holder may give away.
    pub make_way: Option<u32>,
}

/// Leases to take over from the mirror, a page of them.
#[derive(Debug)]
pub struct Import<L = Lease> {
    /// The leases, as they were mirrored.
    pub leases: Vec<L>,
    /// Whether this is the first page.
    pub first: bool,
    /// Whether this is the last page.
    pub last: bool,
    /// Told when they are durable; dropped when they are not.
    pub done: oneshot::Sender<()>,
}

/// Where changes of bindings go; lossy, and says when it lost some.
#[derive(Clone, Debug)]
pub struct Feed<L: Record = Lease> {
    sender: mpsc::Sender<Change<L>>,
    lost: Arc<AtomicBool>,
}

/// The other end of a [`Feed`].
#[derive(Debug)]
pub struct Fed<L: Record = Lease> {
    /// The changes.
    pub changes: mpsc::Receiver<Change<L>>,
    lost: Arc<AtomicBool>,
}

/// Asks how this replica stands; asked at each use.
pub type Ask = Arc<dyn Fn() -> Standing + Send + Sync>;
/// Told the term that this replica made way for.
pub type MadeWay = Arc<dyn Fn(u32) + Send + Sync>;

/// What ties the engine to other replicas.
pub struct Replica {
    standing: Ask,
    pub(super) made_way: MadeWay,
    pub(super) imports: mpsc::Receiver<Import>,
    feed: Option<Feed>,
    pub(super) claims: Claims,
    /// What was forgotten for a term, until it is known to be durable.
    pub(super) forgotten: Option<(u32, Vec<Change>)>,
    /// What was forgotten, until the other doors forget it too.
    pub(super) fading: Option<(Millis, Vec<Change>)>,
    /// Since when another replica has not made way, and whether that was said.
    waits: Option<(Millis, bool)>,
}

/// A road for changes.
#[must_use]
pub fn feed<L: Record>() -> (Feed<L>, Fed<L>) {
    let (sender, changes) = mpsc::channel(FEED);
    let lost = Arc::new(AtomicBool::new(false));
    let fed = Fed {
        changes,
        lost: Arc::clone(&lost),
    };
    (Feed { sender, lost }, fed)
}

// === impl Feed ===

impl<L: Record> Feed<L> {
    /// Tells what of `changes` begins or ends a binding. `before` is what was
    /// known of an address; `same` whether two bindings look the same in the
    /// mirror, so that a renewal is no news.
    pub(super) fn tell<'a>(
        &self,
        changes: &[Change<L>],
        before: impl Fn(L::Address) -> Option<&'a L>,
        same: impl Fn(&L, &L) -> bool,
    ) where
        L: 'a,
    {
        let is_news = |change: &&Change<L>| {
            let before = before(change.address());
            let before = before.filter(|lease| lease.state() == LeaseState::Bound);
            match change {
                Change::Put(lease) if lease.state() == LeaseState::Bound => {
                    before.is_none_or(|before| !same(before, lease))
                }
                Change::Put(_) | Change::Remove(_) => before.is_some(),
            }
        };
        for change in changes.iter().filter(is_news) {
            if self.sender.try_send(change.clone()).is_err() {
                self.lost.store(true, Ordering::Relaxed);
            }
        }
    }
}

// === impl Fed ===

impl<L: Record> Fed<L> {
    /// Whether changes were lost since this was asked last.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        self.lost.swap(false, Ordering::Relaxed)
    }
}

// === impl Replica ===

impl Replica {
    /// The only replica: it asks nobody and tells `feed`, if anyone.
    #[must_use]
    pub fn sole(feed: Option<Feed>) -> Self {
        // The sender is dropped: nothing is ever taken over.
        let (_, imports) = mpsc::channel(1);
        Self::new(Arc::new(Standing::default), Arc::new(|_| ()), imports, feed)
    }

    /// One of several replicas.
    #[must_use]
    pub fn new(
        standing: Ask,
        made_way: MadeWay,
        imports: mpsc::Receiver<Import>,
        feed: Option<Feed>,
    ) -> Self {
        Self {
            standing,
            made_way,
            imports,
            feed,
            claims: Claims::default(),
            forgotten: None,
            fading: None,
            waits: None,
        }
    }

    /// How this replica stands now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        (self.standing)()
    }

    /// The question how it stands, for others to ask.
    #[must_use]
    pub fn ask(&self) -> Ask {
        Arc::clone(&self.standing)
    }

    /// What of `changes` may be carried out on `table`. Notes what other
    /// replicas may go on with, and tells the mirror.
    pub(super) fn allow(
        &mut self,
        now: Millis,
        authority: Authority,
        table: &LeaseTable,
        changes: Vec<Change>,
    ) -> Vec<Change> {
        let changes = self.claims.guard(changes);
        if is_unsettled(authority) {
            self.claims.claim_strangers(now, table, &changes);
        }
        if let Some(feed) = &self.feed {
            let same = |before: &Lease, lease: &Lease| {
                before.key == lease.key
                    && before.hostname == lease.hostname
                    && before.subnet == lease.subnet
            };
            feed.tell(&changes, |address| table.get(address), same);
        }
        changes
    }

    /// Says when another replica has kept claims for long.
    fn tell_waiting(&mut self, now: Millis, authority: Authority) {
        if !is_unsettled(authority) {
            self.waits = None;
            return;
        }
        let (since, told) = self.waits.get_or_insert((now, false));
        let secs = now.since(*since) / 1000;
        if !*told && secs >= WAIT_SECS {
            *told = true;
            tracing::warn!(
                secs,
                leases = self.claims.len(),
                "another replica has not been heard since this one leads: the leases that it may \
                 know never end; start it again, or lower --replicas where it is gone for good"
            );
        }
    }

    /// Ends claims once nobody else can have a lease that is not known here.
    pub(super) fn settle(&mut self, now: Millis, authority: Authority, snapshot: &Snapshot) {
        self.tell_waiting(now, authority);
        let longest = snapshot
            .subnets
            .iter()
            .map(|subnet| u64::from(subnet.spec.lifetimes.valid.secs()))
            .max();
        if let (
            Authority::Holder {
                settled_secs: Some(secs),
                ..
            },
            Some(longest),
        ) = (authority, longest)
            && secs >= longest
            && !self.claims.is_empty()
        {
            tracing::info!(
                leases = self.claims.len(),
                "every other replica has made way, and its leases have run out"
            );
            self.claims.clear();
        }
    }
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica")
            .field("standing", &self.standing())
            .field("claims", &self.claims.len())
            .finish_non_exhaustive()
    }
}

/// Whether another replica has yet to make way for this one.
fn is_unsettled(authority: Authority) -> bool {
    let unsettled = matches!(
        authority,
        Authority::Holder {
            settled_secs: None,
            ..
        }
    );
    unsettled && !authority.is_alone()
}
