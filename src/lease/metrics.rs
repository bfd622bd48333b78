//! What the lease store counts.

use prometheus::{Histogram, IntCounter};

use crate::telemetry::{Meter, SECONDS, about};

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
    pub fn register(meter: &Meter) -> prometheus::Result<Self> {
        let changes = prometheus::exponential_buckets(1.0, 4.0, 7)?;
        let seconds = prometheus::exponential_buckets(0.000_1, 4.0, 9)?;
        Ok(Self {
            commits: meter.counter(about(
                "reveille_lease_commits_total",
                "Transactions of lease changes that reached the disk.",
                "transactions",
            ))?,
            errors: meter.counter(about(
                "reveille_lease_commit_errors_total",
                "Transactions of lease changes that failed: no lease is promised meanwhile.",
                "transactions",
            ))?,
            changes: meter.histogram(
                about(
                    "reveille_lease_commit_changes",
                    "Lease changes that shared one transaction.",
                    "changes",
                ),
                &changes,
            )?,
            seconds: meter.histogram(
                about(
                    "reveille_lease_commit_seconds",
                    "Time a transaction of lease changes took, disk included.",
                    SECONDS,
                ),
                &seconds,
            )?,
        })
    }
}
