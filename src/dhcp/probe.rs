//! Whether somebody has an address that we are not sure of: asked by ARP
//! before the offer leaves (RFC 5227 section 2.1.1, RFC 2131 section 2.2), or
//! by ICMP echo where it is behind a relay.
//!
//! Nobody else waits: an offer that needs a probe steps aside until somebody
//! answers or [`PATIENCE`] is over. Shell, but for the frames.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, bind, recv, sendto, socket,
};
use tokio::time::Instant;

use super::echo::EchoSocket;
use super::socket::link_address;
use crate::boot::MacAddress;
use crate::lease::Change;
use crate::net::{Link, ethernet_address};

/// How long somebody may take to answer. RFC 5227 waits for seconds, firmware
/// for a second or two: this is what a busy switch and a sleepy host need.
pub(super) const PATIENCE: Duration = Duration::from_millis(400);
/// A second probe goes out after this time, because one frame may be lost.
const AGAIN: Duration = Duration::from_millis(150);
/// Offers that may wait. More are not made; machines ask again.
pub(super) const WAITING: usize = 256;
/// Frames that are read at a time, so that a storm of ARP holds nobody up.
pub(super) const FRAMES: usize = 1024;

const ARP: u16 = 0x0806;
const FRAME: usize = 28;

/// Offers that wait, and the sockets by which their addresses are probed.
#[derive(Debug)]
pub(super) struct Prober<T> {
    waiting: VecDeque<Waiting<T>>,
    /// By index of the interface, [`ANYWHERE`] for ICMP; open only while
    /// something waits.
    sockets: BTreeMap<u32, Ear>,
}

#[derive(Debug)]
struct Waiting<T> {
    what: T,
    address: Ipv4Addr,
    link: u32,
    client: Option<MacAddress>,
    /// What changes when somebody answers.
    otherwise: Change,
    again: Option<Instant>,
    due: Instant,
    heard: Option<Option<MacAddress>>,
}

/// What came of a probe.
#[derive(Debug)]
pub(super) enum Probed<T> {
    /// Nobody answered: the offer may leave.
    Free(T),
    /// Somebody answered, at this Ethernet address where it is near; carry out
    /// the change.
    Taken(T, Option<MacAddress>, Change),
}

/// Why a probe is not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotProbed {
    /// Too many wait.
    Full,
    /// The same machine waits for the same address already.
    UnderWay,
    /// No socket for it (`CAP_NET_RAW`).
    Impossible,
}

/// In place of an interface: behind a relay, wherever the routes lead.
const ANYWHERE: u32 = 0;

/// A socket that asks and hears who answers.
#[derive(Debug)]
enum Ear {
    Arp(ArpSocket),
    Echo(EchoSocket),
}

#[derive(Debug)]
struct ArpSocket {
    fd: OwnedFd,
    link: u32,
    own: MacAddress,
}

// === impl Prober ===

impl<T> Default for Prober<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            sockets: BTreeMap::new(),
        }
    }
}

impl<T> Prober<T> {
    /// Probes `address` for `client`, by ARP on `link` or, without one, by
    /// ICMP; `what` is given back when it is over, or at once where there is no
    /// probe.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        link: Option<&Link>,
        client: Option<MacAddress>,
        (address, otherwise): (Ipv4Addr, Change),
        what: T,
    ) -> Result<(), (NotProbed, T)> {
        let same = |waiting: &Waiting<T>| waiting.address == address && waiting.client == client;
        if self.waiting.iter().any(same) {
            return Err((NotProbed::UnderWay, what));
        }
        if self.waiting.len() >= WAITING {
            return Err((NotProbed::Full, what));
        }
        let asked = self.socket(link).and_then(|socket| socket.ask(address));
        if asked.is_err() {
            return Err((NotProbed::Impossible, what));
        }
        self.waiting.push_back(Waiting {
            what,
            address,
            link: link.map_or(ANYWHERE, |link| link.index),
            client,
            otherwise,
            again: Some(now + AGAIN),
            due: now + PATIENCE,
            heard: None,
        });
        Ok(())
    }

    /// When [`Prober::turn`] has something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        let dues = self.waiting.iter();
        dues.map(|waiting| {
            waiting
                .again
                .map_or(waiting.due, |again| again.min(waiting.due))
        })
        .min()
    }

    /// Hears who answered, asks again, and gives back what is over.
    pub(super) fn turn(&mut self, now: Instant) -> Vec<Probed<T>> {
        for (link, socket) in &self.sockets {
            for (address, mac) in socket.heard() {
                let about = |waiting: &&mut Waiting<T>| {
                    let another = mac.is_none() || waiting.client != mac;
                    waiting.address == address && waiting.link == *link && another
                };
                for waiting in self.waiting.iter_mut().filter(about) {
                    waiting.heard = Some(mac);
                }
            }
            for waiting in &mut self.waiting {
                if waiting.link == *link && waiting.again.is_some_and(|at| at <= now) {
                    waiting.again = None;
                    // The first frame is out; a full queue loses the second.
                    let _ = socket.ask(waiting.address);
                }
            }
        }
        let (over, waiting) = self
            .waiting
            .drain(..)
            .partition(|waiting| waiting.heard.is_some() || waiting.due <= now);
        self.waiting = waiting;
        if self.waiting.is_empty() {
            self.sockets.clear();
        }
        let over: VecDeque<Waiting<T>> = over;
        let verdict = |waiting: Waiting<T>| match waiting.heard {
            Some(mac) => Probed::Taken(waiting.what, mac, waiting.otherwise),
            None => Probed::Free(waiting.what),
        };
        over.into_iter().map(verdict).collect()
    }

    fn socket(&mut self, link: Option<&Link>) -> io::Result<&Ear> {
        use std::collections::btree_map::Entry;
        let index = link.map_or(ANYWHERE, |link| link.index);
        match self.sockets.entry(index) {
            Entry::Occupied(open) => Ok(open.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(match link {
                Some(link) => Ear::Arp(ArpSocket::open(link)?),
                None => Ear::Echo(EchoSocket::open()?),
            })),
        }
    }
}

