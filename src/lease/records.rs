//! What is known of each address, found by every question that is asked of it in
//! O(log n), for leases of either kind. A plain value; it performs no I/O and
//! reads no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::record::{Change, LeaseKey, LeaseState, Record};
use crate::clock::Millis;

/// Seconds after its end that a lease is remembered: 30 days. Then its machine
/// is probably gone, and the table must not grow with every machine ever seen.
pub const FORGET_SECS: u64 = 30 * 24 * 3600;

/// Leases, with the indexes that answers need. [`Records::apply`] is the only way
/// to change them and keeps the indexes right.
#[derive(Clone, Debug)]
pub struct Records<L: Record> {
    leases: BTreeMap<L::Address, Arc<L>>,
    subnets: BTreeMap<Arc<str>, SubnetIndex<L::Address>>,
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

#[derive(Clone, Debug)]
struct SubnetIndex<A> {
    /// By [`LeaseKey::spread`], which says as much as the key in a third of its
    /// room; the records themselves tell keys of one number apart.
    by_key: BTreeSet<(u64, A)>,
    /// Those whose end the sweep has yet to see.
    lent: BTreeSet<(Millis, A)>,
    /// Those whose end is over, until they are forgotten.
    remembered: BTreeSet<(Millis, A)>,
    counts: Counts,
}

// === impl Records ===

impl<L: Record> Default for Records<L> {
    fn default() -> Self {
        Self {
            leases: BTreeMap::new(),
            subnets: BTreeMap::new(),
        }
    }
}

impl<L: Record> Records<L> {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many there are.
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
    pub fn get(&self, address: L::Address) -> Option<&L> {
        self.leases.get(&address).map(Arc::as_ref)
    }

    /// Every record, in the order of addresses.
    pub fn iter(&self) -> impl Iterator<Item = &L> {
        self.leases.values().map(Arc::as_ref)
    }

    /// Every record, to be kept beside the table without a copy.
    pub fn shared(&self) -> impl Iterator<Item = Arc<L>> {
        self.leases.values().cloned()
    }

