//! Keeps the status of all objects as they are: what changed is looked at,
//! what differs is written. Shell.

mod facts;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use prometheus::{IntCounterVec, IntGauge};
use serde_json::Value;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use self::facts::name_of;
use super::events::Announcer;
use super::machine::time;
use super::notices::{Notice, Told, of_boot};
use super::pace::{Ended, Next, Pace};
use super::publish::{Job, Landed, Outcome, Publisher};
use super::sight::Sight;
use crate::api::{BootStatus, Kind, ObjectRef};
use crate::artifact::keep::Board;
use crate::artifact::store::Shelf;
use crate::dhcp::heard::Heard;
use crate::dhcp::scout::Lookouts;
use crate::files::Roots;
use crate::lease::{LeaseIndex, Usages, Usages6};
use crate::net::{Links, Links6};
use crate::operator::{Leads, Shared, World};
use crate::snapshot::ObjectName;
use crate::supervisor::Supervisor;
use crate::telemetry::{Meter, about};
use crate::timeline::{BootList, Boots};

/// How often it is looked what boots and listeners did.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Looks between two at the Subnets: once a second.
const SUBNETS: u64 = 4;
/// Looks between two at the files of profiles: once in five seconds.
const FILES: u64 = 20;
/// Looks between two at everything: twice a minute. What no event tells of is
/// seen then, such as a lease that ended.
const ALL: u64 = 120;
/// After a change of the world, all objects are looked at within this time: a
/// change of one may be a change of all.
const SETTLE: Duration = Duration::from_secs(2);
/// What we wrote counts before what the watch told for so long: its echo comes later.
const ECHO: Duration = Duration::from_secs(10);
/// How long no label is written after we were told that we may not.
const LABEL_PAUSE: Duration = Duration::from_secs(300);
/// Changes of boots that are taken at once.
const BATCH: usize = 256;
/// Objects that are looked at before others get their turn.
const YIELD_AFTER: usize = 64;

/// Where the writer's facts come from.
pub struct Sources {
    /// The cluster's objects.
    pub objects: Shared,
    /// What is served.
    pub worlds: watch::Receiver<Option<World>>,
    /// The boots.
    pub boots: Boots,
    /// Who has which address.
    pub leases: LeaseIndex,
    /// How many addresses are taken.
    pub usages: Usages,
    /// The same of IPv6.
    pub usages6: Usages6,
    /// Which interface serves which Subnet.
    pub links: Links,
    /// The same of IPv6.
    pub links6: Links6,
    /// What was found of other servers.
    pub lookouts: Lookouts,
    /// What DHCP heard.
    pub heard: Heard,
    /// How the listeners are.
    pub supervisor: Supervisor,
    /// The names of a Subnet's listeners: DHCP, and PXE and DHCPv6 where there
    /// are such.
    pub listeners: fn(&str) -> [String; 3],
    /// Where the files of profiles are.
    pub roots: Arc<Roots>,
    /// How artifacts are.
    pub artifacts: Board,
    /// Which of them are there.
    pub shelf: Shelf,
    /// Whether this replica leads.
    pub leads: Leads,
}

/// Metrics of status. No label names an object, but a Subnet.
#[derive(Clone, Debug)]
pub struct StatusMetrics {
    writes: IntCounterVec,
    queue: IntGauge,
}

/// The writer.
pub struct Writer {
    sources: Sources,
    publisher: Publisher,
    announcer: Announcer,
    metrics: StatusMetrics,
    pace: Pace,
    started: Instant,
    sight: Option<(Arc<Sight>, u64)>,
    /// When all objects are looked at.
    settle: Option<Instant>,
    looks: u64,
    led: bool,
    boots_seen: u64,
    artifacts_seen: u64,
    told: Told,
    /// Boots to be added to what the status of a profile counts.
    tallies: BTreeMap<ObjectName, Tally>,
    missing: BTreeMap<ObjectName, Vec<String>>,
    written: HashMap<ObjectRef, Written>,
    /// What the API server does not keep as it is written.
    futile: HashMap<ObjectRef, Value>,
    mirrors: HashMap<ObjectRef, Mirror>,
    /// Labels that were written lately.
    labels: HashMap<ObjectRef, (String, Instant)>,
    labels_after: Instant,
    flights: FuturesUnordered<BoxFuture<'static, Landed>>,
}

