//! Keeps the timeline: takes events in, tells the story, counts. Shell.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{
    Boot, BootEvent, BootResult, Chronicle, Fact, Known, Note, Purpose, RecentLoaders, Stage,
    StageRecord, StoryLine, Timeline,
};
use crate::clock;
use crate::events::EventSender;
use crate::snapshot::{Reader, Snapshot};

/// How often boots are looked through for those that stalled.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// The boots, as other parts may read them; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Boots(Arc<Mutex<Timeline>>);

/// Keeps the timeline.
#[derive(Debug)]
pub struct Keeper {
    /// What the shells saw.
    pub events: mpsc::Receiver<BootEvent>,
    /// Where events that were dropped are counted.
    pub sender: EventSender,
    /// The boots.
    pub boots: Boots,
    /// Who is who.
    pub snapshots: Reader,
    /// Told when a machine got our loader.
    pub recent: RecentLoaders,
    /// Where the story is kept for those who ask.
    pub chronicle: Chronicle,
    /// What is counted.
    pub metrics: BootMetrics,
}

/// Metrics of boots. No label names a machine.
#[derive(Clone, Debug)]
pub struct BootMetrics {
    boots: IntCounterVec,
    seconds: HistogramVec,
    stage_seconds: HistogramVec,
    dropped: IntGauge,
}

// === impl Boots ===

impl Boots {
    /// Every boot that is known, as JSON: `{"boots": […]}`, the latest last.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let timeline = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::json!({ "boots": timeline.boots() })
    }

    /// Lets `look` at the boots; nothing is folded in meanwhile.
    pub fn with<T>(&self, look: impl FnOnce(&Timeline) -> T) -> T {
        look(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Keeper ===

impl Keeper {
    /// Folds events until `token` is cancelled.
    ///
    /// # Errors
    /// None of its own; the supervisor wants the type.
    pub async fn run(
        this: Arc<tokio::sync::Mutex<Self>>,
        token: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut this = this.lock().await;
        let mut sweep = interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                _ = sweep.tick() => this.sweep(),
                event = this.events.recv() => match event {
                    Some(event) => this.take(&event),
                    None => { token.cancelled().await; return Ok(()); }
                },
            }
        }
    }

    fn take(&self, event: &BootEvent) {
        if let Fact::Transfer(transfer) = &event.fact
            && transfer.purpose == Purpose::Loader
            && transfer.complete
        {
            self.recent.insert(event.mac, event.at);
        }
        let known = self
            .snapshots
            .current()
            .map(|snapshot| known(&snapshot, event))
            .unwrap_or_default();
        let notes = self.timeline().observe(event, &known);
        self.tell(notes);
    }

    fn sweep(&self) {
        let notes = self.timeline().sweep(clock::now());
        self.tell(notes);
        let dropped = i64::try_from(self.sender.dropped()).unwrap_or(i64::MAX);
        self.metrics.dropped.set(dropped);
    }

    fn timeline(&self) -> std::sync::MutexGuard<'_, Timeline> {
        self.boots.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, notes: Vec<Note>) {
        for note in notes {
            match note {
                Note::Stage(boot, record) => {
                    let seconds = Duration::from_millis(record.duration_ms).as_secs_f64();
                    let stages = &self.metrics.stage_seconds;
                    stages
                        .with_label_values(&[record.stage.as_str()])
                        .observe(seconds);
                    self.keep(&boot, tell_stage(&boot, &record));
                }
                Note::Ended(boot) => {
                    let profile = boot.profile.as_deref().unwrap_or("none");
                    let labels = [profile, boot.result.as_str()];
                    self.metrics.boots.with_label_values(&labels).inc();
                    let seconds = Duration::from_millis(boot.duration_ms()).as_secs_f64();
                    let histogram = &self.metrics.seconds;
                    histogram.with_label_values(&labels).observe(seconds);
                    if let Some(text) = tell_end(&boot) {
                        self.keep(&boot, text);
                    }
                }
            }
        }
    }

    fn keep(&self, boot: &Boot, text: String) {
        self.chronicle.note(StoryLine {
            at: clock::now().0,
            mac: boot.mac,
            machine: boot.machine.clone(),
            boot: Some(boot.id.clone()),
            text,
        });
    }
}

/// What the manifests say of the machine of `event`.
fn known(snapshot: &Snapshot, event: &BootEvent) -> Known {
    let (Fact::Offer { address, .. } | Fact::Ack { address, .. }) = &event.fact else {
        return Known::default();
    };
    let Some(subnet) = snapshot.subnet_of(*address) else {
        return Known::default();
    };
    let plan = snapshot.plan(subnet, Some(event.mac));
    let linux = plan.profile.and_then(|profile| profile.spec.linux.as_ref());
    Known {
        machine: plan.machine_name().map(str::to_owned),
        profile: plan.profile.map(|profile| profile.name.name.clone()),
        initrds: linux.map_or(0, |linux| linux.initrd.len()),
    }
}

