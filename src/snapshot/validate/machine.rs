//! What a Machine must be.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::Found;
use crate::api::{Kind, Machine, ObjectRef, Problem};
use crate::snapshot::names;

/// Every rule that `machine` breaks.
#[must_use]
pub fn validate_machine(machine: &Machine) -> Vec<Problem> {
    let mut found = Found::of(ObjectRef::of(Kind::Machine, &machine.metadata));
    let mut macs: BTreeMap<_, String> = BTreeMap::new();
    let mut ips: BTreeMap<_, String> = BTreeMap::new();
    if machine.spec.interfaces.is_empty() {
        let what = "a machine without interfaces is never seen";
        found.error(
            "/spec/interfaces",
            "NoInterface",
            what,
            "name one with its `mac`",
        );
    }
    for (index, interface) in machine.spec.interfaces.iter().enumerate() {
        let at = format!("/spec/interfaces/{index}");
        let mac = interface.mac;
        if !mac.is_station() {
            let what = format!("{mac} is the address of a group, not of an interface");
            let cure = "write the interface's own MAC";
            found.error(format!("{at}/mac"), "BadMac", what, cure);
        }
        once(
            &mut found,
            &mut macs,
            mac,
            format!("{at}/mac"),
            "DuplicateMac",
        );
        if let Some(ip) = interface.ip {
            found.unicast(&format!("{at}/ip"), ip);
            once(&mut found, &mut ips, ip, format!("{at}/ip"), "DuplicateIp");
        }
        if let Some(name) = &interface.hostname
            && !names::is_host_name(name)
        {
            found.error(
                format!("{at}/hostname"),
                "BadHostname",
                format!("`{}` is not a host name", name.escape_debug()),
                "use letters, digits and `-`, with dots between the parts",
            );
        }
    }
    if let Some(profile) = &machine.spec.profile_ref {
        found.reference("/spec/profileRef/name", Kind::BootProfile, &profile.name);
    }
    found.problems
}

/// Refuses an address that an interface of this machine has already.
fn once<T: Ord + Display>(
    found: &mut Found,
    taken: &mut BTreeMap<T, String>,
    address: T,
    pointer: String,
    reason: &'static str,
) {
    if let Some(first) = taken.get(&address) {
        let what = format!("two interfaces have the address {address}");
        found.error(pointer, reason, what, "give each its own");
        found.see(first, "first used here");
    } else {
        taken.insert(address, pointer);
    }
}
