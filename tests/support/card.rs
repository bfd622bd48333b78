//! A network card in a trial's hands: every frame that it sends is made here, from any address, and
//! every frame that reaches it is seen as it was on the wire.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, bind, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};
use reveille::boot::MacAddress;

use super::ns;

/// To everybody on the wire.
pub(crate) const EVERYBODY: MacAddress = MacAddress::new([0xff; 6]);

/// How long one look at the wire lasts where nothing comes.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

const IP: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
/// Ethernet, IP without options, UDP.
const HEADS: usize = 14 + 20 + 8;

/// The card.
#[derive(Debug)]
pub(crate) struct Card {
    wire: File,
    /// The addresses that are ours: ARP for them is answered.
    pub(crate) addresses: BTreeMap<Ipv4Addr, MacAddress>,
}

/// A UDP datagram in its frame.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) to: MacAddress,
    pub(crate) from: MacAddress,
    pub(crate) source: SocketAddrV4,
    pub(crate) target: SocketAddrV4,
    pub(crate) payload: Vec<u8>,
}

// === impl Card ===

impl Card {
    /// A new card, plugged into a bridge.
    pub(crate) fn plug(name: &str, bridge: &str) -> Result<Self> {
        ns::veth(name, bridge)?;
        // The kernel must not answer there for addresses that are the bridge's.
        ns::run(&format!("ip link set {name} arp off"))?;
        Self::listen(name)
    }

    /// A card that is there: what passes it is seen in both directions.
    pub(crate) fn listen(name: &str) -> Result<Self> {
        let link = |entry: nix::ifaddrs::InterfaceAddress| {
            let address: LinkAddr = *entry.address?.as_link_addr()?;
            (entry.interface_name == name).then_some(address)
        };
        let address = getifaddrs()?
            .find_map(link)
            .with_context(|| format!("no card {name}"))?;
        let wire = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::EthAll,
        )?;
        // The address is the kernel's own, which names no protocol: the socket's stays.
        bind(wire.as_raw_fd(), &address)?;
        let look = i64::try_from(LOOK.as_millis())?;
        setsockopt(&wire, sockopt::ReceiveTimeout, &TimeVal::milliseconds(look))?;
        setsockopt(&wire, sockopt::RcvBuf, &(8 << 20))?;
        Ok(Self {
            wire: wire.into(),
            addresses: BTreeMap::new(),
        })
    }

    /// Sends a datagram.
    pub(crate) fn send(&mut self, frame: &Frame) -> Result<()> {
        self.send_in(frame, &[])
    }

    /// Sends a datagram of a VLAN (IEEE 802.1Q).
    pub(crate) fn send_tagged(&mut self, frame: &Frame, vlan: u16) -> Result<()> {
        let [high, low] = vlan.to_be_bytes();
        self.send_in(frame, &[0x81, 0x00, high, low])
    }

    fn send_in(&mut self, frame: &Frame, tag: &[u8]) -> Result<()> {
        let udp = u16::try_from(8 + frame.payload.len())?;
        let mut head = vec![0x45, 0];
        head.extend((20 + udp).to_be_bytes());
        head.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        head.extend(frame.source.ip().octets());
        head.extend(frame.target.ip().octets());
        let sum = checksum(&head).to_be_bytes();
        head[10..12].copy_from_slice(&sum);
        let mut bytes = ethernet(frame.to, frame.from, IP);
        bytes.splice(12..12, tag.iter().copied());
        bytes.extend(head);
        bytes.extend(frame.source.port().to_be_bytes());
        bytes.extend(frame.target.port().to_be_bytes());
        bytes.extend(udp.to_be_bytes());
        // No checksum: UDP over IPv4 may go without.
        bytes.extend([0, 0]);
        bytes.extend(&frame.payload);
        self.wire.write_all(&bytes).context("a frame did not leave")
    }

    /// The next datagram; `None` when none comes for a moment. ARP is answered on the way.
    pub(crate) fn receive(&mut self) -> Result<Option<Frame>> {
        let mut buffer = [0; 2048];
        loop {
            let length = match self.wire.read(&mut buffer) {
                Ok(length) => length,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
                {
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            };
            let bytes = &buffer[..length];
            if let Some(frame) = Frame::read(bytes) {
                return Ok(Some(frame));
            }
            if let Some(answer) = self.arp(bytes) {
                self.wire.write_all(&answer)?;
            }
        }
    }

    /// The answer to an ARP request for an address that is ours.
    fn arp(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let request = bytes.get(14..42)?;
        if bytes[12..14] != ARP || request[7] != 1 {
            return None;
        }
        let (asker, at) = (&request[8..18], &request[24..28]);
        let wanted = Ipv4Addr::from(<[u8; 4]>::try_from(at).ok()?);
        let mac = self.addresses.get(&wanted)?;
        let to = MacAddress::new(asker[..6].try_into().ok()?);
        let mut answer = ethernet(to, *mac, ARP);
        answer.extend([0, 1, 8, 0, 6, 4, 0, 2]);
        answer.extend(mac.bytes());
        answer.extend(at);
        answer.extend(asker);
        Some(answer)
    }
}

// === impl Frame ===

impl Frame {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mac = |at: usize| Some(MacAddress::new(bytes.get(at..at + 6)?.try_into().ok()?));
        let address = |at: usize| <[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok();
        let number = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let is_udp = bytes.get(12..14)? == IP && bytes.get(14)? == &0x45 && bytes.get(23)? == &17;
        let end = HEADS - 8 + usize::from(number(38)?);
        is_udp.then_some(Self {
            to: mac(0)?,
            from: mac(6)?,
            source: SocketAddrV4::new(address(26)?.into(), number(34)?),
            target: SocketAddrV4::new(address(30)?.into(), number(36)?),
            payload: bytes.get(HEADS..end)?.to_vec(),
        })
    }
}

fn ethernet(to: MacAddress, from: MacAddress, kind: [u8; 2]) -> Vec<u8> {
    [&to.bytes()[..], &from.bytes(), &kind].concat()
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    let sum: u32 = bytes.chunks_exact(2).map(word).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or_default()
}
