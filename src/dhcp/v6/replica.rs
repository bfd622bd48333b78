//! The engine's side of several replicas: which part of the pools is its own,
//! and the mirror. Shell.

use tokio::sync::mpsc;

use crate::dhcp::replica::{Ask, Feed, Import};
use crate::lease::{Authority, Change6, Lease6, LeaseTable6};

/// What ties the engine to other replicas. Each lends from a part of the pools
/// that is its own, so none makes way for another.
pub struct Replica {
    standing: Ask,
    pub(super) imports: mpsc::Receiver<Import<Lease6>>,
    feed: Option<Feed<Lease6>>,
}

// === impl Replica ===

impl Replica {
    /// One that stands as `standing` says, takes over what `imports` brings,
    /// and tells `feed`, if anyone.
    #[must_use]
    pub const fn new(
        standing: Ask,
        imports: mpsc::Receiver<Import<Lease6>>,
        feed: Option<Feed<Lease6>>,
    ) -> Self {
        Self {
            standing,
            imports,
            feed,
        }
    }

    /// One that nobody mirrors.
    #[must_use]
    pub fn unmirrored(standing: Ask) -> Self {
        // The sender is dropped: nothing is ever taken over.
        let (_, imports) = mpsc::channel(1);
        Self::new(standing, imports, None)
    }

    /// Which part of the pools is its own.
    pub(super) fn authority(&self) -> Authority {
        (self.standing)().authority
    }

    /// Tells the mirror of changes that `table` is about to take.
    pub(super) fn tell(&self, table: &LeaseTable6, changes: &[Change6]) {
        let same = |before: &Lease6, lease: &Lease6| {
            before.key == lease.key && before.mac == lease.mac && before.subnet == lease.subnet
        };
        if let Some(feed) = &self.feed {
            feed.tell(changes, |address| table.get(address), same);
        }
    }
}
