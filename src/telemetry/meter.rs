//! Metrics are made here: registered for Prometheus, and described for people.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, Result,
};

/// The unit of a metric that measures time.
pub const SECONDS: &str = "seconds";
/// The unit of a metric that measures content.
pub const BYTES: &str = "bytes";
/// The unit of a metric that says yes or no.
pub const FLAG: &str = "1 for yes, 0 for no";

/// What a label stands for when others decide how many values it has, and
/// there are too many: see [`Bounded`].
pub const OTHER: &str = "other";

/// A registry that remembers what every metric in it means; cheap to clone.
///
/// The page `docs/metrics.md` is made from what it remembers. The crate's own
/// registry forgets it, and shows a metric with labels only once it has values.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    registry: Registry,
    described: Arc<Mutex<Vec<Described>>>,
}

/// What a metric is.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: MetricKind,
    /// What it counts or measures.
    pub help: String,
    /// In what.
    pub unit: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// The upper bounds of a histogram's buckets.
    pub buckets: Vec<f64>,
}

/// Kinds of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Values by size.
    Histogram,
}

/// What a metric is called, what it says, and in which unit.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it counts or measures: a sentence.
    pub help: &'a str,
    /// In what: [`SECONDS`], [`BYTES`], [`FLAG`], or what is counted.
    pub unit: &'a str,
}

/// The values of a label whose number others decide: the first so many stand
/// for themselves, the rest are [`OTHER`]. What has a place keeps it until the
/// process ends, so that no counter goes back.
#[derive(Clone, Debug)]
pub struct Bounded {
    max: usize,
    seen: Arc<Mutex<BTreeSet<String>>>,
}

/// A metric's name, meaning and unit, in this order.
#[must_use]
pub const fn about<'a>(name: &'a str, help: &'a str, unit: &'a str) -> About<'a> {
    About { name, help, unit }
}

// === impl Meter ===

impl Meter {
    /// What is in it, by name.
    #[must_use]
    pub fn described(&self) -> Vec<Described> {
        let mut described = self.lock().clone();
        described.sort_by(|a, b| a.name.cmp(&b.name));
        described
    }

    /// A counter.
    ///
    /// # Errors
    /// A registry that has one of this name already; a name that is none.
    pub fn counter(&self, about: About<'_>) -> Result<IntCounter> {
        let counter = IntCounter::with_opts(about.opts())?;
        self.keep(about, MetricKind::Counter, &[], &[], &counter)
    }

    /// A counter with labels.
    ///
    /// # Errors
    /// As for [`counter`](Self::counter).
    pub fn counters(&self, about: About<'_>, labels: &[&str]) -> Result<IntCounterVec> {
        let counters = IntCounterVec::new(about.opts(), labels)?;
        self.keep(about, MetricKind::Counter, labels, &[], &counters)
    }

    /// A gauge.
    ///
    /// # Errors
    /// As for [`counter`](Self::counter).
    pub fn gauge(&self, about: About<'_>) -> Result<IntGauge> {
        let gauge = IntGauge::with_opts(about.opts())?;
        self.keep(about, MetricKind::Gauge, &[], &[], &gauge)
    }

    /// A gauge with labels.
    ///
    /// # Errors
    /// As for [`counter`](Self::counter).
    pub fn gauges(&self, about: About<'_>, labels: &[&str]) -> Result<IntGaugeVec> {
        let gauges = IntGaugeVec::new(about.opts(), labels)?;
        self.keep(about, MetricKind::Gauge, labels, &[], &gauges)
    }

    /// A histogram with the upper bounds of its buckets.
    ///
    /// # Errors
    /// As for [`counter`](Self::counter); bounds that do not grow.
    pub fn histogram(&self, about: About<'_>, buckets: &[f64]) -> Result<Histogram> {
        let opts = HistogramOpts::from(about.opts()).buckets(buckets.to_vec());
        let histogram = Histogram::with_opts(opts)?;
        self.keep(about, MetricKind::Histogram, &[], buckets, &histogram)
    }

    /// A histogram with labels.
    ///
    /// # Errors
    /// As for [`histogram`](Self::histogram).
    pub fn histograms(
        &self,
        about: About<'_>,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec> {
        let opts = HistogramOpts::from(about.opts()).buckets(buckets.to_vec());
        let histograms = HistogramVec::new(opts, labels)?;
        self.keep(about, MetricKind::Histogram, labels, buckets, &histograms)
    }

    fn keep<C: Collector + Clone + 'static>(
        &self,
        about: About<'_>,
        kind: MetricKind,
        labels: &[&str],
        buckets: &[f64],
        metric: &C,
    ) -> Result<C> {
        self.registry.register(Box::new(metric.clone()))?;
        self.describe(about, kind, labels, buckets);
        Ok(metric.clone())
    }

    /// Describes a metric that a collector of its own registers.
    pub fn describe(&self, about: About<'_>, kind: MetricKind, labels: &[&str], buckets: &[f64]) {
        self.lock().push(Described {
            name: about.name.to_owned(),
            kind,
            help: about.help.to_owned(),
            unit: about.unit.to_owned(),
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
            buckets: buckets.to_vec(),
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Described>> {
        self.described
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Meter {
    type Target = Registry;

    fn deref(&self) -> &Registry {
        &self.registry
    }
}

// === impl About ===

impl About<'_> {
    /// Its HELP names the unit.
    #[must_use]
    pub fn opts(&self) -> Opts {
        Opts::new(self.name, format!("{} Unit: {}.", self.help, self.unit))
    }
}

// === impl MetricKind ===

impl MetricKind {
    /// Its name, as Prometheus has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

// === impl Bounded ===

impl Bounded {
    /// `max` values stand for themselves.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            max,
            seen: Arc::default(),
        }
    }

    /// `value`, or [`OTHER`].
    #[must_use]
    pub fn value<'a>(&self, value: &'a str) -> &'a str {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(value) {
            return value;
        }
        if seen.len() >= self.max {
            return OTHER;
        }
        seen.insert(value.to_owned());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_the_unit_and_nothing_is_registered_twice() {
        let meter = Meter::default();
        let about = about("reveille_naps_total", "Naps that were taken.", "naps");
        meter.counter(about).unwrap().inc();
        assert!(meter.gauge(about).is_err());
        let family = &meter.gather()[0];
        assert_eq!(family.help(), "Naps that were taken. Unit: naps.");
        let described = meter.described();
        assert_eq!(described.len(), 1);
        assert_eq!(described[0].kind, MetricKind::Counter);
    }

    #[test]
    fn the_first_values_of_a_label_stand_for_themselves() {
        let profiles = Bounded::new(2);
        let values = ["a", "b", "c", "a", "d"].map(|value| profiles.value(value));
        assert_eq!(values, ["a", "b", OTHER, "a", OTHER]);
    }
}
