//! A router of IPv6, as far as its advertisements go (RFC 4861 section 4.2): it says that addresses are
//! lent by DHCPv6, without which iPXE asks for none.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, Socket, Type};

use super::wait::TICK;

/// All nodes of a link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A router that is on. It falls silent with this value.
#[derive(Debug)]
pub(crate) struct Router {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Router {
    /// Advertises the network `prefix`/64 on `interface`, several times a second.
    pub(crate) fn advertise(interface: &str, prefix: Ipv6Addr) -> Result<Self> {
        let index = if_nametoindex(interface).context("the router's interface")?;
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        // Neighbour discovery takes nothing that was forwarded.
        socket.set_multicast_hops_v6(255)?;
        socket.set_multicast_if_v6(index)?;
        let packet = advertisement(prefix);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let to = SocketAddrV6::new(ALL_NODES, 0, 0, index).into();
        let thread = spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // Until the first machine is plugged in the link has no address to send from.
                let _: io::Result<usize> = socket.send_to(&packet, &to);
                sleep(TICK * 5);
            }
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Managed addresses, no way out of the link, and the network, which is on the link.
fn advertisement(prefix: Ipv6Addr) -> Vec<u8> {
    const MANAGED: u8 = 0x80;
    const ON_LINK: u8 = 0x80;
    // Type, code, checksum (the kernel's), hop limit, flags, lifetime, two timers.
    let mut packet = vec![134, 0, 0, 0, 64, MANAGED, 0, 0];
    packet.extend([0; 8]);
    // Prefix information: 32 bytes, /64, valid and preferred for an hour.
    packet.extend([3, 4, 64, ON_LINK]);
    packet.extend(3600_u32.to_be_bytes());
    packet.extend(3600_u32.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(prefix.octets());
    packet
}
