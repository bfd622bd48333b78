//! Who has which IPv6 address: the same rooms as for IPv4, and the same
//! database. Core.

mod allocate;
mod handover;
mod part;
mod record;

pub use self::allocate::{
    AllocateRequest6, Answer6, Intent6, MAX_LEASES, MAX_OFFERS, NoBinding, allocate6,
};
pub use self::handover::{Home6, adopt6, release_gone6};
pub use self::part::{counts6, lender6};
pub use self::record::{Change6, Lease6, MAX_DUID, association_key, association_of};

/// The IPv6 lease table.
pub type LeaseTable6 = super::records::Records<Lease6>;
