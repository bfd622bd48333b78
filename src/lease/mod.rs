//! Who has which address.

mod index;

pub use self::index::LeaseIndex;
