//! The lease table: what is known of each address, found by every question
//! that is asked of it in O(log n). A plain value; it performs no I/O and
//! reads no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::addresses::AddressSet;
use super::record::{Change, Lease, LeaseKey, LeaseState};
use crate::api::Cidr;
use crate::clock::Millis;

/// Seconds after its end that a lease is remembered: 30 days. Then its machine
/// is probably gone, and the table must not grow with every machine ever seen.
pub const FORGET_SECS: u64 = 30 * 24 * 3600;

/// All leases, with the indexes that answer needs. [`LeaseTable::apply`] is
/// the only way to change it and keeps the indexes right.
#[derive(Clone, Debug, Default)]
pub struct LeaseTable {
    leases: BTreeMap<Ipv4Addr, Arc<Lease>>,
    /// The addresses of `leases`, as runs: its gaps were never used.
    known: AddressSet,
    /// When the sweep has something to do with a record.
    due: BTreeSet<(Millis, Ipv4Addr)>,
    subnets: BTreeMap<Arc<str>, SubnetIndex>,
}

/// Records of one Subnet by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lent.
    pub bound: usize,
    /// Offered, not yet asked for.
    pub offered: usize,
    /// On probation because somebody else answers there.
    pub declined: usize,
    /// Released or expired, kept for the machine that had them.
    pub remembered: usize,
}

#[derive(Clone, Debug, Default)]
struct SubnetIndex {
    /// By [`LeaseKey::spread`], which says as much as the key in a third of its
    /// room; the records themselves tell keys of one number apart.
    by_key: BTreeSet<(u64, Ipv4Addr)>,
    by_end: BTreeSet<(Millis, Ipv4Addr)>,
    counts: Counts,
}

// === impl LeaseTable ===

impl LeaseTable {
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
    pub fn get(&self, address: Ipv4Addr) -> Option<&Lease> {
        self.leases.get(&address).map(Arc::as_ref)
    }

    /// Every record, in the order of addresses.
    pub fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values().map(Arc::as_ref)
    }

    /// Every record, to be kept beside the table without a copy.
    pub fn shared(&self) -> impl Iterator<Item = Arc<Lease>> {
        self.leases.values().cloned()
    }

    /// The records of `key` in `subnet`, in the order of addresses. Mostly
    /// one; more while a machine moves from one address to another.
    pub fn of_key(&self, subnet: &str, key: &LeaseKey) -> impl Iterator<Item = &Lease> {
        let number = key.spread();
        self.subnets
            .get(subnet)
            .into_iter()
            .flat_map(move |index| {
                let all = (number, Ipv4Addr::UNSPECIFIED)..=(number, Ipv4Addr::BROADCAST);
                index.by_key.range(all)
            })
            .filter_map(|(_, address)| self.get(*address))
            .filter(move |lease| lease.key == *key)
    }

    /// The name of `subnet` as its records have it: all share one text.
    #[must_use]
    pub fn shared_name(&self, subnet: &str) -> Arc<str> {
        match self.subnets.get_key_value(subnet) {
            Some((name, _)) => Arc::clone(name),
            None => subnet.into(),
        }
    }

    /// The records of `subnet` whose address is free at `now`, the one that
    /// has been so for longest first.
    pub fn ended(&self, subnet: &str, now: Millis) -> impl Iterator<Item = &Lease> {
        let last = (now, Ipv4Addr::BROADCAST);
        self.subnets
            .get(subnet)
            .into_iter()
            .flat_map(move |index| index.by_end.range(..=last))
            .filter_map(|(_, address)| self.get(*address))
    }

    /// The first address from `start` to `end` of which nothing is known and
    /// that is not `taken`.
    ///
    /// Limit: one step for each run of taken addresses on the way, so a pool
    /// riddled with 10,000 scattered reservations costs about a millisecond.
    #[must_use]
    pub fn next_unused(
        &self,
        start: Ipv4Addr,
        end: Ipv4Addr,
        taken: &AddressSet,
    ) -> Option<Ipv4Addr> {
        let mut at = start;
        while at <= end {
            let run = self.known.run_end(at).or_else(|| taken.run_end(at));
            let Some(run_end) = run else {
                return Some(at);
            };
            at = u32::from(run_end).checked_add(1)?.into();
        }
        None
    }

    /// How many records `subnet` has in each state. Expired ones count as
    /// bound until the sweep sees them.
    #[must_use]
    pub fn counts(&self, subnet: &str) -> Counts {
        self.subnets
            .get(subnet)
            .map_or_else(Counts::default, |index| index.counts)
    }

    /// Carries out one change.
    pub fn apply(&mut self, change: &Change) {
        self.remove(change.address());
        match change {
            Change::Put(lease) => self.insert(Arc::clone(lease)),
            Change::Remove(_) => {}
        }
    }

    /// Carries out changes in their order.
    pub fn apply_all(&mut self, changes: &[Change]) {
        for change in changes {
            self.apply(change);
        }
    }

    /// What time has done by `now`, at most `limit` changes, the longest
    /// overdue first: leases expire, offers nobody took and probations end,
    /// old memories fade. The caller applies them; until then every answer is
    /// right all the same, because it looks at the times itself.
    #[must_use]
    pub fn expire(&self, now: Millis, limit: usize) -> Vec<Change> {
        self.due
            .range(..=(now, Ipv4Addr::BROADCAST))
            .take(limit)
            .filter_map(|(_, address)| self.get(*address))
            .map(|lease| match lease.state {
                LeaseState::Bound => Change::put(Lease {
                    state: LeaseState::Expired,
                    ..lease.clone()
                }),
                LeaseState::Offered
                | LeaseState::Declined
                | LeaseState::Released
                | LeaseState::Expired => Change::Remove(lease.address),
            })
            .collect()
    }

    /// Files records under the Subnet that has their address now, where the
    /// one they name is no longer among `subnets` (`namespace/name`): a Subnet
    /// that is renamed within its namespace keeps its leases. For when the
    /// Subnets changed.
    #[must_use]
    pub fn rehome(&self, subnets: &[(String, Cidr)]) -> Vec<Change> {
        let is_gone = |lease: &&Lease| !subnets.iter().any(|(name, _)| **name == *lease.subnet);
        self.iter()
            .filter(is_gone)
            .filter_map(|lease| {
                let namespace = namespace_of(&lease.subnet);
                let (name, _) = subnets
                    .iter()
                    .filter(|(name, _)| namespace_of(name) == namespace)
                    .filter(|(_, cidr)| cidr.contains(lease.address))
                    .max_by_key(|(_, cidr)| cidr.net().prefix_len())?;
                Some(Change::put(Lease {
                    subnet: self.shared_name(name),
                    ..lease.clone()
                }))
            })
            .collect()
    }

    fn insert(&mut self, lease: Arc<Lease>) {
        let address = lease.address;
        self.known.insert(address);
        self.due.insert((due(&lease), address));
        let index = self.subnets.entry(lease.subnet.clone()).or_default();
        index.by_end.insert((lease.expires, address));
        *index.counts.of(lease.state) += 1;
        if lease.state != LeaseState::Declined {
            index.by_key.insert((lease.key.spread(), address));
        }
        self.leases.insert(address, lease);
    }

    fn remove(&mut self, address: Ipv4Addr) {
        let Some(lease) = self.leases.remove(&address) else {
            return;
        };
        self.known.remove(address);
        self.due.remove(&(due(&lease), address));
        let Some(index) = self.subnets.get_mut(&lease.subnet) else {
            return;
        };
        index.by_end.remove(&(lease.expires, address));
        *index.counts.of(lease.state) -= 1;
        index.by_key.remove(&(lease.key.spread(), address));
        if index.by_end.is_empty() {
            self.subnets.remove(&lease.subnet);
        }
    }
}

