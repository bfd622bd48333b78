//! What is counted of boots.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGaugeVec};

use super::{Boot, BootResult, Note, StageRecord, Timeline};
use crate::boot::ClientKind;
use crate::telemetry::{Bounded, Meter, SECONDS, about};

/// Profiles that have a label of their own; boots of the others are counted
/// together. More would make a metric of every boot of every rack.
const MAX_PROFILES: usize = 100;
/// The same for files that loaders are.
const MAX_LOADERS: usize = 32;
/// The value of a label where there is none.
const NONE: &str = "none";

/// Buckets from a second to half an hour: an initrd from a near server, and
/// one over a slow line.
const SECONDS_OF_BOOTS: [f64; 14] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 300.0, 600.0, 1200.0, 1800.0,
];
/// Buckets of what a stage's transfer itself takes: a packet to half an hour.
const SECONDS_OF_TRANSFERS: [f64; 13] = [
    0.001, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0,
];

/// Metrics of boots; cheap to clone. No label names a machine.
#[derive(Clone, Debug)]
pub struct BootMetrics {
    started: IntCounterVec,
    boots: IntCounterVec,
    stalled: IntCounterVec,
    running: IntGaugeVec,
    phoned_home: IntCounterVec,
    trouble: IntCounter,
    seconds: HistogramVec,
    stage_seconds: HistogramVec,
    transfer_seconds: HistogramVec,
    profiles: Bounded,
    loaders: Bounded,
    /// By profile, whatever its label: boots that got to their end.
    handed_off: Arc<Mutex<BTreeMap<String, u64>>>,
}

/// What is known of a boot, for its labels.
#[derive(Clone, Copy, Debug)]
struct Labels<'a> {
    profile: &'a str,
    architecture: &'a str,
    firmware: &'a str,
    loader: &'a str,
}

// === impl BootMetrics ===

