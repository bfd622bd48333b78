//! HTTP: files with everything that boot clients expect of nginx, scripts,
//! and the admin port.
//!
//! `route`, `range`, `target`, `media` and `listing` are core; the others do the I/O.

pub mod media;
pub mod range;
pub mod route;
pub mod target;
