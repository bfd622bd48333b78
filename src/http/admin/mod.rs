//! The admin doors: is it alive, is it ready, what does it count, who boots.
//!
//! Two doors with one set of answers. The TCP port asks nobody who they are,
//! unless client certificates are wanted, so nothing there changes anything. The
//! Unix socket is for those who may open its file; only there a machine can be
//! approved.

mod explain;
mod log;
mod packets;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path as PathOf, Query, Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use futures_util::future::BoxFuture;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use hyper_util::service::TowerToHyperService;
use prometheus::TextEncoder;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

pub use self::explain::ExplainQuery;
use super::door::{Caller, Door, Limits};
use super::listen::{LocalListener, TlsListener, User};
use super::media;
use super::metrics::HttpMetrics;
use crate::boot::MacAddress;
use crate::packets::Ring;
use crate::snapshot::Reader;
use crate::status::Table;
use crate::telemetry::{self, Meter};
use crate::timeline::Chronicle;
use crate::tls::Handshakes;

/// What `/` says.
const INDEX: &str = "\
/healthz   200 while the process lives
/readyz    200 when it can serve boots, else 503 and why not
/metrics   counters for Prometheus
/status    how the service is, as JSON
/machines  the Machines with their phases, as JSON
/subnets   the Subnets with their free addresses, as JSON
/profiles  the BootProfiles with their machines, as JSON
/artifacts the artifacts and how far they are, as JSON
/boots     the boots of the machines, as JSON
/leases    the leases, a line of JSON each, as `reveille leases export` has them
/machines/NAME/packets       the last packets of DHCP and DHCPv6 of a machine, a line of JSON each
/machines/NAME/packets.pcap  the same as a capture
/explain   why a machine gets what it gets (?who=MAC|UUID|IP|NAME&subnet=NAME&arch=ARCH&relay=IP)
/log       the story of the boots, a line of JSON each (?machine=NAME&since=MILLIS&follow=1)
";

/// What `/` says at the Unix socket besides.
const LOCAL_INDEX: &str = "\
POST /machines/MAC/approve   approve a machine that was discovered
POST /artifacts/scrub        read every artifact; what is damaged, a line each
/log-level                   what is logged
POST /log-level?set=LEVELS   log that, such as dhcp=debug,http=warn
POST /log-level              log what was logged at the start
";

/// Without any progress of a write at the Unix socket: a person may stop the
/// terminal that follows the log, and go to lunch.
const LOCAL_STALL_TIMEOUT: Duration = Duration::from_secs(3600);

/// Says whether boots can be served; the error is the reason why not. It must
/// not block.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Gives the boots as JSON. It must not block.
pub type Boots = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// Gives the leases as lines of JSON; the error says why it cannot now.
pub type Leases = Arc<dyn Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// Gives a table as JSON; the error says why it cannot now.
pub type Show =
    Arc<dyn Fn(Table) -> BoxFuture<'static, Result<serde_json::Value, String>> + Send + Sync>;

/// Approves a machine that was discovered: what was done, or why it was not.
pub type Approve =
    Arc<dyn Fn(MacAddress) -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// Explains what a machine gets, or what a packet is answered.
pub type Explain = Arc<
    dyn Fn(ExplainQuery) -> BoxFuture<'static, Result<serde_json::Value, String>> + Send + Sync,
>;

/// What the admin doors need.
#[derive(Clone)]
pub struct AdminConfig {
    /// What they bear.
    pub limits: Limits,
    /// What `/readyz` says.
    pub ready: Readiness,
    /// What `/boots` says.
    pub boots: Boots,
    /// What `/leases` says.
    pub leases: Leases,
    /// What `/status` and the tables say.
    pub show: Show,
    /// Who is who in `/log`.
    pub snapshots: Reader,
    /// What `/log` says.
    pub chronicle: Chronicle,
    /// What the packets of a machine are.
    pub packets: Ring,
    /// What `/explain` says.
    pub explain: Explain,
    /// Approves machines.
    pub approve: Approve,
    /// Reads every artifact; what is damaged.
    pub scrub: Leases,
    /// What `/metrics` says.
    pub registry: Meter,
    /// The counters of the doors, registered in `registry` by whoever made it.
    pub metrics: HttpMetrics,
}

/// The admin server, bound.
#[derive(Debug)]
pub struct AdminServer {
    door: AdminDoor,
    config: AdminConfig,
}

/// TLS at the admin port.
#[derive(Clone, Debug)]
pub struct AdminTls {
    /// Makes the handshakes.
    pub handshakes: Handshakes,
    /// Whether all but health wants a client certificate.
    pub certified: bool,
}

/// The door of the admin server.
#[derive(Debug)]
enum AdminDoor {
    Plain(Door),
    Tls(Door<TlsListener>, bool),
}

/// The admin server at a Unix socket, bound.
#[derive(Debug)]
pub struct AdminSocket {
    door: Door<LocalListener>,
    config: AdminConfig,
}

