//! A DHCP packet from a stranger, made safe.
//!
//! dhcproto parses, behind this guard: its own whole-message decoder stops at
//! the first option it dislikes and panics on a hardware address length that
//! lies, so options are walked one by one here, joined (RFC 3396), followed
//! into `file` and `sname` (option 52), and each that we want is read on its
//! own; a bad one costs itself only.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use dhcproto::v4::borrowed::{DhcpOptionIterator, Message};
use dhcproto::v4::{DhcpOption, MessageType, OptionCode};

use super::option;
use crate::boot::{Client, ClientKind, FirmwareType, MacAddress, Uuid};

/// Where options begin: 236 bytes of BOOTP and the cookie.
const OPTIONS: usize = 240;
/// The cookie before the options (RFC 2131 section 3).
pub(super) const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Largest packet that is read; relays add at most 255 bytes to an Ethernet frame's worth.
pub const MAX_PACKET: usize = 2048;
/// The operation of a request; replies have 2.
const BOOTREQUEST: u8 = 1;
/// Hardware type Ethernet (RFC 1700).
pub(super) const ETHERNET: u8 = 1;
/// What a BOOTP client of before RFC 1048 leaves in the cookie's place.
const NO_COOKIE: [u8; 4] = [0; 4];
/// The size of a BOOTP packet (RFC 951, RFC 1542 section 2.1).
const BOOTP_SIZE: usize = 300;

/// A request that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it asks.
    pub kind: RequestKind,
    /// Transaction id.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// The broadcast flag: the client cannot take a unicast yet.
    pub broadcast: bool,
    /// The flags as they came, for the reply.
    pub flags: u16,
    /// The address that the client has and answers for.
    pub ciaddr: Ipv4Addr,
    /// The relay's address; unspecified without one.
    pub giaddr: Ipv4Addr,
    /// Hardware type.
    pub htype: u8,
    /// Hardware address, at most 16 bytes.
    pub chaddr: Vec<u8>,
    /// Who asks.
    pub client: Client,
    /// The options, joined, by code.
    options: BTreeMap<u8, Vec<u8>>,
}

/// What a request asks; RFC 2131 section 3.1 to 3.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestKind {
    /// Any address.
    Discover,
    /// This address.
    Request,
    /// This address is in use by somebody else.
    Decline,
    /// This address is not needed any more.
    Release,
    /// Settings only.
    Inform,
    /// Its address, as before there was DHCP: no message type (RFC 951, RFC
    /// 1534).
    Bootp,
    /// Who has a lease: a relay asks (RFC 4388).
    LeaseQuery,
}

/// Why a packet is no request that we answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Malformed {
    /// Shorter than the fixed part.
    TooShort,
    /// Longer than [`MAX_PACKET`].
    TooLong,
    /// A reply: another server's, or our own reflected.
    NotARequest,
    /// No DHCP cookie.
    NoCookie,
    /// A message type that only servers send, or none that we know.
    MessageType,
    /// No hardware address and no client identifier: nobody to answer.
    NoIdentity,
}

impl Malformed {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooShort => "packet-too-short",
            Self::TooLong => "packet-too-long",
            Self::NotARequest => "not-a-request",
            Self::NoCookie => "no-dhcp-cookie",
            Self::MessageType => "message-type-unknown",
            Self::NoIdentity => "no-client-identity",
        }
    }
}

impl RequestKind {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Discover => "discover",
            Self::Request => "request",
            Self::Decline => "decline",
            Self::Release => "release",
            Self::Inform => "inform",
            Self::Bootp => "bootp",
            Self::LeaseQuery => "lease-query",
        }
    }

    /// Whether it begins a conversation: any address will do.
    #[must_use]
    pub const fn begins(self) -> bool {
        match self {
            Self::Discover | Self::Bootp => true,
            Self::Request | Self::Decline | Self::Release | Self::Inform | Self::LeaseQuery => {
                false
            }
        }
    }
}

// === impl Request ===

impl Request {
    /// Reads a packet of any bytes.
    ///
    /// # Errors
    /// [`Malformed`] names why it is not answered.
    pub fn parse(packet: &[u8]) -> Result<Self, Malformed> {
        if packet.len() > MAX_PACKET {
            return Err(Malformed::TooLong);
        }
        let message = Message::new(packet).map_err(|_| Malformed::TooShort)?;
        if packet.first() != Some(&BOOTREQUEST) {
            return Err(Malformed::NotARequest);
        }
        let options = match packet.get(OPTIONS - COOKIE.len()..OPTIONS) {
            Some(cookie) if cookie == COOKIE => collect_options(packet),
            Some(cookie) if cookie == NO_COOKIE => BTreeMap::new(),
            _ => return Err(Malformed::NoCookie),
        };
        let kind = kind(&options)?;
        let chaddr = hardware_address(packet);
        let htype = packet.get(1).copied().unwrap_or_default();
        let flags = u16::from(message.flags());
        let mac = mac(htype, &chaddr);
        if mac.is_none()
            && kind != RequestKind::LeaseQuery
            && options
                .get(&option::CLIENT_ID)
                .is_none_or(|id| id.len() < 2)
        {
            return Err(Malformed::NoIdentity);
        }
        Ok(Self {
            kind,
            xid: message.xid(),
            secs: message.secs(),
            broadcast: message.flags().broadcast(),
            flags,
            ciaddr: message.ciaddr(),
            giaddr: message.giaddr(),
            htype,
            chaddr,
            client: Client {
                mac,
                kind: client_kind(&options),
                firmware: firmware(&options),
                uuid: options
                    .get(&option::MACHINE_ID)
                    .and_then(|data| Uuid::from_option(data)),
            },
            options,
        })
    }

