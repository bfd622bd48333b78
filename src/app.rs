//! The service as a whole: binds first, then runs everything under the
//! supervisor, then drains. Shell.

mod admin;
mod artifacts;
mod discovery;
mod explain;
mod listeners;
mod metrics;
mod source;
mod tls;

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use self::admin::{AdminSources, Doors, bind_admin};
use self::discovery::Ears;
use self::explain::Six;
use self::listeners::{Doors6, start_dhcp};
pub use self::metrics::metrics;
use self::source::{Sources, Started};
use crate::artifact::keep::Board;
use crate::artifact::store::Shelf;
use crate::config::ServiceConfig;
use crate::dhcp::heard::Heard;
use crate::dhcp::limits::{Patience, Rates};
use crate::dhcp::listener::QUEUE;
use crate::dhcp::metrics::DhcpMetrics;
use crate::dhcp::neighbours::Neighbours;
use crate::dhcp::scout::Lookouts;
use crate::dhcp::server::{Engine, Tools};
use crate::dhcp::story::Story;
use crate::dhcp::v6;
use crate::discover::{self, DiscoveryMetrics};
use crate::events;
use crate::files::Roots;
use crate::governor::{Governor, GovernorMetrics};
use crate::http::{AnswerFiles, HttpConfig, HttpMetrics, HttpServer, boot_key, shared_boot_key};
use crate::lease::{
    self, LeaseIndex, LeaseMetrics, LeaseStore, LeaseTable, LeaseTable6, Usages, Usages6,
};
use crate::loaders::{self, LoaderMetrics, Loaders};
use crate::memory;
use crate::net::{Links, Links6, Table, bind_error, try_bind};
use crate::operator::Cluster;
use crate::packets::Ring;
use crate::press::Spent;
use crate::script::BootKey;
use crate::snapshot::{self, Reader};
use crate::status::{self, Problems};
use crate::supervisor::{Fault, Faults, Supervisor};
use crate::telemetry::{self, Meter, Seldom};
use crate::tftp::{TftpConfig, TftpMetrics, TftpServer};
use crate::timeline::{BootMetrics, Boots, Chronicle, Introductions, Keeper, RecentLoaders};
use crate::tls::{Authority, Handshakes, TlsMetrics};
#[cfg(feature = "otlp")]
use crate::traces::Traces;

/// How long transfers in flight may take after SIGTERM. Below the 30 s that
/// Kubernetes waits, above what a kernel takes on a slow link.
const DRAIN: Duration = Duration::from_secs(25);

/// The same for TFTP, by which signed GRUB loads whole kernels: less the second
/// in which those that are cut off are told so.
const TFTP_DRAIN: Duration = Duration::from_secs(24);

/// The service, bound and not yet running.
pub struct App {
    supervisor: Supervisor,
    faults: Faults,
    shutdown: CancellationToken,
    addresses: Addresses,
    store: LeaseStore,
}

/// Where the manifests are.
#[derive(Clone, Debug)]
pub enum Manifests {
    /// In files and folders.
    Folder(Vec<PathBuf>),
    /// In a cluster, and in files and folders beside it.
    Cluster(Cluster, Vec<PathBuf>),
}

impl Manifests {
    /// Where they are, for people.
    fn source(&self) -> status::Source {
        let (kind, paths) = match self {
            Self::Folder(paths) => ("folder".to_owned(), paths),
            Self::Cluster(cluster, paths) => (format!("cluster {}", cluster.url), paths),
        };
        status::Source {
            kind,
            paths: paths.clone(),
        }
    }
}

/// Where the service listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// HTTP for machines.
    pub http: SocketAddr,
    /// HTTPS for machines, where it is on.
    pub https: Option<SocketAddr>,
    /// TFTP.
    pub tftp: SocketAddr,
    /// The admin port.
    pub admin: SocketAddr,
}

