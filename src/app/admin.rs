//! The admin doors of the service: one port, one Unix socket. Shell.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::{mpsc, oneshot};

use super::explain::{Explainer, Six};
use super::{Parts, Timeline, serve_bound, tls};
use crate::artifact::keep::ScrubAsk;
use crate::clock;
use crate::dhcp::listener::listener_name;
use crate::dhcp::server::Ask;
use crate::dhcp::v6::listener::listener_name as listener6_name;
use crate::dhcp::v6::server::Ask6;
use crate::http::{AdminConfig, AdminServer, AdminSocket, Approve, HttpMetrics, Limits, Readiness};
use crate::lease;
use crate::net::{Table, bind_error};
use crate::packets::Ring;
use crate::snapshot::Reader;
use crate::status::{Board, Listening, Problems, Source};
use crate::supervisor::{State, Supervisor};
use crate::telemetry::Meter;

/// Where machines are served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doors {
    pub(super) http: SocketAddr,
    pub(super) https: Option<SocketAddr>,
    pub(super) tftp: SocketAddr,
}

/// What the admin doors tell of besides what all services share.
pub(super) struct AdminSources {
    /// Where machines are served.
    pub(super) doors: Doors,
    /// The boots.
    pub(super) timeline: Timeline,
    /// The last packets of each machine.
    pub(super) packets: Ring,
    /// Where the manifests come from.
    pub(super) source: Source,
    /// The mistakes in the manifests.
    pub(super) problems: Problems,
    /// How a machine is approved that was discovered.
    pub(super) approve: Approve,
    /// Who knows the leases.
    pub(super) ask: mpsc::Sender<Ask>,
    /// The same of IPv6.
    pub(super) ask6: mpsc::Sender<Ask6>,
    /// Who we are there.
    pub(super) six: Six,
    /// Whether leases cannot be written.
    pub(super) failing: Arc<AtomicBool>,
    /// Who reads every artifact.
    pub(super) scrub: mpsc::Sender<ScrubAsk>,
}

/// Binds the admin port and the admin socket; the port's address.
pub(super) fn bind_admin(
    parts: &Parts,
    supervisor: &Supervisor,
    sources: AdminSources,
) -> anyhow::Result<SocketAddr> {
    let at = parts.config.admin;
    let Doors { http, https, tftp } = sources.doors;
    let listening = Arc::new(OnceLock::new());
    let config = admin_config(parts, supervisor, sources, Arc::clone(&listening))?;
    let (port, path) = (config.clone(), parts.config.admin_socket());
    let tls = tls::admin(parts, supervisor)?;
    let bind = move || {
        AdminServer::bind(at, tls.clone(), port.clone())
            .map_err(|error| bind_error(Table::Tcp, "the admin port", at, at.port(), &error))
    };
    let first = bind().map_err(anyhow::Error::msg)?;
    let admin = first.local_addr()?;
    listening.get_or_init(|| Listening {
        http,
        https,
        tftp,
        admin,
    });
    serve_bound(supervisor, "admin", first, bind, AdminServer::run);

    // The lock of the lease database says that the state folder is ours.
    let alone = parts.config.admin_socket.is_none();
    let bind = move || AdminSocket::bind(&path, alone, config.clone());
    let first = bind().map_err(anyhow::Error::msg)?;
    serve_bound(supervisor, "admin-socket", first, bind, AdminSocket::run);
    Ok(admin)
}

