//! What a person sees of the real program: a real Prometheus scrapes it while machines boot, every query
//! of every dashboard is asked and drawn, every metric is to move, every alert is to fire once.
//!
//! `cargo test` skips it. `REVEILLE_WATCH=1 cargo test --test watch` runs it, in namespaces on this host.
//! It takes as long as a boot needs to stall, and a little more.
#![expect(
    clippy::print_stdout,
    reason = "a test runner of its own talks to a terminal"
)]

#[path = "../cluster/kubectl.rs"]
#[allow(dead_code, reason = "tests/cluster uses the rest")]
mod kubectl;
#[path = "../cluster/plane.rs"]
#[allow(dead_code, reason = "tests/cluster uses the rest")]
mod plane;
#[path = "../cluster/programs.rs"]
#[allow(dead_code, reason = "tests/cluster uses the rest")]
mod programs;
#[path = "../cluster/proxy.rs"]
#[allow(dead_code, reason = "tests/cluster uses the rest")]
mod proxy;
mod site;
#[path = "../cluster/stage.rs"]
#[allow(dead_code, reason = "tests/cluster uses the rest")]
mod stage;
mod storm;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "tests/lab and tests/cluster use the rest")]
mod support;
mod trouble;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::support::setup::CANNOT;
use crate::support::{ns, setup};

/// The room is stuck after this.
const LIMIT: Duration = Duration::from_secs(400);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let wanted = std::env::var_os("REVEILLE_WATCH").is_some_and(|value| value == "1");
    let outcome = match words.as_slice() {
        ["inside", folder] => site::inside(Path::new(folder)),
        ["machine", name, mac, artifacts] => storm::machine(name, mac, Path::new(artifacts)),
        // What a test runner asks before it runs anything.
        _ if words.contains(&"--list") => Ok(ExitCode::SUCCESS),
        _ if !wanted => {
            println!("watch: skipped (set REVEILLE_WATCH=1; `make watch`)");
            Ok(ExitCode::SUCCESS)
        }
        _ => outside(),
    };
    outcome.unwrap_or_else(|error| {
        println!("watch: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs on the host's side of the walls, with everything ready and a fresh folder.
fn outside() -> Result<ExitCode> {
    if let Err(error) = ns::possible() {
        println!("watch: {error:#}");
        return Ok(ExitCode::from(CANNOT));
    }
    let Some(tools) = setup::run("tests/watch/setup.sh")? else {
        return Ok(ExitCode::from(CANNOT));
    };
    let folder: PathBuf =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("watch-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    std::fs::write(folder.join("tools"), tools)?;
    let place = folder.to_str().context("the target folder is not UTF-8")?;
    let room = ns::enter(&["inside", place])?.spawn().context("setpriv")?;
    let status = ns::watch(room, LIMIT)?;
    if status.success() && std::env::var_os("REVEILLE_WATCH_KEEP").is_none() {
        let _ = std::fs::remove_dir_all(&folder);
    } else {
        println!("watch: logs: {}", folder.display());
    }
    ensure!(status.success(), "it failed in the room: {status}");
    Ok(ExitCode::SUCCESS)
}
