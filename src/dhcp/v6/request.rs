//! A DHCPv6 packet from a stranger, made safe.

use std::net::Ipv6Addr;

use super::option;
use super::wire::{texts, walk};
use crate::boot::{Client, ClientKind, FirmwareType, MacAddress, Uuid};
use crate::dhcp::request::{firmware_of_class, listed_firmware};
use crate::lease::MAX_DUID;

/// Largest packet that is read, in bytes of UDP payload.
pub const MAX_PACKET: usize = 4096;
/// Relays that one message may have come through: HOP_COUNT_LIMIT and the first
/// (RFC 8415 section 7.6).
pub const MAX_HOPS: usize = 9;
/// Identity associations of a message, and addresses of one, that are looked at.
const MAX_ASSOCIATIONS: usize = 8;
/// Shortest DUID: a type and one byte (RFC 8415 section 11.1).
const MIN_DUID: usize = 3;
/// Hardware type Ethernet.
const ETHERNET: [u8; 2] = [0, 1];

/// A request that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it asks.
    pub kind: RequestKind,
    /// Transaction id.
    pub xid: [u8; 3],
    /// The relays that it came through, the one that is nearest to us first.
    pub hops: Vec<Hop>,
    /// Who asks; its MAC address is the first of [`Request::macs`].
    pub client: Client,
    /// What is known of its Ethernet address, the surest first: what its relay
    /// saw (RFC 6939), what its DUID says, what its link-local address says.
    pub macs: Vec<MacAddress>,
    /// The address of the interface that asks, where it is known to be that one's:
    /// a DUID may be made of another's.
    pub link_mac: Option<MacAddress>,
    /// Its DUID; empty where an INFORMATION-REQUEST has none.
    pub duid: Vec<u8>,
    /// The server that it chose.
    pub server_id: Option<Vec<u8>>,
    /// The addresses that it asks for.
    pub associations: Vec<Association>,
    /// What it asks for that is not lent here.
    pub others: Vec<Other>,
    /// What its vendor says that it is, each text.
    pub vendor_classes: Vec<Vec<u8>>,
    /// What it says itself that it is, each text.
    pub user_classes: Vec<Vec<u8>>,
    /// Whether it takes an address by two messages.
    pub rapid_commit: bool,
    /// The options that it asks for; `None` where it asks for none in particular.
    requested: Option<Vec<u16>>,
}

/// A relay that a message came through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Relays before it.
    pub count: u8,
    /// The link that it heard the client on; unspecified where it says none.
    pub link: Ipv6Addr,
    /// Whom it heard.
    pub peer: Ipv6Addr,
    /// Its own name of its port, to be echoed.
    pub interface_id: Option<Vec<u8>>,
    /// Whether it wants its answer where it asks from (RFC 8357); the bytes are
    /// echoed.
    pub port: Option<Vec<u8>>,
    /// The remote end of its port, in its words and behind its maker's number
    /// (RFC 4649).
    pub remote_id: Option<Vec<u8>>,
}

/// An identity association for addresses (IA_NA).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Association {
    /// Its number, which the client chose.
    pub iaid: u32,
    /// The addresses that the client has or would like.
    pub addresses: Vec<Ipv6Addr>,
}

/// What is asked for and not lent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// Temporary addresses (IA_TA).
    Temporary(u32),
    /// A prefix (IA_PD).
    Prefix(u32),
}

/// What a request asks; RFC 8415 section 7.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestKind {
    /// Any address.
    Solicit,
    /// The address that was advertised.
    Request,
    /// Whether its addresses fit the link.
    Confirm,
    /// To keep its addresses.
    Renew,
    /// The same of any server.
    Rebind,
    /// An address is not needed any more.
    Release,
    /// An address is in use by somebody else.
    Decline,
    /// Settings only.
    Information,
}

/// Why a packet is no request that we answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Malformed {
    /// Shorter than its head.
    TooShort,
    /// Longer than [`MAX_PACKET`].
    TooLong,
    /// A message that only servers send: another's, or our own.
    NotARequest,
    /// A message that we do not know.
    MessageType,
    /// An option is longer than the packet, or there are too many.
    Options,
    /// It came through more than [`MAX_HOPS`] relays, or says so.
    TooManyHops,
    /// A relay sent nothing on.
    EmptyRelay,
    /// No DUID, or none that is one.
    NoIdentity,
    /// It names a server where none may be named.
    ServerNamed,
    /// It names no server where one must be.
    NoServer,
}

