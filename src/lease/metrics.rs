//! What the lease store counts.

use prometheus::{Histogram, HistogramOpts, IntCounter, Registry};

/// Counters of the lease store. Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub struct LeaseMetrics {
    /// Transactions that reached the disk.
    pub commits: IntCounter,
    /// Transactions that did not.
    pub errors: IntCounter,
    /// Changes that shared one transaction.
    pub changes: Histogram,
    /// Seconds that a transaction took, disk included.
    pub seconds: Histogram,
}

impl LeaseMetrics {
    /// Makes the counters and registers them.
    ///
    /// # Errors
    /// When the registry has metrics of these names.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let changes = HistogramOpts::new(
            "reveille_lease_commit_changes",
            "Lease changes that shared one transaction.",
        )
        .buckets(prometheus::exponential_buckets(1.0, 4.0, 7)?);
        let seconds = HistogramOpts::new(
            "reveille_lease_commit_seconds",
            "Time a transaction of lease changes took, disk included.",
        )
        .buckets(prometheus::exponential_buckets(0.000_1, 4.0, 9)?);
        let metrics = Self {
            commits: IntCounter::new(
                "reveille_lease_commits_total",
                "Transactions of lease changes that reached the disk.",
            )?,
            errors: IntCounter::new(
                "reveille_lease_commit_errors_total",
                "Transactions of lease changes that failed.",
            )?,
            changes: Histogram::with_opts(changes)?,
            seconds: Histogram::with_opts(seconds)?,
        };
        registry.register(Box::new(metrics.commits.clone()))?;
        registry.register(Box::new(metrics.errors.clone()))?;
        registry.register(Box::new(metrics.changes.clone()))?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        Ok(metrics)
    }
}
