//! A DHCP client of our own: it says what a trial wants said, and shows answers as they were on the wire.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context, Result, bail, ensure};
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, OptionCode, UnknownOption};
use dhcproto::{Decodable as _, Encodable as _};
use reveille::boot::MacAddress;

use super::card::{Card, EVERYBODY, Frame};
use super::wait::until;

/// Looks at the wire before a request is repeated: a second.
const PATIENCE: usize = 20;

/// A machine with one card.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    pub(crate) mac: MacAddress,
    /// Whether it asks for broadcast answers.
    pub(crate) broadcast: bool,
}

/// An answer of the server.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) kind: MessageType,
    pub(crate) address: Ipv4Addr,
    pub(crate) message: Message,
    pub(crate) frame: Frame,
}

/// An address that a machine has, and from whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) address: Ipv4Addr,
    server: Ipv4Addr,
    server_mac: MacAddress,
}

// === impl Machine ===

impl Machine {
    /// The machine of this number; it wants answers in frames of its own.
    pub(crate) const fn number(number: u16) -> Self {
        let [high, low] = number.to_be_bytes();
        Self {
            mac: MacAddress::new([0x02, 0, 0, 0, high, low]),
            broadcast: false,
        }
    }

    /// DISCOVER, OFFER.
    pub(crate) fn discover(&self, card: &mut Card) -> Result<Reply> {
        self.ask(card, &self.broadcasts(&self.message(MessageType::Discover)))
    }

    /// DISCOVER of its firmware, as x64 UEFI sends it. Its UUID ends with its MAC address.
    pub(crate) fn wakes(&self) -> Frame {
        self.wakes_as("PXEClient", 7)
    }

    /// The same, of another client and architecture (option 93).
    fn wakes_as(&self, client: &str, arch: u8) -> Frame {
        let mut message = self.message(MessageType::Discover);
        let options = message.opts_mut();
        let class = format!("{client}:Arch:{arch:05}:UNDI:003016");
        options.insert(DhcpOption::ClassIdentifier(class.into_bytes()));
        for (code, data) in [
            (93, vec![0, arch]),
            (97, [&[0; 11][..], &self.mac.bytes()].concat()),
        ] {
            options.insert(DhcpOption::Unknown(UnknownOption::new(
                OptionCode::from(code),
                data,
            )));
        }
        self.broadcasts(&message)
    }

    /// Its firmware's DISCOVER, OFFER.
    pub(crate) fn boots(&self, card: &mut Card) -> Result<Reply> {
        self.ask(card, &self.wakes())
    }

    /// The same, of another client and architecture.
    pub(crate) fn boots_as(&self, card: &mut Card, client: &str, arch: u8) -> Result<Reply> {
        self.ask(card, &self.wakes_as(client, arch))
    }

    /// DISCOVER, OFFER, REQUEST, ACK.
    pub(crate) fn lease(&self, card: &mut Card) -> Result<Lease> {
        let offer = self.discover(card)?;
        ensure!(
            offer.kind == MessageType::Offer,
            "not an offer: {:?}",
            offer.kind
        );
        let mut request = self.message(MessageType::Request);
        let options = request.opts_mut();
        options.insert(DhcpOption::RequestedIpAddress(offer.address));
        options.insert(DhcpOption::ServerIdentifier(offer.server()?));
        let ack = self.ask(card, &self.broadcasts(&request))?;
        ensure!(
            ack.kind == MessageType::Ack,
            "{}: not an ack: {:?}",
            self.mac,
            ack.kind
        );
        card.addresses.insert(ack.address, self.mac);
        Ok(Lease {
            address: ack.address,
            server: ack.server()?,
            server_mac: ack.frame.from,
        })
    }

