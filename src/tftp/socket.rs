//! UDP sockets: one that listens, and one for each transfer, unless all go
//! through the first.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd as _, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recv, recvmsg, sendmsg,
    setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use rustix::net::sockopt::socket_incoming_cpu;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

/// Largest datagram that is read. Requests have 512 bytes at most (RFC 2347),
/// ACK and ERROR fewer; what is longer is cut. A block that is written to us
/// comes to a socket of its own.
const MAX_REQUEST: usize = 2048;

/// Most packets of one kernel call with segmentation (`UDP_MAX_SEGMENTS`).
const MAX_SEGMENTS: usize = 64;

/// Most bytes of one such call: an IPv4 datagram without its headers.
const MAX_SEGMENTED: usize = 65_507;

/// Packets of one client that wait for its transfer where all come to one
/// socket. A client sends one for each window; more than a few are a flood.
pub(super) const WAITING: usize = 16;

/// The socket that requests come to.
#[derive(Debug)]
pub(super) struct Listener {
    socket: UdpSocket,
    /// Whether it is an IPv6 socket; IPv4 clients of it have mapped addresses.
    v6: bool,
}

/// A datagram that came to the listening socket.
#[derive(Clone, Debug)]
pub(super) struct Received {
    /// Its bytes.
    pub(super) datagram: Vec<u8>,
    /// Who sent it.
    pub(super) peer: SocketAddr,
    /// Our address that it came to; the interface's where it was a broadcast.
    pub(super) local: IpAddr,
    /// When the kernel had it, by [`wall_clock`].
    pub(super) at: u64,
}

/// Our address, and the client's.
pub(super) type Ends = (IpAddr, SocketAddr);

/// Where the sockets of transfers come from.
#[derive(Debug)]
pub(super) enum Ports {
    /// Any port that is free.
    Any,
    /// One of these.
    Range {
        /// The ports.
        ports: RangeInclusive<u16>,
        /// How many ports there have been asked for; the search goes on there.
        asked: AtomicU16,
    },
    /// The port that requests come to: all transfers share its socket.
    Single,
}

/// The road of one transfer.
#[derive(Debug)]
pub(super) struct PeerSocket {
    road: Road,
    /// Whether the kernel cuts a window into packets (`UDP_SEGMENT`): one call
    /// for a window takes a quarter of the time.
    segments: bool,
}

#[derive(Debug)]
enum Road {
    /// A port of its own (the TID of RFC 1350 section 4), connected, so that
    /// the kernel drops what others send and reports a closed port at the far
    /// end.
    Own(UdpSocket),
    /// The port that the request came to.
    Shared {
        listener: Arc<Listener>,
        peer: SocketAddr,
        local: IpAddr,
        packets: mpsc::Receiver<Vec<u8>>,
    },
}

// === impl Listener ===

