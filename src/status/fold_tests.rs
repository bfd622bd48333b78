use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::api::Phase;
use crate::boot::{Architecture, Client, ClientKind};
use crate::lease::LeaseKey;
use crate::snapshot::{Inputs, Settings, compile};
use crate::timeline::{BootEvent, BootResult, Fact, Known, Timeline};

pub(in crate::status) fn mac(last: u8) -> MacAddress {
    MacAddress::new([2, 0, 0, 0, 0, last])
}

/// A boot that began at `at` and ended so.
pub(in crate::status) fn boot(mac: MacAddress, at: u64, result: BootResult) -> Boot {
    let mut timeline = Timeline::default();
    let client = Client {
        mac: Some(mac),
        kind: ClientKind::Pxe,
        firmware: None,
        uuid: None,
    };
    let address = IpAddr::from([10, 0, 0, 50]);
    let fact = Fact::Offer { client, address };
    let event = BootEvent {
        mac,
        at: Millis(at),
        fact,
    };
    timeline.observe(&event, &Known::default());
    let mut boot = timeline.boots()[0].clone();
    boot.result = result;
    boot.architecture = Some(Architecture::ALL[0]);
    boot
}

fn lease(last: u8, owner: u8, state: LeaseState, expires: u64) -> Arc<Lease> {
    Arc::new(Lease {
        address: Ipv4Addr::new(10, 0, 0, last),
        key: LeaseKey::Mac(mac(owner)),
        mac: Some(mac(owner)),
        client_id: None,
        subnet: "default/lab".into(),
        hostname: None,
        state,
        since: Millis(0),
        expires: Millis(expires),
    })
}

fn object<T: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: &serde_json::Value) -> T {
    serde_json::from_value(json!({
        "apiVersion": crate::api::API_VERSION,
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }))
    .unwrap()
}

fn snapshot() -> Snapshot {
    let machine = |name, spec: &serde_json::Value| Arc::new(object("Machine", name, spec));
    let inputs = Inputs {
        subnets: vec![object(
            "Subnet",
            "lab",
            &json!({
                "mode": "Server",
                "cidr": "10.0.0.0/24",
                "interface": "eth0",
                "pools": [{"start": "10.0.0.10", "end": "10.0.0.19"}],
                "routers": ["10.0.0.1"],
            }),
        )],
        profiles: vec![
            object(
                "BootProfile",
                "debian",
                &json!({"default": true, "linux": {"kernel": {"path": "linux"}}}),
            ),
            object("BootProfile", "disk", &json!({"local": {}})),
        ],
        machines: vec![
            machine(
                "one",
                &json!({"interfaces": [
                    {"mac": mac(1), "netboot": false},
                    {"mac": mac(2), "ip": "10.0.0.12"},
                ]}),
            ),
            machine(
                "two",
                &json!({"interfaces": [{"mac": mac(3)}], "profileRef": {"name": "disk"}}),
            ),
            // The MAC address of the first: refused.
            machine("three", &json!({"interfaces": [{"mac": mac(2)}]})),
        ],
        ..Inputs::default()
    };
    let settings = Settings {
        own_addresses: vec![Ipv4Addr::new(10, 0, 0, 11)],
        ..Settings::default()
    };
    compile(1, &inputs, &settings).snapshot
}

#[test]
fn a_machine_shows_its_profile_its_phase_and_its_latest_boot() {
    let snapshot = snapshot();
    let boots = [
        boot(mac(2), 1000, BootResult::Stalled),
        boot(mac(2), 5000, BootResult::HandedOff),
    ];
    let boots: Vec<&Boot> = boots.iter().collect();
    let facts = Facts {
        now: Millis(9000),
        snapshot: &snapshot,
        boots: &boots,
        leases: None,
        leases6: None,
    };
    let rows = machines(&facts);
    let one = &rows[0];
    assert_eq!(one.profile.as_deref(), Some("debian"));
    assert_eq!(
        (one.rule.as_str(), one.policy.as_str()),
        ("namespace-default", "Always")
    );
    assert_eq!(
        (one.phase, one.stage.as_deref()),
        (Phase::Booted, Some("offer"))
    );
    assert_eq!(one.ip, Some(IpAddr::from([10, 0, 0, 12])));
    assert_eq!(one.last_boot, Some(5000));
    assert_eq!(
        one.architecture.as_deref(),
        Some(Architecture::ALL[0].as_str())
    );
    let two = &rows[1];
    assert_eq!(two.profile.as_deref(), Some("disk"));
    assert_eq!(
        (two.phase, two.local.as_deref()),
        (Phase::Local, Some("profile-local"))
    );
    assert_eq!(
        (two.stage.as_deref(), two.ip, two.last_boot),
        (None, None, None)
    );
    // What the older object's interface does is not the younger's.
    let three = &rows[2];
    assert_eq!(
        (three.name.as_str(), three.profile.as_deref()),
        ("three", None)
    );
}

