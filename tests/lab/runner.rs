//! Runs scenarios and trials, two at a time, and says what came of them.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::ns;
use crate::scenarios::{self, seconds};
use crate::support::assets::Assets;
use crate::support::machine::LIMIT;
use crate::support::setup::CANNOT;
use crate::trials;

/// Machines that run at once, when `REVEILLE_LAB_JOBS` does not say.
const JOBS: usize = 2;

/// A room that is still busy so long after the machine's own limit is stuck, and is torn down.
const GRACE: Duration = Duration::from_secs(60);

/// What came of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    /// This machine lacks what it needs.
    Skipped,
}

/// Runs the scenarios and trials whose names hold one of `names`; all when there is none.
pub(crate) fn run(assets: &Assets, folder: &Path, names: &[&str]) -> Result<ExitCode> {
    let names: Vec<&&str> = names.iter().filter(|name| !name.starts_with('-')).collect();
    let machines = scenarios::ALL.iter().map(|one| one.name);
    let chosen: Vec<&str> = machines
        .chain(trials::ALL.iter().map(|one| one.name))
        .filter(|one| names.is_empty() || names.iter().any(|name| one.contains(**name)))
        .collect();
    ensure!(!chosen.is_empty(), "no scenario and no trial is called so");
    let jobs = match std::env::var("REVEILLE_LAB_JOBS") {
        Ok(text) => text.parse().context("REVEILLE_LAB_JOBS")?,
        Err(_) => JOBS,
    };
    println!(
        "lab: {} scenarios and trials, {jobs} at a time, software emulation",
        chosen.len()
    );

    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, chosen.len()) {
            scope.spawn(|| {
                while let Some(name) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (outcome, text) = report(name, assets, folder);
                    // The lock also keeps the lines of one report together.
                    let mut all = outcomes.lock().unwrap_or_else(|poison| poison.into_inner());
                    all.push(outcome);
                    print!("{text}");
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap_or_default();
    let count = |wanted| outcomes.iter().filter(|one| **one == wanted).count();
    let (passed, skipped) = (count(Outcome::Passed), count(Outcome::Skipped));
    let failed = chosen.len() - passed - skipped;
    let beside = if skipped == 0 {
        String::new()
    } else {
        format!(", {skipped} skipped")
    };
    println!("{passed} passed, {failed} failed{beside}");
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs one to its end; what came of it, and the lines about it.
#[expect(clippy::disallowed_methods, reason = "measures real time")]
fn report(name: &str, assets: &Assets, folder: &Path) -> (Outcome, String) {
    let folder = folder.join(name);
    let started = Instant::now();
    let outcome = in_a_room(name, assets, &folder);
    let took = seconds(started.elapsed());
    let said = std::fs::read_to_string(folder.join("report")).unwrap_or_default();
    let mut lines: String = said.lines().map(|line| format!("      {line}\n")).collect();
    let (outcome, word) = match outcome {
        Ok(Outcome::Passed) => (Outcome::Passed, "ok"),
        Ok(Outcome::Skipped) => (Outcome::Skipped, "skip"),
        Ok(Outcome::Failed) => (Outcome::Failed, "FAIL"),
        Err(error) => {
            lines.push_str(&format!("      {error:#}\n"));
            (Outcome::Failed, "FAIL")
        }
    };
    if outcome == Outcome::Failed {
        lines.push_str(&format!("      logs and capture: {}\n", folder.display()));
    } else if std::env::var_os("REVEILLE_LAB_KEEP").is_none() {
        let _ = std::fs::remove_dir_all(&folder);
    }
    (outcome, format!("{word:<5} {name:<20} {took}\n{lines}"))
}

fn in_a_room(name: &str, assets: &Assets, folder: &Path) -> Result<Outcome> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    std::fs::write(folder.join("assets"), assets.write())?;
    let report = File::create(folder.join("report"))?;
    let place = folder.to_str().context("the target folder is not UTF-8")?;
    let child = ns::enter(&["inside", name, place])?
        .stdout(report.try_clone()?)
        .stderr(report)
        .spawn()
        .context("setpriv")?;
    let status = ns::watch(child, LIMIT + GRACE)?;
    Ok(match status.code() {
        Some(0) => Outcome::Passed,
        Some(code) if code == i32::from(CANNOT) => Outcome::Skipped,
        _ => Outcome::Failed,
    })
}