#[derive(Clone, Debug, Default)]
struct Tally {
    more: u64,
    last: Option<Time>,
    /// The count that was written last.
    landed: u64,
}

/// What we wrote lately.
struct Written {
    uid: String,
    /// As text: a tree takes five times the room.
    status: Box<str>,
    at: Instant,
}

/// What this replica wrote of a machine's boots.
struct Mirror {
    uid: String,
    /// Those of an earlier life.
    before: Vec<BootStatus>,
    /// The timeline's revision that is written.
    revision: u64,
}

// === impl StatusMetrics ===

impl StatusMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// A registry that has them already.
    pub fn register(meter: &Meter) -> prometheus::Result<Self> {
        Ok(Self {
            writes: meter.counters(
                about(
                    "reveille_status_writes_total",
                    "Writes of status, boots and labels to the API server, by kind and outcome.",
                    "writes",
                ),
                &["kind", "part", "outcome"],
            )?,
            queue: meter.gauge(about(
                "reveille_status_queue_length",
                "Objects whose status is to be looked at.",
                "objects",
            ))?,
        })
    }

    fn count(&self, kind: Kind, part: &str, outcome: &Outcome) {
        let labels = [kind.as_str(), part, outcome.as_str()];
        self.writes.with_label_values(&labels).inc();
    }
}

// === impl Writer ===

impl Writer {
    /// A writer that has seen nothing yet.
    pub(super) fn new(
        sources: Sources,
        publisher: Publisher,
        announcer: Announcer,
        metrics: StatusMetrics,
    ) -> Self {
        Self {
            sources,
            publisher,
            announcer,
            metrics,
            pace: Pace::default(),
            started: Instant::now(),
            sight: None,
            settle: None,
            looks: 0,
            led: false,
            boots_seen: 0,
            artifacts_seen: 0,
            told: Told::default(),
            tallies: BTreeMap::new(),
            missing: BTreeMap::new(),
            written: HashMap::new(),
            futile: HashMap::new(),
            mirrors: HashMap::new(),
            labels: HashMap::new(),
            labels_after: Instant::now(),
            flights: FuturesUnordered::new(),
        }
    }

