//! A reply, from its parts to its bytes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::destination::Destination;
use super::option;
use super::overload::Overload;
use super::request::{COOKIE, ETHERNET, Request, RequestKind};
use crate::boot::{ClientKind, MacAddress};

/// BOOTP's smallest packet (RFC 1542 section 2.1); shorter ones are dropped by
/// some ROMs and relays.
const MIN_SIZE: usize = 300;
/// What most packets fit into, so that they grow once.
const ROOM: usize = 576;
/// The fields of a packet that are filled up with zeros (RFC 2131 figure 1).
const CHADDR: usize = 16;
const SNAME: usize = 64;
const FILE: usize = 128;
/// The operation of a reply.
const BOOT_REPLY: u8 = 2;
/// The flag of a reply that is broadcast (RFC 2131 figure 2).
const BROADCAST: u16 = 1 << 15;
/// What ends the options, and what stands between them.
const END: u8 = 255;
const PAD: u8 = 0;

/// What is left out first, in this order, where a client takes small packets
/// only.
/// Nothing that a machine boots with is among them.
const LEAVE_OUT: [u8; 5] = [
    option::DOMAIN_SEARCH,
    option::NTP_SERVERS,
    option::DOMAIN_NAME,
    option::BROADCAST,
    option::HOST_NAME,
];

/// What is never left out: what the exchange is made of, how a machine reaches
/// its network, and what boots it.
const NEEDED: [u8; 20] = [
    option::SUBNET_MASK,
    option::ROUTERS,
    option::DNS_SERVERS,
    option::MTU,
    option::VENDOR_OPTIONS,
    option::LEASE_TIME,
    option::SERVER_ID,
    option::MESSAGE,
    option::RENEWAL_TIME,
    option::REBINDING_TIME,
    option::VENDOR_CLASS,
    option::CLIENT_ID,
    option::TFTP_SERVER,
    option::BOOT_FILE,
    option::RELAY_INFO,
    option::MACHINE_ID,
    option::SUBNET_SELECTION,
    option::ROUTES,
    option::TFTP_SERVERS,
    option::IPXE,
];

/// Kinds of replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReplyKind {
    /// DHCPOFFER
    Offer,
    /// DHCPACK
    Ack,
    /// DHCPNAK
    Nak,
    /// BOOTREPLY without a message type (RFC 951, RFC 1534)
    Bootp,
    /// DHCPLEASEUNASSIGNED (RFC 4388): nobody has the address.
    LeaseUnassigned,
    /// DHCPLEASEUNKNOWN (RFC 4388): nothing is known here.
    LeaseUnknown,
    /// DHCPLEASEACTIVE (RFC 4388): this client has the address.
    LeaseActive,
}

/// A reply, not yet encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its kind.
    pub kind: ReplyKind,
    /// The address given.
    pub yiaddr: Ipv4Addr,
    /// The server of the next file.
    pub siaddr: Ipv4Addr,
    /// The next file's server by name; its address in text here.
    pub sname: String,
    /// The next file.
    pub file: String,
    /// The options, by code, without message type.
    pub options: BTreeMap<u8, Vec<u8>>,
    /// Where it goes.
    pub destination: Destination,
    /// Whose lease it tells of, where that is not the one who asks (RFC 4388):
    /// its address and its Ethernet address.
    pub about: Option<(Ipv4Addr, Option<MacAddress>)>,
}

impl ReplyKind {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Ack => "ack",
            Self::Nak => "nak",
            Self::Bootp => "bootp-reply",
            Self::LeaseUnassigned => "lease-unassigned",
            Self::LeaseUnknown => "lease-unknown",
            Self::LeaseActive => "lease-active",
        }
    }

    /// Its message type (option 53); BOOTP has none.
    const fn code(self) -> Option<u8> {
        match self {
            Self::Offer => Some(2),
            Self::Ack => Some(5),
            Self::Nak => Some(6),
            Self::Bootp => None,
            Self::LeaseUnassigned => Some(11),
            Self::LeaseUnknown => Some(12),
            Self::LeaseActive => Some(13),
        }
    }
}

impl Reply {
    /// The packet: `xid`, `flags`, `giaddr` and the hardware address are the
    /// request's (RFC 2131 table 3), options that do not fit into what the
    /// client takes go into `file` and `sname` where it reads them there, or are
    /// left out; short packets are padded.
    #[must_use]
    pub fn encode(&self, request: &Request) -> Vec<u8> {
        let mut overload = Overload::default();
        let room = request.max_size();
        let mut packet = self.encode_with(request, &self.options, &overload);
        if packet.len() <= room {
            return packet;
        }
        let mut options = self.options.clone();
        if self.may_overload(request) {
            while packet.len() > room && overload.take(&mut options) {
                packet = self.encode_with(request, &options, &overload);
            }
        }
        let mut left_out = LEAVE_OUT.iter().copied().chain(self.written());
        while packet.len() > room {
            let Some(code) = left_out.next() else { break };
            if options.remove(&code).is_some() {
                packet = self.encode_with(request, &options, &overload);
            }
        }
        packet
    }

    /// Whether the client looks for options in `file` and `sname`, and nothing
    /// else stands there.
    fn may_overload(&self, request: &Request) -> bool {
        let reads = request.client.kind == ClientKind::Plain && request.kind != RequestKind::Bootp;
        reads && self.sname.is_empty() && self.file.is_empty()
    }

