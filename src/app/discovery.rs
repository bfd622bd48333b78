//! Discovery, put together. Shell.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

use super::Parts;
use crate::discover::{Discovery, DiscoveryMetrics, Sighting};
use crate::http::Approve;
use crate::operator::{self, Cluster, Leads, Shared};
use crate::standalone::{self, Roster};
use crate::supervisor::Supervisor;
use crate::telemetry::Seldom;

/// What discovery hears, and what it counts.
pub(super) struct Ears {
    pub(super) heard: mpsc::Receiver<Sighting>,
    pub(super) metrics: DiscoveryMetrics,
}

/// Starts discovery beside a folder: where its machines are, and how one is
/// approved.
pub(super) fn beside_folder(
    parts: &Parts,
    supervisor: &Supervisor,
    ears: Ears,
) -> anyhow::Result<(Roster, Approve)> {
    let roster = Roster::open(&parts.config.state);
    let discoverer = Arc::new(Mutex::new(standalone::Discoverer {
        heard: ears.heard,
        discovery: discovery(parts)?,
        roster: roster.clone(),
        snapshots: parts.snapshots.clone(),
        metrics: ears.metrics,
        disk_fails: false,
    }));
    supervisor.service("discovery", move |token| {
        standalone::Discoverer::run(Arc::clone(&discoverer), token)
    });
    let approve = roster.clone();
    let approve: Approve = Arc::new(move |mac| {
        let roster = approve.clone();
        Box::pin(async move { tokio::task::block_in_place(|| roster.approve(mac)) })
    });
    Ok((roster, approve))
}

/// Starts discovery in a cluster; how a machine is approved.
pub(super) fn in_cluster(
    parts: &Parts,
    supervisor: &Supervisor,
    ears: Ears,
    (cluster, objects): (Cluster, Shared),
    leads: Leads,
) -> anyhow::Result<Approve> {
    let (at, known) = (cluster.clone(), objects.clone());
    let approve: Approve = Arc::new(move |mac| {
        let (at, known) = (at.clone(), known.clone());
        Box::pin(async move { operator::approve(&at, &known, mac).await })
    });
    let discoverer = Arc::new(Mutex::new(operator::Discoverer {
        heard: ears.heard,
        discovery: discovery(parts)?,
        cluster,
        objects,
        snapshots: parts.snapshots.clone(),
        leads,
        metrics: ears.metrics,
        seldom: Seldom::default(),
    }));
    supervisor.service("discovery", move |token| {
        operator::Discoverer::run(Arc::clone(&discoverer), token)
    });
    Ok(approve)
}

fn discovery(parts: &Parts) -> anyhow::Result<Discovery> {
    let seed = getrandom::u64().map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    Ok(Discovery::new(parts.config.discover.into(), seed))
}
