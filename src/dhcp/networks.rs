//! Which Subnets may answer a request, and in which order.

use super::decide::{Arrival, Ignored};
use super::relay::relayed;
use super::request::{Request, RequestKind};
use crate::api::LeaseIdentity;
use crate::lease::{LeaseKey, LeaseTable};
use crate::snapshot::{Identity, Snapshot, SubnetEntry};

/// The Subnets that may answer, the one that should first. There are several
/// where Subnets share a wire; a request that names an address goes to the one
/// whose network that lies in, one that begins to the one that knows the machine.
pub(super) fn networks<'a>(
    snapshot: &'a Snapshot,
    table: &LeaseTable,
    arrival: Arrival<'_>,
    request: &Request,
    identity: &Identity,
) -> Result<Vec<&'a SubnetEntry>, Ignored> {
    if let Some(subnet) = relayed(snapshot, request)? {
        return Ok(vec![subnet]);
    }
    let first = here(snapshot, arrival, request)?;
    let mut all = vec![first];
    all.extend(snapshot.sharing(first));
    if all.len() > 1 {
        let namespace = &first.name.namespace;
        let known = snapshot.who(namespace, identity);
        let reserves = |subnet: &SubnetEntry| {
            known.is_some_and(|(machine, interface, _)| {
                let own = interface.and_then(|interface| interface.ip);
                let others = &machine.spec().reservations;
                let reserves = |cidr| identity.reserved(others, cidr).is_some();
                own.is_some_and(|address| subnet.spec.contains(address))
                    || subnet.spec.cidr.is_some_and(reserves)
            })
        };
        all.sort_by_cached_key(|subnet| rank(subnet, table, request, reserves(subnet)));
        if !request.kind.begins() {
            all.truncate(1);
        }
    }
    Ok(all)
}

/// The key of a client's lease in `subnet`: its MAC address first, since ROM,
/// iPXE and system send different client identifiers during one boot.
pub(super) fn key_of(subnet: &SubnetEntry, request: &Request) -> LeaseKey {
    let id = request.client_id();
    match (request.client.mac, id, subnet.spec.identity) {
        (Some(_), Some(id), LeaseIdentity::ClientId) => LeaseKey::ClientId(id.into()),
        (Some(mac), _, _) => LeaseKey::Mac(mac),
        (None, id, _) => LeaseKey::ClientId(id.unwrap_or_default().into()),
    }
}

/// How well `subnet` suits a request; the least suits best.
fn rank(subnet: &SubnetEntry, table: &LeaseTable, request: &Request, reserves: bool) -> usize {
    let has_address = !request.ciaddr.is_unspecified();
    let named = if has_address {
        Some(request.ciaddr)
    } else {
        request.requested()
    };
    let names = named.is_some_and(|address| subnet.spec.contains(address));
    let key = key_of(subnet, request);
    let remembers = || table.of_key(&subnet.key, &key).next().is_some();
    // What begins is for whoever knows the machine, all else is about an address.
    let order: [&dyn Fn() -> bool; 3] = if request.kind.begins() {
        [&|| reserves, &remembers, &|| names]
    } else {
        [&|| names, &|| reserves, &remembers]
    };
    order
        .iter()
        .position(|suits| suits())
        .unwrap_or(order.len())
}

/// The Subnet of a request that no relay sent: that of the address that it is
/// sent from, else that of the interface.
///
/// A machine behind a relay renews, informs and releases past it, by unicast
/// and without giaddr; the server trusts its ciaddr (RFC 2131 section 4.3.2).
/// What is broadcast comes from the link: a machine that was moved here and
/// still rebinds its old address is told so.
fn here<'a>(
    snapshot: &'a Snapshot,
    arrival: Arrival<'_>,
    request: &Request,
) -> Result<&'a SubnetEntry, Ignored> {
    let here = snapshot.subnet(arrival.subnet).ok_or(Ignored::SubnetGone)?;
    if let Some(asker) = arrival.boot_port {
        return Ok(snapshot.subnet_of(*asker.ip()).unwrap_or(here));
    }
    let uses_address = match request.kind {
        RequestKind::Request => request.server_id().is_none(),
        RequestKind::Release | RequestKind::Inform => true,
        RequestKind::Discover
        | RequestKind::Decline
        | RequestKind::Bootp
        | RequestKind::LeaseQuery => false,
    };
    if !arrival.unicast || !uses_address || here.spec.contains(request.ciaddr) {
        return Ok(here);
    }
    Ok(snapshot.subnet_of(request.ciaddr).unwrap_or(here))
}
