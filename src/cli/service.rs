//! What `reveille serve` and `reveille operator` have in common: the process
//! that serves, from its first line to its last.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::app::{App, Manifests};
use crate::config::ServiceConfig;
use crate::dhcp::destination::SERVER_PORT;
use crate::files::{ArtifactPath, Roots};
use crate::lease;
use crate::memory;
use crate::net::{Table, bind_error, file_holders, holders, try_bind};
use crate::operator::{Cluster, ClusterArgs};
use crate::privileges;
use crate::telemetry;

/// Where the manifests come from.
#[derive(Clone, Debug)]
pub(super) enum From {
    /// Files and folders.
    Folder(Vec<PathBuf>),
    /// A cluster.
    Cluster(ClusterArgs),
}

/// Serves until it is told to stop.
///
/// # Errors
/// What kept it from starting, or the service that ended it.
pub(super) fn run(config: ServiceConfig, from: From) -> anyhow::Result<ExitCode> {
    telemetry::init(config.log.log_format, &config.log.log, &config.log.log_to)?;
    let outcome = start(config, from);
    telemetry::flush();
    outcome
}

fn start(config: ServiceConfig, from: From) -> anyhow::Result<ExitCode> {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "reveille starts");
    memory::prepare();
    let manifests = match &from {
        From::Folder(paths) => paths,
        From::Cluster(cluster) => &cluster.manifests,
    };
    for path in manifests {
        anyhow::ensure!(
            path.exists(),
            "there are no manifests at {}; name a folder or a file that is there",
            path.display()
        );
    }
    make_folder(&config.state, 0o750).context("--state")?;
    make_folder(&config.artifacts, 0o755).context("--artifacts")?;
    let store = config.artifact_store();
    // A volume that takes no writes serves what it has.
    if let Err(error) = make_folder(&store, 0o755) {
        tracing::error!("--artifact-store: {error:#}");
    }
    for (name, folder) in &config.roots {
        anyhow::ensure!(
            folder.is_dir(),
            "--root {name}: there is no folder {}",
            folder.display()
        );
    }
    privileges::raise().context("capabilities")?;
    claim(&config)?;
    warn_of_neighbours();
    raise_file_limit();
    // Before the first thread: capabilities are a thread's own.
    match &config.user {
        Some(user) => privileges::become_user(user, &[&config.state], &store)?,
        None => {
            privileges::take_back(&[&config.state], &store);
            privileges::keep_capabilities()?;
        }
    }
    telemetry::write_lines().context("the log")?;
    can_read(&config, manifests)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime does not start")?;
    runtime.block_on(serve(config, from))
}

async fn serve(config: ServiceConfig, from: From) -> anyhow::Result<ExitCode> {
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let manifests = match from {
        From::Folder(paths) => Manifests::Folder(paths),
        From::Cluster(args) => Manifests::Cluster(Cluster::find(&args).await?, args.manifests),
    };
    let socket = config.admin_socket();
    let app = App::bind(config, manifests, shutdown.clone())?;
    let addresses = app.addresses();
    tracing::info!(
        http = %addresses.http,
        https = addresses.https.map(tracing::field::display),
        tftp = %addresses.tftp,
        admin = %addresses.admin,
        admin_socket = %socket.display(),
        "listening"
    );
    // Where systemd started us with Type=notify: what needs us may start now.
    tell_manager(NotifyState::Ready);
    let run = app.run();
    tokio::pin!(run);
    loop {
        tokio::select! {
            result = &mut run => {
                result?;
                tracing::info!("stopped");
                return Ok(ExitCode::SUCCESS);
            }
            _ = hangup.recv() => {
                reopen();
                continue;
            }
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if shutdown.is_cancelled() {
            tracing::warn!("second signal: stopping at once");
            return Ok(ExitCode::FAILURE);
        }
        tell_manager(NotifyState::Stopping);
        shutdown.cancel();
    }
}

/// Opens the log's file anew, which logrotate has moved away.
fn reopen() {
    match telemetry::reopen() {
        Ok(()) => tracing::info!("SIGHUP: the log is opened anew"),
        Err(error) => tracing::error!(%error, "SIGHUP: the log cannot be opened anew"),
    }
}

/// Tells systemd how it goes, where it asked to be told (`$NOTIFY_SOCKET`).
fn tell_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager cannot be told; it may take us for not started");
    }
}

/// Whether the manifests and files can be read by what this process is now:
/// without its other capabilities root may read no more than its own.
fn can_read(config: &ServiceConfig, manifests: &[PathBuf]) -> anyhow::Result<()> {
    let folders = config.roots.iter().map(|(_, folder)| folder);
    let all = manifests.iter().chain([&config.artifacts]).chain(folders);
    for path in all {
        let read = match path.is_file() {
            true => fs::File::open(path).map(drop),
            false => fs::read_dir(path).map(drop),
        };
        read.with_context(|| {
            let shown = path.display();
            format!("{shown} cannot be read by this user; `chmod o+rX` it and what is above it")
        })?;
    }
    confined(&config.artifacts)
}

/// Whether the kernel confines the tree for us; else every file would be missing.
fn confined(artifacts: &Path) -> anyhow::Result<()> {
    let roots = Roots::new(Some(artifacts.to_owned()), Vec::new(), Vec::new());
    match roots.open(&ArtifactPath::parse("/")?) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => anyhow::bail!(
            "openat2 is refused here, and no file can be served without it; Linux 5.6 has it, \
             and systemd takes it away with RestrictSUIDSGID and DynamicUser: remove them"
        ),
        Ok(_) | Err(_) => Ok(()),
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
            "anyone on this host may write here, and decide what machines boot; `chmod o-w` it"
        );
    }
    Ok(())
}

/// Makes sure that the state and the ports are nobody else's. Their owners are
/// named now, while we may still see them. A door that we have no right to is
/// left out and said, as long as machines find one of two.
fn claim(config: &ServiceConfig) -> anyhow::Result<()> {
    if let Some(holder) = file_holders(&config.state.join(lease::FILE)).first() {
        anyhow::bail!(
            "--state {}: {holder} has the lease database open; stop it, or name another folder",
            config.state.display()
        );
    }
    let mut denied: Option<String> = None;
    for (table, what, address) in [
        (Table::Tcp, "HTTP", SocketAddr::V4(config.http)),
        (Table::Udp, "TFTP", config.tftp),
        (Table::Tcp, "the admin port", config.admin),
    ] {
        let Err(error) = try_bind(table, address) else {
            continue;
        };
        let words = bind_error(table, what, address, address.port(), &error);
        match denied {
            None if error.kind() == io::ErrorKind::PermissionDenied => denied = Some(words),
            earlier => return Err(anyhow::Error::msg(earlier.unwrap_or(words))),
        }
    }
    Ok(())
}

/// Says who else serves DHCP here. DHCP servers share the port without an
/// error and then answer in turns.
fn warn_of_neighbours() {
    for holder in holders(Table::Udp, SERVER_PORT) {
        tracing::warn!(
            port = SERVER_PORT,
            program = %holder,
            "another program serves DHCP here"
        );
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