impl<L: Into<Arc<Lease>>> FromIterator<L> for LeaseTable {
    /// Of two records of one address the later counts. Made in one go: trees
    /// that grow in the order of their keys stay half empty.
    fn from_iter<I: IntoIterator<Item = L>>(leases: I) -> Self {
        let leases: BTreeMap<_, _> = leases
            .into_iter()
            .map(|lease| {
                let lease: Arc<Lease> = lease.into();
                (lease.address, lease)
            })
            .collect();
        let mut known = AddressSet::new();
        let mut by_subnet: BTreeMap<_, Vec<&Lease>> = BTreeMap::new();
        for (address, lease) in &leases {
            known.insert(*address);
            let subnet = Arc::clone(&lease.subnet);
            by_subnet.entry(subnet).or_default().push(lease);
        }
        Self {
            known,
            due: leases.values().map(|it| (due(it), it.address)).collect(),
            subnets: by_subnet
                .into_iter()
                .map(|(subnet, leases)| (subnet, SubnetIndex::of(&leases)))
                .collect(),
            leases,
        }
    }
}

// === impl SubnetIndex ===

impl SubnetIndex {
    fn of(leases: &[&Lease]) -> Self {
        let mut counts = Counts::default();
        for lease in leases {
            *counts.of(lease.state) += 1;
        }
        Self {
            by_key: leases
                .iter()
                .filter(|lease| lease.state != LeaseState::Declined)
                .map(|lease| (lease.key.spread(), lease.address))
                .collect(),
            by_end: leases.iter().map(|it| (it.expires, it.address)).collect(),
            counts,
        }
    }
}

// === impl Counts ===

impl Counts {
    pub(super) const fn of(&mut self, state: LeaseState) -> &mut usize {
        match state {
            LeaseState::Bound => &mut self.bound,
            LeaseState::Offered => &mut self.offered,
            LeaseState::Declined => &mut self.declined,
            LeaseState::Released | LeaseState::Expired => &mut self.remembered,
        }
    }
}

/// The namespace of a Subnet (`namespace/name`).
pub(super) fn namespace_of(subnet: &str) -> &str {
    subnet
        .split_once('/')
        .map_or("", |(namespace, _)| namespace)
}

/// When the sweep has to look at a record.
const fn due(lease: &Lease) -> Millis {
    match lease.state {
        LeaseState::Bound | LeaseState::Offered | LeaseState::Declined => lease.expires,
        LeaseState::Released | LeaseState::Expired => lease.expires.plus_secs(FORGET_SECS),
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
