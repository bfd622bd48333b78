//! Who has which IPv6 address: the same rooms as for IPv4, and the same
//! database. Core.

mod allocate;
mod record;
mod table;

pub use self::allocate::{
    AllocateRequest6, Answer6, Intent6, MAX_LEASES, MAX_OFFERS, NoBinding, allocate6,
};
pub use self::record::{Change6, Lease6, MAX_DUID};
pub use self::table::LeaseTable6;
