//! The sockets of one interface: one that hears, one that reaches clients
//! which have no address yet.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use nix::cmsg_space;
use nix::libc::{self, in_pktinfo, timespec};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType,
    SockaddrIn, SockaddrLike as _, recvmsg, sendto, setsockopt, socket, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::destination::{CLIENT_PORT, Destination, SERVER_PORT};
use crate::boot::MacAddress;
use crate::clock;
use crate::net::Link;

/// Bytes of received packets that the kernel keeps while we are busy: 1 MiB
/// holds the DISCOVERs of some 2,000 machines that wake at once.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Time to live of replies: RFC 1542 section 4.1.2 wants none to be forwarded
/// far, relays are one hop or a few away.
const TTL: u8 = 64;

/// The DHCP sockets of one interface. Nothing that arrives on another
/// interface is heard, nothing leaves by another.
#[derive(Debug)]
pub struct DhcpSocket {
    link: Link,
    udp: UdpSocket,
    /// The same socket for sending from any thread: tokio's own send first
    /// waits to hear that the socket is ready.
    sender: std::net::UdpSocket,
    /// `None` where the process may not have one (no CAP_NET_RAW): replies are
    /// broadcast instead.
    frames: Option<OwnedFd>,
}

/// A packet that was received.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Its length.
    pub length: usize,
    /// Where it came from.
    pub from: SocketAddrV4,
    /// The address of ours that it was sent to; `None` where it was sent to
    /// everyone.
    pub to: Option<Ipv4Addr>,
    /// How long the kernel had it before we asked: in an overload most of the
    /// time passes there.
    pub waited: Duration,
    /// How many packets found no room in the kernel so far.
    pub lost: u32,
}

impl DhcpSocket {
    /// Binds `port` on `link`.
    ///
    /// # Errors
    /// The kernel's, for the port or the interface.
    pub fn bind(link: Link, port: u16) -> io::Result<Self> {
        let udp = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        // Each interface has a socket of its own on the same port.
        udp.set_reuse_address(true)?;
        udp.set_broadcast(true)?;
        setsockopt(&udp, sockopt::Ipv4PacketInfo, &true)?;
        // Without the time of arrival a packet counts as one that just came.
        let _ = setsockopt(&udp, sockopt::ReceiveTimestampns, &true);
        // Without it nobody knows what was lost.
        let _ = setsockopt(&udp, sockopt::RxqOvfl, &1);
        udp.set_nonblocking(true)?;
        udp.bind_device(Some(link.name.as_bytes()))?;
        // A smaller buffer than asked for is no reason not to serve.
        let _ = udp.set_recv_buffer_size(RECEIVE_BUFFER);
        udp.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
        let frames = socket(
            AddressFamily::Packet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            None::<SockProtocol>,
        );
        Ok(Self {
            sender: udp.try_clone()?.into(),
            udp: UdpSocket::from_std(udp.into())?,
            frames: frames.ok(),
            link,
        })
    }

    /// The interface.
    #[must_use]
    pub const fn link(&self) -> &Link {
        &self.link
    }

    /// Whether clients without an address can be reached without a broadcast.
    #[must_use]
    pub const fn can_unicast(&self) -> bool {
        self.frames.is_some()
    }

    /// Waits for a packet.
    ///
    /// # Errors
    /// The kernel's: the interface is gone, say.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.udp
            .async_io(Interest::READABLE, || self.receive_now(buffer))
            .await
    }

    fn receive_now(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut control = cmsg_space!(in_pktinfo, timespec, u32);
        let mut parts = [IoSliceMut::new(buffer)];
        let fd = self.udp.as_raw_fd();
        let message = recvmsg::<SockaddrIn>(fd, &mut parts, Some(&mut control), MsgFlags::empty())?;
        let (mut info, mut came, mut lost) = (None, None, 0);
        for control in message.cmsgs()? {
            if let ControlMessageOwned::Ipv4PacketInfo(found) = control {
                info = Some(found);
            } else if let ControlMessageOwned::ScmTimestampns(found) = control {
                came = Some(Duration::from(found));
            } else if let ControlMessageOwned::RxqOvfl(found) = control {
                lost = found;
            }
        }
        // What is sent to everyone has an address of ours for its reply only.
        let own = info.filter(|info| info.ipi_addr.s_addr == info.ipi_spec_dst.s_addr);
        let unspecified = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        Ok(Received {
            length: message.bytes,
            from: message.address.map_or(unspecified, Into::into),
            to: own.map(|info| Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr))),
            waited: came.map_or(Duration::ZERO, clock::elapsed_since),
            lost,
        })
    }

    /// Sends a reply.
    ///
    /// # Errors
    /// The kernel's. A full queue is one: the client asks again.
    pub fn send(&self, packet: &[u8], destination: Destination) -> io::Result<()> {
        let everyone = SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT);
        let to = match destination {
            Destination::Relay(relay) => relay,
            Destination::Client(address) => SocketAddrV4::new(address, CLIENT_PORT),
            Destination::Asker(asker) => asker,
            Destination::Broadcast => everyone,
            Destination::Hardware { address, mac } => match &self.frames {
                Some(frames) => return self.send_frame(frames, packet, address, mac),
                None => everyone,
            },
        };
        self.sender.send_to(packet, to).map(|_| ())
    }

    /// One IP packet to an Ethernet address, without ARP.
    fn send_frame(
        &self,
        frames: &OwnedFd,
        payload: &[u8],
        address: Ipv4Addr,
        mac: MacAddress,
    ) -> io::Result<()> {
        let from = SocketAddrV4::new(self.link.address, SERVER_PORT);
        let to = SocketAddrV4::new(address, CLIENT_PORT);
        let packet = ip_packet(from, to, payload)?;
        let ip = u16::try_from(libc::ETH_P_IP).map_err(io::Error::other)?;
        let link = link_address(self.link.index, mac, ip)?;
        sendto(frames.as_raw_fd(), &packet, &link, MsgFlags::empty())?;
        Ok(())
    }
}

