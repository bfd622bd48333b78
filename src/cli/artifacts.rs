//! `reveille artifacts`: fetches, lists and verifies what is in the store.

mod air_gap;

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::telemetry::Meter;
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use super::socket::SocketArgs;
use super::table::{self, or_dash};
use crate::artifact::fetch::Fetcher;
use crate::artifact::keep::{Board, Done, Tools, fetch};
use crate::artifact::metrics::ArtifactMetrics;
use crate::artifact::progress::{Progress, human};
use crate::artifact::secrets::Secrets;
use crate::artifact::store::{Store, read_table};
use crate::artifact::{Table, Want};
use crate::clock::{self, Millis};
use crate::config::ARTIFACT_STORE;
use crate::snapshot::{Settings, compile};
use crate::standalone;
use crate::status::age;

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(100);
/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Fetch, list or verify artifacts.
#[derive(Args, Debug)]
pub struct ArtifactsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Fetch what manifests want, without a service: the service finds it there.
    Pull(Pull),
    /// List what is in the store.
    List(StoreArgs),
    /// Read every file and compare it with its digest. Exit code 1 where one
    /// is damaged; a service that runs fetches it again.
    Verify(Verify),
    /// Write what manifests need into one archive, for where there is no network.
    Export(air_gap::Export),
    /// Take an exported archive into the store. Nothing of it is served before
    /// every digest was verified.
    Import(air_gap::Import),
}

#[derive(Args, Clone, Debug)]
struct StoreArgs {
    /// The state folder; the store is in it.
    #[arg(
        long,
        env = "REVEILLE_STATE",
        value_name = "DIR",
        default_value = "/var/lib/reveille"
    )]
    state: PathBuf,
    /// The store, where it is elsewhere.
    #[arg(long, env = "REVEILLE_ARTIFACT_STORE", value_name = "DIR")]
    artifact_store: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct Pull {
    /// The Artifacts, by name or namespace/name. Default: all, and the files
    /// that profiles name by URL.
    names: Vec<String>,
    /// A folder or file with manifests; may be given several times.
    #[arg(long, short = 'f', required = true, value_name = "PATH")]
    manifests: Vec<PathBuf>,
    /// A folder whose files Artifacts may name by file:// URLs; may be given
    /// several times.
    #[arg(
        long,
        env = "REVEILLE_ARTIFACT_FILES",
        value_name = "DIR",
        value_delimiter = ':'
    )]
    artifact_files: Vec<PathBuf>,
    /// A registry that is asked without TLS, as host or host:port; may be given
    /// several times. Digests hold all the same.
    #[arg(
        long = "artifact-plain-registry",
        env = "REVEILLE_ARTIFACT_PLAIN_REGISTRIES",
        value_name = "HOST",
        value_delimiter = ','
    )]
    artifact_plain_registries: Vec<String>,
    /// The folder of Secrets: NAME/KEY, or NAME.KEY.
    #[arg(long, env = "REVEILLE_SECRETS", value_name = "DIR")]
    secrets: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Args, Debug)]
struct Verify {
    #[command(flatten)]
    store: SocketArgs,
    /// The store, where it is elsewhere.
    #[arg(long, env = "REVEILLE_ARTIFACT_STORE", value_name = "DIR")]
    artifact_store: Option<PathBuf>,
}

// === impl ArtifactsArgs ===

impl ArtifactsArgs {
    /// Does what was asked for and prints to `out`.
    ///
    /// # Errors
    /// The store or the manifests cannot be read.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        match &self.action {
            Action::Pull(pull) => pull.run(out),
            Action::List(store) => list(&store.folder(), out),
            Action::Verify(verify) => verify.run(out),
            Action::Export(export) => export.run(out),
            Action::Import(import) => import.run(out),
        }
    }
}

impl StoreArgs {
    fn folder(&self) -> PathBuf {
        let default = || self.state.join(ARTIFACT_STORE);
        self.artifact_store.clone().unwrap_or_else(default)
    }
}

fn open(folder: &Path) -> anyhow::Result<Store> {
    match Store::open(folder) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => bail!(
            "a service that runs has the store {}: it fetches by itself; \
             `reveille get artifacts` shows how far it is",
            folder.display()
        ),
        other => other.with_context(|| format!("the store {} cannot be used", folder.display())),
    }
}

