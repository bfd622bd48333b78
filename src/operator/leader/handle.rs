//! What the rest of the process asks about the election. Cheap to clone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::config::Place;
use super::elect::{Elector, Leadership};
use crate::clock::Uptime;

/// This replica's standing. Every answer is for the moment that it is asked
/// for, so that a process that was frozen cannot act on an old one.
#[derive(Clone, Debug)]
pub struct LeaderHandle {
    inner: Arc<Mutex<Inner>>,
    replicas: u8,
    ordinal: u8,
}

#[derive(Debug)]
struct Inner {
    elector: Elector,
    /// The term for which the leases of others were taken over.
    ready: Option<u32>,
}

/// What this replica stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Footing {
    /// It does not know yet.
    Starting,
    /// It leads.
    Leading {
        /// The number of its term.
        term: u32,
        /// Whether it took over what others had given.
        ready: bool,
        /// How long all others have been known to have made way.
        settled: Option<Duration>,
    },
    /// Another leads, or nobody does.
    Following {
        /// The number of the term.
        term: u32,
        /// Whether its holder was seen alive and this replica has yet to make
        /// way for it.
        make_way: bool,
    },
    /// It cannot tell.
    Isolated,
}

// === impl LeaderHandle ===

impl LeaderHandle {
    /// A handle on `elector`, at this place among the replicas.
    #[must_use]
    pub fn new(elector: Elector, place: &Place) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                elector,
                ready: None,
            })),
            replicas: place.replicas,
            ordinal: place.ordinal,
        }
    }

    /// How many replicas there are.
    #[must_use]
    pub const fn replicas(&self) -> u8 {
        self.replicas
    }

    /// Which one this is, from 0.
    #[must_use]
    pub const fn ordinal(&self) -> u8 {
        self.ordinal
    }

    /// How this replica stands at `now`.
    #[must_use]
    pub fn state(&self, now: Uptime) -> Leadership {
        self.lock().elector.state(now)
    }

    /// Whether it leads at `now`.
    #[must_use]
    pub fn is_leader(&self, now: Uptime) -> bool {
        self.state(now).is_leader()
    }

    /// What it stands on at `now`.
    #[must_use]
    pub fn footing(&self, now: Uptime) -> Footing {
        let inner = self.lock();
        match inner.elector.state(now) {
            Leadership::Starting => Footing::Starting,
            Leadership::Isolated => Footing::Isolated,
            Leadership::Leader { term } => Footing::Leading {
                term,
                ready: inner.ready == Some(term),
                settled: inner.elector.settled_for(now),
            },
            Leadership::Follower { term, alive, .. } => Footing::Following {
                term,
                make_way: alive && inner.elector.made_way() != Some(term),
            },
        }
    }

    /// Notes that what others had given was taken over for `term`.
    pub fn ready(&self, term: u32) {
        self.lock().ready = Some(term);
    }

    /// Notes that nothing is kept that the holder of `term` may give away.
    pub fn make_way(&self, term: u32) {
        self.lock().elector.make_way(term);
    }

    /// The ordinals of the other replicas.
    pub(super) fn others(&self) -> impl Iterator<Item = u8> + use<> {
        let ordinal = self.ordinal;
        (0..self.replicas).filter(move |other| *other != ordinal)
    }

    /// Works with the elector. Held for microseconds, never over an await.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Elector) -> T) -> T {
        work(&mut self.lock().elector)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
