//! One packet of a machine that nobody knows.

use super::machine::Facts;
use super::table::Who;
use crate::api::UnknownMachines;
use crate::boot::{Client, ClientKind};
use crate::clock::Millis;
use crate::dhcp::decide::{Decision, Ignored, Outcome};
use crate::dhcp::option;
use crate::dhcp::request::{Request, RequestKind};
use crate::dhcp::v6::decide as v6;
use crate::dhcp::v6::request::{Request as Request6, RequestKind as RequestKind6};
use crate::snapshot::{Snapshot, Unserved};

/// Longest text of a stranger that is kept, in characters.
const MAX_TEXT: usize = 128;

/// A machine asked on a Subnet that discovers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Who asked.
    pub who: Who,
    /// The Subnet that it asked on, by name.
    pub subnet: String,
    /// When.
    pub at: Millis,
    /// What its firmware told.
    pub facts: Facts,
    /// Whether an object names it already, which waits for approval.
    pub waits: bool,
}

/// Why a packet that was not answered on a Subnet that discovers is no sighting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Overlooked {
    /// Neither firmware nor iPXE asked: phones and laptops are no machines to boot.
    PlainClient,
    /// It has no Ethernet address of one station.
    NoMac,
    /// It asked for no address.
    NoBoot,
    /// Some manifests could not be read: one of them may name it.
    ManifestsIncomplete,
}

impl Overlooked {
    /// Its name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PlainClient => "plain-client",
            Self::NoMac => "no-mac",
            Self::NoBoot => "no-boot",
            Self::ManifestsIncomplete => "manifests-incomplete",
        }
    }
}

// === impl Sighting ===

impl Sighting {
    /// The sighting that `request` is; `None` where it was answered, or where
    /// its Subnet does not discover.
    ///
    /// # Errors
    /// Why it does not count.
    #[must_use]
    pub fn of(
        at: Millis,
        snapshot: &Snapshot,
        request: &Request,
        decision: &Decision,
    ) -> Option<Result<Self, Overlooked>> {
        let Outcome::Ignored(Ignored::Machine(why)) = decision.outcome else {
            return None;
        };
        let subnet = decision.subnet.as_deref()?;
        let asks = matches!(request.kind, RequestKind::Discover | RequestKind::Request);
        let asker = Asker {
            asks,
            client: request.client,
            why,
        };
        asker.seen(at, snapshot, subnet, || told(request))
    }

    /// The same of a DHCPv6 request. UEFI HTTP boot with an address from
    /// elsewhere asks for settings alone.
    ///
    /// # Errors
    /// Why it does not count.
    #[must_use]
    pub fn of6(
        at: Millis,
        snapshot: &Snapshot,
        request: &Request6,
        decision: &v6::Decision,
    ) -> Option<Result<Self, Overlooked>> {
        let v6::Outcome::Ignored(v6::Ignored::Machine(why)) = decision.outcome else {
            return None;
        };
        let subnet = decision.subnet.as_deref()?;
        let asks = matches!(
            request.kind,
            RequestKind6::Solicit | RequestKind6::Request | RequestKind6::Information
        );
        let asker = Asker {
            asks,
            client: decision.client,
            why,
        };
        asker.seen(at, snapshot, subnet, || told6(request))
    }
}

/// Who asked, over either protocol.
struct Asker {
    /// Whether it asked as who boots does.
    asks: bool,
    client: Client,
    why: Unserved,
}

