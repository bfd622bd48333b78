//! The rules of DHCP options, classes of clients and ranges of addresses.

use super::subnet::order;
use super::{At, List, WORD, at, at_path, host, is_ipv4, name_ref, number, quoted, rule, rule_of};
use crate::api::RESERVED_OPTIONS;

/// What the list of options at `list` gets, where machines are told them.
pub(super) fn options(list: &str) -> Vec<At> {
    let reserved: Vec<String> = RESERVED_OPTIONS.iter().map(u8::to_string).collect();
    let reserved = rule_of(
        "code",
        &format!("!(self.code in [{}])", reserved.join(", ")),
        "this option is the protocol's own and Reveille fills it in; remove it",
    );
    let mut all = values(list);
    all.push(at_path(format!("{list}[]")).rule(reserved));
    all
}

/// What the classes of a Subnet get.
pub(super) fn classes() -> Vec<At> {
    let mut all = vec![
        at("classes").list(List::Atomic).rule(rule(
            "self.all(i, self.filter(j, j.name == i.name).size() == 1)",
            "two classes have one name; give each its own",
        )),
        at("classes[].name").rule(rule(
            &format!("self.matches({})", quoted(&format!("^{WORD}$"))),
            "`%(self)%` cannot be the name of a class; use letters, digits, `-`, `_` and `.`",
        )),
        at("classes[].match").rule(rule(
            "has(self.vendorClass) || has(self.userClass) || has(self.circuitId) \
             || has(self.remoteId) || has(self.architectures) && self.architectures.size() > 0 \
             || has(self.options) && self.options.size() > 0",
            "a class that matches everybody is none; name what its clients are known by",
        )),
        at("classes[].match.architectures").list(List::Set),
        at("classes[].pools").list(List::Atomic),
        at("classes[].pools[]").rule(order()),
        name_ref("classes[].profileRef", "BootProfile"),
        id("classes[].match.circuitId"),
        id("classes[].match.remoteId"),
    ];
    all.extend(options("classes[].options"));
    all.extend(values("classes[].match.options"));
    all
}

/// An identifier: a text, or bytes in hex.
pub(super) fn id(path: &str) -> At {
    at(path).rule(rule(
        "!self.startsWith('0x') \
         || self.matches('^0x[\\\\s:]*([0-9A-Fa-f]{2}[\\\\s:]*)+$')",
        "`%(self)%` is no identifier; write a text, or 0x and pairs of hex digits",
    ))
}

/// What a list of options with their values gets.
fn values(list: &str) -> Vec<At> {
    let values = ["string", "hex", "ip", "ips", "u8", "u16", "u32"];
    let there = values.map(|name| format!("has(self.{name})"));
    vec![
        at(list).list(List::Atomic).rule(rule(
            "self.all(i, self.filter(j, j.code == i.code).size() == 1)",
            "an option stands here twice; write each code once",
        )),
        at_path(format!("{list}[].ips")).list(List::Atomic),
        at_path(format!("{list}[]"))
            .rule(rule(
                &format!("[{}].filter(there, there).size() == 1", there.join(", ")),
                "an option has one value; write one of `string`, `hex`, `ip`, `ips`, `u8`, `u16` \
                 and `u32`",
            ))
            .rule(rule_of(
                "hex",
                "!has(self.hex) || self.hex.matches('^[\\\\s:]*([0-9A-Fa-f]{2}[\\\\s:]*)+$')",
                "`%(self.hex)%` is no row of bytes; write pairs of hex digits such as 01 04 c0000201",
            )),
    ]
}

/// What a list of ranges gets: addresses of hosts, each range the right way
/// round.
pub(super) fn ranges(list: &str) -> Vec<At> {
    vec![
        at(list).list(List::Atomic),
        host(&format!("{list}[].start")),
        host(&format!("{list}[].end")),
        at_path(format!("{list}[]")).rule(rule_of(
            "end",
            &format!(
                "!has(self.end) || !({} && {}) || {} <= {}",
                is_ipv4("self.start"),
                is_ipv4("self.end"),
                number("self.start"),
                number("self.end")
            ),
            "the range ends at %(self.end)% before it starts at %(self.start)%; swap `start` and `end`",
        )),
    ]
}
