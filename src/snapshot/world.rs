//! The rules that only all objects together show.
//!
//! The older object wins and the younger carries the problem; both are named.
//! Core: pure, and total.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::names::namespace_of;
use super::select::ties;
use super::{Inputs, identity, suggest};
use crate::api::{Kind, Machine, Mode, NameRef, ObjectRef, Problem, Subnet, SubnetSpec};
use crate::boot::MacAddress;

/// A reference to a profile that is not there. It costs the boot, not the
/// object: leases and reservations go on, and the machine is sent to its disk.
pub(crate) const PROFILE_NOT_FOUND: &str = "ProfileNotFound";

/// The same of an Artifact: machines wait for it.
pub(crate) const ARTIFACT_NOT_FOUND: &str = "ArtifactNotFound";

/// Every rule that the objects break between them.
#[must_use]
pub fn check_world(inputs: &Inputs) -> Vec<Problem> {
    let mut problems = Vec::new();
    subnets(&inputs.subnets, &mut problems);
    defaults(inputs, &mut problems);
    references(inputs, &mut problems);
    artifacts(inputs, &mut problems);
    machines(&inputs.machines, &mut problems);
    reservations(inputs, &mut problems);
    problems.extend(ties(inputs));
    problems
}

/// Two Subnets must share neither an interface nor addresses: a packet has to
/// belong to one of them. Disabled ones take no packets.
fn subnets(subnets: &[Subnet], problems: &mut Vec<Problem>) {
    let served: Vec<(&Subnet, ObjectRef)> = subnets
        .iter()
        .filter(|subnet| subnet.spec.mode != Mode::Disabled)
        .map(|subnet| (subnet, ObjectRef::of(Kind::Subnet, &subnet.metadata)))
        .collect();
    let mut interfaces: BTreeMap<&str, &ObjectRef> = BTreeMap::new();
    for (index, (subnet, object)) in served.iter().enumerate() {
        let (interface, cidr) = (subnet.spec.interface.as_str(), subnet.spec.cidr);
        if let Some(older) = interfaces.get(interface) {
            let what = format!("{older} serves the interface `{interface}` already");
            let cure = "use one Subnet for each interface";
            problems.push(
                Problem::error(object, "/spec/interface", "InterfaceTaken", what, cure).with(
                    older,
                    "/spec/interface",
                    "served here",
                ),
            );
        } else {
            interfaces.insert(interface, object);
        }
        for (older, at) in served.iter().take(index) {
            let (net, other) = (cidr.net(), older.spec.cidr.net());
            if net.contains(&other) || other.contains(&net) {
                let what = format!("{cidr} overlaps {} of {at}", older.spec.cidr);
                let cure = "make the networks disjoint, or set one to `mode: Disabled`";
                problems.push(
                    Problem::error(object, "/spec/cidr", "SubnetsOverlap", what, cure).with(
                        at,
                        "/spec/cidr",
                        "the other network",
                    ),
                );
            }
        }
    }
}

/// Of two default profiles in a namespace the older one is the default.
fn defaults(inputs: &Inputs, problems: &mut Vec<Problem>) {
    let mut first: BTreeMap<String, ObjectRef> = BTreeMap::new();
    for profile in inputs.profiles.iter().filter(|p| p.spec.default) {
        let object = ObjectRef::of(Kind::BootProfile, &profile.metadata);
        if let Some(older) = first.get(&object.namespace) {
            let what = format!("{older} is the default already and wins, being older");
            let cure = "set `default: true` on one profile only";
            problems.push(
                Problem::error(&object, "/spec/default", "TwoDefaults", what, cure)
                    .warning()
                    .with(older, "/spec/default", "the default"),
            );
        } else {
            first.insert(object.namespace.clone(), object);
        }
    }
}

