//! What the shells saw of a boot.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::boot::{Client, MacAddress, Transport};
use crate::clock::Millis;

/// One thing that happened to one machine.
#[derive(Clone, Debug, PartialEq)]
pub struct BootEvent {
    /// The machine.
    pub mac: MacAddress,
    /// When it was seen.
    pub at: Millis,
    /// What it was.
    pub fact: Fact,
}

/// The things that happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// A DHCPOFFER left.
    Offer {
        /// Who asked.
        client: Client,
        /// The address offered.
        address: Ipv4Addr,
    },
    /// A DHCPACK left.
    Ack {
        /// Who asked.
        client: Client,
        /// The address lent.
        address: Ipv4Addr,
        /// What the answer told the machine to do next.
        next: NextStep,
    },
    /// A file or script was sent, whole or in part.
    Transfer(Transfer),
}

/// What an answer tells a machine to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Nothing: no boot data was asked for.
    Nothing,
    /// Load a loader, by file name or URL.
    Loader {
        /// The profile it serves, by name.
        profile: String,
        /// The file name or URL.
        file: String,
    },
    /// Load the script at a URL.
    Script {
        /// The profile it serves, by name.
        profile: String,
    },
    /// Boot the disk; no file is named, or a 404 says so.
    Local,
    /// Load a script, over our loader where need be, that says to boot the disk.
    LocalScript,
}

/// A file or script on its way to a machine, seen at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// What it is for.
    pub purpose: Purpose,
    /// Its name as served.
    pub name: String,
    /// How it travelled.
    pub transport: Transport,
    /// Bytes of content that were sent (a repeated block counts once).
    pub bytes: u64,
    /// Bytes of content that there are.
    pub size: u64,
    /// From the request to the last byte.
    pub duration: Duration,
    /// Whether all of it was sent (and, by TFTP, acknowledged).
    pub complete: bool,
}

/// What a transfer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// The program that the firmware runs first.
    Loader,
    /// The iPXE script that boots a profile.
    Script,
    /// The iPXE script that sends a machine to its disk.
    LocalScript,
    /// The kernel.
    Kernel,
    /// An initial RAM disk.
    Initrd,
    /// Something else from the tree.
    Other,
}

impl Purpose {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loader => "loader",
            Self::Script => "script",
            Self::LocalScript => "local-script",
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
            Self::Other => "other",
        }
    }
}
