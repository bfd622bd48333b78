//! What the governor counts.

use std::time::Duration;

use prometheus::{Histogram, IntCounterVec, IntGauge};

use crate::telemetry::{Meter, SECONDS, about};

/// Counters of the governor; clones count together.
#[derive(Clone, Debug)]
pub struct GovernorMetrics {
    waiting: IntGauge,
    going: IntGauge,
    turns: IntCounterVec,
    seconds: Histogram,
}

/// One that waits, as long as it is there.
#[derive(Debug)]
pub(super) struct Counted(IntGauge);

// === impl GovernorMetrics ===

impl GovernorMetrics {
    /// Registers the counters.
    ///
    /// # Errors
    /// Where the registry has one of that name.
    pub fn register(meter: &Meter) -> prometheus::Result<Self> {
        Ok(Self {
            waiting: meter.gauge(about(
                "reveille_transfers_waiting",
                "Large transfers, by TFTP and HTTP, that wait for their turn on a link.",
                "transfers",
            ))?,
            going: meter.gauge(about(
                "reveille_transfers_going",
                "Large transfers, by TFTP and HTTP, that count on their link.",
                "transfers",
            ))?,
            turns: meter.counters(
                about(
                    "reveille_transfer_turns_total",
                    "What became of large transfers that wanted a turn; `does-not-count` had one and \
                     moved next to nothing.",
                    "turns",
                ),
                &["outcome"],
            )?,
            seconds: meter.histogram(
                about(
                    "reveille_transfer_wait_seconds",
                    "Time that large transfers waited for their turn.",
                    SECONDS,
                ),
                &[0.01, 0.1, 0.5, 1.0, 3.0, 10.0, 30.0],
            )?,
        })
    }

    pub(super) fn wait(&self) -> Counted {
        self.waiting.inc();
        Counted(self.waiting.clone())
    }

    pub(super) fn set_going(&self, going: usize) {
        self.going.set(i64::try_from(going).unwrap_or(i64::MAX));
    }

    pub(super) fn turn(&self, outcome: &str, waited: Duration) {
        self.turns.with_label_values(&[outcome]).inc();
        if waited > Duration::ZERO {
            self.seconds.observe(waited.as_secs_f64());
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
