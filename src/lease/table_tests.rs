use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::record::{LeaseKey, LeaseState, Record as _};
use super::super::records::{Counts, FORGET_SECS};
use super::*;
use crate::boot::MacAddress;
use crate::clock::Millis;

proptest! {
    #[test]
    fn indexes_agree_with_a_naive_model(steps in prop::collection::vec(step(), 0..120), now in 0u64..60) {
        let mut table = LeaseTable::new();
        let mut model: BTreeMap<Ipv4Addr, Lease> = BTreeMap::new();
        for change in &steps {
            table.apply(change);
            match change {
                Change::Put(lease) => { model.insert(lease.address, (**lease).clone()); }
                Change::Remove(address) => { model.remove(address); }
            }
        }
        assert_agrees(&table, &model, Millis::from_secs(now));
    }

    #[test]
    fn a_swept_table_has_nothing_overdue(steps in prop::collection::vec(step(), 0..120), now in 0u64..60) {
        let now = Millis::from_secs(now);
        let mut table = LeaseTable::new();
        table.apply_all(&steps);
        let held: Vec<Lease> = table.iter().filter(|l| !l.is_free(now)).cloned().collect();
        loop {
            let changes = table.expire(now, 3);
            prop_assert!(changes.len() <= 3);
            if changes.is_empty() {
                break;
            }
            table.apply_all(&changes);
        }
        for lease in held {
            prop_assert_eq!(table.get(lease.address), Some(&lease));
        }
        for lease in table.iter().filter(|l| l.is_free(now)) {
            prop_assert!(matches!(lease.state, LeaseState::Expired | LeaseState::Released));
        }
    }
}

#[test]
fn a_lease_is_forgotten_thirty_days_after_its_end() {
    let lease = record(7, 1, 0, LeaseState::Expired, 10);
    let table: LeaseTable = [lease].into_iter().collect();
    let end = Millis::from_secs(10).plus_secs(FORGET_SECS);
    assert_eq!(table.expire(Millis(end.0 - 1), 10), vec![]);
    assert_eq!(table.expire(end, 10), vec![Change::Remove(address(7))]);
}

#[test]
fn a_renamed_subnet_keeps_its_leases() {
    let mut table: LeaseTable = (0..4)
        .map(|n| record(n, 1, 0, LeaseState::Bound, 10))
        .collect();
    let cidr = "10.0.0.0/24".parse().unwrap();
    let changes = table.rehome(&[("default/name".to_owned(), cidr)]);
    table.apply_all(&changes);
    assert_eq!(table.counts("default/name").bound, 4);
    assert_eq!(table.counts("default/s0"), Counts::default());
    assert_eq!(table.rehome(&[("default/name".to_owned(), cidr)]), vec![]);
    assert_eq!(table.of_key("default/name", &key(1)).count(), 4);
}

#[test]
fn records_of_a_subnet_that_is_nowhere_stay() {
    let table: LeaseTable = [record(1, 1, 0, LeaseState::Bound, 10)]
        .into_iter()
        .collect();
    let elsewhere = ("default/b".to_owned(), "192.0.2.0/24".parse().unwrap());
    assert_eq!(table.rehome(&[elsewhere]), vec![]);
    let foreign = ("a/s0".to_owned(), "10.0.0.0/24".parse().unwrap());
    assert_eq!(table.rehome(&[foreign]), vec![]);
}

fn assert_agrees(table: &LeaseTable, model: &BTreeMap<Ipv4Addr, Lease>, now: Millis) {
    assert!(table.iter().eq(model.values()));
    assert_eq!(table.len(), model.len());
    for subnet in ["default/s0", "default/s1"] {
        let of_subnet = || model.values().filter(|l| *l.subnet == *subnet);
        let count =
            |states: &[LeaseState]| of_subnet().filter(|l| states.contains(&l.state)).count();
        let want = Counts {
            bound: count(&[LeaseState::Bound]),
            offered: count(&[LeaseState::Offered]),
            declined: count(&[LeaseState::Declined]),
            remembered: count(&[LeaseState::Released, LeaseState::Expired]),
        };
        assert_eq!(table.counts(subnet), want);
        for n in 0..4 {
            let mine = of_subnet().filter(|l| l.belongs_to(&key(n)));
            assert!(table.of_key(subnet, &key(n)).eq(mine));
        }
        let mut ended: Vec<&Lease> = of_subnet().filter(|l| l.is_free(now)).collect();
        ended.sort_by_key(|l| (l.expires, l.address));
        assert!(table.ended(subnet, now).eq(ended));
    }
    let taken: AddressSet = [address(3), address(4)].into_iter().collect();
    for start in 0..16 {
        let want = (start..16)
            .map(address)
            .find(|a| !model.contains_key(a) && !taken.contains(*a));
        assert_eq!(table.next_unused(address(start), address(15), &taken), want);
    }
}

fn step() -> impl Strategy<Value = Change> {
    let state = prop::sample::select(vec![
        LeaseState::Offered,
        LeaseState::Bound,
        LeaseState::Released,
        LeaseState::Expired,
        LeaseState::Declined,
    ]);
    prop_oneof![
        4 => (0u8..16, 0u8..4, 0u8..2, state, 0u64..60)
            .prop_map(|(at, key, subnet, state, expires)| {
                Change::put(record(at, key, subnet, state, expires))
            }),
        1 => (0u8..16).prop_map(|at| Change::Remove(address(at))),
    ]
}

fn record(at: u8, of: u8, subnet: u8, state: LeaseState, expires: u64) -> Lease {
    Lease {
        address: address(at),
        key: key(of),
        mac: None,
        client_id: None,
        subnet: format!("default/s{subnet}").into(),
        hostname: None,
        state,
        since: Millis(0),
        expires: Millis::from_secs(expires),
    }
}

fn address(n: u8) -> Ipv4Addr {
    [10, 0, 0, n].into()
}

fn key(n: u8) -> LeaseKey {
    LeaseKey::Mac(MacAddress::new([0x52, 0x54, 0, 0, 0, n]))
}
