//! What is counted of boots.

use std::time::Duration;

use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use super::{Boot, BootResult, Note};

/// Metrics of boots. No label names a machine.
#[derive(Clone, Debug)]
pub struct BootMetrics {
    started: IntCounter,
    boots: IntCounterVec,
    stalled: IntCounterVec,
    phoned_home: IntCounterVec,
    trouble: IntCounter,
    seconds: HistogramVec,
    stage_seconds: HistogramVec,
    dropped: IntGauge,
}

impl BootMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// A registry that has them already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let seconds = HistogramOpts::new(
            "reveille_boot_seconds",
            "Seconds from a boot's first packet to its end, by profile and result.",
        )
        .buckets(vec![
            2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 300.0, 600.0,
        ]);
        let stage_seconds = HistogramOpts::new(
            "reveille_boot_stage_seconds",
            "Seconds that one stage of a boot took, by stage: from the request to the last byte, \
             from the offer to the ACK.",
        )
        .buckets(vec![
            0.001, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0,
        ]);
        let metrics = Self {
            started: IntCounter::new("reveille_boots_started_total", "Boots that began.")?,
            boots: counters(
                "reveille_boots_total",
                "Boots that ended, by profile and result.",
                &["profile", "result"],
            )?,
            stalled: counters(
                "reveille_boots_stalled_total",
                "Boots that stalled, by profile and the stage that did not come.",
                &["profile", "stage"],
            )?,
            phoned_home: counters(
                "reveille_boots_phoned_home_total",
                "Boots whose system called back, by profile and result.",
                &["profile", "result"],
            )?,
            trouble: IntCounter::new(
                "reveille_boot_trouble_total",
                "Transfers of boots that were aborted, and files that were refused to them.",
            )?,
            seconds: HistogramVec::new(seconds, &["profile", "result"])?,
            stage_seconds: HistogramVec::new(stage_seconds, &["stage"])?,
            dropped: IntGauge::new(
                "reveille_boot_events_dropped",
                "Boot events that did not fit the queue since the start.",
            )?,
        };
        registry.register(Box::new(metrics.started.clone()))?;
        registry.register(Box::new(metrics.boots.clone()))?;
        registry.register(Box::new(metrics.stalled.clone()))?;
        registry.register(Box::new(metrics.phoned_home.clone()))?;
        registry.register(Box::new(metrics.trouble.clone()))?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        registry.register(Box::new(metrics.stage_seconds.clone()))?;
        registry.register(Box::new(metrics.dropped.clone()))?;
        Ok(metrics)
    }

    /// Counts what an event led to.
    pub(super) fn count(&self, note: &Note) {
        match note {
            Note::Started(_) => self.started.inc(),
            Note::Stage(_, record) => {
                let seconds = Duration::from_millis(record.duration_ms.into()).as_secs_f64();
                let stages = &self.stage_seconds;
                stages
                    .with_label_values(&[record.stage.as_str()])
                    .observe(seconds);
            }
            Note::Trouble(..) => self.trouble.inc(),
            Note::Ended(boot) => self.ended(boot),
            Note::PhonedHome(boot) => self.called(boot),
        }
    }

    /// How many boots of `profile` got to their end since the start: handed
    /// off, sent to another server, or called back though no hand-off was seen.
    #[must_use]
    pub fn handed_off(&self, profile: &str) -> u64 {
        let ended = |result: BootResult| {
            let labels = [profile, result.as_str()];
            self.boots.with_label_values(&labels).get()
        };
        let results = [
            BootResult::HandedOff,
            BootResult::Chained,
            BootResult::PhonedHome,
        ];
        results.into_iter().map(ended).sum()
    }

    /// Events that were dropped since the start.
    pub(super) fn dropped(&self, events: i64) {
        self.dropped.set(events);
    }

    fn ended(&self, boot: &Boot) {
        let labels = [profile(boot), boot.result.as_str()];
        self.boots.with_label_values(&labels).inc();
        let seconds = Duration::from_millis(boot.duration_ms()).as_secs_f64();
        let histogram = &self.seconds;
        histogram.with_label_values(&labels).observe(seconds);
        if let (BootResult::Stalled, Some(stage)) = (boot.result, boot.stalled_at) {
            let labels = [profile(boot), stage.as_str()];
            self.stalled.with_label_values(&labels).inc();
        }
        if matches!(boot.result, BootResult::PhonedHome | BootResult::Failed) {
            self.called(boot);
        }
    }

    fn called(&self, boot: &Boot) {
        let labels = [profile(boot), boot.result.as_str()];
        self.phoned_home.with_label_values(&labels).inc();
    }
}

fn profile(boot: &Boot) -> &str {
    boot.profile.as_deref().unwrap_or("none")
}

fn counters(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    IntCounterVec::new(Opts::new(name, help), labels)
}
