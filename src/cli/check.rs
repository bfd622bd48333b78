//! `reveille check`: every mistake in a folder of manifests at once.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::api::{Kind, Severity};
use crate::artifact::fetch::Fetcher;
use crate::artifact::secrets::Secrets;
use crate::artifact::{Table, online};
use crate::standalone::{Loaded, Located, diagnostics, read_paths};

/// Checks manifests without serving them.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// Files, and folders with everything below them
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// How mistakes are told
    #[arg(long, short, value_enum, default_value_t = Output::Human)]
    pub output: Output,

    /// Fail on warnings, too
    #[arg(long)]
    pub warnings_as_errors: bool,

    /// Ask for each URL and image that the manifests name, without fetching
    /// it: 8 at a time, 30 s each
    #[arg(long)]
    pub online: bool,

    /// The folder of Secrets for that: NAME/KEY, or NAME.KEY
    #[arg(
        long,
        env = "REVEILLE_SECRETS",
        value_name = "DIR",
        requires = "online"
    )]
    pub secrets: Option<PathBuf>,

    /// A registry that is asked without TLS, as host or host:port
    #[arg(
        long = "artifact-plain-registry",
        value_name = "HOST",
        requires = "online"
    )]
    pub plain_registries: Vec<String>,
}

/// How mistakes are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// With the text they are about, for people
    #[default]
    Human,
    /// One JSON array, for programs
    Json,
}

impl CheckArgs {
    /// Checks and tells. 0 where nothing is wrong, 1 where something is.
    ///
    /// # Errors
    /// Where `out` cannot be written.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        // https://no-color.org: set and not empty means no colour.
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        self.run_with(out, std::io::stdout().is_terminal() && !plain)
    }

    /// [`Self::run`], with or without colour.
    ///
    /// # Errors
    /// Where `out` cannot be written.
    pub fn run_with(&self, out: &mut impl Write, colour: bool) -> anyhow::Result<ExitCode> {
        let loaded = read_paths(&self.paths);
        let problems = loaded.check();
        match self.output {
            Output::Human => {
                for problem in &problems {
                    let text = diagnostics::render(problem, &loaded.files, colour);
                    writeln!(out, "{text}")?;
                }
                writeln!(out, "{}", summary(&loaded, &problems))?;
            }
            Output::Json => {
                let array = diagnostics::to_json(&problems, &loaded.files);
                serde_json::to_writer_pretty(&mut *out, &array)?;
                writeln!(out)?;
            }
        }
        let fails = problems
            .iter()
            .any(|problem| self.warnings_as_errors || problem.is_error());
        let fails = (self.online && !self.look(out)?) || fails;
        Ok(if fails {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }
}

impl CheckArgs {
    /// Asks for what the manifests name; whether all of it is there.
    fn look(&self, out: &mut impl Write) -> anyhow::Result<bool> {
        let wants = super::artifacts::wants(&self.paths, &Table::new())?;
        let fetcher = Fetcher {
            plain_registries: self.plain_registries.clone(),
            ..Fetcher::default()
        };
        let secrets = self.secrets.clone().map_or(Secrets::None, Secrets::Folder);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let found = runtime.block_on(online::look(&fetcher, &secrets, &wants));
        let mut missing = 0;
        for (place, result) in &found {
            if let Err(failure) = result {
                missing += 1;
                writeln!(out, "{} {}: {failure}", place.artifact, place.field)?;
            }
        }
        let there = found.len() - missing;
        writeln!(out, "{there} of {} are there", count(found.len(), "place"))?;
        Ok(missing == 0)
    }
}

/// `3 errors, 1 warning in 4 files`, or what was found where nothing is wrong.
fn summary(loaded: &Loaded, problems: &[Located]) -> String {
    let of = |severity| problems.iter().filter(|p| p.severity == severity).count();
    let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
    let files = count(loaded.files.len(), "file");
    match (errors, warnings) {
        (0, 0) => {}
        (errors, 0) => return format!("{} in {files}", count(errors, "error")),
        (0, warnings) => return format!("{} in {files}", count(warnings, "warning")),
        (errors, warnings) => {
            let (errors, warnings) = (count(errors, "error"), count(warnings, "warning"));
            return format!("{errors}, {warnings} in {files}");
        }
    }
    let kinds = Kind::ALL.map(|kind| {
        let number = match kind {
            Kind::Subnet => loaded.inputs.subnets.len(),
            Kind::BootProfile => loaded.inputs.profiles.len(),
            Kind::Machine => loaded.inputs.machines.len(),
            Kind::Artifact => loaded.inputs.artifacts.len(),
        };
        (number, kind.as_str())
    });
    let total: usize = kinds.iter().map(|(number, _)| number).sum();
    let mut text = format!("{} in {files}", count(total, "object"));
    for (index, (number, kind)) in kinds.into_iter().filter(|(n, _)| *n > 0).enumerate() {
        let separator = if index == 0 { ':' } else { ',' };
        // Writing to a string does not fail.
        let _ = write!(text, "{separator} {}", count(number, kind));
    }
    text + "; no mistakes"
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
