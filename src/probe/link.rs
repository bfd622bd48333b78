//! A link-local address that an interface has while a machine is played there
//! over IPv6: servers know firmware by it. Shell.
//!
//! The kernel is asked by rtnetlink (`man 7 rtnetlink`), finds out whether
//! somebody has the address (RFC 4862 section 5.4), and forgets it by itself
//! should this program be killed.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::Ipv6Addr;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::sleep;

/// How long the kernel has the address at most, in seconds.
const VALID: u32 = 600;
/// How often and how long it is looked whether somebody has the address.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOKS: u32 = 50;

// `linux/netlink.h`, `linux/rtnetlink.h` and `linux/if_addr.h`.
const AF_NETLINK: i32 = 16;
const NETLINK_ROUTE: i32 = 0;
const AF_INET6: u8 = 10;
const SCOPE_LINK: u8 = 253;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_CACHEINFO: u16 = 6;
const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_TENTATIVE: u32 = 0x40;

/// The address, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Borrowed {
    address: Ipv6Addr,
    index: u32,
    /// Whether the interface had it before.
    is_own: bool,
}

// === impl Borrowed ===

impl Borrowed {
    /// Gives `address` to the interface, unless it has it already, and waits until
    /// it can be used.
    ///
    /// # Errors
    /// We may not, or somebody on the link has it.
    pub(super) async fn take(index: u32, address: Ipv6Addr) -> anyhow::Result<Self> {
        let usable = |flags| flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED) == 0;
        let is_own = flags(index, address)?.is_some();
        if !is_own {
            let made = change(RTM_NEWADDR, index, address);
            made.map_err(|error| {
                if error.kind() == io::ErrorKind::PermissionDenied {
                    anyhow!(
                        "to have the address {address} for a while needs root, or CAP_NET_ADMIN"
                    )
                } else {
                    anyhow!("the interface cannot have the address {address}: {error}")
                }
            })?;
        }
        let borrowed = Self {
            address,
            index,
            is_own,
        };
        for _ in 0..LOOKS {
            match flags(index, address)? {
                Some(flags) if usable(flags) => return Ok(borrowed),
                Some(flags) if flags & IFA_F_DADFAILED == 0 => sleep(LOOK_EVERY).await,
                // The kernel takes an address with an end away at once.
                Some(_) | None => {
                    bail!("somebody on the link has {address}: the machine that is played runs");
                }
            }
        }
        bail!("{address} cannot be used: is the interface up?")
    }

    /// The address.
    pub(super) const fn address(&self) -> Ipv6Addr {
        self.address
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if !self.is_own {
            // Else the kernel drops it when its time is over.
            let _ = change(RTM_DELADDR, self.index, self.address);
        }
    }
}

/// What the kernel says of an address of an interface; `None` where it has none
/// such.
fn flags(index: u32, address: Ipv6Addr) -> anyhow::Result<Option<u32>> {
    let table = fs::read_to_string("/proc/net/if_inet6");
    let table = table.context("the host has no IPv6: /proc/net/if_inet6")?;
    Ok(flags_in(&table, index, address))
}

/// Of lines of address, index, width, scope, flags and name, in hex.
fn flags_in(table: &str, index: u32, address: Ipv6Addr) -> Option<u32> {
    let hex = |word: Option<&str>| u32::from_str_radix(word?, 16).ok();
    let wanted = format!("{:032x}", u128::from(address));
    table.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let is_it = words.next() == Some(wanted.as_str()) && hex(words.next()) == Some(index);
        is_it.then(|| hex(words.nth(2))).flatten()
    })
}

/// Asks the kernel to add or take away an address, and hears how it went.
fn change(kind: u16, index: u32, address: Ipv6Addr) -> io::Result<()> {
    let family = Domain::from(AF_NETLINK);
    let socket = Socket::new(family, Type::RAW, Some(Protocol::from(NETLINK_ROUTE)))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    (&socket).write_all(&message(kind, index, address))?;
    let mut answer = [0; 256];
    let length = (&socket).read(&mut answer)?;
    // A head of 16 bytes, then the error, negative, or 0.
    let error = answer.get(16..20).filter(|_| length >= 20);
    let error = error.and_then(|bytes| bytes.try_into().ok());
    match error.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(error.saturating_neg())),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn message(kind: u16, index: u32, address: Ipv6Addr) -> Vec<u8> {
    let mut body = vec![AF_INET6, 128, 0, SCOPE_LINK];
    body.extend(index.to_ne_bytes());
    let mut attribute = |code: u16, data: &[u8]| {
        // Data of 16 bytes behind a head of four.
        body.extend(20_u16.to_ne_bytes());
        body.extend(code.to_ne_bytes());
        body.extend(data);
    };
    attribute(IFA_LOCAL, &address.octets());
    attribute(IFA_ADDRESS, &address.octets());
    let mut flags = NLM_F_REQUEST | NLM_F_ACK;
    if kind == RTM_NEWADDR {
        flags |= NLM_F_CREATE | NLM_F_EXCL;
        // Preferred for no time: nothing else on the host chooses it.
        let times = [0, VALID, 0, 0].map(u32::to_ne_bytes);
        attribute(IFA_CACHEINFO, times.as_flattened());
    }
    let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // The first, and from whom the kernel knows.
    message.extend(1_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(body);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_with_its_flags() {
        let table = "fe80000000000000005054fffe000001 02 40 20 c0     eth0\n\
                     00000000000000000000000000000001 01 80 10 80       lo\n";
        let address = "fe80::50:54ff:fe00:1".parse().unwrap();
        assert_eq!(flags_in(table, 2, address), Some(0xc0));
        assert_eq!(flags_in(table, 1, address), None);
        assert_eq!(flags_in(table, 1, Ipv6Addr::LOCALHOST), Some(0x80));
    }

    #[test]
    fn a_message_says_its_length() {
        for kind in [RTM_NEWADDR, RTM_DELADDR] {
            let message = message(kind, 3, "fe80::1".parse().unwrap());
            let length = u32::from_ne_bytes(message[..4].try_into().unwrap());
            assert_eq!(usize::try_from(length).unwrap(), message.len());
        }
    }
}
