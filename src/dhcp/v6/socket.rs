//! The socket of one interface.

use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd as _;

use nix::cmsg_space;
use nix::libc::in6_pktinfo;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::net::Link6;

/// The port that servers and relays hear at (RFC 8415 section 7.2).
pub const SERVER_PORT: u16 = 547;
/// The port that clients hear at.
pub const CLIENT_PORT: u16 = 546;
/// All servers and relays of a link (RFC 8415 section 7.1).
pub const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// Bytes of received packets that the kernel keeps while we are busy.
const RECEIVE_BUFFER: usize = 1 << 20;

/// The DHCPv6 socket of one interface. Nothing that arrives on another
/// interface is heard, nothing leaves by another.
#[derive(Debug)]
pub struct DhcpSocket {
    link: Link6,
    udp: UdpSocket,
    /// The same socket for sending from any thread.
    sender: std::net::UdpSocket,
}

/// A packet that was received.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Its length.
    pub length: usize,
    /// Where it came from.
    pub from: SocketAddrV6,
    /// Where it was sent to.
    pub to: Option<Ipv6Addr>,
}

impl DhcpSocket {
    /// Binds the servers' port on `link` and joins the group of all servers.
    ///
    /// # Errors
    /// The kernel's, for the port or the interface.
    pub fn bind(link: Link6) -> io::Result<Self> {
        let udp = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        udp.set_only_v6(true)?;
        // Each interface has a socket of its own on the same port.
        udp.set_reuse_address(true)?;
        setsockopt(&udp, sockopt::Ipv6RecvPacketInfo, &true)?;
        udp.set_nonblocking(true)?;
        udp.bind_device(Some(link.name.as_bytes()))?;
        // A smaller buffer than asked for is no reason not to serve.
        let _ = udp.set_recv_buffer_size(RECEIVE_BUFFER);
        udp.bind(&SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, SERVER_PORT, 0, 0).into())?;
        udp.join_multicast_v6(&ALL_SERVERS, link.index)?;
        Ok(Self {
            sender: udp.try_clone()?.into(),
            udp: UdpSocket::from_std(udp.into())?,
            link,
        })
    }

    /// The interface.
    #[must_use]
    pub const fn link(&self) -> &Link6 {
        &self.link
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
        let mut control = cmsg_space!(in6_pktinfo);
        let mut parts = [IoSliceMut::new(buffer)];
        let fd = self.udp.as_raw_fd();
        let flags = MsgFlags::empty();
        let message = recvmsg::<SockaddrIn6>(fd, &mut parts, Some(&mut control), flags)?;
        let to = message.cmsgs()?.find_map(|control| {
            if let ControlMessageOwned::Ipv6PacketInfo(info) = control {
                Some(Ipv6Addr::from(info.ipi6_addr.s6_addr))
            } else {
                None
            }
        });
        let unspecified = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0);
        Ok(Received {
            length: message.bytes,
            from: message.address.map_or(unspecified, Into::into),
            to,
        })
    }

    /// Sends a reply; the kernel leaves from an address of the same scope.
    ///
    /// # Errors
    /// The kernel's. A full queue is one: the client asks again.
    pub fn send(&self, packet: &[u8], to: SocketAddrV6) -> io::Result<()> {
        self.sender.send_to(packet, to).map(|_| ())
    }
}

// === impl Received ===

impl Received {
    /// Whether it was sent to our address alone.
    #[must_use]
    pub fn is_unicast(&self) -> bool {
        self.to.is_some_and(|to| !to.is_multicast())
    }
}
