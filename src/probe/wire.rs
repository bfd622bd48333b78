//! The sockets of a client that plays machines on an interface. Shell.
//!
//! Everything is bound to the interface: nothing leaves by another, and nothing
//! is heard from one.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::SockaddrStorage;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::offers::{Answer, Heard};
use crate::boot::MacAddress;
use crate::dhcp::destination::{CLIENT_PORT, SERVER_PORT};
use crate::dhcp::request::MAX_PACKET;
use crate::dhcp::v6::socket as socket6;

/// Where boot servers are asked (PXE 2.1 section 2.2.5).
const BOOT_SERVER_PORT: u16 = 4011;

/// An interface, and what may be reached by it.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    /// Its name.
    pub(super) name: String,
    /// Its index.
    pub(super) index: u32,
    /// Its Ethernet address.
    pub(super) mac: MacAddress,
    /// Its addresses with their networks.
    pub(super) networks: Vec<IpNet>,
    /// Addresses elsewhere that were named by whoever probes.
    pub(super) also: Vec<IpAddr>,
}

/// The DHCP sockets of one client.
pub(super) struct Talk {
    udp: UdpSocket,
    /// Where requests go.
    to: SocketAddr,
}

// === impl Wire ===

impl Wire {
    /// Finds the interface.
    ///
    /// # Errors
    /// There is none of that name.
    pub(super) fn open(name: &str, also: Vec<IpAddr>) -> anyhow::Result<Self> {
        let (mut mac, mut networks, mut names) = (None, Vec::new(), Vec::new());
        for entry in getifaddrs().context("interfaces cannot be listed")? {
            names.push(entry.interface_name.clone());
            if entry.interface_name != name {
                continue;
            }
            let Some(address) = entry.address else {
                continue;
            };
            if let Some(link) = address.as_link_addr() {
                mac = link.addr().map(MacAddress::new);
            }
            let ip = |at: &SockaddrStorage| {
                let four = at.as_sockaddr_in().map(|at| IpAddr::V4(at.ip()));
                four.or_else(|| Some(IpAddr::V6(at.as_sockaddr_in6()?.ip())))
            };
            if let Some((ip, mask)) = ip(&address).zip(entry.netmask.as_ref().and_then(ip)) {
                networks.extend(IpNet::with_netmask(ip, mask));
            }
        }
        names.sort();
        names.dedup();
        let mac = mac.ok_or_else(|| {
            anyhow!(
                "there is no interface {name} with an Ethernet address; the host has {}",
                names.join(", ")
            )
        })?;
        Ok(Self {
            name: name.to_owned(),
            index: if_nametoindex(name).context("the interface is gone")?,
            mac,
            networks,
            also,
        })
    }

    /// Its first IPv4 address.
    pub(super) fn address(&self) -> Option<Ipv4Addr> {
        self.networks.iter().find_map(|network| match network {
            IpNet::V4(network) => Some(network.addr()),
            IpNet::V6(_) => None,
        })
    }

    /// Whether `address` may be asked: it is on the link, or was named.
    ///
    /// # Errors
    /// In words: it is elsewhere, and nothing is sent there unasked.
    pub(super) fn may_reach(&self, address: impl Into<IpAddr>) -> Result<(), String> {
        let address = address.into();
        let near = self
            .networks
            .iter()
            .any(|network| network.contains(&address));
        if near || self.also.contains(&address) {
            return Ok(());
        }
        Err(format!("{address} is not on {}", self.name))
    }

    /// Begins to talk DHCP: as a client, or as the relay with this address.
    ///
    /// # Errors
    /// The port is taken, or we may not have it.
    pub(super) fn talk(&self, relay: Option<Ipv4Addr>, to: Ipv4Addr) -> anyhow::Result<Talk> {
        let (at, port) = match relay {
            Some(relay) => (relay, SERVER_PORT),
            None => (Ipv4Addr::UNSPECIFIED, CLIENT_PORT),
        };
        Ok(Talk {
            udp: self.bind(SocketAddrV4::new(at, port).into())?,
            to: SocketAddrV4::new(to, SERVER_PORT).into(),
        })
    }

