//! The services of a cluster, put together. Shell.

use std::path::PathBuf;
use std::sync::Arc;

use prometheus::Registry;
use tokio::sync::{Mutex, mpsc};

use super::status::{self, Leads, Sources};
use super::{Cluster, Disk, QUEUE, Setup, Source, Watches, watch_kind};
use crate::api::Kind;
use crate::dhcp::heard::Heard;
use crate::files::Roots;
use crate::lease::{LeaseIndex, Usages};
use crate::net::Links;
use crate::press::Press;
use crate::supervisor::Supervisor;
use crate::timeline::Boots;

/// What the host calls itself.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// What the services of a cluster work with.
pub struct Parts {
    /// The cluster.
    pub cluster: Cluster,
    /// Manifests beside the API.
    pub manifests: Vec<PathBuf>,
    /// Where the last good objects are kept.
    pub disk: Disk,
    /// Compiles and publishes.
    pub press: Press,
    /// Where files are.
    pub roots: Arc<Roots>,
    /// The boots.
    pub boots: Boots,
    /// Who has which address.
    pub leases: LeaseIndex,
    /// How many addresses are taken.
    pub usages: Usages,
    /// Which interface serves which Subnet.
    pub links: Links,
    /// What DHCP heard.
    pub heard: Heard,
    /// The name of a Subnet's listener among the services.
    pub listener: fn(&str) -> String,
    /// Whether this replica leads.
    pub leads: Leads,
}

/// Watches the cluster, publishes what its objects say, and tells it what
/// became of them.
///
/// # Errors
/// A registry that has the metrics already.
pub fn start(parts: Parts, supervisor: &Supervisor, registry: &Registry) -> anyhow::Result<()> {
    let (queue, seen) = mpsc::channel(QUEUE);
    let watches = Watches::register(registry)?;
    let cluster = parts.cluster;
    let (source, worlds) = Source::new(Setup {
        seen,
        press: parts.press,
        disk: parts.disk,
        manifests: parts.manifests,
        own: cluster.own.clone(),
        namespace: cluster.namespace().unwrap_or_default().to_owned(),
    });
    let sources = Sources {
        objects: source.objects.clone(),
        worlds,
        boots: parts.boots,
        leases: parts.leases,
        usages: parts.usages,
        links: parts.links,
        heard: parts.heard,
        supervisor: supervisor.clone(),
        listener: parts.listener,
        roots: parts.roots,
        leads: parts.leads,
    };
    status::start(&cluster, &replica(), sources, supervisor, registry)?;
    for kind in Kind::ALL {
        let (cluster, queue, watches) = (cluster.clone(), queue.clone(), watches.clone());
        supervisor.service(format!("watch@{kind}"), move |token| {
            let (cluster, queue) = (cluster.clone(), queue.clone());
            watch_kind(cluster, kind, queue, watches.clone(), token)
        });
    }
    let source = Arc::new(Mutex::new(source));
    supervisor.service("manifests", move |token| {
        Source::run(Arc::clone(&source), token)
    });
    Ok(())
}

/// The name of this replica: its Pod's, or its host's.
fn replica() -> String {
    let pod = std::env::var("POD_NAME").ok();
    let host = || std::fs::read_to_string(HOST_NAME).unwrap_or_default();
    let name = pod.unwrap_or_else(host);
    let name = name.trim();
    if name.is_empty() { "reveille" } else { name }.to_owned()
}
