//! What the engine says of its decisions: log lines and counters. Shell.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use super::decide::{Decision, Ignored, Outcome};
use super::destination::{CLIENT_PORT, Destination};
use super::heard::{Heard, Refusal};
use super::limits::too_often;
use super::listener::Door;
use super::metrics::DhcpMetrics;
use super::reply::ReplyKind;
use super::request::{Malformed, Request, RequestKind};
use super::scout::Lookouts;
use crate::boot::{ClientKind, MacAddress};
use crate::clock::Millis;
use crate::lease::SilentReason;
use crate::packets::decode::mac_of;
use crate::packets::{Ring, Sighted};
use crate::telemetry::Seldom;
use crate::timeline::{Chronicle, Introductions, StoryLine};

/// Tells of decisions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Story {
    /// What is counted.
    pub metrics: DhcpMetrics,
    /// What was said lately.
    pub seldom: Seldom,
    /// What people are told of elsewhere.
    pub heard: Heard,
    /// What was found of other servers.
    pub lookouts: Lookouts,
    /// Where it is kept for those who ask about a machine.
    pub chronicle: Chronicle,
    /// The last packets of each machine.
    pub packets: Ring,
}

/// How a packet came.
pub(super) struct Came<'a> {
    door: &'a Door,
    from: SocketAddrV4,
    /// The address of ours that it came to alone.
    to: Option<Ipv4Addr>,
}

// === impl Came ===

impl<'a> Came<'a> {
    pub(super) const fn by(door: &'a Door, from: SocketAddrV4, to: Option<Ipv4Addr>) -> Self {
        Self { door, from, to }
    }

    fn sighted(&self, at: Millis, outcome: &'static str, bytes: Arc<[u8]>) -> Sighted {
        let to = self.to.unwrap_or(Ipv4Addr::BROADCAST);
        Sighted {
            at,
            interface: Arc::clone(&self.door.interface),
            request: true,
            outcome,
            from: ((*self.from.ip()).into(), self.from.port()),
            to: (to.into(), self.door.port.number()),
            bytes,
        }
    }
}

// === impl Story ===

impl Story {
    /// Counts a request of `kind` by its outcome.
    pub(super) fn count(&self, kind: &str, outcome: &str) {
        let requests = &self.metrics.requests;
        requests.with_label_values(&[kind, outcome]).inc();
    }

    /// Counts packets that found no room in the kernel: `so_far`, of which `known`
    /// were counted.
    pub(super) fn lost(&self, known: &mut u32, so_far: u32) {
        let more = so_far.saturating_sub(std::mem::replace(known, so_far));
        if more > 0 {
            let labels = ["none", Ignored::QueueFull.as_str()];
            let requests = &self.metrics.requests;
            requests.with_label_values(&labels).inc_by(more.into());
        }
    }

    /// A request of `kind` was answered after so long.
    pub(super) fn answered(&self, kind: RequestKind, after: Duration) {
        let seconds = &self.metrics.answer_seconds;
        let seconds = seconds.with_label_values(&[kind.as_str()]);
        seconds.observe(after.as_secs_f64());
    }

    /// Keeps a request and what was done about it.
    pub(super) fn keep_request(
        &self,
        at: Millis,
        request: &Request,
        decision: &Decision,
        came: &Came<'_>,
        bytes: Arc<[u8]>,
    ) {
        let Some(mac) = request.client.mac else {
            return;
        };
        let outcome = match &decision.outcome {
            Outcome::Reply(reply) => reply.kind.as_str(),
            Outcome::Ignored(ignored) => ignored.as_str(),
        };
        let packet = came.sighted(at, outcome, bytes);
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
        let Some(mac) = mac_of(packet) else {
            return;
        };
        let packet = came.sighted(at, why.as_str(), packet.into());
        self.packets.push(mac, None, packet);
    }

    /// Keeps a reply that left for a machine, which an object names or not.
    pub(super) fn keep_reply(
        &self,
        at: Millis,
        (mac, known): (MacAddress, bool),
        door: &Door,
        (kind, destination, bytes): (ReplyKind, Destination, Arc<[u8]>),
    ) {
        let to = match destination {
            Destination::Relay(to) | Destination::Asker(to) => (*to.ip(), to.port()),
            Destination::Client(address) | Destination::Hardware { address, .. } => {
                (address, CLIENT_PORT)
            }
            Destination::Broadcast => (Ipv4Addr::BROADCAST, CLIENT_PORT),
        };
        let link = door.socket.link();
        let packet = Sighted {
            at,
            interface: Arc::clone(&door.interface),
            request: false,
            outcome: kind.as_str(),
            from: (link.address.into(), door.port.number()),
            to: (to.0.into(), to.1),
            bytes,
        };
        self.packets.push(mac, Some(known), packet);
    }

