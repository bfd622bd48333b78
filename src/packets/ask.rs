//! Requests as machines make them, for whoever plays one: `explain` without a
//! wire, `probe` on one.

use std::net::Ipv4Addr;

use crate::boot::{Architecture, FirmwareType, MacAddress, Transport, Uuid};
use crate::dhcp::option;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A network card's ROM, or UEFI's PXE.
    Pxe(Architecture),
    /// UEFI HTTP boot (UEFI 2.10 section 24.7).
    HttpBoot(Architecture),
    /// iPXE on such a machine.
    Ipxe(Architecture),
    /// An operating system.
    System,
}

/// What a machine asks, and as whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who asks.
    pub role: Role,
    /// By which Ethernet address.
    pub mac: MacAddress,
    /// The firmware's UUID, which firmware and iPXE send.
    pub uuid: Option<Uuid>,
    /// The relay between; unspecified without one.
    pub relay: Ipv4Addr,
    /// The transaction.
    pub xid: u32,
    /// Whether the answer is to be broadcast.
    pub broadcast: bool,
}

/// What firmware asks for (option 55), as EDK2 does; ROMs ask for less.
const FIRMWARE_WANTS: &[u8] = &[
    1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66,
    67, 97, 128, 129, 130, 131, 132, 133, 134, 135,
];
/// What iPXE asks for.
const IPXE_WANTS: &[u8] = &[
    1, 3, 6, 7, 12, 15, 17, 26, 43, 60, 66, 67, 119, 128, 129, 130, 131, 132, 133, 134, 135, 175,
    203,
];
/// What systems ask for, as dhclient does.
const SYSTEM_WANTS: &[u8] = &[1, 28, 2, 3, 15, 6, 119, 12, 44, 47, 26, 121, 42];

/// Largest message that firmware takes: an Ethernet frame's.
const MAX_SIZE: [u8; 2] = 1472_u16.to_be_bytes();

// === impl Role ===

impl Role {
    /// Its name for people and programs: `pxe`, `http-boot`, `ipxe`, `system`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pxe(_) => "pxe",
            Self::HttpBoot(_) => "http-boot",
            Self::Ipxe(_) => "ipxe",
            Self::System => "system",
        }
    }

    /// The processor and firmware, where it says one.
    #[must_use]
    pub const fn architecture(self) -> Option<Architecture> {
        match self {
            Self::Pxe(arch) | Self::HttpBoot(arch) | Self::Ipxe(arch) => Some(arch),
            Self::System => None,
        }
    }

    /// What it sends in option 93.
    #[must_use]
    pub fn firmware(self) -> Option<FirmwareType> {
        let (arch, transport) = match self {
            Self::Pxe(arch) | Self::Ipxe(arch) => (arch, Transport::Tftp),
            Self::HttpBoot(arch) => (arch, Transport::Http),
            Self::System => return None,
        };
        // The first number that means this: 7 rather than 9, 16 rather than 17.
        (0..=u8::MAX)
            .map(|number| FirmwareType(u16::from(number)))
            .find(|kind| kind.meaning() == Some((arch, transport)))
    }

    /// What it says of its vendor, where it says an architecture.
    pub(super) fn vendor_class(self) -> Option<String> {
        let word = match self {
            Self::HttpBoot(_) => "HTTPClient",
            Self::Pxe(_) | Self::Ipxe(_) => "PXEClient",
            Self::System => return None,
        };
        let firmware = self.firmware()?;
        Some(format!("{word}:Arch:{:05}:UNDI:003001", firmware.0))
    }

    /// What it asks for (option 55).
    const fn wants(self) -> &'static [u8] {
        match self {
            Self::Pxe(_) | Self::HttpBoot(_) => FIRMWARE_WANTS,
            Self::Ipxe(_) => IPXE_WANTS,
            Self::System => SYSTEM_WANTS,
        }
    }
}

// === impl Question ===

impl Question {
    /// The first packet: who gives me an address?
    #[must_use]
    pub fn discover(&self) -> Vec<u8> {
        self.packet(1, Ipv4Addr::UNSPECIFIED, &[])
    }

    /// The second: I take this address of that server.
    #[must_use]
    pub fn request(&self, address: Ipv4Addr, server: Ipv4Addr) -> Vec<u8> {
        let chosen = [
            (option::REQUESTED_ADDRESS, address.octets().to_vec()),
            (option::SERVER_ID, server.octets().to_vec()),
        ];
        self.packet(3, Ipv4Addr::UNSPECIFIED, &chosen)
    }

