//! The listeners of DHCP, which come and go with the Subnets. Shell.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::ServiceConfig;
use crate::dhcp::listener::{Incoming, Listener, Port, listener_name};
use crate::dhcp::scout::Scout;
use crate::dhcp::server::Engine;
use crate::dhcp::story::Story;
use crate::net::Links;
use crate::snapshot::Reader;
use crate::supervisor::{Lanes, Supervisor};

/// Runs the engine of DHCP, and the listeners that the Subnets need. All in one
/// lane: a request then wakes one thread.
///
/// # Errors
/// Where the system has no more threads.
pub(super) fn start_dhcp(
    config: &ServiceConfig,
    supervisor: &Supervisor,
    engine: Engine,
    queue: mpsc::Sender<Incoming>,
    links: Links,
) -> io::Result<()> {
    let lane = Lanes::start("dhcp", Some(1))?;
    let listeners = Listeners {
        doors: [
            ("HTTP", IpAddr::V4(*config.http.ip())),
            ("TFTP", config.tftp.ip()),
        ],
        supervisor: supervisor.clone(),
        story: engine.tools.story.clone(),
        queue,
        links,
        lane: lane.clone(),
    };
    let snapshots = engine.tools.snapshots.clone();
    let engine = Arc::new(Mutex::new(engine));
    supervisor.service("dhcp", move |token| {
        let (lane, engine) = (lane.clone(), Arc::clone(&engine));
        async move { lane.run(Engine::run(engine, token)).await }
    });
    supervisor.service("subnets", move |token| {
        listeners.clone().run(snapshots.clone(), token)
    });
    Ok(())
}

/// Starts and stops listeners as Subnets come and go, without touching others.
#[derive(Clone)]
struct Listeners {
    supervisor: Supervisor,
    queue: mpsc::Sender<Incoming>,
    story: Story,
    links: Links,
    lane: Lanes,
    /// Where the services listen that machines are sent to.
    doors: [(&'static str, IpAddr); 2],
}

impl Listeners {
    async fn run(self, mut snapshots: Reader, token: CancellationToken) -> anyhow::Result<()> {
        // Dropped however this ends, so that no listener is left without an owner.
        let mut running: BTreeMap<String, (Listener, DropGuard)> = BTreeMap::new();
        let mut scouts: BTreeMap<String, (Scout, DropGuard)> = BTreeMap::new();
        loop {
            if let Some(snapshot) = snapshots.current() {
                let listeners = snapshot.subnets.iter().flat_map(Listener::of);
                let wanted: BTreeMap<String, Listener> = listeners
                    .map(|listener| (listener.port.service(&listener.subnet), listener))
                    .collect();
                running.retain(|name, (listener, _)| wanted.get(name) == Some(listener));
                self.links
                    .retain(|subnet| running.contains_key(&listener_name(subnet)));
                for (name, listener) in wanted {
                    running.entry(name).or_insert_with_key(|name| {
                        let stop = self.start(name, listener.clone()).drop_guard();
                        (listener, stop)
                    });
                }
                let found = snapshot.subnets.iter().filter_map(Scout::of);
                let wanted: BTreeMap<String, Scout> =
                    found.map(|scout| (scout.service(), scout)).collect();
                scouts.retain(|name, (scout, _)| wanted.get(name) == Some(scout));
                for (name, scout) in wanted {
                    scouts.entry(name).or_insert_with_key(|name| {
                        let stop = self.scout(name, scout.clone()).drop_guard();
                        (scout, stop)
                    });
                }
            }
            tokio::select! {
                () = token.cancelled() => break,
                more = snapshots.changed() => if !more { token.cancelled().await; break },
            }
        }
        Ok(())
    }

    /// Looks out for other servers where a Subnet says `mode: Auto`.
    fn scout(&self, name: &str, scout: Scout) -> CancellationToken {
        let name = name.to_owned();
        let this = self.clone();
        self.supervisor.service(name.clone(), move |token| {
            let (supervisor, name) = (this.supervisor.clone(), name.clone());
            let story = &this.story;
            let begun = move || supervisor.settled(&name);
            let (lookouts, heard) = (story.lookouts.clone(), story.heard.clone());
            scout.clone().run(lookouts, heard, begun, token)
        })
    }

    fn start(&self, name: &str, listener: Listener) -> CancellationToken {
        let name = name.to_owned();
        let this = self.clone();
        let doors = self.doors;
        self.supervisor.service(name.clone(), move |token| {
            let (supervisor, name) = (this.supervisor.clone(), name.clone());
            let (subnet, links) = (listener.subnet.clone(), this.links.clone());
            let port = listener.port;
            let bound = move |link: &crate::net::Link| {
                supervisor.settled(&name);
                if port == Port::Boot {
                    tracing::info!(subnet, interface = link.name, address = %link.address, "the PXE boot service (UDP 4011) serves");
                    return;
                }
                links.set(&subnet, link.clone());
                tracing::info!(subnet, interface = link.name, address = %link.address, "DHCP serves");
                for (service, at) in doors {
                    if !at.is_unspecified() && at != IpAddr::V4(link.address) {
                        tracing::warn!(
                            subnet,
                            "machines are told to use {service} at {}, but it listens on {at} only",
                            link.address
                        );
                    }
                }
            };
            let (listener, lane) = (listener.clone(), this.lane.clone());
            let heard = listener.run(this.queue.clone(), this.story.clone(), bound, token);
            async move { lane.run(heard).await }
        })
    }
}
