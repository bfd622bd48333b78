//! `reveille leases`: shows, exports and imports what the lease database holds.

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::{fs, io};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};

use super::table::{self, NONE, printable};
use crate::clock::{self, Millis};
use crate::lease::{
    self, AnyLease, Change, Format, Imported, Lease, Lease6, LeaseMetrics, LeaseStore, LeaseTable,
    LeaseTable6, Networks, Record, StoreError,
};
use crate::telemetry::Meter;

/// Reads the networks of the Subnets from a folder of manifests.
pub type ReadSubnets<'a> = &'a dyn Fn(&Path) -> anyhow::Result<Networks>;

/// Show, export or import leases. The service must be stopped: it alone has
/// the database while it runs.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Leases {
    #[command(flatten)]
    list: List,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Args, Debug)]
struct List {
    #[command(flatten)]
    state: State,
    /// How to print them.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Write the leases as lines of JSON.
    Export(Export),
    /// Read leases from a file, also from Kea's.
    Import(Import),
}

#[derive(Args, Debug)]
struct Export {
    #[command(flatten)]
    state: State,
    /// Where to write them; `-` is standard output.
    #[arg(default_value = "-")]
    file: PathBuf,
}

#[derive(Args, Debug)]
struct Import {
    #[command(flatten)]
    state: State,
    /// Where to read them from; `-` is standard input.
    file: PathBuf,
    /// What the file is.
    #[arg(long, value_enum, default_value_t = FormatArg::Auto)]
    format: FormatArg,
    /// The folder of manifests whose Subnets the leases belong to.
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct State {
    /// The state folder of the service.
    #[arg(
        long = "state",
        value_name = "DIR",
        env = "REVEILLE_STATE",
        default_value = "/var/lib/reveille"
    )]
    folder: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// Columns for people.
    Table,
    /// A JSON array.
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatArg {
    /// Look at the file.
    Auto,
    /// Lines of JSON, as `export` writes them.
    Jsonl,
    /// The CSV file of Kea's memfile backend (kea-leases4.csv, kea-leases6.csv).
    Kea,
}

// === impl Leases ===

impl Leases {
    /// Does what was asked and prints to `out`. Exit code 1 when an import
    /// had lines that it could not use; the rest of them is imported.
    ///
    /// # Errors
    /// The database is missing, damaged or in use by the service; a file
    /// cannot be read or written.
    pub fn run(&self, out: &mut impl Write, subnets: ReadSubnets<'_>) -> anyhow::Result<ExitCode> {
        match &self.action {
            None => self.list.run(out)?,
            Some(Action::Export(export)) => export.run(out)?,
            Some(Action::Import(import)) => return import.run(out, subnets),
        }
        Ok(ExitCode::SUCCESS)
    }
}

// === impl List ===

impl List {
    fn run(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let leases = self.state.read()?;
        match self.output {
            Output::Table => print_table(&leases, clock::now(), out)?,
            Output::Json => {
                serde_json::to_writer_pretty(&mut *out, &leases)?;
                writeln!(out)?;
            }
        }
        Ok(())
    }
}

// === impl Export ===

impl Export {
    fn run(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let mut text = String::new();
        for lease in self.state.read()? {
            text.push_str(&lease::export(&lease)?);
            text.push('\n');
        }
        if is_dash(&self.file) {
            out.write_all(text.as_bytes())?;
            return Ok(());
        }
        let name = self.file.display();
        fs::write(&self.file, text).with_context(|| format!("{name} cannot be written"))
    }
}

// === impl Import ===