/// Profiles that are named must be there, in the same namespace.
fn references(inputs: &Inputs, problems: &mut Vec<Problem>) {
    let profiles: BTreeSet<ObjectRef> = inputs
        .profiles
        .iter()
        .map(|profile| ObjectRef::of(Kind::BootProfile, &profile.metadata))
        .collect();
    for subnet in &inputs.subnets {
        let object = ObjectRef::of(Kind::Subnet, &subnet.metadata);
        let named = &subnet.spec.default_profile_ref;
        problems.extend(missing(
            &object,
            "/spec/defaultProfileRef/name",
            named.as_ref(),
            &profiles,
        ));
    }
    for machine in &inputs.machines {
        let Some(named) = &machine.spec.profile_ref else {
            continue;
        };
        let object = ObjectRef::of(Kind::Machine, &machine.metadata);
        let pointer = "/spec/profileRef/name";
        problems.extend(missing(&object, pointer, Some(named), &profiles));
    }
}

/// Artifacts that profiles name must be there, in the same namespace.
fn artifacts(inputs: &Inputs, problems: &mut Vec<Problem>) {
    let artifacts: BTreeSet<ObjectRef> = inputs
        .artifacts
        .iter()
        .map(|artifact| ObjectRef::of(Kind::Artifact, &artifact.metadata))
        .collect();
    for profile in &inputs.profiles {
        let object = ObjectRef::of(Kind::BootProfile, &profile.metadata);
        for file in profile.spec.files() {
            let Some(artifact) = file.artifact_ref else {
                continue;
            };
            let wanted = ObjectRef::new(Kind::Artifact, &object.namespace, &artifact.name);
            let pointer = format!("{}/artifactRef/name", file.pointer);
            problems.extend(not_there(
                (&object, &pointer),
                &wanted,
                &artifacts,
                ARTIFACT_NOT_FOUND,
            ));
        }
    }
}

fn missing(
    object: &ObjectRef,
    pointer: &str,
    named: Option<&NameRef>,
    profiles: &BTreeSet<ObjectRef>,
) -> Option<Problem> {
    let wanted = ObjectRef::new(Kind::BootProfile, &object.namespace, &named?.name);
    not_there((object, pointer), &wanted, profiles, PROFILE_NOT_FOUND)
}

fn not_there(
    (object, pointer): (&ObjectRef, &str),
    wanted: &ObjectRef,
    all: &BTreeSet<ObjectRef>,
    reason: &'static str,
) -> Option<Problem> {
    if all.contains(wanted) {
        return None;
    }
    let name = &wanted.name;
    let known = all
        .iter()
        .filter(|other| other.namespace == object.namespace)
        .map(|other| other.name.as_str());
    let elsewhere = all.iter().find(|other| other.name == *name);
    let cure = match (elsewhere, suggest::nearest(name, known)) {
        (Some(other), _) => format!(
            "the one in namespace {} cannot be named: references never cross namespaces",
            other.namespace
        ),
        (None, Some(near)) => format!("did you mean `{near}`?"),
        (None, None) => "add it, or remove the reference".to_owned(),
    };
    let what = format!("there is no {wanted}");
    Some(Problem::error(object, pointer, reason, what, cure))
}

