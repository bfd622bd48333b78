//! Runs scenarios, two at a time, and says what came of them.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::assets::Assets;
use crate::ns;
use crate::room::{LIMIT, TICK};
use crate::scenarios::{ALL, Scenario, seconds};

/// Machines that run at once, when `REVEILLE_LAB_JOBS` does not say.
const JOBS: usize = 2;

/// A room that is still busy so long after the machine's own limit is stuck, and is torn down.
const GRACE: Duration = Duration::from_secs(60);

/// Runs the scenarios whose names hold one of `names`; all when there is none.
pub(crate) fn run(assets: &Assets, folder: &Path, names: &[&str]) -> Result<ExitCode> {
    let names: Vec<&&str> = names.iter().filter(|name| !name.starts_with('-')).collect();
    let chosen: Vec<Scenario> = ALL
        .into_iter()
        .filter(|one| names.is_empty() || names.iter().any(|name| one.name.contains(**name)))
        .collect();
    ensure!(!chosen.is_empty(), "no scenario is called so");
    let jobs = match std::env::var("REVEILLE_LAB_JOBS") {
        Ok(text) => text.parse().context("REVEILLE_LAB_JOBS")?,
        Err(_) => JOBS,
    };
    println!(
        "lab: {} scenarios, {jobs} at a time, software emulation",
        chosen.len()
    );

    let next = AtomicUsize::new(0);
    let failed = Mutex::new(0_usize);
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, chosen.len()) {
            scope.spawn(|| {
                while let Some(scenario) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (good, text) = report(*scenario, assets, folder);
                    // The lock also keeps the lines of one report together.
                    let mut failed = failed.lock().unwrap_or_else(|poison| poison.into_inner());
                    *failed += usize::from(!good);
                    print!("{text}");
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or(chosen.len());
    println!("{} passed, {failed} failed", chosen.len() - failed);
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs one scenario to its end; whether it was good, and the lines about it.
#[expect(clippy::disallowed_methods, reason = "measures real time")]
fn report(scenario: Scenario, assets: &Assets, folder: &Path) -> (bool, String) {
    let folder = folder.join(scenario.name);
    let started = Instant::now();
    let outcome = in_a_room(scenario, assets, &folder);
    let took = seconds(started.elapsed());
    let said = std::fs::read_to_string(folder.join("report")).unwrap_or_default();
    let indented: String = said.lines().map(|line| format!("      {line}\n")).collect();
    match outcome {
        Ok(()) => {
            if std::env::var_os("REVEILLE_LAB_KEEP").is_none() {
                let _ = std::fs::remove_dir_all(&folder);
            }
            (
                true,
                format!("ok    {:<13} {took}\n{indented}", scenario.name),
            )
        }
        Err(error) => (
            false,
            format!(
                "FAIL  {:<13} {took}\n{indented}      {error:#}\n      serial, server log, capture: {}\n",
                scenario.name,
                folder.display()
            ),
        ),
    }
}

#[expect(clippy::disallowed_methods, reason = "measures real time")]
fn in_a_room(scenario: Scenario, assets: &Assets, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    std::fs::write(folder.join("assets"), assets.write())?;
    let report = File::create(folder.join("report"))?;
    let place = folder.to_str().context("the target folder is not UTF-8")?;
    let mut child = ns::enter(&["inside", scenario.name, place])?
        .stdout(report.try_clone()?)
        .stderr(report)
        .spawn()
        .context("setpriv")?;
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "the scenario failed");
            return Ok(());
        }
        if started.elapsed() > LIMIT + GRACE {
            child.kill()?;
            child.wait()?;
            bail!("stuck; torn down");
        }
        sleep(TICK);
    }
}
