//! What the shells saw of a boot.

use std::net::IpAddr;
use std::time::Duration;

use super::BootId;
use crate::boot::{Client, MacAddress, Transport};
use crate::clock::Millis;

/// Bytes from which the beginning of a transfer is told of as well as its end
/// ([`Fact::TransferStarted`]). What is shorter is over within the patience of
/// every stage even at 8 kB/s, and most of what is sent is no event the more.
pub const LONG_TRANSFER: u64 = 512 * 1024;

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
        address: IpAddr,
    },
    /// A DHCPACK left.
    Ack {
        /// Who asked.
        client: Client,
        /// The address lent.
        address: IpAddr,
        /// What the answer told the machine to do next.
        next: NextStep,
    },
    /// Its DHCPREQUEST went to another server: a sibling of this replica, or a
    /// stranger. What we offered comes to nothing.
    ChoseAnother {
        /// Who asked.
        client: Client,
    },
    /// A file of [`LONG_TRANSFER`] or more is on its way: however slow it is,
    /// its [`Transfer`] comes at its end, for the shells cut off what does not
    /// move.
    TransferStarted {
        /// What it is for.
        purpose: Purpose,
    },
    /// A file or script was sent, whole or in part.
    Transfer(Transfer),
    /// A file that the boot needs was refused.
    Refused {
        /// What it is for.
        purpose: Purpose,
        /// Its name as asked for.
        name: String,
        /// Why, by the name of the refusal.
        reason: &'static str,
    },
    /// An answer file was given to the machine, for the boot's token.
    Released(Release),
    /// The system that was booted calls back with the boot's token.
    PhonedHome(PhoneHome),
}

/// An answer file that was given away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The boot whose token was shown.
    pub boot: BootId,
    /// The file's name.
    pub name: String,
    /// The address that it went to.
    pub address: IpAddr,
    /// Its bytes.
    pub bytes: u64,
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
    /// Load what is booted itself, without a loader of ours.
    Source {
        /// The profile, by name.
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
    /// Why it ended too early; `None` also for a part that was all that was
    /// asked for.
    pub aborted: Option<&'static str>,
}

/// A call of the system that was booted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhoneHome {
    /// The boot whose token it had.
    pub boot: BootId,
    /// The address that it called from.
    pub address: IpAddr,
    /// Whether it says that all went well.
    pub state: PhoneState,
    /// What it says beside that.
    pub message: Option<String>,
}

/// What the system says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PhoneState {
    /// It runs, or is installed.
    #[default]
    Installed,
    /// Something went wrong.
    Failed,
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
    /// The script that shows a menu.
    Menu,
    /// The iPXE script of a machine whose files are not there yet: it says so
    /// on the screen, and comes again.
    Waiting,
    /// The kernel.
    Kernel,
    /// An initial RAM disk.
    Initrd,
    /// An EFI program.
    Efi,
    /// The image of a disc.
    Iso,
    /// An answer file.
    Config,
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
            Self::Menu => "menu",
            Self::Waiting => "waiting",
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
            Self::Efi => "efi",
            Self::Iso => "iso",
            Self::Config => "config",
            Self::Other => "other",
        }
    }

    /// Whether the timeline wants to know when a transfer of `size` bytes begins.
    #[must_use]
    pub const fn tells_start(self, size: u64) -> bool {
        !matches!(self, Self::Other) && size >= LONG_TRANSFER
    }
}

impl PhoneState {
    /// Its name in the call, in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Failed => "failed",
        }
    }
}