    /// Begins to talk DHCPv6 as the client with the link-local address `own`.
    ///
    /// # Errors
    /// The port is taken, or we may not have it.
    pub(super) fn talk6(&self, own: Ipv6Addr) -> anyhow::Result<Talk> {
        let at = |address, port| SocketAddrV6::new(address, port, 0, self.index).into();
        Ok(Talk {
            udp: self.bind(at(own, socket6::CLIENT_PORT))?,
            to: at(socket6::ALL_SERVERS, socket6::SERVER_PORT),
        })
    }

    /// Asks a boot server at UDP 4011; UEFI asks from there, others as clients.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) async fn ask_boot_server(
        &self,
        from: u16,
        server: Ipv4Addr,
        packet: &[u8],
        patience: Duration,
    ) -> anyhow::Result<Heard> {
        let address = self
            .address()
            .context("the interface has no address to ask from")?;
        let udp = self.bind(SocketAddrV4::new(address, from).into())?;
        let to: SocketAddr = SocketAddrV4::new(server, BOOT_SERVER_PORT).into();
        let talk = Talk { udp, to };
        let heard: Vec<Heard> = talk.ask(packet, patience, true).await?;
        let first = heard.into_iter().next();
        first.with_context(|| format!("{to} does not answer"))
    }

    /// The port of a boot server's client on UEFI.
    pub(super) const fn uefi_port() -> u16 {
        BOOT_SERVER_PORT
    }

    fn bind(&self, at: SocketAddr) -> anyhow::Result<UdpSocket> {
        let bound = || -> io::Result<UdpSocket> {
            let udp = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
            udp.set_reuse_address(true)?;
            if at.is_ipv4() {
                udp.set_broadcast(true)?;
            }
            udp.set_nonblocking(true)?;
            udp.bind_device(Some(self.name.as_bytes()))?;
            udp.bind(&at.into())?;
            UdpSocket::from_std(udp.into())
        };
        bound().map_err(|error| {
            let (name, port) = (&self.name, at.port());
            if error.kind() == io::ErrorKind::PermissionDenied {
                anyhow!(
                    "UDP port {port} on {name} needs root, or CAP_NET_BIND_SERVICE and CAP_NET_RAW"
                )
            } else {
                anyhow!("UDP port {port} on {name} at {}: {error}", at.ip())
            }
        })
    }
}

// === impl Talk ===

impl Talk {
    /// Sends `packet` and hears every reply to it for so long; sends it again
    /// after a half where nobody answered. `first`: one reply is enough.
    ///
    /// # Errors
    /// It cannot be sent.
    pub(super) async fn ask<A: Answer>(
        &self,
        packet: &[u8],
        patience: Duration,
        first: bool,
    ) -> anyhow::Result<Vec<A>> {
        let end = now() + patience;
        let again = now() + patience / 2;
        let mut heard = Vec::new();
        self.send(packet).await?;
        self.hear(packet, again, first, &mut heard).await?;
        if heard.is_empty() {
            self.send(packet).await?;
        }
        if heard.is_empty() || !first {
            self.hear(packet, end, first, &mut heard).await?;
        }
        Ok(heard)
    }

    /// Sends `packet`.
    ///
    /// # Errors
    /// The kernel's: the interface is down.
    pub(super) async fn send(&self, packet: &[u8]) -> anyhow::Result<()> {
        let sent = self.udp.send_to(packet, self.to).await;
        match sent {
            Ok(_) => Ok(()),
            Err(error) => bail!(
                "nothing can be sent to {}: {error}; is the interface up?",
                self.to
            ),
        }
    }

    /// Sends `packet` to a server's own address.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) async fn send_to(&self, server: Ipv4Addr, packet: &[u8]) -> io::Result<()> {
        let to = SocketAddrV4::new(server, SERVER_PORT);
        self.udp.send_to(packet, to).await.map(|_| ())
    }

    /// Hears replies of the transaction of `packet` until `end`.
    async fn hear<A: Answer>(
        &self,
        packet: &[u8],
        end: Instant,
        first: bool,
        heard: &mut Vec<A>,
    ) -> anyhow::Result<()> {
        let mut buffer = vec![0; MAX_PACKET];
        while let Ok(came) = timeout_at(end, self.udp.recv_from(&mut buffer)).await {
            let (length, from) = came?;
            let reply = buffer.get(..length).unwrap_or_default();
            if let Some(answer) = A::read(packet, reply, from) {
                heard.push(answer);
                if first {
                    break;
                }
            }
        }
        Ok(())
    }
}

fn now() -> Instant {
    Instant::now()
}
