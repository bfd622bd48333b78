//! What a Subnet must be.

use super::{Found, dhcp, ipv6, is_unicast};
use crate::api::{Kind, Lifetime, Lifetimes, Mode, Pool, Problem, Subnet, SubnetSpec};
use crate::snapshot::names;

/// Shortest lease in seconds. A machine asks again after half of it; less is
/// a storm, not a lease.
const MIN_VALID: u32 = 60;

/// Every rule that `subnet` breaks.
#[must_use]
pub fn validate_subnet(subnet: &Subnet) -> Vec<Problem> {
    let mut found = Found::of(Kind::Subnet, &subnet.metadata);
    let spec = &subnet.spec;
    networks(&mut found, spec);
    if let Some(cidr) = spec.cidr.filter(|it| !is_unicast(it.net().network())) {
        let what = format!("{cidr} holds no addresses of hosts");
        let cure = "name a unicast network such as 10.33.0.0/16";
        found.error("/spec/cidr", "BadCidr", what, cure);
    }
    match &spec.interface {
        Some(name) => interface(&mut found, name),
        None if spec.mode == Mode::Auto => {
            let what = "a Subnet that looks for other servers needs a wire to look at";
            found.error(
                "/spec/interface",
                "NoInterface",
                what,
                "name its `interface`",
            );
        }
        None => {}
    }
    if let Some(profile) = &spec.default_profile_ref {
        found.reference(
            "/spec/defaultProfileRef/name",
            Kind::BootProfile,
            &profile.name,
        );
    }
    lifetimes(&mut found, "/spec/lifetimes", &spec.lifetimes);
    if spec.mode == Mode::Proxy && !spec.pools.is_empty() {
        found.error(
            "/spec/pools",
            "ProxyWithPools",
            "a proxy lends no addresses",
            "remove `pools`, or write `mode: Server`",
        );
    }
    auto(&mut found, spec);
    pools(&mut found, spec);
    addresses(&mut found, spec);
    dhcp::ranges(&mut found, "relays", &spec.relays);
    dhcp::ranges(&mut found, "exclude", &spec.exclude);
    dhcp::ranges(&mut found, "leaseQueries", &spec.lease_queries);
    dhcp::options(&mut found, "/spec/options", &spec.options);
    dhcp::classes(&mut found, spec);
    domains(&mut found, "/spec/dns/search", &spec.dns.search);
    if let Some(network) = &spec.ipv6 {
        ipv6::network(&mut found, network);
    }
    found.problems
}

/// A Subnet has a network, and says of IPv4 nothing where it has none of that.
fn networks(found: &mut Found, spec: &SubnetSpec) {
    match (spec.cidr, &spec.ipv6) {
        (Some(_), _) => return,
        (None, None) => {
            let what = "a Subnet has a network";
            let cure = "write its `cidr`, its `ipv6`, or both";
            found.error("/spec/cidr", "NoNetwork", what, cure);
            return;
        }
        (None, Some(_)) => {}
    }
    let mode = match spec.mode {
        Mode::Proxy => Some("Proxy"),
        Mode::Auto => Some("Auto"),
        Mode::Server | Mode::Disabled => None,
    };
    if let Some(mode) = mode {
        let what = format!("`mode: {mode}` is about IPv4, and the Subnet has no `cidr`");
        let cure = "write `mode: Server`, or its `cidr`";
        found.error("/spec/mode", "NoCidr", what, cure);
    }
    let written = [
        ("exclude", !spec.exclude.is_empty()),
        ("leaseQueries", !spec.lease_queries.is_empty()),
        ("mtu", spec.mtu.is_some()),
        ("nextServer", spec.next_server.is_some()),
        ("ntp", !spec.ntp.is_empty()),
        ("options", !spec.options.is_empty()),
        ("pools", !spec.pools.is_empty()),
        ("relays", !spec.relays.is_empty()),
        ("routers", !spec.routers.is_empty()),
        ("routes", !spec.routes.is_empty()),
    ];
    for (field, _) in written.into_iter().filter(|(_, written)| *written) {
        let what = format!("`{field}` is about IPv4, and the Subnet has no `cidr`");
        let cure = format!("write its `cidr`, or remove `{field}`");
        found.error(format!("/spec/{field}"), "NoCidr", what, cure);
    }
}

/// Domains to search.
pub(super) fn domains(found: &mut Found<'_>, at: &str, search: &[String]) {
    for (index, domain) in search.iter().enumerate() {
        if !names::is_host_name(domain.strip_suffix('.').unwrap_or(domain)) {
            found.error(
                format!("{at}/{index}"),
                "BadDomain",
                format!("`{}` is not a domain", domain.escape_debug()),
                "write it as example.net",
            );
        }
    }
}

/// What another server's presence leads to.
fn auto(found: &mut Found<'_>, spec: &SubnetSpec) {
    const BETWEEN: std::ops::RangeInclusive<u32> = 10..=3600;
    let Some(auto) = spec.auto else { return };
    if spec.mode != Mode::Auto {
        found.error(
            "/spec/auto",
            "AutoWithoutMode",
            "`auto` is for `mode: Auto`",
            "remove it, or write `mode: Auto`",
        );
    }
    if !BETWEEN.contains(&auto.serves_after.secs()) {
        found.error(
            "/spec/auto/servesAfter",
            "BadServesAfter",
            format!("{} is not between 10s and 1h", auto.serves_after),
            "write 60s, say",
        );
    }
}

