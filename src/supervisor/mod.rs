//! Every service of the process, named, restarted and drained.
//!
//! Two kinds of end. Expected trouble (`Err`: an interface is gone, a port is
//! taken) restarts the service with backoff while all others keep serving. A
//! fault of ours (a panic, a return that nobody asked for) restarts it too,
//! but more than [`MAX_FAULTS`] within [`FAULT_WINDOW`] end the process with
//! the service's name and cause, so that the platform starts it anew.
//!
//! The only place that spawns tasks; [`Lanes`] are threads for some of them.

mod lanes;

use std::any::Any;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt as _;
use prometheus::{IntCounterVec, IntGaugeVec};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::lanes::{Lanes, Place, run_on};
use crate::telemetry::{FLAG, Meter, about};

/// Faults of one service that are borne within [`FAULT_WINDOW`].
pub const MAX_FAULTS: usize = 5;
/// The window in which faults count.
pub const FAULT_WINDOW: Duration = Duration::from_secs(60);
/// The first wait before a restart; doubles up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_millis(250);
/// The longest wait: an interface that returns is served within this time.
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// A service that ran this long has recovered: its backoff starts anew.
const SETTLED: Duration = Duration::from_secs(30);

/// Runs services. Cheap to clone: services can start further ones.
#[derive(Clone, Debug)]
pub struct Supervisor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shutdown: CancellationToken,
    tasks: TaskTracker,
    /// How each service is, and which start of it says so: a service that was
    /// replaced by another of its name says nothing any more.
    states: Mutex<BTreeMap<String, (u64, State)>>,
    starts: AtomicU64,
    /// The trouble of each service that was said already.
    said: Mutex<BTreeMap<String, String>>,
    fatal: mpsc::UnboundedSender<Fault>,
    metrics: Metrics,
}

/// How a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Up,
    /// It does not, for this cause, and will be started again.
    Down(String),
}

/// The service that ended the process, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("service {service} failed too often: {cause}")]
pub struct Fault {
    /// Its name.
    pub service: String,
    /// What it died of, the last time.
    pub cause: String,
}

/// The supervisor's end that waits for the end of everything.
#[derive(Debug)]
pub struct Faults(mpsc::UnboundedReceiver<Fault>);

#[derive(Debug)]
struct Metrics {
    up: IntGaugeVec,
    restarts: IntCounterVec,
}

/// Why one run of a service ended.
enum End {
    Stopped,
    Trouble(anyhow::Error),
    Fault(String),
}

// === impl Supervisor ===

impl Supervisor {
    /// A supervisor whose services end when `shutdown` is cancelled.
    ///
    /// # Errors
    /// A registry that has the same metrics already.
    pub fn new(shutdown: CancellationToken, meter: &Meter) -> prometheus::Result<(Self, Faults)> {
        let (fatal, faults) = mpsc::unbounded_channel();
        let inner = Inner {
            shutdown,
            tasks: TaskTracker::new(),
            states: Mutex::default(),
            starts: AtomicU64::new(0),
            said: Mutex::default(),
            fatal,
            metrics: Metrics::register(meter)?,
        };
        Ok((Self(Arc::new(inner)), Faults(faults)))
    }

