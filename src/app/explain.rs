//! What `/explain` is told from: the snapshot, leases and addresses that the
//! doors themselves use. Shell.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::Parts;
use crate::artifact::store::Shelf;
use crate::clock;
use crate::dhcp::replica::Ask as Standing;
use crate::dhcp::scout::Lookouts;
use crate::dhcp::server::Ask as AskLeases;
use crate::dhcp::v6::server::Ask6;
use crate::explain::v6::{Caught6, World6, packet as packet6};
use crate::explain::{self, Ask, Caught, World};
use crate::http::ExplainQuery;
use crate::lease::{Authority, Change, LeaseTable, LeaseTable6};
use crate::net::{Links, Links6};
use crate::packets::options::unhex;
use crate::snapshot::Reader;
use crate::timeline::Introductions;

/// Explains; cheap to clone.
#[derive(Clone)]
pub(super) struct Explainer {
    snapshots: Reader,
    leases: mpsc::Sender<AskLeases>,
    leases6: mpsc::Sender<Ask6>,
    told: Introductions,
    links: Links,
    links6: Links6,
    six: Six,
    shelf: Shelf,
    lookouts: Lookouts,
}

/// Who we are over IPv6; cheap to clone.
#[derive(Clone)]
pub(super) struct Six {
    /// Our DUID.
    pub(super) duid: Vec<u8>,
    /// Which part of the pools is ours.
    pub(super) standing: Standing,
}

// === impl Explainer ===

impl Explainer {
    pub(super) fn new(
        parts: &Parts,
        (leases, leases6): (mpsc::Sender<AskLeases>, mpsc::Sender<Ask6>),
        six: Six,
    ) -> Self {
        Self {
            snapshots: parts.snapshots.clone(),
            leases,
            leases6,
            told: parts.told.clone(),
            links: parts.links.clone(),
            links6: parts.links6.clone(),
            six,
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
        let (mut table, mut table6) = (self.table().await?, self.table6().await?);
        let servers: BTreeMap<String, Ipv4Addr> = snapshot
            .subnets
            .iter()
            .filter_map(|subnet| Some((subnet.key.clone(), self.links.of(&subnet.key)?.address)))
            .collect();
        let servers6: BTreeMap<String, Ipv6Addr> = snapshot
            .subnets
            .iter()
            .filter_map(|subnet| Some((subnet.key.clone(), self.links6.of(&subnet.key)?.address)))
            .collect();
        let keys = snapshot.subnets.iter().map(|subnet| subnet.key.clone());
        let wires = keys.map(|key| {
            let wire = self.lookouts.wire(&key);
            (key, wire)
        });
        let wires = wires.collect();
        let (before, before6) = (table.clone(), table6.clone());
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
            six: World6 {
                table: &before6,
                servers: &servers6,
                duid: &self.six.duid,
                authority: (self.six.standing)().authority,
            },
        };
        let said = match (&query.packet, &query.who) {
            (Some(packet), _) => {
                let packet = unhex(packet).ok_or("`packet` is not hex")?;
                let subnet = query.subnet.as_deref();
                match (query.to, query.asker) {
                    (Some(IpAddr::V6(to)), Some(SocketAddr::V6(from))) => {
                        let caught = Caught6 {
                            packet: &packet,
                            from,
                            to,
                        };
                        packet6(world, &mut table6, subnet, caught).map(serde_json::to_value)
                    }
                    (Some(IpAddr::V6(_)), _) => {
                        return Err("`asker` is to say who sent it: [ADDRESS]:PORT".to_owned());
                    }
                    (to, asker) => {
                        let (to, asker) = (to.and_then(four), asker.and_then(four_at));
                        let caught = Caught {
                            packet: &packet,
                            to: to.unwrap_or(Ipv4Addr::BROADCAST),
                            boot_port: asker,
                        };
                        let exchange = explain::packet(world, &mut table, subnet, caught);
                        exchange.map(serde_json::to_value)
                    }
                }
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

    /// Those of IPv6.
    async fn table6(&self) -> Result<LeaseTable6, String> {
        let gone = || "the DHCPv6 service is restarting; ask again".to_owned();
        let (answer, leases) = oneshot::channel();
        self.leases6.send(answer).await.map_err(|_| gone())?;
        Ok(leases.await.map_err(|_| gone())?.into_iter().collect())
    }
}

const fn four(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

const fn four_at(at: SocketAddr) -> Option<SocketAddrV4> {
    match at {
        SocketAddr::V4(at) => Some(at),
        SocketAddr::V6(_) => None,
    }
}
