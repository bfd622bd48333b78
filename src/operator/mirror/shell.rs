//! Writes the mirror, and reads it when this replica begins to lead.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::api::{
    Api, DeleteParams, ListParams, ObjectList, Patch, PatchParams, Preconditions, TypeMeta,
};
use kube::{Client, Error};
use prometheus::{IntCounterVec, IntGaugeVec};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::object::{Mirrored, lease_of, name_of, replica_of};
use super::plan::{Plan, Write};
use crate::api::{DhcpLease, REPLICA_LABEL};
use crate::clock;
use crate::dhcp::replica::{Fed, Import};
use crate::lease::{Lease, Shares};
use crate::snapshot::{Reader, Snapshot};
use crate::telemetry::{Meter, about};

/// Objects of one page of the list.
const PAGE: u32 = 500;
/// How long the first change waits for more.
const QUIET: Duration = Duration::from_secs(1);
/// Time between two writes: 20 a second.
const APART: Duration = Duration::from_millis(50);
/// How often the standing and the manifests are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(10);
/// The wait after a request that failed.
const BACKOFF: Duration = Duration::from_secs(5);
/// The wait after a write that the API server answered with a failure of its
/// own: it may be about that object only.
const STUMBLE: Duration = Duration::from_secs(1);
/// The shortest time between two comparisons with the whole table.
const RESYNC: Duration = Duration::from_secs(30);
/// Who writes, in `metadata.managedFields`.
const MANAGER: &str = "reveille";

/// The term in which this replica leads, asked at each use; `None` while it
/// does not.
pub type Leads = Arc<dyn Fn() -> Option<u32> + Send + Sync>;
/// The uid of a Subnet's object, by `namespace/name`.
pub type UidOf = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Whether a replica is to know the lease of an object.
pub(super) type IsOwn = Arc<dyn Fn(&DhcpLease, &Snapshot) -> bool + Send + Sync>;

/// Where each replica mirrors the leases that it lent itself.
#[derive(Clone)]
pub struct Own {
    /// Which of how many replicas this is.
    pub shares: Shares,
    /// Whether this replica is to know the lease of an object.
    pub is_own: IsOwn,
    /// Whether there can be any.
    pub wanted: fn(&Snapshot) -> bool,
}

/// Shows the whole lease table to whoever is sent there.
pub type Table<L> = mpsc::Sender<oneshot::Sender<Vec<Arc<L>>>>;

/// What the mirror counts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MirrorMetrics {
    /// Writes by verb and result.
    pub writes: IntCounterVec,
    /// Addresses whose object is yet to be looked at, by their kind.
    pub pending: IntGaugeVec,
}

/// What the mirror is made of.
pub struct Setup<L: Mirrored = Lease> {
    /// Talks to the API server.
    pub client: Client,
    /// The namespace that is served; `None` for all.
    pub namespace: Option<String>,
    /// Whether this replica leads.
    pub leads: Leads,
    /// Told when what others gave was taken over for a term.
    pub ready: Arc<dyn Fn(u32) + Send + Sync>,
    /// Where leases go that are taken over; `None` where there is nothing to
    /// take over, because this is the only replica and it has its table.
    pub imports: Option<mpsc::Sender<Import<L>>>,
    /// Which leases are mirrored, where each replica mirrors its own; `None`
    /// where one mirrors them all.
    pub own: Option<Own>,
    /// The changes of the table.
    pub fed: Fed<L>,
    /// Shows the whole table.
    pub table: Table<L>,
    /// Where snapshots come from.
    pub snapshots: Reader,
    /// The uids of Subnets.
    pub uid: UidOf,
    /// What is counted.
    pub metrics: MirrorMetrics,
}

/// The mirror.
pub struct Mirror<L: Mirrored = Lease> {
    setup: Setup<L>,
    plan: Plan<L>,
    /// The trouble that was said last.
    trouble: Option<String>,
    /// Whether it was said that what was mirrored cannot be read.
    unread: bool,
}

// === impl MirrorMetrics ===

