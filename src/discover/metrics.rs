//! What discovery counts.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use crate::telemetry::{Meter, about};

/// Metrics of discovery; cheap to clone. No label names a machine.
#[derive(Clone, Debug)]
pub struct DiscoveryMetrics {
    /// Machines that were made.
    pub discovered: IntCounter,
    /// Machines that were cleaned up.
    pub expired: IntCounter,
    /// Packets that came to nothing, by reason.
    dropped: IntCounterVec,
    /// Those that are to become Machines.
    pub candidates: IntGauge,
    /// Machines that wait for approval.
    pub waiting: IntGauge,
    /// What could not be done, by what.
    errors: IntCounterVec,
}

// === impl DiscoveryMetrics ===

impl DiscoveryMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// A registry that has them already.
    pub fn register(meter: &Meter) -> prometheus::Result<Self> {
        Ok(Self {
            discovered: meter.counter(about(
                "reveille_discovered_total",
                "Machines that discovery made.",
                "machines",
            ))?,
            expired: meter.counter(about(
                "reveille_discovered_expired_total",
                "Discovered Machines that were deleted because nobody approved them.",
                "machines",
            ))?,
            dropped: meter.counters(
                about(
                    "reveille_discovery_dropped_total",
                    "Packets of unknown machines that came to nothing, by reason.",
                    "packets",
                ),
                &["reason"],
            )?,
            candidates: meter.gauge(about(
                "reveille_discovery_candidates",
                "Unknown machines that are to become Machines.",
                "machines",
            ))?,
            waiting: meter.gauge(about(
                "reveille_discovered_waiting",
                "Discovered Machines that wait for approval.",
                "machines",
            ))?,
            errors: meter.counters(
                about(
                    "reveille_discovery_errors_total",
                    "Times that a discovered Machine could not be made, noted or deleted, by what \
                     was tried.",
                    "times",
                ),
                &["verb"],
            )?,
        })
    }

    /// Counts a packet that came to nothing.
    pub fn dropped(&self, reason: &str) {
        self.dropped.with_label_values(&[reason]).inc();
    }

    /// Counts something that could not be done.
    pub fn failed(&self, verb: &str) {
        self.errors.with_label_values(&[verb]).inc();
    }
}
