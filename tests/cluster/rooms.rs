//! Runs trials, four rooms at a time (most wait more than they reckon), and says what came of them.
//!
//! A room is a set of namespaces ([`ns`]) with one control plane. Trials that share one run there one
//! after the other: the program's ports are the same in each.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::plane::ControlPlane;
use crate::programs::Programs;
use crate::stage::Stage;
use crate::support::assets::Assets;
use crate::support::{ns, setup};
use crate::trials::{self, MACHINES, Plane, Trial};

/// Rooms at a time, when `REVEILLE_CLUSTER_JOBS` does not say.
const JOBS: usize = 4;

/// A room that is busy for longer is stuck, and is torn down: so much, and so much for each trial.
const LIMIT: Duration = Duration::from_secs(120);
const LIMIT_EACH: Duration = Duration::from_secs(240);

/// The file that says in a room where [`Assets`] are, if there are any.
const ASSETS: &str = "assets";

/// Runs the trials whose names hold one of `words`; all when there is none.
pub(crate) fn run(programs: &Programs, folder: &Path, words: &[&str]) -> Result<ExitCode> {
    let words: Vec<&&str> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let chosen: Vec<&Trial> = trials::ALL
        .iter()
        .filter(|one| match words.is_empty() {
            true => one.name != trials::FIGURES,
            false => words.iter().any(|word| one.name.contains(**word)),
        })
        .collect();
    ensure!(!chosen.is_empty(), "no trial is called so");
    let jobs = match std::env::var("REVEILLE_CLUSTER_JOBS") {
        Ok(text) => text.parse().context("REVEILLE_CLUSTER_JOBS")?,
        Err(_) => JOBS,
    };
    let rooms = rooms(&chosen);
    let assets = match chosen.iter().any(|one| one.needs.contains(&MACHINES)) {
        true => assets(),
        false => None,
    };
    println!(
        "cluster: {} trials in {} rooms, {jobs} rooms at a time",
        chosen.len(),
        rooms.len()
    );

    let next = AtomicUsize::new(0);
    let results = Mutex::new(String::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, rooms.len()) {
            scope.spawn(|| {
                while let Some((room, names)) = rooms.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (said, result) =
                        report(programs, assets.as_ref(), &folder.join(room), names);
                    // The lock also keeps the lines of one report together.
                    let mut all = results.lock().unwrap_or_else(|poison| poison.into_inner());
                    all.push_str(&result);
                    print!("{said}");
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_default();
    let count = |wanted| results.lines().filter(|line| *line == wanted).count();
    let (passed, skipped) = (count("ok"), count("skip"));
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

/// What virtual machines boot. Without it, the trials that have some are skipped; why is said here.
fn assets() -> Option<Assets> {
    match ns::taps_possible().and_then(|()| Assets::prepare()) {
        Ok(assets) => assets,
        Err(error) => {
            println!("cluster: no virtual machines: {error:#}");
            None
        }
    }
}

/// The rooms: names and what is tried there.
fn rooms(chosen: &[&Trial]) -> Vec<(String, Vec<&'static str>)> {
    let mut rooms: Vec<(String, Vec<&'static str>)> = Vec::new();
    for (room, plane) in [("shared", Plane::Shared), ("aside", Plane::Aside)] {
        let its = chosen.iter().filter(|trial| trial.plane == plane);
        let names: Vec<&str> = its.map(|trial| trial.name).collect();
        if !names.is_empty() {
            rooms.push((room.to_owned(), names));
        }
    }
    let own = chosen
        .iter()
        .filter(|trial| matches!(trial.plane, Plane::Own(_)));
    rooms.extend(own.map(|trial| (trial.name.to_owned(), vec![trial.name])));
    rooms
}

/// Runs one room to its end: the lines about it, and a word for each trial that came to an end.
fn report(
    programs: &Programs,
    assets: Option<&Assets>,
    folder: &Path,
    names: &[&str],
) -> (String, String) {
    let outcome = room(programs, assets, folder, names);
    let mut said = fs::read_to_string(folder.join("report")).unwrap_or_default();
    let results = fs::read_to_string(folder.join("results")).unwrap_or_default();
    let ended = results.lines().count();
    if let Err(error) = outcome {
        let _ = writeln!(said, "      {error:#}");
    }
    for name in names.iter().skip(ended) {
        let _ = writeln!(said, "FAIL  {name:<24} its room ended before it");
    }
    let good = ended == names.len() && results.lines().all(|line| line != "FAIL");
    if !good {
        let _ = writeln!(said, "      logs: {}", folder.display());
    } else if std::env::var_os("REVEILLE_CLUSTER_KEEP").is_none() {
        let _ = fs::remove_dir_all(folder);
    }
    (said, results)
}

fn room(programs: &Programs, assets: Option<&Assets>, folder: &Path, names: &[&str]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    fs::write(folder.join("programs"), programs.write())?;
    if let Some(assets) = assets {
        fs::write(folder.join(ASSETS), assets.write())?;
    }
    let report = File::create(folder.join("report"))?;
    let place = folder.to_str().context("the target folder is not UTF-8")?;
    let mut words = vec!["inside", place];
    words.extend(names);
    let child = ns::enter(&words)?
        .stdout(report.try_clone()?)
        .stderr(report)
        .spawn()
        .context("setpriv")?;
    let trials = u32::try_from(names.len())?;
    ns::watch(child, LIMIT + LIMIT_EACH * trials)?;
    Ok(())
}

// === behind the walls ===

/// Starts a control plane and runs trials on it.
pub(crate) fn inside(folder: &Path, names: &[&str]) -> Result<ExitCode> {
    let programs = Programs::read(&fs::read_to_string(folder.join("programs"))?)?;
    let assets = match fs::read_to_string(folder.join(ASSETS)) {
        Ok(text) => Some(Assets::read(&text)?),
        Err(_) => None,
    };
    let mut results = File::create(folder.join("results"))?;
    let site = ns::own_run(folder)?;
    ns::run("ip link set lo up")?;
    let trials = names
        .iter()
        .map(|name| trials::named(name))
        .collect::<Result<Vec<_>>>()?;
    let parts = trials.first().context("no trials")?.plane.parts();
    let mut plane = ControlPlane::start(&programs, &site.join("plane"), parts)?;
    plane.install_crds()?;
    for trial in trials {
        let word = one(trial, &mut plane, &site.join(trial.name), assets.as_ref());
        writeln!(results, "{word}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs one trial and prints what came of it; says it in a word, too.
#[expect(clippy::disallowed_methods, reason = "measures real time")]
fn one(
    trial: &Trial,
    plane: &mut ControlPlane,
    folder: &Path,
    assets: Option<&Assets>,
) -> &'static str {
    let missing: Vec<&str> = trial
        .needs
        .iter()
        .copied()
        .filter(|name| !setup::is_here(name) || *name == MACHINES && assets.is_none())
        .collect();
    let started = Instant::now();
    let (word, lines) = if missing.is_empty() {
        match staged(trial, plane, folder, assets) {
            Ok(lines) => ("ok", lines),
            Err(error) => ("FAIL", vec![format!("{error:#}")]),
        }
    } else {
        let line = format!(
            "not here: {}; tests/lab/setup.sh installs it",
            missing.join(", ")
        );
        ("skip", vec![line])
    };
    let took = started.elapsed().as_secs_f64();
    println!("{word:<5} {:<24} {took:.1} s", trial.name);
    for line in lines.iter().flat_map(|line| line.lines()) {
        println!("      {line}");
    }
    if word != "FAIL" && std::env::var_os("REVEILLE_CLUSTER_KEEP").is_none() {
        let _ = fs::remove_dir_all(folder);
    }
    word
}

fn staged(
    trial: &Trial,
    plane: &mut ControlPlane,
    folder: &Path,
    assets: Option<&Assets>,
) -> Result<Vec<String>> {
    let mut stage = Stage::open(plane, trial.name, folder, assets)?;
    let outcome = (trial.run)(&mut stage);
    if !matches!(trial.plane, Plane::Own(_)) {
        stage.close();
    }
    outcome
}