/// What each answer needs.
#[derive(Debug)]
struct Sources {
    config: AdminConfig,
    /// Cancelled when the door closes: what goes on for ever ends then.
    stopping: CancellationToken,
    index: String,
}

/// Why something at the admin doors is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// There is nothing of this name.
    NotFound,
    /// The text is no MAC address.
    BadMac,
    /// No machine is called so.
    NoMachine,
    /// The machine cannot be approved.
    NotApproved,
    /// There is nobody to explain, or it cannot be told where.
    NotExplained,
    /// It cannot be shown now.
    NotNow,
    /// The text is no level of a part.
    BadLevel,
    /// The client showed no certificate.
    NoCertificate,
}

impl fmt::Debug for AdminConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminConfig")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

// === impl AdminServer ===

impl AdminServer {
    /// Binds the address, port 0 any; connections wait until [`run`](Self::run).
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub fn bind(
        listen: SocketAddr,
        tls: Option<AdminTls>,
        config: AdminConfig,
    ) -> io::Result<Self> {
        let (limits, metrics) = (config.limits, config.metrics.clone());
        let door = match tls {
            None => AdminDoor::Plain(Door::bind("admin", listen, limits, metrics)?),
            Some(AdminTls {
                handshakes,
                certified,
            }) => {
                let door = Door::bind_tls("admin-tls", listen, handshakes, limits, metrics)?;
                AdminDoor::Tls(door, certified)
            }
        };
        Ok(Self { door, config })
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// Where the kernel does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.door {
            AdminDoor::Plain(door) => door.local_addr(),
            AdminDoor::Tls(door, _) => door.local_addr(),
        }
    }

    /// Serves until `cancel`, then drains.
    ///
    /// # Errors
    /// Where the listener breaks.
    pub async fn run(self, cancel: CancellationToken) -> io::Result<()> {
        let Self { door, config } = self;
        // Its own token: a broken listener must end this door alone.
        let cancel = cancel.child_token();
        let router = Sources::new(config, &cancel, INDEX.to_owned()).router();
        match door {
            AdminDoor::Plain(door) => {
                let serve = move |_| TowerToHyperService::new(router.clone());
                door.run(cancel, serve).await
            }
            AdminDoor::Tls(door, wanted) => {
                let serve = move |caller: Caller| {
                    let router = if wanted && !caller.certified {
                        router.clone().layer(from_fn(health_only))
                    } else {
                        router.clone()
                    };
                    TowerToHyperService::new(router)
                };
                door.run(cancel, serve).await
            }
        }
    }
}

/// Answers a client that showed no certificate where one is wanted: kubelet
/// has none, and asks whether we live.
async fn health_only(request: Request, next: Next) -> Response {
    if matches!(request.uri().path(), "/healthz" | "/readyz") {
        return next.run(request).await;
    }
    Refused::NoCertificate
        .answer("show a certificate that the authority in --admin-client-ca signed")
}

// === impl AdminSocket ===

impl AdminSocket {
    /// Binds a Unix socket at `path` for its owner and group. One that a
    /// process left behind is removed, whoever made it where we are `alone`
    /// with the folder; the file goes when the server does.
    ///
    /// # Errors
    /// In words: the path is too long, taken, or cannot be written.
    pub fn bind(path: &Path, alone: bool, config: AdminConfig) -> Result<Self, String> {
        let listener = LocalListener::bind(path, alone)?;
        let limits = Limits {
            stall_timeout: LOCAL_STALL_TIMEOUT,
            ..config.limits
        };
        Ok(Self {
            door: Door::new("admin-socket", listener, limits, config.metrics.clone()),
            config,
        })
    }

    /// Serves until `cancel`, then drains.
    ///
    /// # Errors
    /// Where the listener breaks.
    pub async fn run(self, cancel: CancellationToken) -> io::Result<()> {
        let Self { door, config } = self;
        let cancel = cancel.child_token();
        let sources = Sources::new(config, &cancel, [INDEX, LOCAL_INDEX].concat());
        let router = sources.local_router();
        door.run(cancel, move |caller| {
            TowerToHyperService::new(router.clone().layer(Extension(caller.ends)))
        })
        .await
    }
}

// === impl Sources ===

impl Sources {
    fn new(config: AdminConfig, cancel: &CancellationToken, index: String) -> Arc<Self> {
        Arc::new(Self {
            config,
            stopping: cancel.clone(),
            index,
        })
    }

    /// What both doors serve: nothing here changes anything.
    fn router(self: Arc<Self>) -> Router {
        Self::shared().with_state(self)
    }

    /// That, and what only those may who may open the socket.
    fn local_router(self: Arc<Self>) -> Router {
        Self::shared()
            .route("/machines/{mac}/approve", post(approve))
            .route("/artifacts/scrub", post(scrub))
            .route("/log-level", get(levels).post(set_levels))
            .with_state(self)
    }

