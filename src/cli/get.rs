//! `reveille get`: what the running service knows, as tables.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::leases::lease_row;
use super::socket::{STRANGE, SocketArgs};
use super::table::{self, or_dash, printable};
use crate::artifact::progress::human;
use crate::boot::MacAddress;
use crate::clock::{self, Millis};
use crate::lease::AnyLease;
use crate::status::{ArtifactRow, MachineRow, ProfileRow, SubnetRow, age, span};

/// Show what the running service knows: its objects, boots and leases.
#[derive(Args, Debug)]
pub struct GetArgs {
    /// What to show.
    #[arg(value_enum)]
    kind: Kind,
    /// Only this one: by name or, for what machines have, by MAC or IP address.
    name: Option<String>,
    /// How to show it.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    socket: SocketArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The Machines, with profile, phase and latest boot.
    #[value(aliases = ["machine"])]
    Machines,
    /// Who has which address.
    #[value(aliases = ["lease"])]
    Leases,
    /// The boots that are known, the latest last.
    #[value(aliases = ["boot"])]
    Boots,
    /// The Subnets, with their free addresses.
    #[value(aliases = ["subnet"])]
    Subnets,
    /// The BootProfiles, with their machines.
    #[value(aliases = ["profile", "bootprofiles", "bootprofile"])]
    Profiles,
    /// The Artifacts, and how far they are.
    #[value(aliases = ["artifact", "art"])]
    Artifacts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Columns for people
    #[default]
    Table,
    /// More columns
    Wide,
    /// All there is, for programs
    Json,
    /// The same, easier to read
    Yaml,
}

/// What `/boots` says of a boot, as far as the table needs it.
#[derive(Debug, Deserialize)]
struct BootRow {
    mac: MacAddress,
    machine: Option<String>,
    profile: Option<String>,
    architecture: Option<String>,
    address: Option<String>,
    loader: Option<String>,
    result: String,
    started: u64,
    last_seen: u64,
    stages: Vec<StageRow>,
}

#[derive(Debug, Deserialize)]
struct StageRow {
    stage: String,
}

/// A table: its head, its rows.
type Cells = (Vec<&'static str>, Vec<Vec<String>>);

// === impl GetArgs ===

impl GetArgs {
    /// Asks and prints to `out`.
    ///
    /// # Errors
    /// The service cannot be asked; there is nothing of that name.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let mut items = self.kind.read(&self.socket)?;
        if let Some(name) = &self.name {
            items.retain(|item| is_called(item, name));
            anyhow::ensure!(
                !items.is_empty(),
                "there is no {} {name}; `reveille get {}` shows what there is",
                self.kind.one(),
                self.kind.path()
            );
        }
        match self.output {
            Output::Json => {
                serde_json::to_writer_pretty(&mut *out, &self.whole(items))?;
                writeln!(out)?;
            }
            Output::Yaml => write!(out, "{}", serde_saphyr::to_string(&self.whole(items))?)?,
            Output::Table | Output::Wide if items.is_empty() => {
                writeln!(io::stderr(), "{}", self.kind.none())?;
            }
            Output::Table | Output::Wide => {
                let wide = self.output == Output::Wide;
                let (head, rows) = self.kind.cells(items, wide, clock::now())?;
                table::print(&head, &rows, out)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The one that was asked for, or the list.
    fn whole(&self, mut items: Vec<Value>) -> Value {
        match (&self.name, items.len()) {
            (Some(_), 1) => items.pop().unwrap_or_default(),
            _ => Value::Array(items),
        }
    }
}

// === impl Kind ===

impl Kind {
    const fn path(self) -> &'static str {
        match self {
            Self::Machines => "machines",
            Self::Leases => "leases",
            Self::Boots => "boots",
            Self::Subnets => "subnets",
            Self::Profiles => "profiles",
            Self::Artifacts => "artifacts",
        }
    }

    const fn one(self) -> &'static str {
        match self {
            Self::Machines => "Machine",
            Self::Leases => "lease of",
            Self::Boots => "boot of",
            Self::Subnets => "Subnet",
            Self::Profiles => "BootProfile",
            Self::Artifacts => "Artifact",
        }
    }

    /// What is said in the place of an empty table.
    const fn none(self) -> &'static str {
        match self {
            Self::Machines => {
                "there are no Machines; what boots without one is in `reveille get boots`"
            }
            Self::Leases => "no address was lent yet",
            Self::Boots => "no machine booted since the service started",
            Self::Subnets => "no Subnet is served; `reveille status` says what is wrong",
            Self::Profiles => "there are no BootProfiles",
            Self::Artifacts => "no artifact is wanted: there are no Artifacts",
        }
    }

    fn read(self, socket: &SocketArgs) -> anyhow::Result<Vec<Value>> {
        let text = socket.get(&format!("/{}", self.path()))?;
        if self == Self::Leases {
            let lines = text.lines().map(serde_json::from_str);
            return lines.collect::<Result<_, _>>().context(STRANGE);
        }
        let mut all: Value = serde_json::from_str(&text).context(STRANGE)?;
        let items = all.get_mut(self.path()).map(Value::take);
        let items = items.context(STRANGE)?;
        serde_json::from_value(items).context(STRANGE)
    }

    fn cells(self, items: Vec<Value>, wide: bool, now: Millis) -> anyhow::Result<Cells> {
        Ok(match self {
            Self::Machines => machines(&rows::<MachineRow>(items)?, wide, now),
            Self::Subnets => subnets(&rows::<SubnetRow>(items)?, wide),
            Self::Profiles => profiles(&rows::<ProfileRow>(items)?, wide),
            Self::Artifacts => artifacts(&rows::<ArtifactRow>(items)?, wide, now),
            Self::Boots => boots(&rows::<BootRow>(items)?, wide, now),
            Self::Leases => {
                let head = super::leases::HEAD.to_vec();
                let leases = rows::<AnyLease>(items)?;
                (head, leases.iter().map(|it| lease_row(it, now)).collect())
            }
        })
    }
}

