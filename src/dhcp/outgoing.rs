//! A reply on its way out.

use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::time::Instant;

use super::decide::{Decision, Outcome};
use super::destination::Destination;
use super::listener::{Door, Incoming};
use super::replica;
use super::reply::ReplyKind;
use super::request::RequestKind;
use super::server::Tools;
use crate::boot::Client;
use crate::clock;
use crate::lease::SilentReason;
use crate::timeline::{BootEvent, Fact, NextStep};

/// A reply that is ready to leave.
pub(super) struct Outgoing {
    pub(super) door: Arc<Door>,
    packet: Vec<u8>,
    pub(super) kind: ReplyKind,
    /// What was asked.
    pub(super) asked: RequestKind,
    address: Ipv4Addr,
    destination: Destination,
    /// When it was asked for.
    arrived: Instant,
    pub(super) client: Client,
    next: Option<NextStep>,
    machine: Option<String>,
    /// Asked again before it leaves, where this replica held the pools when it
    /// was decided: the process may have been frozen meanwhile.
    held: Option<replica::Ask>,
}

// === impl Outgoing ===

impl Outgoing {
    pub(super) fn new(
        incoming: &Incoming,
        decision: Decision,
        held: Option<replica::Ask>,
    ) -> Option<Self> {
        let Outcome::Reply(reply) = decision.outcome else {
            return None;
        };
        let packet = reply.encode(&incoming.request);
        Some(Self {
            door: Arc::clone(&incoming.door),
            packet,
            kind: reply.kind,
            asked: incoming.request.kind,
            address: if reply.yiaddr.is_unspecified() {
                incoming.request.ciaddr
            } else {
                reply.yiaddr
            },
            destination: reply.destination,
            arrived: incoming.arrived,
            client: incoming.request.client,
            next: decision.boot.map(|boot| boot.next),
            machine: decision.machine,
            held,
        })
    }

    pub(super) fn send(self, tools: &Tools) {
        if self.held.is_some_and(|ask| !ask().authority.judges()) {
            let reason = SilentReason::NotHolder;
            tools.story.count(self.asked.as_str(), reason.as_str());
            return;
        }
        if let Err(error) = self.door.socket.send(&self.packet, self.destination) {
            tools.story.metrics.send_errors.inc();
            tracing::warn!(
                target: "reveille::dhcp",
                interface = self.door.socket.link().name,
                machine = self.machine,
                destination = self.destination.as_str(),
                %error,
                "reply could not be sent"
            );
            return;
        }
        tools.story.count(self.asked.as_str(), self.kind.as_str());
        tools.story.answered(self.asked, self.arrived.elapsed());
        let Some(mac) = self.client.mac else { return };
        let at = clock::now();
        let whose = (mac, self.machine.is_some());
        let reply = (self.kind, self.destination, self.packet.into());
        tools.story.keep_reply(at, whose, &self.door, reply);
        let (client, address) = (self.client, self.address.into());
        let fact = match self.kind {
            ReplyKind::Offer => Fact::Offer { client, address },
            ReplyKind::Ack | ReplyKind::Bootp => Fact::Ack {
                client,
                address,
                next: self.next.unwrap_or(NextStep::Nothing),
            },
            ReplyKind::Nak
            | ReplyKind::LeaseUnassigned
            | ReplyKind::LeaseUnknown
            | ReplyKind::LeaseActive => return,
        };
        tools.events.emit(BootEvent { mac, at, fact });
    }
}
