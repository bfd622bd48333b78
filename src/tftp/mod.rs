//! TFTP (RFC 1350, 2347, 2348, 2349, 7440).
//!
//! `wire`, `netascii`, `transfer`, `intake`, `resolve` and `refuse` are core: bytes in, bytes out,
//! time as an argument. `server` owns the listening socket and the transfers;
//! it starts a `session` for each, which has the name's content from `open` and
//! carries out what `transfer` says with a `socket` and a `source` of bytes, or
//! what `intake` says of a file that is written (`upload`).
//! `settings` has the flags.

pub mod intake;
mod metrics;
pub mod netascii;
mod open;
pub mod refuse;
mod report;
pub mod resolve;
mod server;
mod session;
mod settings;
mod socket;
mod source;
pub mod transfer;
mod upload;
pub mod wire;

pub use self::metrics::TftpMetrics;
pub use self::refuse::Refusal;
pub use self::server::{AnswerFrom, DRAIN, TRANSFERS, TftpConfig, TftpLimits, TftpServer};
pub use self::settings::TftpArgs;
