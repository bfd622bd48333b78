//! What the engine says of its decisions: log lines and counters. Shell.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;

use super::decide::{Decision, Ignored, Outcome};
use super::listener::{Door, Incoming};
use super::request::{Malformed, Request, sender};
use super::socket::{ALL_SERVERS, SERVER_PORT};
use crate::boot::MacAddress;
use crate::clock::Millis;
use crate::dhcp::limits::too_often;
use crate::dhcp::metrics::DhcpMetrics;
use crate::lease::SilentReason;
use crate::packets::{Ring, Sighted};
use crate::telemetry::Seldom;

/// Tells of decisions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Story {
    /// What is counted.
    pub metrics: DhcpMetrics,
    /// What was said lately.
    pub seldom: Seldom,
    /// The last packets of each machine.
    pub packets: Ring,
}

/// How a packet came.
pub(super) struct Came<'a> {
    door: &'a Door,
    from: SocketAddrV6,
    to: Option<Ipv6Addr>,
}

// === impl Came ===

impl<'a> Came<'a> {
    pub(super) const fn by(door: &'a Door, from: SocketAddrV6, to: Option<Ipv6Addr>) -> Self {
        Self { door, from, to }
    }

    fn sighted(&self, at: Millis, outcome: &'static str, bytes: Arc<[u8]>) -> Sighted {
        Sighted {
            at,
            interface: self.door.socket.link().name.as_str().into(),
            request: true,
            outcome,
            from: ((*self.from.ip()).into(), self.from.port()),
            to: (self.to.unwrap_or(ALL_SERVERS).into(), SERVER_PORT),
            bytes,
        }
    }
}

// === impl Story ===

impl Story {
    /// Counts a request of `kind` by its outcome.
    pub(super) fn count(&self, kind: &str, outcome: &str) {
        let requests = &self.metrics.requests6;
        requests.with_label_values(&[kind, outcome]).inc();
    }

    /// Keeps a request and what was done about it, where its machine is known by an
    /// Ethernet address.
    pub(super) fn keep_request(&self, incoming: &Incoming, decision: &Decision) {
        let Some(mac) = decision.client.mac else {
            return;
        };
        let came = Came::by(&incoming.door, incoming.from, incoming.to);
        let outcome = decision.outcome.as_str();
        let packet = came.sighted(incoming.received, outcome, Arc::clone(&incoming.bytes));
        self.packets
            .push(mac, Some(decision.machine.is_some()), packet);
    }

    /// Keeps a packet that is no request, where it names an Ethernet address.
    pub(super) fn keep_malformed(
        &self,
        at: Millis,
        came: &Came<'_>,
        packet: &[u8],
        why: Malformed,
    ) {
        if let Some(mac) = sender(packet, *came.from.ip()) {
            let packet = came.sighted(at, why.as_str(), packet.into());
            self.packets.push(mac, None, packet);
        }
    }

    /// Keeps a reply that left for a machine, which an object names or not.
    pub(super) fn keep_reply(
        &self,
        at: Millis,
        (mac, known): (MacAddress, bool),
        door: &Door,
        (outcome, to, bytes): (&'static str, SocketAddrV6, Arc<[u8]>),
    ) {
        let packet = Sighted {
            at,
            interface: door.socket.link().name.as_str().into(),
            request: false,
            outcome,
            from: (door.source(*to.ip()).into(), SERVER_PORT),
            to: ((*to.ip()).into(), to.port()),
            bytes,
        };
        self.packets.push(mac, Some(known), packet);
    }

    /// The log lines of a decision, and the counter of one without a reply.
    pub(super) fn tell(&self, now: Millis, request: &Request, decision: &Decision) {
        let outcome = decision.outcome.as_str();
        tracing::debug!(
            target: "reveille::dhcp6",
            subnet = decision.subnet,
            kind = request.kind.as_str(),
            mac = decision.client.mac.map(tracing::field::display),
            machine = decision.machine,
            client = decision.client.kind.as_str(),
            address = decision.address.map(tracing::field::display),
            outcome,
            url = decision.boot.as_ref().map(|boot| boot.file.as_str()),
            "request"
        );
        if let Outcome::Ignored(ignored) = &decision.outcome {
            self.count(request.kind.as_str(), outcome);
            if *ignored == Ignored::RelayUnknown {
                let link = request.hops.last().map(|hop| hop.link);
                let cure = "a relay names a link that no Subnet serves; name it in `ipv6.relays`";
                self.warn(now, request, decision, (outcome, cure), link);
            }
        }
        if let Some(reason) = decision.refused {
            let cure = match reason {
                SilentReason::PoolExhausted => {
                    "every address of `ipv6.pools` is taken; add a pool or shorten lifetimes"
                }
                SilentReason::NoPool => {
                    "the Subnet has no `ipv6.pools` and this machine no address of its own"
                }
                SilentReason::ReservedAddressBusy => {
                    "another machine still has the address that is reserved for this one"
                }
                SilentReason::UnknownLease
                | SilentReason::OtherNetwork
                | SilentReason::NotItsLease
                | SilentReason::ChoseAnotherServer
                | SilentReason::NotHolder
                | SilentReason::AnothersShare
                | SilentReason::ShareExhausted
                | SilentReason::FreshDisk
                | SilentReason::NotSureYet => "it gets no address",
            };
            self.warn(now, request, decision, (reason.as_str(), cure), None);
        }
        self.tell_unbootable(now, decision);
    }

    /// What somebody should do something about.
    fn warn(
        &self,
        now: Millis,
        request: &Request,
        decision: &Decision,
        (reason, cure): (&str, &str),
        link: Option<Ipv6Addr>,
    ) {
        let subnet = decision.subnet.as_deref().unwrap_or("none");
        if self.seldom.is_due(&format!("v6 {reason} {subnet}"), now) {
            tracing::warn!(
                target: "reveille::dhcp6",
                subnet,
                kind = request.kind.as_str(),
                mac = decision.client.mac.map(tracing::field::display),
                machine = decision.machine,
                link = link.map(tracing::field::display),
                reason,
                "{cure}"
            );
        }
    }

    /// A machine that may boot and that nothing here can boot.
    fn tell_unbootable(&self, now: Millis, decision: &Decision) {
        let Some(reason) = decision.boot.as_ref().and_then(|boot| boot.refused) else {
            return;
        };
        let unbootable = &self.metrics.unbootable;
        unbootable.with_label_values(&[reason.as_str()]).inc();
        let what = format!("v6 {} {:?}", reason.as_str(), decision.client.mac);
        if self.seldom.is_due(&what, now) {
            tracing::warn!(
                target: "reveille::dhcp6",
                machine = decision.machine,
                mac = decision.client.mac.map(tracing::field::display),
                firmware = decision.client.firmware.map_or("none", |kind| kind.name()),
                reason = reason.as_str(),
                "nothing here boots this machine; it gets an address only"
            );
        }
    }

    /// A machine that asks too often to be heard.
    pub(super) fn too_often(&self, now: Millis, request: &Request) {
        let what = Ignored::TooOften.as_str();
        self.count(request.kind.as_str(), what);
        if self.seldom.is_due("v6 too-often", now) {
            tracing::warn!(
                target: "reveille::dhcp6",
                mac = request.client.mac.map(tracing::field::display),
                ignored = what,
                "{}",
                too_often()
            );
        }
    }
}