    /// REQUEST as a machine sends it whose lease is half over: to the server alone.
    pub(crate) fn renew(&self, card: &mut Card, lease: Lease) -> Result<Reply> {
        let mut request = self.message(MessageType::Request);
        request.set_ciaddr(lease.address);
        let frame = Frame {
            to: lease.server_mac,
            source: SocketAddrV4::new(lease.address, 68),
            target: SocketAddrV4::new(lease.server, 67),
            ..self.broadcasts(&request)
        };
        self.ask(card, &frame)
    }

    /// REQUEST as a machine sends it that was switched off and on (INIT-REBOOT).
    pub(crate) fn reboot(&self, card: &mut Card, address: Ipv4Addr) -> Result<Reply> {
        let mut request = self.message(MessageType::Request);
        request
            .opts_mut()
            .insert(DhcpOption::RequestedIpAddress(address));
        self.ask(card, &self.broadcasts(&request))
    }

    /// A message in a frame to everybody.
    pub(crate) fn broadcasts(&self, message: &Message) -> Frame {
        Frame {
            to: EVERYBODY,
            from: self.mac,
            source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
            target: SocketAddrV4::new(Ipv4Addr::BROADCAST, 67),
            payload: message.to_vec().unwrap_or_default(),
        }
    }

    /// A message without options but its kind.
    pub(crate) fn message(&self, kind: MessageType) -> Message {
        let mut message = Message::default();
        let [.., high, low] = self.mac.bytes();
        message.set_xid(u32::from_be_bytes([u8::from(kind), 0, high, low]));
        message.set_chaddr(&self.mac.bytes());
        if self.broadcast {
            message.set_flags(Flags::default().set_broadcast());
        }
        message.opts_mut().insert(DhcpOption::MessageType(kind));
        message
    }

    /// Sends, again and again, until the answer is there.
    fn ask(&self, card: &mut Card, question: &Frame) -> Result<Reply> {
        let asked = Message::from_bytes(&question.payload)?;
        until(&format!("an answer to {}", self.mac), || {
            card.send(question)?;
            for _ in 0..PATIENCE {
                let Some(frame) = card.receive()? else {
                    continue;
                };
                let answer = Reply::read(frame).filter(|reply| {
                    reply.message.xid() == asked.xid() && reply.message.chaddr() == asked.chaddr()
                });
                if answer.is_some() {
                    return Ok(answer);
                }
            }
            Ok(None)
        })
    }
}

// === impl Reply ===

impl Reply {
    /// Reads a frame, where it is a server's answer.
    pub(crate) fn read(frame: Frame) -> Option<Self> {
        let message = (frame.source.port() == 67)
            .then(|| Message::from_bytes(&frame.payload).ok())
            .flatten()?;
        Some(Self {
            kind: message.opts().msg_type()?,
            address: message.yiaddr(),
            message,
            frame,
        })
    }

    /// Whom it is for.
    pub(crate) fn mac(&self) -> MacAddress {
        let bytes = self.message.chaddr().first_chunk();
        MacAddress::new(*bytes.unwrap_or(&[0; 6]))
    }

    /// Whose answer it is, by option 54.
    pub(crate) fn server(&self) -> Result<Ipv4Addr> {
        match self.message.opts().get(OptionCode::ServerIdentifier) {
            Some(DhcpOption::ServerIdentifier(address)) => Ok(*address),
            _ => bail!("the answer names no server"),
        }
    }

    /// Checks that it is the ACK of `address`.
    pub(crate) fn acks(&self, address: Ipv4Addr) -> Result<()> {
        let reason = self.message.opts().get(OptionCode::Message);
        ensure!(
            self.kind == MessageType::Ack && self.address == address,
            "expected an ack of {address}, got {:?} {} {reason:?}",
            self.kind,
            self.address
        );
        Ok(())
    }
}

/// Every answer that passes until nothing does for a moment.
pub(crate) fn overheard(card: &mut Card) -> Result<Vec<Reply>> {
    let mut replies = Vec::new();
    while let Some(frame) = card.receive().context("the wire")? {
        replies.extend(Reply::read(frame));
    }
    Ok(replies)
}
