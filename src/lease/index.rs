//! Which machine an address belongs to, for doors that see addresses only.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError, RwLock};

use super::record::{Change, LeaseState};
use crate::boot::MacAddress;

/// Addresses lent at this moment and the machines that have them. Written by
/// the lease keeper, read by TFTP and HTTP; cheap to clone. It only tells
/// which machine a transfer belongs to: it is no proof of identity.
#[derive(Clone, Debug, Default)]
pub struct LeaseIndex(Arc<RwLock<HashMap<Ipv4Addr, MacAddress>>>);

impl LeaseIndex {
    /// The machine that has `address`.
    #[must_use]
    pub fn mac_of(&self, address: Ipv4Addr) -> Option<MacAddress> {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        map.get(&address).copied()
    }

    /// Takes a change of the lease table over.
    pub fn apply(&self, change: &Change) {
        match change {
            Change::Put(lease) => match (lease.state, lease.mac) {
                (LeaseState::Bound, Some(mac)) => self.insert(lease.address, mac),
                _ => self.remove(lease.address),
            },
            Change::Remove(address) => self.remove(*address),
        }
    }

    /// Says that `mac` has `address`.
    pub fn insert(&self, address: Ipv4Addr, mac: MacAddress) {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        map.insert(address, mac);
    }

    /// Says that nobody has `address`.
    pub fn remove(&self, address: Ipv4Addr) {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        map.remove(&address);
    }
}
