//! What machines are told to boot where another server lends them addresses
//! (PXE 2.1 section 2.2: ProxyDHCP and boot servers). Core.
//!
//! The policy is `decide`'s: the same plan, the same boot answer. Only the
//! envelope differs, and differs by firmware (`quirks`).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::answer::{BootAnswer, identity_options, trust_options};
use super::decide::{Case, Decision, Ignored, Outcome, chosen};
use super::destination::Destination;
use super::option;
use super::pxe::{self, Vendor};
use super::quirks::{self, Quirk, Treatment};
use super::relay::is_host;
use super::reply::{Reply, ReplyKind};
use super::request::RequestKind;
use crate::boot::{ClientKind, MacAddress};
use crate::timeline::NextStep;

/// A machine and the address that it has of another server.
pub type Neighbour = (MacAddress, Ipv4Addr);

/// The options that say what `client` is to boot, by its firmware.
struct Envelope {
    /// Option 60.
    class: &'static [u8],
    /// Option 43.
    vendor: Option<Vec<u8>>,
}

/// Whether an answer may go to `asker`: a host, and not the sender of what only
/// looks like a request.
fn is_asker(asker: SocketAddrV4) -> bool {
    is_host(*asker.ip()) && asker.port() != 0
}

// === impl Case ===

impl Case<'_> {
    /// A request at UDP 67 beside a server that lends addresses.
    pub(super) fn beside(&self) -> Decision {
        let request = self.request;
        let boots = request.client.kind != ClientKind::Plain;
        match request.kind {
            RequestKind::Request if self.chose_another() => self.leased_elsewhere(boots),
            _ if !boots => Decision::silent(Ignored::NotABootClient),
            RequestKind::Discover => {
                let to = self.destination(Ipv4Addr::UNSPECIFIED, false);
                self.told(ReplyKind::Offer, to)
            }
            RequestKind::Inform if !request.ciaddr.is_unspecified() => {
                self.told(ReplyKind::Ack, Destination::Client(request.ciaddr))
            }
            RequestKind::Inform => Decision::silent(Ignored::NoAddress),
            RequestKind::Request
            | RequestKind::Decline
            | RequestKind::Release
            | RequestKind::Bootp
            | RequestKind::LeaseQuery => Decision::silent(Ignored::LendsNothing),
        }
    }

    /// A request at UDP 4011, wherever the machine's address is from: the answer
    /// goes back to where it came from.
    pub(super) fn at_boot_port(&self, asker: SocketAddrV4) -> Decision {
        if !is_asker(asker) {
            return Decision::silent(Ignored::AskerNoHost);
        }
        let request = self.request;
        let kind = match request.kind {
            _ if request.client.kind == ClientKind::Plain => {
                return Decision::silent(Ignored::NotABootClient);
            }
            RequestKind::Request | RequestKind::Inform => ReplyKind::Ack,
            RequestKind::Discover => ReplyKind::Offer,
            RequestKind::Decline
            | RequestKind::Release
            | RequestKind::Bootp
            | RequestKind::LeaseQuery => {
                return Decision::silent(Ignored::LendsNothing);
            }
        };
        let mut decision = self.told(kind, Destination::Asker(asker));
        decision.neighbour = self.neighbour(request.ciaddr);
        decision
    }

    /// Whether a REQUEST takes another server's offer.
    fn chose_another(&self) -> bool {
        let chosen = self.request.server_id();
        chosen.is_some_and(|server| server != self.arrival.server)
    }

    /// A machine took the address of the server that we stand beside, and now
    /// does what our offer said.
    fn leased_elsewhere(&self, boots: bool) -> Decision {
        let mut decision = Decision::silent(Ignored::LeasedElsewhere);
        let address = self.request.requested().filter(|_| boots);
        decision.neighbour = address.and_then(|address| self.neighbour(address));
        let asks =
            quirks::of(self.request).is_some_and(|quirk| quirk.does == Treatment::AsksBootServer);
        // Who asks at the boot server's port is told there.
        if boots && !asks {
            decision.boot = Some(self.boot());
        }
        decision
    }

    /// The machine that asks, with `address`, for the other doors.
    pub(super) fn neighbour(&self, address: Ipv4Addr) -> Option<Neighbour> {
        let here = self.subnet.spec.is_host(address) && address != self.arrival.server;
        let mac = self.request.client.mac.filter(|_| here)?;
        Some((mac, address))
    }

    /// The reply that tells a machine what to boot, and lends nothing.
    fn told(&self, kind: ReplyKind, to: Destination) -> Decision {
        let boot = self.proxied(self.boot());
        let Some(envelope) = self.envelope(kind, &boot) else {
            return Decision {
                boot: Some(boot),
                ..Decision::silent(Ignored::NothingToBoot)
            };
        };
        let server = self.next_server();
        let mut options = BTreeMap::new();
        identity_options(&mut options, self.request, self.arrival.server);
        options.insert(option::VENDOR_CLASS, envelope.class.to_vec());
        trust_options(&mut options, self.snapshot, &self.plan, &boot);
        if let Some(vendor) = envelope.vendor {
            options.insert(option::VENDOR_OPTIONS, vendor);
        }
        // Some cards send none (pixiecore#21).
        if let Some(id) = self.request.option(option::MACHINE_ID) {
            options.insert(option::MACHINE_ID, id.to_vec());
        }
        options.insert(option::TFTP_SERVER, server.to_string().into_bytes());
        if !boot.file.is_empty() {
            options.insert(option::BOOT_FILE, boot.file.clone().into_bytes());
        }
        let reply = Reply {
            kind,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: server,
            sname: server.to_string(),
            file: boot.file.clone(),
            destination: to,
            options,
            about: None,
        };
        Decision {
            outcome: Outcome::Reply(Box::new(reply)),
            boot: Some(boot),
            ..Decision::silent(Ignored::Noted)
        }
    }

    /// What only a proxy has to say: a BIOS that is sent to its disk goes there
    /// at once where no file is named, but waits for a proxy's word first.
    fn proxied(&self, boot: BootAnswer) -> BootAnswer {
        let bios = quirks::of(self.request).is_some_and(|quirk| quirk.does == Treatment::TakesFile);
        let to_disk = bios && boot.next == NextStep::Local && boot.file.is_empty();
        BootAnswer {
            vendor: boot.vendor.or_else(|| to_disk.then_some(Vendor::Disk)),
            ..boot
        }
    }

    /// Options 60 and 43; `None` where there is nothing to tell.
    fn envelope(&self, kind: ReplyKind, boot: &BootAnswer) -> Option<Envelope> {
        let pxe = |vendor| Envelope {
            class: b"PXEClient",
            vendor,
        };
        match (self.request.client.kind, quirks::of(self.request)) {
            (ClientKind::Plain, _) => None,
            (ClientKind::HttpBoot | ClientKind::Ipxe, _) if boot.file.is_empty() => None,
            // What does not begin so is thrown away (UEFI 2.10 section 24.7.3).
            (ClientKind::HttpBoot, _) => Some(Envelope {
                class: b"HTTPClient",
                vendor: None,
            }),
            (ClientKind::Ipxe, _) => Some(pxe(None)),
            (ClientKind::Pxe, quirk) => self.pxe_vendor(quirk?, kind, boot).map(pxe),
        }
    }

    /// Option 43 for a PXE client; the inner `None` for none.
    fn pxe_vendor(
        &self,
        quirk: &Quirk,
        kind: ReplyKind,
        boot: &BootAnswer,
    ) -> Option<Option<Vec<u8>>> {
        if let Some(vendor) = boot.vendor {
            return Some(Some(vendor.encode(self.next_server())));
        }
        if boot.file.is_empty() {
            return None;
        }
        if let Some(menu) = self.firmware_menu(boot) {
            return Some(Some(menu));
        }
        let chosen = chosen(self.request);
        match (quirk.does, chosen.filter(|_| kind == ReplyKind::Ack)) {
            (_, Some(chosen)) => Some(Some(pxe::echo(chosen))),
            (Treatment::TakesFile, None) => Some(Some(pxe::TAKE_THE_FILE.to_vec())),
            (Treatment::AsksBootServer | Treatment::RaspberryPi(_), None) => Some(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_but_a_host_is_answered() {
        let asker = |a, b, c, d, port| SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port);
        assert!(is_asker(asker(192, 0, 2, 9, 4011)));
        for bad in [
            asker(192, 0, 2, 9, 0),
            asker(0, 0, 0, 0, 68),
            asker(127, 0, 0, 1, 4011),
            asker(224, 0, 1, 2, 4011),
            asker(255, 255, 255, 255, 4011),
        ] {
            assert!(!is_asker(bad), "{bad}");
        }
    }
}
