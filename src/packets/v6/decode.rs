//! A DHCPv6 packet, request or reply, read for people. Whatever its bytes are,
//! something is said about them.

use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};

use super::options;
use crate::dhcp::v6::option;
use crate::dhcp::v6::request::MAX_HOPS;
use crate::dhcp::v6::wire::split;
use crate::packets::decode::{Field, Shown};
use crate::packets::options::{hex, unhex};

/// A relay's head: type, count and two addresses (RFC 8415 section 9).
const RELAY_HEAD: usize = 34;

/// A packet; what is empty is left out where it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decoded6 {
    /// `SOLICIT`, `ADVERTISE` and so on; of one that relays wrapped, what is
    /// inside.
    pub kind: String,
    /// The transaction.
    pub xid: u32,
    /// The relays around it, the one that is nearest to the server first.
    /// Always there: a DHCPv4 packet has none, and is told apart by that.
    pub relays: Vec<Relay>,
    /// The options, in the order of the packet.
    pub options: Vec<Field<u16>>,
    /// Bytes at its end that are no options, in hex.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unread: String,
    /// Bytes of the packet.
    pub bytes: usize,
}

/// What a relay wrapped around a message (RFC 8415 section 9).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// Relays before it.
    pub hops: u8,
    /// The link that it heard the client on.
    pub link: Ipv6Addr,
    /// Whom it heard.
    pub peer: Ipv6Addr,
    /// Its options, but for the message.
    pub options: Vec<Field<u16>>,
}

// === impl Decoded6 ===

impl Decoded6 {
    /// Reads `packet`; `None` where it is too short to be one.
    #[must_use]
    pub fn read(packet: &[u8]) -> Option<Self> {
        let mut relays = Vec::new();
        let mut message = packet;
        while relays.len() < MAX_HOPS
            && let Some((relay, inner)) = relay(message)
        {
            relays.push(relay);
            message = inner;
        }
        let (head, rest) = message.split_first_chunk::<4>()?;
        let [number, xid @ ..] = *head;
        let (options, unread) = fields(rest);
        let kind = options::message_type(number).unwrap_or("UNKNOWN");
        let options = options.into_iter().map(|(code, data)| shown(code, data));
        Some(Self {
            kind: kind.to_owned(),
            xid: xid.iter().fold(0, |xid, byte| xid << 8 | u32::from(*byte)),
            relays,
            options: options.collect(),
            unread: hex(unread),
            bytes: packet.len(),
        })
    }

    /// What option `code` says.
    #[must_use]
    pub fn option(&self, code: u16) -> Option<&str> {
        let field = self.options.iter().find(|field| field.code == code);
        field.map(|field| field.value.as_str())
    }

    /// The bytes of option `code`.
    #[must_use]
    pub fn data(&self, code: u16) -> Option<Vec<u8>> {
        let field = self.options.iter().find(|field| field.code == code);
        field.and_then(|field| unhex(&field.hex))
    }

    /// The first address that is lent by it: one with time left.
    #[must_use]
    pub fn lent(&self) -> Option<Ipv6Addr> {
        let mut all = self.options.iter().filter(|it| it.code == option::IA_NA);
        all.find_map(|field| {
            let data = unhex(&field.hex)?;
            let (inner, _) = fields(data.get(12..)?);
            inner.into_iter().find_map(|(code, data)| {
                let (address, times) = data.split_first_chunk::<16>()?;
                let valid = times.get(4..8)?;
                let lent = code == option::IA_ADDRESS && valid.iter().any(|byte| *byte != 0);
                lent.then(|| Ipv6Addr::from(*address))
            })
        })
    }
}

impl Shown for Decoded6 {
    fn kind(&self) -> &str {
        &self.kind
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let line =
            |field: &Field<u16>| format!("{:>3} {}: {}", field.code, field.name, field.value);
        for relay in &self.relays {
            let Relay {
                hops, link, peer, ..
            } = relay;
            lines.push(format!(
                "{:<12} link {link}, of {peer}, behind {hops} others",
                "relay"
            ));
            lines.extend(relay.options.iter().map(line));
        }
        lines.extend(self.options.iter().map(line));
        if !self.unread.is_empty() {
            lines.push(format!("{:<12} {}", "unreadable", self.unread));
        }
        lines
    }
}

