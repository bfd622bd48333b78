//! What TLS counts.

use prometheus::{IntCounterVec, IntGaugeVec};

use super::failure::HandshakeFailed;
use crate::telemetry::{Meter, about};

/// The metrics of TLS; cheap to clone.
#[derive(Clone, Debug)]
pub struct TlsMetrics {
    /// `reveille_tls_handshakes_total{door,result}`.
    pub(super) handshakes: IntCounterVec,
    /// `reveille_tls_certificate_expiry_timestamp_seconds{door}`.
    pub(super) expiry: IntGaugeVec,
}

/// The result of a handshake that did not fail.
pub(super) const COMPLETE: &str = "complete";

impl TlsMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// Where `meter` has metrics of these names already.
    pub fn register(meter: &Meter) -> prometheus::Result<Self> {
        Ok(Self {
            handshakes: meter.counters(
                about(
                    "reveille_tls_handshakes_total",
                    "TLS handshakes, by door and how they ended.",
                    "handshakes",
                ),
                &["door", "result"],
            )?,
            expiry: meter.gauges(
                about(
                    "reveille_tls_certificate_expiry_timestamp_seconds",
                    "When the certificate that runs out first runs out, as seconds since 1970.",
                    "seconds",
                ),
                &["door"],
            )?,
        })
    }

    /// Shows what a door may count, as 0.
    pub(super) fn begin(&self, door: &str) {
        let failed = HandshakeFailed::ALL.map(HandshakeFailed::as_str);
        for result in failed.into_iter().chain([COMPLETE]) {
            self.handshakes.with_label_values(&[door, result]);
        }
    }
}
