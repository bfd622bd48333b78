//! A client that asks a server what machines ask it, and says for each step
//! whether it went well and what to do where it did not.
//!
//! `report` is what came of it and `download` a TFTP client without a
//! socket; both are pure. `steps` asks.

mod download;
mod report;
mod steps;
mod web;

pub use self::report::{Outcome, Report, Step};
pub use self::steps::{Target, run};
