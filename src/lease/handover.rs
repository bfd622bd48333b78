//! What happens to leases when the pools change hands, and when machines go.
//!
//! A replica that makes way forgets what the new holder may give away; the new
//! holder takes over what was mirrored, and leaves each such address to its
//! machine until every other replica has made way and its leases have run out.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::record::{Change, Lease, LeaseKey, LeaseState, Record as _};
use super::records::namespace_of;
use super::table::LeaseTable;
use crate::api::Cidr;
use crate::clock::Millis;

/// For how long a lease is taken over whose Subnet is not served at the moment,
/// in seconds: a day, in which it may come back.
const UNSERVED_SECS: u32 = 24 * 3600;

/// A Subnet that is served, as far as leases that are taken over go.
#[derive(Clone, Debug)]
pub struct Home {
    /// Its `namespace/name`.
    pub subnet: String,
    /// Its network.
    pub cidr: Cidr,
    /// For how long it lends addresses, in seconds.
    pub lifetime_secs: u32,
}

/// Addresses that another replica may still renew, and for whom. While one is
/// claimed its lease does not end and nobody else gets it.
#[derive(Clone, Debug, Default)]
pub struct Claims(BTreeMap<Ipv4Addr, LeaseKey>);

/// The changes that take `mirrored` over at `now`: all are lent for a whole
/// lifetime from now, because nobody knows when they were last renewed. What
/// this table knows to be newer stays.
///
/// A lease speaks for Subnets of its own namespace alone: where none of
/// `homes` there has its address, it is left out, unless its Subnet is not
/// served at the moment and no other namespace has the address either. Whoever
/// may write leases in one namespace takes nothing from the others.
pub fn adopt(
    now: Millis,
    table: &LeaseTable,
    mirrored: impl IntoIterator<Item = Lease>,
    homes: &[Home],
) -> Vec<Change> {
    // A page may name an address more than once.
    let mut adopted: BTreeMap<Ipv4Addr, Lease> = BTreeMap::new();
    for lease in mirrored {
        let Some((subnet, lifetime)) = home_of(homes, &lease) else {
            continue;
        };
        let lease = Lease {
            subnet: table.shared_name(subnet),
            since: lease.since.min(now),
            expires: now.plus_secs(lifetime.into()),
            state: LeaseState::Bound,
            ..lease
        };
        let known = adopted
            .get(&lease.address)
            .or_else(|| table.get(lease.address));
        let next = match known.filter(|known| known.state_at(now) == LeaseState::Bound) {
            Some(known) if !shares_home(homes, known, &lease) => continue,
            Some(known) if known.key == lease.key => Lease {
                expires: known.expires.max(lease.expires),
                ..known.clone()
            },
            Some(known) if known.since > lease.since => continue,
            Some(_) | None => lease,
        };
        adopted.insert(next.address, next);
    }
    adopted.into_values().map(Change::put).collect()
}

/// The Subnet that `lease` belongs to, and for how many seconds it lends: the
/// one it names, else, should that be gone, the narrowest of its namespace.
fn home_of<'a>(homes: &'a [Home], lease: &'a Lease) -> Option<(&'a str, u32)> {
    let has = |home: &&Home| home.cidr.contains(lease.address);
    let near = |home: &&Home| namespace_of(&home.subnet) == namespace_of(&lease.subnet);
    let found = homes
        .iter()
        .filter(near)
        .filter(has)
        .max_by_key(|home| (*home.subnet == *lease.subnet, home.cidr.net().prefix_len()));
    if let Some(home) = found {
        return Some((&home.subnet, home.lifetime_secs));
    }
    let served = homes.iter().any(|home| *home.subnet == *lease.subnet);
    let elsewhere = homes.iter().any(|home| has(&home));
    (!served && !elsewhere).then_some((&lease.subnet, UNSERVED_SECS))
}

/// Whether what is known of an address and what was mirrored of it are of one
/// Subnet, as far as names go after a renaming.
fn shares_home(homes: &[Home], known: &Lease, mirrored: &Lease) -> bool {
    known.subnet == mirrored.subnet
        || home_of(homes, known).is_some_and(|(subnet, _)| *subnet == *mirrored.subnet)
}

/// The changes that forget every record but those that `keeps` says may stay.
pub fn make_way(table: &LeaseTable, keeps: impl Fn(&Lease) -> bool) -> Vec<Change> {
    let gone = table.iter().filter(|lease| !keeps(lease));
    gone.map(|lease| Change::Remove(lease.address)).collect()
}

/// The changes that end the leases of machines that are `gone`. Their
/// addresses are free from now on, and given last.
pub fn release_gone(now: Millis, table: &LeaseTable, gone: impl Fn(&Lease) -> bool) -> Vec<Change> {
    let lent = |lease: &&Lease| lease.state_at(now) == LeaseState::Bound;
    let ended = table.iter().filter(lent).filter(|lease| gone(lease));
    ended
        .map(|lease| {
            Change::put(Lease {
                state: LeaseState::Released,
                expires: now,
                ..lease.clone()
            })
        })
        .collect()
}

