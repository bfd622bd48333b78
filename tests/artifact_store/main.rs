//! Artifacts over a real socket, from a server that fails in chosen ways: into
//! the store, by the whole service, and through kills at any moment.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests stand outside of them"
)]

mod fetch;
mod kill;
mod online;
#[path = "../support/registry.rs"]
#[allow(dead_code, reason = "tests/artifacts uses the rest")]
mod registry;
mod service;
#[path = "../support/web.rs"]
mod web;

use std::process::Command;

use sha2::{Digest as _, Sha256};

/// What `/good` has: no page, and longer than any buffer.
pub(crate) fn content() -> Vec<u8> {
    (0..=250).cycle().take(700_001).collect()
}

pub(crate) fn other() -> Vec<u8> {
    (0..=240).cycle().take(650_003).collect()
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The program, with nothing in its environment that would set it up.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reveille"));
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"REVEILLE_") {
            command.env_remove(name);
        }
    }
    command
}