    /// The bytes of an option, joined.
    #[must_use]
    pub fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.get(&code).map(Vec::as_slice)
    }

    /// Every option, by code.
    pub fn options(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.options
            .iter()
            .map(|(code, data)| (*code, data.as_slice()))
    }

    /// The address that the client asks for (option 50).
    #[must_use]
    pub fn requested(&self) -> Option<Ipv4Addr> {
        match self.typed(option::REQUESTED_ADDRESS) {
            Some(DhcpOption::RequestedIpAddress(address)) => Some(address),
            _ => None,
        }
    }

    /// The server that the client chose (option 54).
    #[must_use]
    pub fn server_id(&self) -> Option<Ipv4Addr> {
        match self.typed(option::SERVER_ID) {
            Some(DhcpOption::ServerIdentifier(address)) => Some(address),
            _ => None,
        }
    }

    /// The client identifier (option 61), two bytes at least (RFC 2132 9.14).
    #[must_use]
    pub fn client_id(&self) -> Option<&[u8]> {
        self.option(option::CLIENT_ID).filter(|id| id.len() >= 2)
    }

    /// The host name that the client gives itself (option 12), if it is one.
    #[must_use]
    pub fn hostname(&self) -> Option<&str> {
        let name = self.option(option::HOST_NAME)?;
        let name = std::str::from_utf8(name).ok()?.trim_end_matches('\0');
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        (!name.is_empty() && name.len() <= 253 && name.chars().all(fits)).then_some(name)
    }

    /// The largest DHCP message that the client takes, in bytes of UDP
    /// payload: option 57 less IP and UDP heads, 548 without (RFC 2131 section
    /// 2), 1472 at most, since PXE ROMs drop fragments.
    ///
    /// A BOOTP client takes what it sends: 64 bytes of vendor extensions.
    #[must_use]
    pub fn max_size(&self) -> usize {
        const HEADS: u16 = 28;
        if self.kind == RequestKind::Bootp {
            return BOOTP_SIZE;
        }
        match self.typed(option::MAX_SIZE) {
            Some(DhcpOption::MaxMessageSize(size)) => usize::from(size.clamp(576, 1500) - HEADS),
            _ => 576 - usize::from(HEADS),
        }
    }

    /// Whether a relay sent it on.
    #[must_use]
    pub fn is_relayed(&self) -> bool {
        !self.giaddr.is_unspecified()
    }

    /// Whether an iPXE says that it can do `feature` (encapsulated in option 175).
    #[must_use]
    pub fn ipxe_can(&self, feature: u8) -> bool {
        let mut rest = self.option(option::IPXE).unwrap_or_default();
        while let [code, length, behind @ ..] = rest {
            let Some((value, others)) = behind.split_at_checked(usize::from(*length)) else {
                return false;
            };
            if *code == feature {
                return value.iter().any(|byte| *byte != 0);
            }
            rest = others;
        }
        false
    }

    /// Whether the client asks for option `code` (option 55).
    #[must_use]
    pub fn asks_for(&self, code: u8) -> bool {
        self.option(option::PARAMETER_LIST)
            .is_some_and(|list| list.contains(&code))
    }

    /// An option as dhcproto reads it; `None` where it is not there or bad.
    fn typed(&self, code: u8) -> Option<DhcpOption> {
        let data = self.options.get(&code)?;
        let size = u8::try_from(data.len()).ok()?;
        let mut encoded = vec![code, size];
        encoded.extend_from_slice(data);
        let parsed = DhcpOptionIterator::new(&encoded).next()?;
        parsed.into_option().ok()
    }
}

/// All options of the packet: those of the option field, then, where option 52
/// says so, those in `file` and in `sname` (RFC 2131 section 4.1); repeats are
/// joined in that order (RFC 3396 section 7).
pub(crate) fn collect_options(packet: &[u8]) -> BTreeMap<u8, Vec<u8>> {
    const SNAME: std::ops::Range<usize> = 44..108;
    const FILE: std::ops::Range<usize> = 108..236;
    let mut options = BTreeMap::new();
    walk(packet.get(OPTIONS..).unwrap_or_default(), &mut options);
    let overload = options
        .get(&option::OVERLOAD)
        .and_then(|data: &Vec<u8>| data.first().copied())
        .unwrap_or_default();
    if overload & 1 != 0 {
        walk(packet.get(FILE).unwrap_or_default(), &mut options);
    }
    if overload & 2 != 0 {
        walk(packet.get(SNAME).unwrap_or_default(), &mut options);
    }
    options
}

