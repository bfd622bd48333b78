//! The Lease object as an election sees it. Core: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use jiff::Timestamp;

/// `leaseDurationSeconds` of an object that its holder gave up, as client-go
/// writes it.
pub const RELEASED_SECS: u32 = 1;

/// A Lease object, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `metadata.uid`; empty in one that is yet to be made.
    pub uid: String,
    /// `metadata.resourceVersion`: a write holds only where it is still so.
    pub version: String,
    /// Who has it; empty when nobody does.
    pub holder: String,
    /// How long others leave it to its holder, in seconds.
    pub lease_secs: u32,
    /// When the holder got it, by the holder's wall clock.
    pub acquired: Timestamp,
    /// When it was last renewed, by the holder's wall clock.
    pub renewed: Timestamp,
    /// How often it changed hands: the number of the holder's term.
    pub term: u32,
    /// The last term that each replica is known to have made way for.
    pub known: BTreeMap<u8, u32>,
    /// The addresses from which each replica serves: the others are no foreign
    /// DHCP servers to it.
    pub servers: BTreeMap<u8, BTreeSet<Ipv4Addr>>,
}

// === impl Record ===

impl Record {
    /// Whether its holder gave it up.
    #[must_use]
    pub fn is_released(&self) -> bool {
        self.holder.is_empty() && self.lease_secs == RELEASED_SECS
    }

    /// Whether an election sees no difference between this and `other`.
    /// Labels and what others note beside the election are none.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        self.uid == other.uid
            && self.holder == other.holder
            && self.lease_secs == other.lease_secs
            && self.acquired == other.acquired
            && self.renewed == other.renewed
            && self.term == other.term
    }
}

/// Where the terms of a new object begin: below 2^30, and hardly ever twice at
/// the same number, for replicas that remember terms of one that was deleted.
pub(super) fn scattered(wall: Timestamp) -> u32 {
    let micros = wall.as_microsecond().rem_euclid(1 << 30);
    u32::try_from(micros).unwrap_or(0)
}

/// A renewal is always a change, even where the wall clock went back.
pub(super) fn later(before: Timestamp, wall: Timestamp) -> Timestamp {
    let tick = jiff::SignedDuration::from_micros(1);
    let least = before.checked_add(tick).unwrap_or(before);
    // As it reads back: an object has microseconds.
    let wall = Timestamp::from_microsecond(wall.as_microsecond()).unwrap_or(wall);
    wall.max(least)
}
