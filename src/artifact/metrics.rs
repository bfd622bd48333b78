//! Metrics of artifacts. No label names an object.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

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
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| IntGauge::new(name, help);
        let counter = |name: &str, help: &str| IntCounter::new(name, help);
        let seconds = HistogramOpts::new(
            "reveille_artifact_fetch_seconds",
            "How long it took to fetch and verify an artifact.",
        )
        .buckets(vec![0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0]);
        let metrics = Self {
            artifacts: IntGaugeVec::new(
                Opts::new("reveille_artifacts", "Artifacts by their state."),
                &["state"],
            )?,
            bytes: gauge(
                "reveille_artifact_bytes",
                "Bytes of the artifacts that are served.",
            )?,
            free: gauge(
                "reveille_artifact_volume_free_bytes",
                "Bytes that are free on the volume of artifacts.",
            )?,
            fetched: counter(
                "reveille_artifact_fetched_bytes_total",
                "Bytes of artifacts that were fetched.",
            )?,
            fetches: IntCounterVec::new(
                Opts::new(
                    "reveille_artifact_fetches_total",
                    "Tries to fetch an artifact by what came of them.",
                ),
                &["result"],
            )?,
            seconds: Histogram::with_opts(seconds)?,
            damaged: counter(
                "reveille_artifact_damaged_files_total",
                "Files of artifacts that were found damaged.",
            )?,
            swept: counter(
                "reveille_artifact_swept_total",
                "Trees and files of artifacts that were thrown away.",
            )?,
        };
        registry.register(Box::new(metrics.artifacts.clone()))?;
        registry.register(Box::new(metrics.bytes.clone()))?;
        registry.register(Box::new(metrics.free.clone()))?;
        registry.register(Box::new(metrics.fetched.clone()))?;
        registry.register(Box::new(metrics.fetches.clone()))?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        registry.register(Box::new(metrics.damaged.clone()))?;
        registry.register(Box::new(metrics.swept.clone()))?;
        for state in STATES {
            metrics.artifacts.with_label_values(&[state]).set(0);
        }
        Ok(metrics)
    }
}
