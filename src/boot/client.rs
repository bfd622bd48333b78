//! What asks: firmware, iPXE or an operating system.

use super::{Architecture, FirmwareType, MacAddress, Transport, Uuid};

/// Who sent a request, as far as booting is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its Ethernet address, where it has one.
    pub mac: Option<MacAddress>,
    /// What kind of program asks.
    pub kind: ClientKind,
    /// Option 93's first value that we know, else its first; `None` without the option.
    pub firmware: Option<FirmwareType>,
    /// Its firmware's identifier (option 97), where it tells one of its own.
    pub uuid: Option<Uuid>,
}

/// Kinds of programs that ask for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientKind {
    /// An operating system or anything else that does not boot.
    Plain,
    /// A PXE ROM or UEFI's PXE (option 60 `PXEClient`).
    Pxe,
    /// UEFI HTTP boot (option 60 `HTTPClient`).
    HttpBoot,
    /// iPXE (option 77 `iPXE`), in a ROM or sent by us.
    Ipxe,
}

impl ClientKind {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Pxe => "pxe",
            Self::HttpBoot => "http-boot",
            Self::Ipxe => "ipxe",
        }
    }
}

impl Client {
    /// The architecture of a client that boots; `None` where it is not one
    /// that we know.
    ///
    /// A PXE client without option 93 is a PC BIOS of the time before RFC
    /// 4578. An iPXE without it is not, it always says.
    #[must_use]
    pub fn architecture(&self) -> Option<Architecture> {
        match (self.firmware, self.kind) {
            (Some(firmware), _) => firmware.meaning().map(|(arch, _)| arch),
            (None, ClientKind::Pxe) => Some(Architecture::X86Bios),
            (None, ClientKind::Plain | ClientKind::HttpBoot | ClientKind::Ipxe) => None,
        }
    }

    /// How its first file travels: as option 60 says, whatever option 93 adds.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        match self.kind {
            ClientKind::HttpBoot => Transport::Http,
            ClientKind::Plain | ClientKind::Pxe | ClientKind::Ipxe => Transport::Tftp,
        }
    }
}
