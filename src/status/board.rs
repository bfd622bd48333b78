//! Gathers the facts for the tables. Shell.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::{
    Facts, Listening, Loaded, MachineRow, Overview, Problems, Service, Source, artifacts, machines,
    profiles, subnets,
};
use crate::artifact::store::Shelf;
use crate::clock::{self, Millis};
use crate::dhcp::listener::listener_names;
use crate::dhcp::scout::Lookouts;
use crate::dhcp::server::Ask;
use crate::files::Roots;
use crate::lease::{Lease, LeaseState, Record as _};
use crate::loaders::Loaders;
use crate::press::missing_of;
use crate::snapshot::{Reader, Snapshot, SubnetEntry};
use crate::supervisor::{State, Supervisor};
use crate::timeline::{BootMetrics, BootResult, Boots};

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// How the service is: an [`Overview`].
    Overview,
    /// `{"machines": [`[`MachineRow`]`…]}`.
    Machines,
    /// `{"subnets": [`[`SubnetRow`](super::SubnetRow)`…]}`.
    Subnets,
    /// `{"artifacts": [`[`ArtifactRow`](super::ArtifactRow)`…]}`.
    Artifacts,
    /// `{"profiles": [`[`ProfileRow`](super::ProfileRow)`…]}`.
    Profiles,
}

/// Says whether boots can be served; the error is the reason why not.
type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Where the facts are. Cheap to clone.
#[derive(Clone)]
pub struct Board {
    /// What is served.
    pub snapshots: Reader,
    /// The services.
    pub supervisor: Supervisor,
    /// What was found of other DHCP servers.
    pub lookouts: Lookouts,
    /// The boots.
    pub boots: Boots,
    /// The counts of boots.
    pub counts: BootMetrics,
    /// Who knows the leases.
    pub leases: mpsc::Sender<Ask>,
    /// The files.
    pub roots: Arc<Roots>,
    /// The loaders.
    pub loaders: Loaders,
    /// How artifacts are.
    pub artifacts: crate::artifact::keep::Board,
    /// Which of them are there.
    pub shelf: Shelf,
    /// The mistakes.
    pub problems: Problems,
    /// Where manifests come from.
    pub source: Source,
    /// Where the service listens, once every door is bound.
    pub listening: Arc<OnceLock<Listening>>,
    /// Whether boots can be served.
    pub ready: Ready,
    /// When the service started.
    pub started: Millis,
}

impl Board {
    /// The table.
    ///
    /// # Errors
    /// Why it cannot be shown now.
    pub async fn show(self, table: Table) -> Result<Value, String> {
        let leases = self.ask_leases().await;
        // Files are looked at, and 10,000 machines are some work.
        let rows = tokio::task::spawn_blocking(move || self.rows(table, leases.as_deref()));
        rows.await
            .map_err(|error| format!("the table cannot be made: {error}"))?
    }

    async fn ask_leases(&self) -> Option<Vec<Arc<Lease>>> {
        let (answer, leases) = oneshot::channel();
        self.leases.send(answer).await.ok()?;
        leases.await.ok()
    }

    fn rows(&self, table: Table, leases: Option<&[Arc<Lease>]>) -> Result<Value, String> {
        let now = clock::now();
        let current = self.snapshots.current();
        if table == Table::Overview {
            let overview = self.overview(now, current.as_deref(), leases);
            return serde_json::to_value(overview).map_err(|error| error.to_string());
        }
        let snapshot = current.ok_or("no manifests were read yet")?;
        Ok(match table {
            Table::Overview | Table::Machines => {
                json!({ "machines": self.machines(now, &snapshot, leases) })
            }
            Table::Subnets => {
                let facts = Facts {
                    now,
                    snapshot: &snapshot,
                    boots: &[],
                    leases,
                };
                let health = self.supervisor.health();
                let mut rows = subnets(&facts, &|subnet| trouble(&health, subnet));
                for row in &mut rows {
                    let key = format!("{}/{}", row.namespace, row.name);
                    let subnet = snapshot.subnet(&key);
                    row.acting = subnet.map(|subnet| {
                        let acting = self.lookouts.acting(&key, &subnet.spec);
                        acting.as_str().to_owned()
                    });
                }
                json!({ "subnets": rows })
            }
            Table::Artifacts => {
                let table = self.shelf.table();
                let rows = artifacts(now, &snapshot, &table, &|name| self.artifacts.of(name));
                json!({ "artifacts": rows })
            }
            Table::Profiles => {
                let machines = self.machines(now, &snapshot, leases);
                let missing = |profile: &_| {
                    let files = missing_of(profile, &self.roots).into_iter();
                    files.map(str::to_owned).collect()
                };
                let rows = profiles(&snapshot, &machines, &missing, &|name| {
                    self.counts.handed_off(&name.name)
                });
                json!({ "profiles": rows })
            }
        })
    }

    fn machines(
        &self,
        now: Millis,
        snapshot: &Snapshot,
        leases: Option<&[Arc<Lease>]>,
    ) -> Vec<MachineRow> {
        self.boots.with(|timeline| {
            machines(&Facts {
                now,
                snapshot,
                boots: &timeline.boots(),
                leases,
            })
        })
    }

    fn overview(
        &self,
        now: Millis,
        snapshot: Option<&Snapshot>,
        leases: Option<&[Arc<Lease>]>,
    ) -> Overview {
        let machines = snapshot.map(|snapshot| self.machines(now, snapshot, leases));
        let ready = (self.ready)();
        let services = self.supervisor.health().into_iter();
        let is_bound = |lease: &&Arc<Lease>| lease.state_at(now) == LeaseState::Bound;
        Overview {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: now.since(self.started) / 1000,
            ready: ready.is_ok(),
            reason: ready.err(),
            source: self.source.clone(),
            listening: self.listening.get().copied(),
            snapshot: snapshot.map(Loaded::of),
            services: services
                .map(|(name, state)| match state {
                    State::Up => (name, true, None),
                    State::Down(cause) => (name, false, Some(cause)),
                })
                .map(|(name, up, cause)| Service { name, up, cause })
                .collect(),
            problems: self.problems.get(),
            phases: Overview::count(machines.as_deref().unwrap_or_default()),
            booting: self.boots.with(|timeline| {
                let boots = timeline.boots().into_iter();
                let running = boots.filter(|boot| boot.result == BootResult::Running);
                running.count()
            }),
            leases: leases.map(|leases| leases.iter().filter(is_bound).count()),
            loaders: self.loaders.rows(),
        }
    }
}

/// Why DHCP is not served on `subnet`, where it is not.
fn trouble(services: &BTreeMap<String, State>, subnet: &SubnetEntry) -> Option<String> {
    // Relayed requests come by any listener.
    let [dhcp, boot, _] = listener_names(subnet.listener.as_deref()?);
    let [_, _, v6] = listener_names(&subnet.key);
    if let Some(State::Down(cause)) = services.get(&v6) {
        return Some(cause.clone());
    }
    match (services.get(&dhcp), services.get(&boot)) {
        (Some(State::Down(cause)), _) | (_, Some(State::Down(cause))) => Some(cause.clone()),
        (Some(State::Up), Some(State::Up) | None) => None,
        (None, _) => Some("it is not served yet".to_owned()),
    }
}
