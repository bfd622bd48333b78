//! What firmware makes of the offers that it hears: from whom it takes an
//! address, and from whom its first file. Core.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use super::report::{DhcpServer, Named, ServerId};
use crate::dhcp::option;
use crate::packets::options::unhex;
use crate::packets::{Decoded, Role};

/// A reply and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) from: SocketAddrV4,
    pub(super) packet: Decoded,
}

/// A reply of one protocol or the other.
pub(super) trait Answer: Sized {
    /// Reads what came from `from`, where it is a reply to `request`.
    fn read(request: &[u8], reply: &[u8], from: SocketAddr) -> Option<Self>;
}

impl Answer for Heard {
    fn read(request: &[u8], reply: &[u8], from: SocketAddr) -> Option<Self> {
        let is_reply = reply.first() == Some(&2) && reply.get(4..8) == request.get(4..8);
        match from {
            SocketAddr::V4(from) if is_reply => {
                let packet = Decoded::read(reply)?;
                Some(Self { from, packet })
            }
            SocketAddr::V4(_) | SocketAddr::V6(_) => None,
        }
    }
}

/// What is booted next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Boot {
    /// A file of this TFTP server.
    File(Ipv4Addr, String),
    /// A URL.
    Url(String),
    /// This boot server says what, at UDP 4011; of a menu, for this item.
    Ask(Ipv4Addr, Option<u16>),
    /// Nothing is named, for this reason.
    Nothing(&'static str),
}

// === impl Heard ===

impl Heard {
    /// The server, as it names itself (option 54), else by its address.
    pub(super) fn server(&self) -> Ipv4Addr {
        let named = self.packet.option(option::SERVER_ID);
        named
            .and_then(|id| id.parse().ok())
            .unwrap_or_else(|| *self.from.ip())
    }

    fn is(&self, kind: &str) -> bool {
        self.packet.kind == kind
    }

    /// Whether it says what to boot and gives no address (PXE 2.1 section 2.2.3).
    fn is_proxy(&self) -> bool {
        self.packet.yiaddr.is_unspecified()
    }

    fn class(&self) -> &str {
        self.packet.option(option::VENDOR_CLASS).unwrap_or_default()
    }

    /// The file that it names: option 67, else the field.
    pub(super) fn file(&self) -> Option<&str> {
        let named = self.packet.option(option::BOOT_FILE);
        let field = self.packet.file.as_str();
        named.or(Some(field)).filter(|name| !name.is_empty())
    }

    /// The server of that file: siaddr, else option 66 where that is an
    /// address, else who sent it.
    fn next_server(&self) -> Ipv4Addr {
        let siaddr = self.packet.siaddr;
        if !siaddr.is_unspecified() {
            return siaddr;
        }
        let named = self.packet.option(option::TFTP_SERVER);
        named
            .and_then(|name| name.parse().ok())
            .unwrap_or_else(|| self.server())
    }

    /// The type of the first item of its menu (43.9, PXE 2.1 section 2.4), which
    /// firmware takes when nobody presses a key.
    fn first_item(&self) -> Option<u16> {
        const MENU: u8 = 9;
        let mut options = self.packet.options.iter();
        let field = options.find(|field| field.code == option::VENDOR_OPTIONS)?;
        let data = unhex(&field.hex)?;
        let mut rest = data.as_slice();
        while let [code, length, behind @ ..] = rest {
            let (value, others) = behind.split_at_checked(usize::from(*length))?;
            match (*code, value) {
                (MENU, [high, low, ..]) => return Some(u16::from_be_bytes([*high, *low])),
                _ => rest = others,
            }
        }
        None
    }

    fn boot(&self) -> Option<Boot> {
        let file = self.file()?;
        Some(if file.contains("://") {
            Boot::Url(file.to_owned())
        } else {
            Boot::File(self.next_server(), file.to_owned())
        })
    }
}

/// The offer whose address is taken: one that says what to boot before one
/// that does not, else the first (EDK2 `PxeBcDhcp4.c`, iPXE `dhcp.c`).
pub(super) fn lease(role: Role, heard: &[Heard]) -> Option<&Heard> {
    let mut offers = heard.iter().filter(|it| it.is("OFFER") && !it.is_proxy());
    let first = offers.clone().next();
    let boots = offers.find(|it| role != Role::System && it.boot().is_some());
    boots.or(first)
}

