//! What discovery counts.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

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
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let dropped = Opts::new(
            "reveille_discovery_dropped_total",
            "Packets of unknown machines that came to nothing, by reason.",
        );
        let errors = Opts::new(
            "reveille_discovery_errors_total",
            "Times that a discovered Machine could not be made, noted or deleted.",
        );
        let metrics = Self {
            discovered: IntCounter::new(
                "reveille_discovered_total",
                "Machines that discovery made.",
            )?,
            expired: IntCounter::new(
                "reveille_discovered_expired_total",
                "Discovered Machines that were deleted because nobody approved them.",
            )?,
            dropped: IntCounterVec::new(dropped, &["reason"])?,
            candidates: IntGauge::new(
                "reveille_discovery_candidates",
                "Unknown machines that are to become Machines.",
            )?,
            waiting: IntGauge::new(
                "reveille_discovered_waiting",
                "Discovered Machines that wait for approval.",
            )?,
            errors: IntCounterVec::new(errors, &["verb"])?,
        };
        registry.register(Box::new(metrics.discovered.clone()))?;
        registry.register(Box::new(metrics.expired.clone()))?;
        registry.register(Box::new(metrics.dropped.clone()))?;
        registry.register(Box::new(metrics.candidates.clone()))?;
        registry.register(Box::new(metrics.waiting.clone()))?;
        registry.register(Box::new(metrics.errors.clone()))?;
        Ok(metrics)
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
