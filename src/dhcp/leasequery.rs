//! What relays are told that ask who has a lease (RFC 4388): a switch that
//! restarted, say, and forwards only what comes from addresses that were lent.
//! Core.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::decide::{Arrival, Decision, Ignored, Outcome};
use super::destination::destination;
use super::option;
use super::options::wants;
use super::relay::{CIRCUIT_ID, REMOTE_ID, is_host};
use super::reply::{Reply, ReplyKind};
use super::request::Request;
use crate::api::{LeaseIdentity, Mode};
use crate::clock::Millis;
use crate::lease::{Lease, LeaseKey, LeaseState, LeaseTable, Record as _, SilentReason};
use crate::snapshot::{Snapshot, SubnetEntry};

/// Everything that one answer looks at.
struct Query<'a> {
    table: &'a LeaseTable,
    arrival: Arrival<'a>,
    request: &'a Request,
    /// The Subnets whose leases the relay may see.
    subnets: Vec<&'a SubnetEntry>,
}

/// Answers a DHCPLEASEQUERY. It goes to the address that the query names as its
/// relay's, which must be one that may ask; nobody else is told anything.
pub(super) fn answer(
    snapshot: &Snapshot,
    table: &LeaseTable,
    arrival: Arrival<'_>,
    request: &Request,
) -> Decision {
    let relay = request.giaddr;
    let may_see = |subnet: &&SubnetEntry| {
        let lends = matches!(subnet.spec.mode, Mode::Server | Mode::Auto);
        let mut allowed = subnet.spec.lease_queries.iter();
        lends && allowed.any(|range| range.contains(relay))
    };
    let subnets: Vec<&SubnetEntry> = snapshot.subnets.iter().filter(may_see).collect();
    if subnets.is_empty() || !is_host(relay) {
        return Decision::silent(Ignored::LeaseQueryRefused);
    }
    // Only the replica that lends knows all leases.
    if !arrival.authority.judges() {
        return Decision::silent(Ignored::Lease(SilentReason::NotHolder));
    }
    let query = Query {
        table,
        arrival,
        request,
        subnets,
    };
    query.answer()
}

// === impl Query ===

impl<'a> Query<'a> {
    /// By address, else by client identifier, else by hardware address (RFC
    /// 4388 section 6.2).
    fn answer(&self) -> Decision {
        let request = self.request;
        let by_address = !request.ciaddr.is_unspecified();
        let (found, kind) = if by_address {
            let mut subnets = self.subnets.iter();
            match subnets.find(|subnet| subnet.spec.is_host(request.ciaddr)) {
                Some(subnet) => (
                    self.lent(subnet, request.ciaddr),
                    ReplyKind::LeaseUnassigned,
                ),
                None => (Vec::new(), ReplyKind::LeaseUnknown),
            }
        } else {
            (self.of_client(), ReplyKind::LeaseUnknown)
        };
        // Of several, the one that its client spoke of last.
        let last = found
            .iter()
            .min_by_key(|(subnet, lease)| self.silent_for(subnet, lease));
        match last {
            Some((subnet, lease)) => {
                let mut options = self.of_lease(subnet, lease);
                let all = found.iter().flat_map(|(_, lease)| lease.address.octets());
                if found.len() > 1 {
                    options.insert(option::ASSOCIATED_IP, all.collect());
                }
                let mut decision = self.reply(ReplyKind::LeaseActive, options, Some(lease));
                decision.subnet = Some(subnet.key.clone());
                decision
            }
            None => self.reply(kind, BTreeMap::new(), None),
        }
    }

    /// The lease of `address`, where it runs.
    fn lent(
        &self,
        subnet: &'a SubnetEntry,
        address: Ipv4Addr,
    ) -> Vec<(&'a SubnetEntry, &'a Lease)> {
        let lease = self.table.get(address).filter(|lease| self.runs(lease));
        lease.map(|lease| (subnet, lease)).into_iter().collect()
    }

