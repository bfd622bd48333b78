//! Reveille.

pub mod api;
pub mod boot;
pub mod cli;
pub mod clock;
pub mod events;
pub mod files;
pub mod http;
pub mod lease;
pub mod snapshot;
pub mod standalone;
pub mod tftp;
pub mod timeline;
