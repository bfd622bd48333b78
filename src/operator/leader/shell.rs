//! Carries the election out against an API server.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, PostParams};
use kube::{Client, Error};
use prometheus::{IntCounter, IntGauge};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::config::Place;
use super::elect::{Action, Elector, Leadership, Reply};
use super::handle::LeaderHandle;
use super::object::{FIELD_MANAGER, lease_of, record_of};
use super::record::Record;
use crate::clock::{self, Uptime};
use crate::dhcp::heard::Heard;
use crate::net::Links;
use crate::telemetry::{FLAG, Meter, about};

/// How often the standing is looked at where nothing else wakes us: a
/// leadership ends by time alone.
const LOOK: Duration = Duration::from_millis(250);

/// What the election counts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LeaderMetrics {
    /// 1 while this replica leads.
    pub leader: IntGauge,
    /// How often it began or ceased to.
    pub transitions: IntCounter,
    /// Requests to the API server that failed.
    pub errors: IntCounter,
}

/// The election, ready to run.
#[derive(Clone, Debug)]
pub struct Election {
    api: Api<Lease>,
    name: String,
    handle: LeaderHandle,
    changes: watch::Sender<Leadership>,
    metrics: LeaderMetrics,
    links: Links,
    heard: Heard,
}

/// What one run keeps in mind.
struct Run<'a> {
    election: &'a Election,
    /// The object as it came last: what people wrote on it is kept.
    object: Option<Lease>,
    /// The trouble that was said last.
    trouble: Option<String>,
}

// === impl LeaderMetrics ===

impl LeaderMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// When the registry has metrics of these names.
    pub fn register(meter: &Meter) -> prometheus::Result<Self> {
        Ok(Self {
            leader: meter.gauge(about(
                "reveille_leader",
                "Whether this replica leads; one without others always does.",
                FLAG,
            ))?,
            transitions: meter.counter(about(
                "reveille_leader_transitions_total",
                "How often this replica began or ceased to lead.",
                "times",
            ))?,
            errors: meter.counter(about(
                "reveille_leader_errors_total",
                "Requests for the Lease object that failed or got no answer.",
                "requests",
            ))?,
        })
    }

    /// Of a replica that has no others beside it.
    pub fn alone(&self) {
        self.leader.set(1);
    }
}

// === impl Election ===

impl Election {
    /// An election by the Lease of `place` in `namespace`, where replicas also
    /// tell each other from which of their `links` they serve, so that none is
    /// `heard` as a foreign DHCP server.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(
        client: Client,
        namespace: &str,
        place: &Place,
        metrics: LeaderMetrics,
        (links, heard): (Links, Heard),
    ) -> anyhow::Result<Self> {
        let identity = format!("{}_{:08x}", place.name, random()?);
        let elector = Elector::new(identity, place.ordinal, place.timing, clock::uptime());
        let (changes, _) = watch::channel(Leadership::Starting);
        Ok(Self {
            api: Api::namespaced(client, namespace),
            name: place.lease.clone(),
            handle: LeaderHandle::new(elector, place),
            changes,
            metrics,
            links,
            heard,
        })
    }

    /// What others ask. It is right at every moment.
    #[must_use]
    pub fn handle(&self) -> LeaderHandle {
        self.handle.clone()
    }

    /// Tells when the standing changes; for waking up, not for deciding.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Leadership> {
        self.changes.subscribe()
    }

    /// Takes part until `token` is cancelled, then gives the lease up.
    ///
    /// # Errors
    /// None of its own; the supervisor wants the type.
    pub async fn run(self, token: CancellationToken) -> anyhow::Result<()> {
        let mut run = Run {
            election: &self,
            object: None,
            trouble: None,
        };
        while !token.is_cancelled() {
            let pause = run.step().await?;
            self.publish(clock::uptime());
            tokio::select! {
                () = token.cancelled() => break,
                () = sleep(pause.min(LOOK)) => {}
            }
            self.publish(clock::uptime());
        }
        run.release().await;
        self.publish(clock::uptime());
        Ok(())
    }

    /// Says what changed.
    fn publish(&self, now: Uptime) {
        let state = self.handle.state(now);
        let leads = state.is_leader();
        self.metrics.leader.set(i64::from(leads));
        self.changes.send_if_modified(|before| {
            if *before == state {
                return false;
            }
            if before.is_leader() != leads {
                self.metrics.transitions.inc();
            }
            tell(&state);
            *before = state;
            true
        });
    }
}

fn tell(state: &Leadership) {
    match state {
        Leadership::Starting => {}
        Leadership::Leader { term } => tracing::info!(term, "this replica leads"),
        Leadership::Follower {
            holder,
            term,
            alive,
        } => tracing::info!(
            holder = holder.as_deref().unwrap_or("nobody"),
            term,
            alive,
            "this replica follows"
        ),
        Leadership::Isolated => tracing::warn!(
            "this replica cannot tell who leads: it renews the leases it knows, and gives new ones from its own share only"
        ),
    }
}

