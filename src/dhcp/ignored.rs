//! The names of silence. Core.

use super::request::Malformed;
use crate::lease::SilentReason;
use crate::snapshot::Unserved;

/// Why nothing is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ignored {
    /// The packet is no request.
    Malformed(Malformed),
    /// No Subnet is served on the interface any more.
    SubnetGone,
    /// The relay's network is none that is served.
    RelayUnknown,
    /// The link that the relay or its client selects is none that is served.
    LinkUnknown,
    /// The relay's address is none that a host can have.
    RelayNoHost,
    /// It comes from an address, or wants its answer at one, that no host can
    /// have: a reply would reach many machines, or us.
    SourceNoHost,
    /// It wants its answer at an address outside of the network.
    SourceElsewhere,
    /// This machine asked too often.
    TooOften,
    /// All machines together asked more often than the settings allow.
    TooMany,
    /// The Subnet does not serve this machine.
    Machine(Unserved),
    /// The client chose another server.
    OtherServer,
    /// A REQUEST that names no address.
    NoAddress,
    /// The lease table has nothing to say.
    Lease(SilentReason),
    /// More packets came at once than the kernel keeps: clients ask again.
    QueueFull,
    /// A DISCOVER that waited while more came than can be answered.
    Overloaded,
    /// It waited so long that the client has asked again or gone.
    Stale,
    /// A fault of ours; the packet is lost, nothing else.
    Fault,
    /// It does not boot: in a proxy's network, its addresses are not ours to
    /// lend, and it asks for nothing else.
    NotABootClient,
    /// It took the address that another server lends it, as it should where we
    /// are a proxy.
    LeasedElsewhere,
    /// It wants an address of a proxy.
    LendsNothing,
    /// A proxy that has nothing to tell this client stays out of its way.
    NothingToBoot,
    /// Another server lends addresses, and the Subnet says that we then answer
    /// nobody.
    ForeignServer,
    /// It is not known yet whether another server lends addresses.
    LookingForServers,
    /// What asks the boot server's port cannot be a host.
    AskerNoHost,
    /// It speaks BOOTP, which gives addresses for ever, and has none of its own.
    BootpNotReserved,
    /// Who asks for leases is no relay that may.
    LeaseQueryRefused,
    /// A RELEASE or DECLINE was taken note of; none is answered by the RFC.
    Noted,
}

// === impl Ignored ===

impl Ignored {
    /// Its name in log lines, metrics and scenarios.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed(malformed) => malformed.as_str(),
            Self::SubnetGone => "subnet-gone",
            Self::RelayUnknown => "relay-unknown",
            Self::LinkUnknown => "link-unknown",
            Self::RelayNoHost => "relay-no-host",
            Self::SourceNoHost => "source-no-host",
            Self::SourceElsewhere => "source-elsewhere",
            Self::TooOften => "too-often",
            Self::TooMany => "too-many",
            Self::Machine(unserved) => unserved.as_str(),
            Self::OtherServer => "other-server-chosen",
            Self::NoAddress => "no-address-named",
            Self::Lease(reason) => reason.as_str(),
            Self::QueueFull => "queue-full",
            Self::Overloaded => "overloaded",
            Self::Stale => "stale",
            Self::Fault => "internal-fault",
            Self::NotABootClient => "not-a-boot-client",
            Self::LeasedElsewhere => "leased-elsewhere",
            Self::LendsNothing => "lends-nothing",
            Self::NothingToBoot => "nothing-to-boot",
            Self::ForeignServer => "foreign-server",
            Self::LookingForServers => "looking-for-servers",
            Self::AskerNoHost => "asker-no-host",
            Self::BootpNotReserved => "bootp-not-reserved",
            Self::LeaseQueryRefused => "lease-query-refused",
            Self::Noted => "noted",
        }
    }
}
