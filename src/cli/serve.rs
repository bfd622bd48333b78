//! `reveille serve`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::service::{self, From};
use crate::config::ServiceConfig;

/// Serves DHCP, TFTP and HTTP from a folder of manifests until it is told to
/// stop (SIGTERM, SIGINT); a second signal ends it at once.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Folders and files with manifests; folders are watched.
    #[arg(required = true, value_name = "PATH")]
    manifests: Vec<PathBuf>,

    #[command(flatten)]
    config: ServiceConfig,
}

impl ServeArgs {
    /// Serves.
    ///
    /// # Errors
    /// What kept it from starting, or the service that ended it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        service::run(self.config, From::Folder(self.manifests))
    }
}