impl Import {
    fn run(&self, out: &mut impl Write, subnets: ReadSubnets<'_>) -> anyhow::Result<ExitCode> {
        let name = self.file.display();
        let text = read(&self.file).with_context(|| format!("{name} cannot be read"))?;
        let subnets = match &self.manifests {
            Some(folder) => subnets(folder)?,
            None => Networks::default(),
        };
        let format = match self.format {
            FormatArg::Auto => Format::detect(&text),
            FormatArg::Jsonl => Format::Jsonl,
            FormatArg::Kea => Format::Kea,
        };
        let Imported {
            leases,
            leases6,
            problems,
        } = match format {
            Format::Jsonl => lease::import_jsonl(&text, &subnets),
            Format::Kea if subnets.is_empty() => {
                bail!("a lease file of Kea does not name our Subnets: --manifests DIR does")
            }
            Format::Kea => lease::import_kea(&text, &subnets),
        };
        for problem in &problems {
            writeln!(out, "{name}: {problem}")?;
        }
        let kept = self.store((leases, leases6), out)?;
        writeln!(
            out,
            "{kept} leases imported, {} lines refused",
            problems.len()
        )?;
        Ok(if problems.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    /// Puts leases into the database.
    fn store(
        &self,
        (leases, leases6): (Vec<Lease>, Vec<Lease6>),
        out: &mut impl Write,
    ) -> anyhow::Result<usize> {
        let metrics = LeaseMetrics::register(&Meter::default())?;
        let opened = LeaseStore::open(&self.state.file(), metrics);
        let (store, existing, trouble) = opened.map_err(|error| self.state.explain(error))?;
        if let Some(trouble) = trouble {
            let reason = trouble.reason.as_str();
            writeln!(out, "lease database: {reason}: {}", trouble.detail)?;
            if let Some(aside) = trouble.moved_to {
                writeln!(out, "the old one is now {}", aside.display())?;
            }
        }
        let existing: LeaseTable = existing.into_iter().collect();
        let existing6: LeaseTable6 = store.leases6().iter().cloned().collect();
        let changes = newer(leases, |address| existing.get(address), out)?;
        let changes6 = newer(leases6, |address| existing6.get(address), out)?;
        let count = changes.len() + changes6.len();
        store.committer().commit(changes)?;
        store.committer().commit6(changes6)?;
        store.close();
        Ok(count)
    }
}

/// The changes that take `leases` in. Of two for one address the one that ends
/// later stays: it is the one that a machine may be using.
fn newer<'a, L: Record + 'a>(
    leases: Vec<L>,
    existing: impl Fn(L::Address) -> Option<&'a L>,
    out: &mut impl Write,
) -> io::Result<Vec<Change<L>>> {
    let mut changes = Vec::new();
    for lease in leases {
        match existing(lease.address()) {
            Some(other) if other.expires() > lease.expires() => {
                let (address, key): (IpAddr, _) = (lease.address().into(), other.key());
                writeln!(out, "{address}: kept the newer lease of {key}")?;
            }
            Some(_) | None => changes.push(Change::put(lease)),
        }
    }
    Ok(changes)
}

// === impl State ===

impl State {
    fn file(&self) -> PathBuf {
        self.folder.join(lease::FILE)
    }

    /// The leases in the order of addresses, those of IPv6 last.
    fn read(&self) -> anyhow::Result<Vec<AnyLease>> {
        let (leases, leases6, trouble) =
            LeaseStore::read(&self.file()).map_err(|error| self.explain(error))?;
        if let Some(trouble) = trouble {
            let reason = trouble.reason.as_str();
            tracing::warn!(reason, detail = trouble.detail, "lease database");
        }
        let leases = leases.into_iter().map(Arc::unwrap_or_clone);
        let leases6 = leases6.into_iter().map(Arc::unwrap_or_clone);
        let leases = leases.map(AnyLease::V4);
        Ok(leases.chain(leases6.map(AnyLease::V6)).collect())
    }

    fn explain(&self, error: StoreError) -> anyhow::Error {
        let folder = self.folder.display();
        if matches!(error, StoreError::Locked(_)) {
            anyhow::anyhow!(
                "the service is running and alone has the leases in {folder}; \
                 ask it for them (`reveille get leases`) or stop it"
            )
        } else {
            error.into()
        }
    }
}

fn print_table(leases: &[AnyLease], now: Millis, out: &mut impl Write) -> io::Result<()> {
    let rows: Vec<_> = leases.iter().map(|lease| lease_row(lease, now)).collect();
    table::print(&HEAD, &rows, out)
}

/// The columns of a table of leases.
pub(super) const HEAD: [&str; 6] = ["ADDRESS", "MACHINE", "HOSTNAME", "SUBNET", "STATE", "ENDS"];

/// A lease in such a table.
pub(super) fn lease_row(lease: &AnyLease, now: Millis) -> Vec<String> {
    match lease {
        AnyLease::V4(lease) => row(lease, lease.hostname.as_deref(), now),
        AnyLease::V6(lease) => row(lease, None, now),
    }
}

fn row<L: Record>(lease: &L, hostname: Option<&str>, now: Millis) -> Vec<String> {
    let address: IpAddr = lease.address().into();
    vec![
        address.to_string(),
        lease.key().to_string(),
        printable(hostname.unwrap_or(NONE)),
        lease.subnet().to_string(),
        lease.state_at(now).as_str().to_owned(),
        ends(lease.expires(), now),
    ]
}

/// How long a lease still lasts, or lasted: `in 1h 5m`, `12m ago`.
fn ends(end: Millis, now: Millis) -> String {
    let secs = end.since(now).max(now.since(end)) / 1000;
    let span = match (secs / 86_400, secs / 3600 % 24, secs / 60 % 60) {
        (0, 0, 0) => format!("{secs}s"),
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    };
    if end > now {
        format!("in {span}")
    } else {
        format!("{span} ago")
    }
}

fn is_dash(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn read(file: &Path) -> io::Result<String> {
    if is_dash(file) {
        io::read_to_string(io::stdin())
    } else {
        fs::read_to_string(file)
    }
}

#[cfg(test)]
#[path = "leases_tests.rs"]
mod tests;