/// The machine's name as the story has it.
fn who(boot: &Boot) -> String {
    let mac = || boot.mac.to_string();
    boot.machine.clone().unwrap_or_else(mac)
}

/// Logs a stage; the line's text.
fn tell_stage(boot: &Boot, record: &StageRecord) -> String {
    let at = seconds(record.at_ms);
    let what = match record.stage {
        Stage::Offer | Stage::Ack => {
            let address = boot.address.map(|address| address.to_string());
            format!("{} to {}", address.unwrap_or_default(), record.what)
        }
        Stage::HandOff => format!("runs on its own, {at} after its first packet"),
        Stage::LocalBoot => "is sent to its disk".to_owned(),
        Stage::Loader | Stage::Script | Stage::Kernel | Stage::Initrd => format!(
            "{}, {} in {}",
            record.what,
            human_bytes(record.bytes),
            seconds(record.duration_ms)
        ),
    };
    let (who, at, stage) = (who(boot), format!("+{at}"), record.stage.as_str());
    let text = format!("{who:<16} {at:>7}  {stage:<10} {what}");
    tracing::info!(
        target: "reveille::boot",
        machine = boot.machine,
        mac = %boot.mac,
        boot = boot.id,
        profile = boot.profile,
        architecture = boot.architecture.map(tracing::field::display),
        address = boot.address.map(tracing::field::display),
        stage = record.stage.as_str(),
        at_ms = record.at_ms,
        duration_ms = record.duration_ms,
        bytes = record.bytes,
        what = record.what,
        "{text}",
    );
    text
}

/// Logs how a boot ended; the line's text, where its last stage did not say it.
fn tell_end(boot: &Boot) -> Option<String> {
    let last = boot
        .stages
        .last()
        .map_or("none", |record| record.stage.as_str());
    match boot.result {
        // The stage told it already.
        BootResult::HandedOff | BootResult::LocalBoot | BootResult::Running => return None,
        BootResult::Stalled | BootResult::Restarted => {}
    }
    let (who, result) = (who(boot), boot.result.as_str());
    let text = format!("{who:<16} {:>7}  {result:<10} after {last}", "");
    tracing::warn!(
        target: "reveille::boot",
        machine = boot.machine,
        mac = %boot.mac,
        boot = boot.id,
        profile = boot.profile,
        result = boot.result.as_str(),
        last_stage = last,
        "{text}",
    );
    Some(text)
}

fn seconds(millis: u64) -> String {
    format!("{}.{} s", millis / 1000, millis % 1000 / 100)
}

fn human_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000)];
    for (unit, size) in UNITS {
        if bytes >= size {
            return format!("{}.{} {unit}", bytes / size, bytes % size * 10 / size);
        }
    }
    format!("{bytes} B")
}

// === impl BootMetrics ===

impl BootMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// A registry that has them already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let boots = Opts::new(
            "reveille_boots_total",
            "Boots that ended, by profile and result.",
        );
        let seconds = HistogramOpts::new(
            "reveille_boot_seconds",
            "Seconds from a boot's first packet to its end, by profile and result.",
        )
        .buckets(vec![
            2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 300.0, 600.0,
        ]);
        let stage_seconds = HistogramOpts::new(
            "reveille_boot_stage_seconds",
            "Seconds that one stage of a boot took to be sent, by stage.",
        )
        .buckets(vec![
            0.001, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0,
        ]);
        let metrics = Self {
            boots: IntCounterVec::new(boots, &["profile", "result"])?,
            seconds: HistogramVec::new(seconds, &["profile", "result"])?,
            stage_seconds: HistogramVec::new(stage_seconds, &["stage"])?,
            dropped: IntGauge::new(
                "reveille_boot_events_dropped",
                "Boot events that did not fit the queue since the start.",
            )?,
        };
        registry.register(Box::new(metrics.boots.clone()))?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        registry.register(Box::new(metrics.stage_seconds.clone()))?;
        registry.register(Box::new(metrics.dropped.clone()))?;
        Ok(metrics)
    }

    /// How many boots of `profile` were handed off since the start.
    #[must_use]
    pub fn handed_off(&self, profile: &str) -> u64 {
        let labels = [profile, BootResult::HandedOff.as_str()];
        self.boots.with_label_values(&labels).get()
    }
}
