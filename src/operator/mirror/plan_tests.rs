//! What is written, and what is not.

use std::path::Path;

use super::super::object::lease_of;
use super::*;
use crate::boot::MacAddress;
use crate::lease::LeaseKey;
use crate::snapshot::{Settings, compile};
use crate::standalone::read_text;

const WORLD: &str = r#"
{apiVersion: reveille.dev/v1alpha1, kind: Subnet, metadata: {name: lab, namespace: edge}, spec: {mode: Server, cidr: 10.0.0.0/24, interface: eth0, pools: [{start: 10.0.0.10, end: 10.0.0.99}]}}
---
{apiVersion: reveille.dev/v1alpha1, kind: Machine, metadata: {name: node-1, namespace: edge}, spec: {interfaces: [{mac: "02:00:00:00:00:01"}]}}
"#;

fn snapshot() -> Snapshot {
    let loaded = read_text(Path::new("world.yaml"), WORLD);
    let settings = Settings::default();
    compile(1, &loaded.inputs, &settings).snapshot
}

fn shared<const N: usize>(leases: [Lease; N]) -> Vec<Arc<Lease>> {
    leases.map(Arc::new).into()
}

fn lease(last: u8, mac: u8) -> Lease {
    let mac = MacAddress::new([2, 0, 0, 0, 0, mac]);
    Lease {
        address: [10, 0, 0, last].into(),
        key: LeaseKey::Mac(mac),
        mac: Some(mac),
        client_id: None,
        subnet: "edge/lab".into(),
        hostname: Some("box".into()),
        state: LeaseState::Bound,
        since: Millis::from_secs(1_700_000_000),
        expires: Millis::from_secs(1_800_000_000),
    }
}

fn uid(subnet: &str) -> Option<String> {
    (subnet == "edge/lab").then(|| "u-1".to_owned())
}

/// All writes that are due, carried out.
fn writes(plan: &mut Plan) -> Vec<String> {
    let snapshot = snapshot();
    let mut told = Vec::new();
    while let Some(write) = plan.next(Uptime(0), &snapshot, &uid) {
        told.push(match &write {
            Write::Apply { object, .. } => {
                format!("apply {} {:?}", object.spec.address, object.spec.machine)
            }
            Write::Delete { namespace, address } => format!("delete {namespace}/{address}"),
        });
        plan.done(&write);
    }
    told
}

#[test]
fn what_somebody_else_wrote_is_neither_read_nor_removed() {
    let mut object = object_of(&lease(10, 1), &snapshot(), &uid, None).unwrap();
    object.metadata.name = Some("mine".to_owned());
    assert_eq!(lease_of::<Lease>(&object), None);
    let mut plan: Plan = Plan::default();
    plan.listed(&object);
    plan.resync(Millis(0), Vec::new());
    assert_eq!(writes(&mut plan), [""; 0]);
}

#[test]
fn bindings_are_written_and_renewals_are_not() {
    let mut plan: Plan = Plan::default();
    plan.change(Change::put(lease(10, 1)));
    plan.change(Change::put(lease(11, 2)));
    assert_eq!(
        writes(&mut plan),
        ["apply 10.0.0.10 Some(\"node-1\")", "apply 10.0.0.11 None"]
    );
    let renewed = Lease {
        expires: Millis(u64::MAX),
        ..lease(10, 1)
    };
    plan.change(Change::put(renewed));
    assert_eq!(writes(&mut plan), [""; 0]);
    plan.change(Change::put(lease(10, 3)));
    assert_eq!(writes(&mut plan), ["apply 10.0.0.10 None"]);
}

