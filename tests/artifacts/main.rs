//! Archives, registries and signatures, as strangers make them.
//!
//! `fixtures/` has small files made by the real tools, so that the tests run
//! where these are missing; where `tar`, `xz`, `zstd`, `zip`, `xorriso`, `gpg`
//! and `minisign` are there, they are used as well.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "helpers of tests stand outside of them"
)]

mod evil;
mod layout;
mod plan;
mod registry;
#[path = "../support/registry.rs"]
#[allow(dead_code, reason = "tests/lab and tests/artifact_store use the rest")]
mod server;
mod signatures;
mod support;
mod unpack;
