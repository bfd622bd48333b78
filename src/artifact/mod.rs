//! Artifacts: what boots machines, fetched once, verified, kept and served.
//!
//! Core: `identity` (what is wanted), `plan` (what is to be done, and when),
//! `progress` (bytes, rate, time left), `screen` (errors for machines' screens),
//! `table` (what is there, for the snapshot). Shell: `store` (the volume), `fetch` (the network), `keep` (the
//! service that carries the plan out), `secrets`. `unpack`, `oci` and
//! `signature` know archives, registries and publishers' signatures; each says
//! itself which of its files are core.

pub mod identity;
pub mod plan;
pub mod progress;
pub mod screen;
pub mod table;

pub mod fetch;
pub mod keep;
pub mod layout;
pub mod metrics;
pub mod oci;
pub mod online;
pub mod secrets;
pub mod signature;
pub mod store;
pub mod unpack;

pub use self::identity::{FileWant, Origin, Want};
pub use self::screen::on_screen;
pub use self::table::{Held, HeldFile, Table};
