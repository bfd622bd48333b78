//! What firmware makes of the DHCPv6 replies that it hears. Core.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use super::offers::{Answer, Boot, once_each};
use super::report::{DhcpServer, Named, ServerId};
use crate::dhcp::v6::option;
use crate::packets::v6::Duid;
use crate::packets::{Decoded6, Role};

/// A reply and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard6 {
    pub(super) from: SocketAddrV6,
    pub(super) packet: Decoded6,
}

impl Answer for Heard6 {
    /// ADVERTISE and REPLY of the same transaction (RFC 8415 section 16).
    fn read(request: &[u8], reply: &[u8], from: SocketAddr) -> Option<Self> {
        let is_reply = matches!(reply.first(), Some(2 | 7)) && reply.get(1..4) == request.get(1..4);
        match from {
            SocketAddr::V6(from) if is_reply => {
                let packet = Decoded6::read(reply)?;
                Some(Self { from, packet })
            }
            SocketAddr::V4(_) | SocketAddr::V6(_) => None,
        }
    }
}

// === impl Heard6 ===

impl Heard6 {
    /// The server's DUID; empty where it says none.
    pub(super) fn server(&self) -> Vec<u8> {
        self.packet.data(option::SERVER_ID).unwrap_or_default()
    }

    /// How much it wants to be chosen (RFC 8415 section 21.8).
    fn preference(&self) -> u8 {
        let data = self.packet.data(option::PREFERENCE);
        data.and_then(|data| data.first().copied())
            .unwrap_or_default()
    }

    /// How it says that it went, where it says so.
    pub(super) fn status(&self) -> Option<&str> {
        let mut all = self.packet.options.iter();
        let own = self.packet.option(option::STATUS);
        own.or_else(|| {
            let (_, inner) = all.find_map(|it| it.value.split_once("status: "))?;
            Some(inner)
        })
    }

    fn url(&self) -> Option<String> {
        let data = self.packet.data(option::BOOT_FILE_URL)?;
        let url = String::from_utf8_lossy(&data)
            .trim_end_matches('\0')
            .to_owned();
        Some(url).filter(|url| !url.is_empty())
    }
}

/// The advertisement that is taken: one that says what to boot before one that
/// does not, then the most preferred, then the first (RFC 8415 section 18.2.9,
/// EDK2 `PxeBcDhcp6.c`).
pub(super) fn lease(role: Role, heard: &[Heard6]) -> Option<&Heard6> {
    let offers = heard.iter().filter(|it| it.packet.kind == "ADVERTISE");
    let offers = offers.filter(|it| it.packet.lent().is_some() && !it.server().is_empty());
    // Of equals the last is the greatest, and the first is wanted.
    let offers: Vec<&Heard6> = offers.collect();
    offers.into_iter().rev().max_by_key(|it| {
        let boots = !matches!(boot(role, it), Boot::Nothing(_));
        (boots, it.preference())
    })
}

/// What is booted by a reply.
pub(super) fn boot(role: Role, reply: &Heard6) -> Boot {
    let url = reply.url();
    let class = reply
        .packet
        .option(option::VENDOR_CLASS)
        .unwrap_or_default();
    match (role, url) {
        (Role::System, _) => Boot::Nothing("a system boots nothing"),
        (_, None) => Boot::Nothing("the reply names no URL (option 59)"),
        // UEFI 2.10 section 24.7.3.3.
        (Role::HttpBoot(_), Some(_)) if !class.starts_with("HTTPClient") => {
            Boot::Nothing("the reply lacks option 16 `HTTPClient`, so the firmware ignores it")
        }
        (Role::HttpBoot(_), Some(url)) if !url.starts_with("http") => {
            Boot::Nothing("HTTP boot is told a URL of another protocol")
        }
        // EDK2 `PxeBcExtractBootFileUrl`.
        (Role::Pxe(_), Some(url)) if !url.starts_with("tftp://") => {
            Boot::Nothing("PXE over IPv6 takes tftp:// alone, and is told another URL")
        }
        (_, Some(url)) => Boot::Url(url),
    }
}

