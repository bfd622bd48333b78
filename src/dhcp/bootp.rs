//! What clients get that speak BOOTP, the protocol before DHCP (RFC 951, RFC
//! 1534): their reserved address, for ever. Core.
//!
//! BOOTP knows no end of a lease. An address of a pool would never come back,
//! so only reserved ones are given, and no lease is kept of them: the
//! reservation is all there is to know.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::answer::network_options;
use super::decide::{Case, Decision, Ignored, Outcome};
use super::option;
use super::options::written_options;
use super::reply::{Reply, ReplyKind};
use crate::lease::{Answer, Intent, SilentReason};

/// Room for text in `file` and `sname`, with its NUL.
const FILE: usize = 128;
const SNAME: usize = 64;

// === impl Case ===

impl Case<'_> {
    /// The answer to a BOOTREQUEST without a message type.
    pub(super) fn bootp(&self) -> Decision {
        let anything = Intent::Offer { requested: None };
        // Without a pool there is nothing to lend but what is reserved.
        let (answer, _, _) = self.allocate(&[], anything);
        match answer {
            Answer::Offer(address) => self.give_for_ever(address),
            Answer::Silent(SilentReason::NoPool) => Decision::silent(Ignored::BootpNotReserved),
            Answer::Silent(reason) => Decision::silent(Ignored::Lease(reason)),
            Answer::Ack(_) | Answer::Nak(_) | Answer::Done => {
                Decision::silent(Ignored::BootpNotReserved)
            }
        }
    }

    /// The reply that gives `address`. It has the settings of the network and
    /// nothing that is DHCP's own (RFC 1534 section 2). A boot file stands in
    /// the packet's head, where such clients look: the one that the options of
    /// the machine, its profile or the Subnet name (67), from the server that
    /// they name (66).
    fn give_for_ever(&self, address: Ipv4Addr) -> Decision {
        let mut options = BTreeMap::new();
        let name = self.hostname(address);
        network_options(&mut options, self.request, self.subnet, name.as_deref());
        written_options(
            &mut options,
            self.request,
            self.subnet,
            self.class,
            &self.plan,
        );
        if let Some(relay) = self.request.option(option::RELAY_INFO) {
            options.insert(option::RELAY_INFO, relay.to_vec());
        }
        let file = take_text(&mut options, option::BOOT_FILE, FILE);
        let named = take_text(&mut options, option::TFTP_SERVER, SNAME);
        let (mut siaddr, mut sname) = (Ipv4Addr::UNSPECIFIED, String::new());
        if !file.is_empty() {
            siaddr = named.parse().unwrap_or_else(|_| self.next_server());
            sname = if named.is_empty() {
                siaddr.to_string()
            } else {
                named
            };
        }
        let reply = Reply {
            kind: ReplyKind::Bootp,
            yiaddr: address,
            siaddr,
            sname,
            file,
            options,
            destination: self.destination(address, false),
            about: None,
        };
        Decision {
            outcome: Outcome::Reply(Box::new(reply)),
            // No lease says whose the address is.
            neighbour: self.neighbour(address),
            ..Decision::silent(Ignored::Noted)
        }
    }
}

/// Takes option `code` out, as a text that `room` holds with its NUL; empty
/// where there is none.
fn take_text(options: &mut BTreeMap<u8, Vec<u8>>, code: u8, room: usize) -> String {
    let bytes = options.remove(&code).unwrap_or_default();
    let text = String::from_utf8(bytes).unwrap_or_default();
    if text.len() < room {
        text
    } else {
        String::new()
    }
}
