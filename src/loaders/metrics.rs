//! What is counted of loaders.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

/// Counters of loaders. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LoaderMetrics {
    /// 1 for the loader of each architecture.
    pub(super) info: IntGaugeVec,
    /// Files of the volume by what became of them at the start.
    pub(super) seeded: IntCounterVec,
}

impl LoaderMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// A name that is taken.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            info: IntGaugeVec::new(
                Opts::new(
                    "reveille_loader_info",
                    "The loader of each architecture, where it is from, and whether it runs \
                     autoexec.ipxe; always 1.",
                ),
                &["architecture", "file", "from", "autoexec"],
            )?,
            seeded: IntCounterVec::new(
                Opts::new(
                    "reveille_loaders_seeded_total",
                    "Loaders of the volume at the start, by what became of them: written, \
                     upgraded, same, own, failed.",
                ),
                &["result"],
            )?,
        };
        registry.register(Box::new(metrics.info.clone()))?;
        registry.register(Box::new(metrics.seeded.clone()))?;
        Ok(metrics)
    }
}