fn list(folder: &Path, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let table = read_table(folder)
        .with_context(|| format!("the store {} cannot be read", folder.display()))?;
    if table.is_empty() {
        writeln!(io::stderr(), "nothing is in the store {}", folder.display())?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = clock::now();
    let rows: Vec<Vec<String>> = table
        .iter()
        .map(|(name, held)| {
            let damaged = held
                .files
                .values()
                .filter(|file| file.sha256.is_empty())
                .count();
            let verified = held.files.values().filter(|file| file.verified).count();
            vec![
                name.to_string(),
                human(held.bytes()),
                held.files.len().to_string(),
                verified.to_string(),
                held.generation.to_string(),
                age(Millis(held.made), now),
                or_dash((damaged > 0).then_some(damaged)),
            ]
        })
        .collect();
    let head = [
        "NAME",
        "SIZE",
        "FILES",
        "VERIFIED",
        "GENERATION",
        "FETCHED",
        "MISSING",
    ];
    table::print(&head, &rows, out)?;
    Ok(ExitCode::SUCCESS)
}

// === impl Verify ===

impl Verify {
    fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let default = || self.store.state().join(ARTIFACT_STORE);
        let folder = self.artifact_store.clone().unwrap_or_else(default);
        let damage: Vec<String> = match Store::open(&folder) {
            Ok(store) => {
                let mut words = Vec::new();
                for damage in store.scrub(&mut |_| true) {
                    let found = damage.found.as_deref().unwrap_or("unreadable");
                    words.push(format!(
                        "{} of Artifact {} is damaged: its SHA-256 digest is {found}, not {}",
                        damage.path, damage.name, damage.wanted
                    ));
                    store.discard(&damage).context("it cannot be taken out")?;
                }
                words
            }
            // The service reads it, and fetches again what is damaged.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let text = self.store.post("/artifacts/scrub")?;
                text.lines().map(str::to_owned).collect()
            }
            Err(error) => {
                let shown = folder.display();
                return Err(error).with_context(|| format!("the store {shown} cannot be used"));
            }
        };
        for line in &damage {
            writeln!(out, "{line}")?;
        }
        if damage.is_empty() {
            writeln!(
                out,
                "every file in {} is as it was fetched",
                folder.display()
            )?;
            return Ok(ExitCode::SUCCESS);
        }
        Ok(ExitCode::FAILURE)
    }
}

// === impl Pull ===

impl Pull {
    fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let store = Arc::new(open(&self.store.folder())?);
        let wants = self.wants(&store.shelf().table())?;
        let tools = Tools {
            store,
            fetcher: Fetcher {
                allowed: self.artifact_files.clone(),
                max_file: 0,
                plain_registries: self.artifact_plain_registries.clone(),
            },
            secrets: self.secrets.clone().map_or(Secrets::None, Secrets::Folder),
            board: Board::default(),
            metrics: ArtifactMetrics::register(&Meter::default())?,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("the runtime does not start")?;
        let mut failed = 0;
        for want in &wants {
            failed += u32::from(!runtime.block_on(one(&tools, want, out))?);
        }
        Ok(if failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    /// What the manifests want, of what was asked for.
    fn wants(&self, held: &Table) -> anyhow::Result<Vec<Want>> {
        let all = wants(&self.manifests, held)?;
        for name in &self.names {
            let is_there = all.iter().any(|want| is_called(want, name));
            anyhow::ensure!(
                is_there,
                "the manifests have no Artifact {name} that can be fetched"
            );
        }
        let is_asked =
            |want: &Want| self.names.is_empty() || self.names.iter().any(|it| is_called(want, it));
        Ok(all.into_iter().filter(is_asked).collect())
    }
}

/// What the manifests at `paths` want.
pub(super) fn wants(paths: &[PathBuf], held: &Table) -> anyhow::Result<Vec<Want>> {
    let loaded = standalone::read_paths(paths);
    let errors: Vec<_> = loaded
        .check()
        .into_iter()
        .filter(|it| it.is_error())
        .collect();
    for error in &errors {
        writeln!(io::stderr(), "not served: {}", error.line(&loaded.files))?;
    }
    let settings = Settings {
        held: Arc::new(held.clone()),
        ..Settings::default()
    };
    let snapshot = compile(1, &loaded.inputs, &settings).snapshot;
    Ok(snapshot.artifacts.into_iter().map(|it| it.want).collect())
}

fn is_called(want: &Want, name: &str) -> bool {
    want.name.name == name || want.name.to_string() == name
}

/// Fetches one; whether it is there now.
async fn one(tools: &Tools, want: &Want, out: &mut impl Write) -> anyhow::Result<bool> {
    let table = tools.store.shelf().table();
    let held = table
        .get(&want.name)
        .filter(|held| held.identity == want.identity());
    tools.board.begin(&want.name);
    let bar = bar(&want.name.to_string());
    let work = fetch(tools, want, table.get(&want.name), held.is_some());
    tokio::pin!(work);
    let mut tick = tokio::time::interval(TICK);
    let mut line = tokio::time::interval(LINE_EVERY);
    line.tick().await;
    let result = loop {
        tokio::select! {
            result = &mut work => break result,
            _ = tick.tick() => if let (Some(bar), Some(progress)) = (&bar, progress(tools, want)) {
                bar.set_length(progress.total.unwrap_or(progress.bytes));
                bar.set_position(progress.bytes);
                bar.set_message(progress.file.clone());
            },
            _ = line.tick() => if let (None, Some(progress)) = (&bar, progress(tools, want)) {
                writeln!(out, "{}: {}", want.name, progress.column())?;
            },
        }
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    match result {
        Ok(Done::New(held)) => {
            let (generation, size) = (held.generation, human(held.bytes()));
            writeln!(out, "{}: {size}, generation {generation}", want.name)?;
            Ok(true)
        }
        Ok(Done::Unchanged(held)) => {
            writeln!(out, "{}: {}, as it was", want.name, human(held.bytes()))?;
            Ok(true)
        }
        Err(failure) => {
            writeln!(io::stderr(), "{}: {failure}", want.name)?;
            Ok(false)
        }
    }
}

fn progress(tools: &Tools, want: &Want) -> Option<Progress> {
    tools.board.of(&want.name)?.fetching
}

/// A bar on a terminal.
fn bar(name: &str) -> Option<ProgressBar> {
    if !io::stderr().is_terminal() {
        return None;
    }
    let bar = ProgressBar::new(0);
    let style = "{prefix} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(name.to_owned());
    Some(bar)
}
