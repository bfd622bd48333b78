//! DHCPv4 (RFC 2131, 2132) for machines that boot (PXE 2.1, RFC 4578, UEFI 24.7).
//!
//! `request`, `relay`, `networks`, `classes`, `decide`, `proxy`, `bootp`,
//! `leasequery`, `pxe`, `quirks`, `neighbours`, `lookout`, `foreign`, `answer`,
//! `options`, `hostname`, `reply`, `overload`, `destination`, `limits` and
//! `settings` are core: packets in, packets out, time as an argument. `socket`, `listener`, `probe`, `echo`, `scout`, `server` and
//! `outgoing` do the I/O; `replica` ties the engine to other replicas.

pub mod answer;
mod bootp;
mod classes;
pub mod decide;
pub mod destination;
mod echo;
pub mod foreign;
pub mod heard;
mod hostname;
mod ignored;
mod leasequery;
pub mod limits;
pub mod listener;
pub mod lookout;
pub(crate) mod menu;
pub mod metrics;
pub mod neighbours;
mod networks;
pub mod option;
mod options;
mod outgoing;
mod overload;
mod probe;
pub mod proxy;
pub mod pxe;
pub mod quirks;
pub mod relay;
pub mod replica;
pub mod reply;
pub mod request;
pub mod scout;
pub mod server;
pub mod settings;
pub mod socket;
pub mod story;
mod upkeep;
pub mod v6;