impl Listener {
    pub(super) fn bind(address: SocketAddr, only_v6: bool) -> io::Result<Self> {
        let v6 = address.is_ipv6();
        let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if v6 {
            socket.set_only_v6(only_v6)?;
        }
        socket.bind(&address.into())?;
        let socket = std::net::UdpSocket::from(socket);
        socket.set_nonblocking(true)?;
        if v6 {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        let socket = UdpSocket::from_std(socket)?;
        Ok(Self { socket, v6 })
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Waits for a datagram. Loses none when it is dropped while it waits.
    pub(super) async fn receive(&self) -> io::Result<Received> {
        self.socket
            .async_io(Interest::READABLE, || self.receive_now())
            .await
    }

    fn receive_now(&self) -> io::Result<Received> {
        let mut datagram = vec![0; MAX_REQUEST];
        let mut control = cmsg_space!(in6_pktinfo, TimeSpec);
        let mut parts = [IoSliceMut::new(&mut datagram)];
        let fd = self.socket.as_raw_fd();
        let flags = MsgFlags::empty();
        let message = recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut control), flags)?;
        let peer = message.address.as_ref().and_then(socket_address);
        let peer = peer.ok_or(io::ErrorKind::InvalidData)?;
        let (mut local, mut at) = (None, None);
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmTimestampns(time) = control {
                at = Some(nanos(time));
            } else {
                local = local.or_else(|| packet_info(&control));
            }
        }
        let len = message.bytes;
        datagram.truncate(len);
        Ok(Received {
            datagram,
            peer,
            local: local.unwrap_or_else(|| unspecified(peer)),
            at: at.unwrap_or_else(wall_clock),
        })
    }

    /// Sends packets of `size` bytes that lie one behind the other.
    async fn send(&self, road: Ends, packets: &[u8], size: Option<u16>) -> io::Result<()> {
        let send = || self.send_now(road, packets, size);
        self.socket.async_io(Interest::WRITABLE, send).await
    }

    fn send_now(&self, (local, peer): Ends, packets: &[u8], size: Option<u16>) -> io::Result<()> {
        let (from_v4, from_v6) = (in_pktinfo_of(local), in6_pktinfo_of(local));
        let from = if self.v6 {
            ControlMessage::Ipv6PacketInfo(&from_v6)
        } else {
            ControlMessage::Ipv4PacketInfo(&from_v4)
        };
        let to = SockaddrStorage::from(if self.v6 { mapped(peer) } else { peer });
        send_message(&self.socket, packets, size, Some((from, to)))
    }
}

/// Nanoseconds since the Unix epoch, by the clock that the kernel stamps packets
/// with; 1 at least.
pub(super) fn wall_clock() -> u64 {
    clock_gettime(ClockId::CLOCK_REALTIME).map_or(1, nanos)
}

fn nanos(time: TimeSpec) -> u64 {
    let nanos = Duration::from(time).as_nanos();
    u64::try_from(nanos).unwrap_or(u64::MAX).max(1)
}

/// An address as the rest of the service has it: a mapped IPv4 one as IPv4.
fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::from((v4.ip(), v4.port())));
    }
    let v6 = SocketAddrV6::from(*address.as_sockaddr_in6()?);
    Some(match v6.ip().to_ipv4_mapped() {
        Some(v4) => SocketAddr::from((v4, v6.port())),
        None => SocketAddr::V6(v6),
    })
}

/// The address to answer from, by the kernel's own judgement: for a broadcast
/// it is not the one in the packet.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of nix's thirty kinds of messages two tell the address"
)]
fn packet_info(control: &ControlMessageOwned) -> Option<IpAddr> {
    match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            let address = u32::from_be(info.ipi_spec_dst.s_addr);
            Some(Ipv4Addr::from(address).into())
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            let address = Ipv6Addr::from(info.ipi6_addr.s6_addr).to_canonical();
            // Of a broadcast an IPv6 socket is told the address in the packet.
            let usable = !address.is_multicast() && address != IpAddr::V4(Ipv4Addr::BROADCAST);
            usable.then_some(address)
        }
        _ => None,
    }
}

const fn unspecified(peer: SocketAddr) -> IpAddr {
    match peer {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) => SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())),
        SocketAddr::V6(_) => address,
    }
}

const fn in_pktinfo_of(local: IpAddr) -> in_pktinfo {
    let source = match local {
        IpAddr::V4(local) => u32::from_ne_bytes(local.octets()),
        IpAddr::V6(_) => 0,
    };
    in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: in_addr { s_addr: source },
        ipi_addr: in_addr { s_addr: 0 },
    }
}

const fn in6_pktinfo_of(local: IpAddr) -> in6_pktinfo {
    let source = match local {
        IpAddr::V4(local) if local.is_unspecified() => Ipv6Addr::UNSPECIFIED,
        IpAddr::V4(local) => local.to_ipv6_mapped(),
        IpAddr::V6(local) => local,
    };
    in6_pktinfo {
        ipi6_addr: in6_addr {
            s6_addr: source.octets(),
        },
        ipi6_ifindex: 0,
    }
}

// === impl Ports ===