impl MirrorMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// When the registry has metrics of these names.
    pub fn register(meter: &Meter) -> prometheus::Result<Self> {
        Ok(Self {
            writes: meter.counters(
                about(
                    "reveille_mirror_writes_total",
                    "Writes of DhcpLease objects by verb and result.",
                    "writes",
                ),
                &["verb", "result"],
            )?,
            pending: meter.gauges(
                about(
                    "reveille_mirror_pending",
                    "Addresses whose DhcpLease object is yet to be looked at.",
                    "addresses",
                ),
                &["family"],
            )?,
        })
    }
}

// === impl Mirror ===

impl<L: Mirrored> Mirror<L> {
    /// A mirror; nothing is read yet.
    #[must_use]
    pub fn new(setup: Setup<L>) -> Self {
        Self {
            plan: Plan::new(setup.own.as_ref().map(|own| own.shares.ordinal)),
            setup,
            trouble: None,
            unread: false,
        }
    }

    /// Mirrors while this replica leads, until `token` is cancelled.
    ///
    /// # Errors
    /// None of its own; the supervisor wants the type.
    pub async fn run(this: Arc<Mutex<Self>>, token: CancellationToken) -> anyhow::Result<()> {
        let mut this = this.lock().await;
        tokio::select! {
            () = token.cancelled() => {}
            () = this.serve() => {}
        }
        Ok(())
    }

    async fn serve(&mut self) {
        loop {
            let Some(term) = (self.setup.leads)() else {
                // What another leads is not ours to write.
                while self.setup.fed.changes.try_recv().is_ok() {}
                sleep(LOOK).await;
                continue;
            };
            // Which leases can be taken over depends on the Subnets.
            let Some(snapshot) = self.setup.snapshots.current().filter(|it| self.wants(it)) else {
                sleep(LOOK).await;
                continue;
            };
            self.plan = Plan::new(self.setup.own.as_ref().map(|own| own.shares.ordinal));
            if !self.take_over(term, &snapshot).await {
                sleep(BACKOFF).await;
                continue;
            }
            self.mirror(term).await;
        }
    }

    /// Whether there may be something to mirror.
    fn wants(&self, snapshot: &Snapshot) -> bool {
        let own = self.setup.own.as_ref();
        own.is_none_or(|own| (own.wanted)(snapshot))
    }

    fn leads(&self, term: u32) -> bool {
        (self.setup.leads)() == Some(term)
    }

    fn api(&self, namespace: Option<&str>) -> Api<DhcpLease> {
        let client = self.setup.client.clone();
        match namespace.or(self.setup.namespace.as_deref()) {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        }
    }

    /// Lists what was mirrored, and takes it over page by page. `false` when
    /// that failed and must be tried again.
    async fn take_over(&mut self, term: u32, snapshot: &Snapshot) -> bool {
        let (api, begun) = (self.api(None), Instant::now());
        let mut params = ListParams::default().limit(PAGE);
        if self.setup.own.is_some() {
            params = params.labels(REPLICA_LABEL);
        }
        let (mut first, mut taken) = (true, 0);
        loop {
            let page = match timeout(REQUEST, api.list(&params)).await {
                Ok(Ok(page)) => {
                    self.fine();
                    page
                }
                // Where there is no such resource nothing was ever mirrored.
                Ok(Err(error)) if is_absent(&error) => {
                    self.failed("list", &error);
                    ObjectList {
                        types: TypeMeta::default(),
                        metadata: ListMeta::default(),
                        items: Vec::new(),
                    }
                }
                Ok(Err(error)) => {
                    self.failed("list", &error);
                    self.unread = self.unread || self.say_unread();
                    return false;
                }
                Err(_) => {
                    self.silent("list");
                    self.unread = self.unread || self.say_unread();
                    return false;
                }
            };
            let next = page.metadata.continue_.filter(|next| !next.is_empty());
            let own = self.setup.own.as_ref();
            let is_own = |object: &&DhcpLease| own.is_none_or(|own| (own.is_own)(object, snapshot));
            let objects: Vec<&DhcpLease> = page.items.iter().filter(is_own).collect();
            for object in &objects {
                self.plan.listed(object);
            }
            if let Some(imports) = self.setup.imports.clone() {
                let leases: Vec<L> = objects.into_iter().filter_map(lease_of).collect();
                taken += leases.len();
                let (done, durable) = oneshot::channel();
                let import = Import {
                    leases,
                    first,
                    last: next.is_none(),
                    done,
                };
                if !self.leads(term)
                    || imports.send(import).await.is_err()
                    || durable.await.is_err()
                {
                    return false;
                }
            }
            first = false;
            match next {
                Some(next) => params = params.continue_token(&next),
                None => break,
            }
        }
        let took = begun.elapsed();
        if self.setup.own.is_some() {
            tracing::info!(leases = taken, ?took, "mirrored IPv6 leases read");
        } else if self.setup.imports.is_some() {
            tracing::info!(term, leases = taken, ?took, "leases taken over");
        }
        self.unread = false;
        (self.setup.ready)(term);
        true
    }