fn rows<T: DeserializeOwned>(items: Vec<Value>) -> anyhow::Result<Vec<T>> {
    let rows = items.into_iter().map(serde_json::from_value);
    rows.collect::<Result<_, _>>().context(STRANGE)
}

/// The columns of kubectl (see the printer columns in `api`), in their order.
fn machines(rows: &[MachineRow], wide: bool, now: Millis) -> Cells {
    let mut head = vec![
        "NAME",
        "PROFILE",
        "POLICY",
        "PHASE",
        "STAGE",
        "IP",
        "LAST-BOOT",
    ];
    if wide {
        head.extend(["MAC", "ARCH", "DURATION"]);
    }
    head.push("AGE");
    let several = several(rows.iter().map(|row| &row.namespace));
    let cells = rows.iter().map(|row| {
        let since = |at: Option<u64>| or_dash(at.map(|at| age(Millis(at), now)));
        let mut cells = vec![
            name(several, &row.namespace, &row.name),
            or_dash(row.profile.as_ref()),
            row.policy.clone(),
            row.phase.as_str().to_owned(),
            or_dash(row.stage.as_ref()),
            or_dash(row.ip),
            since(row.last_boot),
        ];
        if wide {
            cells.push(or_dash(row.macs.first()));
            cells.push(or_dash(row.architecture.as_ref()));
            cells.push(or_dash(row.duration_ms.map(span)));
        }
        cells.push(since(row.created));
        cells
    });
    (head, cells.collect())
}

fn subnets(rows: &[SubnetRow], wide: bool) -> Cells {
    let mut head = vec!["NAME", "MODE", "CIDR", "INTERFACE", "FREE", "USED", "READY"];
    if wide {
        head.extend(["IPV6", "FREE6", "USED6", "REASON"]);
    }
    let several = several(rows.iter().map(|row| &row.namespace));
    let cells = rows.iter().map(|row| {
        let mut cells = vec![
            name(several, &row.namespace, &row.name),
            // What it is for Auto at this moment.
            match &row.acting {
                Some(acting) if row.mode == "Auto" => format!("Auto: {acting}"),
                Some(_) | None => row.mode.clone(),
            },
            // The one there is.
            or_dash(row.cidr.as_ref().or(row.cidr6.as_ref())),
            printable(&row.interface),
            or_dash(row.free),
            or_dash(row.used),
            truth(row.ready),
        ];
        if wide {
            cells.push(or_dash(row.cidr6.as_ref()));
            cells.push(or_dash(row.free6));
            cells.push(or_dash(row.used6));
            cells.push(or_dash(row.reason.as_ref()));
        }
        cells
    });
    (head, cells.collect())
}