// === impl Claims ===

impl Claims {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many addresses are claimed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Claims every address that is lent at `now`.
    pub fn claim(&mut self, now: Millis, table: &LeaseTable) {
        let lent = table.iter();
        self.0.extend(
            lent.filter(|lease| lease.state_at(now) == LeaseState::Bound)
                .map(|lease| (lease.address, lease.key.clone())),
        );
    }

    /// Claims what `changes` lend to machines of which `table`, as it was
    /// before them, has no record: such a machine has its lease from another
    /// replica, which may go on with it.
    pub fn claim_strangers(&mut self, now: Millis, table: &LeaseTable, changes: &[Change]) {
        for change in changes {
            if let Change::Put(lease) = change
                && lease.state == LeaseState::Bound
                && table
                    .get(lease.address)
                    .is_none_or(|known| known.is_free(now) || known.key != lease.key)
            {
                self.0.insert(lease.address, lease.key.clone());
            }
        }
    }

    /// Ends all claims.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// `changes` without those that would end a claimed lease or give its
    /// address to another. A machine may still decline it.
    #[must_use]
    pub fn guard(&self, changes: Vec<Change>) -> Vec<Change> {
        if self.is_empty() {
            return changes;
        }
        let allowed = |change: &Change| match (self.0.get(&change.address()), change) {
            (None, _) => true,
            (Some(key), Change::Put(lease)) => match lease.state {
                LeaseState::Bound => lease.key == *key,
                LeaseState::Declined => true,
                LeaseState::Offered | LeaseState::Released | LeaseState::Expired => false,
            },
            (Some(_), Change::Remove(_)) => false,
        };
        changes.into_iter().filter(allowed).collect()
    }

