//! A reply, from its parts to its bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use dhcproto::v4::{
    DhcpOption, DhcpOptions, Flags, HType, Message, Opcode, OptionCode, UnknownOption,
};
use dhcproto::{Encodable as _, Encoder};

use super::destination::Destination;
use super::option;
use super::overload::Overload;
use super::request::{ETHERNET, Request, RequestKind};
use crate::boot::{ClientKind, MacAddress};

/// BOOTP's smallest packet (RFC 1542 section 2.1); shorter ones are dropped by
/// some ROMs and relays.
const MIN_SIZE: usize = 300;

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

/// A reply that could not be encoded; says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reply does not encode: {0}")]
pub struct EncodeError(String);

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
    ///
    /// # Errors
    /// [`EncodeError`] where dhcproto refuses; it does not for what `decide` makes.
    pub fn encode(&self, request: &Request) -> Result<Vec<u8>, EncodeError> {
        let mut options = self.options.clone();
        let mut overload = Overload::default();
        let room = request.max_size();
        let mut packet = self.encode_with(request, &options, &overload)?;
        if packet.len() > room && self.may_overload(request) {
            while packet.len() > room && overload.take(&mut options) {
                packet = self.encode_with(request, &options, &overload)?;
            }
        }
        let mut left_out = LEAVE_OUT.iter().copied().chain(self.written());
        while packet.len() > room {
            let Some(code) = left_out.next() else { break };
            if options.remove(&code).is_some() {
                packet = self.encode_with(request, &options, &overload)?;
            }
        }
        Ok(packet)
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
    ) -> Result<Vec<u8>, EncodeError> {
        let (htype, chaddr) = self.hardware(request);
        let mut message = Message::new_with_id(
            request.xid,
            self.ciaddr(request),
            self.yiaddr,
            self.siaddr,
            request.giaddr,
            &chaddr,
        );
        message
            .set_opcode(Opcode::BootReply)
            .set_htype(HType::from(htype))
            .set_flags(self.flags(request));
        // Longer names stand in options 66 and 67 only.
        if !self.sname.is_empty() && self.sname.len() < 64 {
            message.set_sname(self.sname.as_bytes());
        }
        if !self.file.is_empty() && self.file.len() < 128 {
            message.set_fname(self.file.as_bytes());
        }
        if let Some(held) = overload.file() {
            message.set_fname(&held);
        }
        if let Some(held) = overload.sname() {
            message.set_sname(&held);
        }
        message.set_opts(self.dhcp_options(options, overload));
        let mut packet = Vec::with_capacity(MIN_SIZE);
        let mut encoder = Encoder::new(&mut packet);
        message
            .encode(&mut encoder)
            .map_err(|error| EncodeError(error.to_string()))?;
        pad_after_boot_file(&mut packet);
        if packet.len() < MIN_SIZE {
            packet.resize(MIN_SIZE, 0);
        }
        Ok(packet)
    }

    /// All options are handed to dhcproto as bytes: it splits what is longer
    /// than 255 (RFC 3396) and puts option 82 last (RFC 3046 section 2.2).
    fn dhcp_options(&self, options: &BTreeMap<u8, Vec<u8>>, overload: &Overload) -> DhcpOptions {
        let raw = |code: u8, data: Vec<u8>| {
            let code = OptionCode::from(code);
            (code, DhcpOption::Unknown(UnknownOption::new(code, data)))
        };
        let kind = self.kind.code().map(|code| (option::MESSAGE_TYPE, code));
        let moved = overload.code().map(|code| (option::OVERLOAD, code));
        let own = kind.into_iter().chain(moved);
        own.map(|(code, byte)| raw(code, vec![byte]))
            .chain(options.iter().map(|(code, data)| raw(*code, data.clone())))
            .collect()
    }

    /// Whose hardware the packet names, by type and address.
    fn hardware<'a>(&self, request: &'a Request) -> (u8, Cow<'a, [u8]>) {
        match self.about {
            Some((_, Some(mac))) => (ETHERNET, mac.bytes().to_vec().into()),
            Some((_, None)) | None => (request.htype, Cow::Borrowed(&request.chaddr)),
        }
    }

    /// A NAK through a relay is broadcast on the client's link (RFC 2131 section 4.3.2).
    fn flags(&self, request: &Request) -> Flags {
        let relayed = !request.giaddr.is_unspecified();
        let flags = Flags::from(request.flags);
        if self.kind == ReplyKind::Nak && relayed {
            flags.set_broadcast()
        } else {
            flags
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

/// Puts a PAD after option 67. Its text is not terminated by the RFC, but old
/// ROMs read on to the next byte, and EDK2 writes a NUL over it: the symptom
/// is a file name with 0xFF stuck to it. A PAD is no part of the name, which
/// the Raspberry Pi 3 would choke on.
fn pad_after_boot_file(packet: &mut Vec<u8>) {
    const OPTIONS: usize = 240;
    let mut at = OPTIONS;
    while let Some([code, length]) = packet.get(at..at + 2) {
        let end = at + 2 + usize::from(*length);
        if *code == option::BOOT_FILE && packet.get(end) != Some(&option::BOOT_FILE) {
            packet.insert(end.min(packet.len()), 0);
            return;
        }
        if *code == u8::MAX {
            return;
        }
        at = end;
    }
}