impl Asker {
    fn seen(
        &self,
        at: Millis,
        snapshot: &Snapshot,
        subnet: &str,
        facts: impl FnOnce() -> Facts,
    ) -> Option<Result<Sighting, Overlooked>> {
        let subnet = snapshot.subnet(subnet)?;
        if subnet.spec.unknown_machines != UnknownMachines::Discover {
            return None;
        }
        let refused = match (self.asks, self.client.kind) {
            _ if snapshot.incomplete => Some(Overlooked::ManifestsIncomplete),
            (false, _) => Some(Overlooked::NoBoot),
            (true, ClientKind::Plain) => Some(Overlooked::PlainClient),
            (true, ClientKind::Pxe | ClientKind::HttpBoot | ClientKind::Ipxe) => None,
        };
        let mac = match (refused, self.client.mac) {
            (Some(why), _) => return Some(Err(why)),
            (None, None) => return Some(Err(Overlooked::NoMac)),
            (None, Some(mac)) => mac,
        };
        Some(Ok(Sighting {
            who: Who {
                namespace: subnet.name.namespace.clone(),
                mac,
            },
            subnet: subnet.name.name.clone(),
            at,
            facts: facts(),
            waits: self.why == Unserved::NotApproved,
        }))
    }
}

/// What the firmware tells of itself.
fn told(request: &Request) -> Facts {
    let text = |code| request.option(code).and_then(printable);
    Facts {
        firmware: request.client.firmware.map(|kind| kind.name().to_owned()),
        vendor_class: text(option::VENDOR_CLASS),
        user_class: text(option::USER_CLASS),
        uuid: request.option(option::MACHINE_ID).and_then(uuid),
        hostname: request.hostname().map(str::to_owned),
    }
}

/// The same over DHCPv6; a host name it has no word for.
fn told6(request: &Request6) -> Facts {
    let first = |texts: &[Vec<u8>]| texts.iter().find_map(|text| printable(text));
    Facts {
        firmware: request.client.firmware.map(|kind| kind.name().to_owned()),
        vendor_class: first(&request.vendor_classes),
        user_class: first(&request.user_classes),
        uuid: request.client.uuid.and_then(|it| uuid(&it.to_option())),
        hostname: None,
    }
}

/// The text of an option as far as it can be shown; a stranger wrote it.
fn printable(bytes: &[u8]) -> Option<String> {
    let shown = bytes
        .iter()
        .filter(|byte| byte.is_ascii_graphic() || **byte == b' ')
        .take(MAX_TEXT)
        .map(|byte| char::from(*byte));
    let text: String = shown.collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The UUID of option 97 (RFC 4578 section 2.3): a zero and 16 bytes, as SMBIOS
/// has them, the first three fields with their low bytes first. Those that
/// vendors leave empty, all zeros or all ones, are none.
fn uuid(option: &[u8]) -> Option<String> {
    let [0, bytes @ ..] = option else { return None };
    let bytes: &[u8; 16] = bytes.try_into().ok()?;
    if bytes.iter().all(|byte| *byte == 0) || bytes.iter().all(|byte| *byte == 0xff) {
        return None;
    }
    let number = u128::from_be_bytes(*bytes);
    let high = u32::try_from(number >> 96).ok()?.swap_bytes();
    let part = |shift: u32| u16::try_from(number >> shift & 0xffff).unwrap_or_default();
    Some(format!(
        "{high:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        part(80).swap_bytes(),
        part(64).swap_bytes(),
        part(48),
        number & 0xffff_ffff_ffff
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_a_stranger_wrote_as_far_as_it_can_be_shown() {
        assert_eq!(
            printable(b"PXEClient:Arch:00007").unwrap(),
            "PXEClient:Arch:00007"
        );
        assert_eq!(printable(b"\x04iPXE\x1b[31m\n\xff").unwrap(), "iPXE[31m");
        assert_eq!(printable(b"\0\n \xc3\xa9"), None);
        assert_eq!(printable(&[b'a'; 1000]).unwrap().len(), MAX_TEXT);
    }

    #[test]
    fn reads_a_uuid_as_smbios_has_it() {
        let bytes: Vec<u8> = (0..17).collect();
        let text = "04030201-0605-0807-090a-0b0c0d0e0f10";
        assert_eq!(uuid(&bytes).unwrap(), text);
        assert_eq!(uuid(&bytes[1..]), None);
        assert_eq!(uuid(&[0; 17]), None);
        assert_eq!(uuid(&[&[0][..], &[0xff; 16]].concat()), None);
    }
}
