//! TFTP, read only (RFC 1350, 2347, 2348, 2349, 7440).
//!
//! `wire`, `transfer` and `resolve` are core: bytes in, bytes out, time as an
//! argument. `server` owns the sockets.

pub mod resolve;
pub mod transfer;
pub mod wire;
