//! The listeners of DHCP, which come and go with the Subnets. Shell.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::ServiceConfig;
use crate::dhcp::listener::{Incoming, Listener, Port, listener_name};
use crate::dhcp::scout::Scout;
use crate::dhcp::server::Engine;
use crate::dhcp::story::Story;
use crate::dhcp::v6::listener::{
    Incoming as Incoming6, Listener as Listener6, listener_name as listener6_name,
};
use crate::dhcp::v6::server as v6;
use crate::http::{HttpConfig, HttpServer};
use crate::net::{Link6, Links, Links6, Table, bind_error};
use crate::snapshot::{Reader, Snapshot};
use crate::supervisor::{Lanes, Supervisor};
use crate::tftp::{TftpConfig, TftpServer};

/// Runs the engine of DHCP, and the listeners that the Subnets need. All in one
/// lane: a request then wakes one thread.
///
/// # Errors
/// Where the system has no more threads.
pub(super) fn start_dhcp(
    config: &ServiceConfig,
    supervisor: &Supervisor,
    (engine, queue): (Engine, mpsc::Sender<Incoming>),
    (engine6, queue6, doors6): (v6::Engine, mpsc::Sender<Incoming6>, Doors6),
    (links, links6): (Links, Links6),
) -> io::Result<()> {
    let lane = Lanes::start("dhcp", Some(1))?;
    let listeners = Listeners {
        doors: [
            ("HTTP", IpAddr::V4(*config.http.ip())),
            ("TFTP", config.tftp.ip()),
        ],
        supervisor: supervisor.clone(),
        story: engine.tools.story.clone(),
        story6: engine6.tools.story.clone(),
        queue,
        queue6,
        doors6,
        links,
        links6,
        lane: lane.clone(),
    };
    let snapshots = engine.tools.snapshots.clone();
    let engine = Arc::new(Mutex::new(engine));
    supervisor.service("dhcp", move |token| {
        let (lane, engine) = (lane.clone(), Arc::clone(&engine));
        async move { lane.run(Engine::run(engine, token)).await }
    });
    let engine6 = Arc::new(Mutex::new(engine6));
    supervisor.service("dhcp6", move |token| {
        v6::Engine::run(Arc::clone(&engine6), token)
    });
    supervisor.service("subnets", move |token| {
        listeners.clone().run(snapshots.clone(), token)
    });
    Ok(())
}

/// What the doors of IPv6 are given: as those of IPv4, but for the address.
/// There are none while no Subnet has an IPv6 network.
#[derive(Clone)]
pub(super) struct Doors6 {
    pub(super) http: HttpConfig,
    pub(super) https: Option<HttpConfig>,
    pub(super) tftp: TftpConfig,
}