impl Malformed {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooShort => "packet-too-short",
            Self::TooLong => "packet-too-long",
            Self::NotARequest => "not-a-request",
            Self::MessageType => "message-type-unknown",
            Self::Options => "options-unreadable",
            Self::TooManyHops => "too-many-relays",
            Self::EmptyRelay => "relay-without-message",
            Self::NoIdentity => "no-client-identity",
            Self::ServerNamed => "server-named",
            Self::NoServer => "no-server-named",
        }
    }
}

impl RequestKind {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Solicit => "solicit",
            Self::Request => "request",
            Self::Confirm => "confirm",
            Self::Renew => "renew",
            Self::Rebind => "rebind",
            Self::Release => "release",
            Self::Decline => "decline",
            Self::Information => "information-request",
        }
    }

    const fn of(number: u8) -> Result<Self, Malformed> {
        Ok(match number {
            1 => Self::Solicit,
            3 => Self::Request,
            4 => Self::Confirm,
            5 => Self::Renew,
            6 => Self::Rebind,
            8 => Self::Release,
            9 => Self::Decline,
            11 => Self::Information,
            2 | 7 | 10 | option::RELAY_REPLY => return Err(Malformed::NotARequest),
            _ => return Err(Malformed::MessageType),
        })
    }

    /// Whether it is said to one server: Some of it must, or must not, or may
    /// name one (RFC 8415 section 16).
    const fn names_server(self) -> Option<bool> {
        match self {
            Self::Solicit | Self::Confirm | Self::Rebind => Some(false),
            Self::Request | Self::Renew | Self::Release | Self::Decline => Some(true),
            Self::Information => None,
        }
    }
}

/// The options of one message, the first of each code.
struct Fields<'a>(Vec<(u16, &'a [u8])>);

impl<'a> Fields<'a> {
    fn get(&self, code: u16) -> Option<&'a [u8]> {
        self.all(code).next()
    }

    fn all(&self, code: u16) -> impl Iterator<Item = &'a [u8]> {
        let all = self.0.iter().filter(move |(found, _)| *found == code);
        all.map(|(_, data)| *data)
    }
}

// === impl Request ===

impl Request {
    /// Reads a packet of any bytes that came from `from`.
    ///
    /// # Errors
    /// [`Malformed`] names why it is not answered.
    pub fn parse(packet: &[u8], from: Ipv6Addr) -> Result<Self, Malformed> {
        if packet.len() > MAX_PACKET {
            return Err(Malformed::TooLong);
        }
        let (hops, relay_mac, message) = unwrap(packet)?;
        let (head, rest) = message
            .split_first_chunk::<4>()
            .ok_or(Malformed::TooShort)?;
        let [number, xid @ ..] = *head;
        let kind = RequestKind::of(number)?;
        let fields = Fields(walk(rest).ok_or(Malformed::Options)?);
        let duid = match fields.get(option::CLIENT_ID) {
            Some(duid) if (MIN_DUID..=MAX_DUID).contains(&duid.len()) => duid,
            None if kind == RequestKind::Information => &[],
            Some(_) | None => return Err(Malformed::NoIdentity),
        };
        let server_id = fields.get(option::SERVER_ID).map(<[u8]>::to_vec);
        match (kind.names_server(), &server_id) {
            (Some(true), None) => return Err(Malformed::NoServer),
            (Some(false), Some(_)) => return Err(Malformed::ServerNamed),
            _ => {}
        }
        let peer = hops.last().map_or(from, |hop| hop.peer);
        let link_mac = relay_mac.or_else(|| mac_of_address(peer));
        let macs: Vec<MacAddress> = [relay_mac, mac_of_duid(duid), mac_of_address(peer)]
            .into_iter()
            .flatten()
            .collect();
        let classes = vendor_classes(&fields);
        let own_classes = user_classes(&fields);
        let owned = |texts: &[&[u8]]| texts.iter().map(|text| text.to_vec()).collect();
        Ok(Self {
            kind,
            xid,
            hops,
            client: Client {
                mac: macs.first().copied(),
                kind: client_kind(&own_classes, &classes),
                firmware: firmware(&fields, &classes),
                uuid: uuid_of_duid(duid),
            },
            macs,
            link_mac,
            duid: duid.to_vec(),
            server_id,
            associations: associations(&fields)?,
            others: others(&fields),
            vendor_classes: owned(&classes),
            user_classes: owned(&own_classes),
            rapid_commit: fields.get(option::RAPID_COMMIT).is_some(),
            requested: fields.get(option::REQUESTED).map(|list| {
                let pairs = list.chunks_exact(2);
                pairs
                    .map(|pair| pair.iter().fold(0, |acc, byte| acc << 8 | u16::from(*byte)))
                    .collect()
            }),
        })
    }