    /// The records of `key` in `subnet`, in the order of addresses. Mostly
    /// one; more while a machine moves from one address to another.
    pub fn of_key(&self, subnet: &str, key: &LeaseKey) -> impl Iterator<Item = &L> {
        let number = key.spread();
        let (first, last) = L::RANGE;
        self.subnets
            .get(subnet)
            .into_iter()
            .flat_map(move |index| index.by_key.range((number, first)..=(number, last)))
            .filter_map(|(_, address)| self.get(*address))
            .filter(move |lease| lease.key() == key)
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
    pub fn ended(&self, subnet: &str, now: Millis) -> impl Iterator<Item = &L> {
        let last = (now, L::RANGE.1);
        self.subnets
            .get(subnet)
            .into_iter()
            .flat_map(move |index| {
                merged(index.lent.range(..=last), index.remembered.range(..=last))
            })
            .filter_map(|(_, address)| self.get(*address))
    }

    /// How many records `subnet` has in each state. Expired ones count as
    /// bound until the sweep sees them.
    #[must_use]
    pub fn counts(&self, subnet: &str) -> Counts {
        self.subnets
            .get(subnet)
            .map_or_else(Counts::default, |index| index.counts)
    }

    /// Records of `subnet`, in whatever state.
    #[must_use]
    pub fn records(&self, subnet: &str) -> usize {
        self.subnets.get(subnet).map_or(0, SubnetIndex::len)
    }

    /// Files records under the Subnet that has their address now, where the
    /// one they name is no longer among `subnets` (`namespace/name`): a Subnet
    /// that is renamed within its namespace keeps its leases. For when the
    /// Subnets changed.
    #[must_use]
    pub fn rehome(&self, subnets: &[(String, IpNet)]) -> Vec<Change<L>> {
        let is_gone = |lease: &&L| !subnets.iter().any(|(name, _)| **name == **lease.subnet());
        self.iter()
            .filter(is_gone)
            .filter_map(|lease| {
                let namespace = namespace_of(lease.subnet());
                let address: IpAddr = lease.address().into();
                let (name, _) = subnets
                    .iter()
                    .filter(|(name, _)| namespace_of(name) == namespace)
                    .filter(|(_, network)| network.contains(&address))
                    .max_by_key(|(_, network)| network.prefix_len())?;
                Some(Change::put(lease.in_subnet(self.shared_name(name))))
            })
            .collect()
    }

    /// Carries out one change.
    pub fn apply(&mut self, change: &Change<L>) {
        self.remove(change.address());
        match change {
            Change::Put(lease) => self.insert(Arc::clone(lease)),
            Change::Remove(_) => {}
        }
    }

    /// Carries out changes in their order.
    pub fn apply_all(&mut self, changes: &[Change<L>]) {
        for change in changes {
            self.apply(change);
        }
    }

    /// What time has done by `now`, at most `limit` changes, the longest
    /// overdue first: leases expire, offers nobody took and probations end,
    /// old memories fade. The caller applies them; until then every answer is
    /// right all the same, because it looks at the times itself.
    #[must_use]
    pub fn expire(&self, now: Millis, limit: usize) -> Vec<Change<L>> {
        let last = L::RANGE.1;
        let forgotten = now.0.checked_sub(FORGET_SECS * 1000).map(Millis);
        let due_of = |index: &SubnetIndex<L::Address>| -> Vec<_> {
            let until = forgotten.into_iter().map(|until| (until, last));
            let remembered = until.flat_map(|until| index.remembered.range(..=until));
            let remembered = remembered.map(|(end, at)| (end.plus_secs(FORGET_SECS), *at));
            let lent = index.lent.range(..=(now, last)).copied();
            merged(lent, remembered).take(limit).collect()
        };
        let mut due: Vec<_> = self.subnets.values().flat_map(due_of).collect();
        due.sort_unstable();
        due.truncate(limit);
        due.into_iter()
            .filter_map(|(_, address)| self.get(address))
            .map(|lease| match lease.state() {
                LeaseState::Bound => Change::put(lease.in_state(LeaseState::Expired)),
                LeaseState::Offered
                | LeaseState::Declined
                | LeaseState::Released
                | LeaseState::Expired => Change::Remove(lease.address()),
            })
            .collect()
    }

    fn insert(&mut self, lease: Arc<L>) {
        let address = lease.address();
        let index = self.subnets.entry(Arc::clone(lease.subnet())).or_default();
        index.ends(lease.state()).insert((lease.expires(), address));
        *index.counts.of(lease.state()) += 1;
        if lease.state() != LeaseState::Declined {
            index.by_key.insert((lease.key().spread(), address));
        }
        self.leases.insert(address, lease);
    }

    fn remove(&mut self, address: L::Address) {
        let Some(lease) = self.leases.remove(&address) else {
            return;
        };
        let Some(index) = self.subnets.get_mut(lease.subnet()) else {
            return;
        };
        index
            .ends(lease.state())
            .remove(&(lease.expires(), address));
        *index.counts.of(lease.state()) -= 1;
        index.by_key.remove(&(lease.key().spread(), address));
        if index.len() == 0 {
            self.subnets.remove(lease.subnet());
        }
    }
}

impl<L: Record, I: Into<Arc<L>>> FromIterator<I> for Records<L> {
    /// Of two records of one address the later counts. Made in one go: trees
    /// that grow in the order of their keys stay half empty.
    fn from_iter<T: IntoIterator<Item = I>>(leases: T) -> Self {
        let leases: BTreeMap<_, _> = leases
            .into_iter()
            .map(|lease| {
                let lease: Arc<L> = lease.into();
                (lease.address(), lease)
            })
            .collect();
        let mut by_subnet: BTreeMap<_, Vec<&L>> = BTreeMap::new();
        for lease in leases.values() {
            let subnet = Arc::clone(lease.subnet());
            by_subnet.entry(subnet).or_default().push(lease);
        }
        Self {
            subnets: by_subnet
                .into_iter()
                .map(|(subnet, leases)| (subnet, SubnetIndex::of(&leases)))
                .collect(),
            leases,
        }
    }
}

// === impl SubnetIndex ===

impl<A: Copy + Ord> SubnetIndex<A> {
    fn of<L: Record<Address = A>>(leases: &[&L]) -> Self {
        let mut counts = Counts::default();
        for lease in leases {
            *counts.of(lease.state()) += 1;
        }
        let ends = |over: bool| {
            let ends = leases.iter().filter(|it| is_over(it.state()) == over);
            ends.map(|it| (it.expires(), it.address())).collect()
        };
        Self {
            by_key: leases
                .iter()
                .filter(|lease| lease.state() != LeaseState::Declined)
                .map(|lease| (lease.key().spread(), lease.address()))
                .collect(),
            lent: ends(false),
            remembered: ends(true),
            counts,
        }
    }

    fn len(&self) -> usize {
        self.lent.len() + self.remembered.len()
    }

    /// Where the ends of records in `state` are.
    fn ends(&mut self, state: LeaseState) -> &mut BTreeSet<(Millis, A)> {
        if is_over(state) {
            &mut self.remembered
        } else {
            &mut self.lent
        }
    }
}

impl<A> Default for SubnetIndex<A> {
    fn default() -> Self {
        Self {
            by_key: BTreeSet::new(),
            lent: BTreeSet::new(),
            remembered: BTreeSet::new(),
            counts: Counts::default(),
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

/// Whether a record in `state` is kept only for the machine that had it.
const fn is_over(state: LeaseState) -> bool {
    match state {
        LeaseState::Bound | LeaseState::Offered | LeaseState::Declined => false,
        LeaseState::Released | LeaseState::Expired => true,
    }
}

/// What two iterators give in their order, in that order.
fn merged<T: Ord>(
    one: impl Iterator<Item = T>,
    other: impl Iterator<Item = T>,
) -> impl Iterator<Item = T> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some(first), Some(second)) if second < first => other.next(),
        (Some(_), _) => one.next(),
        (None, _) => other.next(),
    })
}

/// The namespace of a Subnet (`namespace/name`).
pub(super) fn namespace_of(subnet: &str) -> &str {
    subnet
        .split_once('/')
        .map_or("", |(namespace, _)| namespace)
}
