//! Which part of a pool is whose, and how much of it is left.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use super::super::authority::Authority;
use super::super::record::LeaseState;
use super::{LeaseTable6, MAX_LEASES};
use crate::api::{AddressCounts, Ipv6Network, Pool6};

/// The part of `pool` that the replica of this number (of so many; from 0) lends
/// from: its first address and how many there are. The rest of a division is
/// nobody's.
pub(super) fn part(pool: &Pool6, (replicas, ordinal): (u8, u8)) -> Option<(u128, u128)> {
    let (start, end) = (u128::from(pool.start), u128::from(pool.end));
    // The pool of all addresses has one fewer here.
    let size = end.checked_sub(start)?.saturating_add(1) / u128::from(replicas.max(1));
    let first = start.checked_add(size.checked_mul(u128::from(ordinal))?)?;
    (size > 0 && ordinal < replicas.max(1)).then_some((first, size))
}

/// Which of so many replicas lends `address` to machines that have none of their
/// own; `None` where it is in no part.
#[must_use]
pub fn lender6(pools: &[Pool6], address: Ipv6Addr, replicas: u8) -> Option<u8> {
    let number = u128::from(address);
    let holds = |ordinal: &u8| {
        let parts = pools.iter().filter_map(|it| part(it, (replicas, *ordinal)));
        let mut parts = parts.map(|(first, size)| (first, first + (size - 1)));
        parts.any(|(first, last)| (first..=last).contains(&number))
    };
    (0..replicas.max(1)).find(holds)
}

/// The addresses that this replica lends from the pools of `subnet`
/// (`namespace/name`), and what became of them. It holds no more leases than
/// [`MAX_LEASES`], however large the pools are. Those that are `taken` are none
/// of them.
#[must_use]
pub fn counts6(
    table: &LeaseTable6,
    subnet: &str,
    network: &Ipv6Network,
    taken: &BTreeSet<Ipv6Addr>,
    authority: Authority,
) -> AddressCounts {
    let parts = network.pools.iter();
    let sizes = parts.filter_map(|pool| {
        let (first, size) = part(pool, authority.place())?;
        let range = Ipv6Addr::from(first)..=Ipv6Addr::from(first + (size - 1));
        Some(size.saturating_sub(taken.range(range).count() as u128))
    });
    let size = sizes.fold(0, u128::saturating_add);
    let total = size.min(MAX_LEASES as u128);
    let counts = table.counts(subnet);
    let (mut used, mut declined) = (counts.bound + counts.offered, counts.declined);
    for lease in taken.iter().filter_map(|address| table.get(*address)) {
        match lease.state {
            _ if *lease.subnet != *subnet => {}
            LeaseState::Bound | LeaseState::Offered => used = used.saturating_sub(1),
            LeaseState::Declined => declined = declined.saturating_sub(1),
            LeaseState::Released | LeaseState::Expired => {}
        }
    }
    let [total, used, declined] =
        [total, used as u128, declined as u128].map(|it| u32::try_from(it).unwrap_or(u32::MAX));
    AddressCounts {
        total,
        free: total.saturating_sub(used.saturating_add(declined)),
        used,
        declined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Dns6, Lifetimes};
    use crate::boot::MacAddress;
    use crate::clock::Millis;
    use crate::lease::{Lease6, LeaseKey, Shares};

    fn at(last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
    }

    fn pool(start: u16, end: u16) -> Pool6 {
        let (start, end) = (at(start), at(end));
        Pool6 { start, end }
    }

    fn lease(last: u16, state: LeaseState) -> Lease6 {
        let mac = MacAddress::new([2, 0, 0, 0, 0, 1]);
        Lease6 {
            address: at(last),
            key: LeaseKey::Mac(mac),
            mac: Some(mac),
            duid: Vec::new(),
            iaid: 0,
            subnet: "default/lab".into(),
            state,
            since: Millis(0),
            expires: Millis(1),
        }
    }

    #[test]
    fn every_address_of_a_part_has_one_lender() {
        let pools = [pool(0x100, 0x109), pool(0x200, 0x202)];
        let lenders: Vec<_> = (0x100..=0x10a)
            .map(|it| lender6(&pools, at(it), 3))
            .collect();
        let of = |text: &str| -> Vec<Option<u8>> {
            let digits = text.chars().map(|it| it.to_digit(10));
            digits
                .map(|it| it.map(|it| u8::try_from(it).unwrap()))
                .collect()
        };
        // The last one is the rest of the division, and one is outside.
        assert_eq!(lenders, of("000111222--"));
        assert_eq!(lender6(&pools, at(0x202), 3), Some(2));
        assert_eq!(lender6(&pools, at(0x10a), 1), None);
    }

    #[test]
    fn a_pool_is_as_large_as_what_can_be_lent_of_it() {
        let network = |pools: &[Pool6]| Ipv6Network {
            cidr: "2001:db8::/64".parse().unwrap(),
            pools: pools.to_vec(),
            lifetimes: Lifetimes::default(),
            dns: Dns6::default(),
            relays: Vec::new(),
            server: None,
            preference: 0,
            rapid_commit: false,
        };
        let leases = [
            lease(0x100, LeaseState::Bound),
            lease(0x101, LeaseState::Offered),
            lease(0x102, LeaseState::Declined),
            lease(0x103, LeaseState::Released),
            // A reserved one.
            lease(0x104, LeaseState::Bound),
        ];
        let table: LeaseTable6 = leases.into_iter().collect();
        let taken = [at(0x104), at(0x999)].into();
        let small = network(&[pool(0x100, 0x10f)]);
        let counts = counts6(&table, "default/lab", &small, &taken, Authority::Sole);
        let AddressCounts {
            total,
            free,
            used,
            declined,
        } = counts;
        assert_eq!((total, free, used, declined), (15, 12, 2, 1));
        let shares = Shares {
            replicas: 2,
            ordinal: 1,
        };
        let half = counts6(
            &LeaseTable6::new(),
            "default/lab",
            &small,
            &taken,
            Authority::Standby { shares },
        );
        assert_eq!(half.total, 8);
        let all = Pool6 {
            start: Ipv6Addr::UNSPECIFIED,
            end: Ipv6Addr::from(u128::MAX),
        };
        let most = counts6(&table, "x/y", &network(&[all]), &taken, Authority::Sole);
        assert_eq!(usize::try_from(most.total).unwrap(), MAX_LEASES);
    }
}
