//! What happens to leases that were mirrored and are not known here.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use super::super::record::{Change, LeaseState, Record as _};
use super::record::{Change6, Lease6};
use super::{LeaseTable6, MAX_LEASES};
use crate::api::Cidr6;
use crate::clock::Millis;

/// A Subnet that is served, as far as leases that are taken over go.
#[derive(Clone, Debug)]
pub struct Home6 {
    /// Its `namespace/name`.
    pub subnet: String,
    /// Its IPv6 network.
    pub cidr: Cidr6,
    /// For how long it lends addresses, in seconds.
    pub lifetime_secs: u32,
}

/// The changes that take `mirrored` over at `now`: all are lent for a whole
/// lifetime from now, because nobody knows when they were last renewed. What is
/// known of an address here is newer. A lease is of the Subnet that it names,
/// where that has its address still.
#[must_use]
pub fn adopt6(
    now: Millis,
    table: &LeaseTable6,
    mirrored: impl IntoIterator<Item = Lease6>,
    homes: &[Home6],
) -> Vec<Change6> {
    let mut adopted: BTreeMap<Ipv6Addr, Lease6> = BTreeMap::new();
    let mut room: BTreeMap<&str, usize> = BTreeMap::new();
    for lease in mirrored {
        let mut homes = homes.iter();
        let home =
            homes.find(|home| *home.subnet == *lease.subnet && home.cidr.is_host(lease.address));
        let Some(home) = home else { continue };
        if table
            .get(lease.address)
            .is_some_and(|known| known.state() != LeaseState::Offered)
        {
            continue;
        }
        let left = room
            .entry(&home.subnet)
            .or_insert_with(|| MAX_LEASES.saturating_sub(table.records(&home.subnet)));
        let Some(next) = left.checked_sub(1) else {
            continue;
        };
        *left = next;
        let lease = Lease6 {
            subnet: table.shared_name(&home.subnet),
            since: lease.since.min(now),
            expires: now.plus_secs(home.lifetime_secs.into()),
            state: LeaseState::Bound,
            ..lease
        };
        adopted.insert(lease.address, lease);
    }
    adopted.into_values().map(Change::put).collect()
}

/// The changes that end the leases of machines that are `gone`.
pub fn release_gone6(
    now: Millis,
    table: &LeaseTable6,
    gone: impl Fn(&Lease6) -> bool,
) -> Vec<Change6> {
    let lent = |lease: &&Lease6| lease.state_at(now) == LeaseState::Bound;
    let ended = table.iter().filter(lent).filter(|lease| gone(lease));
    ended
        .map(|lease| {
            Change::put(Lease6 {
                state: LeaseState::Released,
                expires: now,
                ..lease.clone()
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::MacAddress;
    use crate::lease::LeaseKey;

    const NOW: Millis = Millis::from_secs(1_000_000);

    fn lease(subnet: &str, last: u16, state: LeaseState) -> Lease6 {
        let mac = MacAddress::new([2, 0, 0, 0, 0, 1]);
        Lease6 {
            address: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last),
            key: LeaseKey::Mac(mac),
            mac: Some(mac),
            duid: Vec::new(),
            iaid: 0,
            subnet: subnet.into(),
            state,
            since: Millis::from_secs(5),
            expires: Millis(0),
        }
    }

    #[test]
    fn what_is_not_known_is_lent_on_and_nothing_else() {
        let homes = [Home6 {
            subnet: "default/lab".to_owned(),
            cidr: "2001:db8::/120".parse().unwrap(),
            lifetime_secs: 3600,
        }];
        let known = [
            lease("default/lab", 1, LeaseState::Released),
            lease("default/lab", 2, LeaseState::Offered),
        ];
        let table: LeaseTable6 = known.into_iter().collect();
        let mirrored = [
            lease("default/lab", 1, LeaseState::Bound),
            lease("default/lab", 2, LeaseState::Bound),
            lease("default/lab", 3, LeaseState::Bound),
            // Another's Subnet, and what is none of its addresses.
            lease("evil/lab", 4, LeaseState::Bound),
            lease("default/lab", 0x100, LeaseState::Bound),
        ];
        let changes = adopt6(NOW, &table, mirrored, &homes);
        let taken: Vec<_> = changes.iter().map(Change::address).collect();
        assert_eq!(
            taken,
            [2, 3].map(|last| lease("", last, LeaseState::Bound).address)
        );
        let Change::Put(first) = &changes[0] else {
            panic!("{changes:?}");
        };
        assert_eq!(
            (first.since.secs(), first.expires),
            (5, NOW.plus_secs(3600))
        );
        assert_eq!(first.state, LeaseState::Bound);
    }
}
