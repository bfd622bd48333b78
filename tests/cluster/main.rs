//! The cluster: a real API server, with real clients and the real program beside it, in namespaces on
//! this host.
//!
//! `cargo test` skips it. `REVEILLE_CLUSTER=1 cargo test --test cluster` runs every trial; words behind
//! `--` choose them by name. A trial that harms nothing shares a control plane with others and has a
//! Kubernetes namespace of its own; one that stops the API server has a control plane of its own.
#![expect(
    clippy::print_stdout,
    reason = "a test runner of its own talks to a terminal"
)]

mod audit;
mod kubectl;
mod lan;
mod plane;
mod programs;
mod proxy;
mod rooms;
mod stage;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "tests/lab uses the rest")]
mod support;
mod trials;
mod verdicts;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::programs::Programs;
use crate::support::setup::CANNOT;
use crate::support::{firmware, ns};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let wanted = std::env::var_os("REVEILLE_CLUSTER").is_some_and(|value| value == "1");
    let outcome = match words.as_slice() {
        ["inside", folder, names @ ..] => rooms::inside(Path::new(folder), names),
        ["machine", name, mac, artifacts, link @ ..] => {
            machine(name, mac, Path::new(artifacts), !link.is_empty())
        }
        // What a test runner asks before it runs anything.
        _ if words.contains(&"--list") => Ok(ExitCode::SUCCESS),
        _ if !wanted => {
            println!("cluster: skipped (set REVEILLE_CLUSTER=1; `make cluster`)");
            Ok(ExitCode::SUCCESS)
        }
        names => outside(names),
    };
    outcome.unwrap_or_else(|error| {
        println!("cluster: {error:#}");
        ExitCode::FAILURE
    })
}

/// Is one machine of a trial, on its own host of the room.
fn machine(name: &str, mac: &str, artifacts: &Path, slow: bool) -> Result<ExitCode> {
    firmware::run(name, mac.parse()?, artifacts, slow)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs on the host's side of the walls, with everything ready and a fresh folder.
fn outside(names: &[&str]) -> Result<ExitCode> {
    if let Err(error) = ns::possible() {
        println!("cluster: {error:#}");
        return Ok(ExitCode::from(CANNOT));
    }
    let Some(programs) = Programs::prepare()? else {
        return Ok(ExitCode::from(CANNOT));
    };
    let folder: PathBuf =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cluster-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let outcome = rooms::run(&programs, &folder, names);
    // It is empty when nothing failed; with evidence in it, it stays.
    let _ = std::fs::remove_dir(&folder);
    outcome
}
