//! The watches: one for each kind, each for ever. Shell.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::Api;
use kube::core::{ApiResource, DynamicObject, Status};
use kube::runtime::watcher as watch;
use kube::runtime::watcher::{self, Event};
use prometheus::{IntCounterVec, Opts, Registry};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::cluster::Cluster;
use crate::api::{Artifact, BootProfile, GROUP, Kind, Machine, Subnet};

/// Events that may wait for the source.
pub const QUEUE: usize = 1024;
/// Objects that the API server sends at once.
const PAGE: u32 = 500;

/// What a watch saw.
pub type Seen = (Kind, Event<DynamicObject>);

/// How the watches are; cheap to clone.
#[derive(Clone, Debug)]
pub struct Watches {
    troubles: Arc<Mutex<BTreeMap<Kind, Trouble>>>,
    errors: IntCounterVec,
}

/// Why a watch sees nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Its stable name.
    pub reason: Reason,
    /// What is wrong and what to do about it.
    pub what: String,
}

/// Reasons why a watch sees nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The custom resource definition is not there.
    NotInstalled,
    /// We may not list or watch.
    Forbidden,
    /// The API server does not know us.
    Unauthorized,
    /// The API server answers with an error.
    ServerError,
    /// The API server is not reached.
    Unreachable,
}

/// Waits between tries: from half a second to ten.
#[derive(Clone, Copy, Debug, Default)]
struct Patience(u32);

// === impl Watches ===

impl Watches {
    /// Watches of which nothing is known yet.
    ///
    /// # Errors
    /// A registry that has the metric already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let errors = IntCounterVec::new(
            Opts::new(
                "reveille_watch_errors_total",
                "Times that a watch of the API server failed, by kind and reason.",
            ),
            &["kind", "reason"],
        )?;
        registry.register(Box::new(errors.clone()))?;
        Ok(Self {
            troubles: Arc::default(),
            errors,
        })
    }

    /// What is wrong now.
    #[must_use]
    pub fn troubles(&self) -> BTreeMap<Kind, Trouble> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Kind, Trouble>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, kind: Kind, trouble: Trouble) {
        let labels = [kind.as_str(), trouble.reason.as_str()];
        self.errors.with_label_values(&labels).inc();
        let mut troubles = self.lock();
        let said = troubles
            .values()
            .any(|known| known.reason == trouble.reason && !trouble.reason.is_of_kind());
        let before = troubles.insert(kind, trouble.clone());
        if before.is_none_or(|before| before.reason != trouble.reason) && !said {
            tracing::warn!(reason = trouble.reason.as_str(), "{}", trouble.what);
        }
    }

    fn works(&self, kind: Kind) {
        let mut troubles = self.lock();
        if troubles.remove(&kind).is_some() && troubles.is_empty() {
            tracing::info!("the API server answers");
        }
    }
}

/// Watches `kind` until `token` is cancelled.
///
/// # Errors
/// None of its own: what goes wrong is said, and tried again.
pub async fn run(
    cluster: Cluster,
    kind: Kind,
    queue: mpsc::Sender<Seen>,
    watches: Watches,
    token: CancellationToken,
) -> anyhow::Result<()> {
    let api: Api<DynamicObject> = match cluster.namespace() {
        Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &resource(kind)),
        None => Api::all_with(cluster.client.clone(), &resource(kind)),
    };
    let config = watcher::Config::default().page_size(PAGE);
    let mut events = watch(api, config).boxed();
    let mut patience = Patience::default();
    loop {
        let event = tokio::select! {
            () = token.cancelled() => return Ok(()),
            event = events.next() => event,
        };
        match event {
            Some(Ok(event)) => {
                // A list that begins is no success: it may fail at any page.
                if !matches!(event, Event::Init | Event::InitApply(_)) {
                    watches.works(kind);
                    patience = Patience::default();
                }
                // The source is gone only when the process goes.
                if queue.send((kind, event)).await.is_err() {
                    return Ok(());
                }
            }
            Some(Err(error)) => {
                watches.failed(kind, Trouble::of(kind, &error, &cluster));
                tokio::select! {
                    () = token.cancelled() => return Ok(()),
                    () = sleep(patience.wait()) => {}
                }
            }
            None => anyhow::bail!("the watch of {kind} ended"),
        }
    }
}

/// The resource of `kind` at the API server.
#[must_use]
pub fn resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::Subnet => ApiResource::erase::<Subnet>(&()),
        Kind::BootProfile => ApiResource::erase::<BootProfile>(&()),
        Kind::Machine => ApiResource::erase::<Machine>(&()),
        Kind::Artifact => ApiResource::erase::<Artifact>(&()),
    }
}

// === impl Trouble ===

impl Trouble {
    fn of(kind: Kind, error: &watcher::Error, cluster: &Cluster) -> Self {
        let (client, verb) = match error {
            watcher::Error::InitialListFailed(error) => (Some(error), "list"),
            watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
                (Some(error), "watch")
            }
            watcher::Error::WatchError(status) => return Self::answered(kind, "watch", status),
            watcher::Error::NoResourceVersion => (None, "watch"),
        };
        match client {
            Some(kube::Error::Api(status)) => Self::answered(kind, verb, status),
            Some(error) => Self {
                reason: Reason::Unreachable,
                what: format!(
                    "the API server {} is not reached: {}; what is known is served on",
                    cluster.url,
                    chain(error)
                ),
            },
            None => Self {
                reason: Reason::ServerError,
                what: format!("{kind}: {error}"),
            },
        }
    }

    fn answered(kind: Kind, verb: &str, status: &Status) -> Self {
        let plural = resource(kind).plural;
        let (reason, what) = match status.code {
            401 => (
                Reason::Unauthorized,
                format!(
                    "the API server does not accept our credentials: {}",
                    status.message
                ),
            ),
            403 => (
                Reason::Forbidden,
                format!(
                    "we may not {verb} {plural}.{GROUP}; allow the verbs list and watch on it to our ServiceAccount ({})",
                    status.message
                ),
            ),
            404 => (
                Reason::NotInstalled,
                format!(
                    "the cluster knows no {plural}.{GROUP}; install the CRDs: `reveille crds | kubectl apply --server-side -f -`"
                ),
            ),
            _ => (
                Reason::ServerError,
                format!(
                    "the API server answers {verb} {plural} with {}: {}",
                    status.code, status.message
                ),
            ),
        };
        Self { reason, what }
    }
}

/// An error and what it came from, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

// === impl Reason ===

impl Reason {
    /// Its name in log lines and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotInstalled => "not-installed",
            Self::Forbidden => "forbidden",
            Self::Unauthorized => "unauthorized",
            Self::ServerError => "server-error",
            Self::Unreachable => "unreachable",
        }
    }

    /// Whether it is about one kind, not about the API server as a whole.
    const fn is_of_kind(self) -> bool {
        matches!(self, Self::NotInstalled | Self::Forbidden)
    }
}

// === impl Patience ===

impl Patience {
    /// The next wait: twice the last one, and up to a quarter more, so that
    /// the watches of many programs do not come at once.
    fn wait(&mut self) -> Duration {
        let wait = 500 << self.0;
        self.0 = (self.0 + 1).min(4);
        let more = getrandom::u64().map_or(0, |random| random % (wait / 4));
        Duration::from_millis(wait + more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_longer_each_time_up_to_ten_seconds() {
        let mut patience = Patience::default();
        for least in [500, 1000, 2000, 4000, 8000, 8000] {
            let wait = patience.wait().as_millis();
            assert!((least..least + least / 4).contains(&wait), "{wait} ms");
        }
    }
}
