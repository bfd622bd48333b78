//! Which `DhcpLease` objects there should be, and the next write towards that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::object::{Mirrored, Uid, key_of, object_of, print};
use crate::api::DhcpLease;
use crate::clock::{Millis, Uptime};
use crate::lease::{Change, Lease, LeaseState, Record};
use crate::snapshot::Snapshot;

/// The first rest of an address whose object could not be written; each
/// further one is twice as long.
const FIRST_REST: Duration = Duration::from_secs(5);
/// The longest.
const LONGEST_REST: Duration = Duration::from_secs(300);

/// What the API server has, and what is to be done about it.
#[derive(Clone, Debug)]
pub struct Plan<L: Mirrored = Lease> {
    /// The number of this replica, where each writes its own objects.
    replica: Option<u8>,
    /// The objects that are there, by address and namespace, each with a
    /// number that tells its content.
    there: BTreeMap<(L::Address, Place), u64>,
    /// The namespaces that have had one, each at its [`Place`].
    namespaces: Vec<String>,
    /// What is known of addresses whose object may be wrong; one entry for
    /// each, however often it changes.
    pending: BTreeMap<L::Address, Option<Arc<L>>>,
    /// Those of them whose object could not be written: how often, and when it
    /// is tried again.
    resting: BTreeMap<L::Address, (u32, Uptime)>,
}

/// A write.
#[derive(Clone, Debug, PartialEq)]
pub enum Write<A> {
    /// Make the object, or make it what this says.
    Apply {
        /// Its address.
        address: A,
        /// What it is to be.
        object: Box<DhcpLease>,
    },
    /// Remove the object of this address.
    Delete {
        /// Its namespace.
        namespace: String,
        /// Its address, of which its name is made.
        address: A,
    },
}

/// A namespace, by its place among those known: there are a few, and a hundred
/// thousand objects in them.
type Place = u32;

/// An address that is to be looked at, and what is known of it.
type Pending<'a, L> = (&'a <L as Record>::Address, &'a Option<Arc<L>>);

// === impl Plan ===

impl<L: Mirrored> Default for Plan<L> {
    fn default() -> Self {
        Self::new(None)
    }
}

impl<L: Mirrored> Plan<L> {
    /// Nothing is known yet. `replica` is the number of this one, where each
    /// writes its own objects.
    #[must_use]
    pub const fn new(replica: Option<u8>) -> Self {
        Self {
            replica,
            there: BTreeMap::new(),
            namespaces: Vec::new(),
            pending: BTreeMap::new(),
            resting: BTreeMap::new(),
        }
    }

    /// Notes that there is such an object.
    pub fn listed(&mut self, object: &DhcpLease) {
        // What somebody made by another name is not ours.
        if let Some((address, namespace)) = key_of::<L>(object) {
            if self.place(&namespace).is_none() {
                self.namespaces.push(namespace.clone());
            }
            if let Some(place) = self.place(&namespace) {
                self.there.insert((address, place), print(object));
            }
        }
    }

    /// Where a namespace is among those known.
    fn place(&self, namespace: &str) -> Option<Place> {
        let at = self.namespaces.iter().position(|it| it == namespace)?;
        Place::try_from(at).ok()
    }

    /// The namespace at a place.
    fn namespace(&self, place: Place) -> Option<&String> {
        self.namespaces.get(usize::try_from(place).ok()?)
    }

    /// Takes a change of the lease table in.
    pub fn change(&mut self, change: Change<L>) {
        let address = change.address();
        let lease = match change {
            Change::Put(lease) if lease.state() == LeaseState::Bound => Some(lease),
            Change::Put(_) | Change::Remove(_) => None,
        };
        self.pending.insert(address, lease);
    }

    /// Holds everything against `table`, the whole of it.
    pub fn resync(&mut self, now: Millis, table: Vec<Arc<L>>) {
        self.pending = self.there.keys().map(|(at, _)| (*at, None)).collect();
        let bound = table
            .into_iter()
            .filter(|lease| lease.state_at(now) == LeaseState::Bound);
        self.pending
            .extend(bound.map(|lease| (lease.address(), Some(lease))));
        self.resting
            .retain(|address, _| self.pending.contains_key(address));
    }

    /// Addresses that are yet to be looked at.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Objects that are there.
    #[must_use]
    pub fn there(&self) -> usize {
        self.there.len()
    }

    /// The next write; `None` when all is as it should be, or rests at `now`.
    /// Tell [`Plan::done`] when it was carried out; until then it comes again.
    pub fn next(
        &mut self,
        now: Uptime,
        snapshot: &Snapshot,
        uid: Uid<'_>,
    ) -> Option<Write<L::Address>> {
        let (mut from, _) = L::RANGE;
        while let Some((address, lease)) = self.awake(from, now) {
            let address = *address;
            from = address;
            let wanted = match lease {
                Some(lease) => match object_of(&**lease, snapshot, uid, self.replica) {
                    Some(object) => Some(object),
                    // Its Subnet is not served now. It may come back; if not,
                    // its objects go with it.
                    None => {
                        self.drop(address);
                        continue;
                    }
                },
                None => None,
            };
            let place = wanted.as_ref().and_then(key_of::<L>);
            let place = place.map(|(_, namespace)| self.place(&namespace));
            let of_address = (address, Place::MIN)..=(address, Place::MAX);
            let mut there = self.there.range(of_address);
            let stray = there.find(|((_, at), _)| place != Some(Some(*at)));
            if let Some(namespace) = stray.and_then(|((_, at), _)| self.namespace(*at)) {
                return Some(Write::Delete {
                    namespace: namespace.clone(),
                    address,
                });
            }
            let found = place.flatten();
            let found = found.and_then(|place| self.there.get(&(address, place)));
            match wanted {
                Some(object) if place.is_some() && found != Some(&print(&object)) => {
                    let object = Box::new(object);
                    return Some(Write::Apply { address, object });
                }
                _ => self.drop(address),
            }
        }
        None
    }

    /// The first address from `from` on that does not rest.
    fn awake(&self, from: L::Address, now: Uptime) -> Option<Pending<'_, L>> {
        let rests = |address| self.resting.get(address).is_some_and(|it| now < it.1);
        self.pending.range(from..).find(|it| !rests(it.0))
    }

    fn drop(&mut self, address: L::Address) {
        self.pending.remove(&address);
        self.resting.remove(&address);
    }

    /// Notes that `write` was carried out.
    pub fn done(&mut self, write: &Write<L::Address>) {
        self.resting.remove(&write.address());
        match write {
            Write::Apply { object, .. } => self.listed(object),
            Write::Delete { namespace, address } => {
                if let Some(place) = self.place(namespace) {
                    self.there.remove(&(*address, place));
                }
            }
        }
    }

    /// Puts the address of `write` off: its object cannot be written now.
    pub fn skip(&mut self, write: &Write<L::Address>) {
        self.drop(write.address());
    }

    /// Lets the address of `write` rest from `now` on, each time for longer:
    /// its object could not be written, and others must not wait for it.
    pub fn rest(&mut self, write: &Write<L::Address>, now: Uptime) {
        let (times, until) = self.resting.entry(write.address()).or_insert((0, now));
        let rest = FIRST_REST.saturating_mul(2_u32.saturating_pow(*times));
        *until = now.plus(rest.min(LONGEST_REST));
        *times = times.saturating_add(1);
    }
}

impl<A: Copy> Write<A> {
    /// The address that it is about.
    #[must_use]
    pub const fn address(&self) -> A {
        match self {
            Self::Apply { address, .. } | Self::Delete { address, .. } => *address,
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
