//! Counters of the TFTP service. No label names a machine: there are thousands.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::refuse::Refusal;
use super::transfer::Outcome;

/// Counters of the TFTP service; clones count together.
#[derive(Clone, Debug)]
pub struct TftpMetrics {
    transfers: IntCounterVec,
    refused: IntCounterVec,
    ignored: IntCounterVec,
    bytes: IntCounter,
    retransmits: IntCounter,
    active: IntGauge,
}

impl TftpMetrics {
    /// Registers the counters.
    ///
    /// # Errors
    /// Where the registry has one of that name.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let active = IntGauge::new(
            "reveille_tftp_active_transfers",
            "TFTP transfers in progress.",
        )?;
        registry.register(Box::new(active.clone()))?;
        Ok(Self {
            transfers: counter_by(
                registry,
                "reveille_tftp_transfers_total",
                "TFTP transfers that ended, by outcome.",
                "outcome",
            )?,
            refused: counter_by(
                registry,
                "reveille_tftp_refused_total",
                "TFTP requests answered with an ERROR packet, by reason.",
                "reason",
            )?,
            ignored: counter_by(
                registry,
                "reveille_tftp_ignored_total",
                "TFTP packets that changed nothing, by reason.",
                "reason",
            )?,
            bytes: counter(
                registry,
                "reveille_tftp_sent_bytes_total",
                "Bytes of content sent by TFTP, each counted once.",
            )?,
            retransmits: counter(
                registry,
                "reveille_tftp_retransmits_total",
                "TFTP packets that were sent again.",
            )?,
            active,
        })
    }

    pub(super) fn ended(&self, outcome: &Outcome, bytes: u64, retransmits: u64) {
        self.transfers.with_label_values(&[outcome.as_str()]).inc();
        self.bytes.inc_by(bytes);
        self.retransmits.inc_by(retransmits);
    }

    pub(super) fn refused(&self, refusal: Refusal) {
        self.refused.with_label_values(&[refusal.as_str()]).inc();
    }

    pub(super) fn ignored(&self, reason: &str) {
        self.ignored.with_label_values(&[reason]).inc();
    }

    pub(super) fn set_active(&self, transfers: usize) {
        self.active
            .set(i64::try_from(transfers).unwrap_or(i64::MAX));
    }
}

fn counter_by(
    registry: &Registry,
    name: &str,
    help: &str,
    label: &str,
) -> prometheus::Result<IntCounterVec> {
    let counter = IntCounterVec::new(Opts::new(name, help), &[label])?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn counter(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntCounter> {
    let counter = IntCounter::new(name, help)?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}
