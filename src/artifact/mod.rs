//! The files that boot machines: unpacked, fetched, verified, kept.

pub mod layout;
pub mod oci;
pub mod signature;
pub mod unpack;