    /// Whether the client asks for option `code`, or for none in particular.
    #[must_use]
    pub fn wants(&self, code: u16) -> bool {
        let requested = self.requested.as_ref();
        requested.is_none_or(|list| list.contains(&code))
    }

    /// Whether a relay sent it on.
    #[must_use]
    pub fn is_relayed(&self) -> bool {
        !self.hops.is_empty()
    }

    /// The addresses that it speaks of.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv6Addr> {
        let all = self.associations.iter();
        all.flat_map(|association| association.addresses.iter().copied())
    }
}

/// The Ethernet address of who sent a packet from `from`, whatever else is in it:
/// what its relay saw, else what its link-local address says.
#[must_use]
pub fn sender(packet: &[u8], from: Ipv6Addr) -> Option<MacAddress> {
    let (hops, mac, _) = unwrap(packet).ok()?;
    mac.or_else(|| mac_of_address(hops.last().map_or(from, |hop| hop.peer)))
}

/// The relays of a message, the MAC address of who sent it, and the message.
type Unwrapped<'a> = (Vec<Hop>, Option<MacAddress>, &'a [u8]);

/// What relays wrapped a message in, the MAC address that the one next to the
/// client saw, and the message.
fn unwrap(packet: &[u8]) -> Result<Unwrapped<'_>, Malformed> {
    const HEAD: usize = 34;
    let mut hops = Vec::new();
    let (mut mac, mut message) = (None, packet);
    while message.first() == Some(&option::RELAY_FORWARD) {
        let (head, rest) = message
            .split_first_chunk::<HEAD>()
            .ok_or(Malformed::TooShort)?;
        let address = |from: usize| {
            let bytes = head.get(from..from + 16).unwrap_or_default();
            <[u8; 16]>::try_from(bytes).map_or(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from)
        };
        let count = head.get(1).copied().unwrap_or_default();
        if hops.len() >= MAX_HOPS || usize::from(count) >= MAX_HOPS {
            return Err(Malformed::TooManyHops);
        }
        let fields = Fields(walk(rest).ok_or(Malformed::Options)?);
        hops.push(Hop {
            count,
            link: address(2),
            peer: address(18),
            interface_id: fields.get(option::INTERFACE_ID).map(<[u8]>::to_vec),
            port: fields.get(option::RELAY_PORT).map(<[u8]>::to_vec),
            remote_id: fields.get(option::REMOTE_ID).map(<[u8]>::to_vec),
        });
        mac = fields
            .get(option::CLIENT_LINK_LAYER)
            .and_then(ethernet_address);
        message = fields
            .get(option::RELAY_MESSAGE)
            .ok_or(Malformed::EmptyRelay)?;
    }
    Ok((hops, mac, message))
}

fn associations(fields: &Fields<'_>) -> Result<Vec<Association>, Malformed> {
    let all = fields.all(option::IA_NA).take(MAX_ASSOCIATIONS);
    all.map(|data| {
        // IAID, T1, T2, options.
        let (iaid, rest) = data.split_first_chunk::<4>().ok_or(Malformed::Options)?;
        let inner = rest.get(8..).ok_or(Malformed::Options)?;
        let inner = Fields(walk(inner).ok_or(Malformed::Options)?);
        let addresses = inner.all(option::IA_ADDRESS).filter_map(|data| {
            let (address, _times) = data.split_first_chunk::<16>()?;
            Some(Ipv6Addr::from(*address))
        });
        Ok(Association {
            iaid: u32::from_be_bytes(*iaid),
            addresses: addresses
                .filter(|address| !address.is_unspecified())
                .take(MAX_ASSOCIATIONS)
                .collect(),
        })
    })
    .collect()
}

fn others(fields: &Fields<'_>) -> Vec<Other> {
    let iaid = |data: &[u8]| data.first_chunk::<4>().map(|id| u32::from_be_bytes(*id));
    let temporary = fields.all(option::IA_TA).filter_map(iaid);
    let prefixes = fields.all(option::IA_PD).filter_map(iaid);
    let temporary = temporary.map(Other::Temporary);
    let all = temporary.chain(prefixes.map(Other::Prefix));
    all.take(MAX_ASSOCIATIONS).collect()
}

/// The texts of the vendor classes, whoever the vendor is: not all firmware says
/// Intel's number.
fn vendor_classes<'a>(fields: &Fields<'a>) -> Vec<&'a [u8]> {
    let all = fields.all(option::VENDOR_CLASS);
    all.flat_map(|class| texts(class.get(4..).unwrap_or_default()))
        .collect()
}

