//! Who has which IPv6 address: the same rooms as for IPv4, and the same
//! database. Core.

mod allocate;
mod record;

pub use self::allocate::{
    AllocateRequest6, Answer6, Intent6, MAX_LEASES, MAX_OFFERS, NoBinding, allocate6,
};
pub use self::record::{Change6, Lease6, MAX_DUID};

/// The IPv6 lease table.
pub type LeaseTable6 = super::records::Records<Lease6>;
