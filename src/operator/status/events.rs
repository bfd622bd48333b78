//! Events (events.k8s.io): few, in time, never in anybody's way. Shell.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use prometheus::IntCounterVec;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::notices::Notice;
use crate::api::{API_VERSION, ObjectRef};
use crate::clock;
use crate::operator::Cluster;
use crate::operator::watch::chain;
use crate::telemetry::{Meter, Seldom, about};

/// Events that may wait; what is more is dropped and counted.
const QUEUE: usize = 256;
/// Between two Events, on average.
const EVERY: Duration = Duration::from_millis(100);
/// Events at once after a rest.
const BURST: u32 = 50;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long nothing is sent after a failure: Events are worth little late.
const PAUSE: Duration = Duration::from_secs(5);

/// The end that takes Events; cheap to clone, never waits.
#[derive(Clone, Debug)]
pub struct Announcer {
    queue: mpsc::Sender<Announcement>,
    seldom: Seldom,
    metrics: EventMetrics,
}

/// The end that sends them.
pub struct Herald {
    queue: mpsc::Receiver<Announcement>,
    recorder: Recorder,
    metrics: EventMetrics,
    /// When the next one may be sent; may lie in the past, by a burst.
    next: Instant,
    quiet_until: Instant,
    said: bool,
}

/// Counts Events. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EventMetrics(IntCounterVec);

#[derive(Debug)]
struct Announcement {
    object: ObjectRef,
    uid: String,
    notice: Notice,
}

// === impl EventMetrics ===

impl EventMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// A registry that has them already.
    pub fn register(meter: &Meter) -> prometheus::Result<Self> {
        let events = about(
            "reveille_events_total",
            "Kubernetes Events by what became of them.",
            "Events",
        );
        Ok(Self(meter.counters(events, &["outcome"])?))
    }

    fn count(&self, outcome: &str) {
        self.0.with_label_values(&[outcome]).inc();
    }
}

// === impl Announcer ===

impl Announcer {
    /// Both ends; `replica` reports.
    #[must_use]
    pub fn new(cluster: &Cluster, replica: &str, metrics: EventMetrics) -> (Self, Herald) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let reporter = Reporter {
            controller: "reveille.dev/reveille".to_owned(),
            instance: Some(replica.to_owned()),
        };
        let announcer = Self {
            queue: sender,
            seldom: Seldom::default(),
            metrics: metrics.clone(),
        };
        let herald = Herald {
            queue,
            recorder: Recorder::new(cluster.client.clone(), reporter),
            metrics,
            next: Instant::now(),
            quiet_until: Instant::now(),
            said: false,
        };
        (announcer, herald)
    }

    /// An Event for `object`; of one reason once a minute.
    pub fn announce(&self, object: &ObjectRef, uid: &str, notice: Notice) {
        if uid.is_empty() {
            return;
        }
        let key = format!("{object} {}", notice.reason);
        if !self.seldom.is_due(&key, clock::now()) {
            self.metrics.count("repeated");
            return;
        }
        let announcement = Announcement {
            object: object.clone(),
            uid: uid.to_owned(),
            notice,
        };
        if self.queue.try_send(announcement).is_err() {
            self.metrics.count("dropped");
        }
    }
}

// === impl Herald ===

impl Herald {
    /// Sends Events until `token` is cancelled.
    ///
    /// # Errors
    /// None of its own; the supervisor wants the type.
    pub async fn run(this: Arc<Mutex<Self>>, token: CancellationToken) -> anyhow::Result<()> {
        let mut this = this.lock().await;
        loop {
            let announcement = tokio::select! {
                () = token.cancelled() => return Ok(()),
                next = this.queue.recv() => match next {
                    Some(announcement) => announcement,
                    None => { token.cancelled().await; return Ok(()); }
                },
            };
            let now = Instant::now();
            if now < this.quiet_until {
                this.metrics.count("dropped");
                continue;
            }
            this.next = this.next.max(now.checked_sub(EVERY * BURST).unwrap_or(now));
            let wait = this.next.saturating_duration_since(now);
            this.next += EVERY;
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                () = sleep(wait) => {}
            }
            this.send(announcement).await;
        }
    }

    async fn send(&mut self, announcement: Announcement) {
        let Announcement {
            object,
            uid,
            notice,
        } = announcement;
        let reference = ObjectReference {
            api_version: Some(API_VERSION.to_owned()),
            kind: Some(object.kind.as_str().to_owned()),
            namespace: Some(object.namespace),
            name: Some(object.name),
            uid: Some(uid),
            ..ObjectReference::default()
        };
        let event = Event {
            type_: if notice.is_warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: notice.reason.to_string(),
            note: Some(notice.note),
            action: notice.reason.to_string(),
            secondary: None,
        };
        let sent = timeout(PATIENCE, self.recorder.publish(&event, &reference)).await;
        let error = match sent {
            Ok(Ok(())) => {
                self.metrics.count("sent");
                self.said = false;
                return;
            }
            // The namespace is going, or the object is.
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                self.metrics.count("gone");
                return;
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => format!(
                "allow the verbs create and patch on events.events.k8s.io to our ServiceAccount ({})",
                status.message
            ),
            Ok(Err(error)) => chain(&error),
            Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        self.metrics.count("failed");
        self.quiet_until = Instant::now() + PAUSE;
        if !std::mem::replace(&mut self.said, true) {
            tracing::warn!("Events cannot be written: {error}");
        }
    }
}
