//! A client that asks a server what machines ask it, and says for each step
//! whether it went well and what to do where it did not.
//!
//! Two ways. [`run`] asks a server by its address: readiness, a file, a
//! script. [`play`] is a machine on an interface: DHCP, UDP 4011, TFTP, HTTP
//! and scripts, to whoever answers there, ours or not.
//!
//! `report`, `download` and `upload` (TFTP without a socket), `offers` and `offers6` (what
//! firmware makes of offers) and `ipxe` (what a script loads) are core; `steps`, `client`,
//! `client6`, `fetch`, `link`, `wire` and `web` ask.

mod client;
mod client6;
mod download;
mod fetch;
mod ipxe;
mod link;
mod offers;
mod offers6;
mod report;
mod steps;
mod upload;
mod web;
mod wire;

pub use self::client::{Play, Player, play};
pub use self::report::{DhcpServer, Named, Outcome, Report, ServerId, Step};
pub use self::steps::{Target, known, run};
