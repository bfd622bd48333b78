//! `reveille crds`: the custom resource definitions.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::api::{self, GROUP};

/// First line of every file.
const HEADER: &str = "# Made by `make crds`; do not edit.\n";

/// Prints the custom resource definitions.
#[derive(Clone, Debug, clap::Args)]
pub struct CrdsArgs {
    /// Write one file each into this folder instead of printing them
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
}

impl CrdsArgs {
    /// Prints or writes them.
    ///
    /// # Errors
    /// Where `out` or a file cannot be written.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let Some(folder) = &self.output_dir else {
            for (_, text) in all()? {
                write!(out, "---\n{text}")?;
            }
            return Ok(ExitCode::SUCCESS);
        };
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        for (name, text) in all()? {
            let path = folder.join(name);
            std::fs::write(&path, format!("{HEADER}{text}"))
                .with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// File name and YAML of each definition.
///
/// # Errors
/// Where a definition cannot be written as YAML.
fn all() -> anyhow::Result<Vec<(String, String)>> {
    api::crds()
        .into_iter()
        .map(|crd| {
            let kind = &crd.spec.names.kind;
            let name = format!("{}.{GROUP}.yaml", crd.spec.names.plural);
            let text = serde_saphyr::to_string(&crd).with_context(|| format!("writing {kind}"))?;
            Ok((name, text))
        })
        .collect()
}
