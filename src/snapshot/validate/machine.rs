//! What a Machine must be.

use std::collections::BTreeMap;

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
        let (mac, pointer) = (interface.mac, format!("{at}/mac"));
        if !mac.is_station() {
            let what = format!("{mac} is the address of a group, not of an interface");
            found.error(&pointer, "BadMac", what, "write the interface's own MAC");
        }
        if let Some(first) = macs.get(&mac) {
            let what = format!("two interfaces have the MAC {mac}");
            found.error(&pointer, "DuplicateMac", what, "remove one of the two");
            found.see(first, "first used here");
        } else {
            macs.insert(mac, pointer);
        }
        if let Some(ip) = interface.ip {
            let pointer = format!("{at}/ip");
            found.unicast(&pointer, ip);
            if let Some(first) = ips.get(&ip) {
                let what = format!("two interfaces have the address {ip}");
                found.error(&pointer, "DuplicateIp", what, "give each its own");
                found.see(first, "first used here");
            } else {
                ips.insert(ip, pointer);
            }
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
    found.problems
}
