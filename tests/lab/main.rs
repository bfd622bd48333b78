//! The lab: the real program in network namespaces on this host. [`scenarios`] are virtual machines that
//! it wakes; [`trials`] are what else a night can bring, without machines.
//!
//! `cargo test` skips it. `REVEILLE_LAB=1 cargo test --test lab` runs every scenario and trial, each in
//! a room of its own ([`support::ns`]); words behind `--` choose them by name. `-- demo` tells the story of
//! `examples/first-light` instead.
#![expect(
    clippy::print_stdout,
    reason = "a test runner of its own talks to a terminal"
)]

mod boots;
mod demo;
mod room;
mod runner;
mod scenarios;
#[path = "../scenarios_runner/mod.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "tests/scenarios.rs uses the rest; helpers of tests stand outside of them"
)]
mod scenarios_runner;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "tests/cluster uses the rest")]
mod support;
mod trials;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::support::assets::Assets;
use crate::support::ns;
use crate::support::setup::CANNOT;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let wanted = std::env::var_os("REVEILLE_LAB").is_some_and(|value| value == "1");
    let outcome = match words.as_slice() {
        ["inside", name, folder] => inside(name, Path::new(folder)),
        ["demo"] => outside(demo::invite),
        // What a test runner asks before it runs anything.
        _ if words.contains(&"--list") => Ok(ExitCode::SUCCESS),
        _ if !wanted => {
            println!("lab: skipped (set REVEILLE_LAB=1; `make lab`)");
            Ok(ExitCode::SUCCESS)
        }
        names => outside(|assets, folder| runner::run(assets, folder, names)),
    };
    outcome.unwrap_or_else(|error| {
        println!("lab: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs on the host's side of the wall, with everything ready and a fresh folder.
fn outside(work: impl FnOnce(&Assets, &Path) -> Result<ExitCode>) -> Result<ExitCode> {
    if let Err(error) = ns::possible().and_then(|()| ns::taps_possible()) {
        println!("lab: {error:#}");
        return Ok(ExitCode::from(CANNOT));
    }
    let Some(assets) = Assets::prepare()? else {
        return Ok(ExitCode::from(CANNOT));
    };
    let folder: PathBuf =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("lab-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let outcome = work(&assets, &folder);
    // It is empty when nothing failed; with evidence in it, it stays.
    let _ = std::fs::remove_dir(&folder);
    outcome
}

/// Runs behind the wall: one scenario, one trial, or the demo.
fn inside(name: &str, folder: &Path) -> Result<ExitCode> {
    let assets = Assets::read(&std::fs::read_to_string(folder.join("assets"))?)?;
    if name == "demo" {
        return demo::tell(assets, folder);
    }
    if let Some(trial) = trials::ALL.iter().find(|trial| trial.name == name) {
        return trial.run(assets, folder);
    }
    let scenario = scenarios::ALL
        .iter()
        .find(|scenario| scenario.name == name)
        .with_context(|| format!("no scenario {name}"))?;
    if name == "installer" && assets.installer.is_none() {
        println!("not here: the package debian-installer-12-netboot-amd64");
        return Ok(ExitCode::from(CANNOT));
    }
    if name == "secure-boot" && assets.signed.is_none() {
        println!("not here: the packages shim-signed and grub-efi-amd64-signed");
        return Ok(ExitCode::from(CANNOT));
    }
    if let Some(program) = scenario.lacks() {
        println!("not here: {program}; tests/lab/setup.sh installs it");
        return Ok(ExitCode::from(CANNOT));
    }
    for line in scenario.run(assets, folder)? {
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}
