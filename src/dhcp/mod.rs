//! DHCPv4 (RFC 2131, 2132) for machines that boot (PXE 2.1, RFC 4578, UEFI 24.7).
//!
//! `request`, `decide`, `answer`, `reply` and `destination` are core: packets
//! in, packets out, time as an argument. `socket` and `server` do the I/O.

pub mod answer;
pub mod decide;
pub mod destination;
pub mod heard;
pub mod metrics;
pub mod option;
pub mod reply;
pub mod request;
pub mod server;
pub mod socket;
pub mod story;