/// What a relay wrapped, and what is inside; `None` where it is no relay's, or
/// one without a message.
fn relay(packet: &[u8]) -> Option<(Relay, &[u8])> {
    let (head, rest) = packet.split_first_chunk::<RELAY_HEAD>()?;
    let [number, hops, addresses @ ..] = head;
    if ![option::RELAY_FORWARD, option::RELAY_REPLY].contains(number) {
        return None;
    }
    let (link, peer) = addresses.split_first_chunk::<16>()?;
    let (all, _) = fields(rest);
    let inner = all.iter().find(|(code, _)| *code == option::RELAY_MESSAGE);
    let (_, inner) = *inner?;
    let own = all
        .iter()
        .filter(|(code, _)| *code != option::RELAY_MESSAGE);
    let relay = Relay {
        hops: *hops,
        link: Ipv6Addr::from(*link),
        peer: Ipv6Addr::from(*peer.first_chunk::<16>()?),
        options: own.map(|(code, data)| shown(*code, data)).collect(),
    };
    Some((relay, inner))
}

/// The options up to the first that cannot be read, and what is left from there.
fn fields(mut rest: &[u8]) -> (Vec<(u16, &[u8])>, &[u8]) {
    let mut all = Vec::new();
    while let Some((code, data, behind)) = split(rest) {
        all.push((code, data));
        rest = behind;
    }
    (all, rest)
}

fn shown(code: u16, data: &[u8]) -> Field<u16> {
    Field {
        code,
        name: options::name(code),
        value: options::value(code, data),
        hex: hex(data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dhcp::v6::wire::put;

    #[test]
    fn reads_whatever_comes() {
        assert_eq!(Decoded6::read(&[1, 2, 3]), None);
        for kind in 0..20 {
            for length in 4..200_u8 {
                let mut packet: Vec<u8> = (0..length).map(|at| at.wrapping_mul(31)).collect();
                packet[0] = kind;
                let decoded = Decoded6::read(&packet).unwrap();
                assert_eq!(decoded.bytes, packet.len());
                let json = serde_json::to_string(&decoded).unwrap();
                assert_eq!(serde_json::from_str::<Decoded6>(&json).unwrap(), decoded);
            }
        }
    }

    #[test]
    fn relays_stand_around_what_they_sent_on() {
        let mut packet = vec![1, 0, 0, 7, 0, 14, 0, 0, 0, 9];
        for hops in 0..2 {
            let mut outer = vec![option::RELAY_FORWARD, hops];
            outer.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, hops]);
            outer.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
            put(&mut outer, option::INTERFACE_ID, b"port");
            put(&mut outer, option::RELAY_MESSAGE, &packet);
            packet = outer;
        }
        let decoded = Decoded6::read(&packet).unwrap();
        assert_eq!((decoded.kind.as_str(), decoded.xid), ("SOLICIT", 7));
        assert_eq!(decoded.unread, "0009");
        assert_eq!(
            decoded.lines(),
            [
                "relay        link 2001:db8::1, of fe80::9, behind 1 others",
                " 18 interface identifier: port",
                "relay        link 2001:db8::, of fe80::9, behind 0 others",
                " 18 interface identifier: port",
                " 14 rapid commit: yes",
                "unreadable   0009",
            ]
        );
    }

    #[test]
    fn an_address_without_time_left_is_not_lent() {
        for (valid, lent) in [(0, None), (9, Some("2001:db8::5"))] {
            let mut inner = "2001:db8::5".parse::<Ipv6Addr>().unwrap().octets().to_vec();
            inner.extend([0, 0, 0, 0, 0, 0, 0, valid]);
            let mut data = vec![0; 12];
            put(&mut data, option::IA_ADDRESS, &inner);
            let mut packet = vec![7, 0, 0, 1];
            put(&mut packet, option::IA_NA, &data);
            let decoded = Decoded6::read(&packet).unwrap();
            assert_eq!(decoded.lent(), lent.map(|at| at.parse().unwrap()));
        }
    }
}