    /// The leases of the client that is asked about. Leases are kept by one
    /// name of their client; by another they are looked for one by one.
    fn of_client(&self) -> Vec<(&'a SubnetEntry, &'a Lease)> {
        let (id, mac) = (self.request.client_id(), self.request.client.mac);
        let is_its = |lease: &&Lease| match (id, mac) {
            (Some(id), _) => lease.client_id.as_deref() == Some(id),
            (None, Some(mac)) => lease.mac == Some(mac),
            (None, None) => false,
        };
        let mut found = Vec::new();
        for subnet in self.subnets.iter().copied() {
            let key = match (id, mac, subnet.spec.identity) {
                (None, Some(mac), LeaseIdentity::Mac) => Some(LeaseKey::Mac(mac)),
                (Some(_) | None, ..) => None,
            };
            let all: Box<dyn Iterator<Item = &Lease>> = match &key {
                Some(key) => Box::new(self.table.of_key(&subnet.key, key)),
                None => Box::new(
                    self.table
                        .iter()
                        .filter(|lease| *lease.subnet == *subnet.key),
                ),
            };
            let its = all.filter(is_its).filter(|lease| self.runs(lease));
            found.extend(its.map(|lease| (subnet, lease)));
        }
        found
    }

    fn runs(&self, lease: &Lease) -> bool {
        lease.state_at(self.arrival.now) == LeaseState::Bound
    }

    /// Seconds that a lease has still to run.
    fn left(&self, lease: &Lease) -> u32 {
        let Millis(now) = self.arrival.now;
        let left = lease.expires.0.saturating_sub(now) / 1000;
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// Seconds since its client spoke of a lease: it then had its whole time.
    fn silent_for(&self, subnet: &SubnetEntry, lease: &Lease) -> u32 {
        let whole = subnet.spec.lifetimes.valid.secs();
        whole.saturating_sub(self.left(lease))
    }

    /// What is told of a lease (RFC 4388 section 6.4.2): the times that are left
    /// of it, its client, and where that was heard last.
    fn of_lease(&self, subnet: &SubnetEntry, lease: &Lease) -> BTreeMap<u8, Vec<u8>> {
        let mut options = BTreeMap::new();
        let silent = self.silent_for(subnet, lease);
        let times = &subnet.spec.lifetimes;
        let until = |secs: u32| secs.checked_sub(silent).filter(|left| *left > 0);
        let numbers = [
            (option::LEASE_TIME, Some(self.left(lease))),
            (option::RENEWAL_TIME, until(times.renew_secs())),
            (option::REBINDING_TIME, until(times.rebind_secs())),
            (option::LAST_TRANSACTION, Some(silent)),
        ];
        for (code, number) in numbers {
            if let Some(number) = number.filter(|_| wants(self.request, code)) {
                options.insert(code, number.to_be_bytes().to_vec());
            }
        }
        // Who does not know it cannot ask for it.
        if let Some(id) = &lease.client_id {
            options.insert(option::CLIENT_ID, id.to_vec());
        }
        if wants(self.request, option::RELAY_INFO)
            && let Some(info) = self.relay_info(lease)
        {
            options.insert(option::RELAY_INFO, info);
        }
        options
    }

    /// Option 82 as far as it is remembered: circuit and remote end of the
    /// machine's last request through a relay.
    fn relay_info(&self, lease: &Lease) -> Option<Vec<u8>> {
        let told = self.arrival.told.identity(lease.mac?);
        let mut info = Vec::new();
        for (code, part) in [(CIRCUIT_ID, told.circuit_id), (REMOTE_ID, told.remote_id)] {
            let part = part.filter(|part| !part.is_empty());
            let sized = part.and_then(|part| Some((u8::try_from(part.len()).ok()?, part)));
            if let Some((length, part)) = sized {
                info.extend([code, length]);
                info.extend(part);
            }
        }
        (!info.is_empty()).then_some(info)
    }

    fn reply(
        &self,
        kind: ReplyKind,
        mut options: BTreeMap<u8, Vec<u8>>,
        lease: Option<&Lease>,
    ) -> Decision {
        let server = self.arrival.server.octets().to_vec();
        options.insert(option::SERVER_ID, server);
        let nobody = Ipv4Addr::UNSPECIFIED;
        let port = self.arrival.from.port();
        let reply = Reply {
            kind,
            yiaddr: nobody,
            siaddr: nobody,
            sname: String::new(),
            file: String::new(),
            options,
            destination: destination(self.request, nobody, false, port),
            about: lease.map(|lease| (lease.address, lease.mac)),
        };
        Decision {
            outcome: Outcome::Reply(Box::new(reply)),
            ..Decision::silent(Ignored::Noted)
        }
    }
}
