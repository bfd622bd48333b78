//! DHCPv6 requests as machines make them, for whoever plays one: `explain`
//! without a wire, `probe` on one.

use std::net::Ipv6Addr;

use crate::boot::{MacAddress, Uuid};
use crate::dhcp::v6::option;
use crate::dhcp::v6::wire::put;
use crate::packets::Role;

/// What a machine asks, and as whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question6 {
    /// Who asks.
    pub role: Role,
    /// By which Ethernet address.
    pub mac: MacAddress,
    /// The firmware's UUID, by which firmware and iPXE name themselves.
    pub uuid: Option<Uuid>,
    /// The link that a relay between names; none without one.
    pub relay: Option<Ipv6Addr>,
    /// The transaction.
    pub xid: [u8; 3],
}

/// What firmware asks for (option 6), as EDK2's PXE and HTTP boot do.
const FIRMWARE_WANTS: &[u16] = &[
    option::BOOT_FILE_URL,
    option::BOOT_FILE_PARAMETERS,
    option::DNS_SERVERS,
    option::VENDOR_CLASS,
];
/// What iPXE asks for.
const IPXE_WANTS: &[u16] = &[
    option::DNS_SERVERS,
    option::DOMAIN_SEARCH,
    option::BOOT_FILE_URL,
    option::BOOT_FILE_PARAMETERS,
];
/// What systems ask for, as dhclient does.
const SYSTEM_WANTS: &[u16] = &[option::DNS_SERVERS, option::DOMAIN_SEARCH];

// === impl Question6 ===

impl Question6 {
    /// The first message: who lends me an address?
    #[must_use]
    pub fn solicit(&self) -> Vec<u8> {
        self.packet(1, None)
    }

    /// The third: I take this address of the server with this DUID.
    #[must_use]
    pub fn request(&self, address: Ipv6Addr, server: &[u8]) -> Vec<u8> {
        self.packet(3, Some((address, server)))
    }

    /// The last: I do not need `address` any more.
    #[must_use]
    pub fn release(&self, address: Ipv6Addr, server: &[u8]) -> Vec<u8> {
        self.packet(8, Some((address, server)))
    }

    /// Where it asks from: the link-local address that is made of its MAC address
    /// (RFC 4291 appendix A), as that of firmware and of iPXE.
    #[must_use]
    pub fn address(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.mac.bytes();
        let own = [a ^ 2, b, c, 0xff, 0xfe, d, e, f];
        let mut octets = [0; 16];
        let (network, host) = octets.split_at_mut(8);
        network
            .iter_mut()
            .zip([0xfe, 0x80])
            .for_each(|(at, byte)| *at = byte);
        host.copy_from_slice(&own);
        octets.into()
    }

    /// Firmware and iPXE name themselves by the machine's UUID (RFC 6355), where it
    /// has one; systems, as far as they can be foretold, by their card.
    #[must_use]
    pub fn duid(&self) -> Vec<u8> {
        let uuid = self.uuid.filter(|_| self.role != Role::System);
        match uuid {
            Some(uuid) => [&[0, 4], uuid.to_option().get(1..).unwrap_or_default()].concat(),
            None => [&[0, 3, 0, 1][..], &self.mac.bytes()].concat(),
        }
    }

    fn packet(&self, kind: u8, taken: Option<(Ipv6Addr, &[u8])>) -> Vec<u8> {
        let mut packet = vec![kind];
        packet.extend(self.xid);
        put(&mut packet, option::CLIENT_ID, &self.duid());
        if let Some((_, server)) = taken {
            put(&mut packet, option::SERVER_ID, server);
        }
        put(&mut packet, option::ELAPSED, &[0, 0]);
        // The interface's number: what of its address differs from others'.
        let [_, _, number @ ..] = self.mac.bytes();
        let mut association = number.to_vec();
        association.extend([0; 8]);
        if let Some((address, _)) = taken {
            let inner = [&address.octets()[..], &[0; 8]].concat();
            put(&mut association, option::IA_ADDRESS, &inner);
        }
        put(&mut packet, option::IA_NA, &association);
        let is_release = kind == 8;
        if !is_release {
            self.tell(&mut packet);
        }
        match self.relay {
            None => packet,
            Some(link) => {
                let mut outer = vec![option::RELAY_FORWARD, 0];
                outer.extend(link.octets());
                outer.extend(self.address().octets());
                put(&mut outer, option::RELAY_MESSAGE, &packet);
                outer
            }
        }
    }

