//! `reveille operator`.

use std::process::ExitCode;

use clap::Args;

use super::service::{self, From};
use crate::config::ServiceConfig;
use crate::operator::ClusterArgs;

/// Serves DHCP, TFTP and HTTP as the resources of a cluster say until it is
/// told to stop (SIGTERM, SIGINT); a second signal ends it at once. Without the
/// API server it serves what it knew last.
#[derive(Clone, Debug, Args)]
pub struct OperatorArgs {
    #[command(flatten)]
    cluster: ClusterArgs,

    #[command(flatten)]
    config: ServiceConfig,
}

impl OperatorArgs {
    /// Serves.
    ///
    /// # Errors
    /// What kept it from starting, or the service that ended it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        service::run(self.config, From::Cluster(self.cluster))
    }
}