    /// What somebody wrote that is not needed, the largest first.
    fn written(&self) -> impl Iterator<Item = u8> {
        let spare = |code: &u8| !NEEDED.contains(code) && !LEAVE_OUT.contains(code);
        let mut all: Vec<(usize, u8)> = self
            .options
            .iter()
            .filter(|(code, _)| spare(code))
            .map(|(code, data)| (data.len(), *code))
            .collect();
        all.sort_unstable();
        all.into_iter().rev().map(|(_, code)| code)
    }

    fn encode_with(
        &self,
        request: &Request,
        options: &BTreeMap<u8, Vec<u8>>,
        overload: &Overload,
    ) -> Vec<u8> {
        let mac = self.about.and_then(|(_, mac)| mac).map(MacAddress::bytes);
        let (htype, chaddr) = match &mac {
            Some(mac) => (ETHERNET, &mac[..]),
            None => (request.htype, &*request.chaddr),
        };
        let mut packet = Vec::with_capacity(ROOM);
        let length = u8::try_from(chaddr.len()).unwrap_or(u8::MAX);
        packet.extend([BOOT_REPLY, htype, length, 0]);
        packet.extend(request.xid.to_be_bytes());
        // No seconds.
        packet.extend([0, 0]);
        packet.extend(self.flags(request).to_be_bytes());
        let addresses = [
            self.ciaddr(request),
            self.yiaddr,
            self.siaddr,
            request.giaddr,
        ];
        for address in addresses {
            packet.extend(address.octets());
        }
        field(&mut packet, chaddr, CHADDR);
        // Longer names stand in options 66 and 67 only.
        let name = |name: &str, most| Some(name.as_bytes().to_vec()).filter(|it| it.len() < most);
        let sname = overload.sname().or_else(|| name(&self.sname, SNAME));
        field(&mut packet, &sname.unwrap_or_default(), SNAME);
        let file = overload.file().or_else(|| name(&self.file, FILE));
        field(&mut packet, &file.unwrap_or_default(), FILE);
        packet.extend(COOKIE);
        self.put_options(&mut packet, options, overload);
        if packet.len() < MIN_SIZE {
            packet.resize(MIN_SIZE, PAD);
        }
        packet
    }

    /// The options by code, 82 the last (RFC 3046 section 2.2).
    fn put_options(
        &self,
        packet: &mut Vec<u8>,
        options: &BTreeMap<u8, Vec<u8>>,
        overload: &Overload,
    ) {
        let kind = self.kind.code().map(|code| [code]);
        let moved = overload.code().map(|code| [code]);
        let kind = kind.iter().map(|it| (option::MESSAGE_TYPE, &it[..]));
        let moved = moved.iter().map(|it| (option::OVERLOAD, &it[..]));
        let given = options.iter().map(|(code, data)| (*code, &**data));
        let mut all: Vec<(u8, &[u8])> = kind.chain(moved).chain(given).collect();
        all.sort_by_key(|(code, _)| (*code == option::RELAY_INFO, *code));
        for (code, data) in all {
            put_option(packet, code, data);
        }
        packet.push(END);
    }

    /// A NAK through a relay is broadcast on the client's link (RFC 2131 section 4.3.2).
    fn flags(&self, request: &Request) -> u16 {
        let relayed = !request.giaddr.is_unspecified();
        if self.kind == ReplyKind::Nak && relayed {
            request.flags | BROADCAST
        } else {
            request.flags
        }
    }

    /// `ciaddr` is copied into ACKs (RFC 2131 table 3) and where the whole packet
    /// comes back (RFC 951, RFC 4388).
    fn ciaddr(&self, request: &Request) -> Ipv4Addr {
        match (self.about, self.kind) {
            (Some((address, _)), _) => address,
            (None, ReplyKind::Offer | ReplyKind::Nak) => Ipv4Addr::UNSPECIFIED,
            (
                None,
                ReplyKind::Ack
                | ReplyKind::Bootp
                | ReplyKind::LeaseUnassigned
                | ReplyKind::LeaseUnknown
                | ReplyKind::LeaseActive,
            ) => request.ciaddr,
        }
    }
}

/// Appends `data`, filled up with zeros to `size`.
fn field(packet: &mut Vec<u8>, data: &[u8], size: usize) {
    let end = packet.len() + size;
    packet.extend(data.iter().take(size));
    packet.resize(end, 0);
}

/// Appends an option, but for one that says nothing; one that is longer than
/// 255 bytes in parts (RFC 3396).
///
/// A PAD follows option 67. Its text is not terminated by the RFC, but old
/// ROMs read on to the next byte, and EDK2 writes a NUL over it: the symptom
/// is a file name with 0xFF stuck to it. A PAD is no part of the name, which
/// the Raspberry Pi 3 would choke on.
fn put_option(packet: &mut Vec<u8>, code: u8, data: &[u8]) {
    for part in data.chunks(usize::from(u8::MAX)) {
        packet.extend([code, u8::try_from(part.len()).unwrap_or(u8::MAX)]);
        packet.extend(part);
    }
    if code == option::BOOT_FILE && !data.is_empty() {
        packet.push(PAD);
    }
}