    /// Says what is not served while the mirror cannot be read.
    fn say_unread(&self) -> bool {
        if self.setup.own.is_some() {
            tracing::warn!(
                cure = "let the service account list dhcpleases.reveille.dev, and see that the API \
                        server answers",
                "mirror: IPv6 leases of a disk that was lost are unknown until it can be read: an \
                 address may be offered that a machine has, which whoever gets it finds out"
            );
        } else if self.setup.imports.is_some() {
            tracing::warn!(
                cure = "let the service account list dhcpleases.reveille.dev, and see that the API \
                        server answers",
                "mirror: what other replicas, or this one before, gave of the pools is unknown: \
                 until it can be read, one of several replicas serves reservations, leases that it \
                 knows and its own share of each pool; one alone probes every address it does not \
                 know before it offers it"
            );
        }
        true
    }

    /// Writes changes as they come, while this replica leads.
    async fn mirror(&mut self, term: u32) {
        let mut generation = None;
        let mut compared: Option<Instant> = None;
        let mut write_at = Instant::now() + QUIET;
        while self.leads(term) {
            let Some(snapshot) = self.setup.snapshots.current() else {
                sleep(LOOK).await;
                continue;
            };
            let lost = self.setup.fed.has_lost();
            let stale = lost || generation != Some(snapshot.generation);
            let rested = compared.is_none_or(|at| at.elapsed() >= RESYNC);
            if stale && rested {
                if !self.compare().await {
                    sleep(LOOK).await;
                    continue;
                }
                generation = Some(snapshot.generation);
                compared = Some(Instant::now());
            } else if lost {
                generation = None;
            }
            let pending = i64::try_from(self.plan.pending()).unwrap_or(i64::MAX);
            self.show_pending(pending);
            let wake = if pending > 0 {
                write_at
            } else {
                Instant::now() + LOOK
            };
            tokio::select! {
                biased;
                change = self.setup.fed.changes.recv() => {
                    let Some(change) = change else { return };
                    if self.plan.pending() == 0 {
                        write_at = Instant::now() + QUIET;
                    }
                    self.plan.change(change);
                }
                () = sleep_until(wake) => {
                    let uid = Arc::clone(&self.setup.uid);
                    let next = self.plan.next(clock::uptime(), &snapshot, &|subnet| uid(subnet));
                    let pause = match next {
                        Some(write) if self.leads(term) => self.write(write).await,
                        // What is left rests.
                        Some(_) | None => LOOK,
                    };
                    write_at = Instant::now() + pause;
                }
            }
        }
        self.show_pending(0);
    }

    fn show_pending(&self, count: i64) {
        let pending = &self.setup.metrics.pending;
        pending.with_label_values(&[L::FAMILY]).set(count);
    }

    /// Holds the objects against the whole table.
    async fn compare(&mut self) -> bool {
        let (ask, answer) = oneshot::channel();
        if self.setup.table.send(ask).await.is_err() {
            return false;
        }
        let Ok(table) = answer.await else {
            return false;
        };
        // What changed until now is in it.
        while self.setup.fed.changes.try_recv().is_ok() {}
        self.plan.resync(clock::now(), table);
        true
    }