/// Every server that answered, once; foreign are those that are not `ours`,
/// where any were named for IPv6.
pub(super) fn servers(heard: &[Heard6], ours: &[Named]) -> Vec<DhcpServer> {
    // It answers from its link-local address, whatever others it has.
    let says = |named: &&Named| match named {
        Named::Duid(_) => true,
        Named::Address(IpAddr::V6(address)) => address.is_unicast_link_local(),
        Named::Address(IpAddr::V4(_)) => false,
    };
    let named: Vec<&Named> = ours.iter().filter(says).collect();
    once_each(heard.iter().map(|one| {
        let (id, from) = (Duid(one.server()), IpAddr::V6(*one.from.ip()));
        let known = named.iter().any(|it| match it {
            Named::Address(address) => *address == from,
            Named::Duid(duid) => *duid == id,
        });
        DhcpServer {
            id: ServerId::Duid(id),
            from,
            gives_addresses: one.packet.lent().is_some(),
            foreign: (!named.is_empty()).then_some(!known),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::Architecture;
    use crate::dhcp::v6::wire::put;

    const PXE: Role = Role::Pxe(Architecture::X64Uefi);
    const HTTP: Role = Role::HttpBoot(Architecture::X64Uefi);

    /// An ADVERTISE of server `id` with these options; with an address, or none.
    fn heard(id: u8, lends: bool, options: &[(u16, &[u8])]) -> Heard6 {
        let mut packet = vec![2, 0, 0, 7];
        put(&mut packet, option::SERVER_ID, &[0, 4, id]);
        let mut association = vec![0; 12];
        if lends {
            let address = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, id];
            let inner = [&address[..], &[0, 0, 0, 9, 0, 0, 0, 9]].concat();
            put(&mut association, option::IA_ADDRESS, &inner);
        } else {
            put(&mut association, option::STATUS, b"\0\x02pool-exhausted");
        }
        put(&mut packet, option::IA_NA, &association);
        for (code, data) in options {
            put(&mut packet, *code, data);
        }
        let from = "[fe80::1]:547".parse().unwrap();
        Heard6::read(&[1, 0, 0, 7], &packet, from).unwrap()
    }

    #[test]
    fn only_replies_to_the_question_are_heard() {
        let from: SocketAddr = "[fe80::1]:547".parse().unwrap();
        for (reply, is_one) in [
            (&[2, 0, 0, 7][..], true),
            (&[7, 0, 0, 7], true),
            (&[7, 0, 0, 8], false),
            (&[1, 0, 0, 7], false),
            (&[2, 0], false),
        ] {
            assert_eq!(Heard6::read(&[1, 0, 0, 7], reply, from).is_some(), is_one);
        }
    }

    #[test]
    fn what_boots_is_taken_then_what_is_preferred_then_the_first() {
        let tftp: &[(u16, &[u8])] = &[(59, b"tftp://[2001:db8::1]/x")];
        let plain = heard(1, true, &[]);
        let eager = heard(2, true, &[(7, &[255])]);
        let boots = heard(3, true, tftp);
        let empty = heard(4, false, tftp);
        let all = [empty.clone(), plain.clone(), eager.clone(), boots.clone()];
        assert_eq!(lease(PXE, &all), Some(&boots));
        assert_eq!(lease(Role::System, &all), Some(&eager));
        assert_eq!(lease(Role::System, &[plain.clone(), boots]), Some(&plain));
        assert_eq!(lease(PXE, std::slice::from_ref(&empty)), None);
        assert_eq!(empty.status(), Some("NoAddrsAvail (pool-exhausted)"));
    }

    #[test]
    fn each_firmware_takes_its_own_protocol() {
        let class = b"\0\0\x01\x57\0\x0aHTTPClient";
        let http: (u16, &[u8]) = (59, b"http://[2001:db8::1]/x");
        let tftp: (u16, &[u8]) = (59, b"tftp://[2001:db8::1]/x");
        let boots = |role, options: &[(u16, &[u8])]| {
            matches!(boot(role, &heard(1, true, options)), Boot::Url(_))
        };
        assert!(boots(HTTP, &[http, (16, class)]));
        assert!(!boots(HTTP, &[http]));
        assert!(!boots(HTTP, &[tftp, (16, class)]));
        assert!(boots(PXE, &[tftp]));
        assert!(!boots(PXE, &[http]));
        assert!(boots(Role::Ipxe(Architecture::X64Uefi), &[http]));
        assert!(!boots(PXE, &[]));
    }

    #[test]
    fn strangers_are_those_that_nobody_named() {
        let all = [
            heard(1, true, &[]),
            heard(1, false, &[]),
            heard(2, true, &[]),
        ];
        let foreign = |ours: &[Named]| -> Vec<_> {
            let found = servers(&all, ours);
            found.iter().map(|it| it.foreign).collect()
        };
        let ours = "00:04:01".parse().unwrap();
        assert_eq!(foreign(&[ours]), [Some(false), Some(true)]);
        assert_eq!(foreign(&["fe80::1".parse().unwrap()]), [Some(false); 2]);
        // Who is named for IPv4 says nothing of IPv6.
        for elsewhere in ["192.0.2.1", "2001:db8::1"] {
            assert_eq!(foreign(&[elsewhere.parse().unwrap()]), [None; 2]);
        }
        assert!(servers(&all, &[])[0].gives_addresses);
    }
}