#[test]
fn what_ends_is_removed_and_what_was_never_written_is_not() {
    let mut plan: Plan = Plan::default();
    plan.change(Change::put(lease(10, 1)));
    plan.change(Change::Remove([10, 0, 0, 10].into()));
    assert_eq!(writes(&mut plan), [""; 0], "it came and went unseen");
    plan.change(Change::put(lease(10, 1)));
    writes(&mut plan);
    let released = Lease {
        state: LeaseState::Released,
        ..lease(10, 1)
    };
    plan.change(Change::put(released));
    assert_eq!(writes(&mut plan), ["delete edge/10.0.0.10"]);
    assert_eq!((plan.there(), plan.pending()), (0, 0));
}

#[test]
fn everything_is_held_against_the_table() {
    let (snapshot, now) = (snapshot(), Millis::from_secs(1_750_000_000));
    let mut plan: Plan = Plan::default();
    for lease in [lease(10, 1), lease(11, 2), lease(12, 3)] {
        plan.listed(&object_of(&lease, &snapshot, &uid, None).unwrap());
    }
    let over = Lease {
        expires: now,
        ..lease(12, 3)
    };
    plan.resync(now, shared([lease(11, 2), over, lease(13, 4)]));
    assert_eq!(
        writes(&mut plan),
        [
            "delete edge/10.0.0.10",
            "delete edge/10.0.0.12",
            "apply 10.0.0.13 None"
        ]
    );
    plan.resync(now, shared([lease(11, 2), lease(13, 4)]));
    assert_eq!(writes(&mut plan), [""; 0]);
}

#[test]
fn an_address_that_moved_to_another_namespace_leaves_no_object_behind() {
    let mut object = object_of(&lease(10, 1), &snapshot(), &uid, None).unwrap();
    object.metadata.namespace = Some("old".to_owned());
    let mut plan: Plan = Plan::default();
    plan.listed(&object);
    plan.change(Change::put(lease(10, 1)));
    assert_eq!(
        writes(&mut plan),
        ["delete old/10.0.0.10", "apply 10.0.0.10 Some(\"node-1\")"]
    );
}

#[test]
fn leases_of_a_subnet_that_is_not_served_now_stay_as_they_are() {
    let object = object_of(&lease(10, 1), &snapshot(), &uid, None).unwrap();
    let mut plan: Plan = Plan::default();
    plan.listed(&object);
    plan.resync(Millis(0), shared([lease(10, 1), lease(11, 2)]));
    let nothing = Snapshot::default();
    assert_eq!(plan.next(Uptime(0), &nothing, &uid), None);
    assert_eq!((plan.there(), plan.pending()), (1, 0));
}

#[test]
fn an_object_that_cannot_be_written_holds_no_other_up() {
    let snapshot = snapshot();
    let mut plan: Plan = Plan::default();
    plan.change(Change::put(lease(10, 1)));
    plan.change(Change::put(lease(11, 2)));
    let next = |plan: &mut Plan, now| {
        let write = plan.next(Uptime(now), &snapshot, &uid)?;
        let address = write.address();
        if address.octets()[3] == 10 {
            plan.rest(&write, Uptime(now));
        } else {
            plan.done(&write);
        }
        Some(address.octets()[3])
    };
    assert_eq!(next(&mut plan, 0), Some(10));
    assert_eq!(next(&mut plan, 1), Some(11));
    assert_eq!(next(&mut plan, 4999), None, "it rests");
    assert_eq!(plan.pending(), 1, "and is not forgotten");
    assert_eq!(next(&mut plan, 5000), Some(10));
    assert_eq!(next(&mut plan, 14_999), None, "it rests for longer");
    // What comes meanwhile does not wait for it.
    plan.change(Change::put(lease(12, 3)));
    assert_eq!(next(&mut plan, 14_999), Some(12));
    let mut now = 15_000;
    for _ in 0..40 {
        assert_eq!(next(&mut plan, now), Some(10));
        now += 300_000;
    }
    assert_eq!(plan.resting.len(), 1);
    plan.change(Change::Remove([10, 0, 0, 10].into()));
    assert_eq!(next(&mut plan, now), None);
    assert_eq!((plan.pending(), plan.resting.len()), (0, 0));
}