impl BootMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// A registry that has them already.
    pub fn register(meter: &Meter) -> prometheus::Result<Self> {
        let counter =
            |name, help, labels: &[&str]| meter.counters(about(name, help, "boots"), labels);
        Ok(Self {
            started: counter(
                "reveille_boots_started_total",
                "Boots that began.",
                &["profile", "architecture", "firmware"],
            )?,
            boots: counter(
                "reveille_boots_total",
                "Boots that ended, by result.",
                &["profile", "architecture", "firmware", "loader", "result"],
            )?,
            stalled: counter(
                "reveille_boots_stalled_total",
                "Boots that stalled, by the stage that did not come.",
                &["profile", "architecture", "firmware", "loader", "stage"],
            )?,
            running: meter.gauges(
                about(
                    "reveille_boots_running",
                    "Boots that go on now, by the stage that they wait for.",
                    "boots",
                ),
                &["stage"],
            )?,
            phoned_home: counter(
                "reveille_boots_phoned_home_total",
                "Boots whose system called back, by what it said.",
                &["profile", "result"],
            )?,
            trouble: meter.counter(about(
                "reveille_boot_trouble_total",
                "Transfers of boots that were aborted, and files that were refused to them.",
                "transfers",
            ))?,
            seconds: meter.histograms(
                about(
                    "reveille_boot_seconds",
                    "Time from a boot's first packet to what was last seen of it.",
                    SECONDS,
                ),
                &["profile", "result"],
                &SECONDS_OF_BOOTS,
            )?,
            stage_seconds: meter.histograms(
                about(
                    "reveille_boot_stage_seconds",
                    "Time from the end of the stage before, or the boot's beginning, to the end of \
                     this one: all of a boot's stages together are the boot.",
                    SECONDS,
                ),
                &["stage"],
                &SECONDS_OF_BOOTS,
            )?,
            transfer_seconds: meter.histograms(
                about(
                    "reveille_boot_transfer_seconds",
                    "Time that one stage itself took: from the request to the last byte, from the \
                     offer to the ACK.",
                    SECONDS,
                ),
                &["stage"],
                &SECONDS_OF_TRANSFERS,
            )?,
            profiles: Bounded::new(MAX_PROFILES),
            loaders: Bounded::new(MAX_LOADERS),
            handed_off: Arc::default(),
        })
    }

    /// Counts what an event led to.
    pub(super) fn count(&self, note: &Note) {
        match note {
            Note::Started(boot) => {
                let of = self.labels(boot);
                let labels = [of.profile, of.architecture, of.firmware];
                self.started.with_label_values(&labels).inc();
            }
            Note::Stage(boot, record) => self.stage(boot, record),
            Note::Trouble(..) => self.trouble.inc(),
            Note::Ended(boot) => self.ended(boot),
            Note::PhonedHome(boot) => self.called(boot),
        }
    }

    /// How many boots of `profile` got to their end since the start: handed
    /// off, sent to another server, or called back though no hand-off was seen.
    #[must_use]
    pub fn handed_off(&self, profile: &str) -> u64 {
        let tally = self.handed_off.lock();
        let tally = tally.unwrap_or_else(PoisonError::into_inner);
        tally.get(profile).copied().unwrap_or_default()
    }

    /// Counts what goes on now.
    pub(super) fn look(&self, timeline: &Timeline) {
        let mut waiting: BTreeMap<&str, i64> = BTreeMap::new();
        for machine in timeline.machines() {
            for boot in machine.running() {
                let stage = boot.expects.map_or(NONE, super::Stage::as_str);
                *waiting.entry(stage).or_default() += 1;
            }
        }
        self.running.reset();
        for (stage, boots) in waiting {
            self.running.with_label_values(&[stage]).set(boots);
        }
    }

    fn stage(&self, boot: &Boot, record: &StageRecord) {
        let stage = record.stage.as_str();
        let before = boot.stages.iter().rev().nth(1).map_or(0, |it| it.at_ms);
        let whole = self.stage_seconds.with_label_values(&[stage]);
        whole.observe(seconds(record.at_ms.saturating_sub(before).into()));
        let transfer = self.transfer_seconds.with_label_values(&[stage]);
        transfer.observe(seconds(record.duration_ms.into()));
        // A counter that appears with its first stall never grew, as Prometheus
        // sees it. So it is there as soon as a boot may stall at that stage.
        let of = self.labels(boot);
        let _ = self
            .stalled
            .with_label_values(&of.and(boot.next_stage().as_str()));
        let _ = self
            .boots
            .with_label_values(&of.and(BootResult::HandedOff.as_str()));
    }

    fn ended(&self, boot: &Boot) {
        let of = self.labels(boot);
        let result = boot.result.as_str();
        self.boots.with_label_values(&of.and(result)).inc();
        let histogram = self.seconds.with_label_values(&[of.profile, result]);
        histogram.observe(seconds(boot.duration_ms()));
        if let (BootResult::Stalled, Some(stage)) = (boot.result, boot.stalled_at) {
            self.stalled
                .with_label_values(&of.and(stage.as_str()))
                .inc();
        }
        if matches!(
            boot.result,
            BootResult::HandedOff | BootResult::Chained | BootResult::PhonedHome
        ) {
            let tally = self.handed_off.lock();
            let mut tally = tally.unwrap_or_else(PoisonError::into_inner);
            *tally.entry(profile(boot).to_owned()).or_default() += 1;
        }
        if matches!(boot.result, BootResult::PhonedHome | BootResult::Failed) {
            self.called(boot);
        }
    }

    fn called(&self, boot: &Boot) {
        let labels = [self.profiles.value(profile(boot)), boot.result.as_str()];
        self.phoned_home.with_label_values(&labels).inc();
    }

    fn labels<'a>(&self, boot: &'a Boot) -> Labels<'a> {
        Labels {
            profile: self.profiles.value(profile(boot)),
            architecture: boot.architecture.map_or(NONE, |it| it.as_str()),
            firmware: boot.firmware.map_or(NONE, ClientKind::as_str),
            loader: self.loaders.value(boot.loader.as_deref().unwrap_or(NONE)),
        }
    }
}

// === impl Labels ===

impl<'a> Labels<'a> {
    const fn and(self, last: &'a str) -> [&'a str; 5] {
        let Self {
            profile,
            architecture,
            firmware,
            loader,
        } = self;
        [profile, architecture, firmware, loader, last]
    }
}

fn profile(boot: &Boot) -> &str {
    boot.profile.as_deref().unwrap_or(NONE)
}

fn seconds(millis: u64) -> f64 {
    Duration::from_millis(millis).as_secs_f64()
}
