//! The rules of a Subnet's IPv6 network. That a pool ends behind its start and
//! overlaps no other cannot be said here: CEL knows no order of IPv6 addresses.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;

use super::subnet::{domain, lifetimes};
use super::syntax::{is_cidr6, is_ipv6};
use super::{At, List, at, host6, rule, rule_of};

pub(super) fn ipv6() -> Vec<At> {
    let mut all = vec![
        at("ipv6.cidr").rule(rule(
            &format!(
                "!({}) || cidr(self).ip().isGlobalUnicast()",
                is_cidr6("self")
            ),
            "%(self)% holds no addresses that a server can be reached at; \
             name a global or unique local network such as 2001:db8:33::/64",
        )),
        at("ipv6").rule(inside()),
        lifetimes("ipv6.lifetimes"),
        domain("ipv6.dns.search[]"),
    ];
    let lists = ["pools", "relays", "dns.servers", "dns.search"];
    all.extend(lists.map(|list| at(&format!("ipv6.{list}")).list(List::Atomic)));
    all.extend(["ipv6.dns.servers[]", "ipv6.relays[]", "ipv6.server"].map(host6));
    all
}

/// Each end of each pool is an address that a host can have in the network:
/// `Cidr6::is_host`.
fn inside() -> ValidationRule {
    let ends = "(self.pools.map(p, p.start) + self.pools.map(p, p.end))";
    let outside = format!(
        "{ends}.filter(a, {} && !(cidr(self.cidr).containsIP(a) \
         && (cidr(self.cidr).prefixLength() > 126 || !self.cidr.startsWith(a + '/'))))",
        is_ipv6("a")
    );
    rule_of(
        "pools",
        &format!(
            "!has(self.pools) || !({}) || {outside}.size() == 0",
            is_cidr6("self.cidr")
        ),
        &format!(
            "%({outside}[0])% is no address of a host in %(self.cidr)%; keep the pool inside the network"
        ),
    )
}
