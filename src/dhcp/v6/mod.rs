//! DHCPv6 (RFC 8415) for machines that boot (RFC 5970, UEFI 24.7).
//!
//! The same rooms and names as for DHCPv4: `option`, `wire`, `request`,
//! `classes`, `decide`, `boot` and `reply` are core; `socket`, `listener`, `story`,
//! `replica` and `server` do the I/O; `duid` keeps the server's name.

mod boot;
mod classes;
pub mod decide;
pub mod duid;
pub mod listener;
pub mod option;
pub mod replica;
pub mod reply;
pub mod request;
pub mod server;
pub mod socket;
mod story;
pub(crate) mod wire;
