//! Reveille.

pub mod api;
pub mod boot;
pub mod clock;
pub mod dhcp;
pub mod events;
pub mod files;
pub mod http;
pub mod lease;
pub mod net;
pub mod script;
pub mod snapshot;
pub mod supervisor;
pub mod tftp;
pub mod timeline;
