//! Which machine an address belongs to, for doors that see addresses only.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, PoisonError, RwLock};

use super::record::{Change, LeaseState, Record};
use crate::boot::MacAddress;

/// Addresses lent at this moment and the machines that have them. Written by
/// the lease keeper, read by TFTP and HTTP; cheap to clone. It only tells
/// which machine a transfer belongs to: it is no proof of identity.
#[derive(Clone, Debug, Default)]
pub struct LeaseIndex(Arc<RwLock<Maps>>);

#[derive(Debug, Default)]
struct Maps {
    by_address: HashMap<IpAddr, MacAddress>,
    /// The IPv4 address that each machine was lent last.
    by_mac: HashMap<MacAddress, Ipv4Addr>,
}

impl LeaseIndex {
    /// The machine that has `address`.
    #[must_use]
    pub fn mac_of(&self, address: impl Into<IpAddr>) -> Option<MacAddress> {
        let maps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        maps.by_address.get(&address.into()).copied()
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

    /// Says that `mac` has `address`.
    pub fn insert(&self, address: impl Into<IpAddr>, mac: MacAddress) {
        let address = address.into();
        let mut maps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = maps.by_address.insert(address, mac);
        if let Some(before) = before.filter(|before| *before != mac) {
            maps.forget(before, address);
        }
        if let IpAddr::V4(address) = address {
            maps.by_mac.insert(mac, address);
        }
    }

    /// Says that nobody has `address`.
    pub fn remove(&self, address: impl Into<IpAddr>) {
        let address = address.into();
        let mut maps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(mac) = maps.by_address.remove(&address) {
            maps.forget(mac, address);
        }
    }
}

impl Maps {
    fn forget(&mut self, mac: MacAddress, address: IpAddr) {
        if self.by_mac.get(&mac).copied().map(IpAddr::V4) == Some(address) {
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
