//! Which machine has which address of another server, as far as it was heard:
//! a proxy lends none, and its TFTP and HTTP doors see addresses only. Core.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::proxy::Neighbour;
use crate::boot::MacAddress;
use crate::clock::Millis;

/// Machines that are remembered. Whoever invents more makes us forget those
/// that were heard longest ago; their boots go on, told apart less well.
pub const MAX_NEIGHBOURS: usize = 16_384;
/// How long a machine is remembered after it was heard: a boot and the install
/// that follows it.
pub const MEMORY_SECS: u64 = 24 * 3600;

/// The machines.
#[derive(Clone, Debug, Default)]
pub struct Neighbours {
    by_address: BTreeMap<Ipv4Addr, (MacAddress, Millis)>,
    by_time: BTreeSet<(Millis, Ipv4Addr)>,
}

// === impl Neighbours ===

impl Neighbours {
    /// Takes note of a machine. Says which addresses are forgotten for it.
    pub fn learn(&mut self, now: Millis, (mac, address): Neighbour) -> Vec<Ipv4Addr> {
        if let Some((_, at)) = self.by_address.insert(address, (mac, now)) {
            self.by_time.remove(&(at, address));
        }
        self.by_time.insert((now, address));
        let mut forgotten = self.forget(now);
        while self.by_address.len() > MAX_NEIGHBOURS {
            let Some((_, oldest)) = self.by_time.pop_first() else {
                break;
            };
            self.by_address.remove(&oldest);
            forgotten.push(oldest);
        }
        forgotten
    }

    /// Forgets who was not heard for long; says which addresses those were.
    pub fn forget(&mut self, now: Millis) -> Vec<Ipv4Addr> {
        let mut forgotten = Vec::new();
        while let Some((at, address)) = self.by_time.first().copied() {
            if now.since(at) < MEMORY_SECS * 1000 {
                break;
            }
            self.by_time.pop_first();
            self.by_address.remove(&address);
            forgotten.push(address);
        }
        forgotten
    }

    /// Whether nobody is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_address.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn mac(last: u8) -> MacAddress {
        MacAddress::new([2, 0, 0, 0, 0, last])
    }

    #[test]
    fn who_was_heard_longest_ago_is_forgotten() {
        let mut neighbours = Neighbours::default();
        let address = |n: usize| Ipv4Addr::from(0x0a00_0000 + u32::try_from(n).unwrap());
        for n in 0..MAX_NEIGHBOURS {
            let at = Millis(u64::try_from(n).unwrap());
            assert!(neighbours.learn(at, (mac(1), address(n))).is_empty());
        }
        // The first is heard again; the second is the oldest now.
        let later = Millis(100_000);
        assert!(neighbours.learn(later, (mac(2), address(0))).is_empty());
        assert_eq!(
            neighbours.learn(later, (mac(3), address(MAX_NEIGHBOURS))),
            [address(1)]
        );
        assert_eq!(neighbours.len(), MAX_NEIGHBOURS);
        let gone = neighbours.forget(later.plus_secs(MEMORY_SECS));
        assert_eq!(gone.len(), MAX_NEIGHBOURS);
        assert!(neighbours.is_empty());
    }
}
