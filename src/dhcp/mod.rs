//! DHCPv4 (RFC 2131, 2132) for machines that boot (PXE 2.1, RFC 4578, UEFI 24.7).
//!
//! `request`, `decide`, `answer`, `reply` and `destination` are core: packets
//! in, packets out, time as an argument. `socket`, `listener`, `probe`,
//! `server` and `outgoing` do the I/O; `replica` ties the engine to other replicas.

pub mod answer;
pub mod decide;
pub mod destination;
pub mod heard;
pub mod listener;
pub mod metrics;
pub mod option;
mod outgoing;
mod probe;
pub mod replica;
pub mod reply;
pub mod request;
pub mod server;
pub mod socket;
pub mod story;
mod upkeep;
