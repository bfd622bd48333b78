//! UDP sockets: one that listens, and one for each transfer.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::in_pktinfo;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Largest datagram that is read. Requests have 512 bytes at most (RFC 2347),
/// ACK and ERROR fewer; what is longer is cut.
const MAX_REQUEST: usize = 2048;

/// Most packets of one kernel call with segmentation (`UDP_MAX_SEGMENTS`).
const MAX_SEGMENTS: usize = 64;

/// Most bytes of one such call: an IPv4 datagram without its headers.
const MAX_SEGMENTED: usize = 65_507;

/// The socket that requests come to.
#[derive(Debug)]
pub(super) struct Listener(UdpSocket);

/// A datagram that came to the listening socket.
#[derive(Clone, Debug)]
pub(super) struct Received {
    /// Its bytes.
    pub(super) datagram: Vec<u8>,
    /// Who sent it.
    pub(super) peer: SocketAddrV4,
    /// Our address that it came to; the interface's where it was a broadcast.
    pub(super) local: Ipv4Addr,
}

/// The socket of one transfer: a port of its own (the TID of RFC 1350 section
/// 4), connected, so that the kernel drops what others send and reports a
/// closed port at the far end.
#[derive(Debug)]
pub(super) struct PeerSocket {
    socket: UdpSocket,
    /// Whether the kernel cuts a window into packets (`UDP_SEGMENT`): one call
    /// for a window takes a quarter of the time.
    segments: bool,
}

// === impl Listener ===

impl Listener {
    pub(super) fn bind(address: SocketAddrV4) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        UdpSocket::from_std(socket).map(Self)
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Waits for a datagram. Loses none when it is dropped while it waits.
    pub(super) async fn receive(&self) -> io::Result<Received> {
        self.0
            .async_io(Interest::READABLE, || self.receive_now())
            .await
    }

    fn receive_now(&self) -> io::Result<Received> {
        let mut datagram = vec![0; MAX_REQUEST];
        let mut control = cmsg_space!(in_pktinfo);
        let mut parts = [IoSliceMut::new(&mut datagram)];
        let fd = self.0.as_raw_fd();
        let message = recvmsg::<SockaddrIn>(fd, &mut parts, Some(&mut control), MsgFlags::empty())?;
        let peer = message.address.map(SocketAddrV4::from);
        let peer = peer.ok_or(io::ErrorKind::InvalidData)?;
        // The address to answer from, by the kernel's own judgement: for a
        // broadcast it is not the one in the packet.
        let local = message.cmsgs()?.find_map(|control| {
            let ControlMessageOwned::Ipv4PacketInfo(info) = control else {
                return None;
            };
            Some(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)))
        });
        let len = message.bytes;
        datagram.truncate(len);
        Ok(Received {
            datagram,
            peer,
            local: local.unwrap_or(Ipv4Addr::UNSPECIFIED),
        })
    }
}

// === impl PeerSocket ===

impl PeerSocket {
    /// A socket from `local`, any port, to `peer`.
    pub(super) fn connect(local: Ipv4Addr, peer: SocketAddrV4) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind((local, 0))?;
        socket.set_nonblocking(true)?;
        socket.connect(peer)?;
        Ok(Self {
            socket: UdpSocket::from_std(socket)?,
            segments: true,
        })
    }

    /// Waits for a packet of the peer; longer ones are cut. Loses none when it
    /// is dropped while it waits.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.recv(buffer).await
    }

    /// Sends one packet.
    pub(super) async fn send(&self, packet: &[u8]) -> io::Result<()> {
        match self.socket.send(packet).await {
            // The kernel has no room: a loss like any other on the way.
            Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Sends packets of `size` bytes that lie one behind the other; the last
    /// may be shorter.
    pub(super) async fn send_all(&mut self, packets: &[u8], size: usize) -> io::Result<()> {
        let together = (MAX_SEGMENTED / size.max(1)).clamp(1, MAX_SEGMENTS);
        for run in packets.chunks(size.saturating_mul(together).max(1)) {
            if self.segments && run.len() > size {
                match self.send_segmented(run, size).await {
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

    async fn send_segmented(&self, packets: &[u8], size: usize) -> io::Result<()> {
        let size = u16::try_from(size).map_err(|_| Errno::EINVAL)?;
        let send = || {
            let control = [ControlMessage::UdpGsoSegments(&size)];
            let parts = [IoSlice::new(packets)];
            let fd = self.socket.as_raw_fd();
            match sendmsg::<()>(fd, &parts, &control, MsgFlags::empty(), None) {
                Ok(_) | Err(Errno::ENOBUFS) => Ok(()),
                Err(errno) => Err(io::Error::from(errno)),
            }
        };
        self.socket.async_io(Interest::WRITABLE, send).await
    }
}

/// Sends one packet to `peer` from `local` and forgets it. Never waits: where
/// the kernel has no room the packet is lost, as it may be on the way.
pub(super) fn send_once(local: Ipv4Addr, peer: SocketAddrV4, packet: &[u8]) -> io::Result<()> {
    let socket = std::net::UdpSocket::bind((local, 0))?;
    socket.set_nonblocking(true)?;
    socket.send_to(packet, peer).map(drop)
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