/// No two machines of a namespace share a MAC, an address, a UUID, a serial
/// number or an asset tag. Nothing is written down but where something was
/// seen first: there may be a hundred thousand machines, and few conflicts.
fn machines(machines: &[Arc<Machine>], problems: &mut Vec<Problem>) {
    let mut macs: HashMap<(&str, MacAddress), (usize, usize)> = HashMap::new();
    let mut ips: HashMap<(&str, Ipv4Addr), (usize, usize)> = HashMap::new();
    let mut names: HashMap<(&str, &str, String), usize> = HashMap::new();
    let object = |at: usize| {
        let machine = machines.get(at);
        machine.map_or_else(
            || ObjectRef::new(Kind::Machine, "", ""),
            |machine| ObjectRef::of(Kind::Machine, &machine.metadata),
        )
    };
    for (at, machine) in machines.iter().enumerate() {
        let namespace = namespace_of(&machine.metadata);
        for (field, reason, value) in identity::names(&machine.spec) {
            let what = format!("has the {field} {value} already");
            let first = *names.entry((namespace, field, value)).or_insert(at);
            if first != at {
                let field = format!("/spec/{field}");
                let (first, here) = ((object(first), field.clone()), (object(at), field));
                problems.push(twice(reason, format!("{} {what}", first.0), &first, &here));
            }
        }
        for (index, interface) in machine.spec.interfaces.iter().enumerate() {
            let place = |(at, index): (usize, usize), field: &str| {
                (object(at), format!("/spec/interfaces/{index}/{field}"))
            };
            let here = (at, index);
            let first = *macs.entry((namespace, interface.mac)).or_insert(here);
            if first.0 != at {
                let (first, here) = (place(first, "mac"), place(here, "mac"));
                let what = format!("{} has the MAC {} already", first.0, interface.mac);
                problems.push(twice("DuplicateMac", what, &first, &here));
            }
            let Some(ip) = interface.ip else { continue };
            let first = *ips.entry((namespace, ip)).or_insert(here);
            if first.0 != at {
                let (first, here) = (place(first, "ip"), place(here, "ip"));
                let what = format!("{} has the address {ip} already", first.0);
                problems.push(twice("DuplicateIp", what, &first, &here));
            }
        }
    }
}

fn twice(
    reason: &'static str,
    what: String,
    (first, first_at): &(ObjectRef, String),
    (object, at): &(ObjectRef, String),
) -> Problem {
    let cure = "give it to one machine only";
    Problem::error(object, at, reason, what, cure).with(first, first_at, "first used here")
}

/// Reserved addresses lie in a Subnet and are not its servers' own.
fn reservations(inputs: &Inputs, problems: &mut Vec<Problem>) {
    let subnets: Vec<(&Subnet, ObjectRef)> = inputs
        .subnets
        .iter()
        .map(|subnet| (subnet, ObjectRef::of(Kind::Subnet, &subnet.metadata)))
        .collect();
    for machine in &inputs.machines {
        let namespace = namespace_of(&machine.metadata);
        let near = || subnets.iter().filter(|(_, at)| at.namespace == namespace);
        if near().next().is_none() {
            continue;
        }
        for (index, interface) in machine.spec.interfaces.iter().enumerate() {
            let Some(ip) = interface.ip else { continue };
            let found = near().find(|(subnet, _)| subnet.spec.cidr.contains(ip));
            if found.is_some_and(|(subnet, _)| is_free(ip, &subnet.spec)) {
                continue;
            }
            let object = ObjectRef::of(Kind::Machine, &machine.metadata);
            let pointer = format!("/spec/interfaces/{index}/ip");
            match found {
                Some((subnet, at)) => problems.extend(reserved(&object, &pointer, ip, subnet, at)),
                None => problems.push(
                    Problem::error(
                        &object,
                        pointer,
                        "NoSubnet",
                        format!("{ip} lies in no Subnet of namespace {namespace}"),
                        "correct the address, or add its Subnet",
                    )
                    .warning(),
                ),
            }
        }
    }
}

/// Whether a machine may have `ip` there.
fn is_free(ip: Ipv4Addr, spec: &SubnetSpec) -> bool {
    spec.cidr.is_host(ip) && !spec.routers.contains(&ip) && spec.next_server != Some(ip)
}

