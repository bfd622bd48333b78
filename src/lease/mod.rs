//! Who has which address.
//!
//! `record`, `addresses`, `table`, `request` and `allocate` are core: values and
//! pure functions.

mod addresses;
mod allocate;
mod index;
mod record;
mod request;
mod table;

pub use self::addresses::AddressSet;
pub use self::allocate::{OFFER_HOLD_SECS, PROBATION_SECS, allocate, probation};
pub use self::index::LeaseIndex;
pub use self::record::{Change, Lease, LeaseKey, LeaseState, MAX_CLIENT_ID, ParseKeyError};
pub use self::request::{AllocateRequest, Answer, Intent, NakReason, SilentReason};
pub use self::table::{Counts, FORGET_SECS, LeaseTable};
