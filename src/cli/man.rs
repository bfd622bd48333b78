//! `reveille man`: the manual pages.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};

use super::Cli;

/// Writes a manual page of section 1 for the program and one for each
/// subcommand, made from the command line itself.
#[derive(Clone, Debug, Args)]
pub struct ManArgs {
    /// The folder to write them to; it is made when it is missing
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

impl ManArgs {
    /// Writes them.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let shown = self.folder.display();
        fs::create_dir_all(&self.folder).with_context(|| format!("making {shown}"))?;
        clap_mangen::generate_to(Cli::command(), &self.folder)
            .with_context(|| format!("writing to {shown}"))?;
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subcommand_has_a_page_with_its_flags() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("man1");
        let args = ManArgs {
            folder: folder.clone(),
        };
        args.run().unwrap();
        let cli = Cli::command();
        for command in cli.get_subcommands().filter(|one| !one.is_hide_set()) {
            let name = format!("reveille-{}.1", command.get_name());
            assert!(folder.join(&name).is_file(), "{name}");
        }
        let serve = fs::read_to_string(folder.join("reveille-serve.1")).unwrap();
        assert!(serve.contains("REVEILLE_ARTIFACTS"), "{serve}");
        assert!(folder.join("reveille.1").is_file());
    }
}