    /// Starts a service. `make` makes one run of it; it gets a token that is
    /// cancelled when the run is to end. The token returned stops the service
    /// for good.
    pub fn service<M, F>(&self, name: impl Into<String>, mut make: M) -> CancellationToken
    where
        M: FnMut(CancellationToken) -> F + Send + 'static,
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let name = name.into();
        let token = self.0.shutdown.child_token();
        let stop = token.clone();
        let this = self.clone();
        let start = self.0.starts.fetch_add(1, Ordering::Relaxed);
        let starting = State::Down("it starts".to_owned());
        self.states().insert(name.clone(), (start, starting));
        // From the beginning, so that the first restart is seen as one more,
        // and that what never ran is seen to be down.
        let _ = self.0.metrics.restarts.with_label_values(&[&name]);
        self.0.metrics.up.with_label_values(&[&name]).set(0);
        self.0.tasks.spawn(async move {
            this.supervise(&name, start, &token, &mut make).await;
            this.forget(&name, start);
        });
        stop
    }

    async fn supervise<M, F>(&self, name: &str, start: u64, token: &CancellationToken, make: &mut M)
    where
        M: FnMut(CancellationToken) -> F,
        F: Future<Output = anyhow::Result<()>>,
    {
        let mut backoff = MIN_BACKOFF;
        let mut faults: Vec<Instant> = Vec::new();
        loop {
            let started = Instant::now();
            let run = AssertUnwindSafe(async { make(token.child_token()).await });
            let mut run = pin!(run.catch_unwind());
            // It is up once it waits for something: what fails at once never
            // was, and readiness must not flicker at each try.
            let first = poll_fn(|context| Poll::Ready(run.as_mut().poll(context))).await;
            let result = match first {
                Poll::Ready(result) => result,
                Poll::Pending => {
                    self.set(name, start, State::Up);
                    run.await
                }
            };
            let cause = match end(result, token) {
                End::Stopped => return,
                End::Trouble(error) => {
                    self.trouble(name, &error);
                    format!("{error:#}")
                }
                End::Fault(cause) => {
                    tracing::error!(service = name, cause, "service died");
                    faults.retain(|at| at.elapsed() < FAULT_WINDOW);
                    faults.push(Instant::now());
                    cause
                }
            };
            self.0.metrics.restarts.with_label_values(&[name]).inc();
            self.set(name, start, State::Down(cause.clone()));
            if faults.len() > MAX_FAULTS {
                let service = name.to_owned();
                // The receiver is gone only when the process ends anyway.
                let _ = self.0.fatal.send(Fault { service, cause });
                return;
            }
            if started.elapsed() > SETTLED {
                backoff = MIN_BACKOFF;
            }
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep(backoff) => {}
            }
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    /// Says what is wrong once, not at every restart. What lies behind it (the
    /// error's chain) may change meanwhile: that is no news.
    fn trouble(&self, name: &str, error: &anyhow::Error) {
        let (what, cause) = (error.to_string(), format!("{error:#}"));
        if self.said().get(name) == Some(&what) {
            tracing::debug!(service = name, cause, "service still waits");
        } else {
            tracing::warn!(service = name, cause, "service waits; it is tried again");
            self.said().insert(name.to_owned(), what);
        }
    }

    /// Told by a service that it serves: trouble after this is said again.
    pub fn settled(&self, name: &str) {
        if self.said().remove(name).is_some() {
            tracing::info!(service = name, "service is back");
        }
    }

    /// Every service and how it is.
    #[must_use]
    pub fn health(&self) -> BTreeMap<String, State> {
        let states = self.states();
        let states = states.iter();
        states
            .map(|(name, (_, state))| (name.clone(), state.clone()))
            .collect()
    }

    /// Waits until the process is to end: by `shutdown` or by a fault.
    ///
    /// # Errors
    /// The [`Fault`] that ends it.
    pub async fn wait(&self, mut faults: Faults) -> Result<(), Fault> {
        tokio::select! {
            () = self.0.shutdown.cancelled() => Ok(()),
            Some(fault) = faults.0.recv() => {
                self.0.shutdown.cancel();
                Err(fault)
            }
        }
    }

    /// Waits until every service has drained, `deadline` at most. `false`
    /// when some had not.
    pub async fn drain(&self, deadline: Duration) -> bool {
        self.0.shutdown.cancel();
        self.0.tasks.close();
        tokio::time::timeout(deadline, self.0.tasks.wait())
            .await
            .is_ok()
    }

    fn set(&self, name: &str, start: u64, state: State) {
        let mut states = self.states();
        if let Some(entry) = states.get_mut(name)
            && entry.0 == start
        {
            let up = i64::from(state == State::Up);
            self.0.metrics.up.with_label_values(&[name]).set(up);
            entry.1 = state;
        }
    }

    fn forget(&self, name: &str, start: u64) {
        let mut states = self.states();
        if states.get(name).is_some_and(|entry| entry.0 == start) {
            states.remove(name);
            // A metric that is not there any more cannot be removed twice.
            let _ = self.0.metrics.up.remove_label_values(&[name]);
        }
    }

    fn states(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (u64, State)>> {
        self.0.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn said(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.0.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end(result: Result<anyhow::Result<()>, Box<dyn Any + Send>>, token: &CancellationToken) -> End {
    match result {
        Ok(_) if token.is_cancelled() => End::Stopped,
        Ok(Ok(())) => End::Fault("it returned though nobody asked".to_owned()),
        Ok(Err(error)) => End::Trouble(error),
        Err(panic) => End::Fault(format!("panic: {}", message(panic.as_ref()))),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "unknown",
    }
}

// === impl Metrics ===

impl Metrics {
    fn register(meter: &Meter) -> prometheus::Result<Self> {
        Ok(Self {
            up: meter.gauges(
                about(
                    "reveille_service_up",
                    "Whether a service of the process runs; one for each interface that DHCP serves.",
                    FLAG,
                ),
                &["service"],
            )?,
            restarts: meter.counters(
                about(
                    "reveille_service_restarts_total",
                    "Restarts of a service after trouble or a fault.",
                    "restarts",
                ),
                &["service"],
            )?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn supervisor() -> (Supervisor, Faults) {
        Supervisor::new(CancellationToken::new(), &Meter::default()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn restarts_a_service_in_trouble_while_others_run() {
        let (supervisor, faults) = supervisor();
        let runs = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&runs);
        supervisor.service("link", move |token| {
            let run = count.fetch_add(1, Ordering::Relaxed);
            async move {
                anyhow::ensure!(run >= 20, "no interface");
                token.cancelled().await;
                Ok(())
            }
        });
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert_eq!(runs.load(Ordering::Relaxed), 21);
        assert_eq!(supervisor.health()["link"], State::Up);
        assert!(supervisor.drain(Duration::from_secs(1)).await);
        assert_eq!(supervisor.wait(faults).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn is_never_up_between_two_tries_that_fail_at_once() {
        let (supervisor, _faults) = supervisor();
        let seen = supervisor.clone();
        let ups = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&ups);
        supervisor.service("link", move |_| {
            let up = seen.health()["link"] == State::Up;
            count.fetch_add(usize::from(up), Ordering::Relaxed);
            async { anyhow::bail!("no interface") }
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(ups.load(Ordering::Relaxed), 0);
        let State::Down(cause) = supervisor.health()["link"].clone() else {
            panic!("it is up");
        };
        assert_eq!(cause, "no interface");
    }

    #[tokio::test(start_paused = true)]
    async fn ends_the_process_when_a_service_keeps_dying() {
        let (supervisor, faults) = supervisor();
        supervisor.service("tftp", |_| async {
            if std::hint::black_box(true) {
                panic!("index out of bounds");
            }
            Ok(())
        });
        let fault = supervisor.wait(faults).await.unwrap_err();
        assert_eq!(fault.service, "tftp");
        assert_eq!(fault.cause, "panic: index out of bounds");
    }

    #[tokio::test(start_paused = true)]
    async fn takes_an_unasked_return_for_a_fault() {
        let (supervisor, faults) = supervisor();
        supervisor.service("http", |_| async { Ok(()) });
        let fault = supervisor.wait(faults).await.unwrap_err();
        assert!(fault.cause.contains("nobody asked"), "{}", fault.cause);
    }

    #[tokio::test(start_paused = true)]
    async fn stops_one_service_for_good() {
        let (supervisor, _faults) = supervisor();
        let stop = supervisor.service("subnet", |token| async move {
            token.cancelled().await;
            Ok(())
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.cancel();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(supervisor.health().is_empty());
    }
}
