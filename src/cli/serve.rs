//! `reveille serve`.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::ServeConfig;
use crate::net::{Table, holders};
use crate::privileges;
use crate::telemetry;

/// Serves DHCP, TFTP and HTTP from a folder of manifests until it is told to
/// stop (SIGTERM, SIGINT); a second signal ends it at once.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    config: ServeConfig,
}

impl ServeArgs {
    /// Serves.
    ///
    /// # Errors
    /// What kept it from starting, or the service that ended it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config;
        telemetry::init(config.log.log_format, &config.log.log)?;
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "reveille starts");
        for path in &config.manifests {
            anyhow::ensure!(
                path.exists(),
                "there are no manifests at {}; name a folder or a file that is there",
                path.display()
            );
        }
        make_folder(&config.state, 0o750).context("--state")?;
        make_folder(&config.artifacts, 0o755).context("--artifacts")?;
        for (name, folder) in &config.roots {
            anyhow::ensure!(
                folder.is_dir(),
                "--root {name}: there is no folder {}",
                folder.display()
            );
        }
        warn_of_neighbours(&config);
        raise_file_limit();
        // Before the first thread: capabilities are a thread's own.
        match &config.user {
            Some(user) => privileges::become_user(user, &[&config.state])?,
            None => privileges::keep_capabilities()?,
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("the runtime does not start")?;
        runtime.block_on(serve(config))
    }
}

async fn serve(config: ServeConfig) -> anyhow::Result<ExitCode> {
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let app = App::bind(config, shutdown.clone())?;
    let addresses = app.addresses();
    tracing::info!(
        http = %addresses.http,
        tftp = %addresses.tftp,
        admin = %addresses.admin,
        "listening"
    );
    let run = app.run();
    tokio::pin!(run);
    loop {
        tokio::select! {
            result = &mut run => {
                result?;
                tracing::info!("stopped");
                return Ok(ExitCode::SUCCESS);
            }
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if shutdown.is_cancelled() {
            tracing::warn!("second signal: stopping at once");
            return Ok(ExitCode::FAILURE);
        }
        shutdown.cancel();
    }
}

/// Makes `folder` where it is missing, with `mode`; warns where anyone may write to it.
fn make_folder(folder: &Path, mode: u32) -> anyhow::Result<()> {
    if !folder.exists() {
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(folder)
            .with_context(|| format!("folder {} cannot be made", folder.display()))?;
        tracing::info!(folder = %folder.display(), mode = format!("{mode:o}"), "folder made");
    }
    let metadata = fs::metadata(folder)
        .with_context(|| format!("folder {} cannot be read", folder.display()))?;
    anyhow::ensure!(metadata.is_dir(), "{} is not a folder", folder.display());
    if metadata.permissions().mode() & 0o002 != 0 {
        tracing::warn!(
            folder = %folder.display(),
            "anyone on this host may change what machines boot from here; `chmod o-w` it"
        );
    }
    Ok(())
}

/// Says which programs hold ports that we are about to bind, while we are
/// still allowed to see them. DHCP servers share port 67 without an error and
/// then answer in turns.
fn warn_of_neighbours(config: &ServeConfig) {
    for (table, name, port) in [
        (Table::Udp, "DHCP", 67),
        (Table::Udp, "TFTP", config.tftp.port()),
        (Table::Tcp, "HTTP", config.http.port()),
    ] {
        for holder in holders(table, port) {
            tracing::warn!(port, program = %holder, "another program serves {name} here");
        }
    }
}

/// Each transfer has a socket and a file: as many open files as we may have.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays");
    }
}
