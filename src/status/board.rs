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
use crate::dhcp::v6::server::Ask6;
use crate::files::Roots;
use crate::lease::{Lease, Lease6, LeaseState, Record, Usages6};
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

/// Every lease that is known.
struct Leases {
    v4: Option<Vec<Arc<Lease>>>,
    v6: Option<Vec<Arc<Lease6>>>,
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
    /// The same of IPv6.
    pub leases6: mpsc::Sender<Ask6>,
    /// How many IPv6 addresses are taken.
    pub usages6: Usages6,
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
        let leases = Leases {
            v4: ask(&self.leases).await,
            v6: ask(&self.leases6).await,
        };
        // Files are looked at, and 10,000 machines are some work.
        let rows = tokio::task::spawn_blocking(move || self.rows(table, &leases));
        rows.await
            .map_err(|error| format!("the table cannot be made: {error}"))?
    }

    fn rows(&self, table: Table, leases: &Leases) -> Result<Value, String> {
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
                    leases: leases.v4.as_deref(),
                    leases6: leases.v6.as_deref(),
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
                    let usage = self.usages6.of(&key);
                    row.free6 = usage.map(|usage| usage.free);
                    row.used6 = usage.map(|usage| usage.used);
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

    fn machines(&self, now: Millis, snapshot: &Snapshot, leases: &Leases) -> Vec<MachineRow> {
        self.boots.with(|timeline| {
            machines(&Facts {
                now,
                snapshot,
                boots: &timeline.boots(),
                leases: leases.v4.as_deref(),
                leases6: leases.v6.as_deref(),
            })
        })
    }

    fn overview(&self, now: Millis, snapshot: Option<&Snapshot>, leases: &Leases) -> Overview {
        let machines = snapshot.map(|snapshot| self.machines(now, snapshot, leases));
        let ready = (self.ready)();
        let services = self.supervisor.health().into_iter();
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
            leases: leases.bound(now),
            loaders: self.loaders.rows(),
        }
    }
}

// === impl Leases ===

impl Leases {
    /// How many are lent at `now`.
    fn bound(&self, now: Millis) -> Option<usize> {
        fn count<L: Record>(leases: &[Arc<L>], now: Millis) -> usize {
            let states = leases.iter().map(|lease| lease.state_at(now));
            states.filter(|state| *state == LeaseState::Bound).count()
        }
        Some(count(self.v4.as_ref()?, now) + count(self.v6.as_ref()?, now))
    }
}

/// Every lease that `engine` knows.
async fn ask<L>(engine: &mpsc::Sender<oneshot::Sender<Vec<L>>>) -> Option<Vec<L>> {
    let (answer, leases) = oneshot::channel();
    engine.send(answer).await.ok()?;
    leases.await.ok()
}

/// Why DHCP is not served on `subnet`, where it is not.
fn trouble(services: &BTreeMap<String, State>, subnet: &SubnetEntry) -> Option<String> {
    let [_, _, v6] = listener_names(&subnet.key);
    match services.get(&v6) {
        Some(State::Down(cause)) => return Some(cause.clone()),
        None if subnet.hears_v6 => return Some("it is not served yet".to_owned()),
        Some(State::Up) | None => {}
    }
    // Relayed requests come by any listener.
    let [dhcp, boot, _] = listener_names(subnet.listener.as_deref()?);
    match (services.get(&dhcp), services.get(&boot)) {
        (Some(State::Down(cause)), _) | (_, Some(State::Down(cause))) => Some(cause.clone()),
        (Some(State::Up), Some(State::Up) | None) => None,
        (None, _) => Some("it is not served yet".to_owned()),
    }
}
