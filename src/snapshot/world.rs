//! The rules that only all objects together show.
//!
//! The older object wins and the younger carries the problem; both are named.
//! Core: pure, and total.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::{Inputs, suggest};
use crate::api::{Kind, Machine, Mode, NameRef, ObjectRef, Problem, Subnet};

/// Every rule that the objects break between them.
#[must_use]
pub fn check_world(inputs: &Inputs) -> Vec<Problem> {
    let mut problems = Vec::new();
    subnets(&inputs.subnets, &mut problems);
    defaults(inputs, &mut problems);
    references(inputs, &mut problems);
    machines(&inputs.machines, &mut problems);
    reservations(inputs, &mut problems);
    problems
}

/// Two Subnets must share neither an interface nor addresses: a packet has to
/// belong to one of them. Disabled ones take no packets.
fn subnets(subnets: &[Subnet], problems: &mut Vec<Problem>) {
    let served: Vec<(&Subnet, ObjectRef)> = subnets
        .iter()
        .filter(|subnet| subnet.spec.mode == Mode::Server)
        .map(|subnet| (subnet, of(Kind::Subnet, subnet)))
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
        let object = of(Kind::BootProfile, profile);
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
        .map(|profile| of(Kind::BootProfile, profile))
        .collect();
    for subnet in &inputs.subnets {
        let object = of(Kind::Subnet, subnet);
        let named = &subnet.spec.default_profile_ref;
        problems.extend(missing(
            &object,
            "/spec/defaultProfileRef/name",
            named.as_ref(),
            &profiles,
        ));
    }
    for machine in &inputs.machines {
        let object = of(Kind::Machine, machine);
        let named = &machine.spec.profile_ref;
        problems.extend(missing(
            &object,
            "/spec/profileRef/name",
            named.as_ref(),
            &profiles,
        ));
    }
}

fn missing(
    object: &ObjectRef,
    pointer: &str,
    named: Option<&NameRef>,
    profiles: &BTreeSet<ObjectRef>,
) -> Option<Problem> {
    let name = &named?.name;
    let wanted = ObjectRef::new(Kind::BootProfile, &object.namespace, name);
    if profiles.contains(&wanted) {
        return None;
    }
    let known = profiles
        .iter()
        .filter(|profile| profile.namespace == object.namespace)
        .map(|profile| profile.name.as_str());
    let elsewhere = profiles.iter().find(|profile| profile.name == *name);
    let cure = match (elsewhere, suggest::nearest(name, known)) {
        (Some(other), _) => format!(
            "the one in namespace {} cannot be named: references never cross namespaces",
            other.namespace
        ),
        (None, Some(near)) => format!("did you mean `{near}`?"),
        (None, None) => "add it, or remove the reference".to_owned(),
    };
    let what = format!("there is no {wanted}");
    Some(Problem::error(
        object,
        pointer,
        "ProfileNotFound",
        what,
        cure,
    ))
}

/// No two machines of a namespace share a MAC or an address.
fn machines(machines: &[Machine], problems: &mut Vec<Problem>) {
    let mut macs: BTreeMap<(String, _), (ObjectRef, String)> = BTreeMap::new();
    let mut ips: BTreeMap<(String, Ipv4Addr), (ObjectRef, String)> = BTreeMap::new();
    for machine in machines {
        let object = of(Kind::Machine, machine);
        for (index, interface) in machine.spec.interfaces.iter().enumerate() {
            let key = (object.namespace.clone(), interface.mac);
            let here = (object.clone(), format!("/spec/interfaces/{index}/mac"));
            let first = macs.entry(key).or_insert_with(|| here.clone());
            if first.0 != object {
                let what = format!("{} has the MAC {} already", first.0, interface.mac);
                problems.push(twice("DuplicateMac", what, first, &here));
            }
            let Some(ip) = interface.ip else { continue };
            let key = (object.namespace.clone(), ip);
            let here = (object.clone(), format!("/spec/interfaces/{index}/ip"));
            let first = ips.entry(key).or_insert_with(|| here.clone());
            if first.0 != object {
                let what = format!("{} has the address {ip} already", first.0);
                problems.push(twice("DuplicateIp", what, first, &here));
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
        .map(|subnet| (subnet, of(Kind::Subnet, subnet)))
        .collect();
    for machine in &inputs.machines {
        let object = of(Kind::Machine, machine);
        let mut near = subnets
            .iter()
            .filter(|(_, subnet)| subnet.namespace == object.namespace)
            .peekable();
        if near.peek().is_none() {
            continue;
        }
        let near: Vec<_> = near.collect();
        for (index, interface) in machine.spec.interfaces.iter().enumerate() {
            let pointer = format!("/spec/interfaces/{index}/ip");
            let Some(ip) = interface.ip else { continue };
            match near
                .iter()
                .find(|(subnet, _)| subnet.spec.cidr.contains(ip))
            {
                Some((subnet, at)) => problems.extend(reserved(&object, &pointer, ip, subnet, at)),
                None => problems.push(
                    Problem::error(
                        &object,
                        pointer,
                        "NoSubnet",
                        format!("{ip} lies in no Subnet of namespace {}", object.namespace),
                        "correct the address, or add its Subnet",
                    )
                    .warning(),
                ),
            }
        }
    }
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

fn of<K>(kind: Kind, object: &K) -> ObjectRef
where
    K: k8s_openapi::Metadata<Ty = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>,
{
    ObjectRef::of(kind, object.metadata())
}
