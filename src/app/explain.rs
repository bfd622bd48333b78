//! What `/explain` is told from: the snapshot, leases and addresses that the
//! doors themselves use. Shell.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::Parts;
use crate::artifact::store::Shelf;
use crate::clock;
use crate::dhcp::scout::Lookouts;
use crate::dhcp::server::Ask as AskLeases;
use crate::explain::{self, Ask, Caught, World};
use crate::http::ExplainQuery;
use crate::lease::{Authority, Change, LeaseTable};
use crate::net::Links;
use crate::packets::options::unhex;
use crate::snapshot::Reader;
use crate::timeline::Introductions;

/// Explains; cheap to clone.
#[derive(Clone)]
pub(super) struct Explainer {
    snapshots: Reader,
    leases: mpsc::Sender<AskLeases>,
    told: Introductions,
    links: Links,
    shelf: Shelf,
    lookouts: Lookouts,
}

// === impl Explainer ===

impl Explainer {
    pub(super) fn new(parts: &Parts, leases: mpsc::Sender<AskLeases>) -> Self {
        Self {
            snapshots: parts.snapshots.clone(),
            leases,
            told: parts.told.clone(),
            links: parts.links.clone(),
            shelf: parts.shelf.clone(),
            lookouts: parts.lookouts.clone(),
        }
    }

    /// What is said to a query.
    pub(super) async fn explain(self, query: ExplainQuery) -> Result<Value, String> {
        let snapshot = self
            .snapshots
            .current()
            .ok_or("no manifests were read yet")?;
        let mut table = self.table().await?;
        let servers: BTreeMap<String, Ipv4Addr> = snapshot
            .subnets
            .iter()
            .filter_map(|subnet| Some((subnet.key.clone(), self.links.of(&subnet.key)?.address)))
            .collect();
        let keys = snapshot.subnets.iter().map(|subnet| subnet.key.clone());
        let wires = keys.map(|key| {
            let wire = self.lookouts.wire(&key);
            (key, wire)
        });
        let wires = wires.collect();
        let before = table.clone();
        let held = self.shelf.table();
        let world = World {
            snapshot: &snapshot,
            table: &before,
            told: &self.told,
            now: clock::now(),
            servers: &servers,
            wires: &wires,
            // What the one that leads would say.
            authority: Authority::Sole,
            held: &held,
        };
        let said = match (&query.packet, &query.who) {
            (Some(packet), _) => {
                let packet = unhex(packet).ok_or("`packet` is not hex")?;
                let caught = Caught {
                    packet: &packet,
                    to: query.to.unwrap_or(Ipv4Addr::BROADCAST),
                    boot_port: query.asker,
                };
                let subnet = query.subnet.as_deref();
                let exchange = explain::packet(world, &mut table, subnet, caught);
                exchange.map(serde_json::to_value)
            }
            (None, Some(who)) => {
                let ask = Ask {
                    who: who.clone(),
                    subnet: query.subnet,
                    architecture: query.arch,
                    relay: query.relay,
                };
                explain::explain(world, &ask).map(serde_json::to_value)
            }
            (None, None) => return Err("`who` or `packet` is asked for".to_owned()),
        };
        let said = said.map_err(|error| error.to_string())?;
        said.map_err(|error| error.to_string())
    }

    /// The leases as they are now.
    async fn table(&self) -> Result<LeaseTable, String> {
        let gone = || "the DHCP service is restarting; ask again".to_owned();
        let (answer, leases) = oneshot::channel();
        self.leases.send(answer).await.map_err(|_| gone())?;
        let mut table = LeaseTable::new();
        for lease in leases.await.map_err(|_| gone())? {
            table.apply(&Change::Put(lease));
        }
        Ok(table)
    }
}
