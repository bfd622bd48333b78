//! What objects say, and how it is read back.

use std::path::Path;

use super::*;
use crate::lease::association_key;
use crate::snapshot::{Settings, compile};
use crate::standalone::read_text;

const WORLD: &str = r#"
{apiVersion: reveille.dev/v1alpha1, kind: Subnet, metadata: {name: lab, namespace: edge}, spec: {mode: Server, cidr: 10.0.0.0/24, interface: eth0, pools: [{start: 10.0.0.10, end: 10.0.0.99}], ipv6: {cidr: "2001:db8::/64", pools: [{start: "2001:db8::100", end: "2001:db8::103"}]}}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: node-1, namespace: edge}, spec: {interfaces: [{mac: "02:00:00:00:00:01", ipv6: "2001:db8::103"}]}}
"#;

const MAC: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);

fn snapshot() -> Snapshot {
    let loaded = read_text(Path::new("world.yaml"), WORLD);
    let settings = Settings::default();
    compile(1, &loaded.inputs, &settings).snapshot
}

fn lease(key: LeaseKey) -> Lease {
    let client_id = match &key {
        LeaseKey::ClientId(id) => Some(id.clone()),
        LeaseKey::Mac(_) => None,
    };
    Lease {
        address: [10, 0, 0, 10].into(),
        mac: client_id.is_none().then_some(MAC),
        key,
        client_id,
        subnet: "edge/lab".into(),
        hostname: Some("box".into()),
        state: LeaseState::Bound,
        since: Millis::from_secs(1_700_000_000),
        expires: Millis(0),
    }
}

fn lease6(last: u16, key: LeaseKey) -> Lease6 {
    let (duid, iaid) = association_of(&key).unwrap_or_default();
    Lease6 {
        address: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last),
        duid: duid.to_vec(),
        iaid,
        mac: Some(MAC),
        key,
        subnet: "edge/lab".into(),
        state: LeaseState::Bound,
        since: Millis::from_secs(1_700_000_000),
        expires: Millis(0),
    }
}

fn uid(subnet: &str) -> Option<String> {
    (subnet == "edge/lab").then(|| "u-1".to_owned())
}

#[test]
fn an_object_says_who_has_the_address_and_whose_it_is() {
    let object = object_of(&lease(LeaseKey::Mac(MAC)), &snapshot(), &uid, None).unwrap();
    let text = serde_json::to_value(&object).unwrap();
    assert_eq!(text["metadata"]["name"], "10.0.0.10");
    assert_eq!(text["metadata"]["namespace"], "edge");
    let labels = &text["metadata"]["labels"];
    assert_eq!(labels["reveille.dev/subnet"], "lab");
    assert_eq!(labels["reveille.dev/mac"], "02-00-00-00-00-01");
    assert_eq!(labels["reveille.dev/machine"], "node-1");
    assert!(labels["reveille.dev/replica"].is_null());
    assert_eq!(text["metadata"]["ownerReferences"][0]["uid"], "u-1");
    assert_eq!(text["spec"]["bound"], "2023-11-14T22:13:20Z");

    let six = lease6(0x100, LeaseKey::Mac(MAC));
    let object = object_of(&six, &snapshot(), &uid, Some(1)).unwrap();
    let text = serde_json::to_value(&object).unwrap();
    assert_eq!(text["metadata"]["name"], "2001-db8--100");
    assert_eq!(text["spec"]["address"], "2001:db8::100");
    assert_eq!(text["metadata"]["labels"]["reveille.dev/replica"], "1");
    assert_eq!(text["metadata"]["labels"]["reveille.dev/machine"], "node-1");
}

#[test]
fn an_object_reads_back_as_the_lease_that_it_shows() {
    let keys = [LeaseKey::Mac(MAC), LeaseKey::ClientId([0, 7].into())];
    for lease in keys.map(lease) {
        let object = object_of(&lease, &snapshot(), &uid, None).unwrap();
        assert_eq!(lease_of(&object), Some(lease));
        assert_eq!(lease_of::<Lease6>(&object), None);
    }
    let keys = [LeaseKey::Mac(MAC), association_key(&[0, 4, 9], 7)];
    for lease in keys.map(|key| lease6(0x100, key)) {
        let object = object_of(&lease, &snapshot(), &uid, Some(0)).unwrap();
        assert_eq!(lease_of(&object), Some(lease));
        assert_eq!(lease_of::<Lease>(&object), None);
    }
}

#[test]
fn every_address_makes_a_name_that_an_object_may_have() {
    for (address, name) in [
        ("192.0.2.9", "192.0.2.9"),
        ("2001:db8:33::1000", "2001-db8-33--1000"),
        ("2001:db8::", "2001-db8--0"),
        ("::1", "0--1"),
        ("::", "0--0"),
        ("::ffff:192.0.2.9", "0--ffff-192.0.2.9"),
    ] {
        assert_eq!(name_of(address.parse().unwrap()), name);
    }
}

#[test]
fn each_replica_knows_its_own_leases() {
    let snapshot = snapshot();
    let own = |last, replica, ordinal, replicas| {
        let lease = lease6(last, LeaseKey::Mac(MAC));
        let object = object_of(&lease, &snapshot, &uid, replica).unwrap();
        is_own6(&object, &snapshot, Shares { replicas, ordinal })
    };
    // By the part of the pool, whoever wrote it.
    assert!(own(0x100, Some(1), 0, 2) && !own(0x100, Some(1), 1, 2));
    assert!(own(0x102, None, 1, 2) && !own(0x102, None, 0, 2));
    // By who wrote it, where it is reserved or of no pool.
    for last in [0x103, 0x200] {
        assert!(own(last, Some(1), 1, 2) && !own(last, Some(1), 0, 2));
        // The replica is gone for good.
        assert!(own(last, Some(2), 0, 2) && !own(last, Some(2), 1, 2));
    }
    let four = lease(LeaseKey::Mac(MAC));
    let object = object_of(&four, &snapshot, &uid, None).unwrap();
    let alone = Shares {
        replicas: 1,
        ordinal: 0,
    };
    assert!(!is_own6(&object, &snapshot, alone));
}
