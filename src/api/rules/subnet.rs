//! The rules of a Subnet.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;

use super::dhcp::{classes, options, ranges};
use super::ipv6::ipv6;
use super::syntax::{is_cidr, is_time, mac_pattern};
use super::{At, LABEL, List, at, host, is_ipv4, name_ref, number, params, quoted, rule, rule_of};

/// The longest name of an interface that is looked at; what is longer than any
/// is told so.
const MAX_INTERFACE: i64 = 1024;

pub(in crate::api) fn subnet() -> Vec<At> {
    let atomic = ["routers", "dns.servers", "ntp"].map(|path| at(path).list(List::Atomic));
    let hosts = ["routers[]", "dns.servers[]", "ntp[]", "nextServer"].map(host);
    let mut all = vec![
        at("").rule(inside()).rule(lends()).rule(auto()),
        at("auto").rule(serves_after()),
        at("cidr").rule(rule(
            &format!(
                "!({}) || !self.matches('^(0|127|22[4-9]|23[0-9]|24[0-9]|25[0-5])[.]')",
                is_cidr("self")
            ),
            "%(self)% holds no addresses of hosts; name a unicast network such as 10.33.0.0/16",
        )),
        at("").rule(rule_of(
            "interface",
            "self.mode != 'Auto' || has(self.interface)",
            "a Subnet that looks for other servers needs a wire to look at; name its `interface`",
        )),
        interface(),
        lifetimes("lifetimes"),
        pools(),
        at("pools[]").rule(order()),
        at("dns.search").list(List::Atomic),
        domain("dns.search[]"),
        name_ref("defaultProfileRef", "BootProfile"),
    ];
    all.push(networks());
    all.extend(atomic);
    all.extend(params());
    all.extend(hosts);
    all.extend(options("options"));
    all.extend(classes());
    all.extend(ranges("relays"));
    all.extend(ranges("exclude"));
    all.extend(ranges("leaseQueries"));
    all.extend([at("routes").list(List::Atomic), host("routes[].via")]);
    all.extend(ipv6());
    all
}

pub(super) fn domain(path: &str) -> At {
    at(path).max_length(254).rule(rule(
        &format!(
            "self.matches({}) && (self.size() < 254 || self.endsWith('.'))",
            quoted(&format!("^{LABEL}([.]{LABEL})*[.]?$"))
        ),
        "`%(self)%` is not a domain; write it as example.net",
    ))
}

/// Each end of each pool is an address that a host can have in the network:
/// `Cidr::is_host`.
fn inside() -> ValidationRule {
    // Powers of two: CEL has none of its own.
    let sizes: Vec<String> = (0..=32)
        .rev()
        .map(|bits: u32| (1_u64 << bits).to_string())
        .collect();
    let ends = "(self.pools.map(p, p.start) + self.pools.map(p, p.end))";
    let size = format!("[{}][cidr(self.cidr).prefixLength()]", sizes.join(", "));
    let network = number("self.cidr.replace('/', '.')");
    let outside = format!(
        "{ends}.filter(a, {valid} && !(cidr(self.cidr).containsIP(a) \
         && (cidr(self.cidr).prefixLength() > 30 \
         || !({address} - {network} in [0, {size} - 1]))))",
        valid = is_ipv4("a"),
        address = number("a"),
    );
    rule_of(
        "pools",
        &format!(
            "!has(self.pools) || !has(self.cidr) || !({}) || {outside}.size() == 0",
            is_cidr("self.cidr")
        ),
        &format!(
            "%({outside}[0])% is no address of a host in %(self.cidr)%; keep the pool inside the network"
        ),
    )
}

/// A Subnet has a network, and says of IPv4 nothing where it has none of that.
fn networks() -> At {
    let fields = [
        ("exclude", true),
        ("leaseQueries", true),
        ("mtu", false),
        ("nextServer", false),
        ("ntp", true),
        ("options", true),
        ("pools", true),
        ("relays", true),
        ("routers", true),
        ("routes", true),
    ];
    let first = at("")
        .rule(rule_of(
            "cidr",
            "has(self.cidr) || has(self.ipv6)",
            "a Subnet has a network; write its `cidr`, its `ipv6`, or both",
        ))
        .rule(rule_of(
            "mode",
            "has(self.cidr) || !has(self.ipv6) || self.mode in ['Server', 'Disabled']",
            "`mode: %(self.mode)%` is about IPv4, and the Subnet has no `cidr`; \
             write `mode: Server`, or its `cidr`",
        ));
    fields.into_iter().fold(first, |at, (field, is_list)| {
        let empty = if is_list {
            format!(" || self.{field}.size() == 0")
        } else {
            String::new()
        };
        at.rule(rule_of(
            field,
            &format!("has(self.cidr) || !has(self.ipv6) || !has(self.{field}){empty}"),
            &format!(
                "`{field}` is about IPv4, and the Subnet has no `cidr`; \
                 write its `cidr`, or remove `{field}`"
            ),
        ))
    })
}

/// A proxy has nothing to lend.
fn lends() -> ValidationRule {
    rule_of(
        "pools",
        "self.mode != 'Proxy' || !has(self.pools) || self.pools.size() == 0",
        "a proxy lends no addresses; remove `pools`, or write `mode: Server`",
    )
}

