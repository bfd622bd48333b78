//! Counters of the TFTP service. No label names a machine: there are thousands.

use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge};

use super::refuse::Refusal;
use super::transfer::{Outcome, Transfer};
use crate::telemetry::{BYTES, Meter, SECONDS, about};

/// From a loader on a near link to a whole system over a slow one.
const SECONDS_OF_TRANSFERS: [f64; 10] =
    [0.01, 0.05, 0.25, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 1800.0];

/// Counters of the TFTP service; clones count together.
#[derive(Clone, Debug)]
pub struct TftpMetrics {
    transfers: IntCounterVec,
    refused: IntCounterVec,
    ignored: IntCounterVec,
    bytes: IntCounter,
    retransmits: IntCounter,
    active: IntGauge,
    seconds: HistogramVec,
    window: Histogram,
    uploads: IntCounterVec,
    received: IntCounter,
}

impl TftpMetrics {
    /// Registers the counters.
    ///
    /// # Errors
    /// Where the registry has one of that name.
    pub fn register(meter: &Meter) -> prometheus::Result<Self> {
        let counters = |name, help, unit, label| meter.counters(about(name, help, unit), &[label]);
        Ok(Self {
            transfers: counters(
                "reveille_tftp_transfers_total",
                "TFTP transfers that ended, by outcome; `probe` asked for the size alone.",
                "transfers",
                "outcome",
            )?,
            refused: counters(
                "reveille_tftp_refused_total",
                "TFTP requests answered with an ERROR packet, by reason.",
                "requests",
                "reason",
            )?,
            ignored: counters(
                "reveille_tftp_ignored_total",
                "TFTP packets that changed nothing, by reason.",
                "packets",
                "reason",
            )?,
            bytes: meter.counter(about(
                "reveille_tftp_sent_bytes_total",
                "Content sent by TFTP, each byte counted once.",
                BYTES,
            ))?,
            retransmits: meter.counter(about(
                "reveille_tftp_retransmits_total",
                "TFTP packets that were sent again.",
                "packets",
            ))?,
            active: meter.gauge(about(
                "reveille_tftp_active_transfers",
                "TFTP transfers in progress.",
                "transfers",
            ))?,
            seconds: meter.histograms(
                about(
                    "reveille_tftp_transfer_seconds",
                    "Time from a TFTP request to the end of its transfer, probes left out.",
                    SECONDS,
                ),
                &["outcome"],
                &SECONDS_OF_TRANSFERS,
            )?,
            window: meter.histogram(
                about(
                    "reveille_tftp_window_blocks",
                    "Blocks that a client takes before it acknowledges them (RFC 7440), by \
                     transfer, probes left out.",
                    "blocks",
                ),
                &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0],
            )?,
            uploads: counters(
                "reveille_tftp_uploads_total",
                "Files that clients wrote by TFTP, by outcome.",
                "files",
                "outcome",
            )?,
            received: meter.counter(about(
                "reveille_tftp_received_bytes_total",
                "Content that clients wrote by TFTP, each byte counted once.",
                BYTES,
            ))?,
        })
    }

    pub(super) fn ended(&self, outcome: &Outcome, transfer: &Transfer, duration: Duration) {
        self.transfers.with_label_values(&[outcome.as_str()]).inc();
        self.bytes.inc_by(transfer.bytes_sent());
        self.retransmits.inc_by(transfer.retransmits());
        if *outcome != Outcome::Probe {
            let seconds = self.seconds.with_label_values(&[outcome.as_str()]);
            seconds.observe(duration.as_secs_f64());
            self.window.observe(f64::from(transfer.windowsize()));
        }
    }

    pub(super) fn uploaded(&self, outcome: &Outcome, bytes: u64) {
        self.uploads.with_label_values(&[outcome.as_str()]).inc();
        self.received.inc_by(bytes);
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