impl Ports {
    /// One of `ports`.
    pub(super) const fn among(ports: RangeInclusive<u16>) -> Self {
        let asked = AtomicU16::new(0);
        Self::Range { ports, asked }
    }

    /// Sends one packet from `local` to `peer` and forgets it. Never waits:
    /// where the kernel has no room the packet is lost, as it may be on the way.
    pub(super) fn send_once(
        &self,
        listener: &Listener,
        road: Ends,
        packet: &[u8],
    ) -> io::Result<()> {
        match self {
            Self::Single => listener.send_now(road, packet, None),
            Self::Any | Self::Range { .. } => {
                let (local, peer) = road;
                self.socket(local, peer)?.send_to(packet, peer).map(drop)
            }
        }
    }

    /// A socket on `local`.
    fn socket(&self, local: IpAddr, peer: SocketAddr) -> io::Result<std::net::UdpSocket> {
        let at = |port| bind_at(local, peer, port);
        let (ports, asked) = match self {
            Self::Any | Self::Single => return at(0),
            Self::Range { ports, asked } => (ports, asked.fetch_add(1, Ordering::Relaxed)),
        };
        // Those asked for last are the likeliest to be taken.
        let count = usize::from(ports.end() - ports.start()) + 1;
        let order = ports.clone().cycle().skip(usize::from(asked) % count);
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for port in order.take(count) {
            match at(port) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
                result => return result,
            }
        }
        Err(last)
    }
}

/// Binds a socket; the address of a link needs to know which link.
fn bind_at(local: IpAddr, peer: SocketAddr, port: u16) -> io::Result<std::net::UdpSocket> {
    let mut address = SocketAddr::new(local, port);
    if let (SocketAddr::V6(address), SocketAddr::V6(peer)) = (&mut address, peer) {
        address.set_scope_id(peer.scope_id());
    }
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

// === impl PeerSocket ===

impl PeerSocket {
    /// A socket from `local`, by one of `ports`, to `peer`.
    pub(super) fn connect(ports: &Ports, local: IpAddr, peer: SocketAddr) -> io::Result<Self> {
        let socket = ports.socket(local, peer)?;
        socket.connect(peer)?;
        Ok(Self {
            road: Road::Own(UdpSocket::from_std(socket)?),
            segments: true,
        })
    }

    /// The listener's own socket, from `local` to `peer`; what `peer` sends
    /// comes by `packets`.
    pub(super) const fn shared(
        listener: Arc<Listener>,
        local: IpAddr,
        peer: SocketAddr,
        packets: mpsc::Receiver<Vec<u8>>,
    ) -> Self {
        Self {
            road: Road::Shared {
                listener,
                peer,
                local,
                packets,
            },
            segments: true,
        }
    }

    /// The processor that the last packet of the peer came to, as the kernel
    /// knows it of a socket of its own (`SO_INCOMING_CPU`, socket(7)).
    pub(super) fn processor(&self) -> Option<usize> {
        match &self.road {
            Road::Own(socket) => socket_incoming_cpu(socket).ok()?.try_into().ok(),
            Road::Shared { .. } => None,
        }
    }

    /// Has the event loop of this thread look after it.
    ///
    /// # Errors
    /// Where there are no more descriptors.
    pub(super) fn rehome(&mut self) -> io::Result<()> {
        if let Road::Own(socket) = &mut self.road {
            let same = std::net::UdpSocket::from(socket.as_fd().try_clone_to_owned()?);
            *socket = UdpSocket::from_std(same)?;
        }
        Ok(())
    }

    /// Waits for a packet of the peer; longer ones are cut. Loses none when it
    /// is dropped while it waits.
    pub(super) async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.road {
            Road::Own(socket) => socket.recv(buffer).await,
            Road::Shared { packets, .. } => match packets.recv().await {
                Some(packet) => Ok(copy(&packet, buffer)),
                // Whoever drops the far end also tells the transfer to stop.
                None => std::future::pending().await,
            },
        }
    }

    /// A packet that has come already, where one has.
    pub(super) fn receive_now(&mut self, buffer: &mut [u8]) -> Option<usize> {
        match &mut self.road {
            // Not by tokio, which was told that nothing is there.
            Road::Own(socket) => recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT).ok(),
            Road::Shared { packets, .. } => {
                let packet = packets.try_recv().ok()?;
                Some(copy(&packet, buffer))
            }
        }
    }

    /// Says that what comes next is an answer to what was just sent: the wait
    /// for it need not look first whether something is there, which costs as
    /// much as reading it. What was there all the same is read with the next
    /// packet that comes, or by [`Self::receive_now`].
    pub(super) fn expect_answer(&self) {
        if let Road::Own(socket) = &self.road {
            // "It would wait" is how tokio is told that nothing is there.
            let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _ = socket.try_io(Interest::READABLE, nothing);
        }
    }

    /// Sends one packet.
    pub(super) async fn send(&self, packet: &[u8]) -> io::Result<()> {
        match &self.road {
            Road::Own(socket) => match socket.send(packet).await {
                // The kernel has no room: a loss like any other on the way.
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => Ok(()),
                result => result.map(drop),
            },
            Road::Shared { .. } => self.send_at_once(packet, None).await,
        }
    }

    /// Sends packets of `size` bytes that lie one behind the other; the last
    /// may be shorter.
    pub(super) async fn send_all(&mut self, packets: &[u8], size: usize) -> io::Result<()> {
        let together = (MAX_SEGMENTED / size.max(1)).clamp(1, MAX_SEGMENTS);
        for run in packets.chunks(size.saturating_mul(together).max(1)) {
            if self.segments && run.len() > size {
                let size = u16::try_from(size).map_err(|_| Errno::EINVAL)?;
                match self.send_at_once(run, Some(size)).await {
                    Err(error) if cannot_segment(&error) => self.segments = false,
                    result => {
                        result?;
                        continue;
                    }
                }
            }
            for packet in run.chunks(size.max(1)) {
                self.send(packet).await?;
            }
        }
        Ok(())
    }

    async fn send_at_once(&self, packets: &[u8], size: Option<u16>) -> io::Result<()> {
        match &self.road {
            Road::Own(socket) => {
                let send = || send_message(socket, packets, size, None);
                socket.async_io(Interest::WRITABLE, send).await
            }
            Road::Shared {
                listener,
                peer,
                local,
                ..
            } => listener.send((*local, *peer), packets, size).await,
        }
    }
}