/// What several services share while they are made.
struct Parts {
    config: ServiceConfig,
    registry: Meter,
    snapshots: Reader,
    roots: Arc<Roots>,
    loaders: Loaders,
    leases: LeaseIndex,
    told: Introductions,
    spent: Spent,
    events: events::EventSender,
    boots: Boots,
    governor: Governor,
    usages: Usages,
    usages6: Usages6,
    links: Links,
    links6: Links6,
    heard: Heard,
    lookouts: Lookouts,
    shelf: Shelf,
    artifacts: Board,
    http: HttpMetrics,
    tls: TlsMetrics,
    /// The authority of our own, where it signs.
    authority: Option<Arc<Authority>>,
}

/// What is known of boots, shared by the timeline and the admin doors.
#[derive(Clone)]
struct Timeline {
    boots: Boots,
    metrics: BootMetrics,
    chronicle: Chronicle,
}

// === impl App ===

impl App {
    /// Opens the lease store, reads the manifests and binds every port that
    /// does not depend on them. Call it within a tokio runtime.
    ///
    /// # Errors
    /// What keeps the service from starting, in words that name the cure.
    pub fn bind(
        config: ServiceConfig,
        manifests: Manifests,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        let registry = Meter::default();
        telemetry::register(
            &registry,
            &[("state", &config.state), ("artifacts", &config.artifacts)],
        )?;
        let (supervisor, faults) = Supervisor::new(shutdown.clone(), &registry)?;
        let (publisher, snapshots) = snapshot::channel();
        let counts = LoaderMetrics::register(&registry)?;
        let seeded = loaders::seed(&config.state, &config.loaders, &counts);
        let (sender, receiver) = events::queue(&registry)?;
        let roots = Roots::new(
            Some(config.artifacts.clone()),
            seeded.folders.clone(),
            config.roots.clone(),
        );
        let store = artifacts::open(&config);
        let shelf = store
            .as_ref()
            .map(|store| store.shelf())
            .unwrap_or_default();
        let roots = match &store {
            Some(store) => roots.with_store(store.trees(), shelf.clone()),
            None => roots,
        };
        let governor = GovernorMetrics::register(&registry)?;
        let mut parts = Parts {
            governor: Governor::new(config.transfers_per_link, governor),
            snapshots,
            roots: Arc::new(roots),
            loaders: Loaders::new(seeded, counts),
            leases: LeaseIndex::default(),
            told: Introductions::default(),
            spent: open_spent(&config)?,
            events: sender,
            boots: Boots::default(),
            usages: Usages::default(),
            usages6: Usages6::default(),
            links: Links::default(),
            links6: Links6::default(),
            heard: Heard::default(),
            lookouts: Lookouts::default(),
            shelf,
            artifacts: Board::default(),
            http: HttpMetrics::register(&registry)?,
            tls: TlsMetrics::register(&registry)?,
            authority: tls::authority(&config)?,
            registry,
            config,
        };
        let scrub = artifacts::start(&parts, &supervisor, store, &manifests)?;
        let (store, table, fresh) = open_leases(&parts)?;
        parts.told = Introductions::with_key(token_key(&parts.config)?);
        let answer_files = artifacts::answer_files(&parts.config, &manifests);
        let (ask, asks) = mpsc::channel(1);
        let (ask6, asks6) = mpsc::channel(1);
        let metrics = DiscoveryMetrics::register(&parts.registry)?;
        let (sightings, heard) = discover::queue(metrics.clone());
        let problems = Problems::default();
        let origin = manifests.source();
        let sources = Sources {
            publisher,
            problems: problems.clone(),
            ears: Ears { heard, metrics },
            table: ask.clone(),
            table6: ask6.clone(),
            fresh,
        };
        let Started {
            approve,
            replica,
            replica6,
        } = source::start(&parts, &supervisor, manifests, sources)?;

        let (web, secure) = bind_webs(&parts, &supervisor, &answer_files)?;
        let (https, secure) = secure.unzip();
        let (http, web) = web;
        let tftp = tftp_config(&parts)?;
        let doors6 = Doors6 {
            http: web,
            https: secure,
            tftp: tftp.clone(),
        };
        let tftp = bind_tftp(&supervisor, tftp)?;
        let failing = Arc::new(AtomicBool::new(false));
        let duid = server_duid(&parts.config)?;
        let recent = RecentLoaders::default();
        let chronicle = Chronicle::default();
        let packets = Ring::default();
        let timeline = Timeline {
            boots: parts.boots.clone(),
            metrics: BootMetrics::register(&parts.registry)?,
            chronicle: chronicle.clone(),
        };
        let sources = AdminSources {
            doors: Doors { http, https, tftp },
            source: origin,
            timeline: timeline.clone(),
            packets: packets.clone(),
            problems,
            approve,
            ask,
            ask6,
            six: Six {
                duid: duid.clone(),
                standing: replica.ask(),
            },
            scrub,
            failing: Arc::clone(&failing),
        };
        let admin = bind_admin(&parts, &supervisor, sources)?;
        start_timeline(&parts, &supervisor, timeline, recent.clone(), receiver)?;
        let (queue, requests) = mpsc::channel(QUEUE);
        let story = Story {
            metrics: DhcpMetrics::register(&parts.registry)?,
            seldom: Seldom::default(),
            heard: parts.heard.clone(),
            lookouts: parts.lookouts.clone(),
            chronicle,
            packets,
        };
        let (queue6, requests6) = mpsc::channel(v6::server::QUEUE);
        let engine6 = v6::server::Engine {
            queue: requests6,
            asks: asks6,
            table: open_leases6(&store, &parts.leases),
            tools: v6::server::Tools {
                snapshots: parts.snapshots.clone(),
                committer: store.committer(),
                index: parts.leases.clone(),
                usages: parts.usages6.clone(),
                recent: recent.clone(),
                told: parts.told.clone(),
                events: parts.events.clone(),
                sightings: sightings.clone(),
                story: v6::server::Story {
                    metrics: story.metrics.clone(),
                    seldom: story.seldom.clone(),
                    packets: story.packets.clone(),
                },
            },
            rates: Rates::default(),
            duid,
            replica: replica6,
            generation: 0,
            whole: None,
        };
        let engine = Engine {
            queue: requests,
            asks,
            table,
            replica,
            neighbours: Neighbours::default(),
            tools: Arc::new(Tools {
                snapshots: parts.snapshots.clone(),
                committer: store.committer(),
                index: parts.leases.clone(),
                usages: parts.usages.clone(),
                recent,
                told: parts.told,
                events: parts.events,
                sightings,
                story,
                failing,
            }),
            rates: Rates::new(parts.config.dhcp.dhcp_rate),
            patience: Patience::default(),
        };
        supervisor.service("memory", memory::give_back);
        start_dhcp(
            &parts.config,
            &supervisor,
            (engine, queue),
            (engine6, queue6, doors6),
            (parts.links, parts.links6),
        )
        .context("no thread for DHCP")?;
        Ok(Self {
            supervisor,
            faults,
            shutdown,
            addresses: Addresses {
                http,
                https,
                tftp,
                admin,
            },
            store,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Runs until the token given to [`App::bind`] is cancelled or a service
    /// fails too often, then drains.
    ///
    /// # Errors
    /// The [`Fault`] that ended it.
    pub async fn run(self) -> Result<(), Fault> {
        let result = self.supervisor.wait(self.faults).await;
        self.shutdown.cancel();
        tracing::info!("draining: transfers in flight end, nothing new begins");
        if !self.supervisor.drain(DRAIN).await {
            tracing::warn!(seconds = DRAIN.as_secs(), "some transfers were cut off");
        }
        // What was promised is on disk before the process is gone.
        self.store.close();
        result
    }
}

/// The store, what is in it, and whether it was missing or had to be replaced.
fn open_leases(parts: &Parts) -> anyhow::Result<(LeaseStore, LeaseTable, bool)> {
    let path = parts.config.state.join(lease::FILE);
    let metrics = LeaseMetrics::register(&parts.registry)?;
    let existed = path.exists();
    let (store, leases, trouble) = LeaseStore::open(&path, metrics)
        .with_context(|| format!("leases cannot be kept in {}", parts.config.state.display()))?;
    let fresh = trouble.is_some() || !existed;
    if let Some(trouble) = trouble {
        tracing::error!(
            file = %path.display(),
            detail = trouble.detail,
            moved_to = trouble.moved_to.map(|path| path.display().to_string()),
            "the lease database was damaged"
        );
    }
    let table: LeaseTable = leases.into_iter().collect();
    parts.leases.fill(table.iter());
    if !table.is_empty() {
        tracing::info!(leases = table.len(), "leases read");
    }
    Ok((store, table, fresh))
}

/// The IPv6 leases of the store.
fn open_leases6(store: &LeaseStore, index: &LeaseIndex) -> LeaseTable6 {
    let table: LeaseTable6 = store.leases6().iter().cloned().collect();
    for lease in store.leases6() {
        index.apply(&lease::Change6::put(Arc::clone(lease)));
    }
    table
}

/// What we call ourselves in DHCPv6.
fn server_duid(config: &ServiceConfig) -> anyhow::Result<Vec<u8>> {
    v6::duid::server_duid(&config.state).context("DHCPv6 has no name for this server")
}

/// Who booted once. The state folder is made where it is missing.
fn open_spent(config: &ServiceConfig) -> anyhow::Result<Spent> {
    Spent::open(&config.state).context("which machines booted once is not known")
}

/// The key of boot tokens.
fn token_key(config: &ServiceConfig) -> anyhow::Result<BootKey> {
    if let Some(file) = &config.boot_key {
        return shared_boot_key(file)
            .with_context(|| format!("{} is no key of boot tokens", file.display()));
    }
    let state = &config.state;
    boot_key(state).with_context(|| format!("boot tokens cannot be made in {}", state.display()))
}

/// The doors of HTTP and HTTPS.
type WebDoors = ((SocketAddr, HttpConfig), Option<(SocketAddr, HttpConfig)>);

/// HTTP, and HTTPS where it is on; and what they were given.
fn bind_webs(
    parts: &Parts,
    supervisor: &Supervisor,
    files: &AnswerFiles,
) -> anyhow::Result<WebDoors> {
    let config = http_config(parts, parts.config.http, None, files.clone());
    let http = bind_web(supervisor, ("http", "HTTP"), config.clone())?;
    let secured = parts.config.tls.https.zip(tls::boot(parts, supervisor)?);
    let Some((at, tls)) = secured else {
        return Ok(((http, config), None));
    };
    let secure = http_config(parts, at, Some(tls), files.clone());
    let https = bind_web(supervisor, ("https", "HTTPS"), secure.clone())?;
    Ok(((http, config), Some((https, secure))))
}

fn http_config(
    parts: &Parts,
    at: SocketAddrV4,
    tls: Option<Handshakes>,
    answer_files: AnswerFiles,
) -> HttpConfig {
    let settings = &parts.config.http_args;
    HttpConfig {
        listen: at.into(),
        listing: settings.listing(),
        limits: settings.limits(),
        governor: parts.governor.clone(),
        snapshots: parts.snapshots.clone(),
        roots: Arc::clone(&parts.roots),
        tls,
        leases: parts.leases.clone(),
        told: parts.told.clone(),
        answer_files,
        events: parts.events.clone(),
        metrics: parts.http.clone(),
    }
}

/// A port of HTTP for machines; its service's name, and its name for people.
fn bind_web(
    supervisor: &Supervisor,
    (name, shown): (&'static str, &'static str),
    config: HttpConfig,
) -> anyhow::Result<SocketAddr> {
    let at = config.listen;
    let bind = move || {
        HttpServer::bind(config.clone())
            .map_err(|error| bind_error(Table::Tcp, shown, at, at.port(), &error))
    };
    let first = bound(Table::Tcp, at, &bind)?;
    let address = match &first {
        Some(first) => first.local_addr()?,
        None => at,
    };
    serve_bound(supervisor, name, first, bind, HttpServer::run);
    Ok(address)
}

fn tftp_config(parts: &Parts) -> anyhow::Result<TftpConfig> {
    let (at, settings) = (parts.config.tftp, &parts.config.tftp_args);
    Ok(TftpConfig {
        listen: at,
        only_v6: false,
        from: settings.answer_from(),
        naming: settings.naming(),
        uploads: settings.uploads(),
        governor: parts.governor.clone(),
        limits: settings.limits(TFTP_DRAIN),
        snapshots: parts.snapshots.clone(),
        roots: Arc::clone(&parts.roots),
        leases: parts.leases.clone(),
        told: parts.told.clone(),
        events: parts.events.clone(),
        metrics: TftpMetrics::register(&parts.registry)?,
    })
}

fn bind_tftp(supervisor: &Supervisor, config: TftpConfig) -> anyhow::Result<SocketAddr> {
    let at = config.listen;
    let bind = move || {
        TftpServer::bind(config.clone())
            .map_err(|error| bind_error(Table::Udp, "TFTP", at, at.port(), &error))
    };
    let first = bound(Table::Udp, at, &bind)?;
    let address = match &first {
        Some(first) => first.local_addr()?,
        None => at,
    };
    serve_bound(supervisor, "tftp", first, bind, TftpServer::run);
    Ok(address)
}

/// Binds a door; `None` where we have no right to it. Its service then says so
/// and tries again, and the others serve.
fn bound<S>(
    table: Table,
    at: SocketAddr,
    bind: impl Fn() -> Result<S, String>,
) -> anyhow::Result<Option<S>> {
    bind().map(Some).or_else(|words| {
        let error = try_bind(table, at).err();
        match error.map(|error| error.kind()) {
            Some(io::ErrorKind::PermissionDenied) => Ok(None),
            _ => Err(anyhow::Error::msg(words)),
        }
    })
}

/// Runs a server that is bound already, if it is, and binds it anew after trouble.
fn serve_bound<S, F>(
    supervisor: &Supervisor,
    name: &'static str,
    first: impl Into<Option<S>>,
    bind: impl Fn() -> Result<S, String> + Send + 'static,
    run: impl Fn(S, CancellationToken) -> F + Copy + Send + 'static,
) where
    S: Send + 'static,
    F: Future<Output = io::Result<()>> + Send,
{
    let mut first = first.into();
    let settled = supervisor.clone();
    supervisor.service(name, move |token| {
        let server = first.take().map_or_else(&bind, Ok);
        if server.is_ok() {
            settled.settled(name);
        }
        async move {
            let server = server.map_err(anyhow::Error::msg)?;
            Ok(run(server, token).await?)
        }
    });
}

fn start_timeline(
    parts: &Parts,
    supervisor: &Supervisor,
    timeline: Timeline,
    recent: RecentLoaders,
    events: mpsc::Receiver<crate::timeline::BootEvent>,
) -> anyhow::Result<()> {
    #[cfg(feature = "otlp")]
    let traces = parts.config.traces_to.as_deref().map(Traces::start);
    let keeper = Arc::new(Mutex::new(Keeper {
        events,
        boots: timeline.boots,
        snapshots: parts.snapshots.clone(),
        recent,
        told: parts.told.clone(),
        chronicle: timeline.chronicle,
        spent: parts.spent.clone(),
        metrics: timeline.metrics,
        #[cfg(feature = "otlp")]
        traces: traces.transpose()?,
    }));
    supervisor.service("timeline", move |token| {
        Keeper::run(Arc::clone(&keeper), token)
    });
    Ok(())
}