fn profiles(rows: &[ProfileRow], wide: bool) -> Cells {
    let mut head = vec!["NAME", "SOURCE", "DEFAULT", "MACHINES", "BOOTS", "READY"];
    head.extend(wide.then_some("REASON"));
    let several = several(rows.iter().map(|row| &row.namespace));
    let cells = rows.iter().map(|row| {
        let mut cells = vec![
            name(several, &row.namespace, &row.name),
            row.source.clone(),
            row.default.to_string(),
            row.machines.to_string(),
            row.boots.to_string(),
            truth(row.ready),
        ];
        cells.extend(wide.then(|| or_dash(row.reason.as_ref())));
        cells
    });
    (head, cells.collect())
}

fn artifacts(rows: &[ArtifactRow], wide: bool, now: Millis) -> Cells {
    let mut head = vec!["NAME", "SIZE", "PROGRESS", "READY"];
    if wide {
        head.extend(["LEFT", "FILES", "GENERATION", "FETCHED", "REASON"]);
    }
    let several = several(rows.iter().map(|row| &row.namespace));
    let cells = rows.iter().map(|row| {
        // A digest is long; its beginning is what people compare.
        let called = match row.name.get(..12) {
            Some(start) if row.anonymous => format!("sha256:{start}…"),
            Some(_) | None => name(several, &row.namespace, &row.name),
        };
        let mut cells = vec![
            called,
            or_dash(row.bytes.map(human)),
            or_dash(row.progress.as_ref()),
            truth(row.ready),
        ];
        if wide {
            cells.push(or_dash(row.seconds_left.map(|secs| span(secs * 1000))));
            cells.push(or_dash(row.files));
            cells.push(or_dash(row.generation));
            cells.push(or_dash(row.fetched.map(|at| age(Millis(at), now))));
            cells.push(or_dash(row.reason.as_deref().map(printable)));
        }
        cells
    });
    (head, cells.collect())
}

fn boots(rows: &[BootRow], wide: bool, now: Millis) -> Cells {
    let mut head = vec!["MACHINE", "PROFILE", "RESULT", "STAGE", "DURATION", "AGE"];
    if wide {
        head.extend(["MAC", "ARCH", "IP", "LOADER"]);
    }
    let cells = rows.iter().map(|row| {
        let mac = row.mac.to_string();
        let stage = row.stages.last().map(|stage| kebab(&stage.stage));
        let mut cells = vec![
            row.machine.clone().unwrap_or_else(|| mac.clone()),
            or_dash(row.profile.as_ref()),
            kebab(&row.result),
            or_dash(stage),
            span(row.last_seen.saturating_sub(row.started)),
            age(Millis(row.started), now),
        ];
        if wide {
            cells.push(mac);
            cells.push(or_dash(row.architecture.as_ref()));
            cells.push(or_dash(row.address.as_ref()));
            cells.push(or_dash(row.loader.as_deref().map(printable)));
        }
        cells
    });
    (head, cells.collect())
}

/// Whether an item goes by `wanted`: its name, `namespace/name`, MAC or IP address.
fn is_called(item: &Value, wanted: &str) -> bool {
    let field = |name: &str| item.get(name).and_then(Value::as_str);
    if let Ok(mac) = wanted.parse::<MacAddress>() {
        let mac = mac.to_string();
        let all = item.get("macs").and_then(Value::as_array);
        let among = all.is_some_and(|all| all.iter().any(|it| it.as_str() == Some(&mac)));
        return among || field("mac") == Some(&mac);
    }
    let full = field("namespace").zip(field("name"));
    let full = full.map(|(namespace, name)| format!("{namespace}/{name}"));
    let fields = ["name", "machine", "id", "address", "ip", "hostname", "key"];
    full.as_deref() == Some(wanted) || fields.iter().any(|it| field(it) == Some(wanted))
}

/// Whether the objects are of several namespaces.
fn several<'a>(mut namespaces: impl Iterator<Item = &'a String>) -> bool {
    let first = namespaces.next();
    namespaces.any(|other| Some(other) != first)
}

fn name(several: bool, namespace: &str, name: &str) -> String {
    if several {
        format!("{namespace}/{name}")
    } else {
        name.to_owned()
    }
}

/// `HandOff` as logs and the status of objects have it: `hand-off`.
fn kebab(word: &str) -> String {
    let mut kebab = String::with_capacity(word.len() + 2);
    for letter in word.chars() {
        if letter.is_ascii_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.push(letter.to_ascii_lowercase());
    }
    kebab
}

/// As conditions have it.
fn truth(truth: bool) -> String {
    if truth { "True" } else { "False" }.to_owned()
}

#[cfg(test)]
#[path = "get_tests.rs"]
mod tests;
