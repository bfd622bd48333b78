//! The chart, rendered by real Helm: what comes out is valid, is what the program takes, and what cannot
//! work is refused with its cure. `tests/edge` installs it.
//!
//! `cargo test` skips it. `REVEILLE_CHART=1 cargo test --test chart` runs every check; words behind `--`
//! choose them by name.
#![expect(
    clippy::print_stdout,
    reason = "a test runner of its own talks to a terminal"
)]

mod checks;
mod helm;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod support;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::helm::Helm;
use crate::support::setup::CANNOT;

/// A check: its name, and what it does. It says what it saw.
type Check = (&'static str, fn(&Helm) -> Result<String>);

const ALL: &[Check] = &[
    ("lint", checks::lint),
    ("valid", checks::valid),
    ("package", checks::package),
    ("definitions", checks::definitions),
    ("rights", checks::rights),
    ("flags", checks::flags),
    ("manifests", checks::manifests),
    ("pod", checks::pod),
    ("kinds", checks::kinds),
    ("values-are-described", checks::described),
    ("values-are-used", checks::used),
    ("monitoring", checks::monitoring),
    ("refused", checks::refused),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let wanted = std::env::var_os("REVEILLE_CHART").is_some_and(|value| value == "1");
    if words.iter().any(|word| word == "--list") {
        return ExitCode::SUCCESS;
    }
    if !wanted {
        println!("chart: skipped (set REVEILLE_CHART=1; `make chart`)");
        return ExitCode::SUCCESS;
    }
    run(&words).unwrap_or_else(|error| {
        println!("chart: {error:#}");
        ExitCode::FAILURE
    })
}

#[expect(clippy::disallowed_methods, reason = "measures real time")]
fn run(words: &[String]) -> Result<ExitCode> {
    let Some(helm) = Helm::prepare()? else {
        return Ok(ExitCode::from(CANNOT));
    };
    let words: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let chosen =
        |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let (mut ran, mut failed) = (0, 0);
    for (name, check) in ALL.iter().filter(|(name, _)| chosen(name)) {
        let began = Instant::now();
        ran += 1;
        let (word, said) = match check(&helm) {
            Ok(said) => ("ok", said),
            Err(error) => {
                failed += 1;
                ("FAIL", format!("{error:#}"))
            }
        };
        let took = began.elapsed().as_secs_f64();
        println!("{word:<5} {name:<22} {took:>4.1} s  {said}");
    }
    ensure!(ran > 0, "no check is called so");
    println!("{} passed, {failed} failed", ran - failed);
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