/// The texts of the user class; as a whole it may be one, as iPXE has it.
fn user_classes<'a>(fields: &Fields<'a>) -> Vec<&'a [u8]> {
    let class = fields.get(option::USER_CLASS).unwrap_or_default();
    let whole = Some(class).filter(|class| !class.is_empty());
    whole.into_iter().chain(texts(class)).collect()
}

/// iPXE by user class, then firmware by vendor class.
fn client_kind(own: &[&[u8]], classes: &[&[u8]]) -> ClientKind {
    let is = |name: &[u8]| classes.iter().any(|class| class.starts_with(name));
    if own.contains(&&b"iPXE"[..]) {
        ClientKind::Ipxe
    } else if is(b"PXEClient") {
        ClientKind::Pxe
    } else if is(b"HTTPClient") {
        ClientKind::HttpBoot
    } else {
        ClientKind::Plain
    }
}

/// Option 61 is a list; without it a vendor class may name one.
fn firmware(fields: &Fields<'_>, classes: &[&[u8]]) -> Option<FirmwareType> {
    let listed = fields.get(option::ARCHITECTURE).and_then(listed_firmware);
    listed.or_else(|| classes.iter().find_map(|class| firmware_of_class(class)))
}

/// A hardware type and an address of a station.
fn ethernet_address(data: &[u8]) -> Option<MacAddress> {
    let bytes: [u8; 6] = data.strip_prefix(&ETHERNET)?.try_into().ok()?;
    Some(MacAddress::new(bytes)).filter(|mac| mac.is_station())
}

/// The address in a DUID-LLT or DUID-LL (RFC 8415 sections 11.2 and 11.4).
fn mac_of_duid(duid: &[u8]) -> Option<MacAddress> {
    match duid {
        [0, 1, high, low, _, _, _, _, mac @ ..] => {
            ethernet_address(&[&[*high, *low], mac].concat())
        }
        [0, 3, rest @ ..] => ethernet_address(rest),
        _ => None,
    }
}

/// The UUID in a DUID-UUID (RFC 6355).
pub(crate) fn uuid_of_duid(duid: &[u8]) -> Option<Uuid> {
    let uuid = duid.strip_prefix(&[0, 4])?;
    Uuid::from_option(&[&[0], uuid].concat())
}

/// The address that a link-local address was made of (RFC 4291 appendix A).
fn mac_of_address(address: Ipv6Addr) -> Option<MacAddress> {
    let [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a, b, c, 0xff, 0xfe, d, e, f] = address.octets() else {
        return None;
    };
    Some(MacAddress::new([a ^ 2, b, c, d, e, f])).filter(|mac| mac.is_station())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddress = MacAddress::new([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

    #[test]
    fn a_mac_address_stands_in_many_places() {
        let mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
        let duid = |head: &[u8]| mac_of_duid(&[head, &mac].concat());
        assert_eq!(duid(&[0, 1, 0, 1, 9, 9, 9, 9]), Some(MAC));
        assert_eq!(duid(&[0, 3, 0, 1]), Some(MAC));
        // Another kind of hardware, a bit too long, an enterprise's.
        assert_eq!(duid(&[0, 3, 0, 32]), None);
        assert_eq!(duid(&[0, 3, 0, 1, 0]), None);
        assert_eq!(duid(&[0, 2, 0, 1]), None);
        let address = "fe80::5054:ff:fe12:3456".parse().unwrap();
        assert_eq!(mac_of_address(address), Some(MAC));
        // One that was drawn, and one of another network.
        for other in ["fe80::5054:ff:1212:3456", "2001:db8::5054:ff:fe12:3456"] {
            assert_eq!(mac_of_address(other.parse().unwrap()), None, "{other}");
        }
    }

    #[test]
    fn relays_are_followed_so_deep_and_no_deeper() {
        let solicit = [&[1, 0, 0, 1, 0, 1, 0, 10, 0, 3, 0, 1][..], &MAC.bytes()].concat();
        let wrap = |inner: &[u8], count: u8| {
            let mut packet = vec![option::RELAY_FORWARD, count];
            packet.extend([0; 32]);
            super::super::wire::put(&mut packet, option::RELAY_MESSAGE, inner);
            packet
        };
        let mut packet = solicit;
        for count in 0..9 {
            packet = wrap(&packet, count);
        }
        let request = Request::parse(&packet, Ipv6Addr::LOCALHOST).unwrap();
        assert_eq!(request.hops.len(), MAX_HOPS);
        assert_eq!(request.client.mac, Some(MAC));
        for count in [0, 9] {
            assert_eq!(
                Request::parse(&wrap(&packet, count), Ipv6Addr::LOCALHOST),
                Err(Malformed::TooManyHops)
            );
        }
    }
}
