//! What the status says of worlds that are written down here.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Value, json};

use super::*;
use crate::api::{
    API_VERSION, BootProfileStatus, BootStatus, Kind, MachineStatus, ObjectRef, Phase, SubnetStatus,
};
use crate::boot::MacAddress;
use crate::clock::Millis;
use crate::dhcp::lookout::Acting;
use crate::lease::Usage;
use crate::net::Link;
use crate::snapshot::{Inputs, Settings, compile};
use crate::timeline::{Boot, BootList};

mod six;

fn object<T: serde::de::DeserializeOwned>(kind: Kind, name: &str, spec: &Value) -> T {
    let object = json!({"apiVersion": API_VERSION, "kind": kind.as_str(),
        "metadata": {"name": name, "namespace": "edge"}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

/// A world of objects `(kind, name, spec)`, oldest first.
fn sight(objects: &[(Kind, &str, Value)]) -> Sight {
    let mut inputs = Inputs::default();
    for (kind, name, spec) in objects {
        match kind {
            Kind::Subnet => inputs.subnets.push(object(*kind, name, spec)),
            Kind::BootProfile => inputs.profiles.push(object(*kind, name, spec)),
            Kind::Machine => inputs.machines.push(Arc::new(object(*kind, name, spec))),
            Kind::Artifact => inputs.artifacts.push(object(*kind, name, spec)),
        }
    }
    let settings = Settings::default();
    let compiled = compile(1, &inputs, &settings);
    Sight::new(Arc::new(compiled.snapshot), Arc::new(compiled.report))
}

fn lab(more: Value) -> (Kind, &'static str, Value) {
    let mut spec = json!({"mode": "Server", "cidr": "192.0.2.0/24", "interface": "br0",
        "pools": [{"start": "192.0.2.10", "end": "192.0.2.19"}]});
    merge(&mut spec, more);
    (Kind::Subnet, "lab", spec)
}

fn debian(more: Value) -> (Kind, &'static str, Value) {
    let mut spec = json!({"linux": {"kernel": {"path": "linux"}}});
    merge(&mut spec, more);
    (Kind::BootProfile, "debian", spec)
}

fn node(name: &'static str, mac: u8, more: Value) -> (Kind, &'static str, Value) {
    let mut spec = json!({"interfaces": [{"mac": format!("52:54:00:00:00:{mac:02x}")}]});
    merge(&mut spec, more);
    (Kind::Machine, name, spec)
}

fn merge(spec: &mut Value, more: Value) {
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn machine_of(
    sight: &Sight,
    name: &str,
    old: &MachineStatus,
    latest: Option<&BootStatus>,
) -> MachineStatus {
    machine(&MachineInput {
        object: &ObjectRef::new(Kind::Machine, "edge", name),
        generation: 3,
        old,
        sight,
        latest,
        uuid: None,
        lease: None,
        consumed: None,
        now: at(1000),
    })
}

fn subnet_of(sight: &Sight, listener: &Listening, usage: Usage) -> SubnetStatus {
    subnet(&SubnetInput {
        object: &ObjectRef::new(Kind::Subnet, "edge", "lab"),
        generation: 1,
        old: &SubnetStatus::default(),
        sight,
        listener,
        acting: Acting::Server,
        usage: Some(usage),
        usage6: None,
        link6: None,
        servers: &BTreeMap::new(),
        now: at(1000),
    })
}

fn profile_of(sight: &Sight, name: &str, missing: &[String]) -> BootProfileStatus {
    profile(&ProfileInput {
        object: &ObjectRef::new(Kind::BootProfile, "edge", name),
        generation: 1,
        old: &BootProfileStatus::default(),
        sight,
        missing,
        boots: 7,
        last_boot: None,
        now: at(1000),
    })
}

fn bound() -> Listening {
    Listening::On(Link {
        name: "br0".to_owned(),
        index: 3,
        address: "192.0.2.1".parse().unwrap(),
    })
}

/// `Type=Status/Reason`, in order.
fn told(conditions: &[Condition]) -> Vec<String> {
    let told = conditions.iter();
    told.map(|one| format!("{}={}/{}", one.type_, one.status, one.reason))
        .collect()
}

fn message(conditions: &[Condition], about: About) -> &str {
    &find(conditions, about).unwrap().message
}

fn boot(id: &str, started: i64, result: &str) -> BootStatus {
    BootStatus {
        id: id.to_owned(),
        started: Some(at(started).into()),
        result: Some(result.to_owned()),
        stage: Some("kernel".to_owned()),
        profile: Some("debian".to_owned()),
        duration_ms: 23_400,
        ..BootStatus::default()
    }
}

#[test]
fn a_machine_stands_as_its_world_says() {
    for (objects, want, words) in [
        (
            vec![
                lab(json!({})),
                debian(json!({"default": true})),
                node("m", 1, json!({})),
            ],
            "Ready=True/Served ProfileResolved=True/NamespaceDefault Accepted=True/Approved Booted=Unknown/NeverBooted",
            "it boots BootProfile debian, the default of its namespace",
        ),
        (
            vec![
                lab(json!({})),
                node("m", 1, json!({"boot": {"policy": "Local"}})),
            ],
            "Ready=True/Local ProfileResolved=True/Local Accepted=True/Approved Booted=Unknown/NeverBooted",
            "`boot.policy` is Local",
        ),
        (
            vec![lab(json!({})), node("m", 1, json!({}))],
            "Ready=False/NoProfile ProfileResolved=False/NoProfile Accepted=True/Approved Booted=Unknown/NeverBooted",
            "set `profileRef`",
        ),
        (
            vec![
                lab(json!({})),
                debian(json!({})),
                node("m", 1, json!({"profileRef": {"name": "debina"}})),
            ],
            "Ready=False/ProfileNotFound ProfileResolved=False/ProfileNotFound Accepted=True/Approved Booted=Unknown/NeverBooted",
            "did you mean `debian`?",
        ),
        (
            vec![
                lab(json!({"defaultProfileRef": {"name": "none"}})),
                node("m", 1, json!({})),
            ],
            "Ready=False/ProfileNotFound ProfileResolved=False/ProfileNotFound Accepted=True/Approved Booted=Unknown/NeverBooted",
            "Subnet edge/lab spec.defaultProfileRef.name: there is no BootProfile edge/none",
        ),
        (
            vec![
                lab(json!({})),
                debian(json!({"default": true})),
                node("m", 1, json!({"approved": false})),
            ],
            "Ready=False/NotApproved ProfileResolved=True/NamespaceDefault Accepted=False/NotApproved Booted=Unknown/NeverBooted",
            "until `spec.approved` is true",
        ),
        (
            vec![
                debian(json!({"default": true})),
                node("m", 1, json!({"profileRef": {"name": "debian"}})),
            ],
            "Ready=False/NoSubnet ProfileResolved=True/ProfileRef Accepted=True/Approved Booted=Unknown/NeverBooted",
            "no Subnet of its namespace is served",
        ),
        (
            // A mistake of its own: it cannot get better by waiting.
            vec![
                lab(json!({})),
                debian(json!({"default": true})),
                node(
                    "m",
                    1,
                    json!({"interfaces": [{"mac": "00:00:00:00:00:00"}]}),
                ),
            ],
            "Ready=False/BadMac Stalled=True/BadMac ProfileResolved=Unknown/Refused Accepted=False/Refused Booted=Unknown/NeverBooted",
            "spec.interfaces[0].mac: ",
        ),
    ] {
        let sight = sight(&objects);
        let status = machine_of(&sight, "m", &MachineStatus::default(), None);
        assert_eq!(told(&status.conditions).join(" "), want);
        let said = message(&status.conditions, About::Ready);
        assert!(said.contains(words), "{said}");
        assert_eq!(status.observed_generation, Some(3));
        assert!(
            status
                .conditions
                .iter()
                .all(|one| one.observed_generation == Some(3))
        );
    }
}

#[test]
fn a_conflict_is_told_on_both_sides_and_the_older_wins() {
    let world = sight(&[
        lab(json!({})),
        debian(json!({"default": true})),
        node("old", 1, json!({})),
        node("young", 1, json!({})),
    ]);
    let status = |name| machine_of(&world, name, &MachineStatus::default(), None);
    let (old, young) = (status("old"), status("young"));
    assert_eq!(
        told(&old.conditions)[..2],
        ["Ready=True/Served", "Conflict=True/DuplicateMac"]
    );
    let won = message(&old.conditions, About::Conflict);
    assert!(
        won.starts_with("Machine edge/young spec.interfaces[0].mac:"),
        "{won}"
    );
    assert!(won.ends_with("this one is older and wins"), "{won}");
    assert_eq!(
        told(&young.conditions)[..2],
        ["Ready=False/DuplicateMac", "Conflict=True/DuplicateMac"]
    );
    // It is the other one that may go: it stalls only after a while.
    let lost = message(&young.conditions, About::Ready);
    assert!(lost.contains("Machine edge/old has the MAC"), "{lost}");
    let mut late = young;
    for one in &mut late.conditions {
        one.last_transition_time = at(900).into();
    }
    let later = machine_of(&world, "young", &late, None);
    assert!(find(&later.conditions, About::Stalled).is_some());
    let since = |status: &MachineStatus| {
        find(&status.conditions, About::Ready)
            .unwrap()
            .last_transition_time
            .0
            .as_second()
    };
    assert_eq!(since(&later), 900);
}

#[test]
fn profiles_carry_defaults_and_ties_on_both_sides() {
    let worker = json!({"machineSelector": {"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}});
    let mut rescue = debian(worker.clone());
    rescue.1 = "rescue";
    let tie = sight(&[
        lab(json!({})),
        debian(worker),
        rescue,
        node("m", 1, json!({})),
    ]);
    let conflict = |sight: &Sight, name| {
        let status = profile_of(sight, name, &[]);
        let one = find(&status.conditions, About::Conflict).unwrap();
        (
            one.status.clone(),
            one.reason.clone(),
            one.message.clone(),
            status.machines,
        )
    };
    let (status, reason, words, machines) = conflict(&tie, "debian");
    assert_eq!(
        (status.as_str(), reason.as_str(), machines),
        ("True", "SelectorTie", 1)
    );
    assert!(words.contains("the older, debian, wins"), "{words}");
    let (status, _, _, machines) = conflict(&tie, "rescue");
    assert_eq!((status.as_str(), machines), ("True", 0));
    // The machine is where it shows: it has no conflict of its own.
    let of_machine = machine_of(&tie, "m", &MachineStatus::default(), None);
    assert_eq!(told(&of_machine.conditions)[0], "Ready=True/Served");
    assert!(find(&of_machine.conditions, About::Conflict).is_none());

    let mut second = debian(json!({"default": true}));
    second.1 = "second";
    let two = sight(&[debian(json!({"default": true})), second]);
    for name in ["debian", "second"] {
        let (status, reason, words, _) = conflict(&two, name);
        assert_eq!((status.as_str(), reason.as_str()), ("True", "TwoDefaults"));
        assert!(words.contains("wins"), "{words}");
    }
}

#[test]
fn a_profile_is_ready_when_its_files_are_there() {
    let world = sight(&[debian(json!({}))]);
    let status = profile_of(&world, "debian", &[]);
    assert_eq!(
        told(&status.conditions),
        [
            "Ready=True/Served",
            "ArtifactsReady=True/FilesPresent",
            "TemplatesValid=True/Valid",
            "Conflict=False/NoConflict"
        ]
    );
    assert_eq!((status.source.as_deref(), status.boots), (Some("linux"), 7));
    let missing: Vec<String> = (0..7).map(|n| format!("initrd{n}")).collect();
    let status = profile_of(&world, "debian", &missing);
    assert_eq!(
        told(&status.conditions)[..2],
        [
            "Ready=False/FilesMissing",
            "ArtifactsReady=False/FilesMissing"
        ]
    );
    assert!(message(&status.conditions, About::Ready).contains("initrd4 and 2 more"));
    let bad = sight(&[debian(
        json!({"linux": {"kernel": {"path": "linux"}, "args": ["{{ machine.nam }}"]}}),
    )]);
    let status = profile_of(&bad, "debian", &[]);
    assert_eq!(
        told(&status.conditions),
        [
            "Ready=False/UnknownVariable",
            "Stalled=True/UnknownVariable",
            "ArtifactsReady=Unknown/Refused",
            "TemplatesValid=False/UnknownVariable",
            "Conflict=False/NoConflict"
        ]
    );
}

#[test]
fn a_subnet_stands_as_its_listener_and_pools_do() {
    let world = sight(&[
        lab(json!({})),
        node(
            "m",
            1,
            json!({"interfaces": [
        {"mac": "52:54:00:00:00:01", "ip": "192.0.2.12"}]}),
        ),
    ]);
    let some = Usage {
        used: 3,
        declined: 1,
    };
    let status = subnet_of(&world, &bound(), some);
    assert_eq!(
        told(&status.conditions),
        [
            "Ready=True/Served",
            "InterfaceReady=True/Listening",
            "ForeignDhcp=False/NoneHeard",
            "PoolExhausted=False/AddressesFree"
        ]
    );
    // Ten, less the one that is reserved.
    let counts = status.addresses.unwrap();
    assert_eq!(
        (counts.total, counts.free, counts.used, counts.declined),
        (9, 5, 3, 1)
    );
    assert_eq!(status.server, Some("192.0.2.1".parse().unwrap()));
    let full = subnet_of(
        &world,
        &bound(),
        Usage {
            used: 9,
            declined: 0,
        },
    );
    assert_eq!(told(&full.conditions)[3], "PoolExhausted=True/AllTaken");
    assert_eq!(told(&full.conditions)[0], "Ready=True/Served");

    let down = Listening::Down("there is no interface br0".to_owned());
    let status = subnet_of(&world, &down, some);
    assert_eq!(
        told(&status.conditions)[..2],
        [
            "Ready=False/InterfaceDown",
            "InterfaceReady=False/InterfaceDown"
        ]
    );
    assert_eq!(
        message(&status.conditions, About::Ready),
        "there is no interface br0"
    );
    assert_eq!(status.interface, None);
    let starting = subnet_of(&world, &Listening::Starting, some);
    assert_eq!(told(&starting.conditions)[0], "Ready=Unknown/Starting");

    let off = sight(&[lab(json!({"mode": "Disabled"}))]);
    let status = subnet_of(&off, &Listening::Starting, Usage::default());
    assert_eq!(told(&status.conditions)[0], "Ready=True/Disabled");
    assert_eq!(status.addresses, None);
}

#[test]
fn other_servers_are_told_coarsely_and_forgotten_in_an_hour() {
    let world = sight(&[lab(json!({}))]);
    let object = ObjectRef::new(Kind::Subnet, "edge", "lab");
    let foreign = |old: &SubnetStatus, heard: i64, now: i64| {
        let heard = u64::try_from(heard).unwrap();
        let server: std::net::Ipv4Addr = "192.0.2.66".parse().unwrap();
        let servers = [(server, Millis::from_secs(heard))].into();
        subnet(&SubnetInput {
            object: &object,
            generation: 1,
            old,
            sight: &world,
            listener: &bound(),
            acting: Acting::Server,
            usage: None,
            usage6: None,
            link6: None,
            servers: if heard == 0 {
                const { &BTreeMap::new() }
            } else {
                &servers
            },
            now: at(now),
        })
    };
    let seen = |status: &SubnetStatus| {
        let first = status.foreign_servers.first();
        first.map(|server| server.last_seen.as_ref().unwrap().0.as_second())
    };
    let first = foreign(&SubnetStatus::default(), 1000, 1000);
    assert_eq!(told(&first.conditions)[2], "ForeignDhcp=True/ServersHeard");
    assert!(message(&first.conditions, About::ForeignDhcp).contains("192.0.2.66"));
    assert_eq!(seen(&first), Some(1000));
    assert_eq!(seen(&foreign(&first, 1599, 1599)), Some(1000));
    let second = foreign(&first, 1600, 1600);
    assert_eq!(seen(&second), Some(1600));
    // A new process heard nobody: what the old one heard counts on.
    assert_eq!(seen(&foreign(&second, 0, 5199)), Some(1600));
    let gone = foreign(&second, 0, 5200);
    assert_eq!(told(&gone.conditions)[2], "ForeignDhcp=False/NoneHeard");
    let since = find(&gone.conditions, About::ForeignDhcp).unwrap();
    assert_eq!(since.last_transition_time.0.as_second(), 5200);
}

#[test]
fn the_latest_boot_makes_phase_stage_and_times() {
    let world = sight(&[
        lab(json!({})),
        debian(json!({"default": true})),
        node("m", 1, json!({})),
    ]);
    for (result, phase, booted) in [
        ("running", Phase::Booting, "Booted=False/Booting"),
        ("handed-off", Phase::Booted, "Booted=True/HandedOff"),
        ("phoned-home", Phase::Booted, "Booted=True/PhonedHome"),
        ("stalled", Phase::Stalled, "Booted=False/BootStalled"),
        ("failed", Phase::Stalled, "Booted=False/Failed"),
        ("local-boot", Phase::Ready, "Booted=False/LocalBoot"),
        ("restarted", Phase::Ready, "Booted=False/Restarted"),
    ] {
        let latest = boot("x", 900, result);
        let status = machine_of(&world, "m", &MachineStatus::default(), Some(&latest));
        assert_eq!(
            (status.phase, told(&status.conditions)[3].as_str()),
            (Some(phase), booted)
        );
        assert_eq!(status.stage.as_deref(), Some("kernel"));
        assert_eq!(status.last_boot, Some(at(900).into()));
        let took = (result != "running").then_some("24s");
        assert_eq!(status.last_duration.as_deref(), took, "{result}");
        // While it boots anew, the duration is that of the boot before.
        let again = boot("y", 990, "running");
        let next = machine_of(&world, "m", &status, Some(&again));
        assert_eq!(next.last_duration.as_deref(), took);
    }
    // Nobody tells more of it: the replica that saw it is gone.
    let lost = boot("x", 10, "running");
    let status = machine_of(&world, "m", &MachineStatus::default(), Some(&lost));
    assert_eq!(status.phase, Some(Phase::Stalled));
    // A status that is made again of itself is the same.
    let once = machine_of(&world, "m", &status, Some(&lost));
    assert_eq!(once, status);
}

fn seen_boot(number: u64, result: &str) -> Boot {
    let mut boot = seen(number, true).pop().unwrap();
    boot.result = crate::timeline::BootResult::parse(result).unwrap();
    boot
}

/// The boot of a machine that got an offer, and took it or not yet.
fn seen(number: u64, takes_it: bool) -> Vec<Boot> {
    use crate::timeline::{BootEvent, Fact, Known, NextStep, Timeline};
    let mac = MacAddress::new([2, 0, 0, 0, 0, 1]);
    let mut timeline = Timeline::default();
    let client = crate::boot::Client {
        mac: Some(mac),
        kind: crate::boot::ClientKind::Pxe,
        firmware: None,
        uuid: None,
    };
    let address = "192.0.2.10".parse().unwrap();
    let (profile, at) = ("debian".to_owned(), Millis(number));
    let next = NextStep::Script { profile };
    let offer = Fact::Offer { client, address };
    let ack = Fact::Ack {
        client,
        address,
        next,
    };
    for fact in std::iter::once(offer).chain(takes_it.then_some(ack)) {
        let _ = timeline.observe(&BootEvent { mac, at, fact }, &Known::default());
    }
    timeline.boots().into_iter().cloned().collect()
}

#[test]
fn an_offer_that_may_be_another_servers_boot_is_not_told() {
    let list = |takes_it| BootList {
        name: None,
        running: seen(9000, takes_it),
        past: Vec::new(),
        revision: 1,
    };
    let mut told = Told::default();
    let offered = list(false);
    assert_eq!(offered.running.len(), 1);
    assert!(own_boots(&offered, &[], "a").is_empty());
    assert!(latest(&offered).is_none());
    assert!(told.turns(&offered).is_empty());
    let taken = list(true);
    assert_eq!(own_boots(&taken, &[], "a").len(), 1);
    assert!(latest(&taken).is_some());
    assert_eq!(told.turns(&taken).len(), 1);
}

#[test]
fn a_replica_keeps_what_it_wrote_in_an_earlier_life() {
    let list = BootList {
        name: None,
        running: vec![seen_boot(9000, "running")],
        past: vec![seen_boot(8000, "handed-off")],
        revision: 1,
    };
    let before: Vec<BootStatus> = (1..=6)
        .map(|n| {
            boot(
                &format!("old-{n}"),
                n,
                if n == 6 { "running" } else { "handed-off" },
            )
        })
        .collect();
    let own = own_boots(&list, &before, "a");
    let told: Vec<_> = own
        .iter()
        .map(|boot| format!("{} {}", boot.id, boot.result.as_deref().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            "02-00-00-00-00-01-2328 running",
            "02-00-00-00-00-01-1f40 handed-off",
            "old-6 stalled",
            "old-5 handed-off",
            "old-4 handed-off",
            "old-3 handed-off"
        ]
    );
    assert_eq!(own[0].replica.as_deref(), Some("a"));
    assert_eq!(own[0].stages.len(), 2);
    // Of what it knows already, what it sees now counts.
    let again = own_boots(&list, &own, "a");
    assert_eq!(again, own);
}

#[test]
fn of_two_replicas_the_later_boot_counts() {
    let (early, late) = (boot("a", 1, "handed-off"), boot("b", 2, "running"));
    let id = |boot: Option<BootStatus>| boot.map(|boot| boot.id);
    assert_eq!(
        id(later(Some(early.clone()), Some(&late))),
        Some("b".to_owned())
    );
    assert_eq!(id(later(Some(late), Some(&early))), Some("b".to_owned()));
    assert_eq!(id(later(None, Some(&early))), Some("a".to_owned()));
    // What is in the API of our own boot is older than what we know.
    let older = boot("b", 3, "running");
    let own = later(Some(boot("b", 2, "handed-off")), Some(&older)).unwrap();
    assert_eq!(own.result.as_deref(), Some("handed-off"));
}
