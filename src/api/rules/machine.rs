//! The rules of a Machine.

use super::dhcp::{id, options};
use super::syntax::{mac_pattern, uuid_pattern};
use super::{At, LABEL, List, at, host, host6, name_ref, params, quoted, rule, rule_of};
use crate::boot::{PLACEHOLDERS, Uuid};

pub(in crate::api) fn machine() -> Vec<At> {
    let mut all = vec![
        at("").rule(rule_of(
            "interfaces",
            "has(self.interfaces) && self.interfaces.size() > 0 \
             || has(self.uuid) || has(self.serial) || has(self.assetTag) \
             || has(self.reservations) && self.reservations.exists(it, \
             has(it.clientId) || has(it.circuitId) || has(it.remoteId))",
            "a machine without interfaces is never seen; \
             name one with its `mac`, or give its `uuid`, `serial` or `assetTag`",
        )),
        at("uuid").rule(rule(
            &format!(
                "!self.matches('{}') || !(self.lowerAscii().replace('-', '') in [{}])",
                uuid_pattern(),
                shared_uuids()
            ),
            &format!("many boards have the UUID %(self)%: it names none of them; {BY_MAC}"),
        )),
        tag("serial"),
        tag("assetTag"),
        interfaces(),
        at("interfaces[].mac").rule(rule(
            &format!(
                "!{} || !self.matches('^(.[13579bdfBDF]|[0:.-]+$)')",
                is_mac("self")
            ),
            &format!(
                "%({})% is the address of a group, not of an interface; write the interface's own MAC",
                plain_mac("self")
            ),
        )),
        host("interfaces[].ip"),
        host6("interfaces[].ipv6"),
        hostname("interfaces[].hostname"),
        name_ref("profileRef", "BootProfile"),
        at("reservations").list(List::Atomic),
        host("reservations[].ip"),
        hostname("reservations[].hostname"),
        id("reservations[].clientId"),
        id("reservations[].circuitId"),
        id("reservations[].remoteId"),
    ];
    all.extend(params());
    all.extend(options("options"));
    all
}

fn hostname(path: &str) -> At {
    at(path).rule(rule(
        &format!(
            "self.matches({})",
            quoted(&format!("^{LABEL}([.]{LABEL})*$"))
        ),
        "`%(self)%` is not a host name; use letters, digits and `-`, with dots between the parts",
    ))
}

/// The cure for what names no machine.
const BY_MAC: &str = "remove it, and name the machine by the `mac` of an interface";

/// What its firmware says of it must name it.
fn tag(field: &'static str) -> At {
    let empty: Vec<String> = PLACEHOLDERS.iter().map(|tag| quoted(tag)).collect();
    at(field).rule(rule(
        &format!(
            "self.trim() != '' && !(self.trim().lowerAscii() in [{}])",
            empty.join(", ")
        ),
        &format!("`%(self)%` names no machine; {BY_MAC}"),
    ))
}

/// The UUIDs that name no machine, as texts without hyphens in CEL.
fn shared_uuids() -> String {
    let all = Uuid::shared().into_iter();
    let texts: Vec<String> = all
        .map(|uuid| quoted(&uuid.to_string().replace('-', "")))
        .collect();
    texts.join(", ")
}

/// No two interfaces have one address. The key of the list sees a MAC as it is
/// written; two ways to write one are seen here.
fn interfaces() -> At {
    let macs = format!(
        "{} && {} == {}",
        is_mac("j.mac"),
        digits("i.mac"),
        digits("j.mac")
    );
    let ips = "has(j.ip) && i.ip == j.ip";
    let ips6 = "has(j.ipv6) && i.ipv6 == j.ipv6";
    let unique = |has: &str, same: &str, value: &dyn Fn(&str) -> String| {
        let twice_there = format!("{has} && self.filter(j, {same}).size() > 1");
        let first = format!("self[self.transformList(n, i, {twice_there}, n)[0]]");
        let says = format!(
            "two interfaces have the address %({})%; give each its own",
            value(&first)
        );
        rule(&format!("self.all(i, !({twice_there}))"), &says)
    };
    at("interfaces")
        .list(List::Map("mac"))
        .rule(unique(&is_mac("i.mac"), &macs, &|i| {
            plain_mac(&format!("{i}.mac"))
        }))
        .rule(unique("has(i.ip)", ips, &|i| format!("{i}.ip")))
        .rule(unique("has(i.ipv6)", ips6, &|i| format!("{i}.ipv6")))
}

fn is_mac(value: &str) -> String {
    format!("{value}.matches('{}')", mac_pattern())
}

/// The twelve digits of a MAC address, in CEL.
fn digits(mac: &str) -> String {
    format!("{mac}.lowerAscii().replace(':', '').replace('-', '').replace('.', '')")
}

/// A MAC address as we write it, in CEL.
fn plain_mac(mac: &str) -> String {
    let bytes = [0, 2, 4, 6, 8, 10].map(|at| format!("h.substring({at}, {})", at + 2));
    format!("[{}].map(h, {})[0]", digits(mac), bytes.join(" + ':' + "))
}
