//! What DHCP options, classes of clients and ranges of addresses must be.

use super::Found;
use crate::api::{
    AddressRange, DhcpOption, Kind, Pool, RESERVED_OPTIONS, SubnetSpec, id_bytes, unhex,
};
use crate::snapshot::names;

/// Each option of the list at `list` once, with one value, and none of the
/// protocol's own.
pub(super) fn options(found: &mut Found<'_>, list: &str, options: &[DhcpOption]) {
    values(found, list, options);
    for (index, option) in options.iter().enumerate() {
        if RESERVED_OPTIONS.contains(&option.code) {
            let what = "this option is the protocol's own and Reveille fills it in";
            let at = format!("{list}/{index}/code");
            found.error(at, "ReservedOption", what, "remove it");
        }
    }
}

fn values(found: &mut Found<'_>, list: &str, options: &[DhcpOption]) {
    for (index, option) in options.iter().enumerate() {
        let at = format!("{list}/{index}");
        let mut older = options.iter().take(index);
        if let Some(first) = older.position(|other| other.code == option.code) {
            let what = "an option stands here twice";
            let cure = "write each code once";
            found.error(format!("{at}/code"), "DuplicateOption", what, cure);
            found.see(&format!("{list}/{first}/code"), "first here");
        }
        if option.values().len() != 1 {
            let what = "an option has one value";
            let cure = "write one of `string`, `hex`, `ip`, `ips`, `u8`, `u16` and `u32`";
            found.error(at.clone(), "BadOption", what, cure);
        }
        if let Some(hex) = option.hex.as_ref().filter(|hex| unhex(hex).is_none()) {
            let what = format!("`{}` is no row of bytes", hex.escape_debug());
            let cure = "write pairs of hex digits such as 01 04 c0000201";
            found.error(format!("{at}/hex"), "BadOption", what, cure);
        }
    }
}

/// The classes of a Subnet.
pub(super) fn classes(found: &mut Found<'_>, spec: &SubnetSpec) {
    for (index, class) in spec.classes.iter().enumerate() {
        let at = format!("/spec/classes/{index}");
        let mut older = spec.classes.iter().take(index);
        if let Some(first) = older.position(|other| other.name == class.name) {
            let what = "two classes have one name";
            let cure = "give each its own";
            found.error(format!("{at}/name"), "DuplicateClass", what, cure);
            found.see(&format!("/spec/classes/{first}/name"), "first here");
        }
        if class.name.is_empty() || !names::is_label_value(&class.name) {
            let name = class.name.escape_debug();
            let what = format!("`{name}` cannot be the name of a class");
            let cure = "use letters, digits, `-`, `_` and `.`";
            found.error(format!("{at}/name"), "BadName", what, cure);
        }
        let matches = &class.matches;
        if matches.is_empty() {
            let what = "a class that matches everybody is none";
            let cure = "name what its clients are known by";
            found.error(format!("{at}/match"), "BadClass", what, cure);
        }
        for (field, value) in [
            ("circuitId", &matches.circuit_id),
            ("remoteId", &matches.remote_id),
        ] {
            id(found, &format!("{at}/match/{field}"), value.as_deref());
        }
        if let Some(profile) = &class.profile_ref {
            let pointer = format!("{at}/profileRef/name");
            found.reference(&pointer, Kind::BootProfile, &profile.name);
        }
        options(found, &format!("{at}/options"), &class.options);
        values(found, &format!("{at}/match/options"), &matches.options);
        for (nth, pool) in class.pools.iter().enumerate() {
            in_order(found, &format!("{at}/pools/{nth}"), pool);
        }
    }
}

/// A pool starts before it ends.
pub(super) fn in_order(found: &mut Found<'_>, at: &str, pool: &Pool) {
    if pool.start > pool.end {
        let (start, end) = (pool.start, pool.end);
        let what = format!("the pool ends at {end} before it starts at {start}");
        found.error(
            format!("{at}/end"),
            "BadRange",
            what,
            "swap `start` and `end`",
        );
    }
}

/// An identifier: a text, or bytes in hex.
pub(super) fn id(found: &mut Found<'_>, pointer: &str, text: Option<&str>) {
    if let Some(text) = text.filter(|text| id_bytes(text).is_none()) {
        let what = format!("`{}` is no identifier", text.escape_debug());
        let cure = "write a text, or 0x and pairs of hex digits";
        found.error(pointer, "BadId", what, cure);
    }
}

/// Ranges of addresses of hosts, each the right way round.
pub(super) fn ranges(found: &mut Found<'_>, field: &str, ranges: &[AddressRange]) {
    for (index, range) in ranges.iter().enumerate() {
        let at = format!("/spec/{field}/{index}");
        found.unicast(&format!("{at}/start"), range.start);
        let Some(end) = range.end else { continue };
        found.unicast(&format!("{at}/end"), end);
        if end < range.start {
            let what = format!(
                "the range ends at {end} before it starts at {}",
                range.start
            );
            found.error(
                format!("{at}/end"),
                "BadRange",
                what,
                "swap `start` and `end`",
            );
        }
    }
}