// === impl Ear ===

impl Ear {
    fn ask(&self, address: Ipv4Addr) -> io::Result<()> {
        match self {
            Self::Arp(socket) => socket.ask(address),
            Self::Echo(socket) => socket.ask(address),
        }
    }

    /// Who said lately that it has which address; without an Ethernet address
    /// where it is not on our link.
    fn heard(&self) -> Vec<(Ipv4Addr, Option<MacAddress>)> {
        match self {
            Self::Arp(socket) => {
                let heard = socket.heard().into_iter();
                let others = heard.filter(|(_, mac)| *mac != socket.own);
                others.map(|(address, mac)| (address, Some(mac))).collect()
            }
            Self::Echo(socket) => {
                let heard = socket.heard().into_iter();
                heard.map(|address| (address, None)).collect()
            }
        }
    }
}

// === impl ArpSocket ===

impl ArpSocket {
    fn open(link: &Link) -> io::Result<Self> {
        let own = ethernet_address(&link.name)?;
        let fd = socket(
            AddressFamily::Packet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            None,
        )?;
        // From here on it hears ARP on this interface, and nothing else.
        bind(fd.as_raw_fd(), &everyone(link.index)?)?;
        Ok(Self {
            fd,
            link: link.index,
            own,
        })
    }

    fn ask(&self, address: Ipv4Addr) -> io::Result<()> {
        let frame = probe(self.own, address);
        let to = everyone(self.link)?;
        sendto(self.fd.as_raw_fd(), &frame, &to, MsgFlags::empty())?;
        Ok(())
    }

    /// Who said lately that it has which address.
    fn heard(&self) -> Vec<(Ipv4Addr, MacAddress)> {
        let mut frame = [0; FRAME];
        let mut heard = Vec::new();
        for _ in 0..FRAMES {
            match recv(self.fd.as_raw_fd(), &mut frame, MsgFlags::empty()) {
                Ok(length) => heard.extend(sender(frame.get(..length).unwrap_or_default())),
                Err(_) => break,
            }
        }
        heard
    }
}

fn everyone(link: u32) -> io::Result<LinkAddr> {
    link_address(link, MacAddress::new([0xff; 6]), ARP)
}

/// An ARP probe: who has `address`? Its sender's address is zero, so that it
/// changes nobody's table (RFC 5227 section 2.1.1).
fn probe(own: MacAddress, address: Ipv4Addr) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    // Ethernet, IPv4, lengths 6 and 4, request (RFC 826).
    let head = [0, 1, 8, 0, 6, 4, 0, 1];
    let parts = head
        .into_iter()
        .chain(own.bytes())
        .chain([0; 4])
        .chain([0; 6])
        .chain(address.octets());
    for (byte, value) in frame.iter_mut().zip(parts) {
        *byte = value;
    }
    frame
}

/// Who sent an ARP frame, and the address that it says it has; whether it asks
/// or answers, it uses that address. `None` for a probe and for what is no ARP
/// of IPv4 over Ethernet.
fn sender(frame: &[u8]) -> Option<(Ipv4Addr, MacAddress)> {
    let head = frame.get(..6)?;
    if head != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    let mac: [u8; 6] = frame.get(8..14)?.try_into().ok()?;
    let address: [u8; 4] = frame.get(14..18)?.try_into().ok()?;
    let address = Ipv4Addr::from(address);
    (!address.is_unspecified()).then(|| (address, MacAddress::new(mac)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);

    #[test]
    fn a_probe_claims_nothing_and_asks_for_the_address() {
        let frame = probe(OWN, [192, 0, 2, 9].into());
        assert_eq!(frame[..8], [0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!(frame[24..], [192, 0, 2, 9]);
        assert_eq!(sender(&frame), None, "another prober has no address yet");
    }

    #[test]
    fn who_uses_an_address_is_heard_asking_and_answering() {
        for operation in [1, 2] {
            let mut frame = probe(OWN, [192, 0, 2, 9].into());
            frame[7] = operation;
            frame[14..18].copy_from_slice(&[192, 0, 2, 8]);
            assert_eq!(sender(&frame), Some(([192, 0, 2, 8].into(), OWN)));
        }
    }

    #[test]
    fn what_is_no_arp_of_ipv4_is_not_heard() {
        let mut frame = probe(OWN, [192, 0, 2, 9].into());
        frame[14..18].copy_from_slice(&[192, 0, 2, 8]);
        for length in 0..18 {
            assert_eq!(sender(&frame[..length]), None);
        }
        frame[1] = 6;
        assert_eq!(sender(&frame), None);
    }
}