    /// The log lines of a decision, and the counter of one without a reply.
    pub(super) fn tell(
        &self,
        now: Millis,
        request: &Request,
        decision: &Decision,
        told: &Introductions,
    ) {
        // A DISCOVER of firmware begins a boot, which has no name yet.
        let begins =
            request.kind == RequestKind::Discover && request.client.kind != ClientKind::Ipxe;
        let boot = request.client.mac.filter(|_| !begins);
        let boot = boot.and_then(|mac| told.boot(mac));
        let outcome = match &decision.outcome {
            Outcome::Reply(reply) => reply.kind.as_str(),
            Outcome::Ignored(ignored) => ignored.as_str(),
        };
        tracing::debug!(
            target: "reveille::dhcp",
            subnet = decision.subnet,
            kind = request.kind.as_str(),
            mac = request.client.mac.map(tracing::field::display),
            machine = decision.machine,
            boot = boot.map(tracing::field::display),
            client = request.client.kind.as_str(),
            outcome,
            file = decision.boot.as_ref().map(|boot| boot.file.as_str()),
            "request"
        );
        match &decision.outcome {
            Outcome::Ignored(ignored) => {
                self.count(request.kind.as_str(), outcome);
                self.hear_server(now, request, decision, *ignored);
                if *ignored == Ignored::NothingToBoot {
                    self.tell_unbootable(now, request, decision);
                }
                self.tell_silence(now, request, decision, *ignored);
            }
            Outcome::Reply(reply) if reply.kind == ReplyKind::Nak => {
                self.tell_nak(now, request, decision);
            }
            Outcome::Reply(_) => self.tell_unbootable(now, request, decision),
        }
    }

    /// A request beyond what one machine, or all together, may ask.
    pub(super) fn turned_away(&self, now: Millis, request: &Request, why: Ignored) {
        let what = why.as_str();
        self.count(request.kind.as_str(), what);
        if !self.seldom.is_due(what, now) {
            return;
        }
        let words = if why == Ignored::TooMany {
            "more requests come than --dhcp-rate allows; the rest is not heard".to_owned()
        } else {
            too_often()
        };
        tracing::warn!(
            target: "reveille::dhcp",
            mac = request.client.mac.map(tracing::field::display),
            relay = %request.giaddr,
            ignored = what,
            "{words}"
        );
    }

    /// Another server that a machine chose.
    fn hear_server(&self, now: Millis, request: &Request, decision: &Decision, why: Ignored) {
        let wanted = why == Ignored::LeasedElsewhere;
        let chose_another = wanted
            || matches!(
                why,
                Ignored::OtherServer | Ignored::Lease(SilentReason::ChoseAnotherServer)
            );
        let named = decision.subnet.as_deref().zip(request.server_id());
        let Some((subnet, server)) = named.filter(|_| chose_another) else {
            return;
        };
        // A server may answer those only whom it knows: our own question is
        // then met with silence, and a machine's choice is all that shows it.
        let is_other = !self.heard.is_sibling(server);
        if is_other && self.lookouts.heard(subnet, now, server) {
            tracing::info!(
                target: "reveille::dhcp",
                subnet,
                %server,
                mac = request.client.mac.map(tracing::field::display),
                "a machine chose another DHCP server: we lend no more addresses here"
            );
        }
        if !self.heard.server(subnet, server, now) {
            return;
        }
        if wanted {
            tracing::info!(
                target: "reveille::dhcp",
                subnet,
                %server,
                "a DHCP server lends the addresses here; we tell machines what to boot"
            );
        } else {
            tracing::warn!(
                target: "reveille::dhcp",
                subnet,
                %server,
                mac = request.client.mac.map(tracing::field::display),
                machine = decision.machine,
                "a machine chose another DHCP server; two that lend addresses of one network give one address twice"
            );
        }
    }

