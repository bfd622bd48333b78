//! Keeps what the manifests want: fetches what is missing, looks for what is
//! newer, throws away what nobody wants. Shell: what is to be done, and when,
//! is [`plan`](super::plan).

mod board;
mod bring;
mod job;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

pub use self::board::{Board, Entry};
pub(in crate::artifact) use self::bring::registry_settings;
pub use self::job::{Done, Tools, fetch};
use super::fetch::Failure;
use super::plan::{Step, Tries, step};
use super::progress::Progress;
use super::{Table, Want};
use crate::clock::{self, Millis};
use crate::snapshot::{ObjectName, Reader, Snapshot};

/// Artifacts that are fetched at once: more would only make each slower.
const AT_ONCE: usize = 2;
/// How often it is looked what can be thrown away.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// After the start, before every file is read: boots come first.
const SCRUB_AFTER: Duration = Duration::from_secs(30);
/// The longest that the keeper sleeps: the wall clock may be set.
const NAP: Duration = Duration::from_secs(30);

/// Asks for a scrub; answered with what is damaged, in words.
pub type ScrubAsk = oneshot::Sender<Vec<String>>;

/// The service.
pub struct Keeper {
    tools: Tools,
    snapshots: Reader,
    /// Milliseconds that what nobody wants stays.
    grace: u64,
    scrubs: mpsc::Receiver<ScrubAsk>,
    tries: BTreeMap<ObjectName, Tries>,
    /// Since when nobody wants what is there.
    unwanted: BTreeMap<ObjectName, Millis>,
    running: BTreeMap<ObjectName, Running>,
    /// What was said of the volume.
    said: BTreeSet<String>,
}

/// A job that goes on.
struct Running {
    identity: String,
    stop: CancellationToken,
}

/// How a job ended.
struct Ended {
    name: ObjectName,
    identity: String,
    /// `None`: it was stopped, because nobody wants it any more.
    result: Option<Result<Done, Failure>>,
    took: Duration,
}

type Jobs = FuturesUnordered<BoxFuture<'static, Ended>>;

// === impl Keeper ===

impl Keeper {
    /// A keeper that has done nothing yet.
    #[must_use]
    pub fn new(
        tools: Tools,
        snapshots: Reader,
        grace: Duration,
        scrubs: mpsc::Receiver<ScrubAsk>,
    ) -> Self {
        Self {
            tools,
            snapshots,
            grace: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
            scrubs,
            tries: BTreeMap::new(),
            unwanted: BTreeMap::new(),
            running: BTreeMap::new(),
            said: BTreeSet::new(),
        }
    }

