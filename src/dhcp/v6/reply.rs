//! A DHCPv6 reply, and the packet that it is.

use std::net::Ipv6Addr;

use super::option;
use super::request::{Hop, Request};
use super::wire::{put, put_all};
use crate::api::Lifetimes;

/// A reply, before its relays wrap it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What it is.
    pub kind: ReplyKind,
    /// Its options, in their order.
    pub options: Vec<(u16, Vec<u8>)>,
}

/// Kinds of replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReplyKind {
    /// What could be lent.
    Advertise,
    /// What is lent, or how it went.
    Reply,
}

/// How something went (RFC 8415 section 21.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Well.
    Success,
    /// No address is there.
    NoAddresses,
    /// It is not lent to who says so.
    NoBinding,
    /// It does not fit the link.
    NotOnLink,
    /// It must be said to everyone.
    UseMulticast,
    /// No prefix is there.
    NoPrefixes,
}

// === impl ReplyKind ===

impl ReplyKind {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Advertise => "advertise",
            Self::Reply => "reply",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Advertise => 2,
            Self::Reply => 7,
        }
    }
}

// === impl Status ===

impl Status {
    const fn number(self) -> u16 {
        match self {
            Self::Success => 0,
            Self::NoAddresses => 2,
            Self::NoBinding => 3,
            Self::NotOnLink => 4,
            Self::UseMulticast => 5,
            Self::NoPrefixes => 6,
        }
    }

    /// As the data of its option, with words for whoever reads it.
    #[must_use]
    pub(super) fn encode(self, words: &str) -> Vec<u8> {
        [&self.number().to_be_bytes()[..], words.as_bytes()].concat()
    }
}

// === impl Reply ===

impl Reply {
    /// The packet, wrapped for the relays that `request` came through: each gets
    /// its own words back, and hands on what is inside (RFC 8415 section 19.3).
    #[must_use]
    pub fn encode(&self, request: &Request) -> Vec<u8> {
        let mut packet = vec![self.kind.number()];
        packet.extend(request.xid);
        put_all(&mut packet, &self.options);
        // The nearest to the client is wrapped first.
        let hops = request.hops.iter().rev();
        hops.fold(packet, |inner, hop| wrap(hop, &inner))
    }

    /// The data of an option.
    #[must_use]
    pub fn option(&self, code: u16) -> Option<&[u8]> {
        let found = self.options.iter().find(|(found, _)| *found == code);
        found.map(|(_, data)| data.as_slice())
    }
}

fn wrap(hop: &Hop, inner: &[u8]) -> Vec<u8> {
    let mut packet = vec![option::RELAY_REPLY, hop.count];
    packet.extend(hop.link.octets());
    packet.extend(hop.peer.octets());
    if let Some(id) = &hop.interface_id {
        put(&mut packet, option::INTERFACE_ID, id);
    }
    if let Some(port) = &hop.port {
        put(&mut packet, option::RELAY_PORT, port);
    }
    put(&mut packet, option::RELAY_MESSAGE, inner);
    packet
}

/// An identity association with addresses, each lent or, with no time left, to
/// be given up.
pub(super) fn association(iaid: u32, times: &Lifetimes, addresses: &[(Ipv6Addr, bool)]) -> Vec<u8> {
    let lends = addresses.iter().any(|(_, lent)| *lent);
    let (renew, rebind) = if lends {
        (times.renew_secs(), times.rebind_secs())
    } else {
        (0, 0)
    };
    let mut data = iaid.to_be_bytes().to_vec();
    data.extend(renew.to_be_bytes());
    data.extend(rebind.to_be_bytes());
    for (address, lent) in addresses {
        let valid = if *lent { times.valid.secs() } else { 0 };
        let mut inner = address.octets().to_vec();
        // Preferred as long as valid: a machine that boots has one address.
        inner.extend(valid.to_be_bytes());
        inner.extend(valid.to_be_bytes());
        put(&mut data, option::IA_ADDRESS, &inner);
    }
    data
}

/// An identity association of which there is only to say how it went. `timed`:
/// the association has times, as those of temporary addresses have not.
pub(super) fn refused(iaid: u32, timed: bool, status: Status, words: &str) -> Vec<u8> {
    let mut data = iaid.to_be_bytes().to_vec();
    if timed {
        data.extend([0; 8]);
    }
    put(&mut data, option::STATUS, &status.encode(words));
    data
}
