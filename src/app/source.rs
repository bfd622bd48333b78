//! Where the manifests come from, put together: a folder, or a cluster with
//! all that is told it. Shell.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, watch};

use super::discovery::{self, Ears};
use super::{Manifests, Parts, tls};
use crate::api::Kind;
use crate::clock;
use crate::dhcp::listener::listener_names;
use crate::dhcp::replica::Replica;
use crate::dhcp::server::Ask;
use crate::dhcp::v6::replica::Replica as Replica6;
use crate::dhcp::v6::server::Ask6;
use crate::http::Approve;
use crate::operator::{self, Cluster, Leads, World};
use crate::press::{Doors, Press, SnapshotMetrics};
use crate::snapshot::Publisher;
use crate::standalone;
use crate::status::Problems;
use crate::supervisor::Supervisor;

/// What a source is started with.
pub(super) struct Sources {
    /// Where snapshots go.
    pub(super) publisher: Publisher,
    /// Where mistakes go.
    pub(super) problems: Problems,
    /// What discovery hears.
    pub(super) ears: Ears,
    /// Asks the engine for its leases.
    pub(super) table: mpsc::Sender<Ask>,
    /// The same of IPv6.
    pub(super) table6: mpsc::Sender<Ask6>,
    /// Whether the lease table was not there at the start.
    pub(super) fresh: bool,
}

/// What a source gives the rest of the service.
pub(super) struct Started {
    /// How a machine is approved that was discovered.
    pub(super) approve: Approve,
    /// What this replica may give of the pools.
    pub(super) replica: Replica,
    /// The same of IPv6.
    pub(super) replica6: Replica6,
}

/// Reads the manifests, publishes what they say, and goes on watching them.
pub(super) fn start(
    parts: &Parts,
    supervisor: &Supervisor,
    manifests: Manifests,
    sources: Sources,
) -> anyhow::Result<Started> {
    match manifests {
        Manifests::Folder(paths) => folder(parts, supervisor, paths, sources),
        Manifests::Cluster(found, manifests) => {
            cluster(parts, supervisor, found, manifests, sources)
        }
    }
}

fn folder(
    parts: &Parts,
    supervisor: &Supervisor,
    paths: Vec<PathBuf>,
    sources: Sources,
) -> anyhow::Result<Started> {
    let press = press(parts, sources.publisher, sources.problems)?;
    let (roster, approve) = discovery::beside_folder(parts, supervisor, sources.ears)?;
    let mut source = standalone::Source::new(paths, press, roster);
    source.start();
    let source = Arc::new(Mutex::new(source));
    supervisor.service("manifests", move |token| {
        standalone::Source::run(Arc::clone(&source), token)
    });
    let replica = Replica::sole(None);
    Ok(Started {
        approve,
        replica6: Replica6::unmirrored(replica.ask()),
        replica,
    })
}

fn cluster(
    parts: &Parts,
    supervisor: &Supervisor,
    cluster: Cluster,
    manifests: Vec<PathBuf>,
    sources: Sources,
) -> anyhow::Result<Started> {
    let press = press(parts, sources.publisher, sources.problems)?;
    let (objects, worlds) = watch(parts, supervisor, press, &cluster, manifests)?;
    let tied = operator::start_replica(operator::ReplicaSetup {
        cluster: &cluster,
        objects: objects.clone(),
        registry: &parts.registry,
        supervisor,
        snapshots: parts.snapshots.clone(),
        table: sources.table,
        table6: sources.table6,
        state: &parts.config.state,
        fresh: sources.fresh,
        siblings: (parts.links.clone(), parts.heard.clone()),
    })?;
    let leader = tied.leader;
    // One replica leads itself.
    let leads: Leads = Arc::new(move || {
        let mut leader = leader.iter();
        leader.all(|leader| leader.is_leader(clock::uptime()))
    });
    let told = operator::status::Sources {
        objects: objects.clone(),
        worlds,
        boots: parts.boots.clone(),
        leases: parts.leases.clone(),
        usages: parts.usages.clone(),
        usages6: parts.usages6.clone(),
        links: parts.links.clone(),
        links6: parts.links6.clone(),
        heard: parts.heard.clone(),
        supervisor: supervisor.clone(),
        listeners: listener_names,
        lookouts: parts.lookouts.clone(),
        roots: Arc::clone(&parts.roots),
        artifacts: parts.artifacts.clone(),
        shelf: parts.shelf.clone(),
        leads: Arc::clone(&leads),
    };
    operator::status::start(&cluster, told, supervisor, &parts.registry)?;
    let approve =
        discovery::in_cluster(parts, supervisor, sources.ears, (cluster, objects), leads)?;
    Ok(Started {
        approve,
        replica: tied.replica,
        replica6: tied.replica6,
    })
}

/// Watches the cluster, and publishes what its objects say.
fn watch(
    parts: &Parts,
    supervisor: &Supervisor,
    press: Press,
    cluster: &Cluster,
    manifests: Vec<PathBuf>,
) -> anyhow::Result<(operator::Shared, watch::Receiver<Option<World>>)> {
    let (queue, seen) = mpsc::channel(operator::QUEUE);
    let watches = operator::Watches::register(&parts.registry)?;
    let (source, worlds) = operator::Source::new(operator::Setup {
        seen,
        press,
        disk: operator::Disk::new(&parts.config.state),
        manifests,
        own: cluster.own.clone(),
        namespace: cluster.namespace().unwrap_or_default().to_owned(),
    });
    for kind in Kind::ALL {
        let (cluster, queue, watches) = (cluster.clone(), queue.clone(), watches.clone());
        supervisor.service(format!("watch@{kind}"), move |token| {
            let (cluster, queue) = (cluster.clone(), queue.clone());
            operator::watch_kind(cluster, kind, queue, watches.clone(), token)
        });
    }
    let objects = source.objects.clone();
    let source = Arc::new(Mutex::new(source));
    supervisor.service("manifests", move |token| {
        operator::Source::run(Arc::clone(&source), token)
    });
    Ok((objects, worlds))
}

fn press(parts: &Parts, publisher: Publisher, problems: Problems) -> anyhow::Result<Press> {
    Ok(Press::new(
        Arc::clone(&parts.roots),
        parts.loaders.clone(),
        Doors {
            http: parts.config.http.port(),
            https: tls::door(parts),
        },
        publisher,
        problems,
        SnapshotMetrics::register(&parts.registry)?,
        parts.shelf.clone(),
    )
    .with_spent(parts.spent.clone())
    .with_board(parts.artifacts.clone()))
}