#[test]
fn a_machine_without_a_subnet_shows_the_profile_that_is_its_own() {
    let mut snapshot = snapshot();
    snapshot.subnets.clear();
    let facts = Facts {
        now: Millis(0),
        snapshot: &snapshot,
        boots: &[],
        leases: None,
        leases6: None,
    };
    let rows = machines(&facts);
    assert_eq!(
        (rows[0].profile.as_deref(), rows[0].phase),
        (None, Phase::Ready)
    );
    assert_eq!(rows[1].profile.as_deref(), Some("disk"));
}

#[test]
fn a_lease_says_which_address_a_machine_has() {
    let snapshot = snapshot();
    let leases = [
        lease(13, 3, LeaseState::Bound, 10_000),
        lease(14, 2, LeaseState::Bound, 10),
    ];
    let facts = Facts {
        now: Millis(9000),
        snapshot: &snapshot,
        boots: &[],
        leases: Some(&leases),
        leases6: None,
    };
    let rows = machines(&facts);
    assert_eq!(rows[0].ip, Some(IpAddr::from([10, 0, 0, 12])), "expired");
    assert_eq!(rows[1].ip, Some(IpAddr::from([10, 0, 0, 13])));
}

#[test]
fn a_subnet_counts_what_it_can_lend_and_what_it_lends() {
    let snapshot = snapshot();
    // Ten addresses, less the host's own (.11) and the reserved one (.12).
    let leases = [
        lease(12, 2, LeaseState::Bound, 10_000),
        lease(13, 3, LeaseState::Bound, 10_000),
        lease(14, 4, LeaseState::Declined, 10_000),
        lease(15, 5, LeaseState::Offered, 10_000),
        lease(16, 6, LeaseState::Bound, 10),
        lease(77, 7, LeaseState::Bound, 10_000),
    ];
    let facts = Facts {
        now: Millis(9000),
        snapshot: &snapshot,
        boots: &[],
        leases: Some(&leases),
        leases6: None,
    };
    let counts = addresses(&snapshot.subnets[0], &leases, Millis(9000));
    assert_eq!((counts.total, counts.declined), (8, 1));
    let rows = subnets(&facts, &|subnet| {
        (subnet.key == "default/lab").then(|| "no interface".to_owned())
    });
    assert_eq!((rows[0].free, rows[0].used), (Some(5), Some(1)));
    assert_eq!(
        (rows[0].ready, rows[0].reason.as_deref()),
        (false, Some("no interface"))
    );
    assert_eq!(
        (rows[0].mode.as_str(), rows[0].cidr.as_deref()),
        ("Server", Some("10.0.0.0/24"))
    );
    let unknown = Facts {
        leases: None,
        leases6: None,
        ..facts
    };
    let rows = subnets(&unknown, &|_| None);
    assert_eq!(
        (rows[0].free, rows[0].used, rows[0].ready),
        (None, None, true)
    );
}

#[test]
fn a_profile_counts_its_machines_and_names_the_files_it_lacks() {
    let snapshot = snapshot();
    let facts = Facts {
        now: Millis(0),
        snapshot: &snapshot,
        boots: &[],
        leases: None,
        leases6: None,
    };
    let missing = |profile: &ProfileEntry| match profile.spec.linux {
        Some(_) => vec!["linux".to_owned()],
        None => Vec::new(),
    };
    let rows = profiles(&snapshot, &machines(&facts), &missing, &|name| {
        u64::from(name.name == "debian") * 7
    });
    let debian = &rows[0];
    assert_eq!(
        (debian.source.as_str(), debian.machines, debian.boots),
        ("linux", 1, 7)
    );
    assert!(!debian.ready && debian.default);
    assert_eq!(
        debian.reason.as_deref(),
        Some("linux not in the artifact tree")
    );
    let disk = &rows[1];
    assert_eq!(
        (disk.source.as_str(), disk.machines, disk.boots),
        ("local", 1, 0)
    );
    assert!(disk.ready);
}
