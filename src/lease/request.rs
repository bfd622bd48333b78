//! What is asked of the lease table and what it answers, as plain data.

use std::net::Ipv4Addr;

use super::addresses::AddressSet;
use super::authority::Authority;
use super::record::LeaseKey;
use crate::api::{Cidr, Pool};
use crate::boot::MacAddress;

/// What a machine asks, and what is configured for it.
#[derive(Clone, Copy, Debug)]
pub struct AllocateRequest<'a> {
    /// The Subnet, as `namespace/name`.
    pub subnet: &'a str,
    /// Its network.
    pub cidr: Cidr,
    /// Where machines without a reservation get their addresses from.
    pub pools: &'a [Pool],
    /// The address reserved for this machine. One outside `cidr` is for
    /// another network and does not count here.
    pub reserved: Option<Ipv4Addr>,
    /// Addresses that no pool gives away: reserved ones, our own, routers.
    /// This machine's own reservation may be among them.
    pub taken: &'a AddressSet,
    /// Whom the lease is for.
    pub key: &'a LeaseKey,
    /// The machine's MAC address, where it has one.
    pub mac: Option<MacAddress>,
    /// Option 61 as it came.
    pub client_id: Option<&'a [u8]>,
    /// Option 12 as it came.
    pub hostname: Option<&'a str>,
    /// How long an address is lent, in seconds.
    pub lifetime_secs: u32,
    /// Whether we are the one DHCP server of this network.
    pub authoritative: bool,
    /// What this replica may give of the pools.
    pub authority: Authority,
    /// What is asked.
    pub intent: Intent,
}

/// What a machine asks (RFC 2131 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// DISCOVER: any address (section 4.3.1).
    Offer {
        /// The address it would like (option 50).
        requested: Option<Ipv4Addr>,
    },
    /// REQUEST that names us as its server (section 4.3.2, SELECTING).
    Select {
        /// The address offered (option 50); there are ROMs that leave it out.
        requested: Option<Ipv4Addr>,
    },
    /// REQUEST that names another server: our offer is turned down.
    ChoseAnother,
    /// REQUEST after a reboot (section 4.3.2, INIT-REBOOT).
    InitReboot {
        /// The address it had (option 50).
        requested: Ipv4Addr,
    },
    /// REQUEST to keep an address (section 4.3.2, RENEWING and REBINDING).
    Renew {
        /// The address it has (ciaddr).
        address: Ipv4Addr,
    },
    /// RELEASE (section 4.3.4).
    Release {
        /// The address it gives back (ciaddr).
        address: Ipv4Addr,
    },
    /// DECLINE (section 4.3.3).
    Decline {
        /// The address that somebody else uses (option 50).
        address: Ipv4Addr,
    },
}

/// What to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// OFFER this address.
    Offer(Ipv4Addr),
    /// ACK this address, once the changes are durable.
    Ack(Ipv4Addr),
    /// NAK.
    Nak(NakReason),
    /// Say nothing.
    Silent(SilentReason),
    /// Carried out; there is no answer to this message.
    Done,
}

/// Why a machine may not have the address that it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NakReason {
    /// It is no host address of this network.
    WrongNetwork,
    /// It is in no pool and not reserved for this machine.
    OutsidePools,
    /// It is reserved for another machine, or is ours or a router's.
    ReservedForAnother,
    /// The machine has a reservation, is elsewhere, and can move now.
    HasReservation,
    /// Another machine has it.
    InUse,
    /// It is on probation: somebody else answers there.
    OnProbation,
    /// The machine has another lease, and that is the one that counts.
    HasAnotherLease,
    /// It names no address and nothing was offered to it.
    NothingOffered,
}

/// Why we say nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SilentReason {
    /// Every address of the pools is lent, offered, reserved or on probation.
    PoolExhausted,
    /// The Subnet has no pool and the machine no reservation.
    NoPool,
    /// Another has the machine's reserved address and there is no pool to
    /// fall back on.
    ReservedAddressBusy,
    /// We have no record of the lease and are not authoritative
    /// (RFC 2131 section 4.3.2).
    UnknownLease,
    /// The address is of another network and we are not authoritative.
    OtherNetwork,
    /// It wants to give back or decline what it was not given.
    NotItsLease,
    /// It chose another server.
    ChoseAnotherServer,
    /// Another replica holds the pools, or this one cannot tell who does.
    NotHolder,
    /// The address is in the share of another replica, which alone may say
    /// anything about it.
    AnothersShare,
    /// This replica cannot tell who holds the pools, and has given all
    /// addresses of its share.
    ShareExhausted,
    /// This replica cannot tell who holds the pools, and lost its table: it
    /// does not know which addresses of its share it gave.
    FreshDisk,
    /// This replica holds the pools since a short time, and knows nothing of
    /// the lease that the machine speaks of.
    NotSureYet,
}

// === impl NakReason ===

impl NakReason {
    /// Its name in log lines, metrics and `explain`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WrongNetwork => "wrong-network",
            Self::OutsidePools => "outside-pools",
            Self::ReservedForAnother => "reserved-for-another",
            Self::HasReservation => "has-reservation",
            Self::InUse => "in-use",
            Self::OnProbation => "on-probation",
            Self::HasAnotherLease => "has-another-lease",
            Self::NothingOffered => "nothing-offered",
        }
    }
}

// === impl SilentReason ===

impl SilentReason {
    /// Its name in log lines, metrics and `explain`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PoolExhausted => "pool-exhausted",
            Self::NoPool => "no-pool",
            Self::ReservedAddressBusy => "reserved-address-busy",
            Self::UnknownLease => "unknown-lease",
            Self::OtherNetwork => "other-network",
            Self::NotItsLease => "not-its-lease",
            Self::ChoseAnotherServer => "chose-another-server",
            Self::NotHolder => "not-holder",
            Self::AnothersShare => "share-of-another-replica",
            Self::ShareExhausted => "share-exhausted",
            Self::FreshDisk => "lease-table-lost",
            Self::NotSureYet => "not-sure-yet",
        }
    }
}
