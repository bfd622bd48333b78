//! Interfaces of the host.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::{if_indextoname, if_nametoindex};
use nix::sys::socket::LinkAddr;

use crate::api::{Cidr, Cidr6};
use crate::boot::MacAddress;

/// An interface that can serve a Subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name as the kernel has it.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Our address on it, inside the Subnet's network.
    pub address: Ipv4Addr,
}

/// The same of IPv6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link6 {
    /// Its name as the kernel has it.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Our address on it, inside the Subnet's IPv6 network.
    pub address: Ipv6Addr,
}

/// Why an interface cannot serve a Subnet now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// No interface has this name, alternative name or MAC address.
    #[error("there is no interface {0}")]
    Absent(String, #[source] HostHas),
    /// It has no address in the network.
    #[error("interface {0} has no address in {1}; give it one: `ip address add … dev {0}`")]
    NoAddress(String, Cidr),
    /// It has no address in the IPv6 network.
    #[error("interface {0} has no address in {1}; give it one: `ip address add … dev {0}`")]
    NoAddress6(String, Cidr6),
    /// The host does not tell its interfaces.
    #[error("interfaces cannot be listed: {0}")]
    Unreadable(String),
}

/// The interfaces that are there: for whoever mistyped one. A source of its
/// own, because containers come and go and that is no other trouble.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host has {0}")]
pub struct HostHas(String);

/// Finds the interface that `wanted` names (name, alternative name or MAC
/// address), and our address on it in `cidr`; `preferred` where it is one.
///
/// # Errors
/// [`LinkError`] says what is missing. It may come later: ask again.
pub fn find_link(wanted: &str, cidr: Cidr, preferred: Option<Ipv4Addr>) -> Result<Link, LinkError> {
    let all = interfaces()?;
    let (name, index) = find_name(wanted, &all)?;
    let addresses = all
        .iter()
        .filter(|entry| entry.interface_name == name)
        .filter_map(|entry| Some(entry.address.as_ref()?.as_sockaddr_in()?.ip()))
        .filter(|address| cidr.contains(*address));
    match choose(addresses, preferred) {
        Some(address) => Ok(Link {
            name,
            index,
            address,
        }),
        None => Err(LinkError::NoAddress(name, cidr)),
    }
}

/// The same of IPv6.
///
/// # Errors
/// [`LinkError`] says what is missing. It may come later: ask again.
pub fn find_link6(
    wanted: &str,
    cidr: Cidr6,
    preferred: Option<Ipv6Addr>,
) -> Result<Link6, LinkError> {
    let all = interfaces()?;
    let (name, index) = find_name(wanted, &all)?;
    let addresses = all
        .iter()
        .filter(|entry| entry.interface_name == name)
        .filter_map(|entry| Some(entry.address.as_ref()?.as_sockaddr_in6()?.ip()))
        .filter(|address| cidr.contains(*address));
    match choose(addresses, preferred) {
        Some(address) => Ok(Link6 {
            name,
            index,
            address,
        }),
        None => Err(LinkError::NoAddress6(name, cidr)),
    }
}

/// The preferred one where it is there, else the first.
fn choose<A: PartialEq>(mut addresses: impl Iterator<Item = A>, preferred: Option<A>) -> Option<A> {
    let first = addresses.next()?;
    let preferred = preferred.filter(|wanted| addresses.any(|found| found == *wanted));
    Some(preferred.unwrap_or(first))
}

fn interfaces() -> Result<Vec<InterfaceAddress>, LinkError> {
    let unreadable = |errno: nix::Error| LinkError::Unreadable(errno.to_string());
    Ok(getifaddrs().map_err(unreadable)?.collect())
}

/// The kernel's name of the interface that `wanted` names, and its index.
fn find_name(wanted: &str, all: &[InterfaceAddress]) -> Result<(String, u32), LinkError> {
    let by_mac = wanted.parse::<MacAddress>().ok().and_then(|mac| {
        let found = all.iter().find(|entry| {
            let link = entry
                .address
                .as_ref()
                .and_then(|address| address.as_link_addr());
            link.and_then(LinkAddr::addr) == Some(mac.bytes())
        });
        found.map(|entry| entry.interface_name.clone())
    });
    // The kernel finds alternative names by itself; its own name is asked back.
    let name = by_mac.or_else(|| {
        let index = if_nametoindex(wanted).ok()?;
        if_indextoname(index).ok()?.into_string().ok()
    });
    let found = name.and_then(|name| {
        let index = if_nametoindex(name.as_str()).ok()?;
        Some((name, index))
    });
    found.ok_or_else(|| {
        let mut names: Vec<_> = all.iter().map(|e| e.interface_name.clone()).collect();
        names.sort();
        names.dedup();
        LinkError::Absent(wanted.to_owned(), HostHas(names.join(", ")))
    })
}

/// The Ethernet address of an interface, by the kernel's name for it.
///
/// # Errors
/// The interface is gone, or has none.
pub fn ethernet_address(name: &str) -> io::Result<MacAddress> {
    let bytes = getifaddrs()?
        .filter(|entry| entry.interface_name == name)
        .find_map(|entry| entry.address?.as_link_addr().and_then(LinkAddr::addr));
    let bytes = bytes.ok_or_else(|| io::Error::other("the interface has no Ethernet address"))?;
    Ok(MacAddress::new(bytes))
}

/// The link-local address of an interface, by the kernel's name for it; `None`
/// where it has none, or none yet.
#[must_use]
pub fn link_local(name: &str) -> Option<Ipv6Addr> {
    let mut own = interfaces().ok()?.into_iter();
    own.find_map(|entry| {
        let address = entry.address.as_ref()?.as_sockaddr_in6()?.ip();
        (entry.interface_name == name && address.is_unicast_link_local()).then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_loopback_by_name() {
        let cidr = "127.0.0.0/8".parse().unwrap();
        let link = find_link("lo", cidr, None).unwrap();
        assert_eq!(link.address, Ipv4Addr::LOCALHOST);
        assert_eq!(link.name, "lo");
    }

    #[test]
    fn says_what_is_missing() {
        let cidr = "192.0.2.0/24".parse().unwrap();
        let absent = find_link("nope0", cidr, None).unwrap_err();
        assert_eq!(absent.to_string(), "there is no interface nope0");
        let whole = format!("{:#}", anyhow::Error::new(absent));
        assert!(whole.contains(": the host has "), "{whole}");
        let bare = find_link("lo", cidr, None).unwrap_err();
        assert!(
            bare.to_string().contains("no address in 192.0.2.0/24"),
            "{bare}"
        );
    }
}