/// Starts and stops listeners as Subnets come and go, without touching others.
#[derive(Clone)]
struct Listeners {
    supervisor: Supervisor,
    queue: mpsc::Sender<Incoming>,
    queue6: mpsc::Sender<Incoming6>,
    story: Story,
    story6: v6::Story,
    links: Links,
    links6: Links6,
    doors6: Doors6,
    lane: Lanes,
    /// Where the services listen that machines are sent to.
    doors: [(&'static str, IpAddr); 2],
}

impl Listeners {
    async fn run(self, mut snapshots: Reader, token: CancellationToken) -> anyhow::Result<()> {
        // Dropped however this ends, so that no listener is left without an owner.
        let mut running: BTreeMap<String, (Listener, DropGuard)> = BTreeMap::new();
        let mut scouts: BTreeMap<String, (Scout, DropGuard)> = BTreeMap::new();
        let mut running6: BTreeMap<String, (Listener6, DropGuard)> = BTreeMap::new();
        let mut doors6: Vec<DropGuard> = Vec::new();
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
                self.follow6(&snapshot, &mut running6, &mut doors6);
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

    /// The same of IPv6, with its doors of HTTP and TFTP.
    fn follow6(
        &self,
        snapshot: &Snapshot,
        running: &mut BTreeMap<String, (Listener6, DropGuard)>,
        doors: &mut Vec<DropGuard>,
    ) {
        let listeners = snapshot.subnets.iter().filter_map(Listener6::of);
        let wanted: BTreeMap<String, Listener6> = listeners
            .map(|listener| (listener6_name(&listener.subnet), listener))
            .collect();
        running.retain(|name, (listener, _)| wanted.get(name) == Some(listener));
        self.links6
            .retain(|subnet| running.contains_key(&listener6_name(subnet)));
        for (name, listener) in wanted {
            running.entry(name).or_insert_with_key(|name| {
                let stop = self.start6(name, listener.clone()).drop_guard();
                (listener, stop)
            });
        }
        let mut subnets = snapshot.subnets.iter();
        if !subnets.any(|subnet| subnet.spec.ipv6.is_some()) {
            doors.clear();
        } else if doors.is_empty() {
            doors.extend(self.open_doors6());
        }
    }

    fn start6(&self, name: &str, listener: Listener6) -> CancellationToken {
        let name = name.to_owned();
        let this = self.clone();
        self.supervisor.service(name.clone(), move |token| {
            let (supervisor, name) = (this.supervisor.clone(), name.clone());
            let (subnet, links) = (listener.subnet.clone(), this.links6.clone());
            let bound = move |link: &Link6| {
                supervisor.settled(&name);
                links.set(&subnet, link.clone());
                tracing::info!(subnet, interface = link.name, address = %link.address, "DHCPv6 serves");
            };
            let (queue, story) = (this.queue6.clone(), this.story6.clone());
            listener.clone().run(queue, story, bound, token)
        })
    }

    /// HTTP, HTTPS and TFTP over IPv6.
    fn open_doors6(&self) -> Vec<DropGuard> {
        let Doors6 { http, https, tftp } = self.doors6.clone();
        let webs = [("http6", Some(http)), ("https6", https)];
        let webs = webs
            .into_iter()
            .filter_map(|(name, config)| Some((name, config?)));
        let mut all: Vec<DropGuard> = webs
            .map(|(name, config)| {
                let at = SocketAddr::from((Ipv6Addr::UNSPECIFIED, config.listen.port()));
                let config = HttpConfig {
                    listen: at,
                    ..config
                };
                let bind = move || {
                    HttpServer::bind(config.clone()).map_err(|error| {
                        bind_error(Table::Tcp, "HTTP over IPv6", at, at.port(), &error)
                    })
                };
                self.door6(name, bind, HttpServer::run)
            })
            .collect();
        // One that listens on IPv6 already takes both.
        if tftp.listen.is_ipv4() {
            let at = SocketAddr::from((Ipv6Addr::UNSPECIFIED, tftp.listen.port()));
            let config = TftpConfig {
                listen: at,
                only_v6: true,
                ..tftp
            };
            let bind = move || {
                TftpServer::bind(config.clone()).map_err(|error| {
                    bind_error(Table::Udp, "TFTP over IPv6", at, at.port(), &error)
                })
            };
            all.push(self.door6("tftp6", bind, TftpServer::run));
        }
        all
    }

    /// Runs a server under `name`, bound each time anew.
    fn door6<S, F>(
        &self,
        name: &'static str,
        bind: impl Fn() -> Result<S, String> + Send + 'static,
        run: impl Fn(S, CancellationToken) -> F + Copy + Send + 'static,
    ) -> DropGuard
    where
        S: Send + 'static,
        F: Future<Output = io::Result<()>> + Send,
    {
        let supervisor = self.supervisor.clone();
        let service = self.supervisor.service(name, move |token| {
            let server = bind();
            if server.is_ok() {
                supervisor.settled(name);
            }
            async move {
                let server = server.map_err(anyhow::Error::msg)?;
                Ok(run(server, token).await?)
            }
        });
        service.drop_guard()
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
