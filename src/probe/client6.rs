//! Plays a machine over IPv6, from its SOLICIT to its initrd. Shell.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use super::client::{Player, Run};
use super::link::Borrowed;
use super::offers::Boot;
use super::offers6::{self, Heard6};
use super::wire::Talk;
use crate::dhcp::v6::option;
use crate::packets::{Question6, Role};

/// An address that was taken.
pub(super) struct Lease6 {
    pub(super) address: Ipv6Addr,
    /// From the server with this DUID.
    server: Vec<u8>,
}

// === impl Run ===

impl Run<'_> {
    /// The whole boot; every reply to its SOLICITs.
    pub(super) async fn through6(&mut self, player: Player) -> Vec<Heard6> {
        const NAME: &str = "advertise";
        let role = player.role(self.play.architecture);
        let own = self.question6(role).address();
        let own = match Borrowed::take(self.wire.index, own).await {
            Ok(own) => own,
            Err(error) => {
                let cure = "a machine is known over IPv6 by its link-local address: run it as root, and while that machine is off";
                self.fail(NAME, &format!("{error:#}"), cure);
                return Vec::new();
            }
        };
        let talk = match self.wire.talk6(own.address()) {
            Ok(talk) => talk,
            Err(error) => {
                let cure = "run it as root, and where nothing else has the port";
                self.fail(NAME, &format!("{error:#}"), cure);
                return Vec::new();
            }
        };
        let mut heard = Vec::new();
        if let Some(boot) = self.lease6(&talk, role, &mut heard).await {
            self.boot6(&talk, role, boot, &mut heard).await;
        }
        self.release6(&talk, role).await;
        heard
    }

    /// SOLICIT to REPLY; what is booted by it, for who boots.
    async fn lease6(&mut self, talk: &Talk, role: Role, all: &mut Vec<Heard6>) -> Option<Boot> {
        const NAME: &str = "advertise";
        let question = self.question6(role);
        let solicit = question.solicit();
        let heard: Vec<Heard6> = match talk.ask(&solicit, self.play.wait, false).await {
            Ok(heard) => heard,
            Err(error) => {
                let cure = "`ip link show` says how it is";
                self.fail(NAME, &format!("{error:#}"), cure);
                return None;
            }
        };
        all.extend(heard.iter().cloned());
        let chosen = offers6::lease(role, &heard);
        let Some((chosen, address)) = chosen.and_then(|it| Some((it, it.packet.lent()?))) else {
            let seen = match heard.iter().find_map(Heard6::status) {
                Some(status) => format!("no address is advertised: {status}"),
                None => {
                    let (seconds, others) = (self.play.wait.as_secs(), heard.len());
                    format!("no address was advertised within {seconds} s ({others} other replies)")
                }
            };
            let cure = "is a DHCPv6 server on this link, may UDP 547 and 546 pass, and does it serve this machine? `reveille explain MAC` says why ours does not";
            self.fail(NAME, &seen, cure);
            return None;
        };
        let (server, from) = (chosen.server(), chosen.from.ip());
        self.pass(NAME, format!("{address} from {from}"));
        let request = question.request(address, &server);
        let replies: Vec<Heard6> = talk
            .ask(&request, self.play.wait, true)
            .await
            .unwrap_or_default();
        let reply = replies.into_iter().next();
        let given = reply.filter(|reply| reply.packet.lent() == Some(address));
        let Some(reply) = given else {
            let seen = format!("{from} advertises {address} and does not give it");
            let cure = "is its lease database writable? does another server answer beside it?";
            self.fail("reply", &seen, cure);
            return None;
        };
        self.leases6.push(Lease6 { address, server });
        let lent = reply.packet.option(option::IA_NA).unwrap_or("-");
        let lent = lent.rsplit_once("address: ").map_or(lent, |(_, lent)| lent);
        self.pass("reply", lent.to_owned());
        (role != Role::System).then(|| offers6::boot(role, &reply))
    }

    /// From what the firmware is told to the last file.
    async fn boot6(&mut self, talk: &Talk, role: Role, boot: Boot, all: &mut Vec<Heard6>) {
        if let Role::Ipxe(_) = role {
            return self.script(role, boot).await;
        }
        // The loader is iPXE: it asks for an address itself.
        if let Some(ipxe) = self.loaded(role, boot).await
            && let Some(boot) = self.lease6(talk, ipxe, all).await
        {
            self.script(ipxe, boot).await;
        }
    }

    /// Gives back what was taken, but for what is the host's own.
    async fn release6(&self, talk: &Talk, role: Role) {
        let question = self.question6(role);
        if question.mac == self.wire.mac {
            return;
        }
        let mut given = BTreeSet::new();
        for Lease6 { address, server } in &self.leases6 {
            if given.insert((address, server)) {
                // It is said once and not answered; the lease ends by itself.
                let _ = talk.send(&question.release(*address, server)).await;
            }
        }
    }

    fn question6(&self, role: Role) -> Question6 {
        let [_, xid @ ..] = getrandom::u32().unwrap_or_default().to_be_bytes();
        Question6 {
            role,
            mac: self.mac(),
            uuid: self.play.uuid,
            relay: None,
            // Anything that is not the last one: replies to that are late.
            xid,
        }
    }
}
