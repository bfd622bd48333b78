//! The admin port: is it alive, is it ready, what does it count, who boots.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::future::BoxFuture;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use hyper_util::service::TowerToHyperService;
use prometheus::{Registry, TextEncoder};
use tokio_util::sync::CancellationToken;

use super::door::{Door, Limits};
use super::media;
use super::metrics::HttpMetrics;

/// What `/` says.
const INDEX: &str = "\
/healthz  200 while the process lives
/readyz   200 when it can serve boots, else 503 and why not
/metrics  counters for Prometheus
/boots    the boots of the machines, as JSON
/leases   the leases, a line of JSON each, as `reveille leases export` has them
";

/// Says whether boots can be served; the error is the reason why not. It must
/// not block.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Gives the boots as JSON. It must not block.
pub type Boots = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// Gives the leases as lines of JSON; the error says why it cannot now.
pub type Leases = Arc<dyn Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// What the admin server needs.
#[derive(Clone)]
pub struct AdminConfig {
    /// Where it listens; port 0 takes any.
    pub listen: SocketAddr,
    /// What it bears.
    pub limits: Limits,
    /// What `/readyz` says.
    pub ready: Readiness,
    /// What `/boots` says.
    pub boots: Boots,
    /// What `/leases` says.
    pub leases: Leases,
    /// What `/metrics` says.
    pub registry: Registry,
    /// The counters of the doors, registered in `registry` by whoever made it.
    pub metrics: HttpMetrics,
}

/// The admin server, bound.
#[derive(Debug)]
pub struct AdminServer {
    door: Door,
    router: Router,
}

#[derive(Clone)]
struct Sources {
    ready: Readiness,
    boots: Boots,
    leases: Leases,
    registry: Registry,
}

impl fmt::Debug for AdminConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminConfig")
            .field("listen", &self.listen)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl AdminServer {
    /// Binds the address; connections wait until [`run`](Self::run).
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub fn bind(config: AdminConfig) -> io::Result<Self> {
        let AdminConfig {
            listen,
            limits,
            ready,
            boots,
            leases,
            registry,
            metrics,
        } = config;
        let sources = Sources {
            ready,
            boots,
            leases,
            registry,
        };
        Ok(Self {
            door: Door::bind("admin", listen, limits, metrics)?,
            router: router(sources),
        })
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// Where the kernel does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.door.local_addr()
    }

    /// Serves until `cancel`, then drains.
    ///
    /// # Errors
    /// Where the listener breaks.
    pub async fn run(self, cancel: CancellationToken) -> io::Result<()> {
        let Self { door, router } = self;
        // Its own token: a broken listener must end this door alone.
        door.run(cancel.child_token(), move |_caller| {
            TowerToHyperService::new(router.clone())
        })
        .await
    }
}

fn router(sources: Sources) -> Router {
    Router::new()
        .route("/", get(|| async { text(StatusCode::OK, INDEX) }))
        .route("/healthz", get(|| async { text(StatusCode::OK, "ok\n") }))
        .route(
            "/readyz",
            get(|State(sources)| async move { ready(&sources) }),
        )
        .route(
            "/metrics",
            get(|State(sources)| async move { metrics(&sources) }),
        )
        .route(
            "/boots",
            get(|State(sources)| async move { boots(&sources) }),
        )
        .route(
            "/leases",
            get(|State(sources)| async move { leases(&sources).await }),
        )
        .fallback(|| async { text(StatusCode::NOT_FOUND, "not-found\n") })
        .with_state(sources)
}

fn ready(sources: &Sources) -> Response {
    match (sources.ready)() {
        Ok(()) => text(StatusCode::OK, "ok\n"),
        Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

fn metrics(sources: &Sources) -> Response {
    match TextEncoder::new().encode_to_string(&sources.registry.gather()) {
        Ok(body) => made(StatusCode::OK, prometheus::TEXT_FORMAT, body),
        Err(error) => {
            tracing::error!(%error, "cannot encode the metrics");
            text(StatusCode::INTERNAL_SERVER_ERROR, "cannot-encode\n")
        }
    }
}

fn boots(sources: &Sources) -> Response {
    let body = format!("{}\n", (sources.boots)());
    made(StatusCode::OK, media::JSON, body)
}

async fn leases(sources: &Sources) -> Response {
    match (sources.leases)().await {
        Ok(lines) => made(StatusCode::OK, media::JSON_LINES, lines),
        Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

fn text(status: StatusCode, body: impl Into<String>) -> Response {
    made(status, media::TEXT, body.into())
}

fn made(status: StatusCode, media: &'static str, body: String) -> Response {
    let headers = [(CONTENT_TYPE, media), (CACHE_CONTROL, "no-store")];
    (status, headers, body).into_response()
}