/// What another server's presence leads to is said of one mode only.
fn auto() -> ValidationRule {
    rule_of(
        "auto",
        "self.mode == 'Auto' || !has(self.auto)",
        "`auto` is for `mode: Auto`; remove it, or write `mode: Auto`",
    )
}

/// Silence is an answer neither at once nor never.
fn serves_after() -> ValidationRule {
    rule_of(
        "servesAfter",
        &format!(
            "!has(self.servesAfter) || !{} || (duration(self.servesAfter).getSeconds() >= 10 \
             && duration(self.servesAfter).getSeconds() <= 3600)",
            is_time("self.servesAfter")
        ),
        "%(self.servesAfter)% is not between 10s and 1h; write 60s, say",
    )
}

/// A pool starts before it ends.
pub(super) fn order() -> ValidationRule {
    rule_of(
        "end",
        &format!(
            "!({} && {}) || {} <= {}",
            is_ipv4("self.start"),
            is_ipv4("self.end"),
            number("self.start"),
            number("self.end")
        ),
        "the pool ends at %(self.end)% before it starts at %(self.start)%; swap `start` and `end`",
    )
}

/// No two pools share an address.
fn pools() -> At {
    let numbers = format!(
        "[self.map(p, {} && {} ? [{}, {}] : [0, -1])]",
        is_ipv4("p.start"),
        is_ipv4("p.end"),
        number("p.start"),
        number("p.end")
    );
    let text = |index: &str| format!("self[{index}].start + '-' + self[{index}].end");
    // The first pool that overlaps an older one, and that one.
    let pair = format!(
        "{numbers}.map(l, l.transformList(i, a, \
         l.transformList(j, b, j < i && a[0] <= b[1] && b[0] <= a[1], j))\
         .transformList(i, older, older.size() > 0, {} + ' overlaps ' + {})[0])[0]",
        text("i"),
        text("older[0]"),
    );
    let disjoint =
        format!("{numbers}.all(l, l.all(i, a, l.all(j, b, j >= i || a[0] > b[1] || b[0] > a[1])))");
    at("pools").list(List::Atomic).rule(rule(
        &disjoint,
        &format!("%({pair})%; make the pools disjoint"),
    ))
}

fn interface() -> At {
    let name = r"!(self in ['.', '..']) && !self.matches('[\\s\\p{Z}\\p{Cc}/:]')";
    at("interface")
        .max_length(MAX_INTERFACE)
        .rule(rule(
            "self != ''",
            "the interface has no name; write its name as `ip link` shows it, or its MAC address",
        ))
        .rule(rule(
            &format!("self.matches('{}') || {name}", mac_pattern()),
            "`%(self)%` cannot be an interface; \
             write its name as `ip link` shows it, or its MAC address",
        ))
        .rule(rule(
            "bytes(self).size() < 128",
            "no interface has a name of more than 127 bytes; \
             write its name as `ip link` shows it, or its MAC address",
        ))
}

/// renew < rebind < valid, with the defaults of `Lifetimes`.
pub(super) fn lifetimes(path: &str) -> At {
    let secs = |field: &str| format!("duration(self.{field}).getSeconds()");
    let read = |field: &str| {
        format!(
            "(!has(self.{field}) || {})",
            is_time(&format!("self.{field}"))
        )
    };
    let readable = ["valid", "renew", "rebind"].map(read).join(" && ");
    let valid = secs("valid");
    let renew = format!("(has(self.renew) ? {} : {valid} / 2)", secs("renew"));
    let rebind = format!(
        "(has(self.rebind) ? {} : {valid} - {valid} / 8)",
        secs("rebind")
    );
    let ordered = format!("!({readable}) || {renew} < {rebind}");
    // Values as they are written: nothing bounds what `string()` makes of a
    // number, and so what the sentence costs.
    let shown = |field: &str, default: &str| {
        format!("(has(self.{field}) ? self.{field} : '{default} of ' + self.valid)")
    };
    let says = format!(
        "renew (%({})%) must come before rebind (%({})%); write renew < rebind < valid",
        shown("renew", "half"),
        shown("rebind", "7/8"),
    );
    at(path)
        .rule(rule_of(
            "valid",
            &format!("!{} || {valid} >= 60", is_time("self.valid")),
            "a lease of %(self.valid)% is too short; write 60s at least",
        ))
        .rule(rule_of(
            "renew",
            &format!(
                "!has(self.renew) || !{} || {} > 0",
                is_time("self.renew"),
                secs("renew")
            ),
            "machines would renew at once and for ever; write 1s at least",
        ))
        .rule(rule_of(
            "rebind",
            &format!(
                "!has(self.rebind) || !({readable}) || {} < {valid}",
                secs("rebind")
            ),
            "rebind (%(self.rebind)%) must come before the lease ends (%(self.valid)%); \
             write renew < rebind < valid",
        ))
        .rule(rule_of(
            "renew",
            &format!("!has(self.renew) || {ordered}"),
            &says,
        ))
        .rule(rule_of(
            "rebind",
            &format!("has(self.renew) || !has(self.rebind) || {ordered}"),
            &says,
        ))
}