/// What is booted by the ACK (or the offer) of the DHCP server and what others
/// offered beside it.
pub(super) fn boot(role: Role, lease: &Heard, heard: &[Heard]) -> Boot {
    let wanted = match role {
        Role::System => return Boot::Nothing("a system boots nothing"),
        Role::HttpBoot(_) => "HTTPClient",
        Role::Pxe(_) | Role::Ipxe(_) => "PXEClient",
    };
    let proxies = || {
        let offers = heard.iter().filter(|it| it.is("OFFER") && it.is_proxy());
        offers.filter(|it| it.class().starts_with(wanted))
    };
    if let Role::HttpBoot(_) = role {
        // A reply without this class is not one for HTTP boot (UEFI 24.7.3).
        let mut all = std::iter::once(lease).chain(proxies());
        let url = all.find_map(|it| it.boot().filter(|_| it.class().starts_with(wanted)));
        return match url {
            Some(Boot::Url(url)) => Boot::Url(url),
            Some(_) => Boot::Nothing("HTTP boot is offered a file name, and wants a URL"),
            None if lease.boot().is_some() => {
                Boot::Nothing("the reply lacks option 60 `HTTPClient`, so the firmware ignores it")
            }
            None => Boot::Nothing("no reply names a URL"),
        };
    }
    // With 60 and without 43 it is a BINL offer: the server is asked at 4011.
    let binl = lease.class().starts_with(wanted)
        && lease.packet.option(option::VENDOR_OPTIONS).is_none()
        && matches!(role, Role::Pxe(arch) if arch.is_uefi());
    match lease.boot() {
        Some(_) if binl => return Boot::Ask(lease.next_server(), lease.first_item()),
        Some(boot) => return boot,
        None => {}
    }
    match proxies().next() {
        Some(proxy) => proxy
            .boot()
            .unwrap_or_else(|| Boot::Ask(proxy.next_server(), proxy.first_item())),
        None if binl => Boot::Ask(lease.next_server(), lease.first_item()),
        None => Boot::Nothing("no reply names a file"),
    }
}

/// What the answer of a boot server names.
pub(super) fn boot_of(answer: &Heard) -> Boot {
    let nothing = Boot::Nothing("its answer at UDP 4011 names no file");
    answer.boot().unwrap_or(nothing)
}

/// Every server that answered, once; foreign are those that are not `ours`,
/// where any were named.
pub(super) fn servers(heard: &[Heard], ours: &[Named]) -> Vec<DhcpServer> {
    let ours: Vec<Ipv4Addr> = ours
        .iter()
        .filter_map(|named| match named {
            Named::Address(IpAddr::V4(address)) => Some(*address),
            Named::Address(IpAddr::V6(_)) | Named::Duid(_) => None,
        })
        .collect();
    once_each(heard.iter().map(|one| {
        let (id, from) = (one.server(), *one.from.ip());
        let foreign = !ours.contains(&id) && !ours.contains(&from);
        DhcpServer {
            id: ServerId::Address(id),
            from: from.into(),
            gives_addresses: !one.is_proxy(),
            foreign: (!ours.is_empty()).then_some(foreign),
        }
    }))
}