/// Copies a packet; what does not fit is cut.
fn copy(packet: &[u8], buffer: &mut [u8]) -> usize {
    let len = packet.len().min(buffer.len());
    let (into, _) = buffer.split_at_mut(len);
    into.copy_from_slice(packet.get(..len).unwrap_or_default());
    len
}

/// One `sendmsg`, cut into packets of `size` bytes by the kernel where there
/// is one. Never waits.
fn send_message(
    socket: &UdpSocket,
    packets: &[u8],
    size: Option<u16>,
    road: Option<(ControlMessage<'_>, SockaddrStorage)>,
) -> io::Result<()> {
    let (from, to) = road.unzip();
    let segments = size.as_ref().map(ControlMessage::UdpGsoSegments);
    let control: Vec<_> = from.into_iter().chain(segments).collect();
    let (parts, fd) = ([IoSlice::new(packets)], socket.as_raw_fd());
    match sendmsg(fd, &parts, &control, MsgFlags::empty(), to.as_ref()) {
        // The kernel has no room: a loss like any other on the way.
        Ok(_) | Err(Errno::ENOBUFS) => Ok(()),
        Err(errno) => Err(io::Error::from(errno)),
    }
}

/// Whether an error says that the far end is not there.
pub(super) fn is_unreachable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
    )
}

/// Whether an error says that this kernel, interface or packet size does not
/// allow segmentation: packets larger than the MTU or no checksum offload.
fn cannot_segment(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::EINVAL | Errno::EIO | Errno::EMSGSIZE | Errno::EOPNOTSUPP | Errno::ENOPROTOOPT)
    )
}