/// The kernel's form of "this Ethernet address on that interface", for frames
/// of one type.
pub(super) fn link_address(index: u32, mac: MacAddress, ethertype: u16) -> io::Result<LinkAddr> {
    let mut bytes = [0; 8];
    bytes[..6].copy_from_slice(&mac.bytes());
    let index = libc::c_int::try_from(index).map_err(io::Error::other)?;
    let family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    let raw = libc::sockaddr_ll {
        sll_family: family,
        sll_protocol: ethertype.to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: bytes,
    };
    let length = libc::socklen_t::try_from(size_of_val(&raw)).map_err(io::Error::other)?;
    #[expect(
        unsafe_code,
        reason = "nix has no safe constructor for a link address; `raw` is a whole sockaddr_ll"
    )]
    // SAFETY: the pointer is to a live sockaddr_ll of `length` bytes with its
    // family set, which is all that `from_raw` asks.
    let address = unsafe { LinkAddr::from_raw((&raw const raw).cast(), Some(length)) };
    address.ok_or_else(|| io::Error::other("not a link address"))
}

/// An IP packet with a UDP datagram (RFC 791, 768).
pub(super) fn ip_packet(
    from: SocketAddrV4,
    to: SocketAddrV4,
    payload: &[u8],
) -> io::Result<Vec<u8>> {
    const IP: usize = 20;
    const UDP: usize = 8;
    const UDP_PROTOCOL: u8 = 17;
    let length = u16::try_from(IP + UDP + payload.len()).map_err(io::Error::other)?;
    let udp_length = length - 20;
    let mut head = Vec::with_capacity(usize::from(length));
    head.extend([0x45, 0]);
    head.extend(length.to_be_bytes());
    // No identification, may be fragmented: the client reassembles or asks again.
    head.extend([0, 0, 0, 0, TTL, UDP_PROTOCOL, 0, 0]);
    head.extend(from.ip().octets());
    head.extend(to.ip().octets());
    let checksum = fold(sum(&head)).to_be_bytes();
    for (byte, value) in head.iter_mut().skip(10).zip(checksum) {
        *byte = value;
    }
    let mut datagram = Vec::with_capacity(usize::from(udp_length));
    datagram.extend(from.port().to_be_bytes());
    datagram.extend(to.port().to_be_bytes());
    datagram.extend(udp_length.to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend_from_slice(payload);
    let pseudo = sum(&from.ip().octets())
        + sum(&to.ip().octets())
        + u32::from(UDP_PROTOCOL)
        + u32::from(udp_length);
    let checksum = match fold(pseudo + sum(&datagram)) {
        // 0 means that there is none.
        0 => u16::MAX,
        checksum => checksum,
    };
    for (byte, value) in datagram.iter_mut().skip(6).zip(checksum.to_be_bytes()) {
        *byte = value;
    }
    head.append(&mut datagram);
    Ok(head)
}

/// The sum of 16-bit words that RFC 1071 folds.
fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
            [high] => u32::from(*high) << 8,
            _ => 0,
        })
        .sum()
}

/// The checksum of RFC 1071.
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    fold(sum(bytes))
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_add_up() {
        let at = |last, port| SocketAddrV4::new([192, 0, 2, last].into(), port);
        let (from, to) = (at(1, SERVER_PORT), at(100, CLIENT_PORT));
        for length in [0, 1, 300, 301] {
            let packet = ip_packet(from, to, &vec![0xab; length]).unwrap();
            // RFC 1071: a head with its checksum in place sums to all ones.
            assert_eq!(fold(sum(&packet[..20])), 0);
            let pseudo = sum(&packet[12..20]) + 17 + u32::try_from(packet.len() - 20).unwrap();
            assert_eq!(fold(pseudo + sum(&packet[20..])), 0);
        }
    }
}