fn reserved(
    object: &ObjectRef,
    pointer: &str,
    ip: Ipv4Addr,
    subnet: &Subnet,
    at: &ObjectRef,
) -> Option<Problem> {
    let cure = "reserve another address";
    let spec = &subnet.spec;
    if !spec.cidr.is_host(ip) {
        let what = format!("no host can have {ip} in {}", spec.cidr);
        return Some(
            Problem::error(object, pointer, "BadAddress", what, cure).with(
                at,
                "/spec/cidr",
                "the network",
            ),
        );
    }
    let router = spec.routers.iter().position(|router| *router == ip);
    let (role, field) = match router {
        Some(index) => ("a router", format!("/spec/routers/{index}")),
        None if spec.next_server == Some(ip) => ("nextServer", "/spec/nextServer".to_owned()),
        None => return None,
    };
    let what = format!("{ip} is {role} of {at}");
    Some(Problem::error(object, pointer, "AddressTaken", what, cure).with(at, &field, "named here"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::Severity;

    fn object<T: serde::de::DeserializeOwned>(kind: Kind, name: &str, spec: Value) -> T {
        let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
        let metadata = json!({"name": name, "namespace": namespace});
        let api = crate::api::API_VERSION;
        let object =
            json!({"apiVersion": api, "kind": kind.as_str(), "metadata": metadata, "spec": spec});
        serde_json::from_value(object).unwrap()
    }

    fn subnet(name: &str, interface: &str, cidr: &str, mode: &str, more: Value) -> Subnet {
        let mut spec = json!({"mode": mode, "cidr": cidr, "interface": interface});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        object(Kind::Subnet, name, spec)
    }

    fn machine(name: &str, mac: u8, ip: Option<&str>, profile: Option<&str>) -> Machine {
        let profile = profile.map(|name| json!({"name": name}));
        let mac = format!("52:54:00:00:00:{mac:02x}");
        let spec = json!({"interfaces": [{"mac": mac, "ip": ip}], "profileRef": profile});
        object(Kind::Machine, name, spec)
    }

    /// `Kind namespace/name pointer reason -> related object`, `?` for warnings.
    fn told(inputs: &Inputs) -> Vec<String> {
        check_world(inputs)
            .iter()
            .map(|problem| {
                let mark = if problem.severity == Severity::Warning {
                    "?"
                } else {
                    ""
                };
                let related: Vec<_> = problem
                    .related
                    .iter()
                    .map(|(place, _)| place.object.name.as_str())
                    .collect();
                let place = &problem.place;
                format!(
                    "{mark}{} {} {} {}",
                    place.object,
                    place.pointer,
                    problem.reason,
                    related.join(",")
                )
                .trim_end()
                .to_owned()
            })
            .collect()
    }

    #[test]
    fn gives_an_interface_and_a_network_to_the_older_subnet() {
        let none = json!({});
        let inputs = Inputs {
            subnets: vec![
                subnet("off", "e1", "10.0.0.0/8", "Disabled", none.clone()),
                subnet("a", "e1", "10.0.0.0/16", "Server", none.clone()),
                subnet("b", "e1", "10.1.0.0/16", "Server", none.clone()),
                subnet("other/c", "e2", "10.0.5.0/24", "Server", none),
            ],
            ..Inputs::default()
        };
        assert_eq!(
            told(&inputs),
            [
                "Subnet default/b /spec/interface InterfaceTaken a",
                "Subnet other/c /spec/cidr SubnetsOverlap a",
            ]
        );
    }

    #[test]
    fn finds_machines_that_are_twice_there() {
        let inputs = Inputs {
            machines: vec![
                machine("a", 1, Some("10.0.0.1"), None).into(),
                machine("b", 1, Some("10.0.0.1"), None).into(),
                machine("other/c", 1, Some("10.0.0.1"), None).into(),
            ],
            ..Inputs::default()
        };
        assert_eq!(
            told(&inputs),
            [
                "Machine default/b /spec/interfaces/0/mac DuplicateMac a",
                "Machine default/b /spec/interfaces/0/ip DuplicateIp a",
            ]
        );
    }

    #[test]
    fn finds_machines_that_are_known_by_the_same() {
        let known = |name: &str, spec: Value| -> Arc<Machine> {
            Arc::new(object(Kind::Machine, name, spec))
        };
        let uuid = "4c4c4544-0043-4810-8052-b4c04f4a4d32";
        let swapped = "44454C4C-4300-1048-8052-B4C04F4A4D32";
        let inputs = Inputs {
            machines: vec![
                known("a", json!({"uuid": uuid, "serial": "X1", "assetTag": "7"})),
                known("b", json!({"uuid": swapped})),
                known("c", json!({"serial": " x1 "})),
                known("d", json!({"assetTag": "7"})),
                known(
                    "other/e",
                    json!({"uuid": uuid, "serial": "7", "assetTag": "X1"}),
                ),
            ],
            ..Inputs::default()
        };
        assert_eq!(
            told(&inputs),
            [
                "Machine default/b /spec/uuid DuplicateUuid a",
                "Machine default/c /spec/serial DuplicateSerial a",
                "Machine default/d /spec/assetTag DuplicateAssetTag a",
            ]
        );
    }

    #[test]
    fn holds_reservations_against_subnets() {
        let more = json!({"routers": ["10.0.0.1"], "nextServer": "10.0.0.2"});
        let inputs = Inputs {
            subnets: vec![subnet("a", "e1", "10.0.0.0/24", "Server", more)],
            machines: vec![
                machine("router", 1, Some("10.0.0.1"), None).into(),
                machine("next", 2, Some("10.0.0.2"), None).into(),
                machine("net", 3, Some("10.0.0.255"), None).into(),
                machine("far", 4, Some("10.9.0.1"), None).into(),
                machine("fine", 5, Some("10.0.0.9"), None).into(),
                machine("other/unserved", 6, Some("10.9.0.1"), None).into(),
            ],
            ..Inputs::default()
        };
        assert_eq!(
            told(&inputs),
            [
                "Machine default/router /spec/interfaces/0/ip AddressTaken a",
                "Machine default/next /spec/interfaces/0/ip AddressTaken a",
                "Machine default/net /spec/interfaces/0/ip BadAddress a",
                "?Machine default/far /spec/interfaces/0/ip NoSubnet",
            ]
        );
    }

    #[test]
    fn finds_profiles_that_are_not_there() {
        let profile = |name| {
            object(
                Kind::BootProfile,
                name,
                json!({"default": true, "local": {}}),
            )
        };
        let more = json!({"defaultProfileRef": {"name": "debina"}});
        let inputs = Inputs {
            subnets: vec![subnet("a", "e1", "10.0.0.0/24", "Server", more)],
            profiles: vec![profile("debian"), profile("rescue"), profile("other/far")],
            machines: vec![
                machine("m", 1, None, Some("debian")).into(),
                machine("n", 2, None, Some("far")).into(),
            ],
            ..Inputs::default()
        };
        assert_eq!(
            told(&inputs),
            [
                "?BootProfile default/rescue /spec/default TwoDefaults debian",
                "Subnet default/a /spec/defaultProfileRef/name ProfileNotFound",
                "Machine default/n /spec/profileRef/name ProfileNotFound",
            ]
        );
        let cures: Vec<_> = check_world(&inputs).into_iter().map(|p| p.cure).collect();
        assert_eq!(cures[1], "did you mean `debian`?");
        assert!(cures[2].contains("namespace other"), "{}", cures[2]);
    }

    #[test]
    fn is_quick_with_ten_thousand_machines() {
        let machines = (0..10_000_u32)
            .map(|n| {
                let mut one = machine(&format!("m{n}"), 0, None, None);
                let [a, b, c, d] = n.to_be_bytes();
                one.spec.interfaces[0].mac = MacAddress::new([2, 0, a, b, c, d]);
                one.spec.interfaces[0].ip = Some(Ipv4Addr::from(0x0a00_0001 + n));
                one.into()
            })
            .collect();
        let inputs = Inputs {
            subnets: vec![subnet("a", "e1", "10.0.0.0/8", "Server", json!({}))],
            machines,
            ..Inputs::default()
        };
        assert_eq!(told(&inputs), [""; 0]);
    }
}
