//! What is counted of loaders.

use prometheus::{IntCounterVec, IntGaugeVec};

use crate::telemetry::{FLAG, Meter, about};

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
    pub fn register(meter: &Meter) -> prometheus::Result<Self> {
        Ok(Self {
            info: meter.gauges(
                about(
                    "reveille_loader_info",
                    "The loader of each architecture, where it is from, and whether it runs \
                     autoexec.ipxe; always 1.",
                    FLAG,
                ),
                &["architecture", "file", "from", "autoexec"],
            )?,
            seeded: meter.counters(
                about(
                    "reveille_loaders_seeded_total",
                    "Loaders of the volume at the start, by what became of them: written, \
                     upgraded, same, own, failed.",
                    "files",
                ),
                &["result"],
            )?,
        })
    }
}