fn admin_config(
    parts: &Parts,
    supervisor: &Supervisor,
    sources: AdminSources,
    listening: Arc<OnceLock<Listening>>,
) -> anyhow::Result<AdminConfig> {
    let AdminSources {
        timeline,
        packets,
        problems,
        approve,
        ask,
        ask6,
        six,
        failing,
        scrub,
        source,
        ..
    } = sources;
    let (health, snapshots) = (supervisor.clone(), parts.snapshots.clone());
    let is_ready: Readiness = Arc::new(move || {
        if failing.load(Ordering::Relaxed) {
            return Err("leases cannot be written: nobody gets a new one".to_owned());
        }
        ready(&snapshots, &health.health())
    });
    let board = Board {
        loaders: parts.loaders.clone(),
        snapshots: parts.snapshots.clone(),
        supervisor: supervisor.clone(),
        lookouts: parts.lookouts.clone(),
        boots: timeline.boots.clone(),
        counts: timeline.metrics,
        leases: ask.clone(),
        leases6: ask6.clone(),
        usages6: parts.usages6.clone(),
        roots: Arc::clone(&parts.roots),
        problems,
        artifacts: parts.artifacts.clone(),
        shelf: parts.shelf.clone(),
        source,
        listening,
        ready: Arc::clone(&is_ready),
        started: clock::now(),
    };
    let boots = timeline.boots;
    let explainer = Explainer::new(parts, (ask.clone(), ask6.clone()), six);
    Ok(AdminConfig {
        explain: Arc::new(move |query| Box::pin(explainer.clone().explain(query))),
        limits: Limits::default(),
        ready: is_ready,
        boots: Arc::new(move || boots.to_json()),
        leases: Arc::new(move || Box::pin(lease_lines(ask.clone(), ask6.clone()))),
        show: Arc::new(move |table| Box::pin(board.clone().show(table))),
        snapshots: parts.snapshots.clone(),
        chronicle: timeline.chronicle,
        packets,
        approve,
        scrub: Arc::new(move || Box::pin(scrubbed(scrub.clone()))),
        registry: parts.registry.clone(),
        // Counted apart from what machines fetch, and shown nowhere.
        metrics: HttpMetrics::register(&Meter::default())?,
    })
}

/// What is damaged of the artifacts, a line each.
async fn scrubbed(keeper: mpsc::Sender<ScrubAsk>) -> Result<String, String> {
    let gone = || "there is no store of artifacts; the log says why".to_owned();
    let (answer, damage) = oneshot::channel();
    keeper.send(answer).await.map_err(|_| gone())?;
    let mut lines = damage.await.map_err(|_| gone())?.join("\n");
    if !lines.is_empty() {
        lines.push('\n');
    }
    Ok(lines)
}

/// Every lease, a line of JSON each: those of IPv4, then those of IPv6.
async fn lease_lines(
    engine: mpsc::Sender<Ask>,
    engine6: mpsc::Sender<Ask6>,
) -> Result<String, String> {
    let mut lines = String::new();
    for lease in all_leases(engine).await? {
        lines.push_str(&lease::export(&*lease).map_err(|error| error.to_string())?);
        lines.push('\n');
    }
    for lease in all_leases(engine6).await? {
        lines.push_str(&lease::export(&*lease).map_err(|error| error.to_string())?);
        lines.push('\n');
    }
    Ok(lines)
}

async fn all_leases<L>(engine: mpsc::Sender<oneshot::Sender<Vec<L>>>) -> Result<Vec<L>, String> {
    let gone = || "the DHCP service is restarting; ask again".to_owned();
    let (answer, leases) = oneshot::channel();
    engine.send(answer).await.map_err(|_| gone())?;
    leases.await.map_err(|_| gone())
}

/// Ready is: a snapshot, and no service down for want of something.
fn ready(snapshots: &Reader, services: &BTreeMap<String, State>) -> Result<(), String> {
    let snapshot = snapshots.current().ok_or("no manifests were read yet")?;
    let down = services.iter().find_map(|(name, state)| match state {
        State::Up => None,
        State::Down(cause) => Some(format!("{name}: {cause}")),
    });
    if let Some(down) = down {
        return Err(down);
    }
    // Listeners are started after the snapshot; none may be missing.
    let mut listeners = snapshot
        .subnets
        .iter()
        .filter_map(|it| it.listener.as_ref());
    let missing = listeners.find(|key| !services.contains_key(&listener_name(key)));
    let mut heard6 = snapshot.subnets.iter().filter(|it| it.hears_v6);
    let missing6 = || {
        let missing = heard6.find(|it| !services.contains_key(&listener6_name(&it.key)));
        missing.map(|it| &it.key)
    };
    let missing = missing.or_else(missing6);
    missing.map_or(Ok(()), |key| Err(format!("{key} is not served yet")))
}
