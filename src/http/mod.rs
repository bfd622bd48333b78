//! HTTP: files with everything that boot clients expect of nginx, scripts,
//! and the admin port.
//!
//! `route` and `range` are core; `server`, `files` and `admin` do the I/O.

pub mod route;