    /// The changes that keep claimed leases from running out: those past half
    /// of their lifetime get a whole one.
    pub fn prolong(
        &self,
        now: Millis,
        table: &LeaseTable,
        lifetime: impl Fn(&str) -> Option<u32>,
    ) -> Vec<Change> {
        let records = self.0.keys().filter_map(|address| table.get(*address));
        records
            .filter(|lease| lease.state == LeaseState::Bound)
            .filter_map(|lease| {
                let secs = u64::from(lifetime(&lease.subnet)?);
                (lease.expires < now.plus_secs(secs / 2)).then(|| {
                    Change::put(Lease {
                        expires: now.plus_secs(secs),
                        ..lease.clone()
                    })
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::MacAddress;

    const NOW: Millis = Millis::from_secs(1_000_000);

    fn lease(last: u8, mac: u8, since: u64, expires: u64) -> Lease {
        let mac = MacAddress::new([2, 0, 0, 0, 0, mac]);
        Lease {
            address: [10, 0, 0, last].into(),
            key: LeaseKey::Mac(mac),
            mac: Some(mac),
            client_id: None,
            subnet: "default/lab".into(),
            hostname: None,
            state: LeaseState::Bound,
            since: Millis::from_secs(since),
            expires: Millis::from_secs(expires),
        }
    }

    fn hour(subnet: &str) -> Option<u32> {
        (subnet == "default/lab").then_some(3600)
    }

    fn home(subnet: &str, cidr: &str) -> Home {
        Home {
            subnet: subnet.to_owned(),
            cidr: cidr.parse().unwrap(),
            lifetime_secs: 3600,
        }
    }

    fn of(subnet: &str, lease: Lease) -> Lease {
        Lease {
            subnet: subnet.into(),
            ..lease
        }
    }

    #[test]
    fn a_namespace_takes_no_address_of_another() {
        let homes = [
            home("default/lab", "10.0.0.0/24"),
            home("evil/own", "192.0.2.0/24"),
        ];
        let soon = NOW.secs() + 10;
        let table: LeaseTable = [lease(1, 1, 100, soon)].into_iter().collect();
        let late = u64::MAX / 4000;
        let taken = [
            of("evil/own", lease(1, 9, late, 0)),
            of("evil/own", lease(2, 9, late, 0)),
            of("evil/gone", lease(3, 9, late, 0)),
            // Its own Subnet never had the address.
            of("evil/lab", lease(4, 9, late, 0)),
        ];
        assert_eq!(adopt(NOW, &table, taken, &homes), []);
    }

    #[test]
    fn overlapping_subnets_do_not_take_bound_leases_from_each_other() {
        let homes = [
            home("default/lab", "10.0.0.0/24"),
            home("evil/own", "10.0.0.0/16"),
        ];
        let soon = NOW.secs() + 10;
        let table: LeaseTable = [lease(1, 1, 100, soon)].into_iter().collect();
        let page = [
            of("evil/own", lease(1, 9, u64::MAX / 4000, 0)),
            lease(2, 2, 5, 0),
            of("evil/own", lease(2, 9, 6, 0)),
        ];
        let changes = adopt(NOW, &table, page, &homes);
        let [Change::Put(taken)] = changes.as_slice() else {
            panic!("{changes:?}");
        };
        assert_eq!(taken.key, lease(2, 2, 0, 0).key);
    }

    #[test]
    fn no_lease_is_newer_than_now() {
        let homes = [home("default/lab", "10.0.0.0/24")];
        let table = LeaseTable::new();
        let ahead = lease(1, 1, NOW.secs() + 99, 0);
        let changes = adopt(NOW, &table, [ahead], &homes);
        let [Change::Put(taken)] = changes.as_slice() else {
            panic!("{changes:?}");
        };
        assert_eq!(taken.since, NOW);
    }

    #[test]
    fn a_lease_follows_its_subnet_to_a_new_name_or_waits_for_it() {
        let table = LeaseTable::new();
        let renamed = [home("default/new", "10.0.0.0/24")];
        let changes = adopt(NOW, &table, [lease(1, 1, 5, 0)], &renamed);
        let [Change::Put(moved)] = changes.as_slice() else {
            panic!("{changes:?}");
        };
        assert_eq!(&*moved.subnet, "default/new");
        // No Subnet has the address: whose it is may yet be served.
        let changes = adopt(NOW, &table, [lease(1, 1, 5, 0)], &[]);
        let [Change::Put(aside)] = changes.as_slice() else {
            panic!("{changes:?}");
        };
        assert_eq!(aside.expires, NOW.plus_secs(UNSERVED_SECS.into()));
        // Its Subnet is served and has the address no more.
        let away = [home("default/lab", "192.0.2.0/24")];
        assert_eq!(adopt(NOW, &table, [lease(1, 1, 5, 0)], &away), []);
    }

    #[test]
    fn what_was_mirrored_is_lent_for_a_whole_lifetime_from_now() {
        let mut table = LeaseTable::new();
        let homes = [home("default/lab", "10.0.0.0/24")];
        table.apply_all(&adopt(NOW, &table, [lease(1, 1, 5, 0)], &homes));
        assert_eq!(table.len(), 1);
        let adopted = table.get([10, 0, 0, 1].into()).unwrap();
        assert_eq!(adopted.expires, NOW.plus_secs(3600));
        assert_eq!(adopted.since, Millis::from_secs(5));
    }

    #[test]
    fn the_newer_of_two_owners_of_an_address_has_it() {
        let soon = NOW.secs() + 10;
        let table: LeaseTable = [lease(1, 1, 100, soon), lease(2, 1, 100, soon)]
            .into_iter()
            .collect();
        let homes = [home("default/lab", "10.0.0.0/24")];
        let mirrored = [lease(1, 2, 90, 0), lease(2, 2, 110, 0)];
        let changes = adopt(NOW, &table, mirrored, &homes);
        let [Change::Put(taken)] = changes.as_slice() else {
            panic!("{changes:?}");
        };
        assert_eq!(
            (taken.address.octets()[3], taken.key.clone()),
            (2, lease(2, 2, 0, 0).key)
        );
    }

    #[test]
    fn a_claimed_lease_neither_ends_nor_changes_its_owner() {
        let own = lease(1, 1, 0, NOW.secs() + 10);
        let mut table: LeaseTable = [own.clone()].into_iter().collect();
        let mut claims = Claims::default();
        claims.claim(NOW, &table);
        let other = lease(1, 2, 0, NOW.secs() + 99);
        let released = Lease {
            state: LeaseState::Released,
            ..own.clone()
        };
        let free = lease(9, 2, 0, NOW.secs() + 99);
        let changes = vec![
            Change::put(other),
            Change::put(released),
            Change::Remove(own.address),
            Change::put(free.clone()),
            Change::put(own.clone()),
        ];
        assert_eq!(
            claims.guard(changes),
            [Change::put(free), Change::put(own.clone())]
        );
        table.apply_all(&claims.prolong(NOW, &table, hour));
        let kept = table.get(own.address).unwrap();
        assert_eq!(kept.expires, NOW.plus_secs(3600));
        assert_eq!(claims.prolong(NOW, &table, hour), []);
        claims.clear();
        assert_eq!(claims.guard(vec![Change::Remove(own.address)]).len(), 1);
    }

    #[test]
    fn leases_of_machines_that_are_gone_end() {
        let soon = NOW.secs() + 10;
        let table: LeaseTable = [lease(1, 1, 0, soon), lease(2, 2, 0, soon)]
            .into_iter()
            .collect();
        let gone = |lease: &Lease| lease.address.octets()[3] == 1;
        let changes = release_gone(NOW, &table, gone);
        let [Change::Put(ended)] = changes.as_slice() else {
            panic!("{changes:?}");
        };
        assert_eq!((ended.state, ended.expires), (LeaseState::Released, NOW));
        assert_eq!(
            make_way(&table, gone),
            [Change::Remove([10, 0, 0, 2].into())]
        );
    }
}
