//! Where a reply goes (RFC 2131 section 4.1).

use std::net::{Ipv4Addr, SocketAddrV4};

use super::relay::RelayInfo;
use super::request::Request;
use crate::boot::MacAddress;

/// The port of DHCP servers and relays.
pub const SERVER_PORT: u16 = 67;
/// The port of PXE boot servers, which ProxyDHCP answers at (PXE 2.1 section
/// 2.2.3).
pub const BOOT_PORT: u16 = 4011;
/// The port of DHCP clients.
pub const CLIENT_PORT: u16 = 68;

/// Where a reply goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To the relay, at the server's port or at its own (RFC 8357).
    Relay(SocketAddrV4),
    /// To a client that has an address and answers ARP for it.
    Client(Ipv4Addr),
    /// To a client that was given this address and does not know it yet: one
    /// frame to its Ethernet address, without ARP.
    Hardware {
        /// The address in the IP head.
        address: Ipv4Addr,
        /// The address in the frame's.
        mac: MacAddress,
    },
    /// To where the request came from, address and port: a boot server's
    /// answer (PXE 2.1 section 2.2.5). Firmware that asks from port 4011 does
    /// not hear what is sent to port 68.
    Asker(SocketAddrV4),
    /// To everyone on the link.
    Broadcast,
}

/// Where the reply to `request` goes that gives it `yiaddr`; `from_port` is
/// where it came from.
#[must_use]
pub fn destination(
    request: &Request,
    yiaddr: Ipv4Addr,
    is_nak: bool,
    from_port: u16,
) -> Destination {
    if !request.giaddr.is_unspecified() {
        let port = if RelayInfo::of(request).wants_source_port() && from_port != 0 {
            from_port
        } else {
            SERVER_PORT
        };
        return Destination::Relay(SocketAddrV4::new(request.giaddr, port));
    }
    if is_nak {
        // "If 'giaddr' is zero […] the server broadcasts any DHCPNAK messages
        // to 0xffffffff": the client's idea of its address is wrong.
        return Destination::Broadcast;
    }
    if !request.ciaddr.is_unspecified() {
        return Destination::Client(request.ciaddr);
    }
    match request.client.mac {
        Some(mac) if !request.broadcast && !yiaddr.is_unspecified() => Destination::Hardware {
            address: yiaddr,
            mac,
        },
        _ => Destination::Broadcast,
    }
}

impl Destination {
    /// Its name in log lines.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Relay(_) => "relay",
            Self::Client(_) => "client",
            Self::Hardware { .. } => "hardware",
            Self::Asker(_) => "asker",
            Self::Broadcast => "broadcast",
        }
    }
}