    /// A silence that somebody should do something about.
    fn tell_silence(&self, now: Millis, request: &Request, decision: &Decision, why: Ignored) {
        let cure = match (why, request.kind) {
            (Ignored::Lease(SilentReason::PoolExhausted), _) => {
                "every address of the pools is taken; add a pool or shorten lifetimes"
            }
            (Ignored::Lease(SilentReason::NoPool), _) => {
                "the Subnet has no pool and this machine no address of its own"
            }
            (Ignored::Lease(SilentReason::ReservedAddressBusy), _) => {
                "another machine still has the address that is reserved for this one"
            }
            (Ignored::Lease(SilentReason::ShareExhausted), _) => {
                "no replica can say who leads, and this one has given its share of the pools; the API server must come back"
            }
            (Ignored::Lease(SilentReason::FreshDisk), _) => {
                "no replica can say who leads, and this one lost its table; it gives new addresses when old leases have run out"
            }
            (Ignored::RelayUnknown | Ignored::LinkUnknown, _) => {
                "a relay asks for a network that no Subnet serves; name its address in `relays`"
            }
            (Ignored::BootpNotReserved, _) => {
                "a client speaks BOOTP, which has no leases; give its Machine's interface an `ip`"
            }
            (Ignored::LeaseQueryRefused, _) => {
                "a relay asks who has which lease and may not; name its address in `leaseQueries`"
            }
            (Ignored::RelayNoHost, _) => "a relay gives an address that no host can have",
            (Ignored::Noted, RequestKind::Decline) => {
                "a machine says that somebody else uses the address it was given; it rests for a day"
            }
            _ => return,
        };
        let subnet = decision.subnet.as_deref().unwrap_or("none");
        if self
            .seldom
            .is_due(&format!("{} {subnet}", why.as_str()), now)
        {
            tracing::warn!(
                target: "reveille::dhcp",
                subnet,
                mac = request.client.mac.map(tracing::field::display),
                machine = decision.machine,
                relay = %request.giaddr,
                address = request.requested().map(tracing::field::display),
                ignored = why.as_str(),
                "{cure}"
            );
            self.keep(now, request, decision, &format!("ignored: {cure}"));
        }
    }

    fn tell_nak(&self, now: Millis, request: &Request, decision: &Decision) {
        let reason = decision.nak.map_or("none", |reason| reason.as_str());
        if self
            .seldom
            .is_due(&format!("{reason} {:?}", request.client.mac), now)
        {
            tracing::info!(
                target: "reveille::dhcp",
                subnet = decision.subnet,
                mac = request.client.mac.map(tracing::field::display),
                machine = decision.machine,
                had = %request.ciaddr,
                asked = request.requested().map(tracing::field::display),
                reason,
                "address refused (NAK); the machine asks anew"
            );
            let words = format!("address refused (NAK, {reason}); the machine asks anew");
            self.keep(now, request, decision, &words);
        }
    }

    /// A machine that may boot and that nothing here can boot.
    fn tell_unbootable(&self, now: Millis, request: &Request, decision: &Decision) {
        let Some(reason) = decision.boot.as_ref().and_then(|boot| boot.refused) else {
            return;
        };
        let unbootable = &self.metrics.unbootable;
        unbootable.with_label_values(&[reason.as_str()]).inc();
        let what = format!("{} {:?}", reason.as_str(), request.client.mac);
        if let Some((subnet, machine)) = decision.subnet.clone().zip(decision.machine.clone()) {
            self.heard.refused(Refusal {
                subnet,
                machine,
                reason,
            });
        }
        if self.seldom.is_due(&what, now) {
            tracing::warn!(
                target: "reveille::dhcp",
                machine = decision.machine,
                mac = request.client.mac.map(tracing::field::display),
                firmware = request.client.firmware.map_or("none", |kind| kind.name()),
                reason = reason.as_str(),
                "nothing here boots this machine; it gets an address only"
            );
            let reason = reason.as_str();
            let words = format!("nothing here boots it ({reason}); it gets an address only");
            self.keep(now, request, decision, &words);
        }
    }

    /// Adds to the machine's story what was logged.
    fn keep(&self, now: Millis, request: &Request, decision: &Decision, words: &str) {
        let Some(mac) = request.client.mac else {
            return;
        };
        let machine = decision.machine.clone();
        let who = machine.clone().unwrap_or_else(|| mac.to_string());
        self.chronicle.note(StoryLine {
            at: now.0,
            mac,
            machine,
            boot: None,
            text: format!("{who:<16} {:>7}  {words}", ""),
        });
    }
}
