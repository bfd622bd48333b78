//! Which machine an address belongs to, for doors that see addresses only.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, PoisonError, RwLock};

use super::record::{Change, Lease, LeaseState, Record};
use crate::boot::MacAddress;

/// Addresses lent at this moment and the machines that have them. Written by
/// the lease keeper, read by TFTP and HTTP; cheap to clone. It only tells
/// which machine a transfer belongs to: it is no proof of identity.
#[derive(Clone, Debug, Default)]
pub struct LeaseIndex(Arc<RwLock<Maps>>);

/// Trees, because a table of hashes that has just grown is half empty.
#[derive(Debug, Default)]
struct Maps {
    v4: BTreeMap<Ipv4Addr, MacAddress>,
    v6: BTreeMap<Ipv6Addr, MacAddress>,
    /// The IPv4 address that each machine was lent last.
    by_mac: BTreeMap<MacAddress, Ipv4Addr>,
}

impl LeaseIndex {
    /// The machine that has `address`.
    #[must_use]
    pub fn mac_of(&self, address: impl Into<IpAddr>) -> Option<MacAddress> {
        let maps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match address.into() {
            IpAddr::V4(address) => maps.v4.get(&address).copied(),
            IpAddr::V6(address) => maps.v6.get(&address).copied(),
        }
    }

    /// The IPv4 address that `mac` has; of several the one that it got last.
    #[must_use]
    pub fn address_of(&self, mac: MacAddress) -> Option<Ipv4Addr> {
        let maps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        maps.by_mac.get(&mac).copied()
    }

    /// Takes a change of a lease table over.
    pub fn apply<L: Record>(&self, change: &Change<L>) {
        match change {
            Change::Put(lease) => match (lease.state(), lease.mac()) {
                (LeaseState::Bound, Some(mac)) => self.insert(lease.address(), mac),
                _ => self.remove(lease.address()),
            },
            Change::Remove(address) => self.remove(*address),
        }
    }

    /// Takes the IPv4 leases of a table over, in one go: trees that grow in the
    /// order of their keys stay half empty.
    pub fn fill<'a>(&self, leases: impl Iterator<Item = &'a Lease>) {
        let lent = leases.filter(|lease| lease.state == LeaseState::Bound);
        let v4: BTreeMap<_, _> = lent
            .filter_map(|lease| Some((lease.address, lease.mac?)))
            .collect();
        let by_mac = v4.iter().map(|(address, mac)| (*mac, *address)).collect();
        let mut maps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        (maps.v4, maps.by_mac) = (v4, by_mac);
    }

    /// Says that `mac` has `address`.
    pub fn insert(&self, address: impl Into<IpAddr>, mac: MacAddress) {
        let mut maps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match address.into() {
            IpAddr::V4(address) => {
                let before = maps.v4.insert(address, mac);
                if let Some(before) = before.filter(|before| *before != mac) {
                    maps.forget(before, address);
                }
                maps.by_mac.insert(mac, address);
            }
            IpAddr::V6(address) => drop(maps.v6.insert(address, mac)),
        }
    }

    /// Says that nobody has `address`.
    pub fn remove(&self, address: impl Into<IpAddr>) {
        let mut maps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match address.into() {
            IpAddr::V4(address) => {
                if let Some(mac) = maps.v4.remove(&address) {
                    maps.forget(mac, address);
                }
            }
            IpAddr::V6(address) => drop(maps.v6.remove(&address)),
        }
    }
}

impl Maps {
    fn forget(&mut self, mac: MacAddress, address: Ipv4Addr) {
        if self.by_mac.get(&mac) == Some(&address) {
            self.by_mac.remove(&mac);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_both_ways_and_forgets_both() {
        let index = LeaseIndex::default();
        let [a, b] = [1, 2].map(|n| MacAddress::new([2, 0, 0, 0, 0, n]));
        let [one, two] = [1, 2].map(|n| Ipv4Addr::new(192, 0, 2, n));
        index.insert(one, a);
        index.insert(two, a);
        assert_eq!(index.address_of(a), Some(two));
        // The older of its two addresses goes: the other stays its own.
        index.remove(one);
        assert_eq!(index.address_of(a), Some(two));
        index.insert(two, b);
        assert_eq!(index.address_of(a), None);
        assert_eq!(index.mac_of(two), Some(b));
        index.remove(two);
        assert_eq!(index.address_of(b), None);
    }
}
