//! DHCPv4 (RFC 2131, 2132) for machines that boot (PXE 2.1, RFC 4578, UEFI 24.7).
//!
//! `request`, `decide`, `proxy`, `pxe`, `quirks`, `neighbours`, `lookout`,
//! `foreign`, `answer`, `reply` and `destination` are core: packets in, packets out, time
//! as an argument. `socket`, `listener`, `probe`, `scout`, `server` and
//! `outgoing` do the I/O; `replica` ties the engine to other replicas.

pub mod answer;
pub mod decide;
pub mod destination;
pub mod foreign;
pub mod heard;
pub mod listener;
pub mod lookout;
pub mod metrics;
pub mod neighbours;
pub mod option;
mod outgoing;
mod probe;
pub mod proxy;
pub mod pxe;
pub mod quirks;
pub mod replica;
pub mod reply;
pub mod request;
pub mod scout;
pub mod server;
pub mod socket;
pub mod story;
mod upkeep;
