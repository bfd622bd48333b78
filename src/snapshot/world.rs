//! The rules that only all objects together show.
//!
//! The older object wins and the younger carries the problem; both are named.
//! Core: pure, and total.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::names::namespace_of;
use super::select::ties;
use super::{Inputs, identity, menu, suggest, world6};
use crate::api::{
    BootProfile, Interface, Kind, LoaderKind, Machine, MenuEntry, Mode, NameRef, ObjectRef,
    Problem, Subnet, SubnetSpec,
};
use crate::boot::MacAddress;

/// A reference to a profile that is not there. It costs the boot, not the
/// object: leases and reservations go on, and the machine is sent to its disk.
pub(crate) const PROFILE_NOT_FOUND: &str = "ProfileNotFound";

/// The same of an Artifact: machines wait for it.
pub(crate) const ARTIFACT_NOT_FOUND: &str = "ArtifactNotFound";

/// An entry of a menu that leads back to a menu on its way. It costs the entry.
pub(crate) const MENU_CIRCLE: &str = "MenuCircle";

/// An entry of a menu whose profile no menu can start. Likewise.
pub(crate) const ENTRY_UNFIT: &str = "NotByMenu";

/// A profile for HTTPS where the service has none. It costs its boots.
pub(crate) const HTTPS_OFF: &str = "HttpsOff";

/// Whether `problem` leaves its object as it is written: a reference to what is
/// not there costs the boot, or the entry of a menu.
pub(crate) fn costs_nothing(problem: &Problem) -> bool {
    [
        ARTIFACT_NOT_FOUND,
        ENTRY_UNFIT,
        HTTPS_OFF,
        MENU_CIRCLE,
        PROFILE_NOT_FOUND,
    ]
    .contains(&problem.reason)
}

/// Every rule that the objects break between them.
#[must_use]
pub fn check_world(inputs: &Inputs) -> Vec<Problem> {
    let mut problems = Vec::new();
    subnets(&inputs.subnets, &mut problems);
    defaults(inputs, &mut problems);
    references(inputs, &mut problems);
    artifacts(inputs, &mut problems);
    menus(&inputs.profiles, &mut problems);
    machines(&inputs.machines, &mut problems);
    reservations(inputs, &mut problems);
    world6::reservations(inputs, &mut problems);
    problems.extend(ties(inputs));
    problems
}

