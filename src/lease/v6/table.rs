//! The IPv6 lease table. A plain value; it performs no I/O and reads no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::Arc;

use super::super::record::{LeaseKey, LeaseState};
use super::super::table::{Counts, FORGET_SECS};
use super::record::{Change6, Lease6};
use crate::clock::Millis;

/// The greatest address, for ranges.
const LAST: Ipv6Addr = Ipv6Addr::new(
    0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff,
);

/// All IPv6 leases, with the indexes that answers need. [`LeaseTable6::apply`]
/// is the only way to change it and keeps the indexes right.
#[derive(Clone, Debug, Default)]
pub struct LeaseTable6 {
    leases: BTreeMap<Ipv6Addr, Arc<Lease6>>,
    /// When the sweep has something to do with a record.
    due: BTreeSet<(Millis, Ipv6Addr)>,
    subnets: BTreeMap<String, SubnetIndex>,
}

#[derive(Clone, Debug, Default)]
struct SubnetIndex {
    by_key: BTreeSet<(LeaseKey, Ipv6Addr)>,
    by_end: BTreeSet<(Millis, Ipv6Addr)>,
    counts: Counts,
}

// === impl LeaseTable6 ===

impl LeaseTable6 {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Records in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether nothing is known of any address.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// What is known of `address`.
    #[must_use]
    pub fn get(&self, address: Ipv6Addr) -> Option<&Lease6> {
        self.leases.get(&address).map(Arc::as_ref)
    }

    /// Every record, in the order of addresses.
    pub fn iter(&self) -> impl Iterator<Item = &Lease6> {
        self.leases.values().map(Arc::as_ref)
    }

    /// The records of `key` in `subnet`, in the order of addresses.
    pub fn of_key(&self, subnet: &str, key: &LeaseKey) -> impl Iterator<Item = &Lease6> {
        self.subnets
            .get(subnet)
            .into_iter()
            .flat_map(|index| {
                let all = (key.clone(), Ipv6Addr::UNSPECIFIED)..=(key.clone(), LAST);
                index.by_key.range(all)
            })
            .filter_map(|(_, address)| self.get(*address))
    }

    /// The records of `subnet` whose address is free at `now`, the one that has
    /// been so for longest first.
    pub fn ended(&self, subnet: &str, now: Millis) -> impl Iterator<Item = &Lease6> {
        self.subnets
            .get(subnet)
            .into_iter()
            .flat_map(move |index| index.by_end.range(..=(now, LAST)))
            .filter_map(|(_, address)| self.get(*address))
    }

    /// How many records `subnet` has in each state.
    #[must_use]
    pub fn counts(&self, subnet: &str) -> Counts {
        self.subnets
            .get(subnet)
            .map_or_else(Counts::default, |index| index.counts)
    }

    /// Records of `subnet`, in whatever state.
    #[must_use]
    pub fn records(&self, subnet: &str) -> usize {
        self.subnets
            .get(subnet)
            .map_or(0, |index| index.by_end.len())
    }

    /// Carries out one change.
    pub fn apply(&mut self, change: &Change6) {
        self.remove(change.address());
        match change {
            Change6::Put(lease) => self.insert(Arc::clone(lease)),
            Change6::Remove(_) => {}
        }
    }

    /// Carries out changes in their order.
    pub fn apply_all(&mut self, changes: &[Change6]) {
        for change in changes {
            self.apply(change);
        }
    }

    /// What time has done by `now`, at most `limit` changes, the longest overdue
    /// first. The caller applies them; until then every answer is right all the
    /// same.
    #[must_use]
    pub fn expire(&self, now: Millis, limit: usize) -> Vec<Change6> {
        self.due
            .range(..=(now, LAST))
            .take(limit)
            .filter_map(|(_, address)| self.get(*address))
            .map(|lease| match lease.state {
                LeaseState::Bound => Change6::put(Lease6 {
                    state: LeaseState::Expired,
                    ..lease.clone()
                }),
                LeaseState::Offered
                | LeaseState::Declined
                | LeaseState::Released
                | LeaseState::Expired => Change6::Remove(lease.address),
            })
            .collect()
    }

    fn insert(&mut self, lease: Arc<Lease6>) {
        let address = lease.address;
        self.due.insert((due(&lease), address));
        let index = self.subnets.entry(lease.subnet.clone()).or_default();
        index.by_end.insert((lease.expires, address));
        *index.counts.of(lease.state) += 1;
        if lease.state != LeaseState::Declined {
            index.by_key.insert((lease.key.clone(), address));
        }
        self.leases.insert(address, lease);
    }

    fn remove(&mut self, address: Ipv6Addr) {
        let Some(lease) = self.leases.remove(&address) else {
            return;
        };
        self.due.remove(&(due(&lease), address));
        let Some(index) = self.subnets.get_mut(&lease.subnet) else {
            return;
        };
        index.by_end.remove(&(lease.expires, address));
        *index.counts.of(lease.state) -= 1;
        index.by_key.remove(&(lease.key.clone(), address));
        if index.by_end.is_empty() {
            self.subnets.remove(&lease.subnet);
        }
    }
}

impl<L: Into<Arc<Lease6>>> FromIterator<L> for LeaseTable6 {
    fn from_iter<I: IntoIterator<Item = L>>(leases: I) -> Self {
        let mut table = Self::new();
        for lease in leases {
            table.apply(&Change6::put(lease));
        }
        table
    }
}

/// When the sweep has to look at a record.
const fn due(lease: &Lease6) -> Millis {
    match lease.state {
        LeaseState::Bound | LeaseState::Offered | LeaseState::Declined => lease.expires,
        LeaseState::Released | LeaseState::Expired => lease.expires.plus_secs(FORGET_SECS),
    }
}
