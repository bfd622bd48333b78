//! Reveille.

pub mod api;
pub mod app;
pub mod boot;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dhcp;
pub mod events;
pub mod files;
pub mod http;
pub mod lease;
pub mod net;
pub mod privileges;
pub mod script;
pub mod snapshot;
pub mod standalone;
pub mod supervisor;
pub mod telemetry;
pub mod tftp;
pub mod timeline;