    /// What the role says of itself.
    fn tell(&self, packet: &mut Vec<u8>) {
        let wants = match self.role {
            Role::Pxe(_) | Role::HttpBoot(_) => FIRMWARE_WANTS,
            Role::Ipxe(_) => IPXE_WANTS,
            Role::System => SYSTEM_WANTS,
        };
        let wants: Vec<u8> = wants.iter().flat_map(|code| code.to_be_bytes()).collect();
        put(packet, option::REQUESTED, &wants);
        let Some((firmware, class)) = self.role.firmware().zip(self.role.vendor_class()) else {
            return;
        };
        let enterprise = option::INTEL.to_be_bytes();
        put(
            packet,
            option::VENDOR_CLASS,
            &[&enterprise[..], &counted(class.as_bytes())].concat(),
        );
        put(packet, option::ARCHITECTURE, &firmware.0.to_be_bytes());
        // UNDI 3.1 (RFC 5970 section 3.4).
        put(packet, option::NETWORK_INTERFACE, &[1, 3, 1]);
        if let Role::Ipxe(_) = self.role {
            put(packet, option::USER_CLASS, &counted(b"iPXE"));
        }
    }
}

/// A text with its length before it.
fn counted(text: &[u8]) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], text].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::{Architecture, ClientKind};
    use crate::dhcp::v6::request::{Request, RequestKind};

    const MAC: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 9]);

    fn question(role: Role) -> Question6 {
        Question6 {
            role,
            mac: MAC,
            uuid: "4c4c4544-0043-4810-8052-b4c04f4a4d32".parse().ok(),
            relay: None,
            xid: [0, 0, 7],
        }
    }

    #[test]
    fn each_role_is_taken_for_what_it_plays() {
        for arch in Architecture::ALL {
            for (role, kind) in [
                (Role::Pxe(arch), ClientKind::Pxe),
                (Role::HttpBoot(arch), ClientKind::HttpBoot),
                (Role::Ipxe(arch), ClientKind::Ipxe),
                (Role::System, ClientKind::Plain),
            ] {
                let question = question(role);
                let request = Request::parse(&question.solicit(), question.address()).unwrap();
                assert_eq!(request.kind, RequestKind::Solicit);
                assert_eq!(request.client.kind, kind);
                assert_eq!(request.link_mac, Some(MAC));
                assert_eq!(request.client.mac, Some(MAC));
                assert_eq!(request.client.architecture(), role.architecture());
                assert_eq!(request.client.uuid.is_some(), role != Role::System);
                assert_eq!(request.associations.len(), 1);
            }
        }
    }

    #[test]
    fn takes_and_gives_back_what_was_advertised() {
        let link = "2001:db8:1::1".parse().unwrap();
        let question = Question6 {
            relay: Some(link),
            ..question(Role::System)
        };
        let address = "2001:db8:1::9".parse().unwrap();
        let server = [0, 4, 1, 2];
        for (packet, kind) in [
            (question.request(address, &server), RequestKind::Request),
            (question.release(address, &server), RequestKind::Release),
        ] {
            let request = Request::parse(&packet, link).unwrap();
            assert_eq!(request.kind, kind);
            assert_eq!(request.addresses().collect::<Vec<_>>(), [address]);
            assert_eq!(request.server_id.as_deref(), Some(&server[..]));
            assert_eq!(request.hops[0].link, link);
            assert_eq!(request.link_mac, Some(MAC));
        }
    }
}