/// Two Subnets must share neither addresses nor relays, and an interface only
/// within a namespace: a packet has to belong to one of them. Disabled ones
/// take no packets.
fn subnets(subnets: &[Subnet], problems: &mut Vec<Problem>) {
    let served: Vec<(&Subnet, ObjectRef)> = subnets
        .iter()
        .filter(|subnet| subnet.spec.mode != Mode::Disabled)
        .map(|subnet| (subnet, ObjectRef::of(Kind::Subnet, &subnet.metadata)))
        .collect();
    let mut interfaces: BTreeMap<&str, &ObjectRef> = BTreeMap::new();
    for (index, (subnet, object)) in served.iter().enumerate() {
        relays(
            subnet,
            object,
            served.get(..index).unwrap_or_default(),
            problems,
        );
        class_pools(subnet, object, problems);
        world6::networks(
            subnet,
            object,
            served.get(..index).unwrap_or_default(),
            problems,
        );
        let interface = subnet.spec.interface.as_deref().unwrap_or_default();
        let older = interfaces.get(interface).copied();
        if let Some(older) = older.filter(|older| older.namespace != object.namespace) {
            let what = format!("{older} serves the interface `{interface}` already");
            let cure = "share an interface within one namespace only";
            problems.push(
                Problem::error(object, "/spec/interface", "InterfaceTaken", what, cure).with(
                    older,
                    "/spec/interface",
                    "served here",
                ),
            );
        } else if !interface.is_empty() {
            interfaces.entry(interface).or_insert(object);
        }
        for (older, at) in served.iter().take(index) {
            let Some((cidr, theirs)) = subnet.spec.cidr.zip(older.spec.cidr) else {
                continue;
            };
            let (net, other) = (cidr.net(), theirs.net());
            if net.contains(&other) || other.contains(&net) {
                let what = format!("{cidr} overlaps {theirs} of {at}");
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

/// A relay is named by one Subnet only: its requests have to belong to one.
fn relays(
    subnet: &Subnet,
    object: &ObjectRef,
    older: &[(&Subnet, ObjectRef)],
    problems: &mut Vec<Problem>,
) {
    for (index, range) in subnet.spec.relays.iter().enumerate() {
        for (other, at) in older {
            let mut theirs = other.spec.relays.iter();
            let overlap =
                theirs.position(|their| range.start <= their.last() && their.start <= range.last());
            let Some(first) = overlap else { continue };
            let what = format!("{at} has the relay {} already", range.start);
            let cure = "name each relay in one Subnet";
            let pointer = format!("/spec/relays/{index}/start");
            let there = format!("/spec/relays/{first}/start");
            problems.push(
                Problem::error(object, pointer, "RelayTaken", what, cure).with(
                    at,
                    &there,
                    "named here",
                ),
            );
        }
    }
}

/// What a class is lent alone is a part of the Subnet's pools.
fn class_pools(subnet: &Subnet, object: &ObjectRef, problems: &mut Vec<Problem>) {
    for (index, class) in subnet.spec.classes.iter().enumerate() {
        for (nth, part) in class.pools.iter().enumerate() {
            let mut pools = subnet.spec.pools.iter();
            if pools.any(|pool| pool.start <= part.start && part.end <= pool.end) {
                continue;
            }
            let pointer = format!("/spec/classes/{index}/pools/{nth}/start");
            let what = format!("{}-{} is no part of a pool", part.start, part.end);
            let cure = "make it a part of one of `pools`";
            problems.push(Problem::error(object, pointer, "OutsidePools", what, cure));
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
        for (index, class) in subnet.spec.classes.iter().enumerate() {
            let pointer = format!("/spec/classes/{index}/profileRef/name");
            problems.extend(missing(
                &object,
                &pointer,
                class.profile_ref.as_ref(),
                &profiles,
            ));
        }
    }
    for profile in &inputs.profiles {
        let object = ObjectRef::of(Kind::BootProfile, &profile.metadata);
        for (index, entry) in entries(profile).enumerate() {
            let pointer = entry_pointer(index);
            let named = entry.profile_ref.as_ref();
            problems.extend(missing(&object, &pointer, named, &profiles));
        }
    }
    let there: HashSet<(&str, &str)> = profiles
        .iter()
        .map(|profile| (profile.namespace.as_str(), profile.name.as_str()))
        .collect();
    for machine in &inputs.machines {
        let Some(named) = &machine.spec.profile_ref else {
            continue;
        };
        if there.contains(&(namespace_of(&machine.metadata), &*named.name)) {
            continue;
        }
        let object = ObjectRef::of(Kind::Machine, &machine.metadata);
        let pointer = "/spec/profileRef/name";
        problems.extend(missing(&object, pointer, Some(named), &profiles));
    }
}

/// The entries of a profile's menu.
fn entries(profile: &BootProfile) -> impl Iterator<Item = &MenuEntry> {
    let menu = profile.spec.menu.iter();
    menu.flat_map(|menu| &menu.entries)
}

/// Where the name of the profile stands that an entry boots.
pub(super) fn entry_pointer(index: usize) -> String {
    format!("/spec/menu/entries/{index}/profileRef/name")
}

/// Menus lead on, never round in a circle, and to what a script can start.
fn menus(profiles: &[BootProfile], problems: &mut Vec<Problem>) {
    let objects: Vec<ObjectRef> = profiles
        .iter()
        .map(|profile| ObjectRef::of(Kind::BootProfile, &profile.metadata))
        .collect();
    let places: BTreeMap<&ObjectRef, usize> = objects.iter().zip(0..).collect();
    let target = |object: &ObjectRef, entry: &MenuEntry| {
        let named = entry.profile_ref.as_ref()?;
        let wanted = ObjectRef::new(Kind::BootProfile, &object.namespace, &named.name);
        places.get(&wanted).copied()
    };
    let all: Vec<Vec<Option<usize>>> = profiles
        .iter()
        .zip(&objects)
        .map(|(profile, object)| entries(profile).map(|it| target(object, it)).collect())
        .collect();
    for (menu, index) in menu::closing(&all) {
        let (Some(object), Some(Some(next))) = (
            objects.get(menu),
            all.get(menu).and_then(|it| it.get(index)),
        ) else {
            continue;
        };
        let what = objects.get(*next).map_or_else(String::new, |next| {
            format!("{next} leads here itself: the menus go round in a circle")
        });
        let cure = "remove the entry; Escape leads back from a menu";
        let pointer = entry_pointer(index);
        problems.push(Problem::error(object, pointer, MENU_CIRCLE, what, cure));
    }
    for (object, targets) in objects.iter().zip(&all) {
        for (index, at) in targets.iter().enumerate() {
            let profile = at.and_then(|at| profiles.get(at));
            if profile.is_none_or(|it| it.spec.loader.kind != LoaderKind::File) {
                continue;
            }
            let what = "its loader of kind File is sent as it is, which a menu cannot start";
            let cure = "name a profile with a loader of kind Ipxe";
            let pointer = entry_pointer(index);
            problems.push(Problem::error(object, pointer, ENTRY_UNFIT, what, cure));
        }
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
    let mut macs: HashMap<(&str, MacAddress), (usize, usize)> =
        HashMap::with_capacity(machines.len());
    let mut ips: HashMap<(&str, IpAddr), (usize, usize)> = HashMap::with_capacity(machines.len());
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
            let what = match field {
                "reservations" => format!("has the {value} already"),
                field => format!("has the {field} {value} already"),
            };
            let first = *names.entry((namespace, field, value)).or_insert(at);
            if first != at {
                let field = format!("/spec/{field}");
                let (first, here) = ((object(first), field.clone()), (object(at), field));
                problems.push(twice(reason, format!("{} {what}", first.0), &first, &here));
            }
        }
        for (index, interface) in machine.spec.interfaces.iter().enumerate() {
            let place = |(at, index): (usize, usize), field: &str| match index {
                usize::MAX => (object(at), "/spec/reservations".to_owned()),
                index => (object(at), format!("/spec/interfaces/{index}/{field}")),
            };
            let here = (at, index);
            let first = *macs.entry((namespace, interface.mac)).or_insert(here);
            if first.0 != at {
                let (first, here) = (place(first, "mac"), place(here, "mac"));
                let what = format!("{} has the MAC {} already", first.0, interface.mac);
                problems.push(twice("DuplicateMac", what, &first, &here));
            }
            for (field, ip) in own_addresses(interface) {
                let first = *ips.entry((namespace, ip)).or_insert(here);
                if first.0 != at {
                    let (first, here) = (place(first, field), place(here, field));
                    let what = format!("{} has the address {ip} already", first.0);
                    problems.push(twice("DuplicateIp", what, &first, &here));
                }
            }
        }
        for (index, reservation) in machine.spec.reservations.iter().enumerate() {
            let ip = IpAddr::V4(reservation.ip);
            let (first, nth) = *ips.entry((namespace, ip)).or_insert((at, usize::MAX));
            if first != at {
                let here = (object(at), format!("/spec/reservations/{index}/ip"));
                let there = match nth {
                    usize::MAX => "/spec/reservations".to_owned(),
                    nth => format!("/spec/interfaces/{nth}/ip"),
                };
                let first = (object(first), there);
                let what = format!("{} has the address {ip} already", first.0);
                problems.push(twice("DuplicateIp", what, &first, &here));
            }
        }
    }
}

/// The addresses that are reserved for an interface, by their fields.
fn own_addresses(interface: &Interface) -> impl Iterator<Item = (&'static str, IpAddr)> {
    let v4 = interface.ip.map(|ip| ("ip", IpAddr::V4(ip)));
    let v6 = interface.ipv6.map(|ip| ("ipv6", IpAddr::V6(ip)));
    v4.into_iter().chain(v6)
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
        let interfaces = machine.spec.interfaces.iter().enumerate();
        let of_interfaces =
            interfaces.filter_map(|(index, it)| Some((("interfaces", index), it.ip?)));
        let others = machine.spec.reservations.iter().enumerate();
        let others = others.map(|(index, it)| (("reservations", index), it.ip));
        for ((list, index), ip) in of_interfaces.chain(others) {
            let found = near().find(|(subnet, _)| subnet.spec.contains(ip));
            if found.is_some_and(|(subnet, _)| is_free(ip, &subnet.spec)) {
                continue;
            }
            let object = ObjectRef::of(Kind::Machine, &machine.metadata);
            let pointer = format!("/spec/{list}/{index}/ip");
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
    spec.is_host(ip) && !spec.routers.contains(&ip) && spec.next_server != Some(ip)
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
    let cidr = spec.cidr?;
    if !cidr.is_host(ip) {
        let what = format!("no host can have {ip} in {cidr}");
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
#[path = "world_tests.rs"]
mod tests;
