//! Metrics of artifacts. No label names an object.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::telemetry::{BYTES, Meter, SECONDS, about};

/// From a small file next door to an archive from far away.
const FETCHES: [f64; 9] = [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];

/// Metrics of the store and of what is fetched into it; cheap to clone.
#[derive(Clone, Debug)]
pub struct ArtifactMetrics {
    /// Artifacts by what they are: `ready`, `fetching`, `waiting`, `stalled`.
    pub artifacts: IntGaugeVec,
    /// Bytes of the trees that are served.
    pub bytes: IntGauge,
    /// Bytes that are free on the store's volume.
    pub free: IntGauge,
    /// Bytes that were fetched.
    pub fetched: IntCounter,
    /// Tries by what came of them: `ok`, `unchanged`, or the failure.
    pub fetches: IntCounterVec,
    /// How long a fetch took that brought something.
    pub seconds: Histogram,
    /// Files that were found damaged.
    pub damaged: IntCounter,
    /// Things that were thrown away because nobody wants them any more.
    pub swept: IntCounter,
}

/// What an artifact can be, for [`ArtifactMetrics::artifacts`].
pub const STATES: [&str; 4] = ["ready", "fetching", "waiting", "stalled"];

impl ArtifactMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// A registry that has them already.
    pub fn register(meter: &Meter) -> prometheus::Result<Self> {
        let bytes = |name, help| meter.gauge(about(name, help, BYTES));
        let metrics = Self {
            artifacts: meter.gauges(
                about(
                    "reveille_artifacts",
                    "Artifacts by their state.",
                    "artifacts",
                ),
                &["state"],
            )?,
            bytes: bytes(
                "reveille_artifact_bytes",
                "Bytes of the artifacts that are served.",
            )?,
            free: bytes(
                "reveille_artifact_volume_free_bytes",
                "Bytes that are free on the volume of artifacts.",
            )?,
            fetched: meter.counter(about(
                "reveille_artifact_fetched_bytes_total",
                "Bytes of artifacts that were fetched.",
                BYTES,
            ))?,
            fetches: meter.counters(
                about(
                    "reveille_artifact_fetches_total",
                    "Tries to fetch an artifact by what came of them.",
                    "tries",
                ),
                &["result"],
            )?,
            seconds: meter.histogram(
                about(
                    "reveille_artifact_fetch_seconds",
                    "How long it took to fetch and verify an artifact.",
                    SECONDS,
                ),
                &FETCHES,
            )?,
            damaged: meter.counter(about(
                "reveille_artifact_damaged_files_total",
                "Files of artifacts that were found damaged.",
                "files",
            ))?,
            swept: meter.counter(about(
                "reveille_artifact_swept_total",
                "Trees and files of artifacts that were thrown away.",
                "things",
            ))?,
        };
        for state in STATES {
            metrics.artifacts.with_label_values(&[state]).set(0);
        }
        // A counter that appears with its first value never grew.
        let _ = metrics.fetches.with_label_values(&["ok"]);
        Ok(metrics)
    }
}
