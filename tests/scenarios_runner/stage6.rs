//! The stage's part of DHCPv6.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddrV6};

use reveille::dhcp::v6::decide::{Arrival, Decision, Ignored, Outcome, decide, tells};
use reveille::dhcp::v6::request::Request;
use reveille::dhcp::v6::server::event;
use reveille::lease::Record as _;

use super::book::{Ask6, Step};
use super::diff::{Facts, compare, same};
use super::packet6::{SERVER_DUID, build, source, take_apart};
use super::stage::Stage;

// === impl Stage ===

impl Stage {
    pub(super) fn dhcp6(&mut self, ask: &Ask6, step: &Step) -> Result<(), String> {
        let from = source(ask)?;
        let outer = ask.relay_from.unwrap_or(from);
        let packet = build(ask)?;
        let asks = if ask.relays.is_empty() { 546 } else { 547 };
        let everyone = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
        let to = if ask.unicast { self.server6 } else { everyone };
        let at = |address, port| SocketAddrV6::new(address, port, 0, 0);
        self.note(at(outer, asks), at(to, 547), &packet);
        let request = match Request::parse(&packet, outer) {
            Ok(request) => request,
            Err(malformed) => return silence(step, Ignored::Malformed(malformed)),
        };
        let arrival = Arrival {
            now: self.now(),
            subnet: &self.subnet,
            server: self.server6,
            duid: &SERVER_DUID,
            from: SocketAddrV6::new(outer, 546, 0, 0),
            unicast: ask.unicast,
            loader_sent: &|_| step.loader_sent,
            told: &self.told,
            authority: self.authority,
        };
        let decision = decide(&self.snapshot, &self.table6, arrival, &request);
        if let Some(mac) = decision.client.mac {
            let mut told = tells(&request);
            told.class.clone_from(&decision.class);
            self.told.insert(mac, told, self.now());
        }
        self.table6.apply_all(&decision.changes);
        let (reply, want) = match (&decision.outcome, &step.reply6) {
            (Outcome::Ignored(ignored), _) => return silence(step, *ignored),
            (Outcome::Reply(reply), None) => {
                let wanted = step.ignored.as_deref().unwrap_or("`reply6` or `ignored`");
                return same("answer", wanted, reply.kind.as_str());
            }
            (Outcome::Reply(reply), Some(want)) => (reply, want),
        };
        self.tell6(&request, &decision);
        let bytes = reply.encode(&request);
        self.note(at(self.server6, 547), at(outer, asks), &bytes);
        let got = take_apart(&bytes, ask)?;
        compare(want, &got, true)
    }

    /// Tells the timeline of a reply, as the engine does.
    fn tell6(&mut self, request: &Request, decision: &Decision) {
        let (Outcome::Reply(reply), Some(mac)) = (&decision.outcome, decision.client.mac) else {
            return;
        };
        if let Some(event) = event(mac, self.now(), request, reply.kind, decision) {
            let known = decision.address.map(|address| self.known(mac, address));
            self.observe(&event, &known.unwrap_or_default());
        }
    }

    pub(super) fn check_leases6(&self, want: &BTreeMap<Ipv6Addr, String>) -> Result<(), String> {
        let line = |address: Ipv6Addr, text: String| (format!("lease {address}"), text);
        let got: Facts = self
            .table6
            .iter()
            .map(|lease| {
                let state = lease.state_at(self.now()).as_str();
                line(lease.address, format!("{state} {}", lease.key))
            })
            .collect();
        let want: Facts = want
            .iter()
            .map(|(address, text)| line(*address, text.clone()))
            .collect();
        compare(&want, &got, true)
    }
}

fn silence(step: &Step, ignored: Ignored) -> Result<(), String> {
    let wanted = match (&step.ignored, &step.reply6) {
        (Some(reason), _) => format!("ignored: {reason}"),
        (None, Some(reply)) => reply.get("type").cloned().unwrap_or_default(),
        (None, None) => "`reply6` or `ignored` in the step".to_owned(),
    };
    same("answer", &wanted, &format!("ignored: {}", ignored.as_str()))
}
