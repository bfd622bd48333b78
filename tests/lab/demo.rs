//! `make demo`: three machines wake up, told as a story.

use std::io::{IsTerminal as _, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::boots::Boot;
use crate::ns;
use crate::room::{Room, TICK};
use crate::scenarios::{FIRST_LIGHT, FIRST_LIGHT_MANIFESTS, command_line, project, seconds};
use crate::support::assets::Assets;
use crate::support::machine::{AWAKE, LIMIT, Machine, Running, expect_command_line};
use crate::support::server::Server;

/// What a user sees who sets nothing.
const LOG: &str = "info";

/// The host's side: opens the room and lets it talk to this terminal.
pub(crate) fn invite(assets: &Assets, folder: &Path) -> Result<ExitCode> {
    std::fs::write(folder.join("assets"), assets.write())?;
    let place = folder.to_str().context("the target folder is not UTF-8")?;
    let status = ns::enter(&["inside", "demo", place])?
        .status()
        .context("setpriv")?;
    if status.success() {
        let _ = std::fs::remove_dir_all(folder);
        return Ok(ExitCode::SUCCESS);
    }
    println!("\n  serial logs, server log, capture: {}", folder.display());
    Ok(ExitCode::FAILURE)
}

/// The room's side.
pub(crate) fn tell(assets: Assets, folder: &Path) -> Result<ExitCode> {
    let style = Style::of_terminal();
    println!("\n{}\n", style.bold("First light"));
    println!("  Three machines without a disk are switched on; Reveille wakes them up.");
    println!("  Manifests: {FIRST_LIGHT_MANIFESTS}. Emulated in software: about a minute.\n");
    let room = Room::open(&project(FIRST_LIGHT_MANIFESTS), assets, folder, LOG)?;
    let mut story = Story::begin(&room.server, style);
    story.follow();
    story.say(&format!(
        "ready {} ms after its start",
        room.server.ready_after.as_millis()
    ));
    let ends = boot_all(room, &mut story)?;
    let awake = ends.ends.iter().all(|end| end.outcome.is_ok());
    summary(&ends, style);
    Ok(if awake {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What came of a machine.
struct End {
    machine: Machine,
    outcome: Result<(Boot, Duration)>,
}

/// What came of all.
struct Ends {
    ends: Vec<End>,
    memory: Option<u64>,
}

fn boot_all(mut room: Room, story: &mut Story) -> Result<Ends> {
    let mut on: Vec<Running> = Vec::new();
    for machine in FIRST_LIGHT {
        story.say(&event(machine, "power-on", machine.firmware.as_str()));
        on.push(room.power_on(machine)?);
    }
    let mut ends: Vec<End> = Vec::new();
    while !on.is_empty() {
        sleep(TICK);
        story.follow();
        room.server.alive()?;
        let mut still = Vec::new();
        for mut running in on {
            match look(&room, &mut running, story) {
                Some(outcome) => ends.push(End {
                    machine: running.machine,
                    outcome,
                }),
                None => still.push(running),
            }
        }
        on = still;
    }
    story.follow();
    ends.sort_by_key(|end| end.machine.mac);
    let memory = room.server.resident().ok();
    Ok(Ends { ends, memory })
}

/// `None` while the machine is still on its way.
fn look(room: &Room, running: &mut Running, story: &mut Story) -> Option<Result<(Boot, Duration)>> {
    let machine = running.machine;
    let off = running.is_off();
    let Some(said) = running.said(AWAKE) else {
        let trouble = if off {
            "went off before it was awake".to_owned()
        } else if running.uptime() > LIMIT {
            format!("is not awake after {} s", LIMIT.as_secs())
        } else {
            return None;
        };
        story.shout(&event(machine, "asleep", &trouble));
        return Some(Err(anyhow::anyhow!(trouble)));
    };
    let after = running.uptime();
    story.follow();
    story.shout(&event(
        machine,
        "awake",
        &format!("in user space, {} after power-on", seconds(after)),
    ));
    Some(
        expect_command_line(&said, machine.name, &command_line(machine))
            .and_then(|()| room.one_boot(machine.mac))
            .map(|boot| (boot, after)),
    )
}

/// Our own event, in the shape of the server's lines about a boot.
fn event(machine: Machine, what: &str, how: &str) -> String {
    format!("{:<16} {:>7}  {what:<10} {how}", machine.name, "")
}

// === the end of the story ===

/// The stages that the table shows, with its headings.
const STAGES: [(&str, &str); 6] = [
    ("Ack", "address"),
    ("Loader", "loader"),
    ("Script", "script"),
    ("Kernel", "kernel"),
    ("Initrd", "initrd"),
    ("HandOff", "handed off"),
];

fn summary(ends: &Ends, style: Style) {
    let mut rows = vec![heading()];
    for End { machine, outcome } in &ends.ends {
        match outcome {
            Ok((boot, after)) => rows.push(row(*machine, boot, *after)),
            Err(_) => rows.push(vec![
                machine.name.to_owned(),
                machine.firmware.as_str().to_owned(),
                "did not wake".to_owned(),
            ]),
        }
    }
    println!();
    for (index, line) in columns(&rows).iter().enumerate() {
        println!(
            "  {}",
            if index == 0 {
                style.bold(line)
            } else {
                line.clone()
            }
        );
    }
    println!(
        "\n  {}",
        style.dim("Seconds since the machine's first packet; awake: since power-on.")
    );
    for End { machine, outcome } in &ends.ends {
        if let Err(error) = outcome {
            println!("  {}: {error:#}", machine.name);
        }
    }
    if let Some(memory) = ends.memory {
        println!("  The server holds {} MiB after these boots.", memory >> 20);
    }
    let program = relative(Server::program());
    println!("\n{}\n", style.bold("Try next"));
    println!("  {program} check {FIRST_LIGHT_MANIFESTS}");
    println!("  $EDITOR {FIRST_LIGHT_MANIFESTS}/profile.yaml && make demo");
    println!("  make lab\n");
}

/// The way to a file as one types it at the project's root.
fn relative(path: PathBuf) -> String {
    path.strip_prefix(env!("CARGO_MANIFEST_DIR"))
        .unwrap_or(&path)
        .display()
        .to_string()
}

fn heading() -> Vec<String> {
    let fixed = ["machine", "firmware", "profile", "ip"];
    fixed
        .into_iter()
        .chain(STAGES.map(|(_, heading)| heading))
        .chain(["awake"])
        .map(str::to_owned)
        .collect()
}

fn row(machine: Machine, boot: &Boot, after: Duration) -> Vec<String> {
    let mut cells = vec![
        machine.name.to_owned(),
        machine.firmware.as_str().to_owned(),
        boot.profile.clone(),
        boot.address.clone(),
    ];
    cells.extend(STAGES.map(|(stage, _)| {
        boot.at(stage).map_or_else(
            || "-".to_owned(),
            |at| format!("{:.1}", Duration::from_millis(at).as_secs_f64()),
        )
    }));
    cells.push(format!("{:.1}", after.as_secs_f64()));
    cells
}

/// Rows as lines: the names to the left, the numbers to the right.
fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column).map(String::len))
            .max()
            .unwrap_or_default()
    };
    rows.iter()
        .map(|row| {
            let cells = row.iter().enumerate().map(|(column, cell)| {
                let width = width(column);
                if column < 4 {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}

// === the story ===

/// The server's own log lines and ours, as they come, each with its second.
struct Story {
    log: PathBuf,
    read: u64,
    begun: Instant,
    style: Style,
}

impl Story {
    #[expect(clippy::disallowed_methods, reason = "measures real time")]
    fn begin(server: &Server, style: Style) -> Self {
        Self {
            log: server.log().to_owned(),
            read: 0,
            begun: Instant::now(),
            style,
        }
    }

    /// Prints what the server has logged since the last time.
    fn follow(&mut self) {
        let mut text = String::new();
        let read = std::fs::File::open(&self.log).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.read))?;
            file.read_to_string(&mut text)
        });
        // Half a line, or half a character, waits for its other half.
        let Some((whole, _)) = read.ok().and_then(|_| text.rsplit_once('\n')) else {
            return;
        };
        self.read += whole.len() as u64 + 1;
        for line in whole.lines() {
            self.line(without_clock(line));
        }
    }

    fn say(&self, line: &str) {
        self.line(&self.style.dim(line));
    }

    fn shout(&self, line: &str) {
        self.line(&self.style.bold(line));
    }

    fn line(&self, line: &str) {
        println!("  {:5.1}  {line}", self.begun.elapsed().as_secs_f64());
    }
}

/// A log line without the time of day in front of it: the story has its own seconds.
fn without_clock(line: &str) -> &str {
    match line.split_once(' ') {
        Some((clock, rest)) if clock.len() == 8 && clock.matches(':').count() == 2 => rest,
        _ => line,
    }
}

/// How a terminal shows weight. A pipe, or `NO_COLOR`, gets plain text.
#[derive(Clone, Copy)]
struct Style(bool);

impl Style {
    fn of_terminal() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(!plain && std::io::stdout().is_terminal())
    }

    fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}