// === impl Run ===

impl Run<'_> {
    /// One step, and how long to wait after it.
    async fn step(&mut self) -> anyhow::Result<Duration> {
        let jitter = f64::from(random()?) / f64::from(u32::MAX);
        let handle = &self.election.handle;
        let serving = self.election.links.addresses();
        let action = handle.with(|elector| {
            elector.serve_from(serving);
            elector.step(clock::uptime(), Timestamp::now(), jitter)
        });
        let reply = match action {
            Action::Wait(until) => return Ok(until.since(clock::uptime())),
            Action::Read => self.read().await,
            Action::Create(record) => self.create(&record).await,
            Action::Update(record) => self.update(&record).await,
        };
        let others = handle.others();
        let siblings = handle.with(|elector| {
            elector.outcome(reply, clock::uptime(), others);
            elector.siblings()
        });
        self.election.heard.know_siblings(siblings);
        Ok(Duration::ZERO)
    }

    async fn read(&mut self) -> Reply {
        let name = &self.election.name;
        let answer = timeout(self.patience(), self.election.api.get_opt(name)).await;
        match answer {
            Ok(Ok(Some(lease))) => self.found(lease),
            Ok(Ok(None)) => {
                self.object = None;
                self.fine();
                Reply::Absent
            }
            Ok(Err(error)) => self.failed("get", &error),
            Err(_) => self.silent("get"),
        }
    }

    async fn create(&mut self, record: &Record) -> Reply {
        let lease = lease_of(record, &self.election.name, None);
        let pp = params();
        let written = self.election.api.create(&pp, &lease);
        match timeout(self.patience(), written).await {
            Ok(Ok(lease)) => self.found(lease),
            Ok(Err(error)) => self.failed("create", &error),
            Err(_) => self.silent("create"),
        }
    }

    async fn update(&mut self, record: &Record) -> Reply {
        let name = &self.election.name;
        let lease = lease_of(record, name, self.object.as_ref());
        let pp = params();
        let written = self.election.api.replace(name, &pp, &lease);
        match timeout(self.patience(), written).await {
            Ok(Ok(lease)) => self.found(lease),
            Ok(Err(error)) => self.failed("update", &error),
            Err(_) => self.silent("update"),
        }
    }

    /// Gives the lease up, so that another need not wait for its end.
    async fn release(&mut self) {
        let now = clock::uptime();
        let released = self
            .election
            .handle
            .with(|elector| elector.release(now, Timestamp::now()));
        if let Some(record) = released
            && let Reply::Found(_) = self.update(&record).await
        {
            tracing::info!("leadership given up");
        }
    }

    fn found(&mut self, lease: Lease) -> Reply {
        let record = record_of(&lease);
        self.object = Some(lease);
        self.fine();
        Reply::Found(record)
    }

    fn failed(&mut self, verb: &str, error: &Error) -> Reply {
        let Error::Api(status) = error else {
            self.trouble("the API server does not answer as it should", &root(error));
            return Reply::Lost;
        };
        if status.is_conflict() || status.is_already_exists() {
            return Reply::Conflict;
        }
        if status.is_not_found() && verb == "update" {
            return Reply::Absent;
        }
        if status.code >= 500 {
            self.trouble(
                "the API server does not answer as it should",
                &status.message,
            );
            return Reply::Lost;
        }
        if status.is_forbidden() {
            let cure = format!("the service account may not {verb} leases.coordination.k8s.io");
            self.trouble(&cure, &status.message);
        } else {
            self.trouble("the API server refuses", &status.message);
        }
        Reply::Refused
    }

    fn silent(&mut self, verb: &str) -> Reply {
        let took = format!("{verb} took longer than {:?}", self.patience());
        self.trouble("the API server does not answer in time", &took);
        Reply::Lost
    }

    fn trouble(&mut self, what: &str, detail: &str) {
        self.election.metrics.errors.inc();
        if self.trouble.as_deref() != Some(what) {
            let lease = &self.election.name;
            tracing::warn!(lease, detail, "election: {what}");
            self.trouble = Some(what.to_owned());
        }
    }

    fn fine(&mut self) {
        if self.trouble.take().is_some() {
            tracing::info!(
                lease = self.election.name,
                "election: the API server answers again"
            );
        }
    }

    fn patience(&self) -> Duration {
        self.election
            .handle
            .with(|elector| elector.timing().request())
    }
}

fn params() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

/// What an error comes from, in the end.
fn root(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn random() -> anyhow::Result<u32> {
    getrandom::u32().map_err(|error| anyhow::anyhow!("no random numbers: {error}"))
}