fn interface(found: &mut Found<'_>, name: &str) {
    /// Longest alternative name of an interface (`ALTIFNAMSIZ` less its NUL);
    /// plain names have 15 bytes at most.
    const LONGEST: usize = 127;
    let what = if name.is_empty() {
        "the interface has no name".to_owned()
    } else if name.len() > LONGEST {
        format!("no interface has a name of more than {LONGEST} bytes")
    } else if matches!(name, "." | "..")
        || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/' || c == ':')
            && name.parse::<crate::boot::MacAddress>().is_err()
    {
        format!("`{}` cannot be an interface", name.escape_debug())
    } else {
        return;
    };
    let cure = "write its name as `ip link` shows it, or its MAC address";
    found.error("/spec/interface", "BadInterface", what, cure);
}

pub(super) fn lifetimes(found: &mut Found<'_>, at: &str, times: &Lifetimes) {
    let valid = times.valid.secs();
    if valid < MIN_VALID {
        found.error(
            format!("{at}/valid"),
            "LeaseTooShort",
            format!("a lease of {} is too short", times.valid),
            format!("write {MIN_VALID}s at least"),
        );
    }
    if times.renew.is_some_and(|renew| renew.secs() == 0) {
        let what = "machines would renew at once and for ever";
        found.error(
            format!("{at}/renew"),
            "BadLifetimes",
            what,
            "write 1s at least",
        );
    }
    let (renew, rebind) = (times.renew_secs(), times.rebind_secs());
    if let Some(written) = times.rebind.filter(|_| rebind >= valid) {
        found.error(
            format!("{at}/rebind"),
            "BadLifetimes",
            format!(
                "rebind ({written}) must come before the lease ends ({})",
                times.valid
            ),
            "write renew < rebind < valid",
        );
    }
    let shown = |written: Option<Lifetime>, default: &str| {
        written.map_or_else(
            || format!("{default} of {}", times.valid),
            |written| written.to_string(),
        )
    };
    if renew >= rebind && (times.renew.is_some() || times.rebind.is_some()) {
        let field = if times.renew.is_some() {
            "renew"
        } else {
            "rebind"
        };
        found.error(
            format!("{at}/{field}"),
            "BadLifetimes",
            format!(
                "renew ({}) must come before rebind ({})",
                shown(times.renew, "half"),
                shown(times.rebind, "7/8")
            ),
            "write renew < rebind < valid",
        );
    }
}

fn pools(found: &mut Found<'_>, spec: &SubnetSpec) {
    for (index, pool) in spec.pools.iter().enumerate() {
        for (field, address) in [("start", pool.start), ("end", pool.end)] {
            let outside = spec.cidr.filter(|cidr| !cidr.is_host(address));
            if let Some(cidr) = outside {
                found.error(
                    format!("/spec/pools/{index}/{field}"),
                    "OutsideCidr",
                    format!("{address} is no address of a host in {cidr}"),
                    "keep the pool inside the network",
                );
                found.see("/spec/cidr", "the network");
            }
        }
        dhcp::in_order(found, &format!("/spec/pools/{index}"), pool);
        let older = spec.pools.iter().take(index).enumerate();
        for (first, other) in older.filter(|(_, other)| overlap(pool, other)) {
            found.error(
                format!("/spec/pools/{index}/start"),
                "PoolsOverlap",
                format!(
                    "{}-{} overlaps {}-{}",
                    pool.start, pool.end, other.start, other.end
                ),
                "make the pools disjoint",
            );
            found.see(&format!("/spec/pools/{first}/start"), "the other pool");
        }
    }
}

fn overlap(one: &Pool, other: &Pool) -> bool {
    one.start <= other.end && other.start <= one.end
}

fn addresses(found: &mut Found<'_>, spec: &SubnetSpec) {
    for (index, router) in spec.routers.iter().enumerate() {
        let pointer = format!("/spec/routers/{index}");
        found.unicast(&pointer, *router);
        let outside = spec.cidr.filter(|cidr| !cidr.is_host(*router));
        if let Some(cidr) = outside.filter(|_| is_unicast(*router)) {
            let what = format!("the router {router} is no host in {cidr}");
            found.warn(&pointer, "OutsideCidr", what, "machines cannot reach it");
        }
        in_pool(found, spec, &pointer, *router);
    }
    for (index, route) in spec.routes.iter().enumerate() {
        found.unicast(&format!("/spec/routes/{index}/via"), route.via);
    }
    let lists = [("dns/servers", &spec.dns.servers), ("ntp", &spec.ntp)];
    for (field, list) in lists {
        for (index, address) in list.iter().enumerate() {
            found.unicast(&format!("/spec/{field}/{index}"), *address);
        }
    }
    if let Some(server) = spec.next_server {
        found.unicast("/spec/nextServer", server);
        in_pool(found, spec, "/spec/nextServer", server);
    }
}

/// A server that is there already must not be lent to a machine.
fn in_pool(found: &mut Found<'_>, spec: &SubnetSpec, pointer: &str, address: std::net::Ipv4Addr) {
    let holds = |pool: &Pool| pool.start <= address && address <= pool.end;
    if let Some(index) = spec.pools.iter().position(holds) {
        let what = format!("{address} stands in a pool and would be lent to a machine");
        found.warn(pointer, "AddressInPool", what, "keep it out of the pools");
        found.see(&format!("/spec/pools/{index}/start"), "the pool");
    }
}
