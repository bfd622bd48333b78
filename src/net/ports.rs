//! Who holds a port, or a file, that we want.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// A process that holds a port or a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its name, as `ps` shows it.
    pub name: String,
}

/// DHCP's port: servers cannot choose another.
const DHCP: u16 = 67;

/// Transports as `/proc/net` names its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// UDP over IPv4.
    Udp,
    /// TCP over IPv4.
    Tcp,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// The processes, other than ours, that hold `port`; as far as this user may see.
#[must_use]
pub fn holders(table: Table, port: u16) -> Vec<Holder> {
    let inodes = inodes(table, port);
    if inodes.is_empty() {
        return Vec::new();
    }
    processes(|pid| holds(pid, &inodes))
}

/// The processes, other than ours, that have the file at `path` open; as far
/// as this user may see.
#[must_use]
pub fn file_holders(path: &Path) -> Vec<Holder> {
    let id = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    let Some(wanted) = id(path) else {
        return Vec::new();
    };
    // By device and inode: in another container its path is another one.
    processes(|pid| {
        let files = fs::read_dir(format!("/proc/{pid}/fd"));
        let mut files = files.into_iter().flatten().flatten();
        files.any(|file| id(&file.path()) == Some(wanted))
    })
}

/// Binds `address` and lets go of it.
///
/// # Errors
/// The kernel's, as whoever binds it next would get them.
pub fn try_bind(table: Table, address: SocketAddr) -> io::Result<()> {
    match table {
        Table::Udp => UdpSocket::bind(address).map(drop),
        Table::Tcp => TcpListener::bind(address).map(drop),
    }
}

/// The processes, other than ours, of which `is_one` is true.
fn processes(is_one: impl Fn(u32) -> bool) -> Vec<Holder> {
    let own = std::process::id();
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut found: Vec<Holder> = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own && is_one(*pid))
        .map(|pid| Holder {
            pid,
            name: fs::read_to_string(format!("/proc/{pid}/comm"))
                .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned()),
        })
        .collect();
    found.sort();
    found
}

/// `error` of a bind, in words that name the port, who holds it, and the cure.
#[must_use]
pub fn bind_error(
    table: Table,
    what: &str,
    address: impl fmt::Display,
    port: u16,
    error: &io::Error,
) -> String {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "std has forty kinds; three have a cure"
    )]
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let holders: Vec<String> = holders(table, port).iter().map(Holder::to_string).collect();
            let who = if holders.is_empty() {
                format!("another program (`ss -anp 'sport = :{port}'` names it)")
            } else {
                holders.join(", ")
            };
            let cure = match port {
                DHCP => "stop it",
                _ => "stop it or choose another port",
            };
            format!("{what} cannot bind {address}: {who} holds port {port}; {cure}")
        }
        io::ErrorKind::PermissionDenied => format!(
            "{what} cannot bind {address}: not permitted; run as root, or give CAP_NET_BIND_SERVICE and CAP_NET_RAW"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("{what} cannot bind {address}: this host does not have the address")
        }
        _ => format!("{what} cannot bind {address}: {error}"),
    }
}

/// The socket inodes that are bound to `port`: column 10 of the kernel's table.
fn inodes(table: Table, port: u16) -> Vec<String> {
    let path = match table {
        Table::Udp => "/proc/net/udp",
        Table::Tcp => "/proc/net/tcp",
    };
    let wanted = format!(":{port:04X}");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let mut columns = line.split_whitespace();
            let local = columns.nth(1)?;
            let inode = columns.nth(7)?;
            local.ends_with(&wanted).then(|| inode.to_owned())
        })
        .collect()
}

fn holds(pid: u32, inodes: &[String]) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    files.flatten().any(|file| {
        let target = fs::read_link(file.path()).unwrap_or_default();
        let target = target.to_string_lossy();
        let inode = target
            .strip_prefix("socket:[")
            .and_then(|rest| rest.strip_suffix(']'));
        inode.is_some_and(|inode| inodes.iter().any(|wanted| wanted == inode))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_inode_of_a_bound_port() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let inodes = inodes(Table::Udp, port);
        assert_eq!(inodes.len(), 1, "{inodes:?}");
        assert!(holds(std::process::id(), &inodes));
        assert!(
            holders(Table::Udp, port).is_empty(),
            "we are not named ourselves"
        );
    }
}