fn walk(field: &[u8], options: &mut BTreeMap<u8, Vec<u8>>) {
    for parsed in DhcpOptionIterator::new(field) {
        options
            .entry(u8::from(parsed.code()))
            .or_default()
            .extend_from_slice(parsed.data());
    }
}

fn kind(options: &BTreeMap<u8, Vec<u8>>) -> Result<RequestKind, Malformed> {
    let data = options.get(&u8::from(OptionCode::MessageType));
    let value = match data.map(Vec::as_slice) {
        None => return Ok(RequestKind::Bootp),
        Some([value]) => *value,
        Some(_) => return Err(Malformed::MessageType),
    };
    match value {
        v if v == u8::from(MessageType::Discover) => Ok(RequestKind::Discover),
        v if v == u8::from(MessageType::Request) => Ok(RequestKind::Request),
        v if v == u8::from(MessageType::Decline) => Ok(RequestKind::Decline),
        v if v == u8::from(MessageType::Release) => Ok(RequestKind::Release),
        v if v == u8::from(MessageType::Inform) => Ok(RequestKind::Inform),
        v if v == u8::from(MessageType::LeaseQuery) => Ok(RequestKind::LeaseQuery),
        _ => Err(Malformed::MessageType),
    }
}

/// The hardware address: as many bytes as `hlen` says, 16 at most.
fn hardware_address(packet: &[u8]) -> Vec<u8> {
    let length = packet.get(2).copied().unwrap_or_default().min(16);
    let field = packet.get(28..28 + usize::from(length));
    field.unwrap_or_default().to_vec()
}

fn mac(htype: u8, chaddr: &[u8]) -> Option<MacAddress> {
    let bytes: [u8; 6] = chaddr.try_into().ok()?;
    let mac = MacAddress::new(bytes);
    (htype == ETHERNET && mac.is_station()).then_some(mac)
}

/// iPXE by user class, then firmware by vendor class.
fn client_kind(options: &BTreeMap<u8, Vec<u8>>) -> ClientKind {
    let user_class = options.get(&option::USER_CLASS).map(Vec::as_slice);
    let vendor_class = options.get(&option::VENDOR_CLASS).map(Vec::as_slice);
    if user_class.is_some_and(|class| names_class(class, b"iPXE")) {
        ClientKind::Ipxe
    } else if vendor_class.is_some_and(|class| class.starts_with(b"PXEClient")) {
        ClientKind::Pxe
    } else if vendor_class.is_some_and(|class| class.starts_with(b"HTTPClient")) {
        ClientKind::HttpBoot
    } else {
        ClientKind::Plain
    }
}

/// Whether the user class that a client sends is `wanted`: the bare text, as
/// iPXE sends it, or one of a list of texts, each with its length before it
/// (RFC 3004 section 4).
pub(super) fn names_class(class: &[u8], wanted: &[u8]) -> bool {
    let mut rest = class;
    while let Some((length, behind)) = rest.split_first() {
        let Some((text, others)) = behind.split_at_checked(usize::from(*length)) else {
            break;
        };
        if text == wanted {
            return true;
        }
        rest = others;
    }
    class == wanted
}

/// Option 93 is a list (RFC 4578 section 2.1); the first that we can boot
/// counts. Without it, the vendor class may name one: `PXEClient:Arch:00007:…`.
fn firmware(options: &BTreeMap<u8, Vec<u8>>) -> Option<FirmwareType> {
    let listed = options.get(&option::ARCHITECTURE);
    let listed = listed.and_then(|data| listed_firmware(data));
    listed.or_else(|| firmware_of_class(options.get(&option::VENDOR_CLASS)?))
}

/// The first of a list of architectures that we can boot, else its first.
pub(super) fn listed_firmware(data: &[u8]) -> Option<FirmwareType> {
    let number = |pair: &[u8]| pair.iter().fold(0, |acc, byte| acc << 8 | u16::from(*byte));
    let listed = || data.chunks_exact(2).map(|pair| FirmwareType(number(pair)));
    let bootable = listed().find(|kind| kind.meaning().is_some());
    bootable.or_else(|| listed().next())
}

/// The architecture that a vendor class names.
pub(super) fn firmware_of_class(class: &[u8]) -> Option<FirmwareType> {
    let text = std::str::from_utf8(class).ok()?;
    let number = text.split(":Arch:").nth(1)?.get(..5)?;
    number.parse().ok().map(FirmwareType)
}
