//! What the IPv6 network of a Subnet must be.

use std::net::Ipv6Addr;

use super::{Found, subnet};
use crate::api::{Ipv6Network, Pool6};

/// Every rule that `network` breaks.
pub(super) fn network(found: &mut Found<'_>, network: &Ipv6Network) {
    let cidr = network.cidr;
    if !is_unicast(cidr.net().network()) {
        found.error(
            "/spec/ipv6/cidr",
            "BadCidr",
            format!("{cidr} holds no addresses that a server can be reached at"),
            "name a global or unique local network such as 2001:db8:33::/64",
        );
    }
    subnet::lifetimes(found, "/spec/ipv6/lifetimes", &network.lifetimes);
    subnet::domains(found, "/spec/ipv6/dns/search", &network.dns.search);
    for (index, pool) in network.pools.iter().enumerate() {
        pools(found, network, index, *pool);
    }
    for (index, server) in network.dns.servers.iter().enumerate() {
        found.unicast6(&format!("/spec/ipv6/dns/servers/{index}"), *server);
    }
    for (index, link) in network.relays.iter().enumerate() {
        found.unicast6(&format!("/spec/ipv6/relays/{index}"), *link);
    }
    if let Some(server) = network.server {
        found.unicast6("/spec/ipv6/server", server);
    }
}

fn pools(found: &mut Found<'_>, network: &Ipv6Network, index: usize, pool: Pool6) {
    let cidr = network.cidr;
    for (field, address) in [("start", pool.start), ("end", pool.end)] {
        if !cidr.is_host(address) {
            found.error(
                format!("/spec/ipv6/pools/{index}/{field}"),
                "OutsideCidr",
                format!("{address} is no address of a host in {cidr}"),
                "keep the pool inside the network",
            );
            found.see("/spec/ipv6/cidr", "the network");
        }
    }
    if pool.start > pool.end {
        found.error(
            format!("/spec/ipv6/pools/{index}/end"),
            "BadRange",
            format!(
                "the pool ends at {} before it starts at {}",
                pool.end, pool.start
            ),
            "swap `start` and `end`",
        );
    }
    let older = network.pools.iter().take(index).enumerate();
    for (first, other) in older {
        if pool.start <= other.end && other.start <= pool.end {
            found.error(
                format!("/spec/ipv6/pools/{index}/start"),
                "PoolsOverlap",
                format!(
                    "{}-{} overlaps {}-{}",
                    pool.start, pool.end, other.start, other.end
                ),
                "make the pools disjoint",
            );
            found.see(&format!("/spec/ipv6/pools/{first}/start"), "the other pool");
        }
    }
}

/// Whether a host can have `address` on more than one link (RFC 4291 section
/// 2.4).
pub(super) fn is_unicast(address: Ipv6Addr) -> bool {
    !address.is_unspecified()
        && !address.is_loopback()
        && !address.is_multicast()
        && !address.is_unicast_link_local()
        && address.to_ipv4_mapped().is_none()
}
