//! A DHCP packet, request or reply, read for people. Whatever its bytes are,
//! something is said about them.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::options;
use super::v6::Decoded6;
use crate::boot::MacAddress;
use crate::dhcp::option;
use crate::dhcp::request::collect_options;

/// The fixed part and the cookie (RFC 2131 section 2).
const HEAD: usize = 240;

/// A packet, field by field; what is empty is left out where it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decoded {
    /// `DISCOVER`, `OFFER` and so on; `BOOTP` without option 53.
    pub kind: String,
    /// The transaction.
    pub xid: u32,
    /// Seconds since the client began, as it says.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub secs: u16,
    /// Whether replies are to be broadcast.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub broadcast: bool,
    /// The hardware address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub chaddr: String,
    /// The address that the client has.
    #[serde(default = "none", skip_serializing_if = "Ipv4Addr::is_unspecified")]
    pub ciaddr: Ipv4Addr,
    /// The address that the client is given.
    #[serde(default = "none", skip_serializing_if = "Ipv4Addr::is_unspecified")]
    pub yiaddr: Ipv4Addr,
    /// The server of the next file.
    #[serde(default = "none", skip_serializing_if = "Ipv4Addr::is_unspecified")]
    pub siaddr: Ipv4Addr,
    /// The relay.
    #[serde(default = "none", skip_serializing_if = "Ipv4Addr::is_unspecified")]
    pub giaddr: Ipv4Addr,
    /// The server's name field.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sname: String,
    /// The file field.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// The options, by code; repeats are joined (RFC 3396).
    pub options: Vec<Field>,
    /// Bytes of the packet.
    pub bytes: usize,
}

/// An option, whose code is one byte long, or two (DHCPv6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field<C = u8> {
    /// Its code.
    pub code: C,
    /// Its name.
    pub name: String,
    /// What it says.
    pub value: String,
    /// Its bytes in hex.
    pub hex: String,
}

/// What every packet is shown by.
pub trait Shown {
    /// Its message, such as `DISCOVER` or `SOLICIT`.
    fn kind(&self) -> &str;
    /// Its length.
    fn bytes(&self) -> usize;
    /// The lines that show it to people.
    fn lines(&self) -> Vec<String>;
}

/// A packet of DHCPv4 or DHCPv6.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Packet {
    /// DHCPv6; tried first, for it alone has `relays`.
    V6(Decoded6),
    /// DHCPv4.
    V4(Decoded),
}

const fn is_zero(number: &u16) -> bool {
    *number == 0
}

const fn none() -> Ipv4Addr {
    Ipv4Addr::UNSPECIFIED
}

// === impl Decoded ===

impl Decoded {
    /// Reads `packet`; `None` where it is too short to be one.
    #[must_use]
    pub fn read(packet: &[u8]) -> Option<Self> {
        packet.get(..HEAD - 4)?;
        let bytes =
            |from: usize, length: usize| packet.get(from..from + length).unwrap_or_default();
        let number = |from: usize, length: usize| {
            let parts = bytes(from, length).iter();
            parts.fold(0_u32, |number, byte| number << 8 | u32::from(*byte))
        };
        let address = |from: usize| Ipv4Addr::from(number(from, 4));
        let options = collect_options(packet);
        let overload = options.get(&option::OVERLOAD).and_then(|data| data.first());
        let overload = overload.copied().unwrap_or_default();
        let field = |from: usize, length: usize, holds_options: bool| {
            let text = if holds_options {
                &[]
            } else {
                bytes(from, length)
            };
            let end = text.iter().position(|byte| *byte == 0);
            let text = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
            let text = String::from_utf8_lossy(text);
            text.chars().flat_map(char::escape_debug).collect()
        };
        let class = options.get(&option::VENDOR_CLASS);
        let pxe = class.is_some_and(|class| class.starts_with(b"PXEClient"));
        let message = options.get(&option::MESSAGE_TYPE);
        let kind = message.map(|data| options::message_type(data).unwrap_or("UNKNOWN"));
        Some(Self {
            kind: kind.unwrap_or("BOOTP").to_owned(),
            xid: number(4, 4),
            secs: u16::try_from(number(8, 2)).unwrap_or(u16::MAX),
            broadcast: number(10, 2) & 0x8000 != 0,
            chaddr: hardware(bytes(
                28,
                usize::try_from(number(2, 1).min(16)).unwrap_or(16),
            )),
            ciaddr: address(12),
            yiaddr: address(16),
            siaddr: address(20),
            giaddr: address(24),
            sname: field(44, 64, overload & 2 != 0),
            file: field(108, 128, overload & 1 != 0),
            options: options
                .iter()
                .map(|(code, data)| Field {
                    code: *code,
                    name: options::name(*code),
                    value: options::value(*code, data, pxe),
                    hex: options::hex(data),
                })
                .collect(),
            bytes: packet.len(),
        })
    }

    /// What option `code` says.
    #[must_use]
    pub fn option(&self, code: u8) -> Option<&str> {
        let field = self.options.iter().find(|field| field.code == code);
        field.map(|field| field.value.as_str())
    }
}

impl Shown for Decoded {
    fn kind(&self) -> &str {
        &self.kind
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    /// The fixed fields, then the options.
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut say = |name: &str, value: String| lines.push(format!("{name:<12} {value}"));
        for (name, address) in [
            ("ciaddr", self.ciaddr),
            ("yiaddr", self.yiaddr),
            ("siaddr", self.siaddr),
            ("giaddr", self.giaddr),
        ] {
            if !address.is_unspecified() {
                say(name, address.to_string());
            }
        }
        for (name, text) in [("sname", &self.sname), ("file", &self.file)] {
            if !text.is_empty() {
                say(name, text.clone());
            }
        }
        for field in self
            .options
            .iter()
            .filter(|it| it.code != option::MESSAGE_TYPE)
        {
            lines.push(format!("{:>3} {}: {}", field.code, field.name, field.value));
        }
        lines
    }
}

// === impl Packet ===

impl Packet {
    /// What is shown of it.
    #[must_use]
    pub fn shown(&self) -> &dyn Shown {
        match self {
            Self::V6(packet) => packet,
            Self::V4(packet) => packet,
        }
    }
}

fn hardware(bytes: &[u8]) -> String {
    match <[u8; 6]>::try_from(bytes) {
        Ok(mac) => MacAddress::new(mac).to_string(),
        Err(_) => options::hex(bytes),
    }
}

/// The Ethernet address in the head of a packet, whatever the rest of it is.
#[must_use]
pub fn mac_of(packet: &[u8]) -> Option<MacAddress> {
    const ETHERNET: [u8; 2] = [1, 6];
    let bytes: [u8; 6] = packet.get(28..34)?.try_into().ok()?;
    let mac = MacAddress::new(bytes);
    (packet.get(1..3)? == ETHERNET && mac.is_station()).then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_whatever_comes() {
        assert_eq!(Decoded::read(&[1; 235]), None);
        for length in 236..600 {
            let packet: Vec<u8> = (0..length)
                .map(|at| u8::try_from(at * 31 % 251).unwrap())
                .collect();
            let decoded = Decoded::read(&packet).unwrap();
            assert_eq!(decoded.bytes, length);
            let json = serde_json::to_string(&decoded).unwrap();
            assert_eq!(serde_json::from_str::<Decoded>(&json).unwrap(), decoded);
        }
    }
}