    /// Writes until `token` is cancelled.
    ///
    /// # Errors
    /// None of its own; the supervisor wants the type.
    pub async fn run(this: Arc<Mutex<Self>>, token: CancellationToken) -> anyhow::Result<()> {
        let mut this = this.lock().await;
        let this = &mut *this;
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wake = this.work().await;
            tokio::select! {
                () = token.cancelled() => break,
                Some(landed) = this.flights.next(), if !this.flights.is_empty() => this.landed(landed),
                changed = this.sources.worlds.changed() => {
                    if changed.is_err() {
                        token.cancelled().await;
                        break;
                    }
                    this.see();
                }
                _ = look.tick() => tokio::task::block_in_place(|| this.look()),
                () = sleep_until(wake) => {}
            }
        }
        Ok(())
    }

    /// Begins what may begin; when there is more to do.
    async fn work(&mut self) -> Instant {
        const LONG: u64 = 3_600_000;
        let mut looked = 0;
        let at = loop {
            let now = self.now();
            match self.pace.next(now) {
                Next::At(at) => break at,
                Next::Idle => break now + LONG,
                Next::Object(object) => {
                    let job = self.job(&object);
                    let writes = job.as_ref().map_or(0, Job::writes);
                    self.pace.begins(&object, writes, now);
                    if let Some(job) = job.filter(|_| writes > 0) {
                        self.flights
                            .push(Box::pin(self.publisher.clone().publish(job)));
                    }
                    looked += 1;
                    if looked % YIELD_AFTER == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            }
        };
        let waiting = i64::try_from(self.pace.waiting()).unwrap_or(i64::MAX);
        self.metrics.queue.set(waiting);
        self.started + Duration::from_millis(at)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn leads(&self) -> bool {
        (self.sources.leads)()
    }

    /// Takes a new world in.
    fn see(&mut self) {
        let Some(world) = self.sources.worlds.borrow_and_update().clone() else {
            return;
        };
        // The disk says nothing of what the cluster's objects are now.
        if !world.is_live {
            return;
        }
        let before = self.sight.as_ref().map_or(0, |(_, revision)| *revision);
        let sight = Sight::new(world.snapshot, world.report);
        self.sight = Some((Arc::new(sight), world.revision));
        let changed: Vec<ObjectRef> = {
            let objects = self.sources.objects.lock();
            objects.changed_after(before).cloned().collect()
        };
        let now = self.now();
        for object in &changed {
            self.pace.mark(object, now);
        }
        if changed.iter().any(|it| it.kind == Kind::BootProfile) {
            tokio::task::block_in_place(|| self.find_files());
        }
        self.mark(Kind::Subnet);
        self.mark(Kind::BootProfile);
        self.settle.get_or_insert_with(|| Instant::now() + SETTLE);
    }

    /// Looks at what nobody tells of.
    fn look(&mut self) {
        self.looks += 1;
        self.take_boots();
        self.take_artifacts();
        self.take_refusals();
        let leads = self.leads();
        if leads != std::mem::replace(&mut self.led, leads) && leads {
            self.settle = Some(Instant::now());
        }
        if self.looks % FILES == 1 {
            self.find_files();
        }
        if self.looks.is_multiple_of(SUBNETS) {
            self.mark(Kind::Subnet);
        }
        let settled = self.settle.is_some_and(|at| at <= Instant::now());
        if settled || self.looks.is_multiple_of(ALL) {
            self.settle = None;
            Kind::ALL.into_iter().for_each(|kind| self.mark(kind));
            self.forget();
        }
        self.written
            .retain(|_, written| written.at.elapsed() < ECHO);
        self.labels.retain(|_, (_, at)| at.elapsed() < ECHO);
    }

    /// Marks all objects of a kind.
    fn mark(&mut self, kind: Kind) {
        let now = self.now();
        let objects = self.sources.objects.lock();
        for (object, _) in objects.of_kind(kind) {
            self.pace.mark(object, now);
        }
    }

    /// Forgets what belongs to objects that are gone.
    fn forget(&mut self) {
        let objects = self.sources.objects.lock();
        let is_there = |object: &ObjectRef| objects.info(object).is_some();
        self.mirrors.retain(|object, _| is_there(object));
        self.futile.retain(|object, _| is_there(object));
        self.tallies.retain(|name, _| {
            is_there(&ObjectRef::new(
                Kind::BootProfile,
                &name.namespace,
                &name.name,
            ))
        });
    }

    /// Sees what became of artifacts.
    fn take_artifacts(&mut self) {
        let (revision, names) = self.sources.artifacts.changed_after(self.artifacts_seen);
        self.artifacts_seen = revision;
        let now = self.now();
        for name in names {
            let object = ObjectRef::new(Kind::Artifact, &name.namespace, &name.name);
            if self.sources.objects.lock().info(&object).is_some() {
                self.pace.mark(&object, now);
            }
        }
    }

    /// Sees what became of boots.
    fn take_boots(&mut self) {
        loop {
            let lists = self.sources.boots.changed_since(self.boots_seen, BATCH);
            let Some(last) = lists.last() else { return };
            self.boots_seen = last.revision;
            let is_all = lists.len() < BATCH;
            for list in &lists {
                self.take_list(list);
            }
            if is_all {
                return;
            }
        }
    }

    fn take_list(&mut self, list: &BootList) {
        let turns = self.told.turns(list);
        let Some(name) = &list.name else { return };
        let object = ObjectRef::new(Kind::Machine, &name.namespace, &name.name);
        let now = self.now();
        self.pace.mark(&object, now);
        let uid = {
            let objects = self.sources.objects.lock();
            objects.info(&object).map(|info| info.uid.clone())
        };
        for turn in turns {
            if let Some((uid, notice)) = uid.as_ref().zip(of_boot(&turn)) {
                self.announcer.announce(&object, uid, notice);
            }
            if let Some(profile) = turn.boot.profile.as_ref().filter(|_| turn.is_success) {
                let name = ObjectName {
                    namespace: name.namespace.clone(),
                    name: profile.to_string(),
                };
                let object = ObjectRef::new(Kind::BootProfile, &name.namespace, &name.name);
                let tally = self.tallies.entry(name).or_default();
                tally.more += 1;
                tally.last = tally.last.take().max(time(turn.boot.started));
                self.pace.mark(&object, now);
            }
        }
    }

    /// Tells of machines that nothing here boots.
    fn take_refusals(&self) {
        for refusal in self.sources.heard.refusals() {
            let Some((namespace, _)) = refusal.subnet.split_once('/') else {
                continue;
            };
            let object = ObjectRef::new(Kind::Machine, namespace, &refusal.machine);
            let info = self.sources.objects.lock().info(&object).cloned();
            let Some(info) = info else { continue };
            let note = format!(
                "nothing here boots this machine ({}); it gets an address only",
                refusal.reason.as_str()
            );
            let notice = Notice::new("Refused", true, note);
            self.announcer.announce(&object, &info.uid, notice);
        }
    }

    /// Takes in what came of a job.
    fn landed(&mut self, landed: Landed) {
        let object = &landed.object;
        let now = self.now();
        let mut how = Ended::Well;
        if let Some(outcome) = &landed.status {
            self.metrics.count(object.kind, "status", outcome);
            how = how.max(ended(outcome));
            self.landed_status(&landed, outcome);
        }
        if let Some(outcome) = &landed.label {
            self.metrics.count(object.kind, "label", outcome);
            match outcome {
                // A role without this verb costs the label only.
                Outcome::Forbidden => self.labels_after = Instant::now() + LABEL_PAUSE,
                Outcome::Failed => how = Ended::Badly,
                Outcome::Written(_) | Outcome::Gone | Outcome::Rejected => {
                    let label = landed.wanted_label.clone().unwrap_or_default();
                    self.labels.insert(object.clone(), (label, Instant::now()));
                }
            }
        }
        if let Some((outcome, boots)) = &landed.boots {
            self.metrics.count(object.kind, "boots", outcome);
            how = how.max(ended(outcome));
            let is_over = matches!(outcome, Outcome::Written(_) | Outcome::Rejected);
            if let Some(before) = boots.before.as_ref().filter(|_| is_over) {
                let mirror = Mirror {
                    uid: landed.uid.clone(),
                    before: before.clone(),
                    revision: boots.list.revision,
                };
                self.mirrors.insert(object.clone(), mirror);
            }
        }
        self.pace.ends(object, how, now);
    }

    fn landed_status(&mut self, landed: &Landed, outcome: &Outcome) {
        let (object, Some(wanted)) = (&landed.object, &landed.wanted) else {
            return;
        };
        match outcome {
            Outcome::Written(kept) => {
                if let Some(tally) = self.tallies.get_mut(&name_of(object))
                    && object.kind == Kind::BootProfile
                {
                    tally.more = tally.more.saturating_sub(landed.counted);
                    tally.landed = wanted.get("boots").and_then(Value::as_u64).unwrap_or(0);
                }
                if is_kept(wanted, kept) {
                    self.futile.remove(object);
                } else {
                    self.publisher.say(object.kind, "kept", || {
                        format!("the API server keeps less of the status of {object} than was written; are the CRDs of this version? `reveille crds | kubectl apply --server-side -f -`")
                    });
                    self.futile.insert(object.clone(), wanted.clone());
                }
                let written = Written {
                    uid: landed.uid.clone(),
                    status: wanted.to_string().into(),
                    at: Instant::now(),
                };
                self.written.insert(object.clone(), written);
            }
            Outcome::Rejected => {
                self.futile.insert(object.clone(), wanted.clone());
            }
            Outcome::Gone | Outcome::Forbidden | Outcome::Failed => {}
        }
    }
}

fn ended(outcome: &Outcome) -> Ended {
    if outcome.is_to_repeat() {
        Ended::Badly
    } else {
        Ended::Well
    }
}

/// Whether the API server has what was `written`: what it adds is others'.
fn is_kept(written: &Value, kept: &str) -> bool {
    let Ok(kept) = serde_json::from_str::<Value>(kept) else {
        return false;
    };
    written.is_object() && holds(&kept, written)
}

/// Whether every field of `written` is in `kept`.
fn holds(kept: &Value, written: &Value) -> bool {
    match (kept, written) {
        (Value::Object(kept), Value::Object(written)) => written
            .iter()
            .all(|(name, value)| kept.get(name).is_some_and(|kept| holds(kept, value))),
        _ => kept == written,
    }
}