/// Each server once, in order; it gives addresses if it ever did.
pub(super) fn once_each(seen: impl Iterator<Item = DhcpServer>) -> Vec<DhcpServer> {
    let mut all: Vec<DhcpServer> = Vec::new();
    for one in seen {
        match all
            .iter_mut()
            .find(|it| it.id == one.id && it.from == one.from)
        {
            Some(known) => known.gives_addresses |= one.gives_addresses,
            None => all.push(one),
        }
    }
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::{Architecture, MacAddress};
    use crate::packets::Question;

    /// A reply with these fields and options.
    fn heard(yiaddr: [u8; 4], siaddr: [u8; 4], options: &[(u8, &[u8])]) -> Heard {
        let question = Question {
            role: Role::System,
            mac: MacAddress::new([2, 0, 0, 0, 0, 9]),
            uuid: None,
            relay: Ipv4Addr::UNSPECIFIED,
            xid: 7,
            broadcast: true,
        };
        let mut packet = question.discover()[..240].to_vec();
        packet[0] = 2;
        packet[16..20].copy_from_slice(&yiaddr);
        packet[20..24].copy_from_slice(&siaddr);
        packet.extend([53, 1, 2]);
        for (code, data) in options {
            packet.extend([*code, u8::try_from(data.len()).unwrap()]);
            packet.extend(*data);
        }
        packet.push(255);
        Heard {
            from: SocketAddrV4::new([192, 0, 2, 1].into(), 67),
            packet: Decoded::read(&packet).unwrap(),
        }
    }

    const ADDRESS: [u8; 4] = [192, 0, 2, 100];
    const NEXT: [u8; 4] = [192, 0, 2, 3];
    const NONE: [u8; 4] = [0; 4];
    const UEFI: Role = Role::Pxe(Architecture::X64Uefi);
    const BIOS: Role = Role::Pxe(Architecture::X86Bios);

    fn file(name: &str) -> Boot {
        Boot::File(NEXT.into(), name.to_owned())
    }

    #[test]
    fn the_address_is_taken_where_a_file_is_named() {
        let plain = heard(ADDRESS, NONE, &[]);
        let boots = heard([192, 0, 2, 101], NEXT, &[(67, b"ipxe.efi")]);
        let all = [plain.clone(), boots.clone()];
        assert_eq!(lease(UEFI, &all), Some(&boots));
        assert_eq!(lease(Role::System, &all), Some(&plain));
        assert_eq!(boot(UEFI, &boots, &all), file("ipxe.efi"));
        assert_eq!(lease(UEFI, &[heard(NONE, NEXT, &[])]), None);
    }

    #[test]
    fn a_proxy_names_the_file_or_is_asked_at_4011() {
        let plain = heard(ADDRESS, NONE, &[]);
        let names = heard(NONE, NEXT, &[(60, b"PXEClient"), (67, b"undionly.kpxe")]);
        let asks = heard(NONE, NEXT, &[(60, b"PXEClient")]);
        let other = heard(NONE, NEXT, &[(67, b"x")]);
        assert_eq!(boot(BIOS, &plain, &[names]), file("undionly.kpxe"));
        assert_eq!(
            boot(UEFI, &plain, &[other.clone(), asks]),
            Boot::Ask(NEXT.into(), None)
        );
        assert!(matches!(boot(UEFI, &plain, &[other]), Boot::Nothing(_)));
    }

    #[test]
    fn of_a_menu_the_first_item_is_asked_for() {
        let menu = b"\x06\x01\x03\x09\x0a\x80\x01\x02ok\x00\x07\x02no\x0a\x03\x00ok\xff";
        let proxy = heard(NONE, NEXT, &[(60, b"PXEClient"), (43, menu)]);
        let plain = heard(ADDRESS, NONE, &[]);
        let want = Boot::Ask(NEXT.into(), Some(0x8001));
        assert_eq!(boot(BIOS, &plain, &[proxy]), want);
        let cut = heard(NONE, NEXT, &[(60, b"PXEClient"), (43, b"\x09\xff\x00")]);
        assert_eq!(boot(BIOS, &plain, &[cut]), Boot::Ask(NEXT.into(), None));
    }

    #[test]
    fn an_offer_with_60_and_without_43_is_asked_again_by_uefi() {
        let binl = heard(ADDRESS, NEXT, &[(60, b"PXEClient"), (67, b"x.efi")]);
        assert_eq!(boot(UEFI, &binl, &[]), Boot::Ask(NEXT.into(), None));
        assert_eq!(boot(BIOS, &binl, &[]), file("x.efi"));
    }

    #[test]
    fn http_boot_wants_its_class_and_a_url() {
        let role = Role::HttpBoot(Architecture::X64Uefi);
        let url = b"http://192.0.2.3/x.efi";
        let good = heard(ADDRESS, NEXT, &[(60, b"HTTPClient"), (67, url)]);
        assert!(matches!(boot(role, &good, &[]), Boot::Url(_)));
        let classless = heard(ADDRESS, NEXT, &[(67, url)]);
        let name = heard(ADDRESS, NEXT, &[(60, b"HTTPClient"), (67, b"x.efi")]);
        for bad in [classless, name, heard(ADDRESS, NEXT, &[])] {
            assert!(matches!(boot(role, &bad, &[]), Boot::Nothing(_)));
        }
    }

    #[test]
    fn strangers_are_those_that_nobody_named() {
        let all = [
            heard(ADDRESS, NONE, &[(54, &[192, 0, 2, 1])]),
            heard(NONE, NONE, &[(54, &[192, 0, 2, 1])]),
            heard(NONE, NONE, &[(54, &[192, 0, 2, 7])]),
        ];
        let named = |last| Named::Address(IpAddr::from([192, 0, 2, last]));
        let found = servers(&all, &[named(1)]);
        let found: Vec<_> = found
            .into_iter()
            .map(|it| (it.id, it.gives_addresses, it.foreign))
            .collect();
        // The last came from the same address as ours: one host, two programs.
        let [ours, other] = [1, 7].map(|last| ServerId::Address([192, 0, 2, last].into()));
        assert_eq!(
            found,
            [(ours, true, Some(false)), (other, false, Some(false))]
        );
        assert_eq!(servers(&all, &[])[0].foreign, None);
        let far = servers(&all, &[named(99)]);
        assert!(far.iter().all(|it| it.foreign == Some(true)));
    }
}