    /// Keeps until `token` is cancelled.
    ///
    /// # Errors
    /// None of its own; the supervisor wants the type.
    pub async fn run(this: Arc<Mutex<Self>>, token: CancellationToken) -> anyhow::Result<()> {
        let mut this = this.lock().await;
        let this = &mut *this;
        this.running.clear();
        if let Ok(free) = this.tools.store.free() {
            this.tools
                .metrics
                .free
                .set(i64::try_from(free).unwrap_or(i64::MAX));
        }
        let mut jobs = Jobs::new();
        let mut sweep = interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut scrub: VecDeque<Option<ScrubAsk>> = VecDeque::new();
        let first_scrub = sleep(SCRUB_AFTER);
        tokio::pin!(first_scrub);
        let mut is_first = true;
        let mut scrubbing: Option<BoxFuture<'static, Vec<super::store::Damage>>> = None;
        loop {
            let wake = this.work(&mut jobs);
            if scrubbing.is_none() && !scrub.is_empty() {
                scrubbing = Some(this.scrub(token.clone()));
            }
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                more = this.snapshots.changed() => if !more {
                    token.cancelled().await;
                    return Ok(());
                },
                Some(ended) = jobs.next(), if !jobs.is_empty() => this.ended(ended),
                () = sleep(wake) => {}
                _ = sweep.tick() => this.sweep().await,
                () = &mut first_scrub, if is_first => {
                    is_first = false;
                    scrub.push_back(None);
                }
                Some(ask) = this.scrubs.recv() => scrub.push_back(Some(ask)),
                damage = async { match &mut scrubbing {
                    Some(work) => work.await,
                    None => std::future::pending().await,
                } } => {
                    scrubbing = None;
                    let words = this.damaged(damage).await;
                    for ask in scrub.drain(..).flatten() {
                        // Who asked may have gone.
                        let _ = ask.send(words.clone());
                    }
                }
            }
        }
    }

    /// Begins what may begin; how long there is nothing else to do.
    fn work(&mut self, jobs: &mut Jobs) -> Duration {
        let Some(snapshot) = self.snapshots.current() else {
            return NAP;
        };
        self.stop_unwanted(&snapshot);
        let table = self.tools.store.shelf().table();
        let now = clock::now();
        let mut wake = now.plus_millis(u64::try_from(NAP.as_millis()).unwrap_or(u64::MAX));
        for entry in &snapshot.artifacts {
            let want = &entry.want;
            if self.running.contains_key(&want.name) {
                continue;
            }
            let tries = self.tries.entry(want.name.clone()).or_default();
            // A manifest that was taken back leaves no failure behind.
            let held = table.get(&want.name);
            *tries = std::mem::take(tries).about(want, held);
            let step = step(want, held, tries, now);
            let tries = tries.clone();
            let is_due = matches!(step, Step::Fetch | Step::Refresh);
            let is_full = self.running.len() >= AT_ONCE;
            let next = match step {
                Step::Wait(at) => Some(at),
                Step::Fetch | Step::Refresh | Step::Rest => None,
            };
            wake = wake.min(next.unwrap_or(wake));
            self.tools.board.change(&want.name, |entry| {
                entry.identity = want.identity();
                entry.queued = is_due && is_full;
                entry.tries = tries;
                entry.next = next;
                entry.fetching = None;
            });
            if is_due && !is_full {
                jobs.push(self.begin(want, &table, step == Step::Refresh));
            }
        }
        self.count(&snapshot, &table);
        Duration::from_millis(wake.since(now).max(50))
    }

    /// Stops jobs whose artifact is wanted no more, or another way.
    fn stop_unwanted(&mut self, snapshot: &Snapshot) {
        let wants: BTreeMap<&ObjectName, &Want> = snapshot
            .artifacts
            .iter()
            .map(|it| (&it.want.name, &it.want))
            .collect();
        for (name, running) in &self.running {
            let same = wants
                .get(name)
                .is_some_and(|want| want.identity() == running.identity);
            if !same {
                running.stop.cancel();
            }
        }
        self.tries.retain(|name, _| wants.contains_key(name));
        self.tools.board.retain(&wants.keys().copied().collect());
    }

    fn begin(&mut self, want: &Want, table: &Table, is_refresh: bool) -> BoxFuture<'static, Ended> {
        let (tools, want) = (self.tools.clone(), want.clone());
        let held = table.get(&want.name).cloned();
        let (identity, stop) = (want.identity(), CancellationToken::new());
        self.running.insert(
            want.name.clone(),
            Running {
                identity: identity.clone(),
                stop: stop.clone(),
            },
        );
        let is_first = self
            .tries
            .get(&want.name)
            .is_none_or(|tries| tries.failures == 0);
        if !is_refresh && is_first {
            tracing::info!(artifact = %want.name, "an artifact is fetched");
        }
        tools.board.change(&want.name, |entry| {
            // A look for something newer is nothing that is fetched yet.
            entry.fetching = (!is_refresh).then(Progress::default);
        });
        let began = Instant::now();
        async move {
            let result = tokio::select! {
                () = stop.cancelled() => None,
                result = fetch(&tools, &want, held.as_ref(), is_refresh) => Some(result),
            };
            Ended {
                name: want.name,
                identity,
                result,
                took: began.elapsed(),
            }
        }
        .boxed()
    }

    fn ended(&mut self, ended: Ended) {
        let Ended {
            name,
            identity,
            result,
            took,
        } = ended;
        self.running.remove(&name);
        let metrics = &self.tools.metrics;
        let count = |result: &str| metrics.fetches.with_label_values(&[result]).inc();
        let tries = match result {
            None => {
                count("stopped");
                return;
            }
            Some(Ok(Done::New(_))) => {
                count("ok");
                metrics.seconds.observe(took.as_secs_f64());
                Tries::succeeded(&identity)
            }
            Some(Ok(Done::Unchanged(_))) => {
                count("unchanged");
                Tries::succeeded(&identity)
            }
            Some(Err(failure)) => {
                count(failure.reason.as_str());
                let before = self.tries.get(&name).cloned().unwrap_or_default();
                let tries = before.failed(
                    &identity,
                    failure.to_failed(),
                    (clock::now(), getrandom::u64().unwrap_or_default()),
                );
                let seconds = tries.next.map_or(0, |next| next.since(clock::now()) / 1000);
                let reason = failure.reason.as_str();
                // Once, and again only where it is something else.
                if before.error.as_ref() == Some(&failure.what) {
                    tracing::debug!(artifact = %name, reason, seconds, "{failure}");
                } else {
                    tracing::warn!(artifact = %name, reason, next_try_in = seconds, "{failure}");
                }
                tries
            }
        };
        self.tools.board.change(&name, |entry| {
            entry.fetching = None;
            entry.tries = tries.clone();
        });
        self.tries.insert(name, tries);
    }

    fn count(&self, snapshot: &Snapshot, table: &Table) {
        let mut states: BTreeMap<&str, i64> = super::metrics::STATES
            .into_iter()
            .map(|state| (state, 0))
            .collect();
        for entry in &snapshot.artifacts {
            let name = &entry.want.name;
            let is_there = table
                .get(name)
                .is_some_and(|held| held.identity == entry.want.identity());
            let tries = self.tries.get(name);
            let state = if self.running.contains_key(name) {
                "fetching"
            } else if tries.is_some_and(Tries::is_stalled) {
                "stalled"
            } else if is_there {
                "ready"
            } else {
                "waiting"
            };
            *states.entry(state).or_default() += 1;
        }
        for (state, number) in states {
            self.tools
                .metrics
                .artifacts
                .with_label_values(&[state])
                .set(number);
        }
        let bytes: u64 = table.values().map(super::Held::bytes).sum();
        self.tools
            .metrics
            .bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