    /// One write, and how long to wait after it.
    async fn write(&mut self, write: Write<L::Address>) -> Duration {
        let (verb, result) = match &write {
            Write::Apply { object, .. } => {
                let api = self.api(object.metadata.namespace.as_deref());
                let name = object.metadata.name.as_deref().unwrap_or_default();
                let params = PatchParams::apply(MANAGER).force();
                let patch = Patch::Apply(object);
                let sent = api.patch(name, &params, &patch);
                let result = timeout(REQUEST, sent).await;
                ("patch", result.map(|result| result.map(drop)))
            }
            Write::Delete { namespace, address } => {
                let api = self.api(Some(namespace));
                let name = name_of((*address).into());
                let sent = self.delete(&api, &name);
                let result = timeout(REQUEST, sent).await;
                ("delete", result)
            }
        };
        let told = match &result {
            Ok(Ok(())) => "done",
            Ok(Err(Error::Api(status))) if verb == "delete" && status.is_not_found() => "gone",
            Ok(Err(Error::Api(status))) if is_hopeless(status.code) => "refused",
            Ok(Err(_)) | Err(_) => "failed",
        };
        let writes = &self.setup.metrics.writes;
        writes.with_label_values(&[verb, told]).inc();
        match (told, result) {
            ("done" | "gone", _) => {
                self.fine();
                self.plan.done(&write);
                return APART;
            }
            ("refused", Ok(Err(error))) => {
                // The others may fare better; a change or the next comparison
                // brings it back.
                self.failed(verb, &error);
                self.plan.skip(&write);
                return APART;
            }
            (_, Ok(Err(error))) => {
                self.failed(verb, &error);
                if matches!(&error, Error::Api(status) if status.code != 429) {
                    self.plan.rest(&write, clock::uptime());
                    return STUMBLE;
                }
            }
            (_, _) => {
                // Where a webhook hangs, it is this object only.
                self.plan.rest(&write, clock::uptime());
                self.silent(verb);
            }
        }
        BACKOFF
    }

    /// Removes an object, but none that another replica wrote meanwhile: its
    /// lease of the address goes on.
    async fn delete(&self, api: &Api<DhcpLease>, name: &str) -> kube::Result<()> {
        let mut params = DeleteParams::default();
        let shares = self.setup.own.as_ref().map(|own| own.shares);
        if let Some(shares) = shares.filter(|shares| shares.replicas > 1) {
            let only = ListParams::default().fields(&format!("metadata.name={name}"));
            let found = api.list(&only).await?.items.into_iter().next();
            let is_ours = |number| number == shares.ordinal || number >= shares.replicas;
            let found = found.filter(|object| replica_of(object).is_none_or(is_ours));
            let Some(object) = found else {
                return Ok(());
            };
            params = params.preconditions(Preconditions {
                resource_version: object.metadata.resource_version,
                uid: object.metadata.uid,
            });
        }
        api.delete(name, &params).await.map(drop)
    }

    fn failed(&mut self, verb: &str, error: &Error) -> bool {
        let (what, detail) = if let Error::Api(status) = error
            && status.is_forbidden()
        {
            (
                format!("the service account may not {verb} dhcpleases.reveille.dev"),
                status.message.clone(),
            )
        } else if let Error::Api(status) = error
            && status.is_not_found()
        {
            (
                "the DhcpLease resource or its namespace is not there; install crds/".to_owned(),
                status.message.clone(),
            )
        } else {
            (
                "leases cannot be shown as objects".to_owned(),
                error.to_string(),
            )
        };
        self.say(what, &detail)
    }

    fn silent(&mut self, verb: &str) -> bool {
        let detail = format!("{verb} took longer than {REQUEST:?}");
        self.say("leases cannot be shown as objects".to_owned(), &detail)
    }

    fn say(&mut self, what: String, detail: &str) -> bool {
        if self.trouble.as_ref() != Some(&what) {
            tracing::warn!(detail, "mirror: {what}");
            self.trouble = Some(what);
        }
        false
    }

    fn fine(&mut self) {
        if self.trouble.take().is_some() {
            tracing::info!("mirror: leases are shown as objects again");
        }
    }
}

/// Whether the API server has no such resource.
const fn is_absent(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 404)
}

/// Whether the same write will be refused again.
const fn is_hopeless(code: u16) -> bool {
    matches!(code, 400 | 403 | 404 | 422)
}
