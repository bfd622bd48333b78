//! What relay agents say (RFC 3046), and which Subnet that makes.

use std::net::Ipv4Addr;

use super::decide::Ignored;
use super::option;
use super::request::Request;
use crate::snapshot::{Snapshot, SubnetEntry};

/// Circuit: where the request came in (RFC 3046 section 3.1).
pub(super) const CIRCUIT_ID: u8 = 1;
/// The remote end: who is there (RFC 3046 section 3.2).
pub(super) const REMOTE_ID: u8 = 2;
/// An address of the client's link (RFC 3527 section 3).
const LINK_SELECTION: u8 = 5;
/// The address that the client is to take for the server's (RFC 5107 section 4).
const SERVER_OVERRIDE: u8 = 11;
/// The relay listens at the port that it sent from (RFC 8357 section 4.2).
const SOURCE_PORT: u8 = 19;

/// Option 82 of a request.
#[derive(Clone, Copy, Debug)]
pub struct RelayInfo<'a>(&'a [u8]);

impl<'a> RelayInfo<'a> {
    /// What the relay of `request` says; nothing where none does.
    #[must_use]
    pub fn of(request: &'a Request) -> Self {
        Self(request.option(option::RELAY_INFO).unwrap_or_default())
    }

    /// The first sub-option `code`; what follows one that is cut off is not read.
    #[must_use]
    pub fn part(self, code: u8) -> Option<&'a [u8]> {
        let mut rest = self.0;
        while let [found, length, tail @ ..] = rest {
            let (data, behind) = tail.split_at_checked(usize::from(*length))?;
            if *found == code {
                return Some(data);
            }
            rest = behind;
        }
        None
    }

    /// The circuit by which the request came.
    #[must_use]
    pub fn circuit_id(self) -> Option<&'a [u8]> {
        self.part(CIRCUIT_ID).filter(|id| !id.is_empty())
    }

    /// Who is at the remote end of the circuit.
    #[must_use]
    pub fn remote_id(self) -> Option<&'a [u8]> {
        self.part(REMOTE_ID).filter(|id| !id.is_empty())
    }

    /// Whether replies go to the port that the relay sent from.
    #[must_use]
    pub fn wants_source_port(self) -> bool {
        self.part(SOURCE_PORT).is_some()
    }

    fn address(self, code: u8) -> Option<Ipv4Addr> {
        address(self.part(code)?)
    }
}

/// The address that is option 54 in replies to `request`: a relay that wants
/// to see renewals too gives its own (RFC 5107), else ours.
#[must_use]
pub(super) fn server_id(request: &Request, own: Ipv4Addr) -> Ipv4Addr {
    if request.giaddr.is_unspecified() {
        return own;
    }
    let relay = RelayInfo::of(request).address(SERVER_OVERRIDE);
    relay.filter(|relay| is_host(*relay)).unwrap_or(own)
}

/// The Subnet that a relay speaks for: by the link that it names (RFC 3527),
/// by the client's own selection (option 118, RFC 3011), by its address.
/// `None` without a relay: what a client on our own link selects does not
/// count, or it could empty the pools of another network.
pub(super) fn relayed<'a>(
    snapshot: &'a Snapshot,
    request: &Request,
) -> Result<Option<&'a SubnetEntry>, Ignored> {
    if request.giaddr.is_unspecified() {
        return Ok(None);
    }
    if !is_host(request.giaddr) {
        return Err(Ignored::RelayNoHost);
    }
    let selected = RelayInfo::of(request).address(LINK_SELECTION);
    let selected = selected.or_else(|| address(request.option(option::SUBNET_SELECTION)?));
    match selected {
        Some(link) => snapshot.subnet_of(link).ok_or(Ignored::LinkUnknown),
        None => snapshot
            .subnet_of_relay(request.giaddr)
            .ok_or(Ignored::RelayUnknown),
    }
    .map(Some)
}

/// Whether a host can have `address`: what is sent there reaches one machine
/// (RFC 1122 section 3.2.1.3).
#[must_use]
pub fn is_host(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && first != 127 && first < 224
}

fn address(data: &[u8]) -> Option<Ipv4Addr> {
    let bytes: [u8; 4] = data.try_into().ok()?;
    Some(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_options_are_found_and_what_is_cut_off_is_not() {
        let info = RelayInfo(&[1, 2, b'a', b'b', 5, 4, 10, 1, 0, 0, 19, 0, 2, 9, 1]);
        assert_eq!(info.circuit_id(), Some(&b"ab"[..]));
        assert_eq!(info.address(LINK_SELECTION), Some([10, 1, 0, 0].into()));
        assert!(info.wants_source_port());
        assert_eq!(info.remote_id(), None, "it says nine bytes and has one");
        assert_eq!(RelayInfo(&[1]).circuit_id(), None);
        assert_eq!(RelayInfo(&[1, 0]).circuit_id(), None);
    }
}