    fn shared() -> Router<Arc<Self>> {
        let table = |table| get(move |State(sources): Shared| show(sources, table));
        Router::new()
            .route(
                "/",
                get(|State(sources): Shared| async move {
                    text(StatusCode::OK, sources.index.clone())
                }),
            )
            .route("/healthz", get(|| async { text(StatusCode::OK, "ok\n") }))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .route("/boots", get(boots))
            .route("/leases", get(leases))
            .route("/log", get(log::log))
            .route("/explain", get(explain::explain))
            .route("/machines/{name}/packets", get(packets::lines))
            .route("/machines/{name}/packets.pcap", get(packets::capture))
            .route("/status", table(Table::Overview))
            .route("/machines", table(Table::Machines))
            .route("/subnets", table(Table::Subnets))
            .route("/profiles", table(Table::Profiles))
            .route("/artifacts", table(Table::Artifacts))
            .fallback(|| async { text(Refused::NotFound.status(), "not-found\n") })
    }
}

/// The state of every answer.
type Shared = State<Arc<Sources>>;

async fn ready(State(sources): Shared) -> Response {
    match (sources.config.ready)() {
        Ok(()) => text(StatusCode::OK, "ok\n"),
        Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn metrics(State(sources): Shared) -> Response {
    match TextEncoder::new().encode_to_string(&sources.config.registry.gather()) {
        Ok(body) => made(StatusCode::OK, prometheus::TEXT_FORMAT, body),
        Err(error) => {
            tracing::error!(%error, "cannot encode the metrics");
            text(StatusCode::INTERNAL_SERVER_ERROR, "cannot-encode\n")
        }
    }
}

async fn boots(State(sources): Shared) -> Response {
    let body = format!("{}\n", (sources.config.boots)());
    made(StatusCode::OK, media::JSON, body)
}

async fn leases(State(sources): Shared) -> Response {
    match (sources.config.leases)().await {
        Ok(lines) => made(StatusCode::OK, media::JSON_LINES, lines),
        Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn show(sources: Arc<Sources>, table: Table) -> Response {
    match (sources.config.show)(table).await {
        Ok(value) => made(StatusCode::OK, media::JSON, format!("{value}\n")),
        Err(reason) => Refused::NotNow.answer(&reason),
    }
}

/// What is logged.
async fn levels() -> Response {
    text(StatusCode::OK, format!("{}\n", telemetry::levels()))
}

/// What is to be logged; the start's where nothing is said.
#[derive(Debug, Deserialize)]
struct Levels {
    set: Option<String>,
}

async fn set_levels(Extension(user): Extension<User>, Query(wish): Query<Levels>) -> Response {
    match telemetry::set_levels(wish.set.as_deref()) {
        Ok(levels) => {
            tracing::info!(uid = user.uid, levels, "log levels changed");
            text(StatusCode::OK, format!("{levels}\n"))
        }
        Err(error) => Refused::BadLevel.answer(&error.to_string()),
    }
}

async fn approve(
    State(sources): Shared,
    Extension(user): Extension<User>,
    PathOf(mac): PathOf<String>,
) -> Response {
    let mac: MacAddress = match mac.parse() {
        Ok(mac) => mac,
        Err(error) => return Refused::BadMac.answer(&format!("{error}")),
    };
    match (sources.config.approve)(mac).await {
        Ok(done) => {
            tracing::info!(%mac, uid = user.uid, "machine approved");
            text(StatusCode::OK, format!("{done}\n"))
        }
        Err(reason) => {
            tracing::info!(%mac, uid = user.uid, reason, "machine not approved");
            Refused::NotApproved.answer(&reason)
        }
    }
}

async fn scrub(State(sources): Shared) -> Response {
    match (sources.config.scrub)().await {
        Ok(lines) => text(StatusCode::OK, lines),
        Err(reason) => Refused::NotNow.answer(&reason),
    }
}

// === impl Refused ===

impl Refused {
    const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::BadMac => "bad-mac",
            Self::NoMachine => "no-machine",
            Self::NotApproved => "not-approved",
            Self::NotExplained => "not-explained",
            Self::NotNow => "not-now",
            Self::BadLevel => "bad-level",
            Self::NoCertificate => "no-client-certificate",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::NotFound | Self::NoMachine | Self::NotExplained => StatusCode::NOT_FOUND,
            Self::BadMac | Self::BadLevel => StatusCode::BAD_REQUEST,
            Self::NotApproved => StatusCode::CONFLICT,
            Self::NoCertificate => StatusCode::FORBIDDEN,
            Self::NotNow => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Its name, and the reason in words.
    fn answer(self, reason: &str) -> Response {
        text(self.status(), format!("{}: {reason}\n", self.as_str()))
    }
}

fn text(status: StatusCode, body: impl Into<String>) -> Response {
    made(status, media::TEXT, body.into())
}

fn made(status: StatusCode, media: &'static str, body: String) -> Response {
    (status, headers(media), body).into_response()
}

const fn headers(media: &'static str) -> [(http::HeaderName, &'static str); 2] {
    [(CONTENT_TYPE, media), (CACHE_CONTROL, "no-store")]
}
