//! What a Machine must be.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::ipv6::is_unicast as is_unicast6;
use super::{Found, dhcp, is_unicast};
use crate::api::{Kind, Machine, MachineSpec, Problem, Reservation};
use crate::boot::tag_key;
use crate::snapshot::names;

/// Every rule that `machine` breaks.
#[must_use]
pub fn validate_machine(machine: &Machine) -> Vec<Problem> {
    let mut found = Found::of(Kind::Machine, &machine.metadata);
    let mut macs = BTreeMap::new();
    let mut ips = BTreeMap::new();
    let mut ips6 = BTreeMap::new();
    identity(&mut found, &machine.spec);
    for (index, interface) in machine.spec.interfaces.iter().enumerate() {
        let at = |field: &str| format!("/spec/interfaces/{index}/{field}");
        let mac = interface.mac;
        if !mac.is_station() {
            let what = format!("{mac} is the address of a group, not of an interface");
            let cure = "write the interface's own MAC";
            found.error(at("mac"), "BadMac", what, cure);
        }
        once(&mut found, &mut macs, mac, index, ("mac", "DuplicateMac"));
        if let Some(ip) = interface.ip {
            if !is_unicast(ip) {
                found.unicast(&at("ip"), ip);
            }
            once(&mut found, &mut ips, ip, index, ("ip", "DuplicateIp"));
        }
        if let Some(ip) = interface.ipv6 {
            if !is_unicast6(ip) {
                found.unicast6(&at("ipv6"), ip);
            }
            let field = ("ipv6", "DuplicateIp");
            once(&mut found, &mut ips6, ip, index, field);
        }
        hostname(&mut found, &at, interface.hostname.as_deref());
    }
    reservations(&mut found, &machine.spec);
    if let Some(profile) = &machine.spec.profile_ref {
        found.reference("/spec/profileRef/name", Kind::BootProfile, &profile.name);
    }
    dhcp::options(&mut found, "/spec/options", &machine.spec.options);
    found.problems
}

fn hostname(found: &mut Found<'_>, at: &dyn Fn(&str) -> String, name: Option<&str>) {
    if let Some(name) = name.filter(|name| !names::is_host_name(name)) {
        let what = format!("`{}` is not a host name", name.escape_debug());
        let cure = "use letters, digits and `-`, with dots between the parts";
        found.error(at("hostname"), "BadHostname", what, cure);
    }
}

fn reservations(found: &mut Found<'_>, spec: &MachineSpec) {
    for (index, reservation) in spec.reservations.iter().enumerate() {
        let at = |field: &str| format!("/spec/reservations/{index}/{field}");
        found.unicast(&at("ip"), reservation.ip);
        hostname(found, &at, reservation.hostname.as_deref());
        for (field, id) in reservation.ids() {
            dhcp::id(found, &at(field), id);
        }
    }
}

/// A machine must be known by something, and by what is its own.
fn identity(found: &mut Found<'_>, spec: &MachineSpec) {
    let tags = [("serial", &spec.serial), ("assetTag", &spec.asset_tag)];
    let by_id = spec.reservations.iter().any(Reservation::names_a_machine);
    let named = spec.uuid.is_some() || tags.iter().any(|(_, tag)| tag.is_some()) || by_id;
    if spec.interfaces.is_empty() && !named {
        let what = "a machine without interfaces is never seen";
        let cure = "name one with its `mac`, or give its `uuid`, `serial` or `assetTag`";
        found.error("/spec/interfaces", "NoInterface", what, cure);
    }
    let cure = "remove it, and name the machine by the `mac` of an interface";
    if let Some(uuid) = spec.uuid.filter(|uuid| !uuid.names_one()) {
        let what = format!("many boards have the UUID {uuid}: it names none of them");
        found.error("/spec/uuid", "SharedUuid", what, cure);
    }
    for (field, tag) in tags {
        if let Some(tag) = tag.as_deref().filter(|tag| tag_key(tag).is_none()) {
            let what = format!("`{}` names no machine", tag.escape_debug());
            found.error(format!("/spec/{field}"), "SharedTag", what, cure);
        }
    }
}

/// Refuses an address that an interface of this machine has already.
fn once<T: Ord + Display>(
    found: &mut Found<'_>,
    taken: &mut BTreeMap<T, usize>,
    address: T,
    index: usize,
    (field, reason): (&str, &'static str),
) {
    let at = |index: usize| format!("/spec/interfaces/{index}/{field}");
    if let Some(first) = taken.get(&address) {
        let what = format!("two interfaces have the address {address}");
        found.error(at(index), reason, what, "give each its own");
        found.see(&at(*first), "first used here");
    } else {
        taken.insert(address, index);
    }
}