    /// What a PXE client with `address` asks a boot server at UDP 4011 (PXE
    /// 2.1 section 2.2.5): what do I boot? Of a menu, the item of this type.
    #[must_use]
    pub fn boot_server(&self, address: Ipv4Addr, item: Option<u16>) -> Vec<u8> {
        // Boot item (PXE 2.1 section 2.4): type, and layer 0.
        let chosen = item.map(|item| {
            let [high, low] = item.to_be_bytes();
            (option::VENDOR_OPTIONS, vec![71, 4, high, low, 0, 0, 255])
        });
        let chosen: Vec<(u8, Vec<u8>)> = chosen.into_iter().collect();
        self.packet(3, address, &chosen)
    }

    /// The last: I do not need `address` any more.
    #[must_use]
    pub fn release(&self, address: Ipv4Addr, server: Ipv4Addr) -> Vec<u8> {
        let to = [(option::SERVER_ID, server.octets().to_vec())];
        self.packet(7, address, &to)
    }

    fn packet(&self, kind: u8, ciaddr: Ipv4Addr, more: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let relayed = !self.relay.is_unspecified();
        // BOOTREQUEST, Ethernet, six bytes of address.
        let mut packet = vec![1, 1, 6, u8::from(relayed)];
        packet.extend(self.xid.to_be_bytes());
        packet.extend([0, 0, if self.broadcast { 0x80 } else { 0 }, 0]);
        packet.extend(ciaddr.octets());
        packet.extend([0; 8]);
        packet.extend(self.relay.octets());
        packet.extend(self.mac.bytes());
        packet.resize(236, 0);
        packet.extend([99, 130, 83, 99]);
        let mut add = |code: u8, data: &[u8]| {
            packet.push(code);
            packet.push(u8::try_from(data.len()).unwrap_or(u8::MAX));
            packet.extend(data.iter().take(usize::from(u8::MAX)));
        };
        add(option::MESSAGE_TYPE, &[kind]);
        for (code, data) in more {
            add(*code, data);
        }
        let is_release = kind == 7;
        if !is_release {
            self.tell(&mut add);
        }
        packet.push(255);
        // BOOTP's smallest (RFC 1542 section 2.1).
        packet.resize(packet.len().max(300), 0);
        packet
    }

    /// What the role says of itself.
    fn tell(&self, add: &mut impl FnMut(u8, &[u8])) {
        add(option::MAX_SIZE, &MAX_SIZE);
        add(option::PARAMETER_LIST, self.role.wants());
        let Some((firmware, class)) = self.role.firmware().zip(self.role.vendor_class()) else {
            return;
        };
        add(option::VENDOR_CLASS, class.as_bytes());
        add(option::ARCHITECTURE, &firmware.0.to_be_bytes());
        // UNDI 3.1 (RFC 4578 section 2.2).
        add(option::NETWORK_INTERFACE, &[1, 3, 1]);
        if let Some(uuid) = self.uuid {
            add(option::MACHINE_ID, &uuid.to_option());
        }
        if let Role::Ipxe(_) = self.role {
            add(option::USER_CLASS, b"iPXE");
            // As packaged since 2024: it fetches by both.
            add(
                option::IPXE,
                &[option::IPXE_HTTP, 1, 1, option::IPXE_HTTPS, 1, 1],
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::ClientKind;
    use crate::dhcp::request::{Request, RequestKind};

    const MAC: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 9]);

    fn question(role: Role) -> Question {
        Question {
            role,
            mac: MAC,
            uuid: "4c4c4544-0043-4810-8052-b4c04f4a4d32".parse().ok(),
            relay: Ipv4Addr::UNSPECIFIED,
            xid: 7,
            broadcast: true,
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
                let request = Request::parse(&question.discover()).unwrap();
                assert_eq!(request.kind, RequestKind::Discover);
                assert_eq!(request.client.kind, kind);
                assert_eq!(request.client.mac, Some(MAC));
                assert_eq!(request.client.architecture(), role.architecture());
                assert_eq!(request.client.uuid.is_some(), role != Role::System);
                assert!(request.broadcast);
            }
        }
    }

    #[test]
    fn takes_and_gives_back_what_was_offered() {
        let question = Question {
            relay: [192, 0, 2, 2].into(),
            ..question(Role::System)
        };
        let (address, server) = ([192, 0, 2, 9].into(), [192, 0, 2, 1].into());
        let request = Request::parse(&question.request(address, server)).unwrap();
        assert_eq!(request.requested(), Some(address));
        assert_eq!(request.server_id(), Some(server));
        assert_eq!(request.giaddr, question.relay);
        let release = Request::parse(&question.release(address, server)).unwrap();
        assert_eq!(release.kind, RequestKind::Release);
        assert_eq!(release.ciaddr, address);
    }
}
